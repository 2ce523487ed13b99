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


def test_traces_at_places_and_where_these_are():
    cell = tree_step(3)
    run = hh.simulate(cell, t1=1.0, dt=0.1)
    lines = plot.places(run, cell, ["soma", "d3(1)", 4])
    for line, place in zip(lines, ("soma", "d3(1)", 4), strict=True):
        np.testing.assert_array_equal(line.get_ydata(), run.V[:, cell.index(place)])
    right = lines[0].figure.axes[1]
    dots = [line for line in right.get_lines() if line.get_marker() == "o"]
    assert [dot.get_color() for dot in dots] == [line.get_color() for line in lines]
    of = cell.morphology.compartments
    assert dots[1].get_xdata() == pytest.approx(of.distance[cell.index("d3(1)")])
    assert [text.get_text() for text in right.get_legend().get_texts()] == ["soma", "d3(1)", "4"]
    with pytest.raises(ValueError, match="`place` must be on a section, got 'd4'"):
        plot.places(run, cell, ["d4"])
    with pytest.raises(ValueError, match=r"`run` must have V of shape \(times, 18\), got \(11, 1\)"):
        plot.places(hh.simulate(hh.squid_axon(), t1=1.0, dt=0.1), cell, ["soma"])
