"""What the plots of fits draw."""

import diffrax
import matplotlib.pyplot as plt
import numpy as np

import hhjax as hh


def test_a_fit_is_drawn_over_its_data():
    ts = np.arange(0.0, 5.0, 0.5)
    V = np.full((3, ts.size), -60.0) + np.arange(3)[:, None]
    neuron = hh.Neuron({"leak": hh.Leak(E=-60.0)})
    options = dict(where=lambda n: n.C, steps=0, guide=None, progress_meter=diffrax.NoProgressMeter())
    fit = hh.fit(neuron, (ts, np.zeros((3, ts.size)), V), **options)
    lines = fit.plot(sweeps=[0, 2])
    assert len(lines) == 4
    for k, sweep in enumerate([0, 2]):
        np.testing.assert_array_equal(lines[2 * k].get_ydata(), V[sweep])
        np.testing.assert_array_equal(lines[2 * k + 1].get_ydata(), fit.V[sweep, :, 0])
    assert lines[-1].axes.get_xlabel() == "Time (ms)" and "mV" in lines[0].axes.get_ylabel()
    assert lines[0].axes.get_title(loc="left") == "sweep 0, RMSE 0.00 mV"
    plt.close("all")
