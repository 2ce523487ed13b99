"""Synapses, connectivity and networks of several populations."""

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hhjax as hh
from hhjax._base.parameters import cast_floats

from ..channels.test_channels import SlowPotassium

S = hh.synapses
PASSIVE = hh.Neuron({}, C=1e9)  # a membrane that nothing moves


def everything(t, y, args):
    return y


ALL = diffrax.SaveAt(t0=True, steps=True, fn=everything)


def driven_by(times, synapse, weight=0.3, **options):
    """A membrane with a synapse that gets given spikes, of which there is one train."""
    coupling = synapse(jnp.array([[weight]]), input=S.SpikeTrains([times]), **options)
    return hh.Network(PASSIVE, coupling=coupling)


def kernel(synapse, t):
    t = np.maximum(t, 0)
    if isinstance(synapse, S.ExponentialSynapse):
        return np.exp(-t / 4)
    if isinstance(synapse, S.AlphaSynapse):
        return t / 4 * np.exp(1 - t / 4)
    peak = np.log(4 / 1) / (1 - 1 / 4)
    value = lambda t: np.exp(-t / 4) - np.exp(-t)
    return value(t) / value(peak)


@pytest.mark.parametrize(
    "kind, options",
    [
        (S.ExponentialSynapse, {"tau": 4.0}),
        (S.AlphaSynapse, {"tau": 4.0}),
        (S.DoubleExponentialSynapse, {"tau_rise": 1.0, "tau_decay": 4.0}),
    ],
)
def test_conductances_follow_their_formulas(kind, options):
    # On the grid, without a delay and with one of whole steps: exact.
    network = driven_by([1.0, 1.5], kind, **options)
    run = hh.simulate(network, t1=12.0, dt=0.05, saveat=ALL)
    g = network.coupling.conductance(run.ys.s["g"])[:, 0]
    expected = sum(
        0.3 * kernel(network.coupling, run.ts - s) * (np.asarray(run.ts) >= s - 1e-9) for s in (1, 1.5)
    )
    np.testing.assert_allclose(g, expected, atol=1e-12)


def test_what_a_conductance_does_to_V():
    """C dV/dt = g e^(-t/tau) (E - V), which has the solution of the ratio of distances."""
    synapse = S.ExponentialSynapse(jnp.array([[0.3]]), tau=4.0, reversal=-10.0, input=S.SpikeTrains([[1.0]]))
    run = hh.simulate(hh.Network(hh.Neuron({}), coupling=synapse), t1=10.0, dt=0.05)
    area = 0.3 * 4 * (1 - np.exp(-np.maximum(np.asarray(run.ts) - 1, 0) / 4))
    np.testing.assert_allclose(run.V[:, 0], -10 - 55 * np.exp(-area), atol=2e-3)


LEAKY = hh.Neuron({"leak": hh.Leak(g=0.1, E=-65.0)})
PAIR = {"pre": LEAKY, "post": LEAKY}
CURRENT = jnp.array([10.0, 0.0])
# V = −65 + 10·I·(1 − e^(−t/10)) of the first neuron passes 0 once, when e^(−t/10) is 1 − 6.5/I.
CROSSING = -10 * np.log(1 - 6.5 / 10.0)
CROSSING_BY_CURRENT = -10 * (6.5 / 10.0**2) / (1 - 6.5 / 10.0)


def pair(delay, kind=S.ExponentialSynapse):
    """A neuron that a current drives over the threshold, and one that hears it."""
    synapse = kind(jnp.array([[0.2]]), pre="pre", post="post", delay=delay)
    return hh.Network(PAIR, n={"pre": 1, "post": 1}, coupling={"syn": synapse})


@pytest.mark.parametrize("solver", ["strang", "ind_exp_euler"])
def test_a_delayed_spike_arrives_when_it_should(solver):
    run = hh.simulate(pair(1.337), t1=16.0, dt=0.02, stimulus=CURRENT, saveat=ALL, solver=solver)
    arrival = CROSSING + 1.337
    g, ts = np.asarray(run.ys.s["syn"]["g"]["g"][:, 0]), np.asarray(run.ts)
    expected = 0.2 * np.exp(-(ts - arrival) / 5) * (ts > arrival)
    away = np.abs(ts - arrival) > 0.03
    # Shared between two grid points: off by dt²/8 of the curvature at most.
    np.testing.assert_allclose(g[away], expected[away], rtol=1e-5)
    assert expected[away].max() > 0.19


