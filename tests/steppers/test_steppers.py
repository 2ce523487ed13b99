import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hhjax as hh

from ..conftest import DATA

CONVERGENCE = DATA["convergence"]
SOLVERS = list(hh.steppers.by_name)
FULL = diffrax.SaveAt(t0=True, steps=True)


def many_steps(network, solver, dt):
    """The same number for every dt, of at least 150 ms: one compilation for all."""
    return hh.simulate(network, t1=24_000 * dt, dt=dt, stimulus=10.0, solver=solver, saveat=FULL)


def tenth_spike_and_V5(solver, dt):
    """As the reference table has them: cubic Hermite crossings with the field's slopes."""
    network = hh.Network(hh.squid_axon())
    run = many_steps(network, solver, dt)
    slopes = jax.vmap(lambda t, y: hh.vector_field(t, y, (network, 10.0)).V)(run.ts, run.ys)
    times = hh.spike_times(run.ts, run.V, slopes=slopes)[0]
    return float(times[9]), float(run.V[round(5 / dt), 0])


@pytest.mark.parametrize("solver", SOLVERS)
def test_errors_match_the_reference_table(solver):
    table = CONVERGENCE["methods"][solver]
    compared = 0
    spike_errors = {}
    for dt, spike, V5 in zip(CONVERGENCE["dts"], table["err_spike10_ms"], table["err_V5"]):
        if spike is None:
            continue
        time, V = tenth_spike_and_V5(solver, dt)
        spike_errors[dt] = time - CONVERGENCE["exact_10th_spike_ms"]
        for got, expected in ((spike_errors[dt], spike), (V - CONVERGENCE["exact_V5"], V5)):
            if abs(expected) > 1e-6:
                assert got == pytest.approx(expected, rel=0.05)
                compared += 1
    assert compared >= 4
    # dt = 0.1 and 0.2 are outside the asymptotic range of the exponential Rosenbrock.
    order = np.log2(abs(spike_errors[0.025] / spike_errors[0.0125]))
    assert order == pytest.approx(hh.steppers.by_name[solver].order, abs=0.25)


@pytest.mark.parametrize("solver", SOLVERS)
def test_bounded_at_the_documented_time_step(solver):
    dt = CONVERGENCE["methods"][solver]["max_dt_bounded"]
    V = many_steps(hh.Network(hh.squid_axon()), solver, dt).V
    assert float(V.min()) > -120 and float(V.max()) < 120


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("solver", ["ind_exp_euler", "strang", "staggered"])
def test_gates_stay_in_the_unit_interval(solver, dtype):
    V0 = jnp.linspace(-200.0, 200.0, 81, dtype=dtype)
    network = hh.Network(hh.squid_axon(), n=81, coupling=hh.GradedSynapse(jnp.full((81, 81), 0.01)))
    network = jax.tree.map(lambda x: x.astype(dtype), network)
    for dt in (0.01, 0.1, 0.7, 1.5, 3.0):
        run = hh.simulate(network, t1=600 * dt, dt=dt, stimulus=10.0, solver=solver, v0=V0, saveat=FULL)
        assert run.V.dtype == dtype
        for x in jax.tree.leaves((run.ys.gates, run.ys.s)):
            assert float(x.min()) >= 0 and float(x.max()) <= 1


@pytest.mark.parametrize("solver", ["ind_exp_euler", "strang", "staggered", "strang4", "exp_euler"])
def test_exact_on_a_passive_membrane(solver):
    neuron = hh.Neuron({"leak": hh.Leak(g=0.2, E=-60.0)}, C=2.0)
    run = hh.simulate(neuron, t1=20.0, dt=0.5, stimulus=1.0, v0=-80.0, solver=solver)
    # tau = C/g = 10 ms, V∞ = E + I/g = −55 mV.
    exact = -55.0 - 25.0 * np.exp(-np.asarray(run.ts) / 10)
    # The Padé approximant behind exp_euler is good to z⁷, z = dt/tau = 0.05.
    np.testing.assert_allclose(run.V[:, 0], exact, rtol=1e-12)


