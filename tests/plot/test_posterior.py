"""Plots of posteriors, profiles and predictions: the data of the artists, labels with units."""

import diffrax
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pytest

import hhjax as hh
from hhjax import plot

TS = np.arange(0.0, 5.0, 0.5)


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def posterior():
    """Draws that no sampler made: g = 0.3 mS/cm² and E = -60 … -59 mV of a membrane that rests at E."""
    neuron, data = hh.Neuron({"leak": hh.Leak(E=-59.5)}), np.full((2, TS.size), -59.0)
    options = dict(where=["leak.g", "leak.E"], steps=0, guide=None, v0=-60.0, dt=0.5)
    quiet = diffrax.NoProgressMeter()
    fit = hh.fit(neuron, (TS, np.zeros((2, TS.size)), data), **options, progress_meter=quiet)
    E = np.linspace(-60.0, -59.0, 40).reshape(2, 20)
    values = np.stack([np.full((2, 20), 0.3), E], axis=-1)
    free = fit.problem.free
    u = np.asarray(jax.vmap(jax.vmap(free.to_unknowns))(jnp.asarray(values)))
    one = np.ones(2)
    lp = np.zeros((2, 20))
    return hh.Posterior(fit.names, fit.units, values, u, lp, lp > 0, one, one, one, 0, fit)


def test_a_corner(posterior):
    drawn = plot.corner(posterior, truth={"leak.E": -59.5})
    assert len(drawn["histograms"]) == 2 and len(drawn["points"]) == 1
    counts = [bar.get_height() for bar in drawn["histograms"][1]]
    assert sum(counts) == 40
    np.testing.assert_array_equal(drawn["points"][0].get_offsets(), posterior.values.reshape(-1, 2))
    assert [set(line.get_ydata()) for line in drawn["truth"]][0] == {-59.5}
    axes = plt.gcf().axes
    assert axes[2].get_xlabel() == "leak.g\n(mS/cm²)" and axes[2].get_ylabel() == "leak.E\n(mV)"
    with pytest.raises(ValueError, match="got 'na.g'"):
        plot.corner(posterior, names=["na.g"])
    assert len(plot.corner(posterior, names=["leak.E"])["histograms"]) == 1


def test_a_profile():
    grid = np.linspace(1.0, 3.0, 5)
    found = hh.Profile(
        "leak.g", "mS/cm²", ("leak.g",), grid, 4 * (grid - 2) ** 2, grid[:, None], 0.95, 3.84, (1.02, np.inf)
    )
    line, limit, *ends = plot.profile(found)
    np.testing.assert_array_equal(line.get_ydata(), found.deviance)
    assert limit.get_ydata()[0] == 3.84 and [end.get_xdata()[0] for end in ends] == [1.02]
    assert line.axes.get_xlabel() == "leak.g (mS/cm²)"
    assert line.axes.get_title(loc="left") == "95 % interval: 1.02 to inf mS/cm²"


def test_a_prediction(posterior):
    """V goes from -60 mV to E: its median is that of the median E; the noisy band is wider."""
    drawn = plot.predictive(posterior, sweeps=[1], draws=40)
    assert {name: len(x) for name, x in drawn.items()} == dict.fromkeys(
        ("data", "median", "model", "noisy"), 1
    )
    np.testing.assert_allclose(drawn["median"][0].get_ydata(), -59.5 - 0.5 * np.exp(-0.3 * TS), atol=1e-6)
    np.testing.assert_array_equal(drawn["data"][0].get_ydata(), -59.0)
    extent = lambda band: np.ptp(band.get_paths()[0].vertices[:, 1])
    assert extent(drawn["model"][0]) < extent(drawn["noisy"][0])
    assert drawn["data"][0].axes.get_xlabel() == "Time (ms)"