def test_with_a_delay_gradients_flow_through_the_time_of_a_spike():
    network = pair(1.337)

    def final(delay, current):
        changed = eqx.tree_at(lambda n: n.coupling.parts["syn"].delay, network, delay)
        stimulus = jnp.stack([current, jnp.zeros(())])
        return hh.simulate(changed, t1=14.0, dt=0.02, stimulus=stimulus).final.V[1]

    at, both = (jnp.asarray(1.337), jnp.asarray(10.0)), jax.jit(jax.value_and_grad(final, (0, 1)))
    by_delay, by_current = both(*at)[1]
    up, down = (both(at[0] + step, at[1])[0] for step in (0.05, -0.05))
    assert abs(float(by_delay)) > 1
    assert float(by_delay) == pytest.approx(float(up - down) / 0.1, rel=5e-3)
    # What the current does to V of the other neuron it does by moving the spike.
    assert float(by_current) == pytest.approx(float(by_delay) * CROSSING_BY_CURRENT, rel=2e-3)


def test_without_a_delay_no_gradient_flows_through_the_spike():
    network = pair(None)

    def final(current, weight):
        changed = eqx.tree_at(lambda n: n.coupling.parts["syn"].weights, network, weight)
        stimulus = jnp.stack([current, jnp.zeros(())])
        return hh.simulate(changed, t1=14.0, dt=0.05, stimulus=stimulus).final.V[1]

    at, both = (jnp.asarray(10.0), jnp.array([[0.2]])), jax.jit(jax.value_and_grad(final, (0, 1)))
    by_current, by_weight = both(*at)[1]
    assert float(by_current) == 0.0
    up, down = (both(at[0], at[1] + step)[0] for step in (1e-4, -1e-4))
    assert float(by_weight[0, 0]) == pytest.approx(float(up - down) / 2e-4, rel=1e-6)


def test_short_term_plasticity_follows_its_recursion():
    times, U, rec, facil = [10.0, 30.0, 50.0, 70.0], 0.2, 200.0, 50.0
    plasticity = S.TsodyksMarkram(U=U, tau_rec=rec, tau_facil=facil)
    network = driven_by(times, S.ExponentialSynapse, weight=1.0, tau=5.0, plasticity=plasticity)
    run = hh.simulate(network, t1=80.0, dt=0.1, saveat=ALL)
    g = np.asarray(run.ys.s["g"]["g"][:, 0])
    x, u, last = 1.0, 0.0, 0.0
    for t in times:
        k = round(t / 0.1)
        x, u = 1 + (x - 1) * np.exp(-(t - last) / rec), u * np.exp(-(t - last) / facil)
        u, last = u + U * (1 - u), t
        assert g[k] - g[k - 1] * np.exp(-0.1 / 5) == pytest.approx(u * x, rel=1e-9)
        x = x - u * x


def test_inputs():
    key = jax.random.key(3)
    poisson = S.Poisson(n=4000, rate=jnp.full(4000, 40.0), key=key)
    steps = 0.1 * np.arange(200)
    counts = np.asarray(jax.jit(jax.vmap(lambda t: poisson.spikes(t, t + 0.1, jnp.asarray(0.1))))(steps))
    # 4000 trains of 40 Hz for 20 ms: 3200 spikes, standard deviation 57.
    assert abs(counts.sum() - 3200) < 228
    at = *map(jnp.asarray, steps[7:9]), jnp.asarray(0.1)
    again = S.Poisson(n=4000, rate=40.0, key=key).spikes(*at)
    np.testing.assert_array_equal(again, counts[7])
    # Keys of a kind that jax.random.poisson does not take.
    for other in (hh.fast_key(3), jax.random.key(3, impl="rbg")):
        counts = np.asarray(S.Poisson(n=4000, rate=50e3, key=other).spikes(*at))
        # Mean and variance 5, standard deviations 0.035 and 0.12.
        assert abs(counts.mean() - 5) < 0.15 and abs(counts.var() - 5) < 0.5
    trains = S.SpikeTrains([[1.0, 1.05, 7.0], [2.0, np.nan, np.nan]])
    seen = jax.jit(jax.vmap(lambda t: trains.spikes(t, t + 0.5, jnp.asarray(0.5))))(np.arange(0, 8, 0.5))
    seen = np.asarray(seen)
    np.testing.assert_array_equal(seen.sum(axis=0), [3, 1])
    np.testing.assert_array_equal(seen[2], [1, 0])  # 1.05; a spike at 1.0 belongs to the step up to it


