"""Derivatives of runs: against reference sensitivities, and of every way to get them."""

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
import pytest

import hhjax as hh

AXON = hh.squid_axon()
PARAMETERS = {
    "gNa": lambda neuron: neuron.channels["na"].g,
    "gK": lambda neuron: neuron.channels["k"].g,
    "gL": lambda neuron: neuron.channels["leak"].g,
    "ENa": lambda neuron: neuron.channels["na"].E,
    "EK": lambda neuron: neuron.channels["k"].E,
    "EL": lambda neuron: neuron.channels["leak"].E,
    "C": lambda neuron: neuron.C,
}
VALUES = jnp.array([120.0, 36.0, 0.3, 50.0, -77.0, -54.387, 1.0, 10.0])


def axon(values, neuron=AXON):
    return eqx.tree_at(lambda n: [where(n) for where in PARAMETERS.values()], neuron, list(values[:7]))


def test_sensitivities_of_states_and_spike_times(reference):
    """dV(t) and dt_k by gNa, gK, gL, ENa, EK, EL, C and I, from the same initial gates."""
    expected = reference["I10"]["sensitivities"]
    y0 = hh.Network(AXON).init(-65.0)

    def outcome(values):
        run = hh.simulate(
            axon(values),
            t1=100.0,
            dt=0.005,
            stimulus=values[7],
            y0=y0,
            solver="rk4",
            adjoint=diffrax.ForwardMode(),
        )
        indices = np.array([round(t / 0.005) for t in (1, 5, 10, 20, 50, 100)])
        return run.V[indices, 0], hh.spike_times(run.ts, run.V[:, 0], max_spikes=7)

    by_V, by_times = jax.jacfwd(outcome)(VALUES)
    for k, name in enumerate([*PARAMETERS, "I"]):
        V = [expected[name][f"dstate_Vmhn_t{t}"][0] for t in (1, 5, 10, 20, 50, 100)]
        np.testing.assert_allclose(by_V[:, k], V, rtol=1e-5)
        np.testing.assert_allclose(by_times[:, k], expected[name]["dt_spike"], rtol=1e-5)


def test_reverse_mode_matches_the_reference_too(reference):
    expected = reference["I10"]["sensitivities"]
    y0 = hh.Network(AXON).init(-65.0)

    def V20(values):
        run = hh.simulate(axon(values), t1=20.0, dt=0.005, stimulus=values[7], y0=y0, solver="rk4")
        return run.final.V[0]

    slope = jax.grad(V20)(VALUES)
    V = [expected[name]["dstate_Vmhn_t20"][0] for name in [*PARAMETERS, "I"]]
    np.testing.assert_allclose(slope, V, rtol=1e-5)


def test_sensitivities_of_a_network_to_its_coupling(reference):
    expected = reference["two_neuron"]["sensitivities"]
    start = hh.Network(AXON, n=2, coupling=hh.GradedSynapse(reference["two_neuron"]["E"]))
    y0 = start.init(-65.0)

    def V100(E, reversal, width, I):
        coupling = hh.GradedSynapse(E, reversal=reversal, width=width)
        network = hh.Network(AXON, n=2, coupling=coupling)
        return hh.simulate(network, t1=100.0, dt=0.005, stimulus=I, y0=y0, solver="rk4").final.V[0]

    E = jnp.array(reference["two_neuron"]["E"])
    slopes = jax.grad(V100, argnums=(0, 1, 2, 3))(E, 20.0, 1.0, jnp.array([10.0, 10.0]))
    got = [slopes[0][0, 1], slopes[0][1, 0], slopes[1], slopes[2], slopes[3][0], slopes[3][1]]
    names = ["E[(0, 1)]", "E[(1, 0)]", "Vr", "w", "I[0]", "I[1]"]
    np.testing.assert_allclose(got, [expected[name]["dV100"][0] for name in names], rtol=1e-5)


@pytest.mark.parametrize(
    "saveat", [None, diffrax.SaveAt(steps=6), diffrax.SaveAt(t1=True)], ids=["all", "6th", "t1"]
)
def test_every_adjoint_gives_the_same_values_and_slopes(saveat):
    """Whatever is kept, at numbers of steps, and of those in a turn, that do not divide evenly."""
    options = {} if saveat is None else {"saveat": saveat}

    def loss(g, adjoint, unroll=1):
        neuron = hh.Neuron({"leak": hh.Leak(g=g)})
        stimulus = hh.Ramp(10.0, 0.4, 3.0)
        given = dict(stimulus=stimulus, adjoint=adjoint, unroll=unroll)
        run = hh.simulate(neuron, t1=4.52, dt=0.03, **given, **options)
        return jnp.mean(run.V**2) + run.final.V[0]

    value, slope = jax.value_and_grad(loss)(0.3, diffrax.DirectAdjoint())
    assert abs(float(slope)) > 1e-3
    kept = [diffrax.RecursiveCheckpointAdjoint(checkpoints=k) for k in (None, 1, 7, 150)]
    results = [jax.value_and_grad(loss)(0.3, adjoint) for adjoint in kept]
    results.append(jax.value_and_grad(loss)(0.3, kept[2], unroll=4))
    results.append(jax.jvp(lambda g: loss(g, diffrax.ForwardMode()), (0.3,), (1.0,)))
    for other, along in results:
        assert float(other) == pytest.approx(float(value), rel=1e-12)
        assert float(along) == pytest.approx(float(slope), rel=1e-10)


