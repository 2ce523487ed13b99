"""Voltage clamp, current clamp and f-I curves: closed forms, published cells, reference values."""

import json
import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pytest

import hhjax as hh
from hhjax import analysis, plot
from hhjax.analysis._steady import first_fold, resting_potential

LIBRARY = json.loads((Path(__file__).parents[1] / "data" / "model_library.json").read_text())
SQUID = hh.squid_axon()
STEPS_OF = dict(duration=1000.0, before=10.0, after=1.0)  # compiled once


class Exact(hh.Channel):
    """Activates at once, inactivates slowly; both curves are Boltzmann's."""

    gates = {"m": 1, "h": 2}

    def rates(self, V):
        return {
            "m": hh.Instantaneous(jax.nn.sigmoid((V + 30) / 7)),
            "h": hh.InfTau(jax.nn.sigmoid(-(V + 60) / 6), 50 + 0 * V),
        }

    def temperature_factor(self):
        return 2.0  # so that the time constant is 25 ms


EXACT = Exact(g=2.0, E=40.0)


def gate(alpha, beta, start, t):
    """dx/dt = α(1 − x) − βx from `start`, after t ms."""
    return alpha / (alpha + beta) + (start - alpha / (alpha + beta)) * np.exp(-(alpha + beta) * t)


@pytest.fixture(scope="module")
def clamp():
    pulses = dict(prepulse=(-100.0, 3.0), tail=(-55.0, 1.0))
    return analysis.voltage_clamp(SQUID, np.array([-40.0, 0.0, 50.0]), duration=2.0, dt=0.1, **pulses)


def test_the_clamped_axon_follows_the_paper(clamp, reference):
    """From −80 mV through a prepulse to three test potentials, with the reference's rates."""
    rates = {float(V): r for V, r in reference["rates_table"].items()}
    test = np.array([-40.0, 0.0, 50.0])
    assert clamp.epochs == (("hold", 0, 10), ("prepulse", 10, 40), ("test", 40, 60), ("tail", 60, 71))
    np.testing.assert_allclose(clamp.ts[np.array([0, 40, -1])], [0.0, 4.0, 7.0], atol=1e-12)
    t = 0.1 * np.arange(20)
    for row, V in enumerate(test):
        x = {}
        for k, name in enumerate("mhn"):
            at_rest = gate(*rates[-80.0][2 * k : 2 * k + 2], 0.0, np.inf)
            before = gate(*rates[-100.0][2 * k : 2 * k + 2], at_rest, 3.0)
            x[name] = gate(*rates[V][2 * k : 2 * k + 2], before, t)
        na = 120 * x["m"] ** 3 * x["h"] * (V - 50)
        k = 36 * x["n"] ** 4 * (V + 77)
        inside = clamp.samples("test")
        np.testing.assert_allclose(clamp.gates["na"]["m"][row, inside], x["m"], rtol=1e-12)
        np.testing.assert_allclose(clamp.currents["na"][row, inside], na, rtol=1e-11, atol=1e-9)
        np.testing.assert_allclose(clamp.total[row, inside], na + k + 0.3 * (V + 54.387), rtol=1e-11)
    # In the tail the conductance of the last moment, at another driving force.
    tail = clamp.conductances["k"][:, 60] * (-55 + 77)
    np.testing.assert_allclose(clamp.initial("k"), tail, rtol=1e-14)
    iv = clamp.iv_curve("na")
    np.testing.assert_array_equal(iv.V, test)
    assert iv.peak[1] == clamp.currents["na"][1, 40:60].min() == iv.inward[1]
    assert iv.steady[1] == clamp.currents["na"][1, 59]


def test_gate_kinetics_are_those_of_the_table(reference):
    V = np.array([float(V) for V in reference["rates_table"]])
    alpha, beta = np.array(list(reference["rates_table"].values()))[:, 2:4].T
    curve = analysis.gate_kinetics(hh.squid_axon(celsius=16.3), V, "na")["h"]
    np.testing.assert_allclose(curve.inf, alpha / (alpha + beta), rtol=1e-12)
    np.testing.assert_allclose(curve.tau, 1 / (3 * (alpha + beta)), rtol=1e-12)
    own = analysis.gate_kinetics(EXACT, V)
    assert (own["m"].tau == 0).all() and (own["h"].tau == 25).all()


