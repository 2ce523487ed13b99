"""Channel noise with a value for each neuron of what enters the rates."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hhjax as hh


class Shifted(hh.MarkovChannel):
    """Two states, of which the rates depend on parameters."""

    states = ("shut", "open")
    open = ("open",)
    V_half: hh.Parameter = hh.param(-40.0, unit="mV")
    tau: hh.Parameter = hh.param(2.0, unit="ms", positive=True)

    def transitions(self, V):
        opens = jax.nn.sigmoid((V - self.V_half) / 5)
        return {("shut", "open"): opens / self.tau, ("open", "shut"): (1 - opens) / self.tau}


MARKOV = hh.Neuron(
    {
        "own": Shifted(
            g=0.5, E=50.0, V_half=jnp.array([-60.0, -50.0, -40.0]), tau=jnp.array([1.0, 2.0, 3.0])
        ),
        "leak": hh.Leak(g=0.1, E=-65.0),
    }
)


@pytest.mark.parametrize("model", ["conductance", "tau_leap", "exact"])
def test_noise_of_markov_channels_with_rates_for_each_neuron(model):
    still = hh.Network(MARKOV, n=3)
    few = model == "exact"  # of which each transition costs a step
    count = 200.0 if few else 1e10
    noisy = hh.with_channel_noise(still, model=model, count=count)
    given = dict(dt=0.05, stimulus=3.0, v0=-58.0)
    run = hh.simulate(noisy, t1=0.5 if few else 5.0, key=jax.random.key(2), **given)
    if not few:  # noise that is too small to see: the run without it
        np.testing.assert_allclose(run.V, hh.simulate(still, t1=5.0, **given).V, atol=0.1)
        assert np.ptp(run.V[-1]) > 0.5
        return
    for name, channel in noisy.noisy_channels.items():
        counts = jnp.stack(list(run.final.gates[name].values()))
        np.testing.assert_array_equal(counts.sum(axis=0), count)
        np.testing.assert_array_equal(counts, counts.round())
    # Each neuron's counts at rest are those that it has alone.
    at = noisy.init(-50.0).gates
    for i in range(3):
        one = jax.tree.map(lambda x: x[i : i + 1] if x.shape == (3,) else x, noisy.neuron)
        alone = hh.Network(one, n=1).init(-50.0).gates
        jax.tree.map(lambda x, y: np.testing.assert_array_equal(x[i], y[0]), at, alone)


def of_each(tree, i=None):
    """A tree in which every parameter has a value for each of 3 neurons, or the value of neuron i for all."""
    spread = lambda x: x * jnp.array([0.95, 1.0, 1.1]) if eqx.is_inexact_array(x) and x.shape == () else x
    return jax.tree.map(lambda x: spread(x) if i is None or spread(x) is x else spread(x)[i], tree)


@pytest.mark.parametrize("model", ["subunit", "conductance", "ou_conductance", "tau_leap", "exact", None])
def test_every_parameter_of_every_noise_for_each_neuron(model):
    """Neuron i runs, to rounding, as among three that all have its parameters."""
    injected = (
        (hh.CurrentNoise(2.0), hh.OUCurrent(3.0, 1.5, 0.5), hh.OUConductance(4.0, 0.01, 0.03, -20.0))
        if model is None
        else ()
    )
    channels = hh.pospischil_rs().channels  # of which `VT` enters the rates
    neuron = hh.Neuron({"k": channels["k"], "leak": channels["leak"]})

    def run(i):
        own, noise = of_each((neuron, injected), i)
        network = hh.Network(own, n=3, noise=noise)
        if model is not None:
            count = jnp.array([50.0, 100.0, 200.0]) if i is None else [50.0, 100.0, 200.0][i]
            network = hh.with_channel_noise(network, model=model, count=count)
        key = jax.random.key(4)
        return hh.simulate(network, t1=1.0, dt=0.05, stimulus=3.0, v0=-58.0, key=key).V

    together = run(None)
    for i in range(3):
        np.testing.assert_allclose(together[:, i], run(i)[:, i], rtol=1e-11)
    assert np.ptp(together[-1]) > 0.1


def test_slow_ou_processes_keep_their_digits_in_single_precision():
    """In a short step the noise is √(2·a·variance), not a difference of two numbers near 1."""
    noisy = hh.with_channel_noise(hh.squid_axon(), model="ou_conductance", count=100)

    def kicks(dtype):
        cast = lambda x: jax.tree.map(lambda leaf: leaf.astype(dtype), x)
        channel, V, dt = cast((noisy.channels["k"], jnp.array([-40.0]), jnp.asarray(1e-5)))
        rest = channel.steady_state(V)
        moved = channel.move(V, rest, {}, dt, jnp.ones((4, 1), dtype))
        return [float(moved[name][0]) for name in channel.scheme.names[1:]]

    np.testing.assert_allclose(kicks(jnp.float32), kicks(jnp.float64), rtol=3e-6)
