"""Where the current of a recording changes, and the step that its sweeps are about."""

import numpy as np

SHARE = 0.1
"""Of the time before a step for the rest, and of the step for where V settles."""

_JUMP = 0.01  # of the range of the current
_ABOVE = 10.0  # times the usual change, which is noise where the current was measured
_NEAR = 1.0  # ms, within which changes are one
_MOST = 20  # changes, beyond which a current is no series of steps


def edges(ts: np.ndarray, current: np.ndarray) -> np.ndarray:
    """The times (ms) at which the current of any sweep jumps; none where it is no series of steps.

    **Arguments:** `current`: shape (sweeps, times) or (sweeps, times, n).
    """
    change = np.abs(np.diff(current, axis=1))
    jumps = change.max(axis=tuple(k for k in range(current.ndim) if k != 1))
    found = ts[1:][jumps > max(_JUMP * np.ptp(current), _ABOVE * np.median(change), 1e-300)]
    found = found[np.diff(found, prepend=-np.inf) > _NEAR]
    return found if found.size <= _MOST else found[:0]


def parts(ts: np.ndarray, current: np.ndarray) -> np.ndarray:
    """The windows (ms) between the changes of the current, shape (windows, 2)."""
    ends = np.concatenate([ts[:1], edges(ts, current), ts[-1:]])
    return np.stack([ends[:-1], ends[1:]], axis=1)


def levels(ts: np.ndarray, current: np.ndarray, windows: np.ndarray) -> np.ndarray:
    """The median current in each window, shape (windows, sweeps) or (windows, sweeps, n)."""
    inside = [(ts >= start) & (ts < stop) for start, stop in windows]
    return np.stack([np.median(current[:, among], axis=1) for among in inside])


def step(ts: np.ndarray, current: np.ndarray) -> tuple[float, float] | None:
    """The window (ms) in which the sweeps differ most, or, if none differs, that is farthest from the first.

    Of several such the longest. None where the current does not jump.
    """
    windows = parts(ts, current)
    if len(windows) < 2:
        return None
    level = levels(ts, current, windows).reshape(len(windows), -1)
    differ, away = level[1:].std(axis=1), np.abs(level[1:] - level[0]).max(axis=1)
    tell = differ if differ.max() > _JUMP * np.ptp(current) else away
    lengths = np.where(tell > 0.999 * tell.max(), np.diff(windows[1:], axis=1)[:, 0], 0.0)
    start, stop = windows[1 + int(np.argmax(lengths))]
    return float(start), float(stop)


def amplitude(ts: np.ndarray, current: np.ndarray, start: float, stop: float) -> np.ndarray:
    """By how much the current from `start` to `stop` (ms) differs from that of the time for the rest.

    NaN where there is no such time. **Returns:** shape (sweeps,) or (sweeps, n).
    """
    if not start > ts[0]:
        return np.full(np.delete(current.shape, 1), np.nan)
    rest = max(start - SHARE * (start - ts[0]), ts[0])
    before, within = levels(ts, current, np.array([[min(rest, ts[ts < start][-1]), start], [start, stop]]))
    return within - before


def repeats(ts: np.ndarray, current: np.ndarray, windows: np.ndarray) -> np.ndarray:
    """Which sweeps have the same current in a window and in the one before, shape (windows, sweeps, sweeps).

    No sweep repeats itself.
    """
    sweeps, slack = len(current), _JUMP * np.ptp(current) * 1e-3
    found = np.zeros((len(windows), sweeps, sweeps), bool)
    changing = ((ts - windows[:, :1] >= 0) & (ts - windows[:, :1] < _NEAR)).any(axis=0)
    for k, (_, stop) in enumerate(windows):
        since = windows[max(k - 1, 0), 0]
        part = current[:, (ts >= since) & (ts < stop) & ~changing].reshape(sweeps, -1)
        for i in range(sweeps):
            found[k, i] = (np.abs(part - part[i]) <= slack).all(axis=1)
            found[k, i, i] = False
    return found
