"""Losses and features against values worked out by hand."""

import warnings

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hhjax as hh
from hhjax import features, losses
from hhjax.losses._spikes import _counts

TS = jnp.arange(5.0)
TARGET = jnp.array([[[-60.0], [-50.0], [jnp.nan], [-70.0], [-60.0]]])
V = TARGET.at[0, 2].set(0.0) + jnp.array([1.0, 2.0, 0.0, -2.0, 0.0])[None, :, None]


def total(loss, V=V, target=TARGET):
    return float((loss(TS, V, target) ** 2).sum())


def test_a_trace_loss_is_the_mean_square_of_the_samples_there_are():
    assert total(losses.Trace()) == pytest.approx((1 + 4 + 4) / 4)
    assert total(losses.Trace(sd=2.0)) == pytest.approx(9 / 4 / 4)
    assert total(losses.Trace(start=2.5)) == pytest.approx(4 / 2)
    weights = jnp.array([1.0, 0.0, 1.0, 0.5, 1.0])[None, :, None]
    assert total(losses.Trace(weights=weights)) == pytest.approx((1 + 0.5 * 4) / 4)
    assert bool(jnp.isfinite(jax.grad(lambda V: (losses.Trace()(TS, V, TARGET) ** 2).sum())(V)).all())


def test_losses_add_up_with_weights():
    mean = losses.Feature(lambda ts, V: features.mean(ts, V, start=3.0), sd=0.5)
    assert total(0.25 * losses.Trace() + 3 * mean, V, jnp.nan_to_num(TARGET, nan=-60.0)) == pytest.approx(
        0.25 * (1 + 4 + 3600 + 4) / 5 + 3 * (1.0 / 0.5) ** 2
    )
    own = lambda ts, V, target: (V - jnp.nan_to_num(target, nan=-60.0))[0, :1, 0]
    assert total(losses.Trace() + own) == pytest.approx(9 / 4 + 1)


