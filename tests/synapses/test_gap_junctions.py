"""Gap junctions of any strength are right, or refused."""

import functools

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hhjax as hh

DT = 0.02
SAVE = diffrax.SaveAt(ts=np.arange(0.0, 8.001, 0.5), fn=hh.save_V)


def ring(n, kappa, sparse=False):
    """n squid axons, each joined to its neighbours with g = κ·C/dt."""
    W = np.zeros((n, n))
    for i in range(n):
        W[i, (i + 1) % n] = W[(i + 1) % n, i] = kappa / DT
    post, pre = np.nonzero(W)
    weights = hh.connect.from_pairs(post, pre, W[post, pre], (n, n)) if sparse else W
    return hh.Network(hh.squid_axon(), n, hh.synapses.GapJunction(weights))


def options(n):
    return dict(t1=8.0, stimulus=12.0 + 6.0 * jnp.cos(jnp.arange(n)), v0=-65.0 + 5.0 * jnp.sin(jnp.arange(n)))


@functools.cache
def exact(n, kappa):
    """By an implicit solver with steps that adapt, and for weak ones an explicit one."""
    solver = diffrax.Dopri8() if kappa <= 1 else diffrax.Kvaerno5()
    tol = dict(rtol=1e-7, atol=1e-7) if n > 2 or kappa > 1 else {}
    return np.asarray(hh.reference(ring(n, kappa), saveat=SAVE, solver=solver, **options(n), **tol).V)


def V_of(n, kappa, dt, steps, solver="strang"):
    """V when `SAVE` says. As many steps for any dt: one compilation."""
    every = diffrax.SaveAt(t0=True, steps=25, fn=hh.save_V)
    run = hh.simulate(ring(n, kappa), dt=dt, saveat=every, solver=solver, **options(n) | {"t1": steps * dt})
    return np.asarray(run.V)[:: round(DT / dt)][:17]


def error(n, kappa, dt, solver="strang"):
    return np.abs(V_of(n, kappa, dt, 800, solver) - exact(n, kappa)).max()


@pytest.mark.parametrize("kappa", [0.01, 0.1, 1.0, 10.0, 100.0, 1000.0])
def test_strang_is_right_at_any_strength(kappa):
    errors = [error(2, kappa, dt) for dt in (DT, DT / 2)]
    if kappa <= 1:
        assert np.log2(errors[0] / errors[1]) == pytest.approx(2.0, abs=0.15)
    assert errors[0] < 1.5 * error(2, 1.0, DT)


@pytest.mark.parametrize("kappa", [0.1, 1.0, 100.0])
def test_a_ring_of_a_hundred(kappa):
    """Against the same at an eighth of dt, itself checked against adaptive steps for weak junctions."""
    n = 100
    V = {dt: V_of(n, kappa, dt, 3200) for dt in (DT, DT / 2, DT / 8)}
    coarse, fine = (np.abs(V[dt] - V[DT / 8]).max() for dt in (DT, DT / 2))
    assert coarse < 0.5
    if kappa <= 1:
        assert np.log2(coarse / fine) == pytest.approx(2.0, abs=0.15)
    if kappa == 0.1:
        assert np.abs(V[DT / 8] - exact(n, kappa)).max() < 0.03


@pytest.mark.parametrize("kappa", [1.0, 1000.0])
@pytest.mark.parametrize("solver", [*hh.steppers.by_name, diffrax.Tsit5(), diffrax.ImplicitEuler()])
def test_every_solver_is_right_or_refuses(solver, kappa):
    allowed = {"ind_exp_euler": 13.0, "backward_euler": 4.0}.get(solver, 1.0)
    allowed = 10.0 if isinstance(solver, diffrax.ImplicitEuler) else allowed
    try:
        assert error(2, kappa, DT, solver) < allowed
    except ValueError as refused:
        assert "`coupling` has gap junctions too strong for this solver" in str(refused)
        assert "or dt = " in str(refused)
        assert solver in ("exp_euler", "euler", "heun", "midpoint", "rk4") or isinstance(
            solver, diffrax.Tsit5
        )
    except hh.NonFiniteError:
        assert isinstance(solver, diffrax.ImplicitEuler)  # Newton's method gave up, and said so


@pytest.mark.parametrize("solver", ["exp_euler", "euler", "heun", "midpoint", "rk4", "euler_maruyama"])
def test_weak_junctions_are_right_where_strong_ones_are_refused(solver):
    largest = 1 / (2 * 2 * 0.2 / DT)  # twice the sum of two junctions, over C
    stimulus, v0 = 10.0, options(3)["v0"]
    key = jax.random.key(0) if solver == "euler_maruyama" else None
    run = functools.partial(
        hh.simulate, ring(3, 0.2), t1=5.0, solver=solver, stimulus=stimulus, v0=v0, key=key
    )
    V = hh.reference(ring(3, 0.2), t1=5.0, stimulus=stimulus, v0=v0).V[-1]
    assert float(jnp.abs(run(dt=0.99 * largest).V[-1] - V).max()) < 2.5
    with pytest.raises(ValueError, match="too strong for this solver at this `dt`"):
        run(dt=1.01 * largest)
    with pytest.raises(Exception, match="too strong for this solver at this `dt`"):
        strong = lambda w: hh.Network(hh.squid_axon(), 3, hh.synapses.GapJunction(w))
        of = jax.jit(lambda w: hh.simulate(strong(w), t1=1.0, dt=0.1, solver=solver, key=key).V)
        of(ring(3, 0.2).coupling.weights).block_until_ready()