POISSON = S.Poisson(1, 2000.0, jax.random.key(0))
ON_GRID = S.SpikeTrains(0.1 * np.arange(1, 451)[None])
poisson_spikes = jax.jit(jax.vmap(lambda t: POISSON.spikes(t, t + 0.1, jnp.asarray(0.1))[0]))


@pytest.mark.parametrize(
    "delay, dtype", [(None, jnp.float32), (0.5, jnp.float32), (1.25, jnp.float32), (1.25, jnp.float64)]
)
def test_no_spike_from_outside_is_lost(delay, dtype):
    """What a conductance that does not decay adds up to, over steps with up to several spikes."""

    def arrived(source, t1):
        synapse = S.ExponentialSynapse([[1.0]], tau=1e12, input=source, delay=delay)
        network = cast_floats(hh.Network(PASSIVE, coupling=synapse), dtype)
        return float(hh.simulate(network, t1=t1, dt=0.1).final.s["g"]["g"][0])

    assert arrived(ON_GRID, 50.0) == pytest.approx(450, abs=1e-3)
    late = int((delay or 0.0) / 0.1 + 0.01)
    number = np.asarray(poisson_spikes(0.1 * np.arange(-late, 500 - late)))
    assert number.max() > 1 and abs(number.sum() - 100) < 40
    # After a delay of 12.5 steps, half of the spikes of the last step are still to come.
    assert arrived(POISSON, 50.0) == pytest.approx(number.sum(), abs=0.6 * number.max())


def test_spikes_from_outside_arrive_when_they_should():
    """Given ones on the grid, after a delay of whole steps, exactly; at other grids' starts as well."""
    for t0 in (0.0, 0.05, 7.0):
        synapse = S.ExponentialSynapse(
            [[0.3]], tau=4.0, input=S.SpikeTrains([t0 + np.array([1.0, 1.5])]), delay=2.0
        )
        run = hh.simulate(hh.Network(PASSIVE, coupling=synapse), t0=t0, t1=t0 + 8.0, dt=0.05, saveat=ALL)
        since = np.asarray(run.ts)[:, None] - t0 - [3.0, 3.5]
        expected = 0.3 * (np.exp(-since / 4) * (since > -1e-9)).sum(axis=1)
        np.testing.assert_allclose(run.ys.s["g"]["g"][:, 0], expected, atol=1e-12)


def test_steps_of_any_grid_draw_anew():
    """Numbers of spikes in two successive steps do not depend on each other."""
    many = S.Poisson(4000, 5000.0, jax.random.key(1))
    dt = jnp.asarray(0.1)
    for t0 in (0.0, 0.05, 0.025, 0.033, 1e4 + 0.05):
        ends = [jnp.asarray(t0 + k * 0.1) for k in range(4)]
        first, second, third = (np.asarray(many.spikes(*ends[k : k + 2], dt)) for k in range(3))
        for pair in ((first, second), (second, third)):
            assert abs(np.corrcoef(*pair)[0, 1]) < 0.08  # 5 standard deviations


def test_several_spikes_in_a_step_are_released_one_after_the_other():
    plasticity = S.TsodyksMarkram(U=0.6, tau_rec=1e9, tau_facil=1e9)
    for delay in (None, 0.3):
        network = driven_by(
            [1.01, 1.02, 1.03], S.ExponentialSynapse, weight=1.0, tau=1e9, plasticity=plasticity, delay=delay
        )
        s = hh.simulate(network, t1=2.0, dt=0.1).final.s
        x, u, released = 1.0, 0.0, 0.0
        for _ in range(3):
            u += 0.6 * (1 - u)
            x, released = x - u * x, released + u * x
        found = s["plasticity"]["x"][0], s["plasticity"]["u"][0], s["g"]["g"][0]
        np.testing.assert_allclose(found, (x, u, released), rtol=1e-6)
    with pytest.raises(ValueError, match=r"`U` must be at most 1.0, got 5.0"):
        hh.simulate(
            driven_by([1.0], S.ExponentialSynapse, plasticity=S.TsodyksMarkram(U=5.0)), t1=1.0, dt=0.1
        )