@pytest.mark.parametrize(
    "solver, adjoint",
    [
        ("strang", diffrax.RecursiveCheckpointAdjoint()),
        ("strang", diffrax.ForwardMode()),
        (diffrax.Heun(), diffrax.RecursiveCheckpointAdjoint()),
    ],
    ids=lambda x: x if isinstance(x, str) else type(x).__name__,
)
def test_optimistix_finds_parameters_in_forward_mode(solver, adjoint):
    """g = 0.2 mS/cm² and E = -60 mV of a membrane, of which the data are a run by the same solver."""
    options = {"t1": 5.0, "dt": 0.1, "v0": -40.0, "solver": solver, "adjoint": adjoint}
    V = lambda p: hh.simulate(hh.Neuron({"leak": hh.Leak(g=p["g"], E=p["E"])}), **options).V
    data = V({"g": 0.2, "E": -60.0})
    found = optx.least_squares(
        lambda p, args: V(p) - data,
        optx.LevenbergMarquardt(rtol=1e-8, atol=1e-8),
        {"g": jnp.array(0.3), "E": jnp.array(-50.0)},
        options={"jac": "fwd"},
    )
    assert float(found.value["g"]) == pytest.approx(0.2, rel=1e-6)
    assert float(found.value["E"]) == pytest.approx(-60.0, rel=1e-6)


@pytest.mark.parametrize("steps, most", [(4000, 330e6), (16_000, 330e6)])
def test_memory_of_a_gradient_is_bounded(steps, most):
    """10,000 neurons in float32: 16 bytes each for every second step, or where that would be more than
    1 GB the states of √steps, and those of half the steps in between."""
    n = 10_000
    network = jax.tree.map(lambda x: x.astype(jnp.float32), hh.Network(AXON, n=n))
    I = jnp.linspace(5.0, 20.0, n, dtype=jnp.float32)
    mean = diffrax.SaveAt(steps=True, fn=lambda t, y, args: y.V.mean())

    def loss(network):
        return hh.simulate(network, t1=steps / 40, dt=0.025, stimulus=I, saveat=mean, throw=False).ys.mean()

    needs = lambda f: jax.jit(f).lower(network).compile().memory_analysis().temp_size_in_bytes
    assert needs(jax.grad(loss)) - needs(loss) < most


def test_float32_gradients_follow_float64_wherever_those_are_stable():
    """100 cells, I = 5…20, mean V² over 100 ms. A float64 gradient counts as stable if
    rounding the parameters to float32 and back does not move it by more than 0.1 %."""
    n = 100
    currents = jnp.linspace(5.0, 20.0, n)

    def gradient(dtype, nudge):
        neuron = jax.tree.map(lambda x: (x * nudge).astype(dtype), AXON)
        neuron = jax.tree.map(lambda x: jnp.broadcast_to(x, (n,)), neuron)

        def loss(neuron):
            run = hh.simulate(hh.Network(neuron, n=n), t1=100.0, dt=0.025, stimulus=currents, v0=-65.0)
            return jnp.mean(run.V**2, axis=0).sum()

        slopes = jax.grad(loss)(neuron)
        return np.stack([np.asarray(where(slopes), np.float64) for where in PARAMETERS.values()])

    exact, nudged, single = gradient("float64", 1.0), gradient("float64", 1 + 1e-7), gradient("float32", 1.0)
    size = np.abs(exact) + 1e-3 * np.abs(exact).max(axis=1, keepdims=True)
    stable = (np.abs(nudged - exact) / size).max(axis=0) < 1e-3
    assert stable.sum() > 80
    assert (np.abs(single - exact) / size).max(axis=0)[stable].max() < 0.01


def test_an_unknown_adjoint_is_refused():
    with pytest.raises(TypeError, match=r"`adjoint` must be one of diffrax.RecursiveCheckpointAdjoint\(\)"):
        hh.simulate(AXON, t1=1.0, dt=0.1, adjoint=diffrax.BacksolveAdjoint())
