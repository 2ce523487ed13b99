"""What the pages of the documentation share."""

from pathlib import Path

import matplotlib.image
import pytest

FIGURES = Path(__file__).parents[2] / "notebooks" / "figures"


@pytest.fixture
def check_figure():
    """That a figure is as the committed one of its name, but for a shift by a pixel or two."""

    def coarse(path):
        grey = 1 - matplotlib.image.imread(path)[..., :3].mean(axis=-1)  # ink
        rows, columns = grey.shape[0] // 10, grey.shape[1] // 10
        return grey[: 10 * rows, : 10 * columns].reshape(rows, 10, columns, 10).mean(axis=(1, 3))

    def check(path):
        drawn, committed = coarse(path), coarse(FIGURES / path.name)
        assert drawn.shape == committed.shape
        assert abs(drawn - committed).sum() < 0.1 * committed.sum(), f"draw {path.name} anew"

    return check
