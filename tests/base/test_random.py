"""The normal random numbers of noisy runs: their quantiles, distribution and independence."""

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

import hhjax as hh
from hhjax._base.random import increments, normal_from_bits

SIGN = np.uint32(2**31)


def normal(key, shape, dtype=jnp.float32):
    return increments(key, shape, jnp.ones((), dtype))


def test_normal_numbers_are_the_quantiles_of_their_bits():
    """Of 32 bits the first is the sign; the rest, k, says that 1 − (k + ½)/2³¹ are nearer to 0."""
    near = np.arange(-200, 200)
    k = np.concatenate([2**i + near for i in range(32)] + [np.arange(0, 2**31, 2111)])
    k = np.unique(k[(k >= 0) & (k < 2**31)]).astype(np.uint32)
    above, below = np.asarray(jax.jit(normal_from_bits)(jnp.asarray([k, k | SIGN])))
    assert above.dtype == np.float32
    np.testing.assert_array_equal(below, -above)
    assert (np.diff(above) <= 1e-6).all()
    farther = (k + 0.5) / 2**31
    nearer = (2.0**31 - k - 0.5) / 2**31
    exact = np.sqrt(2) * np.where(farther < 0.5, scipy.special.erfcinv(farther), scipy.special.erfinv(nearer))
    np.testing.assert_allclose(above, exact, rtol=1e-6, atol=1e-7)
    assert exact.max() == pytest.approx(6.338, abs=1e-3)


STEPS, ROWS, NEURONS = 400, 14, 500  # 2.8 million numbers


@pytest.fixture(scope="module", params=["fast_key", "threefry"])
def numbers(request):
    """What the steps of a run draw, shape (steps, noises, neurons)."""
    key = hh.fast_key(12) if request.param == "fast_key" else jax.random.key(12)
    draw = jax.vmap(lambda key: normal(key, (ROWS, NEURONS)))
    return np.asarray(jax.jit(draw)(jax.random.split(key, STEPS))).astype(float)


def test_their_distribution_is_normal(numbers):
    """Moments, tails and the whole distribution, at 4.5 standard errors or one in 10,000."""
    x, size = numbers.ravel(), numbers.size
    moments = {1: (0, 1), 2: (1, 2), 3: (0, 15), 4: (3, 96), 6: (15, 10170)}
    for power, (mean, variance) in moments.items():
        assert abs((x**power).mean() - mean) < 4.5 * np.sqrt(variance / size)
    for limit in (1.0, 2.0, 3.0, 4.0, 4.5):
        for count in ((x > limit).sum(), (x < -limit).sum()):
            expected = size * scipy.stats.norm.sf(limit)
            assert abs(count - expected) < 4.5 * np.sqrt(expected)
    x = np.sort(x)
    place = np.arange(size) / size
    chance = scipy.stats.norm.cdf(x)
    distance = max(np.max(chance - place), np.max(place + 1 / size - chance))
    assert distance < 2.23 / np.sqrt(size)  # Kolmogorov and Smirnov
    logarithms = scipy.special.log_ndtr(x) + scipy.special.log_ndtr(-x[::-1])
    assert -size - ((2 * place + 1 / size) * logarithms).sum() < 8.0  # Anderson and Darling


def test_they_are_independent(numbers):
    """Of the next one, two, ... in step, noise and neuron, also in their squares."""
    x = numbers
    for axis, lags in ((0, (1, 2, 64)), (1, (1, 2, 7)), (2, (1, 2, 64, 256))):
        for lag in lags:
            a = np.take(x, range(x.shape[axis] - lag), axis).ravel()
            b = np.take(x, range(lag, x.shape[axis]), axis).ravel()
            for f, g, variance in (
                (a, b, 1),
                (a, b**2 - 1, 2),
                (a**2 - 1, b, 2),
                (a**2 - 1, b**2 - 1, 4),
            ):
                assert abs(f @ g / a.size) < 4.5 * np.sqrt(variance / a.size)
    # Of one noise and all others, and of all numbers that share a step, a noise or a neuron.
    assert abs(np.corrcoef(x[:, :, 0].T) - np.eye(ROWS)).max() < 4.5 / np.sqrt(STEPS)
    for axes in ((1, 2), (0, 2), (0, 1)):
        means = x.mean(axis=axes) * np.sqrt(x.size / x.shape[3 - sum(axes)])
        assert abs((means**2).mean() - 1) < 4.5 * np.sqrt(2 / means.size)


def test_members_of_a_batch_draw_independent_numbers():
    """Keys that are split, split of splits, and folded in, as by sweeps."""
    draw = jax.jit(jax.vmap(lambda key: normal(key, (1, 1000))[0]))
    root = hh.fast_key(3)
    split = jax.random.split(root, 500)
    twice = jax.vmap(lambda key: jax.random.split(key, 2)[1])(split)
    folded = jax.vmap(lambda i: jax.random.fold_in(root, i))(jnp.arange(500))
    drawn = [np.asarray(draw(keys)).astype(float) for keys in (split, twice, folded)]
    for i, x in enumerate(drawn):
        for other in [x[np.roll(np.arange(500), 1)], *drawn[:i]]:
            for a, b, variance in ((x, other, 1), (x**2 - 1, other**2 - 1, 4)):
                assert abs((a * b).mean()) < 4.5 * np.sqrt(variance / x.size)
        apart = np.cov(x)[np.triu_indices(500, 1)]
        assert np.abs(apart).max() < 5.5 / np.sqrt(1000)
        assert (apart**2).mean() * 1000 == pytest.approx(1.0, abs=4.5 * np.sqrt(2 / apart.size))


def test_they_come_from_the_words_of_the_generators():
    key = hh.fast_key(5)
    words = jax.random.bits(key, (3, 300), jnp.uint32)
    np.testing.assert_array_equal(normal(key, (3, 300)), normal_from_bits(words))
    # Of jax's own keys, each hash of a counter gives a number of the first rows and one of the others.
    key = jax.random.key(5)
    counter = jnp.stack([jnp.repeat(jnp.arange(3), 300), jnp.tile(jnp.arange(300), 3)]).astype(jnp.uint32)
    words = jax.extend.random.threefry_2x32(jax.random.key_data(key), counter).reshape(6, 300)
    for rows in (5, 6):
        got = normal(key, (rows, 300))
        np.testing.assert_array_equal(got, normal_from_bits(words[:rows]))


def test_in_float64_they_are_those_of_jax():
    key = hh.fast_key(4)
    np.testing.assert_array_equal(normal(key, (3, 5), float), jax.random.normal(key, (3, 5)))
