"""Analysis of dynamics, against reference values, closed forms and direct simulation.

References: float64 solutions by a high-order Runge-Kutta method and a separate root finder, as in
tests/data, with more digits or further figures from the same program where a number stands here.
"""

import json
from pathlib import Path

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pytest

import hhjax as hh
from hhjax import analysis, plot

AXON = hh.squid_axon()
LIBRARY = json.loads((Path(__file__).parents[1] / "data" / "model_library.json").read_text())
HOPF = {"I": [9.775437995393098, 154.52243366580817], "V": [-59.65414360299541, -43.05809201298382]}
HERTZ = [93.30200916729635, 169.16925966607604]
PERIOD, MULTIPLIER = 14.636209989831663, 0.07406026131551709  # at 10 µA/cm²


@pytest.fixture(scope="module")
def curve():
    return analysis.branches(AXON, (0.0, 180.0))


@pytest.fixture(scope="module")
def orbit():
    return analysis.periodic_orbit(AXON, 10.0, steps=2000)


@pytest.fixture(scope="module")
def followed(orbit):
    return analysis.continue_orbit(orbit, (5.0, 180.0), steps=orbit.ts.size - 1)  # compiled once


def test_hopf_points_of_the_squid_axon(curve):
    np.testing.assert_allclose(curve.hopf_current, HOPF["I"], atol=1e-7)
    np.testing.assert_allclose(curve.hopf_V, HOPF["V"], atol=1e-8)
    np.testing.assert_allclose(curve.hopf_frequency, HERTZ, atol=1e-6)
    assert curve.fold_current.size == 0
    between = (curve.current > HOPF["I"][0]) & (curve.current < HOPF["I"][1])
    np.testing.assert_array_equal(curve.stable, ~between)
    assert str(curve).splitlines()[1].split()[:2] == ["Hopf", "9.775438"]


def test_folds_and_all_equilibria_of_a_neuron_with_three():
    snic = hh.morris_lecar("snic")
    curve = analysis.branches(snic, (-20.0, 60.0))
    np.testing.assert_allclose(
        curve.fold_current, LIBRARY["morris_lecar_snic"]["saddle_node_currents"], atol=1e-8
    )
    assert curve.hopf_current.size == 0
    found = analysis.equilibria(snic)
    V = [float(point.V[0]) for point in found]
    np.testing.assert_allclose(V, LIBRARY["morris_lecar_snic"]["equilibria"], atol=1e-9)
    assert [point.kind for point in found] == ["stable node", "saddle", "unstable node"]
    hopf = analysis.branches(hh.morris_lecar("hopf"), (0.0, 300.0))
    np.testing.assert_allclose(hopf.hopf_current, LIBRARY["morris_lecar"]["hopf_currents"], atol=1e-7)


def test_rest_and_its_eigenvalues():
    rest = analysis.equilibrium(AXON)
    assert abs(rest.V[0] - -64.99637933119206) < 1e-9 and rest.stable
    pair = -0.20263885045750274 + 0.38322451175419925j
    want = [-0.12066506801447835, pair, pair.conjugate(), -4.675027302854119]
    got = np.array(rest.eigenvalues)
    np.testing.assert_allclose(got[np.lexsort((-got.imag, -got.real))], want, atol=1e-8)


def test_equilibria_over_currents_under_jit_and_vmap_with_their_slope():
    V = lambda I: analysis.equilibrium(AXON, I).V[0]
    currents = jnp.array([HOPF["I"][0], 4.999, 5.0, 5.001])
    got, slopes = jax.jit(jax.vmap(jax.value_and_grad(V)))(currents)
    np.testing.assert_allclose(got[0], HOPF["V"][0], atol=1e-8)
    np.testing.assert_allclose(slopes[2], (got[3] - got[1]) / 0.002, rtol=1e-6)


def test_a_coupled_network_with_calcium_pools_is_at_rest():
    cell = hh.thalamic_reticular()
    cell = hh.Neuron({k: cell.channels[k] for k in ("t", "leak")}, ions=cell.ions, celsius=36.0)
    pair = hh.Network(cell, n=2, coupling=hh.GradedSynapse([[0.0, 0.4], [0.1, 0.0]]))
    stimulus = jnp.array([0.1, 0.5])
    found = analysis.equilibrium(pair, stimulus, -60.0)
    slope = eqx.filter_jit(hh.vector_field)(0.0, found.state, (pair, stimulus))
    assert max(float(jnp.abs(x).max()) for x in jax.tree.leaves(slope)) < 1e-9
    size = sum(x.size for x in jax.tree.leaves(found.state))
    assert found.eigenvalues.shape == (size,) and found.V[0] != found.V[1]


def test_the_orbit_of_the_squid_axon(orbit):
    assert abs(orbit.period - PERIOD) < 2e-8
    np.testing.assert_allclose(orbit.multipliers[0], 1.0, atol=1e-9)
    np.testing.assert_allclose(orbit.multipliers[1], MULTIPLIER, atol=1e-8)
    assert orbit.stable and abs(orbit.frequency - 68.32369860) < 1e-6
    np.testing.assert_allclose(
        [orbit.V.max(), orbit.V.min()], [30.430910522079255, -74.89621556501284], atol=1e-4
    )
    assert orbit.V[:, 0].argmax() in (0, len(orbit.ts) - 1)
    np.testing.assert_allclose(orbit.V[-1], orbit.V[0], atol=1e-9)


