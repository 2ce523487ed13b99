"""Fits to currents in voltage clamp."""

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hhjax as hh

QUIET = {"progress_meter": diffrax.NoProgressMeter()}
TS = np.arange(0.0, 25.0, 0.05)
ACTIVE = hh.Neuron({"na": hh.channels.BoltzmannSodium(), "leak": hh.Leak(g=0.3, E=-70.0)})
PASSIVE = hh.Neuron({"leak": hh.Leak(g=0.1, E=-70.0)}, C=1.0)


def test_currents_are_those_of_an_ideal_clamp():
    """Against `hh.analysis.voltage_clamp`, whose gates are exponentials of each step's whole time."""
    potentials = jnp.arange(-60.0, 41.0, 25.0)
    more = {"holding": -80.0, "hold": 2.0, "prepulse": (-100.0, 5.0), "tail": (-60.0, 5.0), "dt": 0.05}
    family = hh.analysis.voltage_clamp(ACTIVE, potentials, duration=10.0, **more)
    recording = hh.VoltageClampRecording(family.ts, family.V, np.zeros(family.V.shape))
    current = hh.replay(ACTIVE, recording)
    assert float(jnp.abs(family.total).max()) > 1000
    np.testing.assert_allclose(current, family.total, rtol=1e-9, atol=1e-9)


def test_a_series_resistance_charges_the_membrane():
    """Of a passive cell: V relaxes with the conductances of leak and series resistance together."""
    area, series = 2000.0, 10.0  # 20 pF, 500 MΩ
    V = np.where(TS < 5.0, -80.0, -60.0)
    recording = hh.VoltageClampRecording(TS, V, np.zeros(TS.size), "pA", compensation=0.6)
    current = hh.replay((PASSIVE, hh.Electrode(area=area, series=series)), recording)[0]
    g = 1e5 / (0.4 * series * area)  # mS/cm²
    ends = [(g * command + 0.1 * -70.0) / (g + 0.1) for command in (-80.0, -60.0)]
    membrane = ends[1] + (ends[0] - ends[1]) * np.exp(-(g + 0.1) * np.maximum(TS - 5.0, 0.0))
    membrane = np.where(TS < 5.0, ends[0], membrane)
    np.testing.assert_allclose(current, area / 100 * g * (V - membrane), rtol=1e-6)
    # 20 mV over the 4 MΩ that are not compensated, on top of −20 pA of leak at −80 mV.
    assert float(current[100]) == pytest.approx(5000 - 20, abs=1.0)


def test_a_series_resistance_of_an_active_cell():
    """An explicit method at a step that resolves the charging, 0.05 ms, gives the same."""
    V = np.where(TS < 2.0, -80.0, -20.0)[:200]
    electrode = hh.Electrode(area=1000.0, series=5.0)
    recording = hh.VoltageClampRecording(TS[:200], V, np.zeros(200), "pA")
    found, exact = (
        hh.replay((ACTIVE, electrode), recording, dt=dt, solver=solver)[0]
        for dt, solver in ((0.01, "strang"), (0.01, "rk4"))
    )
    ideal = hh.replay((ACTIVE, hh.Electrode(area=1000.0)), recording)[0]
    np.testing.assert_allclose(found, exact, atol=0.01 * float(jnp.abs(ideal).max()))
    assert float(jnp.abs(found - ideal)[50:].max()) > 0.2 * float(jnp.abs(ideal).max())  # V is pulled away


@pytest.mark.parametrize("pulses, begin", [(4, None), (-4, None), (6, -100.0)])
def test_leak_subtraction_leaves_the_holding_current_of_a_leak(pulses, begin):
    V = np.where(TS < 5.0, -80.0, np.array([[-60.0], [20.0]]))
    more = {"leak_pulses": pulses, "leak_holding": begin}
    recording = hh.VoltageClampRecording(TS, V, np.zeros(V.shape), **more)
    np.testing.assert_allclose(hh.replay(PASSIVE, recording), 0.1 * (-80.0 + 70.0), rtol=1e-9)


def test_leak_subtraction_takes_what_the_small_pulses_open():
    """Gates that open in a pulse of −P/4 are taken away fourfold: h current, of which the leak is nothing."""
    cell = hh.Neuron({"h": hh.channels.BoltzmannH(g=0.5, r_tau=2.0), "leak": hh.Leak(g=0.1, E=-70.0)})
    V = np.where(TS < 5.0, -70.0, -30.0)
    subtracted = hh.VoltageClampRecording(TS, V, np.zeros(TS.size), leak_pulses=-4)
    small = np.where(TS < 5.0, -70.0, -80.0)
    plain, opened = (hh.replay(cell, hh.VoltageClampRecording(TS, x, 0 * TS))[0] for x in (V, small))
    found = hh.replay(cell, subtracted)[0]
    np.testing.assert_allclose(found, plain + 4 * (opened - opened[0]), rtol=1e-9, atol=1e-9)
    assert float(jnp.abs(found - plain).max()) > 1.0