def test_measured_curves_of_a_channel_of_ones_own():
    """Where activation is at once and the test pulse opens no more, both curves are the gates' own."""
    V = np.arange(-120.0, 41.0, 5.0)
    act = analysis.activation_curve(EXACT, V, duration=1.0, holding=-200.0, dt=0.1)
    np.testing.assert_allclose(act.relative, (m := 1 / (1 + np.exp(-(V + 30) / 7))) / m.max(), rtol=1e-9)
    options = dict(prepulse_duration=2000.0, duration=1.0, dt=0.1)
    inact = analysis.inactivation_curve(hh.Neuron({"x": EXACT}), V, "x", **options)
    h = 1 / (1 + np.exp((V + 60) / 6))
    np.testing.assert_allclose(inact.relative, h**2 / h.max() ** 2, rtol=1e-6, atol=1e-9)
    half, slope = act.boltzmann()
    assert float(half) == pytest.approx(-30, abs=0.01) and float(slope) == pytest.approx(7, abs=0.01)
    half, slope = inact.boltzmann()
    # h² = 1/2 where h = 0.7071
    assert float(half) == pytest.approx(-60 + 6 * np.log(np.sqrt(2) - 1), abs=0.5) and float(slope) < 0


def test_a_voltage_clamp_can_be_transformed():
    """Peaks are linear in g; a batch equals its members."""

    def peak(g):
        return analysis.voltage_clamp(Exact(g=g, E=40.0), -10.0, duration=1.0, dt=0.1).peak()[0]

    slope = jax.grad(peak)(jnp.array(2.0))
    assert float(slope) == pytest.approx(float(peak(2.0)) / 2, rel=1e-12)
    np.testing.assert_allclose(jax.jit(jax.vmap(peak))(jnp.array([1.0, 3.0])), [slope, 3 * slope])


def test_calcium_is_held_or_refused():
    cell = hh.thalamic_reticular()
    with pytest.raises(ValueError, match=r"`concentrations` must give .* \['ca'\], .* got \[\]"):
        analysis.voltage_clamp(cell, -30.0)
    clamp = analysis.voltage_clamp(cell, -30.0, duration=1.0, dt=0.1, concentrations={"ca": 2.4e-4})
    E = 8.31446261815324 * 309.15 / (2 * 96485.33212) * 1000 * np.log(2.0 / 2.4e-4)
    driving = clamp.currents["t"][0, -1] / clamp.conductances["t"][0, -1]
    assert float(driving) == pytest.approx(-30 - E, rel=1e-12)


def test_a_passive_membrane_under_current_clamp():
    """R = 1/g, τ = C/g, no sag."""
    cell = hh.Neuron({"leak": hh.Leak(g=0.1, E=-70.0)}, C=2.0)
    family = analysis.current_clamp(cell, [-1.0, 0.0, 0.5, 1.0, 2.0], v0=-70.0, **STEPS_OF)
    np.testing.assert_allclose(family.rest, -70.0)
    np.testing.assert_allclose(family.input_resistance, [10.0, np.nan, 10.0, 10.0, 10.0], rtol=1e-9)
    np.testing.assert_allclose(family.time_constant, [20.0, np.nan, 20.0, 20.0, 20.0], rtol=1e-6)
    np.testing.assert_allclose(family.sag, [0.0, np.nan, 0.0, 0.0, 0.0], atol=1e-9)
    assert not family.spike_count.any() and np.isnan(family.rheobase)


def test_the_axon_under_current_clamp(reference):
    """How many spikes steps from rest elicit; and the first of them."""
    counts = reference["nspikes_1000ms_step_from_rest"]
    currents = [0.0, 2.0, 3.0, 6.1, 7.0]
    family = analysis.current_clamp(SQUID, currents, **STEPS_OF)
    expected = [0] + [counts[f"{I:g}"] for I in currents[1:]]
    np.testing.assert_array_equal(family.spike_count, expected)
    assert family.rest[0] == pytest.approx(reference["rest"]["V"], abs=1e-6)
    assert float(family.rheobase) == 3.0
    assert float(family.rate[-1]) == pytest.approx(reference["fI"]["7"], rel=2e-3)
    assert abs(family.adaptation[-1]) < 1e-3 and np.isnan(family.latency[0])
    text = str(family).splitlines()
    assert len(text) == 6 and text[5].split()[:1] + text[5].split()[6:7] == ["7", "59"]
    lines = plot.current_clamp(family)
    np.testing.assert_array_equal(lines[4].get_ydata(), family.V[4])
    assert lines[9].get_ydata().max() == 7.0
    plt.close("all")


