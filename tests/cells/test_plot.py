"""What the plots of cells draw."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

import hhjax as hh
from hhjax import plot

from .test_cells import tree_step


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


def test_a_tree_without_places_is_drawn_by_distance():
    cell = tree_step(3)
    lines = plot.morphology(cell, np.arange(cell.n))
    ends = np.array(lines.get_segments())
    assert ends.shape == (cell.n, 2, 2)
    np.testing.assert_allclose(ends[:, :, 0].mean(axis=1)[3:], cell.morphology.compartments.distance[3:])
    np.testing.assert_array_equal(lines.get_array(), np.arange(cell.n))
    with pytest.raises(ValueError, match=r"`values` must have shape \(18,\), a compartment each, got \(3,\)"):
        plot.morphology(cell, [1.0, 2.0, 3.0])


def test_a_cell_of_a_file_is_drawn_in_its_plane(tmp_path):
    path = tmp_path / "cell.swc"
    path.write_text("1 1 0 0 0 10 -1\n2 3 10 0 0 1 1\n3 3 110 40 9 1 2\n")
    shape = hh.cells.load(path, max_length=30.0)
    lines = plot.morphology(shape)
    ends = np.array(lines.get_segments())
    np.testing.assert_allclose(ends[1, 0], [10, 0])
    np.testing.assert_allclose(ends[-1, 1], [110, 40])
    assert [text.get_text() for text in lines.axes.get_legend().get_texts()] == ["soma", "dend"]


def test_V_along_a_way():
    cell = tree_step(3)
    run = hh.simulate(cell, t1=1.0, dt=0.1)
    image = plot.along(run, cell, "d3(1)")
    way = cell.morphology.way("d3(1)")
    assert way[-1] == cell.index("d3(1)") and way[0] == cell.index("soma(0)") and len(way) == 12
    np.testing.assert_allclose(image.get_array(), run.V[:, way].T)
    rows = image.get_coordinates()[:, 0, 1]
    assert (np.diff(rows) > 0).all()