def test_exact_gates_at_clamped_voltage():
    """With an enormous capacitance V stands still, and the gates relax exponentially."""
    neuron = hh.squid_axon()
    neuron = hh.Neuron(neuron.channels, C=1e15)
    y0 = hh.Network(neuron).init(-65.0).replace_V(jnp.array([-30.0]))
    run = hh.simulate(neuron, t1=3.0, dt=0.75, y0=y0, saveat=FULL)
    kinetics = hh.Sodium().rates(jnp.asarray(-30.0))["m"]
    decay = np.exp(-np.asarray(run.ts) / float(kinetics.tau))
    exact = float(kinetics.inf) + (float(y0.gates["na"]["m"][0]) - float(kinetics.inf)) * decay
    np.testing.assert_allclose(run.ys.gates["na"]["m"][:, 0], exact, rtol=1e-12)


def test_a_membrane_without_channels_integrates_its_current():
    run = hh.simulate(hh.Neuron({}, C=2.0), t1=10.0, dt=0.1, stimulus=3.0, v0=0.0)
    assert float(run.final.V[0]) == pytest.approx(15.0, rel=1e-12)


def test_staggered_keeps_the_voltage_of_strang_and_gates_half_a_step_behind():
    network = hh.Network(hh.squid_axon())
    strang, staggered = (
        hh.simulate(network, t1=30.0, dt=0.05, stimulus=10.0, solver=s, saveat=FULL)
        for s in ("strang", "staggered")
    )
    np.testing.assert_allclose(staggered.V, strang.V, rtol=1e-10)
    m = strang.ys.gates["na"]["m"][:, 0]
    midway = (m[1:] + m[:-1]) / 2
    np.testing.assert_allclose(staggered.ys.gates["na"]["m"][1:, 0], midway, atol=0.01)
    assert float(jnp.abs(staggered.ys.gates["na"]["m"] - strang.ys.gates["na"]["m"]).max()) > 0.02


def test_exp_euler_keeps_its_order_in_a_network():
    E = jnp.array([[0.0, 1.0], [0.5, 0.0]])
    network = hh.Network(hh.squid_axon(), n=2, coupling=hh.GradedSynapse(E))
    v0 = jnp.array([-65.0, -55.0])
    exact = hh.reference(network, t1=3.0, stimulus=10.0, v0=v0).final.V
    run = lambda dt: hh.simulate(network, t1=600 * dt, dt=dt, stimulus=10.0, v0=v0, solver="exp_euler")
    coarse, fine = (float(jnp.linalg.norm(run(dt).V[round(3 / dt)] - exact)) for dt in (0.01, 0.005))
    assert np.log2(coarse / fine) == pytest.approx(2.0, abs=0.25)


class Noisy(hh.AbstractStepper):
    """Euler-Maruyama with a fixed current noise, as a user would write it."""

    order = 1
    stochastic = True

    def step(self, network, t, dt, z, stimulus, key):
        slope = hh.vector_field(t, z, (network, stimulus))
        y = jax.tree.map(lambda x, dx: x + dt * dx, z, slope)
        return y.replace_V(y.V + jnp.sqrt(dt) * jax.random.normal(key, y.V.shape, y.V.dtype))


def test_a_users_stochastic_stepper_needs_a_key_and_repeats_for_it():
    run = lambda key, **kw: hh.simulate(hh.squid_axon(), t1=20.05, dt=0.02, solver=Noisy(), key=key, **kw)
    with pytest.raises(ValueError, match="`key` is missing"):
        run(None)
    first, again, other = run(jax.random.key(0)), run(jax.random.key(0)), run(jax.random.key(1))
    np.testing.assert_array_equal(first.V, again.V)
    assert float(jnp.abs(first.V - other.V).max()) > 1
    every_tenth = run(jax.random.key(0), saveat=diffrax.SaveAt(steps=10, t1=True, fn=hh.save_V))
    np.testing.assert_array_equal(every_tenth.V[:-1], first.V[10::10][: len(every_tenth.V) - 1])
    np.testing.assert_array_equal(every_tenth.final.V, first.final.V)


@pytest.mark.usefixtures("as_users_run_it")
def test_unknown_solvers_are_answered_with_the_nearest():
    with pytest.raises(ValueError, match="Did you mean 'strang'.*ind_exp_euler"):
        hh.simulate(hh.squid_axon(), t1=1.0, dt=0.1, solver="strong")
    with pytest.raises(TypeError, match=r"write Tsit5\(\)"):
        hh.simulate(hh.squid_axon(), t1=1.0, dt=0.1, solver=diffrax.Tsit5)
    with pytest.raises(TypeError, match="`solver` must be a name"):
        hh.simulate(hh.squid_axon(), t1=1.0, dt=0.1, solver=4)
