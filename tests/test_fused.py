"""The loop in one kernel, interpreted, against the scan; and that it translates for a GPU."""

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hhjax as hh

N = 37  # a whole block of 32 neurons and a part of one
CELLS = eqx.tree_at(
    lambda c: (c.neuron.channels["na"].g, c.neuron.C),
    hh.Network(hh.squid_axon(), n=N),
    (jnp.linspace(110.0, 130.0, N), jnp.linspace(1.1, 0.9, N)),
)
CURRENTS = jnp.linspace(0.0, 20.0, N)
BOTH = ("scan", "fused")


class SlowPotassium(hh.Channel):
    """A channel that a user wrote."""

    gates = {"p": 1}

    def rates(self, V):
        tau = 1000 / (3.3 * jnp.exp((V + 35) / 20) + jnp.exp(-(V + 35) / 20))
        return {"p": hh.InfTau(inf=jax.nn.sigmoid((V + 35) / 10), tau=tau)}


def close(got, want, **tolerance):
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(a, b, **tolerance)


def wave(t):
    return 2 * jnp.cos(t)


def everything(currents):
    """All kinds of stimuli at once, with edges off the grid."""
    ts = jnp.linspace(0.0, 5.0, 31).astype(currents.dtype)
    samples = jnp.sin(3 * ts)
    steps = hh.Step(currents, 0.51, 2.02) + hh.Pulses(5.0, 0.3, 0.4, 1.1) + hh.Ramp(currents, 0.2, 3.0)
    smooth = hh.Sine(currents, 100.0) + hh.Constant(1.0) + wave
    total = steps + smooth + hh.Sampled(ts, samples) + 0.5 * hh.Sampled(ts, jnp.outer(samples, currents))
    return jax.tree.map(lambda x: x.astype(currents.dtype) if eqx.is_array(x) else x, total)


@pytest.mark.parametrize("solver", ["strang", "ind_exp_euler", "exp_euler", "rk4"])
def test_equals_the_scan(solver):
    """States saved at every 7th step of 200 and at both ends, reducers, final state, float64.

    With `strang`, also a channel of the user's own and all kinds of stimuli.
    """
    cells, stimulus = CELLS, CURRENTS
    if solver == "strang":
        own = {**CELLS.neuron.channels, "m": SlowPotassium(g=0.5, E=-90.0)}
        cells, stimulus = hh.Network(hh.Neuron(own, C=CELLS.neuron.C), n=N), everything(CURRENTS)

    def run(backend):
        return hh.simulate(
            cells,
            t1=5.0,
            dt=0.025,
            stimulus=stimulus,
            solver=solver,
            saveat=diffrax.SaveAt(t0=True, steps=7, t1=True),
            reduce={"count": hh.SpikeCount(), "mean": hh.Mean(start=1.0), "range": hh.Extrema()},
            backend=backend,
        )

    scan, fused = map(run, BOTH)
    assert (scan.backend, fused.backend) == BOTH and fused.V.shape == (30, N)
    assert int(fused.reduced["count"].sum()) > 10
    close((fused.ts, fused.ys, fused.final), (scan.ts, scan.ys, scan.final), rtol=1e-10, atol=1e-10)
    close(fused.reduced, scan.reduced, rtol=1e-10, atol=1e-10)


def test_float32_over_100_ms():
    """Spike times to 1e-3 ms and, before the first spike, V to 1e-4 mV."""
    cells, currents = jax.tree.map(lambda x: x.astype(jnp.float32), (CELLS, CURRENTS))
    run = lambda backend: hh.simulate(cells, t1=100.0, dt=0.025, stimulus=currents, backend=backend)
    scan, fused = map(run, BOTH)
    assert fused.V.dtype == jnp.float32
    times = hh.spike_times(scan.ts, scan.V)
    np.testing.assert_allclose(hh.spike_times(fused.ts, fused.V), times, atol=1e-3)
    assert int((~jnp.isnan(times)).sum()) > 150
    before = np.asarray(scan.ts)[:, None] < np.nan_to_num(times[:, 0], nan=100.0) - 2
    np.testing.assert_allclose(jnp.where(before, fused.V - scan.V, 0.0), 0.0, atol=1e-4)


def pieces(backend, neuron, v0, currents, command):
    """Something of all that is saved, of the end and of a reducer."""
    ts = jnp.linspace(0.0, 4.0, 5)
    sampled = 0.5 * hh.Sampled(ts, jnp.outer(jnp.sin(ts), currents))
    run = hh.simulate(
        hh.Network(neuron, n=N),
        t1=4.0,
        dt=0.05,
        v0=v0,
        stimulus=sampled + hh.Clamp(hh.Sampled(ts, command), 0.1) + currents,
        saveat=diffrax.SaveAt(steps=3, fn=hh.save_V),
        reduce=hh.Mean(start=1.0),
        backend=backend,
    )
    return (run.V**2).mean() + jnp.sin(run.final.gates["na"]["m"]).sum() + (run.reduced**2).sum()


