"""Reducers against what the saved traces give, and runs that go on from where they stopped."""

import warnings

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hhjax as hh

CELLS = hh.Network(hh.squid_axon(), n=3)
CURRENTS = jnp.array([0.0, 10.0, 20.0])


@pytest.fixture(scope="module")
def full():
    return hh.simulate(CELLS, t1=60.0, dt=0.025, stimulus=CURRENTS)


def reduce(reducers, **options):
    return hh.simulate(CELLS, t1=60.0, dt=0.025, stimulus=CURRENTS, reduce=reducers, **options).reduced


def test_reducers_agree_with_the_trace(full):
    edges = jnp.array([-80.0, -60.0, -20.0, 60.0])
    largest = hh.Reducer(lambda t, y, args: y.V, lambda V, t, y, args: jnp.maximum(V, y.V), lambda V: V.max())
    reducers = {
        "count": hh.SpikeCount(),
        "late": hh.SpikeCount(start=30.0),
        "times": hh.SpikeTimes(4),
        "later": hh.SpikeTimes(4, start=30.0),
        "rate": hh.FiringRate(),
        "late rate": hh.FiringRate(start=30.0),
        "last rate": hh.FiringRate(start=45.0),
        "mean": hh.Mean(start=30.0),
        "m": hh.Mean(lambda t, y, args: y.gates["na"]["m"]),
        "range": hh.Extrema(start=30.0),
        "histogram": hh.Histogram(edges),
        "largest": largest,
    }
    got = reduce(reducers)
    times = hh.spike_times(full.ts, full.V)
    counts = np.asarray((~jnp.isnan(times)).sum(axis=1))
    assert counts[2] > counts[1] > counts[0] == 0
    np.testing.assert_array_equal(got["count"], counts)
    np.testing.assert_array_equal(got["late"], (times > 30.0).sum(axis=1))
    kept = got["times"]
    assert kept.times.shape == (3, 4)
    np.testing.assert_array_equal(kept.count, counts)
    np.testing.assert_allclose(kept.times[1:], times[1:, :4], atol=5e-4)
    assert jnp.isnan(kept.times[0]).all()
    later = [train[train > 30.0] for train in times]
    np.testing.assert_array_equal(got["later"].count, got["late"])
    for k, train in enumerate(later):
        np.testing.assert_allclose(got["later"].times[k, : train.size], train, atol=5e-4)
    for name, start in (("rate", 0.0), ("late rate", 30.0), ("last rate", 45.0)):
        np.testing.assert_allclose(got[name], hh.firing_rate(times, start=start), rtol=5e-5)
    assert got["rate"][0] == 0.0 and got["last rate"][1] == 0.0 < got["late rate"][1]  # one spike is none
    late = full.V[1201:]
    np.testing.assert_allclose(got["mean"], late.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(got["range"].min, late.min(axis=0), rtol=1e-12)
    np.testing.assert_allclose(got["range"].max, late.max(axis=0), rtol=1e-12)
    histogram = [np.histogram(full.V[1:, k], edges)[0] for k in range(3)]
    np.testing.assert_array_equal(got["histogram"], np.transpose(histogram))
    np.testing.assert_allclose(got["largest"], full.V.max(), rtol=1e-12)
    whole = diffrax.SaveAt(steps=True)
    ys = hh.simulate(CELLS, t1=60.0, dt=0.025, stimulus=CURRENTS, saveat=whole).ys
    np.testing.assert_allclose(got["m"], ys.gates["na"]["m"].mean(axis=0), rtol=1e-10)


def test_means_of_truth_values_and_whole_numbers(full):
    above = lambda t, y, args: y.V > -60.0
    fraction, number = reduce((hh.Mean(above), hh.Mean(lambda *at: above(*at).astype(int))))
    np.testing.assert_allclose(fraction, (np.asarray(full.V)[1:] > -60.0).mean(axis=0), rtol=1e-12)
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


def ramp(reduce, **options):
    """What is reduced of a capacitor of 1 µF/cm² that 8 µA/cm² bring from −8 mV to 8 mV in 2 ms, exactly."""
    options = dict(t1=2.0, dt=0.25, stimulus=8.0, v0=-8.0, solver="euler") | options
    return hh.simulate(hh.Neuron({}), reduce=reduce, **options)


def test_a_spike_at_an_edge_of_a_window_or_of_the_run_is_counted_once():
    count = lambda **options: int(ramp(hh.SpikeCount(**options)).reduced[0])
    # 0 mV is reached at 1 ms, a grid point; −1 mV at 0.875 ms, between two.
    assert [count(start=x) for x in (-np.inf, 0.75, 0.99, 1.0, 1.01)] == [1, 1, 1, 0, 0]
    assert [count(start=x, threshold=-1.0) for x in (0.75, 0.8, 0.9, 1.0)] == [1, 1, 0, 0]
    # On the last grid point, and on the first, where V has not come from below.
    assert [count(threshold=x) for x in (8.0, -8.0, -7.99, 8.01)] == [1, 0, 1, 0]
    assert count(threshold=8.0, start=1.75) == 1
    run = ramp(hh.SpikeTimes(2, threshold=8.0), saveat=diffrax.SaveAt(t0=True, steps=True, fn=hh.save_V))
    assert run.spike_times(8.0)[0].tolist() == [2.0] and run.spike_times(-8.0)[0].size == 0
    assert (int(run.reduced.count[0]), float(run.reduced.times[0, 0])) == (1, 2.0)


def test_steps_that_end_at_the_start_of_a_window_are_not_in_it():
    """In float32 too, where the 43rd step of 0.025 ms ends above 1.075 ms."""
    cell = jax.tree.map(lambda x: x.astype(jnp.float32), hh.Neuron({}))
    late = lambda i: hh.Mean(lambda t, y, args: t, start=float(np.float32(0.025 * i)))
    for i in (3, 41, 43, 77):
        got = hh.simulate(cell, t1=2.0, dt=0.025, reduce=late(i)).reduced
        assert float(got) == pytest.approx(0.025 * (i + 1 + 80) / 2, abs=1e-4)


def test_more_spikes_than_are_kept_are_known_to_be_more():
    run = hh.simulate(
        CELLS,
        t1=200.0,
        dt=0.025,
        stimulus=CURRENTS,
        reduce={"few": hh.SpikeTimes(5), "all": hh.SpikeTimes(30), "exact": hh.SpikeTimes(14)},
    )
    few, whole, exact = (run.reduced[name] for name in ("few", "all", "exact"))
    assert few.count.tolist() == whole.count.tolist() == [0, 14, 18]
    np.testing.assert_array_equal(few.times, whole.times[:, :5])
    rates = hh.firing_rate(whole, start=100.0)
    np.testing.assert_allclose(rates, [0.0, 68.32, 86.47], atol=0.2)  # see tests/data
    with pytest.warns(UserWarning, match="2 of 3 trains have more spikes, up to 18, than the 5 that were"):
        got = hh.firing_rate(few, start=100.0)
    np.testing.assert_array_equal(got, [0.0, np.nan, np.nan])
    np.testing.assert_array_equal(jax.jit(hh.firing_rate)(few, start=100.0), got)
    with pytest.warns(UserWarning, match="1 of 3 trains have more spikes"):
        np.testing.assert_array_equal(hh.firing_rate(exact, start=100.0), [*rates[:2], np.nan])
    with pytest.warns(UserWarning, match="2 of 3 trains"):
        assert np.isnan(hh.isi_cv(few)).all()
    one = lambda kept, k: hh.KeptSpikes(kept.times[k], kept.count[k])
    assert hh.coincidence_factor(one(whole, 1), whole.times[1], 200.0) == pytest.approx(1.0)
    with pytest.warns(UserWarning, match="1 of 1 trains"):
        assert np.isnan(hh.coincidence_factor(one(few, 1), whole.times[1], 200.0))
    # A window that ends before the last that was kept is known.
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        stop = float(few.times[1:, -1].min())
        np.testing.assert_allclose(hh.firing_rate(few, stop=stop), hh.firing_rate(whole, stop=stop))


def test_what_blew_up_is_nan_and_counts_are_minus_one():
    """Of three neurons one: rk4 at 0.1 ms stands a squid axon that rests, and none that fires."""
    largest = hh.Reducer(lambda t, y, args: y.V, lambda V, t, y, args: jnp.maximum(V, y.V), lambda V: V.max())
    reducers = {
        "count": hh.SpikeCount(),
        "times": hh.SpikeTimes(3),
        "mean": hh.Mean(),
        "range": hh.Extrema(),
        "histogram": hh.Histogram([-100.0, 0.0, 100.0]),
        "largest": largest,
    }
    options = dict(t1=30.0, dt=0.1, v0=-64.99637933119206, solver="rk4", reduce=reducers)
    run = hh.simulate(CELLS, stimulus=jnp.array([0.0, 30.0, 0.0]), throw=False, **options)
    np.testing.assert_array_equal(run.finite, [True, False, True])
    got = run.reduced
    assert got["count"].tolist() == got["times"].count.tolist() == [0, -1, 0]
    assert got["count"].dtype == jnp.int32
    assert np.isnan(got["times"].times).all() and np.isnan(hh.firing_rate(got["times"])[1])
    assert hh.firing_rate(got["times"])[0] == 0.0
    for value in (got["mean"], got["range"].min, got["range"].max):
        np.testing.assert_array_equal(np.isnan(value), [False, True, False])
    assert got["histogram"].T.tolist() == [[300, 0], [-1, -1], [300, 0]] and np.isnan(got["largest"])
    sweep = hh.sweep(hh.squid_axon(), over={"stimulus": [0.0, 30.0]}, **options)
    assert sweep.reduced["count"].ravel().tolist() == [0, -1]
    assert sweep.finite.ravel().tolist() == [True, False]
    assert np.isnan(sweep.reduced["mean"].ravel()).tolist() == [False, True]


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

    both = jax.jit(jax.value_and_grad(outcome))
    slope = both(10.0)[1]
    difference = (both(10.0 + 1e-5)[0] - both(10.0 - 1e-5)[0]) / 2e-5
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
def test_bad_reducers_and_solutions_are_refused(full):
    with pytest.raises(TypeError, match="`reduce` must be a reducer"):
        hh.simulate(CELLS, t1=1.0, dt=0.1, reduce="count")
    with pytest.raises(ValueError, match="`SpikeTimes.max_spikes` must be a whole number"):
        hh.SpikeTimes(0)
    with pytest.raises(ValueError, match="`Histogram.edges` must be at least two increasing"):
        hh.Histogram([0.0, -1.0])
    with pytest.raises(ValueError, match="`y0` is a run of Strang with dt = 0.025 ms"):
        hh.simulate(CELLS, t1=80.0, dt=0.05, y0=full)
    with pytest.raises(ValueError, match="`t0` is where the run `y0` ended, 60.0 ms"):
        hh.simulate(CELLS, t0=3.0, t1=80.0, dt=0.025, y0=full)
