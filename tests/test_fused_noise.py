"""Noise, reducers and small networks in one kernel, interpreted, against the scan."""

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hhjax as hh

from .test_fused import BOTH, close, CURRENTS, N, translate

S = hh.synapses
EDGES = jnp.linspace(-80.0, 40.0, 7)


def _fluctuates(carry, t, y, args):
    (m, square), ages = carry
    return (m + y.V, square + y.V**2), jnp.concatenate([y.V[None], ages[:-1]])


VARIANCE = hh.Reducer(
    lambda t, y, args: ((0 * y.V, 0 * y.V), jnp.zeros((3,) + y.V.shape, y.V.dtype)),
    _fluctuates,
    lambda carry: (carry[0][1] - carry[0][0] ** 2, carry[1]),
)
GATHERED = {"times": hh.SpikeTimes(2, -20.0), "where": hh.Histogram(EDGES), "own": VARIANCE}


@pytest.mark.parametrize(
    "solver, model, n, key, dtype",
    [
        ("strang_maruyama", "subunit", N, jax.random.key(1), jnp.float32),
        ("exp_euler_maruyama", "conductance", 7, hh.fast_key(2), jnp.float64),
    ],
)
def test_noise_equals_that_of_the_scan(solver, model, n, key, dtype):
    """The same numbers for each neuron of more than a block; channel noise, white and coloured currents.

    With 7 neurons, all reducers (of which one has 7 edges, that are no parameter of the neurons), and
    one of the user's own with three values for each neuron.
    """
    patch = hh.with_channel_noise(hh.squid_axon(), model=model, count={"k": 1800})
    noise = hh.CurrentNoise(jnp.linspace(1.0, 3.0, n)), hh.OUConductance(2.0, 0.01, 0.02, 0.0)

    def run(backend):
        network = jax.tree.map(lambda x: x.astype(dtype), hh.Network(patch, n=n, noise=noise))
        return hh.simulate(
            network,
            t1=5.0,
            dt=0.025,
            stimulus=CURRENTS[-n:].astype(dtype),
            solver=solver,
            key=key,
            saveat=diffrax.SaveAt(steps=50),
            reduce=GATHERED if n == 7 else None,
            backend=backend,
        )

    scan, fused = map(run, BOTH)
    assert (scan.backend, fused.backend) == BOTH
    assert scan.V.dtype == dtype
    tolerance = 1e-9 if dtype == jnp.float64 else 1e-3
    close((fused.ys, fused.final), (scan.ys, scan.final), rtol=tolerance, atol=tolerance)
    if n == 7:
        assert float(jnp.nanmin(fused.reduced["times"])) > 0.5 and int(fused.reduced["where"].sum()) > 500
        close(fused.reduced, scan.reduced, rtol=1e-9, atol=1e-7)


def pairs(backend, E, sigma, keys):
    """V and times of a noisy pair for each E and key."""

    def one(E, key):
        coupling = hh.GradedSynapse(E, half=0.0)
        pair = hh.Network(hh.morris_lecar(), n=2, coupling=coupling, noise=hh.CurrentNoise(sigma))
        run = hh.simulate(
            pair,
            t1=60.0,
            dt=0.1,
            stimulus=jnp.array([100.0, 110.0]),
            solver="euler_maruyama",
            key=key,
            saveat=diffrax.SaveAt(steps=25, fn=hh.save_V),
            reduce=hh.SpikeTimes(1),
            backend=backend,
        )
        return run.V, run.reduced

    return jax.vmap(one)(E, keys)


def test_a_batch_of_noisy_networks_and_its_gradients():
    """One launch; by every entry of E of each network, and by what they share, in both modes."""
    E = jnp.array([[[0.0, 0.1], [0.2, 0.0]]]) * jnp.array([1.0, 1.5, 0.5])[:, None, None]
    sigma, keys = jnp.array(2.0), jax.random.split(hh.fast_key(3), 3)

    def loss(backend):
        def of(point):
            V, times = pairs(backend, *point, keys)
            return V.var() + times.sum(), (V, times)

        return of

    slopes, want = jax.jit(jax.grad(loss("scan"), has_aux=True))((E, sigma))
    direction = (jnp.cos(E), jnp.array(0.5))

    @jax.jit
    def both_modes(point, direction):
        _, change, got = jax.linearize(loss("fused"), point, has_aux=True)
        return change(direction), jax.linear_transpose(change, point)(1.0)[0], got

    along, by, got = both_modes((E, sigma), direction)
    assert float(got[1].min()) > 5 and float(jnp.abs(by[0]).min()) > 0
    close(got, want, rtol=1e-10)
    close(by, slopes, rtol=1e-7)
    np.testing.assert_allclose(along, sum((x * d).sum() for x, d in zip(slopes, direction)), rtol=1e-7)
    text = str(jax.make_jaxpr(lambda E: pairs("fused", E, sigma, keys))(E))
    assert text.count("hhjax_run[") == 1