POINT = (
    eqx.tree_at(lambda x: x.channels["k"].g, hh.squid_axon(), jnp.linspace(34.0, 38.0, N)),
    jnp.array(-64.0),
    CURRENTS,
    10 * jnp.sin(jnp.arange(5.0)),
)


def test_gradients_equal_those_of_the_scan():
    """Reverse and forward mode, by every parameter, v0, currents and samples of a command."""
    gradient = lambda backend: jax.jit(jax.value_and_grad(lambda p: pieces(backend, *p)))(POINT)
    (scan, slopes), (fused, got) = map(gradient, BOTH)
    np.testing.assert_allclose(fused, scan, rtol=1e-12)
    assert all(float(jnp.abs(x).max()) > 0 for x in jax.tree.leaves(slopes))
    close(got, slopes, rtol=1e-8)
    direction = jax.tree.map(lambda x: 0.1 + jnp.cos(x), POINT)
    along = sum(jax.tree.leaves(jax.tree.map(lambda s, d: (s * d).sum(), slopes, direction)))
    change = jax.jit(lambda p, d: jax.jvp(lambda p: pieces("fused", *p), (p,), (d,))[1])(POINT, direction)
    np.testing.assert_allclose(change, along, rtol=1e-8)


def batch(backend, gK, currents):
    """Rows of V for each g of potassium and current, and what was reduced."""

    def one(g, current):
        cells = eqx.tree_at(lambda c: c.neuron.channels["k"].g, hh.Network(hh.squid_axon(), n=2), g)
        run = hh.simulate(
            cells,
            t1=4.0,
            dt=0.05,
            stimulus=jnp.stack([current, 0 * current]),
            saveat=diffrax.SaveAt(steps=3, fn=hh.save_V),
            reduce=(hh.SpikeCount(-20.0), hh.Mean(start=current / 10)),
            backend=backend,
        )
        return run.V, run.reduced

    return jax.vmap(one)(gK, currents)


def test_batches_and_their_derivatives():
    """`vmap` makes one launch of all neurons; forward and reverse mode through it."""
    point = jnp.linspace(30.0, 40.0, 20), jnp.linspace(0.0, 20.0, 20)
    loss = lambda backend: lambda *p: ((out := batch(backend, *p))[0].var(), out)
    slopes = lambda backend: jax.jit(jax.grad(loss(backend), argnums=(0, 1), has_aux=True))
    (scan, fused) = (slopes(backend)(*point) for backend in BOTH)
    close(fused[1], scan[1], rtol=1e-10)
    close(fused[0], scan[0], rtol=1e-8)
    shift = jax.jit(jax.jacfwd(lambda x: loss("fused")(point[0] + x[0], point[1] * x[1])[0]))
    want = [scan[0][0].sum(), (scan[0][1] * point[1]).sum()]
    np.testing.assert_allclose(shift(jnp.array([0.0, 1.0])), want, rtol=1e-8)
    text = str(jax.make_jaxpr(lambda *p: batch("fused", *p))(*point))
    assert text.count("hhjax_run[") == 1


def test_sweep():
    over = {"stimulus": jnp.linspace(0.0, 20.0, 12), ("na.g", "v0"): ([120.0, 90.0], [-65.0, -60.0])}
    run = lambda backend: hh.sweep(hh.squid_axon(), over=over, t1=10.0, dt=0.05, backend=backend)
    scan, fused = map(run, BOTH)
    assert (scan.backend, fused.backend) == BOTH
    assert fused.reduced.shape == (12, 2, 1) and fused.reduced.max() > 0
    np.testing.assert_array_equal(fused.reduced, scan.reduced)


def test_going_on_and_blowing_up():
    go = lambda t1, y0, backend: hh.simulate(
        CELLS, t1=t1, dt=0.025, stimulus=CURRENTS, solver="euler", y0=y0, backend=backend
    )
    rest = go(4.0, go(2.0, None, "fused"), "fused")
    close(rest.V, go(4.0, None, "scan").V[80:], rtol=1e-10)
    with pytest.raises(hh.NonFiniteError, match="t = .* in neuron") as error:
        hh.simulate(CELLS, t1=16.0, dt=0.2, stimulus=CURRENTS, solver="euler", backend="fused")
    assert 0 < error.value.time < 16