@pytest.mark.usefixtures("as_users_run_it")
@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: losses.Trace(sd=0.0), "`sd` must be positive, got 0.0 mV"),
        (lambda: losses.Trace(sd=[1.0, -1.0]), "`sd` must be positive, got -1.0 mV"),
        (lambda: losses.Trace(sd=jnp.nan), "`sd` contains NaN"),
        (lambda: losses.Trace(weights=[1.0, -0.5]), "`weights` must be at least 0.0, got -0.5"),
        (lambda: losses.SpikeTimes(sd=0.0), "`sd` must be positive, got 0.0 ms"),
        (lambda: losses.SpikeTimes(drift=-0.1), "`drift` must be at least 0.0, got -0.1"),
        (lambda: losses.SpikeTimes(max_spikes=0), "`max_spikes` must be a whole number of at least 1, got 0"),
        (lambda: losses.Feature(features.peak, sd=-2.0), "`sd` must be positive, got -2.0"),
        (lambda: -1.0 * losses.Trace(), "`weight` must be at least 0.0, got -1.0"),
    ],
)
def test_losses_refuse_what_makes_no_sense(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_traced_sd_passes():
    square = lambda sd: (losses.Trace(sd=sd)(TS, V, TARGET) ** 2).sum()
    assert float(jax.grad(square)(2.0)) == pytest.approx(-2 * 9 / 4 / 2.0**3)


def spikes_at(times, ts, height=40.0):
    """Triangular spikes that cross 0 mV upward at `times` (ms)."""
    V = -60 + (60 + height) * np.maximum(0, 1 - np.abs(ts[:, None] - times - height / 100) / 1.0).sum(axis=1)
    return jnp.asarray(V)[None, :, None]


def test_spike_times_are_compared_in_order():
    ts = np.arange(0, 50, 0.05)
    data, fit = spikes_at(np.array([10.0, 30.0]), ts), spikes_at(np.array([11.0, 32.0]), ts)
    square = lambda V, **options: float((losses.SpikeTimes(**options)(jnp.asarray(ts), V, data) ** 2).sum())
    # A quintic through a corner of the triangle is off by some hundredths of a ms.
    assert square(fit, sd=2.0) == pytest.approx((0.5**2 + 1.0**2) / 2, rel=0.1)
    # A missing spike counts as one at the end, 49.95 ms.
    one = spikes_at(np.array([10.0]), ts)
    assert square(one) == pytest.approx((49.95 - 30.0) ** 2 / 2, rel=0.01)
    assert square(data) == 0.0
    # A part of the trace: the second spikes alone; with a missing one at the end of the part.
    assert square(fit, start=20.0, stop=40.0) == pytest.approx(2.0**2, rel=0.1)
    assert square(one, start=20.0, stop=40.0) == pytest.approx(10.0**2, rel=0.01)
    assert square(fit, start=15.0, stop=25.0) == 0.0
    # The spike of `data` at 10 ms has begun at 10.5 ms, that of `fit` at 11 ms has not.
    assert square(fit, start=10.5, stop=20.0) == pytest.approx(9.0**2, rel=0.01)
    # 10 and 30 ms after the start an error of 1 and 2 ms counts as 1/(1 + 0.1·10) and 2/(1 + 0.1·30).
    assert square(fit, drift=0.1) == pytest.approx((0.5**2 + 0.5**2) / 2, rel=0.1)


def test_features_of_a_known_trace():
    ts = np.arange(0, 100, 0.1)
    V = -65 - 8 * np.exp(-(((ts - 60) / 5) ** 2)) + 100 * np.exp(-(((ts - 40) / 1) ** 2))
    V = jnp.asarray(np.stack([V, V + 3.0], axis=1))
    np.testing.assert_allclose(features.rest(ts, V, stop=30.0), [-65.0, -62.0], atol=1e-6)
    np.testing.assert_allclose(features.peak(ts, V), [35.0, 38.0], atol=1e-3)
    np.testing.assert_allclose(features.trough(ts, V, start=50.0), [-73.0, -70.0], atol=1e-3)
    depth = features.ahp_depth(ts, V, before=30.0, start=50.0, stop=80.0)
    np.testing.assert_allclose(depth, [8.0, 8.0], atol=1e-3)
    np.testing.assert_allclose(features.mean(ts, V, stop=20.0), [-65.0, -62.0], atol=1e-6)
    with pytest.raises(ValueError, match="No sample lies between `start` = 500.0 and `stop` = inf ms"):
        features.mean(ts, V, start=500.0)
    assert np.isnan(jax.jit(lambda ts: features.mean(ts, V, start=500.0))(ts)).all()
    # From V ≈ −65 to 35 mV sigmoid(V/10) rises by σ(3.5) − σ(−6.5).
    count = features.spike_count(ts, V[:, :1])
    rise = jax.nn.sigmoid(3.5) - jax.nn.sigmoid(-6.5)
    np.testing.assert_allclose(count, [rise], rtol=1e-3)
    np.testing.assert_allclose(features.spike_count(ts, V[:, :1], stop=40.05), [rise], rtol=1e-3)
    assert features.spike_count(ts, V[:, :1], start=40.05, stop=50.0) == 0.0
    np.testing.assert_allclose(features.spike_rate(ts, V[:, :1]), count * 1000 / 99.9, rtol=1e-9)
    np.testing.assert_allclose(features.peak(ts, V[None])[0], features.peak(ts, V))


def test_the_coincidence_factor_by_hand():
    data = np.array([10.0, 30.0, 50.0, np.nan])
    assert hh.coincidence_factor(data, data, 1000.0) == pytest.approx(1.0)
    # 2 of 3 within 4 ms of 4 spikes; by chance 2·(4/1000)·4·3 = 0.096; norm 1 − 0.032.
    model = np.array([12.0, 12.5, 53.9, 80.0])
    assert hh.coincidence_factor(model, data, 1000.0) == pytest.approx((2 - 0.096) / 3.5 / 0.968)
    assert np.isnan(hh.coincidence_factor([], [np.nan], 100.0))
    with pytest.raises(ValueError, match="`duration` must be a positive finite number in ms, got 0"):
        hh.coincidence_factor(data, data, 0.0)


def test_a_score_leaves_the_spikes_out_of_the_error():
    ts = np.arange(0, 100, 0.05)
    data = spikes_at(np.array([20.0]), ts)[0, :, 0]
    model = spikes_at(np.array([23.0, 80.0]), ts)[0, :, 0] + 2.0
    score = hh.score(model[None], hh.Recording(ts, np.zeros(ts.size), data))
    assert (score.spikes_data[0, 0], score.spikes_model[0, 0]) == (1, 2)
    assert score.rmse[0, 0] == pytest.approx(2.0, abs=1e-9)
    # 1 of 1 within 4 ms; by chance 2·(2/99.95)·4·1.
    chance = 16 / 99.95
    assert score.coincidence[0, 0] == pytest.approx((1 - chance) / 1.5 / (1 - chance))
    assert "RMSE" in str(score)
    with pytest.raises(ValueError, match="`V` must have the shape"):
        hh.score(model[None, :-1], hh.Recording(ts, np.zeros(ts.size), data))


def test_a_spike_that_is_cut_is_no_other_spike():
    """By a missing sample on its way down, or by a `start` between samples while it lasts."""
    ts = jnp.arange(0, 100, 0.05)
    model, data = (spikes_at(np.array([20.0, at]), np.asarray(ts)) for at in (60.0, 61.0))
    top = 390 + int(np.argmax(data[0, 390:420, 0]))
    cut = data.at[0, top + 1, 0].set(jnp.nan)
    times = losses.SpikeTimes(sd=1.0)
    error = lambda loss, data: float((loss(ts, model, data) ** 2).sum())
    assert error(times, cut) == pytest.approx(error(times, data), rel=1e-6) == pytest.approx(0.5, rel=1e-3)
    for start in (ts[top], ts[top] + 0.02, ts[top] + 0.05):
        late = losses.SpikeTimes(sd=1.0, start=float(start), max_spikes=1)
        assert error(late, data) == pytest.approx(1.0, rel=1e-3)
    score = hh.score(model[0].T, hh.Recording(np.asarray(ts), np.zeros(ts.size), np.asarray(cut[0, :, 0])))
    assert (score.spikes_data[0, 0], score.spikes_model[0, 0]) == (2, 2)


def test_a_score_of_missing_data():
    """The second sweep was not recorded, the third from 10 to 30 ms, where the spike is."""
    ts = np.arange(0, 100, 0.05)
    trace = spikes_at(np.array([20.0, 60.0]), ts)[0, :, 0]
    gap = np.where((ts > 10) & (ts < 30), np.nan, trace)
    data = hh.Recording(ts, np.zeros((3, ts.size)), np.stack([trace, np.full(ts.size, np.nan), gap]))
    score = hh.score(np.stack([trace] * 3) + 1.0, data)
    np.testing.assert_array_equal(score.spikes_data[:, 0], [2, np.nan, 1])
    np.testing.assert_array_equal(score.spikes_model[:, 0], [2, 2, 2])
    np.testing.assert_allclose(score.rmse[:, 0], [1.0, np.nan, 1.0])
    # 1 of 2 matched; by chance 2·(2/99.95)·4·1.
    chance = 16 / 99.95
    np.testing.assert_allclose(
        score.coincidence[:, 0], [1.0, np.nan, (1 - chance) / 1.5 / (1 - chance)], rtol=1e-12
    )
    assert [line.split() for line in str(score).splitlines()][1:3] == [
        ["0", "0", "2", "2", "1.00", "1.00"],
        ["1", "0", "nan", "2", "nan", "nan"],
    ]


def train(times, ts):
    """One sweep of one neuron that crosses 0 mV upward at `times` (ms), from −60 to 40 mV in 1 ms."""
    V = np.full(ts.size, -60.0)
    for time in times:
        since = ts - (time - 0.6)
        V = np.where((since >= 0) & (since <= 1), -60 + 100 * since, V)
        V = np.where((since > 1) & (since < 2), 140 - 100 * since, V)
    return jnp.asarray(V)[None, :, None]


def test_all_spikes_of_the_data_are_compared():
    """40 of them, of which the last 20 come 1 ms late; 70 spikes of a model where the data have 5."""
    ts = jnp.arange(0, 800, 0.125)
    at = 10.0 + 19.0 * np.arange(40)
    late = np.where(np.arange(40) >= 20, at + 1.0, at)
    data, moved = train(at, np.asarray(ts)), train(late, np.asarray(ts))
    error = lambda V, data, **options: float((losses.SpikeTimes(**options)(ts, V, data) ** 2).sum())
    assert error(moved, data) == pytest.approx(0.5, rel=1e-3)
    traced = jax.jit(lambda V, data: (losses.SpikeTimes()(ts, V, data) ** 2).sum())
    assert float(traced(moved, data)) == pytest.approx(0.5, rel=1e-3)
    assert float((losses.SpikeTimes().made_for(ts, data)(ts, moved, data) ** 2).sum()) == pytest.approx(
        0.5, rel=1e-3
    )
    with pytest.warns(UserWarning, match="A trace has 40 spikes; `max_spikes` compares the first 20"):
        assert error(moved, data, max_spikes=20) == pytest.approx(0.0, abs=1e-6)
    # What has no room costs as much as if it came with the last that has: 32 spikes for 5 of the data.
    few, many = train(at[:5], np.asarray(ts)), train(10.0 + 9.0 * np.arange(70), np.asarray(ts))
    end = float(ts[-1])
    t = 10.0 + 9.0 * np.arange(70)
    squares = (t[:5] - at[:5]) ** 2, (end - t[5:32]) ** 2, 38 * (end - t[31]) ** 2
    assert error(many, few) == pytest.approx(sum(x.sum() for x in squares) / 70, rel=1e-3)
    assert error(few, many) == pytest.approx(
        (((t - np.append(at[:5], [end] * 65)) ** 2).sum()) / 70, rel=1e-3
    )


def test_a_spike_without_a_match_costs_wherever_it_is():
    """One of 2 in the model or in the data, and one 0.4 ms before the end, which counts as 1 ms."""
    ts = jnp.arange(0, 100.0625, 0.125)
    whole, one, late = (train(np.array(at), np.asarray(ts)) for at in ([20.0, 60.0], [20.0], [20.0, 99.6]))
    error = lambda V, data: float((losses.SpikeTimes(sd=1.0)(ts, V, data) ** 2).sum())
    assert error(one, whole) == pytest.approx(40.0**2 / 2, rel=1e-3)
    assert error(whole, one) == pytest.approx(40.0**2 / 2, rel=1e-3)
    assert error(one, late) == error(late, one) == pytest.approx(1 / 2, rel=1e-6)


def test_a_fit_makes_room_for_all_spikes_and_tells_of_what_it_does_not_see():
    neuron = hh.squid_axon()
    run = hh.simulate(neuron, t1=50.0, dt=0.05, stimulus=63.0)
    data = (run.ts, jnp.full(run.ts.shape, 63.0), run.V[:, 0])
    options = dict(where="k.g", guide=None, steps=0, dt=0.05, progress_meter=diffrax.NoProgressMeter())
    with pytest.warns(UserWarning, match="V of one trace rises and falls by more than 10 mV below"):
        hh.fit(neuron, data, loss=0.5 * losses.SpikeTimes() + losses.Trace(), **options)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        hh.fit(neuron, data, loss=0.5 * losses.SpikeTimes(threshold=-30.0) + losses.Trace(), **options)
    recording = hh.Recording(*data)
    with pytest.warns(UserWarning, match="V of one trace of the (data|model) rises and falls"):
        score = hh.score(run.V[None], recording)
    lower = hh.score(run.V[None], recording, threshold=-30.0)
    assert (score.spikes_data[0, 0], lower.spikes_data[0, 0], lower.spikes_model[0, 0]) == (4, 7, 7)
    blown_up = hh.score(run.V[None].at[0, 500:].set(jnp.nan), recording, threshold=-30.0)
    assert blown_up.spikes_model[0, 0] == -1 and blown_up.spikes_data[0, 0] == 7
    assert np.isnan(blown_up.rmse[0, 0]) and np.isnan(blown_up.coincidence[0, 0])


@pytest.mark.usefixtures("as_users_run_it")
@pytest.mark.parametrize("guide", [None, hh.MultipleShooting(segments=4, steps=1)])
def test_windows_of_losses_are_in_the_recordings_own_times(guide):
    """A conductance from the last third of a part of a recording, whose other samples are spoilt."""
    neuron = hh.Neuron({"leak": hh.Leak(g=0.2, E=-70.0)})
    V = hh.simulate(neuron, t1=30.0, dt=0.1, stimulus=hh.Sine(2.0, 100.0), v0=-70.0).V[:, 0]
    ts = np.linspace(0.0, 30.0, 301)
    spoilt = np.where((ts > 14.95) & (ts < 22.05), V + 5.0, V)
    current = np.asarray(hh.Sine(2.0, 100.0)(ts))
    part = hh.Recording(ts, current, spoilt).between(9.0, 30.0)
    options = dict(where="leak.g", guide=guide, dt=0.1, progress_meter=diffrax.NoProgressMeter())
    start = hh.replace(neuron, {"leak.g": 0.15})
    found = hh.fit(start, part, loss=losses.Trace(start=22.1), **options)
    assert float(found.values[0]) == pytest.approx(0.2, rel=1e-3) and found.loss < 1e-3
    with pytest.raises(ValueError, match="`start` = 31 and `stop` = inf ms of a loss must hold a"):
        hh.fit(start, part, loss=0.1 * losses.Trace(start=31.0), **options)
    with pytest.raises(ValueError, match="which are from 9 to 30 ms"):
        hh.fit(start, part, loss=losses.SpikeTimes(stop=8.0), **options)


@pytest.mark.parametrize("at", [30.0, 30.0625, 0.125, 80.0])
def test_windows_side_by_side_count_a_spike_once(at):
    """On a sample or between two, at the end of the first interval or of the last, by every detector."""
    ts = jnp.arange(0, 80.0625, 0.125)
    V = jnp.clip(8 * (ts - at), -1.0, 1.0)
    V = V[None, :, None]
    number = lambda **window: int(_counts(losses.SpikeTimes(**window), ts, V)[0, 0])
    smooth = lambda **window: float(features.spike_count(ts, V[0], width=0.1, **window)[0])
    for edge in (0.125, 0.25, 29.9, 30.0, 30.0625, 30.1, 30.125, 79.9, 80.0):
        assert (number(stop=edge), number(start=edge)) == ((1, 0) if at <= edge else (0, 1))
        assert smooth(stop=edge) + smooth(start=edge) == pytest.approx(smooth(), abs=1e-12)
    assert float(hh.spike_times(ts, V[0, :, 0])[0]) == pytest.approx(at, abs=0.03)


def test_a_rate_is_divided_by_the_windows_own_length():
    """20 Hz from 500 to 1000 ms, of which a trace up to 900 ms shows four fifths."""
    ts = np.arange(0, 1000.0625, 0.125)
    V = train(525.0 + 50.0 * np.arange(10), ts)[0]
    rate = lambda ts, V, **window: float(features.spike_rate(ts, V, width=1.0, **window)[0])
    assert rate(ts, V, start=500.0, stop=1000.0) == pytest.approx(20.0, rel=1e-6)
    assert rate(ts, V) == pytest.approx(10.0, rel=1e-6)
    short = ts <= 900.0
    assert rate(ts[short], V[short], start=500.0, stop=1000.0) == pytest.approx(20.0, rel=1e-6)
    assert rate(ts, V, start=500.0, stop=530.0) == pytest.approx(1000 / 30, rel=1e-6)
    assert np.isnan(jax.jit(lambda ts: features.spike_count(ts, V, start=2000.0))(ts)).all()


def test_a_feature_does_not_need_what_it_does_not_read():
    """Data that are missing outside its window, at both ends of which there are samples."""
    ts = jnp.arange(5.0)
    feature = lambda start, stop: losses.Feature(lambda ts, V: features.mean(ts, V, start=start, stop=stop))
    model = TARGET.at[0, 2].set(0.0) + 1.0
    error = lambda *window: float((feature(*window)(ts, model, TARGET) ** 2).sum())
    assert error(0.0, 1.0) == pytest.approx(1.0) and error(3.0, 4.0) == pytest.approx(1.0)
    assert error(1.0, 3.0) == 0.0 and error(2.0, 4.0) == 0.0  # the sample at 2 ms is missing
    peak = losses.Feature(lambda ts, V: V.max(axis=-2))  # which reads all of them
    assert float((peak(ts, model, TARGET) ** 2).sum()) == 0.0


def test_weighted_losses_of_currents_are_made_for_the_data():
    """Second differences of 0, 3, 0, 3 and 0 are ±6 and of 3 alone 6: the noise is 1.4826·6/√6."""
    ts, target = jnp.arange(5.0), jnp.asarray([0.0, 3.0, 0.0, 3.0, 0.0])[None, :, None]
    loss = (4.0 * losses.Current()).made_for(ts, target)
    sd = 1.4826 * 6 / np.sqrt(6)
    assert float((loss(ts, target + 1.0, target) ** 2).sum()) == pytest.approx(4 / sd**2, rel=1e-6)