def small_network():
    """Two populations, and synapses of three kinds with all that they may have."""
    spiking = S.ExponentialSynapse(jnp.ones((3, 2)), pre="e", delay=1.0, plasticity=S.TsodyksMarkram())
    coupling = {
        "spiking": spiking,
        "gap": S.GapJunction(hh.connect.ring(3, weight=0.05)),
        "nmda": S.NMDA(jnp.ones((1, 2)), pre="e", post="i"),
    }
    kinds = {"e": hh.morris_lecar(), "i": hh.wang_buzsaki()}
    return hh.Network(kinds, n={"e": 2, "i": 1}, coupling=coupling)


def test_a_network_of_two_populations():
    """Detected spikes, delays, plasticity, sparse weights; sampled currents; the whole state."""
    ts = jnp.linspace(0.0, 40.0, 41)
    stimulus = 40.0 + hh.Sampled(ts, jnp.outer(jnp.sin(ts), jnp.array([10.0, 5.0, 3.0])))

    def run(backend):
        return hh.simulate(
            small_network(),
            t1=40.0,
            dt=0.05,
            stimulus=stimulus,
            solver="euler",
            saveat=diffrax.SaveAt(steps=100),
            reduce=hh.SpikeTimes(2, -20.0),
            backend=backend,
        )

    scan, fused = map(run, BOTH)
    assert fused.backend == "fused" and int((~jnp.isnan(fused.reduced)).sum()) >= 2
    close((fused.ys, fused.final, fused.reduced), (scan.ys, scan.final, scan.reduced), rtol=1e-8, atol=1e-8)


def test_a_sweep_of_noisy_networks():
    """A key for each point; the axes reach the coupling."""
    coupling = hh.GradedSynapse([[0.0, 0.1], [0.1, 0.0]])
    pair = hh.Network(hh.morris_lecar(), n=2, coupling=coupling, noise=hh.CurrentNoise(2.0))
    options = dict(t1=20.0, dt=0.1, reduce=hh.Mean(), stimulus=100.0, solver="euler_maruyama")
    over = {"coupling.width": [1.0, 2.0, 3.0]}
    scan, fused = (
        hh.sweep(pair, over=over, key=jax.random.key(1), backend=backend, **options) for backend in BOTH
    )
    assert (scan.backend, fused.backend) == BOTH and np.unique(fused.reduced).size == 6
    close(fused.reduced, scan.reduced, rtol=1e-9)


def test_they_translate_for_a_gpu():
    """Noise by either generator, all reducers, and a network of 8, with derivatives, in float32."""
    as_float32 = lambda x: x.astype(jnp.float32) if eqx.is_inexact_array(x) else x
    single = lambda network: jax.tree.map(as_float32, network)
    noise = hh.CurrentNoise(2.0), hh.OUCurrent(2.0, 1.0)
    cells = single(hh.Network(hh.morris_lecar(), n=N, noise=noise))
    coupled = lambda n, noise: hh.Network(
        hh.morris_lecar(), n=n, coupling=hh.GradedSynapse(jnp.ones((n, n))), noise=noise
    )
    eight, pair = single(coupled(8, ())), single(coupled(2, noise))

    def total(network, I, key, reduce):
        options = dict(key=key, reduce=reduce, backend="fused", throw=False)
        run = hh.simulate(
            network, t1=5.0, dt=0.05, stimulus=I, saveat=diffrax.SaveAt(steps=3, fn=hh.save_V), **options
        )
        return run.V.mean() + (0.0 if reduce is None else jnp.nansum(run.reduced["times"]))

    I, times = jnp.float32(10.0), {"times": hh.SpikeTimes(2)}
    assert translate(lambda I: total(cells, I, jax.random.key(0), GATHERED), I) == 1
    assert translate(lambda I: total(eight, I, None, None), I) == 1
    assert translate(jax.grad(lambda I: total(pair, I, hh.fast_key(0), times)), I) == 2