def translate(function, *args):
    """How many kernels there are in what JAX hands to a GPU. The translation needs none."""
    return str(jax.jit(function).trace(*args).lower(lowering_platforms=("cuda",)).as_text()).count("triton")


def test_translates_for_a_gpu():
    """All solvers, and derivatives of the default one, in float32."""
    single = lambda tree: jax.tree.map(lambda x: x.astype(jnp.float32), tree)
    currents, small = single((CURRENTS, hh.Network(hh.morris_lecar(), n=N)))

    def V(network, stimulus, solver="strang", every=3):
        saveat = diffrax.SaveAt(steps=every, fn=hh.save_V)
        return hh.simulate(
            network, t1=5.0, dt=0.025, stimulus=stimulus, solver=solver, saveat=saveat,
            reduce=hh.SpikeCount(), backend="fused", throw=False,
        ).V  # fmt: skip

    for solver in hh.steppers.by_name:
        assert translate(lambda I: V(small, I, solver), currents) == 1
    loss = lambda network, stimulus: lambda I: (V(network, stimulus(I), every=1) ** 2).mean()
    everything_at_once = jax.grad(loss(small, everything))
    assert translate(everything_at_once, currents) == 2
    assert translate(lambda I: jax.jvp(lambda I: V(small, I), (I,), (I,)), currents) == 2
    thalamic = single(hh.Network(hh.thalamic_reticular(), n=N))
    assert translate(jax.grad(loss(thalamic, lambda I: I)), currents) == 2


def mean_of_all(t, y, args):
    return hh.State(V=jnp.broadcast_to(y.V.mean(), y.V.shape), gates={})


def shifted(t, y, args):
    return jnp.roll(y.V, 1)


def read_stimulus(t, y, args):
    return args[1](t) + y.V


DRIVEN = hh.synapses.ExponentialSynapse(
    jnp.ones((1, 1)), input=hh.synapses.Poisson(1, 100.0, jax.random.key(0))
)


@pytest.mark.parametrize(
    "network, options, message",
    [
        (
            hh.Network(hh.squid_axon(), n=9, coupling=hh.GradedSynapse(jnp.zeros((9, 9)))),
            {},
            "is coupled and has 9 neurons",
        ),
        (hh.Network({"e": hh.squid_axon()}, n={"e": 9}), {}, "several populations and has 9"),
        (
            hh.Network(hh.squid_axon(), noise=hh.CurrentNoise(1.0)),
            dict(key=jax.random.key(0, impl="rbg")),
            "`key` has the type key<rbg>",
        ),
        (
            hh.with_channel_noise(hh.squid_axon(), model="exact", count=100),
            dict(key=jax.random.key(0)),
            "`while` in it",
        ),
        (
            hh.Network(hh.squid_axon(), n=1, coupling={"in": DRIVEN}),
            {},
            "input.key` is a key",
        ),
        (CELLS, dict(solver=diffrax.Tsit5()), "`solver` is diffrax's"),
        (CELLS, dict(progress_meter=diffrax.TextProgressMeter()), "`progress_meter`"),
        (
            CELLS,
            dict(saveat=diffrax.SaveAt(steps=1, fn=mean_of_all)),
            "`saveat.fn` does more .* `reduce_sum`",
        ),
        (CELLS, dict(saveat=diffrax.SaveAt(steps=1, fn=shifted)), "`saveat.fn` does more"),
        (
            CELLS,
            dict(
                saveat=diffrax.SaveAt(steps=1, fn=read_stimulus),
                stimulus=hh.Sampled(jnp.array([0.0, 1.0]), jnp.array([0.0, 1.0])),
            ),
            "reads a sampled stimulus",
        ),
        (CELLS, dict(reduce=hh.Histogram(jnp.linspace(-80.0, 40.0, 600))), "carries 60. numbers"),
    ],
)
@pytest.mark.usefixtures("as_users_run_it")
def test_what_cannot_be_fused_is_named(network, options, message):
    with pytest.raises(ValueError, match=f"`backend='fused'` is not possible here: .*{message}"):
        hh.simulate(network, t1=1.0, dt=0.1, backend="fused", **options)


@pytest.mark.usefixtures("as_users_run_it")
def test_other_errors():
    with pytest.raises(ValueError, match="`backend` must be one of 'auto', 'scan', 'fused', got 'gpu'"):
        hh.simulate(CELLS, t1=1.0, dt=0.1, backend="gpu")
    with pytest.raises(NotImplementedError, match="first derivatives only: take backend='scan'"):
        jax.hessian(
            lambda I: hh.simulate(hh.squid_axon(), t1=1.0, dt=0.1, stimulus=I, backend="fused").V.sum()
        )(1.0)
