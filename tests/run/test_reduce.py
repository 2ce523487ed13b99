"""Reducers against what the saved traces give, and runs that go on from where they stopped."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hhjax as hh

CELLS = hh.Network(hh.squid_axon(), n=3)
CURRENTS = jnp.array([0.0, 10.0, 20.0])
FULL = hh.simulate(CELLS, t1=60.0, dt=0.025, stimulus=CURRENTS)


def reduce(reducers, **options):
    return hh.simulate(CELLS, t1=60.0, dt=0.025, stimulus=CURRENTS, reduce=reducers, **options).reduced


def test_reducers_agree_with_the_trace():
    edges = jnp.array([-80.0, -60.0, -20.0, 60.0])
    largest = hh.Reducer(lambda t, y, args: y.V, lambda V, t, y, args: jnp.maximum(V, y.V), lambda V: V.max())
    reducers = {
        "count": hh.SpikeCount(),
        "late": hh.SpikeCount(start=30.0),
        "times": hh.SpikeTimes(4),
        "mean": hh.Mean(start=30.0),
        "m": hh.Mean(lambda t, y, args: y.gates["na"]["m"]),
        "range": hh.Extrema(start=30.0),
        "histogram": hh.Histogram(edges),
        "largest": largest,
    }
    got = reduce(reducers)
    times = hh.spike_times(FULL.ts, FULL.V)
    counts = np.asarray((~jnp.isnan(times)).sum(axis=1))
    assert counts[2] > counts[1] > counts[0] == 0
    np.testing.assert_array_equal(got["count"], counts)
    np.testing.assert_array_equal(got["late"], (times > 30.0).sum(axis=1))
    kept = got["times"]
    assert kept.times.shape == (3, 4)
    np.testing.assert_array_equal(kept.count, counts)
    np.testing.assert_allclose(kept.times[1:], times[1:, :4], atol=5e-4)
    assert jnp.isnan(kept.times[0]).all()
    late = FULL.V[1201:]
    np.testing.assert_allclose(got["mean"], late.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(got["range"].min, late.min(axis=0), rtol=1e-12)
    np.testing.assert_allclose(got["range"].max, late.max(axis=0), rtol=1e-12)
    histogram = [np.histogram(FULL.V[1:, k], edges)[0] for k in range(3)]
    np.testing.assert_array_equal(got["histogram"], np.transpose(histogram))
    np.testing.assert_allclose(got["largest"], FULL.V.max(), rtol=1e-12)
    whole = diffrax.SaveAt(steps=True)
    ys = hh.simulate(CELLS, t1=60.0, dt=0.025, stimulus=CURRENTS, saveat=whole).ys
    np.testing.assert_allclose(got["m"], ys.gates["na"]["m"].mean(axis=0), rtol=1e-10)


def test_means_of_truth_values_and_whole_numbers():
    above = lambda t, y, args: y.V > -60.0
    fraction, number = reduce((hh.Mean(above), hh.Mean(lambda *at: above(*at).astype(int))))
    np.testing.assert_allclose(fraction, (np.asarray(FULL.V)[1:] > -60.0).mean(axis=0), rtol=1e-12)
    np.testing.assert_array_equal(number, fraction)


def test_what_nothing_gives():
    late = 61.0
    histogram = hh.Histogram([-80.0, 0.0, 60.0], start=late)
    got = reduce((hh.Mean(start=late), hh.Extrema(start=late), histogram, hh.SpikeCount(start=late)))
    assert np.isnan(got[0]).all() and got[0].shape == (3,)
    assert (got[1].min == jnp.inf).all() and (got[1].max == -jnp.inf).all()
    assert not got[2].any() and not got[3].any()
    some = hh.sweep(CELLS, over={"v0": [-65.0]}, reduce=hh.Mean(start=2.0), t1=2.0, dt=0.1).reduced
    assert np.isnan(some).all()  # a step counts if it ends after `start`


def test_what_is_saved_beside_reducers():
    run = hh.simulate(CELLS, t1=1.0, dt=0.1, reduce=hh.Mean())
    assert run.V.shape == (1, 3) and float(run.ts[0]) == 1.0
    run = hh.simulate(CELLS, t1=1.0, dt=0.1, reduce=[hh.Mean()], saveat=diffrax.SaveAt(steps=5, fn=hh.save_V))
    assert run.V.shape == (2, 3) and run.reduced[0].shape == (3,)


def test_derivatives_of_reduced_values():
    def outcome(I):
        reducers = (hh.Mean(), hh.Mean(start=19.0), hh.SpikeTimes(3))
        run = hh.simulate(hh.squid_axon(), t1=20.0, dt=0.05, stimulus=I, reduce=reducers)
        mean, late, times = run.reduced
        return mean[0] + late[0] + times.times[0, 0]

    slope = jax.grad(outcome)(10.0)
    difference = (outcome(10.0 + 1e-5) - outcome(10.0 - 1e-5)) / 2e-5
    assert float(slope) == pytest.approx(float(difference), rel=1e-6)


def test_memory_does_not_grow_with_the_number_of_steps():
    def bytes_of(steps):
        run = lambda I: hh.simulate(CELLS, t1=steps * 0.1, dt=0.1, stimulus=I, reduce=hh.SpikeCount()).reduced
        return jax.jit(run).lower(CURRENTS).compile().memory_analysis().temp_size_in_bytes

    assert bytes_of(100_000) == bytes_of(1000)


@pytest.mark.parametrize("solver", ["strang", "rk4", diffrax.Tsit5()])
def test_two_halves_equal_the_whole_to_the_last_bit(solver):
    network = jax.tree.map(lambda x: x.astype(jnp.float32), CELLS)
    go = lambda t1, y0: hh.simulate(
        network, t1=t1, dt=0.025, stimulus=hh.Sine(20.0, 40.0), solver=solver, y0=y0
    )
    whole, half = go(30.0, None), go(12.0, None)
    rest = go(30.0, half)
    np.testing.assert_array_equal(rest.ts, whole.ts[480:])
    np.testing.assert_array_equal(rest.V, whole.V[480:])
    for a, b in zip(jax.tree.leaves(rest.final), jax.tree.leaves(whole.final)):
        np.testing.assert_array_equal(a, b)


@pytest.mark.usefixtures("as_users_run_it")
def test_bad_reducers_and_solutions_are_refused():
    with pytest.raises(TypeError, match="`reduce` must be a reducer"):
        hh.simulate(CELLS, t1=1.0, dt=0.1, reduce="count")
    with pytest.raises(ValueError, match="`SpikeTimes.max_spikes` must be a whole number"):
        hh.SpikeTimes(0)
    with pytest.raises(ValueError, match="`Histogram.edges` must be at least two increasing"):
        hh.Histogram([0.0, -1.0])
    with pytest.raises(ValueError, match="`y0` is a run of Strang with dt = 0.025 ms"):
        hh.simulate(CELLS, t1=80.0, dt=0.05, y0=FULL)
    with pytest.raises(ValueError, match="`t0` is where the run `y0` ended, 60.0 ms"):
        hh.simulate(CELLS, t0=3.0, t1=80.0, dt=0.025, y0=FULL)