def test_two_coupled_neurons_fire_together():
    pair = hh.Network(AXON, n=2, coupling=hh.GradedSynapse([[0.0, 0.1], [0.1, 0.0]]))
    every = diffrax.SaveAt(t0=True, steps=1)
    run = hh.simulate(pair, t1=200.0, dt=0.0125, stimulus=10.0, solver="rk4", saveat=every)
    period = np.diff(run.spike_times()[1])[-1]
    peak = len(run.ts) - 1600 + int(run.V[-1600:, 0].argmax())  # in the last 20 ms
    state = jax.tree.map(lambda y: y[peak], run.ys)
    orbit = analysis.periodic_orbit(pair, 10.0, (state, round(period, 1)), steps=1000)
    np.testing.assert_allclose(orbit.period, period, atol=1e-5)
    np.testing.assert_allclose(orbit.V[:, 0], orbit.V[:, 1], atol=1e-6)
    assert orbit.stable and orbit.multipliers.shape == (10,)


def test_slopes_of_the_period(orbit, reference):
    def period(neuron):
        return analysis.periodic_orbit(neuron, 10.0, orbit).period

    slopes = eqx.filter_jit(eqx.filter_grad(period))(AXON)
    # The 6th and 7th spike times of a run and their slopes differ by those of a period, to 1e-6.
    late = lambda name: np.diff(reference["I10"]["sensitivities"][name]["dt_spike"])[-1]
    by_adjoint = analysis.sensitivity(AXON, analysis.period_feature(orbit))
    assert by_adjoint.feature == orbit.period
    for name, channel, atol in (("gNa", "na", 2e-7), ("gK", "k", 2e-6), ("gL", "leak", 5e-4)):
        np.testing.assert_allclose(slopes.channels[channel].g, late(name), atol=atol)
        np.testing.assert_allclose(by_adjoint[f"{channel}.g"], slopes.channels[channel].g, rtol=1e-6)


def test_the_branch_of_orbits(followed):
    assert abs(followed.fold_current[-1] - 6.260321274513809) < 1e-6
    assert abs(followed.fold_period[-1] - 19.895240712423462) < 1e-3
    # It goes from Hopf point to Hopf point, and no orbit beyond the fold on the upper side is unstable.
    swing = (followed.V_max - followed.V_min)[:, 0]
    np.testing.assert_allclose(followed.current[0], HOPF["I"][0], atol=3e-2)
    np.testing.assert_allclose(followed.current[-1], HOPF["I"][1], atol=3e-2)
    assert swing[0] < 1.0 and swing[-1] < 1.0 and swing.max() > 100.0
    assert followed.stable[-10:].all() and not followed.stable[:5].any()
    np.testing.assert_allclose(followed.frequency[-1], HERTZ[1], rtol=1e-3)


def test_an_unstable_orbit_is_one(followed):
    """Runs that start beside it leave it, one to rest and one to the stable orbit."""
    point = int(jnp.argmin(jnp.where(followed.stable, jnp.inf, jnp.abs(followed.current - 7.0))))
    orbit = followed.orbit(point)
    assert not orbit.stable and abs(orbit.multipliers[0]) > 1.5
    np.testing.assert_allclose(orbit.period, followed.period[point], rtol=1e-5)
    np.testing.assert_allclose(orbit.V[-1], orbit.V[0], atol=1e-7)


def test_phase_response_against_kicks(orbit):
    response = analysis.phase_response(orbit)
    network, kick = hh.Network(AXON, n=8), 0.01  # mV
    at = np.repeat([200, 900, 1400, 1700], 2)
    y0 = jax.tree.map(lambda y: y[at, 0], orbit.ys)
    y0 = y0.replace_V(y0.V + kick * jnp.array([1.0, -1.0] * 4))
    run = hh.simulate(network, t1=80.0, dt=0.0125, stimulus=10.0, solver="rk4", y0=y0)
    last = np.array([times[4] for times in run.spike_times()])
    advance = (last[1::2] - last[0::2]) / (2 * kick)
    np.testing.assert_allclose(response.V[at[::2], 0], advance, rtol=2e-4, atol=2e-5)
    # Z·f = 1 all along.
    slopes = jax.jit(jax.vmap(lambda y: hh.vector_field(0.0, y, (hh.Network(AXON), 10.0))))(orbit.ys)
    ones = sum((z * f).sum(axis=1) for z, f in zip(jax.tree.leaves(response.Z), jax.tree.leaves(slopes)))
    np.testing.assert_allclose(ones, 1.0, atol=1e-6)