def test_more_spikes_than_a_synapse_holds_are_an_error():
    shaken = lambda t: 60 * jnp.sin(6 * t)
    held = lambda k: S.ExponentialSynapse([[0.01]], delay=3.0, threshold=-64.0, in_flight=k)
    run = lambda k: hh.simulate(hh.Network(LEAKY, coupling=held(k)), t1=12.0, dt=0.05, stimulus=shaken)
    with pytest.raises(hh.NonFiniteError, match="larger `in_flight`"):
        run(2)
    assert len(run(4).spike_times(-64.0)[0]) > 8


def test_kinetic_receptors_and_the_magnesium_block():
    W = jnp.array([[2.0]])
    V = jnp.array([2.0])  # half of the transmitter, 0.5 mM
    for synapse, alpha, beta in ((S.AMPA(W), 1.1, 0.19), (S.GABAA(W), 5.0, 0.18), (S.NMDA(W), 0.072, 0.0066)):
        r = synapse.steady_state(V)
        assert float(r[0]) == pytest.approx(alpha * 0.5 / (alpha * 0.5 + beta), rel=1e-12)
    r = S.NMDA(W).steady_state(V)
    drive, conductance = S.NMDA(W, magnesium=2.0).linear_current(jnp.array([-60.0]), r)
    block = 1 / (1 + 2.0 * np.exp(0.062 * 60) / 3.57)
    assert float(conductance[0]) == pytest.approx(2 * float(r[0]) * block, rel=1e-12) and float(drive[0]) == 0
    s = S.GABAB(W).steady_state(V)
    bound = (0.18 / 0.034 * 0.045 / (0.045 + 0.0012)) ** 4
    _, conductance = S.GABAB(W).linear_current(V, s)
    assert float(conductance[0]) == pytest.approx(2 * bound / (bound + 100), rel=1e-12)
    drive, rate = S.GABAB(W).linear_form(V, s)
    np.testing.assert_allclose(drive["g"] - rate["g"] * s["g"], 0, atol=1e-14)


def test_gap_junctions_equalise():
    leak = hh.Neuron({"leak": hh.Leak(g=0.1, E=-65.0)})
    gap = S.GapJunction(hh.connect.ring(3, weight=0.2))
    v0 = jnp.array([-80.0, -60.0, -40.0])
    run = hh.simulate(hh.Network(leak, n=3, coupling=gap), t1=3.0, dt=0.01, v0=v0, solver="strang")
    # On a ring of three every difference decays with 0.1 + 3·0.2, the mean with 0.1.
    mean = -65 + 5 * np.exp(-0.1 * 3.0)
    np.testing.assert_allclose(run.final.V, mean + (v0 + 60) * np.exp(-0.7 * 3.0), atol=1e-4)


# Connectivity


