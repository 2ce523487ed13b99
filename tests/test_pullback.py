"""The derivative of the loop of steps that is our own, against those of JAX."""

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hhjax as hh
from hhjax._one_loop import MOST, OneLoop
from hhjax._pullback import Cut, Pulled

AXON = hh.squid_axon()
# The tests run with XLA's older emitters, users with these.
AS_USERS = {
    "xla_cpu_use_fusion_emitters": True,
    "xla_backend_optimization_level": 3,
    "xla_llvm_disable_expensive_passes": False,
}
DIRECT, OURS = diffrax.DirectAdjoint(), diffrax.RecursiveCheckpointAdjoint()


def compiled(fn, *args):
    return jax.jit(fn).lower(*args).compile(compiler_options=AS_USERS)(*args)


def agree(got, wanted, rtol):
    for x, y in zip(jax.tree.leaves(got), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(x, y, rtol=rtol, atol=rtol * np.abs(y).max())


def mixed(x, y, k, scale):
    """Floats and whole numbers, elementwise and not, with more than one shape."""
    for _ in range(4):
        x, y = jnp.where(k > 2, jnp.sin(x) / y, x * scale), y + jnp.exp(-x * x) / y
    z = jnp.outer(x, y) @ (x / 3)
    for _ in range(4):
        z, y = jnp.tanh(z / 5.0), y / (2 + z * z)
    return [z, y, k * 2 + 1, jnp.outer(z, x) ** 2, (x > y) | (z < 0)]


def test_work_in_one_loop_is_what_it_was():
    x, y = jnp.linspace(0.1, 1.0, 7), jnp.linspace(1.0, 2.0, 7)
    args = x, y, jnp.arange(7), jnp.asarray(0.3)
    loop = OneLoop(mixed, args)
    agree(compiled(loop, *args), mixed(*args), 1e-14)
    slope = lambda fn: jax.grad(lambda x: sum(jnp.sum(part) for part in fn(x, *args[1:])[:2]))
    agree(compiled(slope(loop), x), slope(mixed)(x), 1e-13)
    rows = jnp.stack([x, x[::-1], x**2])
    over = lambda fn: jax.vmap(fn, (0, None, None, None))(rows, *args[1:])
    agree(compiled(lambda: over(loop)), over(mixed), 1e-14)


def test_floats_of_two_precisions_share_a_loop():
    def fn(x, y):
        for _ in range(3):
            x, y = x * jnp.exp(-x), jnp.sin(y) + y * y
        return [x, y, x + y.astype(x.dtype), y > 0.5]

    args = jnp.linspace(0.1, 1.0, 7), jnp.linspace(0.0, 2.0, 7, dtype=jnp.float32)
    loop = OneLoop(fn, args)
    assert loop.operations > 8
    got, wanted = compiled(loop, *args), fn(*args)
    assert [x.dtype for x in got] == [x.dtype for x in wanted]
    agree(got[:1], wanted[:1], 1e-15)
    agree(got[1:3], wanted[1:3], 2e-7)


def test_more_work_than_one_loop_takes_is_cut_up():
    def long(x, y):
        for k in range(MOST // 2):
            x, y = y * 0.5 + x * (k % 3), jnp.sin(x)
        return [x, y]

    x = jnp.linspace(0.0, 1.0, 5)
    loop = OneLoop(long, (x, x))
    assert loop.operations > MOST
    agree(jax.jit(loop)(x, x), long(x, x), 1e-12)


@pytest.mark.parametrize("cut", [Cut(4, 1, 3, 3), Cut(40, 6, 1, 2), Cut(3, 5, 1, 1)])
def test_a_loop_is_a_scan_however_it_is_cut(cut):
    """Values, gradients and batches of a loop of 17 calls, with what moves from the second call on."""
    xs, w = jnp.linspace(0.0, 1.0, 17), jnp.array([[0.2, 0.1], [-0.3, 0.4]])

    def outcome(p, a, own):
        start = jnp.int32(0), a, jnp.zeros(2)

        def f(carry, x):
            k, a, b = carry
            new = jnp.tanh(a @ w * x) + 0.1 * b
            return (k + 1, new, a * p + b), (new.sum() * p, k)

        if own:
            loop = Pulled(f, start, xs[0])
            _, carry, ys = loop.scan(loop.params, start, xs, 17, cut)
        else:
            carry, ys = jax.lax.scan(f, start, xs)
        return carry[2].sum() + (ys[0] ** 2).sum() + (ys[1].astype(float) * ys[0]).sum()

    a = jnp.array([0.5, -0.2])
    check = lambda of, *at: agree(jax.jit(of(True))(*at), jax.jit(of(False))(*at), 1e-12)
    check(lambda own: jax.value_and_grad(lambda p, a: outcome(p, a, own), (0, 1)), 0.7, a)
    check(lambda own: jax.jacfwd(lambda p: outcome(p, a, own)), 0.7)
    check(
        lambda own: jax.vmap(jax.grad(lambda p, a: outcome(p, a, own)), (0, None)), jnp.array([0.3, 0.7]), a
    )
    many = lambda own: lambda p: jax.vmap(lambda a: outcome(p, a, own))(jnp.stack([a, 2 * a])).sum()
    check(lambda own: jax.grad(many(own)), 0.7)
    check(lambda own: jax.hessian(lambda p: outcome(p, a, own)), 0.7)
    check(lambda own: jax.grad(jax.grad(lambda p: outcome(p, a, own))), 0.7)


@pytest.mark.parametrize("n, coupled", [(1, False), (37, False), (5, True)])
def test_gradients_as_users_compile_them(n, coupled, usual_blocks):
    """By every parameter, over a spike, at a number of steps that no block divides."""
    E = jnp.linspace(0.0, 0.3, n * n).reshape(n, n)
    network = hh.Network(AXON, n=n, coupling=hh.GradedSynapse(E) if coupled else None)
    currents = jnp.linspace(9.0, 15.0, n)

    def loss(network, currents, adjoint):
        run = hh.simulate(network, t1=5.03, dt=0.03, stimulus=currents, adjoint=adjoint)
        return jnp.mean(run.V**2) + run.final.V[0]

    slopes = lambda adjoint: jax.grad(lambda *at: loss(*at, adjoint), (0, 1))
    agree(compiled(slopes(OURS), network, currents), slopes(DIRECT)(network, currents), 1e-11)


@pytest.mark.parametrize(
    "solver, n, stride", [("strang", 1, 1), ("strang", 3, 4), ("rk4", 1, 3), ("exp_euler", 70, 2)]
)
def test_forward_mode_as_users_compile_it(solver, n, stride):
    """By parameters, currents and initial potentials, coupled at three neurons, for a batch of two."""
    E = jnp.linspace(0.0, 0.3, 9).reshape(3, 3)
    network = hh.Network(AXON, n=n, coupling=hh.GradedSynapse(E) if n == 3 else None)
    currents, at = jnp.linspace(9.0, 15.0, n), jnp.array([120.0, 1.0, 0.0, -65.0])
    saveat = diffrax.SaveAt(steps=stride, fn=hh.save_V)

    def trace(at, adjoint):
        g, C, shift, v0 = at
        moved = eqx.tree_at(lambda it: (it.neuron.channels["na"].g, it.neuron.C), network, (g, C))
        options = {"t1": 3.0, "dt": 0.03, "stimulus": currents + shift, "v0": v0, "saveat": saveat}
        return hh.simulate(moved, solver=solver, adjoint=adjoint, **options, throw=False).V

    of = lambda adjoint: jax.vmap(jax.jacfwd(lambda at: trace(at, adjoint)))
    both = jnp.stack([at, at * jnp.array([0.8, 1.2, 1.0, 1.1])])
    agree(compiled(of(diffrax.ForwardMode()), both), jax.jit(of(DIRECT))(both), 1e-11)


@pytest.mark.parametrize("steps", [1, 5])
def test_a_gradient_whose_forward_run_nothing_needs(steps, usual_blocks):
    """Of a linear loss, by the stimulus, with a step left over: XLA crashed as it dropped the unused."""

    def loss(current, adjoint):
        return hh.simulate(AXON, t1=steps * 0.025, dt=0.025, stimulus=current, adjoint=adjoint).V.mean()

    slope = lambda adjoint: float(jax.jit(jax.grad(lambda current: loss(current, adjoint)))(10.0))
    assert slope(OURS) == pytest.approx(slope(DIRECT), rel=1e-12)


def test_forward_mode_twice():
    """Second derivatives of a membrane with one leak: V = E + (v0 − E) exp(−g t / C)."""

    def end(g, C):
        neuron = hh.Neuron({"leak": hh.Leak(g=g, E=-60.0)}, C=C)
        return hh.simulate(neuron, t1=2.0, dt=0.1, v0=-40.0, adjoint=diffrax.ForwardMode()).V[-1, 0]

    exact = lambda g, C: -60.0 + 20.0 * jnp.exp(-2.0 * g / C)
    twice = lambda fn: jax.jacfwd(jax.jacfwd(fn, (0, 1)), (0, 1))(0.3, 1.2)
    agree(twice(end), twice(exact), 1e-11)


def test_a_gradient_by_what_a_stimulus_refers_to():
    def loss(height, adjoint):
        return hh.simulate(AXON, t1=2.0, dt=0.05, stimulus=lambda t: height * t, adjoint=adjoint).V.mean()

    assert float(jax.grad(loss)(3.0, OURS)) == pytest.approx(float(jax.grad(loss)(3.0, DIRECT)), rel=1e-12)


def test_what_a_step_prints_is_printed(capfd):
    def loud(t):
        jax.debug.print("at {}", t)
        return 10.0 * t

    hh.simulate(AXON, t1=0.1, dt=0.05, stimulus=loud).V.block_until_ready()
    jax.effects_barrier()
    assert capfd.readouterr().out.count("at 0.0") == 2  # 0.025 and 0.075


def test_a_nan_stays_one_in_a_gradient():
    """What turned NaN must not come back as a number."""

    def loss(g, V0):
        neuron = eqx.tree_at(lambda axon: axon.channels["na"].g, AXON, g)
        y0 = eqx.tree_at(lambda y: y.V, hh.Network(neuron).init(), V0)
        return hh.simulate(neuron, t1=0.5, dt=0.05, y0=y0, throw=False).final.V[0]

    slope = lambda V0: float(compiled(jax.grad(loss), jnp.asarray(120.0), jnp.array([V0])))
    assert slope(-40.0) > 0 and np.isnan(slope(np.nan))