def test_lyapunov_exponents_of_the_orbit_are_its_multipliers(orbit):
    run = analysis.lyapunov(
        AXON, 10.0, t1=40 * PERIOD, dt=PERIOD / 1000, start=20 * PERIOD, y0=orbit.state, k=3
    )
    want = np.log(np.abs(orbit.multipliers[:3])) / PERIOD
    assert abs(run.exponents[0]) < 1e-6
    np.testing.assert_allclose(run.exponents[1], np.log(MULTIPLIER) / PERIOD, atol=1e-6)
    np.testing.assert_allclose(run.exponents[2], want[2], atol=1e-4)


def test_impedance_of_a_passive_membrane_and_of_the_axon():
    f = jnp.geomspace(1.0, 1000.0, 301)
    cell = hh.Network(hh.Neuron({"leak": hh.Leak(g=0.2, E=-60.0)}, C=2.0))
    rest = analysis.Equilibrium(cell.init(-60.0), jnp.zeros(()), jnp.array([-0.1 + 0j]), jnp.zeros(()))
    passive = analysis.impedance(cell, f, guess=rest)
    np.testing.assert_allclose(
        passive.Z[:, 0, 0], 1 / (0.2 + 2j * np.pi * np.asarray(f) / 1000 * 2.0), rtol=1e-12
    )
    assert passive.resonance[0] == 1.0
    rest = analysis.equilibrium(AXON)
    axon = analysis.impedance(AXON, f)
    peak = axon.resonance[0]
    near = analysis.impedance(AXON, peak + jnp.linspace(-1.0, 1.0, 301), guess=rest).input[:, 0]
    assert abs(np.abs(near).argmax() - 150) < 3
    # A small sine: V over the last of its periods.
    hertz, amplitude = 62.5, 0.01
    wave = hh.Sine(amplitude, hertz)
    run = hh.simulate(AXON, t1=160.0, dt=0.02, stimulus=wave, solver="rk4", y0=rest.state)
    t, V = np.asarray(run.ts)[-800:], np.asarray(run.V)[-800:, 0]
    response = 2 / 800 * (V * np.exp(-2j * np.pi * hertz * t / 1000)).sum() / (amplitude / 1j)
    Z = analysis.impedance(AXON, hertz + jnp.linspace(-15.0, 15.0, 301)).Z[150, 0, 0]
    np.testing.assert_allclose(response, Z, rtol=1e-4)


def test_figures(curve, followed, orbit):
    lines = plot.bifurcation(curve, followed)
    ax = lines[0].axes
    assert ax.get_xlabel() == "Injected current (µA/cm²)" and "mV" in ax.get_ylabel()
    named = {line.get_label(): line for line in lines}
    np.testing.assert_allclose(named["Hopf point"].get_xdata(), HOPF["I"], atol=1e-6)
    solid = np.isfinite(named["stable equilibrium"].get_ydata())
    np.testing.assert_array_equal(solid, curve.stable)
    assert named["unstable equilibrium"].get_linestyle() == "--"
    response = analysis.phase_response(orbit)
    (line,) = plot.prc(response)
    np.testing.assert_array_equal(line.get_ydata(), response.V[:, 0])
    assert "ms/mV" in line.axes.get_ylabel()
    upper, lower = plot.impedance(analysis.impedance(AXON, jnp.geomspace(1.0, 1000.0, 301)))
    assert "kΩ·cm²" in upper.axes.get_ylabel() and "Hz" in lower.axes.get_xlabel()
    assert upper.axes.get_xscale() == "log" and "66.7 Hz" in upper.axes.get_title(loc="left")
    plt.close("all")


SPIKING = hh.Network(AXON, n=2, coupling={"s": hh.synapses.ExponentialSynapse(jnp.eye(2))})
NOISY = hh.Network(AXON, noise=hh.CurrentNoise(1.0))


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: analysis.equilibrium(NOISY), "noisy"),
        (lambda: analysis.periodic_orbit(SPIKING, 10.0), "detected spikes"),
        (lambda: analysis.lyapunov(hh.Network(AXON, n=200), t1=1.0), "more than the 500"),
        (lambda: analysis.equilibria(hh.Network(AXON, n=2)), "must be one neuron"),
        (lambda: analysis.equilibria(AXON, V=(-10.0, 0.0)), "No equilibrium at 0"),
        (lambda: analysis.branches(AXON, (1e4, 2e4)), "No equilibrium between"),
        (lambda: analysis.branches(AXON, (2.0, 1.0)), "lowest and highest"),
        (lambda: analysis.periodic_orbit(AXON, 0.0), "No oscillation"),
    ],
)
def test_what_cannot_be_analysed_is_refused(call, message, as_users_run_it):
    with pytest.raises(ValueError, match=message):
        call()
    with pytest.raises(TypeError, match="must be constant"):
        analysis.equilibrium(AXON, hh.Step(1.0))


def test_an_orbit_that_does_not_close_is_refused(orbit):
    far = (hh.Network(AXON).init(-65.0), 3.0)
    with pytest.raises(Exception, match="No periodic orbit was found"):
        analysis.periodic_orbit(AXON, 0.0, far)
    assert jnp.isnan(analysis.periodic_orbit(AXON, 0.0, far, throw=False).period)