def test_a_junction_potential_is_taken_off_the_command():
    V = np.where(TS < 5.0, -80.0, -60.0)
    read = lambda V, **more: hh.VoltageClampRecording(TS, V, np.zeros(TS.size), **more)
    found = hh.replay((PASSIVE, hh.Electrode(junction=12.0, offset=0.3)), read(V))
    np.testing.assert_allclose(found, hh.replay(PASSIVE, read(V - 12.0)) - 0.3, rtol=1e-12)


def test_eight_kinetic_parameters_from_two_protocols():
    """Activation and steady-state inactivation of a sodium current, with noise of 10 µA/cm²."""
    free = {
        "na.g": 30.0,
        **{"na.m_half": -31.0, "na.m_slope": 6.0, "na.m_tau": 0.2},
        **{"na.h_half": -55.0, "na.h_slope": -7.0, "na.h_tau": 3.0},
        "leak.g": 0.1,
    }
    start = hh.Neuron({"na": hh.channels.BoltzmannSodium(), "leak": hh.Leak(g=0.3, E=-70.0)})
    activation = np.where((TS >= 5) & (TS < 20), np.arange(-60.0, 41.0, 10.0)[:, None], -100.0)
    inactivation = np.where(TS < 15.0, np.arange(-110.0, -19.0, 10.0)[:, None], 0.0)
    V = np.concatenate([activation, inactivation])
    clean = hh.replay(hh.replace(start, free), hh.VoltageClampRecording(TS, V, np.zeros(V.shape)))
    noise = 10 * np.random.default_rng(0).standard_normal(V.shape)
    fit = hh.fit(start, hh.VoltageClampRecording(TS, V, clean + noise), where=list(free), **QUIET)
    assert (np.abs(fit.values - list(free.values())) < 3 * fit.standard_errors).all()
    np.testing.assert_array_less(fit.standard_errors[[0, 1, 4]], [0.5, 1.0, 0.5])
    assert fit.loss == pytest.approx(1.0, abs=0.05)  # in units of the noise, which is taken from the data
    (traces,) = fit.clamps
    assert np.std(np.asarray(traces.current) - clean) < 1.0  # far less than the noise
    np.testing.assert_array_equal(traces.V, V)
    drawn = hh.plot.fit(fit, sweeps=[4])
    np.testing.assert_array_equal(drawn[1].get_ydata(), traces.current[4])
    assert drawn[0].axes.get_ylabel() == "Current (µA/cm²)"


def passive_data():
    """A cell of 2000 µm² in both clamps: g, E of the leak, C and the series resistance in them."""
    truth = hh.Neuron({"leak": hh.Leak(g=0.05, E=-68.0)}, C=0.9)
    electrode = hh.Electrode(area=2000.0, series=8.0)
    rng = np.random.default_rng(1)
    V = np.where(TS < 5.0, -80.0, np.array([[-90.0], [-60.0]]))
    clamp = hh.VoltageClampRecording(TS, V, np.zeros(V.shape), "pA")
    current = np.asarray(hh.replay((truth, electrode), clamp)) + 2 * rng.standard_normal(V.shape)
    injected = np.where(TS < 2.0, 0.0, np.array([[-20.0], [30.0]]))
    still = hh.Recording(TS, injected, np.full(V.shape, -68.0), "pA", held=True)
    trace = np.asarray(hh.replay((truth, electrode), still))[..., 0] + 0.2 * rng.standard_normal(V.shape)
    recorded = hh.Recording(TS, injected, trace, "pA", held=True)
    return hh.VoltageClampRecording(TS, V, current, "pA"), recorded


def test_both_clamps_in_one_fit():
    """What one does not tell the other does: the capacitance, and the resistance that charges it."""
    clamp, recorded = passive_data()
    start = hh.Neuron({"leak": hh.Leak(g=0.1, E=-60.0)}, C=1.2)
    names = ["leak.g", "leak.E", "C", "electrode.series"]
    model = (start, hh.Electrode(area=2000.0, series=12.0))
    more = {"loss": [None, hh.losses.Trace(sd=0.2)], "v0": -68.0, "guide": None}
    both = hh.fit(model, [clamp, recorded], where=names, **more, **QUIET)
    truth = np.array([0.05, -68.0, 0.9, 8.0])
    assert (np.abs(both.values - truth) < 3 * both.standard_errors).all()
    assert both.standard_errors[0] < 0.001 and both.standard_errors[1] < 0.2
    assert both.standard_errors[2] < 0.02 and both.standard_errors[3] < 0.1
    assert both.loss == pytest.approx(1.0, abs=0.1)
    assert both.V.shape == (2, TS.size, 1) and both.clamps[0].current.shape == (2, TS.size)


