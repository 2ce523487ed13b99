"""A look at the data: what noise they have, and which objective suits them."""

from typing import NamedTuple

import numpy as np

from ..features._steps import repeats
from ..losses import AbstractLoss, Prediction, Trace
from ._score import known_spikes

_PIECE, _PIECES = 64, 8  # samples of a piece without spikes, and how many of these there must be
_SURE = 5.0  # standard errors, from which on noise is there
_LEAST = 0.03  # mV, of what noise in the cell leads to over 10 ms; less is not worth a filter
_OUTLIER = 6.0  # standard deviations of V's curvature, beyond which it is a spike or an edge of the current
_IRREGULAR = (
    0.1  # of an interval, by which those at a steady current differ from the mean of their neighbours
)


class Noise(NamedTuple):
    """**Fields:** `process`: white noise in the cell, mV/√ms, that is σ/C of an [`hh.CurrentNoise`][];
    `reading`: noise of each reading of V, mV; of each neuron, shape (n,)."""

    process: np.ndarray
    reading: np.ndarray


def noise_of(V: np.ndarray, dt: float) -> tuple[Noise, np.ndarray]:
    """The noise of traces (sweeps, times, n), sampled every `dt` ms, and of which neurons the cell is sure
    to have some.

    The first differences of a random walk with steps of variance q, read with variance r, have the spectrum
    q + 2r·(1 − cos ω). It is met at high frequencies, where a smooth trace has nothing, by least squares.
    """
    found = np.array([_noise(V[..., neuron]) for neuron in range(V.shape[2])])
    q, r, error = found.T
    noise = Noise(np.sqrt(np.maximum(q, 0.0) / dt), np.sqrt(np.maximum(r, 0.0)))
    return noise, (q > _SURE * error) & (noise.process * np.sqrt(10.0 / 2) > _LEAST)


def _noise(V: np.ndarray) -> tuple[float, float, float]:
    """q, r and the standard error of q (mV²) of one neuron's traces (sweeps, times)."""
    curved = np.abs(np.diff(V, 2, axis=1))
    if np.isnan(curved).all():
        return 0.0, 0.0, np.inf
    out = ~(curved <= _OUTLIER * 1.4826 * np.nanmedian(curved))  # or missing
    count = (V.shape[1] - 2) // _PIECE
    cut = lambda x: x[:, : count * _PIECE].reshape(-1, _PIECE)
    pieces = cut(np.diff(V, axis=1))[~cut(out).any(axis=1)]
    if len(pieces) < _PIECES:
        return 0.0, 0.0, np.inf
    taper = np.hanning(_PIECE + 2)[1:-1]
    high = slice(_PIECE // 8, None)
    power = np.abs(np.fft.rfft(pieces * taper)[:, high]) ** 2 / (taper**2).sum()
    shape = np.stack([np.ones(_PIECE), 2 - 2 * np.cos(2 * np.pi * np.arange(_PIECE) / _PIECE)])
    shape = shape[:, : _PIECE // 2 + 1][:, high]
    level = power.mean()
    for _ in range(4):
        weighted = shape / level**2
        solve = np.linalg.solve(weighted @ shape.T, weighted)
        each = solve @ power.T
        level = np.maximum(each.mean(axis=1) @ shape, 0.01 * power.mean())
    return *each.mean(axis=1), each[0].std() / np.sqrt(len(pieces))


def choose(ts: np.ndarray, V: np.ndarray, current: np.ndarray) -> tuple[AbstractLoss, str]:
    """The objective for the data, and why.

    **Arguments:** `ts`: ms; `V`: mV, shape (sweeps, times, n); `current`: shape (sweeps, times) or
    (sweeps, times, n).
    """
    noise, sure = noise_of(V, (ts[-1] - ts[0]) / (len(ts) - 1))
    if sure.any():
        size = np.max(noise.process[sure])
        return Prediction(), f"the data have noise of the cell, {size:.2g} mV/√ms"
    if _irregular(ts, V, current):
        return Prediction(), "spikes at a steady current come irregularly"
    if _differs(ts, V, current):
        return Prediction(), "sweeps with the same current differ"
    return Trace(), "the data show no noise of the cell"


def _irregular(ts: np.ndarray, V: np.ndarray, current: np.ndarray) -> bool:
    """Whether intervals between spikes at one current jump up and down."""
    current = np.broadcast_to(current if current.ndim == 3 else current[..., None], V.shape)
    jumps = []
    for sweep, neuron in np.ndindex(V.shape[0], V.shape[2]):
        spikes = known_spikes(ts, V[sweep, :, neuron], 0.0)
        if len(spikes) < 5:
            continue
        steady = current[sweep, (ts >= spikes[0]) & (ts <= spikes[-1]), neuron]
        if np.ptp(steady) <= 1e-6 * np.abs(steady).max(initial=0.0):
            intervals = np.diff(spikes)
            jumps.extend(np.abs(np.diff(intervals, 2)) / 2 / intervals.mean())
    return len(jumps) > 0 and float(np.median(jumps)) > _IRREGULAR


def _differs(ts: np.ndarray, V: np.ndarray, current: np.ndarray) -> bool:
    """Whether sweeps with the same current differ by more than the noise of a reading explains."""
    (same,) = repeats(ts, current, np.array([[ts[0], ts[-1]]]))
    for one in range(len(V)):
        for other in one + 1 + np.flatnonzero(same[one, one + 1 :]):
            # Slow differences: of means over a twentieth of a sweep, in which noise of readings goes down.
            parts = np.array_split(V[one] - V[other], 20)
            for neuron in range(V.shape[2]):
                seen = (part[:, neuron][np.isfinite(part[:, neuron])] for part in parts)
                means = [np.abs(part.mean()) for part in seen if part.size]
                if means and np.median(means) > 0.3:
                    return True
    return False