def test_passive_neurons_equalise_as_the_exponential_says():
    """Two leaky neurons: the mean relaxes with g/C, the difference with g/C + 2κ/dt."""
    leak = hh.Neuron({"leak": hh.Leak(g=0.1, E=-65.0)})
    for kappa, tol in ((0.1, 1e-4), (2.0, 0.02), (1000.0, 1e-3)):
        W = kappa / DT * (1 - jnp.eye(2))
        network = hh.Network(leak, 2, hh.synapses.GapJunction(W))
        run = hh.simulate(network, t1=10 * DT, dt=DT, v0=jnp.array([-70.0, -50.0]))
        t = np.asarray(run.ts)
        V = np.asarray(run.V)
        np.testing.assert_allclose(V.mean(axis=1), -65 + 5 * np.exp(-0.1 * t), atol=1e-6)
        wanted = 20 * np.exp(-(0.1 + 2 * kappa / DT) * t)
        np.testing.assert_allclose(V[:, 1] - V[:, 0], wanted, atol=20 * tol)


def test_float32_loses_no_more_digits_than_without_junctions():
    """Increments of V are solved for, not V itself: a hundred times closer to float64."""
    single = lambda x: jax.tree.map(lambda leaf: leaf.astype(jnp.float32), x)
    network = ring(2, 1e-3)
    for n, strong in ((2, network), (260, ring(260, 1e4))):
        given = dict(t1=0.5, dt=0.005, v0=-65.0, solver="strang", saveat=SAVE_END)
        stimulus = jnp.where(jnp.arange(n) % 2 == 0, 0.0, 3.0)
        double = hh.simulate(strong, stimulus=stimulus, **given).V
        ours = hh.simulate(single(strong), stimulus=stimulus.astype(jnp.float32), **given).V
        np.testing.assert_allclose(ours, double, atol=2e-3)


def test_large_networks_are_solved_by_iteration():
    """Above 256 neurons, sparse or dense: as the direct solve of a part that nothing joins to the rest."""
    n = 260
    few = dict(t1=1.0, dt=DT, saveat=SAVE_END, stimulus=10.0)
    v0 = -65.0 + 5.0 * jnp.sin(jnp.arange(n))
    small = ring(100, 30.0)
    W = np.zeros((n, n))
    W[:100, :100] = small.coupling.weights
    post, pre = np.nonzero(W)
    sparse = hh.connect.from_pairs(post, pre, W[post, pre], (n, n))
    direct = hh.simulate(small, v0=v0[:100], **few).V
    for weights in (W, sparse):
        network = hh.Network(hh.squid_axon(), n, hh.synapses.GapJunction(weights))
        V = hh.simulate(network, v0=v0, **few).V
        np.testing.assert_allclose(V[:, :100], direct, atol=1e-6)


SAVE_END = diffrax.SaveAt(t1=True, fn=hh.save_V)


def test_gradients_and_noise_with_strong_junctions():
    end = lambda g: hh.simulate(
        hh.Network(hh.squid_axon(), 2, hh.synapses.GapJunction(g * (1 - jnp.eye(2)))),
        t1=3.0, dt=DT, stimulus=jnp.array([15.0, 5.0]),
    ).final.V[0]  # fmt: skip
    g, step, both = jnp.asarray(20.0), 1e-2, jax.jit(jax.value_and_grad(end))
    central = (both(g + step)[0] - both(g - step)[0]) / (2 * step)
    assert float(both(g)[1]) == pytest.approx(float(central), rel=2e-6)
    # Two passive neurons, one noise each: the mean has the variance of an OU process of half the noise.
    leak = hh.Neuron({"leak": hh.Leak(g=0.5, E=-65.0)})
    pairs = np.kron(np.eye(400), 1 - np.eye(2)) * 1000.0
    post, pre = np.nonzero(pairs)
    joined = hh.synapses.GapJunction(hh.connect.from_pairs(post, pre, pairs[post, pre], (800, 800)))
    noisy = hh.Network(leak, 800, joined, noise=hh.CurrentNoise(2.0))
    for solver in ("strang_maruyama", "exp_euler_maruyama"):
        run = hh.simulate(noisy, t1=10.0, dt=0.1, key=jax.random.key(0), v0=-65.0, solver=solver)
        V = np.asarray(run.V[-1]).reshape(400, 2)
        assert V.mean(axis=1).var() == pytest.approx(2.0**2 / 2 / (2 * 0.5), rel=4 * np.sqrt(2 / 400))
        assert np.abs(V[:, 0] - V[:, 1]).max() < 0.1


@pytest.mark.usefixtures("as_users_run_it")
def test_negative_junctions_are_refused():
    with pytest.raises(ValueError, match="`coupling.weights` of gap junctions must be at least 0, got -1.0"):
        hh.Network(hh.squid_axon(), 2, hh.synapses.GapJunction([[0.0, -1.0], [-1.0, 0.0]]))


def test_junctions_and_ions_in_a_shard_map():
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:1]), ("d",))
    at = jax.sharding.PartitionSpec("d")
    relay = {"t": hh.channels.TCalcium(g=2.0), "leak": hh.Leak()}
    relay = hh.Neuron(relay, ions={"ca": hh.calcium("t")})
    runs = {
        "ion": lambda x: hh.simulate(hh.replace(relay, {"t.g": x}), t1=1.0, dt=0.025).V[-1],
        "junction": lambda x: hh.simulate(ring(2, 0.1), t1=1.0, dt=0.025, stimulus=x).V[-1],
    }
    for run in runs.values():
        sharded = jax.shard_map(lambda x: run(x[0])[None], mesh=mesh, in_specs=at, out_specs=at)
        np.testing.assert_allclose(jax.jit(sharded)(jnp.array([2.0]))[0], run(jnp.asarray(2.0)), rtol=1e-9)
