"""A synapse written as the documentation says works with everything there is."""

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hhjax as hh

S = hh.synapses


class Receptor(hh.Synapse):
    """AMPA receptors, by hand."""

    alpha: hh.Parameter = hh.param(1.1, unit="1/ms", minimum=0.0)
    beta: hh.Parameter = hh.param(0.19, unit="1/ms", positive=True)

    def rates(self, V):
        return hh.AlphaBeta(alpha=self.alpha * jax.nn.sigmoid((V - 2) / 5), beta=self.beta)


W = np.array([[0.1, 0.0], [0.2, 0.05], [0.0, 0.3]])  # (post, pre)
PASSIVE, HELD = hh.Neuron({}), hh.Neuron({}, C=1e9)
SENT = np.array([0.0, 10.0])  # mV, at which the senders are held, with receptors at rest for −65 mV


def network(coupling):
    """Two neurons at whose V nothing happens, which send to populations of three."""
    cells, n = {"pre": HELD}, {"pre": 2}
    for name in coupling:
        cells[name], n[name] = PASSIVE, 3
    return hh.Network(cells, n=n, coupling=coupling)


def start(network):
    return network.init(-65.0).replace_V(jnp.full(network.n, -65.0).at[:2].set(SENT))


def exact(t, alpha=1.1, beta=0.19):
    """s of the senders after t ms, and ∫s dt."""
    bind = lambda V: alpha / (1 + np.exp(-(V - 2) / 5))
    rate, rest, before = bind(SENT) + beta, bind(SENT) / (bind(SENT) + beta), bind(-65) / (bind(-65) + beta)
    fallen = 1 - np.exp(-rate * t)
    return rest + (before - rest) * (1 - fallen), rest * t + (before - rest) * fallen / rate


T1 = diffrax.SaveAt(t1=True)


@pytest.mark.parametrize("solver", list(hh.steppers.by_name))
def test_every_solver_dense_and_sparse(solver):
    """A receiver relaxes to the reversal with the rate W·s: its exact solution, and AMPA's."""
    coupled = network(
        {
            "dense": Receptor(W, -10.0, pre="pre", post="dense"),
            "sparse": Receptor(hh.connect.from_dense(W), -10.0, pre="pre", post="sparse"),
            "ampa": S.AMPA(W, -10.0, pre="pre", post="ampa"),
        }
    )
    run = hh.simulate(coupled, t1=4.0, dt=0.01, y0=start(coupled), solver=solver, saveat=T1)
    _, area = exact(4.0)
    lag = 0.005 if solver == "staggered" else 0.0  # reports s of half a step ago
    np.testing.assert_allclose(run.final.s["dense"], exact(4.0 - lag)[0], atol=2e-3)
    V = -10 - 55 * np.exp(-W @ area)
    order = getattr(hh.steppers.by_name[solver], "order", 1)
    tolerance = 0.1 if order == 1 else 3e-4
    for name in ("dense", "sparse", "ampa"):
        np.testing.assert_allclose(run.final.V[coupled.ranges[name]], V, atol=tolerance)
        np.testing.assert_allclose(run.final.s[name], run.final.s["ampa"], rtol=1e-12)
    assert np.ptp(V) > 10


def test_sweep_over_its_own_parameter():
    coupled = network({"own": Receptor(W, -10.0, pre="pre", post="own")})
    over, v0 = {"coupling.own.alpha": np.array([0.0, 0.5, 1.1])}, np.array([*SENT, -65.0, -65.0, -65.0])
    V = hh.sweep(coupled, over=over, t1=4.0, dt=0.01, v0=v0, saveat=T1).ys.V[:, 0, 2:]
    bind = over["coupling.own.alpha"][:, None] / (1 + np.exp(-(SENT - 2) / 5))
    np.testing.assert_allclose(V, -10 - 55 * np.exp(-4 * (bind / (bind + 0.19)) @ W.T), rtol=1e-6)


def test_gradients():
    """V = E + (V₀ − E) e^(−W·∫s), whose slope by W is (E − V) ∫s."""
    dense = network({"own": Receptor(W, -10.0, pre="pre", post="own")})
    sparse = network({"own": Receptor(hh.connect.from_dense(W), -10.0, pre="pre", post="own")})
    final = lambda model: hh.simulate(model, t1=4.0, dt=0.01, y0=start(model)).final.V[2:].sum()
    _, area = exact(4.0)
    expected = (55 * np.exp(-W @ area))[:, None] * area
    slopes = eqx.filter_jit(eqx.filter_grad(final))(dense).coupling.parts["own"]
    np.testing.assert_allclose(slopes.weights, expected, rtol=1e-4)
    by_alpha = (
        sum((55 * np.exp(-W @ area)) @ W * (exact(4.0, 1.1 + 1e-5)[1] - exact(4.0, 1.1 - 1e-5)[1])) / 2e-5
    )
    assert float(slopes.alpha) == pytest.approx(by_alpha, rel=1e-3)
    entries = eqx.filter_jit(eqx.filter_grad(final))(sparse).coupling.parts["own"].weights
    there = sparse.coupling.parts["own"].weights
    rows = np.arange(3)[:, None]
    np.testing.assert_allclose(
        np.where(there.weight > 0, entries.weight, 0),
        np.where(there.weight > 0, expected[rows, there.pre], 0),
        rtol=1e-4,
    )


