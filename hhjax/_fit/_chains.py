"""How far Markov chains have mixed, by A. Vehtari et al., Bayesian Analysis 16, 667 (2021)."""

from statistics import NormalDist

import numpy as np


def r_hat(x: np.ndarray) -> float:
    """Rank-normalised split R-hat of draws of shape (chains, samples): 1 where all chains agree."""
    if not np.ptp(x) > 0:
        return np.nan
    folded = np.abs(x - np.median(x))
    return max(_r_hat(_normalised(_split(y))) for y in (x, folded))


def bulk(x: np.ndarray) -> float:
    """Effective samples for the centre of the distribution."""
    return _effective(_normalised(_split(x))) if np.ptp(x) > 0 else np.nan


def tail(x: np.ndarray) -> float:
    """Effective samples for its 5 and 95 % quantiles, the fewer of both."""
    ends = (_split(x <= np.quantile(x, q)).astype(float) for q in (0.05, 0.95))
    return min(_effective(end) for end in ends) if np.ptp(x) > 0 else np.nan


def _split(x: np.ndarray) -> np.ndarray:
    """Each chain as two."""
    half = x.shape[1] // 2
    return np.concatenate([x[:, :half], x[:, -half:]])


def _normalised(x: np.ndarray) -> np.ndarray:
    """Normal scores of the ranks; equal draws share theirs."""
    _, at, counts = np.unique(x, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts - 1) / 2
    scores = np.array([NormalDist().inv_cdf(p) for p in (ranks - 0.375) / (x.size + 0.25)])
    return scores[at].reshape(x.shape)


def _spread(x: np.ndarray) -> tuple[float, float]:
    """The variance within the chains, and that of all."""
    within, n = x.var(axis=1, ddof=1).mean(), x.shape[1]
    return within, within * (n - 1) / n + x.mean(axis=1).var(ddof=1)


def _r_hat(x: np.ndarray) -> float:
    within, of_all = _spread(x)
    return float(np.sqrt(of_all / within)) if within > 0 else np.inf


def _effective(x: np.ndarray) -> float:
    """Draws over their autocorrelation time, by Geyer's initial monotone sequence."""
    n = x.shape[1]
    within, of_all = _spread(x)
    if not of_all > 0:
        return np.nan
    spectrum = np.abs(np.fft.rfft(x - x.mean(axis=1, keepdims=True), 2 * n)) ** 2
    covariance = np.fft.irfft(spectrum)[:, :n].mean(axis=0) / n
    correlation = 1 - (within - covariance) / of_all
    correlation[0] = 1.0
    pairs = correlation[: n - n % 2].reshape(-1, 2).sum(axis=1)
    pairs = pairs[: np.argmax(pairs < 0)] if (pairs < 0).any() else pairs
    time = 2 * np.minimum.accumulate(pairs).sum() - 1
    return float(x.size / max(time, 1 / np.log10(x.size)))