def test_a_cell_that_is_above_threshold_when_the_step_begins_has_spiked_before():
    """One pulled across −50 mV at 54 ms and held there: at 55 ms, when its step begins, it does not spike."""
    leak = hh.Neuron({"leak": hh.Leak(g=1.0, E=-30.0)})
    options = dict(duration=20.0, before=55.0, after=10.0, dt=0.05, threshold=-50.0)
    # From −30 − 40·e^(54) mV at the start V = −30 − 40·e^(54 − t), which is −50 mV ln 2 later.
    crossing = 50.0 + np.log(2.0)
    v0 = -30.0 - 40.0 * np.exp(50.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        above = analysis.current_clamp(leak, [0.0, 1.0], v0=v0, **options)
    assert above.spike_count.tolist() == [0, 0] and np.isnan(above.spike_times).all()
    window = options | {"before": crossing - 0.02}
    inside = analysis.current_clamp(leak, [0.0], v0=v0, **window)
    assert inside.spike_count.tolist() == [1]
    assert float(inside.latency[0]) == pytest.approx(0.02, abs=2e-4)


def test_more_spikes_than_there_is_room_for():
    """A membrane driven over −50 mV at 1 kHz, in steps with room for one spike in 2 ms."""
    from hhjax.analysis import _current_clamp

    ts = jnp.arange(0, 60.0, 0.05)
    V = -50.0 + 5.0 * jnp.sin(2 * np.pi * (ts - 0.3))[:, None]
    found = _current_clamp._features(ts, V, jnp.ones(1), jnp.array(-50.0), 10.0, 50.0, 20)
    assert found["spike_count"].tolist() == [40]
    assert np.isfinite(found["spike_times"]).sum() == 20
    assert np.isnan(found["rate"][0]) and np.isnan(found["adaptation"][0])
    enough = _current_clamp._features(ts, V, jnp.ones(1), jnp.array(-50.0), 10.0, 50.0, 40)
    assert float(enough["rate"][0]) == pytest.approx(1000.0, rel=1e-3)


def test_runs_that_blow_up_are_neither_silent_nor_firing():
    options = dict(duration=40.0, dt=0.1, solver="rk4")
    with pytest.raises(ValueError, match="`dt` must be shorter: runs turned infinite or NaN, got 0.1 ms"):
        analysis.rheobase(SQUID, 0.0, 30.0, **options)
    rates = analysis.fi_curve(SQUID, [0.0, 1.0, 30.0], tol=0.9, v0=-64.99637933119206, **options).rates
    assert rates[0] == 0.0 and np.isnan(rates[2])


def test_rheobase():
    """2.240333624372724 µA/cm² for the axon at rest: high-order Runge-Kutta, one spike at 0 mV."""
    found = analysis.rheobase(SQUID, 0.0, 5.0, duration=50.0, dt=0.01, solver="rk4")
    assert float(found) == pytest.approx(2.240333624372724, abs=1e-5)
    with pytest.raises(ValueError, match="the cell is silent at `low` and is silent at `high`"):
        analysis.rheobase(SQUID, 0.0, 1.0, duration=50.0, dt=0.01, solver="rk4")


def test_the_axon_fires_with_a_jump(reference):
    """The fold of limit cycles is at 6.260321 µA/cm², with 50.263 Hz (high-order Runge-Kutta)."""
    curve = analysis.fi_curve(SQUID, [5.0, 5.5, 6.0, 6.5, 7.0, 8.0, 10.0, 15.0, 20.0], tol=0.01)
    assert int(curve.hodgkin_class) == 2 and np.isinf(curve.fold)
    assert float(curve.threshold) == pytest.approx(6.260321, abs=5e-3)
    assert float(curve.onset_rate) == pytest.approx(50.263, abs=1.0)
    np.testing.assert_allclose(curve.rates[np.array([4, 6, 8])], [*reference["fI"].values()], rtol=1e-3)
    assert not curve.rates[:3].any()
    assert "class 2, with a jump" in str(curve)


@pytest.mark.parametrize(
    "neuron, currents, kind, fold",
    [
        (hh.wang_buzsaki(), (0.0, 1.0), 1, None),
        (hh.connor_stevens(), (0.0, 10.0), 1, None),
        (
            hh.morris_lecar("snic"),
            (30.0, 60.0),
            1,
            LIBRARY["morris_lecar_snic"]["saddle_node_currents"],
        ),
        (hh.morris_lecar("hopf"), (80.0, 120.0), 2, None),
    ],
    ids=["wang_buzsaki", "connor_stevens", "snic", "hopf"],
)
def test_how_firing_sets_in(neuron, currents, kind, fold):
    """Hodgkin's classes as the papers on these cells give them."""
    slow = dict(duration=2000.0, dt=0.1) if neuron.C > 10 else dict(dt=0.05)
    curve = analysis.fi_curve(neuron, np.linspace(*currents, 9), tol=0.05, **slow)
    assert int(curve.hodgkin_class) == kind
    if kind == 1:
        assert curve.onset_rate < 5 and curve.fold < curve.threshold < curve.fold + 0.3
    if fold:
        assert float(curve.fold) == pytest.approx(max(fold), abs=1e-4)


def test_rest_and_fold_are_differentiable(reference):
    """A shift of the leak's reversal potential by δ shifts the steady current by −g·δ."""
    assert float(resting_potential(SQUID)) == pytest.approx(reference["rest"]["V"], abs=1e-9)

    def fold(E):
        cell = hh.Neuron({**hh.morris_lecar("snic").channels, "leak": hh.Leak(g=2.0, E=E)}, C=20.0)
        return first_fold(cell)

    assert float(jax.grad(fold)(jnp.array(-60.0))) == pytest.approx(-2.0, rel=1e-9)


def test_protocols_are_drawn(clamp):
    lines = plot.voltage_clamp(clamp, "na")
    np.testing.assert_array_equal(lines[1].get_ydata(), clamp.currents["na"][1])
    np.testing.assert_array_equal(lines[5].get_ydata(), clamp.V[2])
    assert lines[0].axes.get_ylabel() == "Current of na (µA/cm²)"
    assert lines[5].axes.get_xlabel() == "Time (ms)" and lines[5].axes.get_ylabel() == "V (mV)"
    curve = clamp.iv_curve("na")
    peak, steady = plot.iv_curve(curve, label="na")
    np.testing.assert_array_equal(peak.get_ydata(), curve.peak)
    np.testing.assert_array_equal(steady.get_ydata(), curve.steady)
    V = np.linspace(-100.0, 50.0, 4)
    lines = plot.activation(EXACT, V)
    kinetics = analysis.gate_kinetics(EXACT, V)
    np.testing.assert_array_equal(lines[1].get_ydata(), kinetics["h"].inf)
    np.testing.assert_array_equal(lines[3].get_ydata(), kinetics["h"].tau)
    assert lines[3].axes.get_ylabel() == "Time constant (ms)"
    (line,) = plot.activation({"na": analysis.GatingCurve(jnp.array(V), jnp.array(V / 50))})
    np.testing.assert_array_equal(line.get_ydata(), V / 50)
    plt.close("all")


NOISY = hh.with_channel_noise(SQUID, model="subunit", count=100)
CLAMP, STEPS, CURVE = analysis.voltage_clamp, analysis.current_clamp, analysis.fi_curve


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda: CLAMP(hh.Network(SQUID), 0.0), TypeError, "not a network"),
        (lambda: CLAMP(SQUID, [[0.0]]), ValueError, r"`test` must be .* got shape \(1, 1\)"),
        (lambda: CLAMP(SQUID, [0.0, np.nan]), ValueError, "`test` must be finite"),
        (lambda: CLAMP(SQUID, 0.0, duration=0.015), ValueError, "`duration` must last a whole number of dt"),
        (lambda: CLAMP(SQUID, 0.0, tail=5.0), TypeError, "`tail` must be a pair"),
        (lambda: CLAMP(hh.Leak(g=1.0, E=0.0), 0.0).peak("ca"), ValueError, r"\['Leak'\], got 'ca'"),
        (lambda: CLAMP(hh.Leak(g=np.ones(3)), 0.0), ValueError, "each of its parameters a scalar"),
        (lambda: STEPS(NOISY, [0.0]), ValueError, "no channel noise"),
        (lambda: STEPS(SQUID, 1.0), ValueError, r"`currents` must have shape \(steps,\)"),
        (lambda: CURVE(SQUID, [3.0, 2.0, 1.0]), ValueError, "`currents` must increase"),
        (lambda: CURVE(SQUID, [1.0, 2.0, 3.0], start=2e3), ValueError, "`start` must lie within"),
    ],
)
def test_what_makes_no_sense_is_refused(as_users_run_it, call, error, message):
    with pytest.raises(error, match=message):
        call()
