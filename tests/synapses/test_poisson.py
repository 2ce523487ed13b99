"""Poisson inputs: which key their trains come from, and what they never share."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hhjax as hh
from hhjax._base.random import input_key, step_keys

S = hh.synapses
PASSIVE = hh.Neuron({}, C=1e9)  # a membrane that nothing moves
KEY, N, DT, T1 = jax.random.key(7), 40, 0.125, 50.0
RATE = 800.0  # 0.1 spikes in a step
MEAN, STEPS = RATE * DT / 1000, round(T1 / DT)
EVERY = diffrax.SaveAt(steps=True, fn=lambda t, y, args: {name: s["g"]["g"] for name, s in y.s.items()})


def network(names="ab", key=None, delay=None, noise=()):
    """Conductances that do not decay: what is added in a step is what arrived."""
    poisson = S.Poisson(N, RATE, key)
    synapse = S.ExponentialSynapse(jnp.eye(N), tau=1e12, input=poisson, delay=delay)
    return hh.Network(PASSIVE, n=N, coupling={name: synapse for name in names}, noise=noise)


def arrived(run, first=None):
    """Spikes by step and train, of each coupling."""
    before = lambda name, g: np.zeros((1, N)) if first is None else np.asarray(first[name])[None]
    return {
        name: np.rint(np.diff(np.concatenate([before(name, g), np.asarray(g)]), axis=0))
        for name, g in run.ys.items()
    }


def trains(network, key=KEY, **options):
    options = dict(t1=T1, dt=DT, saveat=EVERY) | options
    return arrived(hh.simulate(network, key=key, **options))


@pytest.fixture(scope="module")
def drawn():
    return trains(network())


def correlation(a, b):
    return np.corrcoef(a.ravel(), b.ravel())[0, 1]


def test_trains_of_two_couplings_are_poisson_and_independent(drawn):
    """The same input in two couplings of one dict, to 5 standard deviations of 16000 draws."""
    assert STEPS * N == 16000
    for counts in drawn.values():
        assert abs(counts.mean() - MEAN) < 5 * np.sqrt(MEAN / 16000)
        # Fourth central moment of a Poisson number: m + 3 m².
        assert abs(counts.var() - MEAN) < 5 * np.sqrt((MEAN + 2 * MEAN**2) / 16000)
    assert abs(correlation(drawn["a"], drawn["b"])) < 5 / np.sqrt(16000)
    # Nor shifted by a train or a step.
    assert abs(correlation(drawn["a"][:, 1:], drawn["b"][:, :-1])) < 5 / np.sqrt(15600)
    assert abs(correlation(drawn["a"][1:], drawn["a"][:-1])) < 5 / np.sqrt(15960)


def test_trains_depend_on_the_key_and_the_name_alone(drawn):
    other = trains(network(), jax.random.key(8))
    assert abs(correlation(other["a"], drawn["a"])) < 5 / np.sqrt(16000)
    # Beside other couplings, in another order, with noise, by another solver.
    np.testing.assert_array_equal(trains(network("xb"), solver="rk4")["b"], drawn["b"])
    noisy = network("ba", noise=hh.CurrentNoise(1.0))
    np.testing.assert_array_equal(trains(noisy)["b"], drawn["b"])


def test_however_a_run_is_cut(tmp_path, drawn):
    half, one, counts = dict(dt=DT, key=KEY, saveat=EVERY), network("b"), drawn["b"]
    first = hh.simulate(one, t1=T1 / 2, **half)
    went_on = hh.simulate(one, t1=T1, y0=first, **half)
    anew = hh.simulate(one, t0=T1 / 2, t1=T1, y0=first.final, **half)
    on_disk = hh.simulate_to(tmp_path / "run", one, t1=T1, chunk=33, **half)
    at_half = {"b": first.ys["b"][-1]}
    np.testing.assert_array_equal(arrived(first)["b"], counts[: STEPS // 2])
    for second in (went_on, anew):
        np.testing.assert_array_equal(arrived(second, at_half)["b"], counts[STEPS // 2 :])
    np.testing.assert_array_equal(arrived(on_disk)["b"], counts)


def test_spikes_that_were_sent_before_the_start_arrive(drawn):
    late = trains(network("a", delay=8 * DT))["a"]
    np.testing.assert_array_equal(late[8:], drawn["a"][:-8])
    assert abs(late[:8].sum() - 8 * N * MEAN) < 5 * np.sqrt(8 * N * MEAN)


def test_every_point_of_a_sweep_has_trains_of_its_own(drawn):
    options = dict(over={"v0": [-65.0, -64.0, -63.0]}, t1=T1, dt=DT, saveat=EVERY)
    counts = lambda sweep: np.rint(np.diff(np.asarray(sweep.ys["a"]), axis=1))
    found = counts(hh.sweep(network("a"), key=KEY, **options))
    for i in range(3):
        want = trains(network(), jax.random.fold_in(KEY, i))["a"][1:]
        np.testing.assert_array_equal(found[i], want)
        assert abs(correlation(found[i], found[i - 1])) < 5 / np.sqrt(16000)
    frozen = counts(hh.sweep(network("a", key=KEY), key=KEY, **options))
    np.testing.assert_array_equal(frozen[0], frozen[2])


def test_a_key_of_its_own_freezes_trains():
    poisson = S.Poisson(N, RATE, KEY)
    starts = jnp.asarray(DT * np.arange(STEPS))
    want = np.asarray(jax.vmap(lambda t: poisson.spikes(t, t + DT, jnp.asarray(DT)))(starts))
    for key in (None, jax.random.key(8)):
        got = trains(network(key=KEY), key)
        np.testing.assert_array_equal(got["a"], want)
        np.testing.assert_array_equal(got["b"], want)


@pytest.mark.parametrize(
    "key", [KEY, hh.fast_key(7), jax.random.PRNGKey(7), jax.random.key(7, impl="rbg")], ids=str
)
def test_no_key_is_used_twice(key):
    """Those of noise and of the couplings, step by step, and with a coupling that has no name."""
    given = network().with_keys(key).coupling.parts
    alone = hh.Network(PASSIVE, n=N, coupling=network().coupling.parts["a"]).with_keys(key)
    roots = [given["a"].input.key, given["b"].input.key, alone.coupling.input.key]
    assert jax.random.key_impl(roots[0]) == jax.random.key_impl(key)
    steps = jnp.arange(-100, 400)
    keys = [step_keys(key, 0, 400), *(jax.vmap(jax.random.fold_in, (None, 0))(root, steps) for root in roots)]
    words = lambda keys: np.asarray(jax.random.key_data(keys)).reshape(-1, jax.random.key_data(key).size)
    used = np.concatenate([words(k) for k in (*keys, input_key(key)[None], key[None])])
    assert len(used) == 400 + 3 * 500 + 2
    assert len(np.unique(used, axis=0)) == len(used)


def test_noise_is_the_same_with_and_without_inputs():
    noise = hh.CurrentNoise(1e9)
    options = dict(t1=2.0, dt=DT, key=KEY)
    got = hh.simulate(network("a", noise=noise), **options).V
    want = hh.simulate(hh.Network(PASSIVE, n=N, noise=noise), **options).V
    # Some 2 mS/cm² for 2 ms move 1e9 µF/cm² by 3e-7 mV.
    np.testing.assert_allclose(got, want, atol=1e-6, rtol=0)
    assert np.std(want[-1]) > 1.0  # mV; √2 is expected


def test_without_a_key_an_error_says_so(tmp_path):
    nothing = network()
    with pytest.raises(ValueError, match="`key` is missing: an hh.synapses.Poisson without a key"):
        hh.simulate(nothing, t1=T1, dt=DT)
    with pytest.raises(ValueError, match="`key` is missing: an hh.synapses.Poisson"):
        hh.sweep(nothing, over={"v0": [-65.0]}, t1=T1, dt=DT)
    with pytest.raises(ValueError, match="`key` is missing: an hh.synapses.Poisson"):
        hh.simulate_to(tmp_path / "run", nothing, t1=T1, dt=DT)
    assert not (tmp_path / "run").exists()
    with pytest.raises(ValueError, match="`key` is missing: an hh.synapses.Poisson"):
        S.Poisson(2, 10.0).spikes(*map(jnp.asarray, (0.0, 0.1, 0.1)))


def test_diffrax_hands_on_no_key():
    def solve(terms, solver, network):
        solver, args = hh.as_diffrax(solver), (network, 0.0)
        return diffrax.diffeqsolve(terms, solver, t0=0.0, t1=4.0, dt0=DT, y0=network.init(), args=args)

    term = diffrax.ODETerm(hh.vector_field)
    noisy = network("a", noise=hh.CurrentNoise(1.0))
    path = diffrax.VirtualBrownianTree(0.0, 4.0, tol=0.01, shape=hh.brownian_shape(noisy), key=KEY)
    both = diffrax.MultiTerm(term, diffrax.ControlTerm(hh.diffusion, path))
    for given in ((term, "strang", network("a")), (both, "strang_maruyama", noisy)):
        with pytest.raises(ValueError, match="`key` is missing: an hh.synapses.Poisson"):
            solve(*given)
    want = trains(network(key=KEY))["a"][: round(4.0 / DT)].sum(axis=0)
    got = solve(term, "strang", network("a", key=KEY)).ys.s["a"]["g"]["g"][0]
    np.testing.assert_allclose(got, want, rtol=1e-9)


def test_an_input_without_a_key_is_saved(tmp_path):
    hh.save(tmp_path / "network.npz", network())
    got = hh.load(tmp_path / "network.npz")
    assert got.coupling.parts["a"].input.key is None
    np.testing.assert_array_equal(trains(got)["b"], trains(network())["b"])