def test_residuals_and_their_slopes():
    """Forward and reverse mode agree, with initial potentials that are unknown too."""
    clamp, recorded = passive_data()
    model = (hh.Neuron({"leak": hh.Leak(g=0.1, E=-60.0)}), hh.Electrode(area=2000.0))
    where = ["leak.g", "leak.E"]
    fit = hh.fit(model, [recorded, clamp], where=where, guide=None, steps=0, **QUIET)
    problem, u, still = fit.problem, fit.u, jnp.zeros(())
    r, J = eqx.filter_jit(lambda problem, u: problem.jacobian(u, still))(problem, u)
    assert r.size == 2 * recorded.V.size and J.shape == (r.size, 4)
    assert float(r @ r) == pytest.approx(fit.loss, rel=1e-9)
    gradient = eqx.filter_jit(lambda problem, u: jax.grad(problem.loss)(u, still))(problem, u)
    np.testing.assert_allclose(gradient, 2 * J.T @ r, rtol=1e-6)


def test_the_noise_of_a_recording_is_its_unit():
    rng = np.random.default_rng(2)
    target = np.where(TS < 5.0, 0.0, 300 * np.exp(-TS / 5.0)) + 7 * rng.standard_normal((20, TS.size))
    target[:, 200:210] = np.nan
    loss = hh.losses.Current().made_for(jnp.asarray(TS), jnp.asarray(target)[..., None])
    assert float(loss.sd) == pytest.approx(7.0, rel=0.05)
    own = hh.losses.Current(sd=2.0, start=1.0, stop=3.0)
    ts, target = jnp.array([0.0, 1.0, 2.0, 3.0]), jnp.array([[[9.0], [1.0], [jnp.nan], [3.0]]])
    np.testing.assert_allclose(own(ts, jnp.full((1, 4, 1), 5.0), target).ravel(), [0, 2**0.5, 0, 0.5**0.5])


def test_parts_of_a_recording():
    V = np.where(TS < 5.0, -80.0, np.array([[-80.0], [20.0]]))
    recording = hh.VoltageClampRecording(TS, V, np.zeros(V.shape), "pA", leak_pulses=4, compensation=0.5)
    blank = np.isnan(recording.blanked(0.2).current)
    assert not blank[0].any()  # where nothing jumps
    np.testing.assert_array_equal(np.flatnonzero(blank[1]), [100, 101, 102, 103, 104])
    part = recording.only(10.0, 15.0)
    assert part.ts[-1] == pytest.approx(15.0) and len(part) == 2 and part.leak_pulses == 4
    np.testing.assert_allclose(part.ts[~np.isnan(part.current[0])][[0, -1]], [10.0, 15.0])
    np.testing.assert_array_equal(recording[1].V, V[1:])
    assert recording[1].compensation == 0.5
    assert "P/4 subtracted" in str(recording)


@pytest.mark.usefixtures("as_users_run_it")
def test_what_does_not_fit_is_refused():
    V = np.full((2, TS.size), -80.0)
    with pytest.raises(ValueError, match="`V` must have the shape of `current`"):
        hh.VoltageClampRecording(TS, V, V[:1])
    with pytest.raises(ValueError, match="`compensation` must be from 0 to below 1, got 1"):
        hh.VoltageClampRecording(TS, V, V, compensation=1.0)
    with pytest.raises(ValueError, match="`leak_pulses` must be a whole number, the n of P/n, got 0.25"):
        hh.VoltageClampRecording(TS, V, V, leak_pulses=0.25)
    recording = hh.VoltageClampRecording(TS, V, V, "pA")
    call = lambda model=PASSIVE, data=recording, **more: hh.fit(model, data, where="leak.g", **QUIET, **more)
    with pytest.raises(ValueError, match="`data` has currents in pA: give the membrane's area"):
        call()
    with pytest.raises(ValueError, match="`series` of the electrode needs currents in pA"):
        call((PASSIVE, hh.Electrode(series=5.0)), hh.VoltageClampRecording(TS, V, V))
    with pytest.raises(ValueError, match="`model` must be one neuron without coupling and noise"):
        call(hh.Network(PASSIVE, n=2))
    with pytest.raises(ValueError, match="`loss` must have one loss or None for each of the 2 recordings"):
        call((PASSIVE, hh.Electrode(area=1e3)), [recording, recording], loss=[None])
    both = hh.Recording(TS, V, V, "pA")
    with pytest.raises(ValueError, match="`data` must have one recording in current clamp, .* got 2"):
        call((PASSIVE, hh.Electrode(area=1e3)), [both, both, recording])
