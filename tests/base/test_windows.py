"""The rule of windows, and of swings below the threshold, against plain loops."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hhjax._base.swings import start_swing, swing, swings_below, warn_of_swings
from hhjax._base.windows import takes, takes_samples, takes_spike


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_windows_side_by_side_take_everything_on_a_grid_once(dtype):
    """Edges on the grid, where i·dt in float32 lies above as often as below the number that it stands for."""
    dt = 0.025
    ts = np.arange(1, 40_001, dtype=dtype) * dtype(dt)  # a step ends at each
    edges = [0.0, 30.0, 31.1, 400.025, 977.7, 1000.0]
    counts = [int(takes(ts, dtype(a), dtype(b)).sum()) for a, b in zip(edges, edges[1:])]
    assert counts == [round((b - a) / dt) for a, b in zip(edges, edges[1:])]
    samples = [int(takes_samples(ts, dtype(a), dtype(b)).sum()) for a, b in zip(edges, edges[1:])]
    assert samples == [counts[0]] + [count + 1 for count in counts[1:]]  # both ends
    assert not takes(np.array([np.nan]), -np.inf).any()


def test_a_crossing_lies_after_its_first_sample_and_not_after_its_second():
    """At 0.75 ms of a straight line from −3 to 1, in a step from 0 to 1 ms."""
    V = lambda *x: [jnp.asarray(x) for x in x]
    within = lambda start, stop: bool(takes_spike(0.0, jnp.asarray(1.0), *V(-3.0, 1.0), start, stop))
    assert within(-np.inf, np.inf) and within(0.7, 0.8)
    assert [within(0.5, 0.75), within(0.75, 0.9), within(0.8, 1.0), within(0.0, 0.7)] == [True] + 3 * [False]
    ends = lambda v, w: bool(takes_spike(0.0, jnp.asarray(1.0), *V(v, w), 0.0, 1.0))
    # At the second sample, at the first, from above threshold, from it.
    assert [ends(-1.0, 0.0), ends(0.0, 1.0), ends(1.0, 2.0), ends(0.0, -1.0)] == [True] + 3 * [False]


def by_hand(V):
    """Whether any sample of a stay below 0 is more than 10 above an earlier and above a later one."""
    stays, stay = [], []
    for x in V:
        if x < 0:
            stay.append(x)
        else:
            stays, stay = [*stays, stay], []
    for stay in [*stays, stay]:
        for j in range(len(stay)):
            if stay[j] - min(stay[: j + 1]) > 10 and stay[j] - min(stay[j:]) > 10:
                return True
    return False


@pytest.mark.parametrize("threshold", [0.0, -20.0, -62.0])
def test_swings_below_the_threshold_are_found_in_traces_and_step_by_step(threshold):
    rng = np.random.default_rng(0)
    V = 3 * np.cumsum(rng.normal(size=(300, 200)), axis=0) - 30
    V[rng.random(V.shape) < 0.01] = np.nan
    expected = np.array([by_hand(V[:, k] - threshold) for k in range(200)])
    assert expected.any() and not expected.all()
    np.testing.assert_array_equal(swings_below(V, threshold), expected)
    step = lambda carry, v: (swing(carry, v - threshold, True), None)
    (_, _, found), _ = jax.lax.scan(step, start_swing(jnp.asarray(V[0])), jnp.asarray(V))
    np.testing.assert_array_equal(found, expected)


def test_what_is_no_swing():
    t = np.linspace(0.0, 1.0, 101)[:, None]
    hump = np.sin(np.pi * t)
    for trace, found in (
        (-65 + 9.9 * hump, False),
        (-65 + 10.1 * hump, True),
        (-65 + 100 * hump, False),  # a spike that crosses
        (-65 - 30 * hump, False),  # hyperpolarised and back
        (-65 + 30 * t, False),  # depolarised for good
        (np.where(t < 0.5, 20.0, -65 + 15 * np.sin(4 * np.pi * t)), True),  # after one that crosses
    ):
        assert bool(swings_below(trace, 0.0)[0]) is found


def test_one_warning_says_how_many_and_where_it_was_called():
    with pytest.warns(
        UserWarning, match="V of 2 of 3 runs rises and falls by more than 10 mV below the thr"
    ) as w:
        warn_of_swings([True, False, True], jnp.array(-20.0), "run")
    assert "the threshold of -20 mV" in str(w[0].message) and w[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_swings([False], 0.0)