def test_sparse_weights_are_their_dense_matrix():
    rng = np.random.default_rng(0)
    sparse = hh.connect.random(jax.random.key(1), 40, 100, p=0.1, weight=0.5)
    sparse = eqx.tree_at(lambda s: s.weight, sparse, sparse.weight * rng.uniform(0.5, 1, sparse.weight.shape))
    dense = np.asarray(sparse.dense())
    assert (dense > 0).sum() == sparse.count and sparse.shape == dense.shape
    x = rng.normal(size=100)
    np.testing.assert_allclose(sparse.sum_over_pre(jnp.asarray(x)), dense @ x, rtol=1e-12)
    few = np.where(np.arange(100) % 9 == 0, x, 0.0)  # 12 of 100, and room for 16
    np.testing.assert_allclose(sparse.sum_over_few(jnp.asarray(few)), dense @ few, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(sparse.sum_over_few(jnp.asarray(x)), dense @ x, rtol=1e-12)
    square = lambda s: (s.sum_over_few(jnp.asarray(few)) ** 2).sum()
    slope = jax.jit(jax.grad(square, allow_int=True))(sparse).weight
    full = 2 * (dense @ few)[:, None] * few[None, :]
    rows = np.arange(40)[:, None]
    there = np.asarray(sparse.weight) != 0
    np.testing.assert_allclose(
        np.asarray(slope)[there], full[rows, np.asarray(sparse.pre)][there], rtol=1e-12
    )


def test_builders():
    key = jax.random.key(5)
    random = hh.connect.random(key, 300, 200, p=0.1)
    # Binomial(60000, 0.1): standard deviation 73.
    assert abs(random.count - 6000) < 300
    again = hh.connect.random(key, 300, 200, p=0.1)
    np.testing.assert_array_equal(random.dense(), again.dense())
    assert (
        np.asarray(random.dense()).max() == 1
        and hh.connect.random(jax.random.key(6), 300, 200, p=0.1).count != 6000
    )
    fixed = np.asarray(hh.connect.random(key, 50, 50, indegree=7, autapses=False, weight=2.0).dense())
    assert (fixed.sum(axis=1) == 14).all() and (np.diag(fixed) == 0).all()
    # The draws are pinned: the same on every machine.
    four = hh.connect.random(jax.random.key(0), 2, 6, indegree=3)
    np.testing.assert_array_equal(np.asarray(four.dense()).nonzero()[1], PINNED)
    np.testing.assert_array_equal(hh.connect.one_to_one(3, [1.0, 2.0, 3.0]).dense(), np.diag([1.0, 2.0, 3.0]))
    ring = np.asarray(hh.connect.ring(5, 2).dense())
    np.testing.assert_array_equal(ring, 1 - np.eye(5))
    np.testing.assert_array_equal(np.asarray(hh.connect.ring(6).dense())[0], [0, 1, 0, 0, 0, 1])
    np.testing.assert_array_equal(hh.connect.all_to_all(2, 2, 0.5, autapses=False), [[0, 0.5], [0.5, 0]])
    at = np.arange(400.0)[:, None]
    near = hh.connect.by_distance(key, at, at, lambda d: np.exp(-d / 5), weight=lambda d: d)
    dense = np.asarray(near.dense())
    distance = np.abs(at - at.T)
    assert ((dense == 0) | (dense == distance)).all()
    fraction = (dense[distance == 5] > 0).mean()  # of 790, standard deviation 0.017
    assert fraction == pytest.approx(np.exp(-1), abs=0.07)


PINNED = [3, 4, 5, 0, 1, 4]


@pytest.mark.usefixtures("as_users_run_it")
def test_bad_connectivity_is_refused():
    key = jax.random.key(0)
    with pytest.raises(ValueError, match="Give one of `p` and `indegree`"):
        hh.connect.random(key, 3, 3)
    with pytest.raises(ValueError, match="`p` must be between 0 and 1, got 2"):
        hh.connect.random(key, 3, 3, p=2)
    with pytest.raises(ValueError, match="`indegree` must be between 0 and 2, got 3"):
        hh.connect.random(key, 3, 3, indegree=3, autapses=False)
    with pytest.raises(ValueError, match=r"`neighbours` must be at most \(n − 1\)/2 = 1 for n=4, got 2"):
        hh.connect.ring(4, 2)
    with pytest.raises(ValueError, match="`n` must be a whole number of at least 3, got 2"):
        hh.connect.ring(2)
    with pytest.raises(ValueError, match="`pre` must be between 0 and 1, got 0 to 2"):
        hh.connect.from_pairs([0, 1], [0, 2], 1.0, (2, 2))
    with pytest.raises(ValueError, match=r"`coupling.weights` must have shape \(post, pre\) = \(2, 2\)"):
        hh.Network(PASSIVE, n=2, coupling=S.AMPA(jnp.ones((3, 2))))
    with pytest.raises(ValueError, match="tau_rise` must be at most `tau_decay`"):
        hh.Network(PASSIVE, coupling=S.DoubleExponentialSynapse(jnp.ones((1, 1)), tau_rise=9.0))
    with pytest.raises(ValueError, match="must increase along each row"):
        S.SpikeTrains([[2.0, 1.0]])


# Several populations

CELLS = {"e": hh.traub_miles(), "i": hh.wang_buzsaki(), "re": hh.thalamic_reticular()}
SIZES = {"e": 2, "i": 3, "re": 1}
INPUT = jnp.array([3.0, 6.0, 1.0, 2.0, 3.0, 1.0])


def mixed(coupling=None):
    return hh.Network(CELLS, n=SIZES, coupling=coupling)


def coupled():
    W = 0.1 * jnp.arange(1.0, 7.0).reshape(3, 2)
    return mixed(
        {
            "ei": S.AlphaSynapse(W, pre="e", post="i", delay=0.8, tau=1.5),
            "ii": hh.GradedSynapse(0.05 * jnp.ones((3, 3)), reversal=-75.0, pre="i", post="i"),
            "nmda": S.NMDA(0.1 * jnp.ones((6, 2)), pre="e"),
            "gap": S.GapJunction(hh.connect.ring(3, weight=0.05), pre="i", post="i"),
        }
    )


def test_populations_without_coupling_are_their_neurons():
    network = mixed()
    assert network.n == 6 and network.ranges["i"] == slice(2, 5)
    together = hh.simulate(network, t1=20.0, dt=0.05, stimulus=INPUT)
    part = network.ranges["re"]
    run = hh.simulate(CELLS["re"], t1=20.0, dt=0.05, stimulus=INPUT[part])
    np.testing.assert_allclose(together.V[:, part], run.V, rtol=1e-9, atol=1e-9)
    assert len(together.spike_times()[1]) >= 1  # of a Traub-Miles cell at 6 µA/cm²
    assert set(together.final.gates) == {"e", "i", "re"}
    assert together.final.concentrations["re"]["ca"].shape == (1,)


def test_a_mixed_network_with_spikes_is_the_same_under_diffeqsolve():
    network = hh.Network(
        {name: CELLS[name] for name in ("e", "re")},
        n={"e": 2, "re": 1},
        coupling={
            "ei": S.AlphaSynapse(jnp.array([[0.1, 0.2]]), pre="e", post="re", delay=0.8, tau=1.5),
            "nmda": S.NMDA(0.1 * jnp.ones((3, 2)), pre="e"),
            "gap": S.GapJunction(0.05 * (1 - jnp.eye(2)), pre="e", post="e"),
        },
    )
    current, dt = jnp.array([4.0, 6.0, 1.0]), 2.0**-4
    theirs = diffrax.diffeqsolve(
        diffrax.ODETerm(hh.vector_field),
        hh.as_diffrax("strang"),
        t0=0.0,
        t1=15.0,
        dt0=dt,
        y0=network.init(),
        args=(network, current),
        saveat=diffrax.SaveAt(t1=True),
        max_steps=1000,
    )
    ours = hh.simulate(network, t1=15.0, dt=dt, stimulus=current).final
    assert float(ours.s["ei"]["g"]["g"].max()) > 1e-3
    for a, b in zip(jax.tree.leaves(theirs.ys), jax.tree.leaves(ours), strict=True):
        np.testing.assert_allclose(a[0], b, rtol=1e-9, atol=1e-12)


def test_drive_and_rate_give_the_derivative_of_every_part():
    """The vector field of the mixed network is put together from its parts, by hand."""
    network = coupled()
    y = network.init(jnp.array([-60.0, 10.0, -55.0, -20.0, 0.0, -70.0]))
    field = eqx.filter_jit(hh.vector_field)
    slope = field(0.0, y, (network, 0.0))
    parts = []
    for name, part in network.ranges.items():
        alone = hh.Network(CELLS[name], n=SIZES[name])
        V = jnp.asarray(np.asarray(y.V)[part])
        here = hh.State(V, y.gates[name], concentrations=y.concentrations.get(name, {}))
        parts.append(field(0.0, here, (alone, 0.0)).V)
    extra = np.asarray(slope.V) - np.concatenate(parts)
    V, nmda = np.asarray(y.V), np.asarray(y.s["nmda"])
    expected = 0.1 * nmda.sum() / (1 + np.exp(-0.062 * V) / 3.57) * (0 - V)
    i = np.arange(2, 5)
    expected[i] += 0.05 * np.asarray(y.s["ii"]).sum() * (-75 - V[i])
    expected[i] += 0.05 * (V[i].sum() - 3 * V[i])
    np.testing.assert_allclose(extra, expected, rtol=1e-9, atol=1e-12)


def test_a_run_that_fails_names_its_neuron():
    channels = {"leak": hh.Leak(), "bad": hh.Leak(g=1e6, E=0.0)}
    network = hh.Network({"good": PASSIVE, "bad": hh.Neuron(channels)}, n={"good": 2, "bad": 1})
    with pytest.raises(hh.NonFiniteError, match="first in neuron 2"):
        hh.simulate(network, t1=50.0, dt=0.1, solver="euler")


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"`n` must be a dict with a number for each"):
        hh.Network(CELLS, n=6)
    with pytest.raises(ValueError, match=r"`coupling\['a'\].pre` must be one of \['e', 'i', 're'\], got 'x'"):
        mixed({"a": S.AMPA(jnp.ones((3, 2)), pre="x", post="i")})
    with pytest.raises(
        ValueError, match=r"`coupling\['a'\].weights` must have shape \(post, pre\) = \(3, 2\)"
    ):
        mixed({"a": S.AMPA(jnp.ones((2, 3)), pre="e", post="i")})
    with pytest.raises(ValueError, match="needs a name"):
        hh.Network(PASSIVE, n=2, coupling=S.AMPA(jnp.ones((2, 2)), pre="e"))
    with pytest.raises(ValueError, match="must be the same population"):
        mixed({"a": S.GapJunction(jnp.ones((3, 2)), pre="e", post="i")})
    with pytest.raises(ValueError, match=r"shape \(3,\), which does not fit n=2"):
        hh.Network({"e": hh.Neuron({}, C=[1.0, 2.0, 3.0])}, n={"e": 2})
    with pytest.raises(ValueError, match="adaptive solver does not see"):
        hh.reference(pair(1.0), t1=1.0)


