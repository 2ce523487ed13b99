"""Fits from far away: the search by evolution, and the loss of firing."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hhjax as hh

TS = np.arange(0.0, 400.0, 0.1)
STEP = np.where((TS >= 100.0) & (TS < 300.0), 1.0, 0.0)[None]


def trace(spikes, rest=-65.0, width=1.0):
    """Bells of 100 mV whose standard deviation is `width` ms."""
    return rest + sum(100 * np.exp(-(((TS - at) / width) ** 2) / 2) for at in spikes) + 0 * TS


def parts(V, target, loss=hh.losses.Firing(0.0, timing=1.0)):
    """The four mean squares of one sweep in three parts."""
    V, target = jnp.asarray(V)[None, :, None], jnp.asarray(target)[None, :, None]
    made = loss.made_for(jnp.asarray(TS), target, jnp.asarray(STEP))
    squares = np.asarray(made(jnp.asarray(TS), V, target)) ** 2
    ends = np.cumsum([3, 6, 80])
    return [x.sum() for x in np.split(squares, ends)], made


def test_firing_by_hand():
    """Counts of 3 for 1 and 4 for 2; spikes twice as wide; V off by 8 mV; a train that is missing."""
    data = trace([50.0, 150.0, 250.0])
    (count, shape, below, train), made = parts(data, data)
    assert made.parts == ((0, 1000), (1000, 3000), (3000, 3999))
    # A bell of 100 mV and 1 ms rises by 10 mV/ms at −62.7 mV, and for three samples of 0.1 ms soon after.
    assert float(made.onset) == pytest.approx(-61.5, abs=1.2)
    assert max(count, shape, below, train) < 1e-10

    (count, *_), _ = parts(trace([30.0, 50.0, 70.0, 150.0, 190.0, 220.0, 250.0]), data)
    assert count == pytest.approx(((2 / 1.1) ** 2 + (2 / 1.2) ** 2 + 0) / 3, rel=0.02)

    # Twice as long and twice the area: (2 − 1)/0.3 of both, in the two parts that fire.
    (count, shape, *_), _ = parts(trace([50.0, 150.0, 250.0], width=2.0), data)
    robust = 2 * (np.sqrt(1 + (1 / 0.3) ** 2) - 1)
    assert count < 0.01 and shape == pytest.approx(robust * 2 / 3, rel=0.05)

    (_, _, below, train), _ = parts(data - 8.0, data)
    assert below == pytest.approx((8 / 4) ** 2, rel=0.2) and train < 0.05

    (count, shape, _, train), _ = parts(trace([]), data)
    assert train == pytest.approx(1.0, rel=0.02) and shape == 0.0
    assert count == pytest.approx(((1 / 1.1) ** 2 + (2 / 1.2) ** 2) / 3, rel=0.02)


def test_spikes_a_little_late_count_less_than_those_far_off():
    data = trace([150.0, 250.0])
    near, far = (parts(trace([150.0 + late, 250.0 + late]), data)[0][3] for late in (5.0, 40.0))
    assert near < 0.5 * far and far == pytest.approx(2.0, rel=0.1)  # as if missing and superfluous


def test_the_threshold_of_firing_is_half_way_from_the_onset():
    """Also where spikes stay below 0 mV."""
    for height, rest in ((100.0, -65.0), (55.0, -65.0)):
        data = jnp.asarray(rest + height * np.exp(-((TS - 150.0) ** 2) / 2))[None, :, None]
        made = hh.losses.Firing().made_for(jnp.asarray(TS), data, jnp.asarray(STEP))
        assert float(made.threshold) == pytest.approx(float(made.onset) / 2)
        assert float(made.onset) == pytest.approx(-61.5, abs=1.5)


def test_noise_below_the_threshold_of_firing_is_no_spike():
    """A plateau at −26 mV with noise of 0.3 mV, whose sigmoid of 2 mV alone would count 19 spikes in it."""
    data = trace([150.0])
    noise = 0.3 * np.random.default_rng(0).standard_normal(TS.size)
    V = np.where(TS > 310.0, -26.0 + noise, data)
    (count, *_), _ = parts(V, data, hh.losses.Firing(-20.0))
    assert count < 1e-3


def test_spikelets_that_stay_below_the_threshold_do_no_harm():
    """Two in a part, 0.5 mV below it, where V is never above: finite, also where the model fires."""
    data = np.minimum(trace([150.0, 250.0]), -0.5)
    found, _ = parts(trace([150.0, 250.0]), data)
    assert np.isfinite(found).all()


def test_missing_samples_of_firing_do_not_count():
    data = trace([150.0, 250.0])
    holes = np.where((TS > 240.0) & (TS < 260.0), np.nan, data)
    found, _ = parts(data, holes)
    assert max(found) < 1e-10


def recorded(neuron, currents, t1=60.0):
    ts = np.arange(0.0, t1 + 0.05, 0.1)
    current = np.stack([np.where(ts > 5.0, I, 0.0) for I in currents])
    empty = hh.Recording(ts, current, np.zeros(current.shape))
    return hh.Recording(ts, current, hh.replay(neuron, empty, dt=0.05)[..., 0])


FAR = {"na.g": 60.0, "k.g": 15.0}
QUIET = {"progress_meter": diffrax.NoProgressMeter(), "dt": 0.05, "where": list(FAR)}


def test_a_search_finds_what_descent_does_not():
    """From half the conductances. Descent on a loss of firing alone stays far off; with the search it ends
    at the truth."""
    recording = recorded(hh.squid_axon(), (5.0, 10.0, 20.0))
    start, loss = hh.replace(hh.squid_axon(), FAR), hh.losses.Firing()
    alone = hh.fit(start, recording, loss=loss, steps=30, **QUIET)
    guide = hh.Evolution(generations=15, population=16, searches=1)
    fit = hh.fit(start, recording, loss=loss, guide=guide, steps=30, key=jax.random.key(0), **QUIET)
    assert fit.loss < 0.01 * alone.loss
    np.testing.assert_allclose(fit.values, [120.0, 36.0], rtol=0.01)
    assert len(fit.history) > 15 and (np.diff(fit.history[:15]) <= 0).all()
    assert fit.runs >= 15 * 16


def test_a_search_keeps_a_good_start():
    """The truth is among the first generation."""
    recording = recorded(hh.squid_axon(), (10.0,), t1=30.0)
    fit = hh.fit(hh.squid_axon(), recording, guide=hh.Evolution(1, 4, searches=1), steps=0, **QUIET)
    np.testing.assert_allclose(fit.values, [120.0, 36.0], rtol=1e-6)
    assert fit.objective == "Firing" and "fire" in fit.why and np.isnan(fit.standard_errors).all()


def test_a_search_leaves_the_random_numbers_of_numpy_alone():
    recording = recorded(hh.squid_axon(), (10.0,), t1=30.0)
    np.random.seed(7)
    expected = np.random.random()
    np.random.seed(7)
    hh.fit(hh.squid_axon(), recording, guide=hh.Evolution(1, 4, searches=2), steps=0, **QUIET)
    assert np.random.random() == expected


def test_a_search_is_that_of_its_key():
    recording = recorded(hh.squid_axon(), (10.0,), t1=30.0)
    start = hh.replace(hh.squid_axon(), FAR)

    def search(key, **more):
        options = (
            {"guide": hh.Evolution(2, 4, searches=2), "steps": 0, "key": jax.random.key(key)} | QUIET | more
        )
        return hh.fit(start, recording, loss=hh.losses.Firing(), **options)

    one, same, other = (search(key) for key in (0, 0, 1))
    np.testing.assert_array_equal(one.history, same.history)
    assert (one.history != other.history).any()
    two = search(0, starts=np.array([[60.0, 15.0], [130.0, 40.0]]))
    assert two.starts.loss.shape == (2,) and two.loss <= one.loss + 1e-6


def test_mistakes():
    with pytest.raises(ValueError, match=r"Evolution.population. must be .* 4"):
        hh.Evolution(population=3)
    with pytest.raises(ValueError, match="Evolution.generations"):
        hh.Evolution(0)
    with pytest.raises(ValueError, match="Evolution.width"):
        hh.Evolution(width=-1.0)
    with pytest.raises(ValueError, match="Evolution.searches"):
        hh.Evolution(searches=0)
    with pytest.raises(ValueError, match="`shape` must be positive"):
        hh.losses.Firing(shape=0.0)


def test_what_a_guess_leaves_free():
    """Kinetics within their limits, and the area in place of C."""
    ts = np.arange(0.0, 300.0, 0.1)
    step = np.where((ts > 50.0) & (ts < 250.0), -20.0, 0.0)
    up = lambda t: -np.expm1(-np.maximum(t, 0.0) / 20.0)
    V = -70.0 - 8.0 * (up(ts - 50.0) - up(ts - 250.0))
    found = hh.guess(hh.Recording(ts, step[None], V[None], "pA", held=True), hh.adapting())
    assert {"na.g", "na.s_half", "kv3.n_tau", "m.p_tau_min", "leak.E", "electrode.area"} <= set(found.free)
    assert not {"C", "na.E", "na.m_skew", "ahp.p_tau", "na.s_tau"} & set(found.free)
    plain = hh.guess(hh.Recording(ts, step[None], V[None], "µA/cm²", held=True), hh.pospischil_fs())
    assert set(plain.free) == {"na.g", "na.VT", "k.g", "k.VT", "leak.g", "leak.E", "C"}
