"""Scores by window and feature, beside what repeated sweeps say of each other."""

import numpy as np
import pytest

import hhjax as hh

TS = np.arange(0.0, 300.05, 0.1)


def spikes(peaks):
    """Spikes of 100 mV above 0 mV of 1 ms, and V = 0 elsewhere."""
    return sum((100 * np.exp(-(((TS - at) / 1.0) ** 2) / 2) for at in peaks), np.zeros(TS.size))


@pytest.fixture(scope="module")
def recording():
    """Three sweeps of one current and one of another, a step from 100 to 200 ms; sines below threshold."""
    current = np.where((TS >= 100) & (TS < 200), np.array([[50.0], [50.0], [50.0], [20.0]]), 0.0)
    wave = np.sin(2 * np.pi * TS / 50.0)
    V = -65 + np.stack([2 * wave, 3 * wave, 2 * wave, wave])
    V[0] += spikes([120.0, 160.0])
    V[1] += spikes([121.0, 161.0])
    V[2] += spikes([120.0, 180.0])
    return hh.Recording(TS, current, V, "pA", held=True)


def test_windows_and_repeats(recording):
    V = recording.V.copy()
    V[0] += 1.0
    score = hh.score(V, recording)
    np.testing.assert_allclose(score.windows, [[0, 100], [100, 200], [200, 300]], atol=1e-9)
    # A sine of 2 mV has a variance of 2 mV², and 1 mV² is off; the others are the data.
    np.testing.assert_allclose(score.explained[0, 1:, 0], 1.0)
    assert score.explained[0, 0, 0] == pytest.approx(1 - 1 / 2, rel=2e-3)
    # The others of 0 to 100 ms, where all have the same current: 3, 2 and 1 times the sine for 2 times.
    of_first = np.mean([1 - 1 / 4, 1.0, 1 - 1 / 4])
    assert score.explained_by_repeats[0, 0, 0] == pytest.approx(of_first, rel=1e-3)
    assert np.isnan(score.explained_by_repeats[1:, 3]).all()
    # In the step the first sweep's spikes are matched by 2 of the second and 1 of the third sweep.
    chance = 2 * 2 / 100 * 4
    gamma = lambda matched: (matched - chance * 2) / 2 / (1 - chance)
    assert score.coincidences[1, 0, 0] == pytest.approx(1.0)
    assert score.coincidences_of_repeats[1, 0, 0] == pytest.approx(np.mean([gamma(2), gamma(1)]))
    assert np.isnan(score.coincidences[0, 0, 0])  # no spikes
    own = hh.score(V, recording, windows=[(0.0, 50.0), (100.0, 150.0)])
    assert own.explained.shape == (2, 4, 1)
    assert own.coincidences_of_repeats[1, 2, 0] == pytest.approx(1.0)


def test_features_of_a_score(recording):
    V = recording.V.copy()
    V[1] = recording.V[1] - spikes([121.0, 161.0])
    V[2] = -65 + (V[2] + 65 - spikes([180.0])) + spikes([190.0])
    score = hh.score(V, recording)
    # Latencies of the data 20, 21 and 20 ms: 1 ms and 10 % are more than their deviation.
    np.testing.assert_allclose(score.z["count"][:, 0], [0.0, -2.0, 0.0, 0.0])
    assert score.z["latency"][1, 0] == np.inf and np.isnan(score.z["latency"][3, 0])
    rates = 2000 / np.array([60.0, 61.0, 80.0, 90.0])
    sd = max(np.std(rates[:3], ddof=1), 0.1 * rates[2])
    assert score.z["rate"][2, 0] == pytest.approx((rates[3] - rates[2]) / sd, rel=2e-3)
    off = (rates[:2] - rates[2]) / sd
    assert score.z_of_repeats["rate"][2, 0] == pytest.approx(np.sqrt(np.mean(off**2)), rel=2e-3)
    assert np.isnan(score.z_of_repeats["rate"][3, 0])
    text = str(score)
    assert "Medians over sweeps in each window" in text and "only in one" in text
    (line,) = (line.split() for line in text.splitlines() if line.startswith("latency"))
    assert line[-2:] == ["2", "1"]


def test_spikes_below_the_threshold_are_told_of(recording):
    with pytest.warns(UserWarning, match="V of 3 of 4 traces of the (data|model) rises and falls"):
        hh.score(recording.V, recording, threshold=100.0)


@pytest.mark.usefixtures("as_users_run_it")
def test_windows_that_hold_nothing_are_refused(recording):
    for windows in ([(400.0, 500.0)], [(20.0, 10.0)]):
        with pytest.raises(ValueError, match="`windows` must be .* that hold samples of the data, which are"):
            hh.score(recording.V, recording, windows=windows)


def test_plot(recording):
    drawn = hh.plot.score(hh.score(recording.V[::-1], recording))
    np.testing.assert_array_equal(drawn["spikes"][0].get_ydata(), [2, 2, 2, 0])
    np.testing.assert_array_equal(drawn["spikes"][1].get_ydata(), [0, 2, 2, 2])
    assert drawn["z"].get_array().shape[1] == 4
    points = drawn["explained"][2].get_ydata()
    assert points.size == 12 and np.nanmin(points) >= -1.0
    with pytest.raises(ValueError, match="`axes` lacks coincidence, explained, z"):
        hh.plot.score(hh.score(recording.V, recording), axes={"spikes": drawn["spikes"][0].axes})