def test_a_mixed_network_with_a_users_channel_is_fitted():
    """The user's conductance in one population, and the weight of a synapse driven by its spike."""
    leak = hh.Leak(g=0.1, E=-65.0)
    cells = {"pre": hh.Neuron({"leak": leak, "m": SlowPotassium(g=0.1, E=-90.0)}), "post": PAIR["post"]}
    weights, current = jnp.array([[0.05]]), jnp.array([12.0, 0.0])
    synapse = S.ExponentialSynapse(weights, pre="pre", post="post", delay=1.0)
    network = hh.Network(cells, n={"pre": 1, "post": 1}, coupling={"syn": synapse})
    run = hh.simulate(network, t1=20.0, dt=0.1, stimulus=current, v0=-65.0)
    assert len(run.spike_times()[0]) == 1
    recording = hh.Recording(run.ts, np.broadcast_to(current, (1, 201, 2)), run.V[None])
    free = lambda n: [n.coupling.parts["syn"].weights, n.neuron.neurons["pre"].channels["m"].g]
    start = eqx.tree_at(free, network, [0.8 * weights, jnp.asarray(0.12)])
    fit = hh.fit(start, recording, where=free, v0=-65.0, guide=None)
    weight, g = free(fit.model)
    assert float(weight[0, 0]) == pytest.approx(0.05, rel=1e-4)
    assert float(g) == pytest.approx(0.1, rel=1e-4)


