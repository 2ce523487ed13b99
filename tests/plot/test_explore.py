"""Sliders: what moves when one does."""

import sys

import numpy as np
import pytest

import hhjax as hh
from hhjax import plot

AXON = hh.squid_axon()


def test_a_slider_runs_the_neuron_again():
    shown = plot.explore(AXON, {"na.g": (60.0, 180.0)}, stimulus=hh.Step(10.0, 5.0), t1=20.0, dt=0.05)
    assert list(shown.sliders) == ["stimulus", "na.g"]
    picture = bytes(shown.widget.children[1].value)
    shown.sliders["na.g"].value = 90.0
    shown.sliders["stimulus"].value = 20.0
    model = hh.replace(AXON, {"na.g": 90.0})
    run = hh.simulate(model, t1=20.0, dt=0.05, stimulus=hh.Step(20.0, 5.0))
    V, *gates = shown.lines
    np.testing.assert_array_equal(V.get_ydata(), run.V[:, 0])
    np.testing.assert_array_equal(V.get_xdata(), run.ts)
    assert [line.get_label() for line in gates] == ["k.n", "na.h", "na.m"]
    for line, (channel, gate) in zip(gates, (("k", "n"), ("na", "h"), ("na", "m"))):
        np.testing.assert_array_equal(line.get_ydata(), shown.run.ys.gates[channel][gate][:, 0])
    low, high = V.axes.get_ylim()
    assert low < run.V.min() and high > run.V.max()
    now = bytes(shown.widget.children[1].value)
    assert now != picture and now.startswith(b"\x89PNG")
    assert "application/vnd.jupyter.widget-view+json" in shown._repr_mimebundle_()


def test_sliders_of_all_conductances_by_default():
    shown = plot.explore(AXON, t1=1.0, dt=0.05)
    ends = {name: (s.min, s.max, s.value) for name, s in shown.sliders.items()}
    assert ends == {
        "stimulus": (-10.0, 30.0, 10.0),
        "k.g": (0.0, 108.0, 36.0),
        "leak.g": (0.0, pytest.approx(0.9), pytest.approx(0.3)),
        "na.g": (0.0, 360.0, 120.0),
    }
    passive = plot.explore(hh.Neuron({"leak": hh.Leak(E=-60.0)}), "leak.E", t1=1.0, dt=0.05)
    assert len(passive.lines) == len(passive.figure.axes) == 1
    assert (passive.sliders["leak.E"].min, passive.sliders["leak.E"].max) == (-90.0, -30.0)


@pytest.mark.parametrize(
    "neuron, options, error",
    [
        (AXON, dict(parameters="na.G"), "`parameters` names 'na.G', which is no parameter"),
        (AXON, dict(parameters={"na.g": (9.0, 1.0)}), "must be the lowest and highest in mS/cm²"),
        (AXON, dict(stimulus=lambda t: t), "`stimulus` must have an `amplitude`, as an hh.Step has, got "),
        (AXON, dict(stimulus=np.ones(2)), "'stimulus', which must be one number, got"),
        (hh.Network(AXON), {}, "`neuron` must be an hh.Neuron, got "),
    ],
)
def test_what_cannot_be_explored(neuron, options, error, as_users_run_it):
    with pytest.raises((ValueError, TypeError), match=error):
        plot.explore(neuron, **options)


def test_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    with pytest.raises(ImportError, match=r"needs ipywidgets: pip install 'hhjax\[explore\]'"):
        plot.explore(AXON)
