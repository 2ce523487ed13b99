import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hhjax as hh

AXON = hh.squid_axon()


def test_two_neurons_match_the_reference(reference):
    expected = reference["two_neuron"]
    pair = hh.Network(AXON, n=2, coupling=hh.GradedSynapse(expected["E"]))
    full = diffrax.SaveAt(t0=True, steps=True)
    run = hh.simulate(pair, t1=100.0, dt=0.01, stimulus=10.0, solver="rk4", saveat=full)
    for i in (0, 1):
        np.testing.assert_allclose(run.spike_times()[i], expected["spike_times_ms"][str(i)], atol=1e-5)
    for t, state in expected["state"].items():
        k = round(float(t) / 0.01)
        np.testing.assert_allclose(run.V[k], state["V"], atol=1e-4)
        np.testing.assert_allclose(run.ys.s[k], state["S"], atol=1e-4)
    assert float(pair.init(-65.0).s[0]) == pytest.approx(reference["gates_at_-65"]["S"], rel=1e-10)


def ring(n, weight):
    """Each neuron hears its two neighbours: sums of two terms, whose order is no matter.

    If `weight` is a power of 2, that is; else a product may be rounded that is not when added at once.
    """
    return weight * (np.roll(np.eye(n), 1, axis=1) + np.roll(np.eye(n), -1, axis=1))


@pytest.mark.parametrize("solver", ["strang", "exp_euler", "rk4"])
def test_permuting_neurons_permutes_results_exactly(solver):
    rng = np.random.default_rng(0)
    n, order = 16, rng.permutation(16)
    E = ring(n, 0.5)
    I, v0 = rng.uniform(5, 15, n), rng.uniform(-75, -50, n)

    def run(E, I, v0):
        network = hh.Network(AXON, n=n, coupling=hh.GradedSynapse(E))
        return hh.simulate(network, t1=30.0, dt=0.02, stimulus=I, v0=v0, solver=solver).V

    np.testing.assert_array_equal(run(E[order][:, order], I[order], v0[order]), run(E, I, v0)[:, order])


def test_without_coupling_a_network_is_its_neurons():
    I = jnp.array([5.0, 8.0, 12.0])
    coupled = hh.Network(AXON, n=3, coupling=hh.GradedSynapse(jnp.zeros((3, 3))))
    together = hh.simulate(coupled, t1=50.0, dt=0.025, stimulus=I)
    for k in range(3):
        alone = hh.simulate(AXON, t1=50.0, dt=0.025, stimulus=I[k])
        np.testing.assert_allclose(together.V[:, k], alone.V[:, 0], rtol=1e-9)


def test_a_thousand_neurons_each_hearing_all_the_others():
    n = 1000
    E = jax.random.uniform(jax.random.key(0), (n, n), maxval=1 / n)
    network = hh.Network(AXON, n=n, coupling=hh.GradedSynapse(E))
    run = hh.simulate(network, t1=20.0, dt=0.05, stimulus=10.0)
    assert run.V.shape == (401, n)
    counts = [len(s) for s in run.spike_times()]
    assert min(counts) >= 1
    # With all inputs nearly equal, each neuron is nearly the one that hears its own s.
    mean = hh.Network(AXON, coupling=hh.GradedSynapse(jnp.full((1, 1), float(E.sum() / n))))
    alike = hh.simulate(mean, t1=20.0, dt=0.05, stimulus=10.0)
    times = np.array([s[0] for s in run.spike_times()])
    assert times.mean() == pytest.approx(alike.spike_times()[0][0], abs=1e-3)


def test_rows_receive():
    E = jnp.array([[0.0, 0.0], [1.0, 0.0]])  # neuron 1 hears neuron 0
    network = hh.Network(AXON, n=2, coupling=hh.GradedSynapse(E))
    y = network.init(jnp.array([20.0, -65.0]))
    V = hh.vector_field(0.0, y, (network, 0.0)).V
    plain = hh.vector_field(0.0, hh.Network(AXON, n=2).init(y.V), (hh.Network(AXON, n=2), 0.0)).V
    assert float(V[0]) == float(plain[0])
    assert float(V[1] - plain[1]) == pytest.approx(float((20.0 - y.V[1]) * y.s[0]), rel=1e-9)


def test_constants_of_the_synapse_are_fields():
    synapse = hh.GradedSynapse(jnp.zeros((1, 1)), alpha=2.0, beta=0.5, half=-20.0, slope=4.0)
    V = jnp.array([-20.0])
    drive, rate = synapse.linear_form(V, None)
    assert (float(drive[0]), float(rate[0])) == (1.0, 1.5)