@pytest.mark.parametrize("t0", [0.0, 3.0])
@pytest.mark.parametrize("delay", [None, 1.0])
def test_spikes_at_the_ends_of_a_run_arrive_once(t0, delay):
    """Those at its start and at its end, with a conductance of 0.1 mS/cm² each that hardly decays."""
    late = 0.0 if delay is None else delay
    times = t0 - late + np.array([[-0.5, 0.0, 1.0, 2.0, 2.05]])  # the first and the last arrive outside of it
    options = dict(tau=1e9, reversal=0.0, delay=delay)
    coupling = S.ExponentialSynapse(jnp.array([[0.1]]), input=S.SpikeTrains(times), **options)
    network = hh.Network(hh.Neuron({}), coupling=coupling)
    whole = hh.simulate(network, t0=t0, t1=t0 + 2.0, dt=0.1, stimulus=0.0)
    np.testing.assert_allclose(whole.final.s["g"]["g"], [0.3], rtol=1e-6)
    # Going on from there, nothing arrives again.
    half = hh.simulate(network, t0=t0, t1=t0 + 1.0, dt=0.1, stimulus=0.0)
    for y0 in (half, half.final):
        rest = hh.simulate(network, t0=t0 + 1.0, t1=t0 + 2.0, dt=0.1, y0=y0)
        np.testing.assert_allclose(rest.final.s["g"]["g"], [0.3], rtol=1e-6)
