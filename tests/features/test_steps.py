"""Where the current changes, and which step a recording is about."""

import numpy as np
import pytest

from hhjax.features._steps import amplitude, edges, parts, repeats, step

TS = np.arange(0.0, 500.0, 0.1)
within = lambda start, stop: (TS >= start - 1e-9) & (TS < stop - 1e-9)
LEVELS = np.array([[-20.0], [0.0], [30.0], [30.0]])
STEPS = 5.0 - 10.0 * within(50, 100) + LEVELS * within(200, 300)


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_the_step_is_the_one_in_which_sweeps_differ(noise):
    """After a test pulse of −10 pA in all sweeps, on 5 pA."""
    current = STEPS + noise * np.random.default_rng(0).standard_normal(STEPS.shape)
    np.testing.assert_allclose(edges(TS, current), [50, 100, 200, 300])
    assert step(TS, current) == (pytest.approx(200), pytest.approx(300))
    np.testing.assert_allclose(amplitude(TS, current, 200.0, 300.0), LEVELS[:, 0], atol=0.1)


def test_without_differences_the_step_is_the_longest_that_is_farthest_from_the_beginning():
    pulse = 5.0 - 10.0 * within(50, 100) + 10.0 * within(200, 300)
    assert step(TS, pulse[None]) == (pytest.approx(200), pytest.approx(300))
    both = np.stack([pulse, pulse], axis=-1)[None]  # two neurons
    assert step(TS, both) == (pytest.approx(200), pytest.approx(300))
    np.testing.assert_allclose(amplitude(TS, both, 200.0, 300.0), [[10.0, 10.0]])


@pytest.mark.parametrize(
    "current", [0 * TS, np.sin(TS / 20), TS, np.random.default_rng(0).standard_normal(TS.size)]
)
def test_currents_that_are_no_steps(current):
    assert edges(TS, current[None]).size == 0 and step(TS, current[None]) is None
    np.testing.assert_allclose(parts(TS, current[None]), [[0.0, TS[-1]]])
    assert np.isnan(amplitude(TS, current[None], -np.inf, np.inf)).all()


def test_sweeps_repeat_where_the_window_and_the_one_before_are_the_same():
    same = repeats(TS, STEPS, parts(TS, STEPS))
    assert same.shape == (5, 4, 4)
    every = ~np.eye(4, dtype=bool)
    last_two = np.zeros((4, 4), bool)
    last_two[2, 3] = last_two[3, 2] = True
    for k, wanted in enumerate([every, every, every, last_two, last_two]):
        np.testing.assert_array_equal(same[k], wanted)