class Blocked(hh.Synapse):
    """Two states, whose rates differ in kind, and a block."""

    reversal: hh.Parameter = hh.param(5.0, unit="mV")

    def rates(self, V):
        return {"r": hh.AlphaBeta(0.5 * jax.nn.sigmoid(V), 0.1), "u": hh.InfTau(jax.nn.sigmoid(-V), 7.0)}

    def open_fraction(self, s):
        return s["r"] ** 2 * s["u"]

    def unblocked(self, V):
        return jax.nn.sigmoid((V + 20) / 9)


def test_its_equations_are_as_stated():
    V, weights = np.array([-30.0, 3.0]), np.array([[0.0, 0.2], [0.3, 0.1]])
    both = {"r": jnp.array([0.3, 0.6]), "u": jnp.array([0.9, 0.2])}
    synapse = Blocked(weights)
    coupled = hh.Network(hh.Neuron({}, C=2.0), n=2, coupling=synapse)
    slope = hh.vector_field(0.0, hh.State(jnp.asarray(V), {}, both), (coupled, 0.0))
    sigmoid = lambda x: 1 / (1 + np.exp(-x))
    r, u = np.asarray(both["r"]), np.asarray(both["u"])
    np.testing.assert_allclose(
        slope.V, sigmoid((V + 20) / 9) * (weights @ (r**2 * u)) * (5 - V) / 2, rtol=1e-12
    )
    np.testing.assert_allclose(slope.s["r"], 0.5 * sigmoid(V) * (1 - r) - 0.1 * r, rtol=1e-12)
    np.testing.assert_allclose(slope.s["u"], (sigmoid(-V) - u) / 7, rtol=1e-12)
    rest = synapse.steady_state(jnp.asarray(V))
    np.testing.assert_allclose(rest["r"], sigmoid(V) / (sigmoid(V) + 0.2), rtol=1e-12)
    np.testing.assert_allclose(rest["u"], sigmoid(-V), rtol=1e-12)


def test_solvers_learn_what_a_synapse_does():
    found = lambda synapse: (synapse.V_is_linear, synapse.states_are_independent)
    one = jnp.ones((1, 1))
    assert found(Receptor(one, 0.0)) == found(S.AMPA(one)) == found(hh.GradedSynapse(one)) == (True, True)
    assert found(Blocked(one)) == found(S.NMDA(one)) == (False, True)
    assert found(S.GABAB(one)) == (True, False)


def test_wrong_rates_are_refused():
    def made(returned):
        return type("Odd", (hh.Synapse,), {"rates": lambda self, V: returned(V)})(jnp.ones((1, 1)), 0.0)

    with pytest.raises(
        TypeError, match=r"`Odd.rates` must return hh.AlphaBeta.*dict of them by state, got \("
    ):
        made(lambda V: (V, V))
    with pytest.raises(TypeError, match=r"`Odd.rates` must return .*, got \{\}"):
        made(lambda V: {})
    with pytest.raises(TypeError, match=r"`Odd.rates` must give state 'x' as .*, got Instantaneous"):
        made(lambda V: {"s": hh.InfTau(V, 1.0), "x": hh.Instantaneous(V)})
    with pytest.raises(TypeError, match="abstract"):
        type("Empty", (hh.Synapse,), {})(jnp.ones((1, 1)), 0.0)


@pytest.mark.usefixtures("as_users_run_it")
def test_wrong_weights_are_refused():
    with pytest.raises(ValueError, match=r"`coupling.weights` must have shape \(post, pre\) = \(3, 3\)"):
        hh.Network(PASSIVE, n=3, coupling=Receptor(W, 0.0))
    with pytest.raises(ValueError, match=r"`coupling\['own'\].weights` must be finite"):
        network({"own": Receptor(np.full((3, 2), np.nan), 0.0, pre="pre", post="own")})
    with pytest.raises(ValueError, match=r"`alpha` must be at least 0.0 1/ms, got -1"):
        hh.Network(PASSIVE, n=3, coupling=Receptor(W @ W.T, 0.0, alpha=-1.0))


def test_weights_of_a_graded_synapse_are_also_called_E():
    weights = jnp.array([[0.0, 0.2], [0.1, 0.0]])
    synapse = hh.GradedSynapse(E=weights, reversal=-75.0)
    assert synapse.E is synapse.weights
    np.testing.assert_array_equal(synapse.weights, hh.GradedSynapse(weights).weights)
    changed = eqx.tree_at(lambda synapse: synapse.E, synapse, 2 * weights)
    np.testing.assert_array_equal(changed.weights, 2 * weights)
    first, _ = jax.tree_util.tree_flatten_with_path(synapse)[0][0]
    assert jax.tree_util.keystr(first) == ".weights"  # where E was: fits count leaves in this order
    with pytest.raises(TypeError, match="`E` and `weights` of hh.GradedSynapse are the same: give one"):
        hh.GradedSynapse(E=weights, weights=weights)
