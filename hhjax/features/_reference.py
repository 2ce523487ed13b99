"""The features of recorded sweeps, and by how much they vary by themselves."""

from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .._base.windows import takes_samples
from ._extract import extracted, FEATURES, room_for
from ._steps import amplitude as amplitude_in, repeats, SHARE, step

_LEAST = 16  # spikes there is room for, so that few programs are compiled


class Measured(NamedTuple):
    """Features of sweeps.

    **Fields:** `values`: a dict by name, each of shape (sweeps, n); `start`, `stop`: the step, ms;
    `amplitude`: of its current, shape (sweeps, n), NaN where it is not known.
    """

    values: dict[str, np.ndarray]
    start: float
    stop: float
    amplitude: np.ndarray


def measure(
    ts: Any, V: Any, current: Any, start: Any, stop: Any, threshold: Any, room: int | None = None
) -> Measured:
    """Features of the response to the step from `start` to `stop`, or to the one in the current.

    **Arguments:** `V`: mV, shape (sweeps, times, n); `current`: shape (sweeps, times) or (sweeps, times, n),
    `None` where it is not known; `room`: for how many spikes, by default all.
    """
    times = np.asarray(ts, float)
    known = None if current is None else np.asarray(current, float)
    found = None if known is None else step(times, known)
    found = found or (-np.inf, np.inf)
    begin, end = (own if given is None else float(given) for given, own in zip((start, stop), found))
    if not (begin < end and takes_samples(times, begin, end).any()):
        raise ValueError(
            f"`start` = {begin:g} and `stop` = {end:g} ms of a step must hold samples of the data, which are "
            f"from {times[0]:g} to {times[-1]:g} ms."
        )
    amplitude = np.full(V.shape[::2], np.nan)
    if known is not None:
        by_sweep = amplitude_in(times, known, begin, end).reshape(len(known), -1)
        amplitude = np.broadcast_to(by_sweep, amplitude.shape)
    V = jnp.asarray(V)
    put = lambda x: jnp.asarray(x, V.dtype)
    room = max(room_for(V, put(threshold)), _LEAST) if room is None else room
    values = extracted(put(ts), V, put(begin), put(end), put(amplitude), put(threshold), room)
    return Measured({name: np.asarray(values[name], float) for name in FEATURES}, begin, end, amplitude)


def spreads(measured: Measured, same: np.ndarray) -> dict[str, np.ndarray]:
    """By how much features vary where the current is the same, or else from what their neighbours say.

    A neighbour is a sweep with the next lower or higher current; a straight line between the two says what
    the one between them would be. 0 where neither can be told.

    **Arguments:** `same`: which sweeps have the same current, shape (sweeps, sweeps).

    **Returns:** standard deviations, a dict by name, each of shape (n,).
    """
    columns = lambda x: zip(x.T, measured.amplitude.T)
    return {
        name: np.array([_spread(x, step, same) for x, step in columns(values)])
        for name, values in measured.values.items()
    }


def _spread(x: np.ndarray, step: np.ndarray, same: np.ndarray) -> float:
    there = np.isfinite(x)
    squares, freedom = 0.0, 0
    group = np.where(there, np.argmax(same | np.eye(len(x), dtype=bool), axis=1), -1)
    for first in np.unique(group[there]):
        among = x[group == first]
        squares, freedom = squares + ((among - among.mean()) ** 2).sum(), freedom + among.size - 1
    if freedom:
        return float(np.sqrt(squares / freedom))
    order = np.flatnonzero(there & np.isfinite(step))
    order = order[np.argsort(step[order], kind="stable")]
    x, step = x[order], step[order]
    if len(x) < 3 or (np.diff(step) == 0).any():
        return 0.0
    share = (step[1:-1] - step[:-2]) / (step[2:] - step[:-2])
    off = x[1:-1] - (1 - share) * x[:-2] - share * x[2:]
    return float(np.sqrt(np.mean(off**2 / (1 + share**2 + (1 - share) ** 2))))


def scales(measured: Measured, same: np.ndarray, sd: dict[str, Any]) -> dict[str, np.ndarray]:
    """What counts as 1: `sd` or, of what it has not, the larger of how it varies and of what does at least.

    **Returns:** a dict by name, each of shape (sweeps, n).
    """
    varies, scale = spreads(measured, same), {}
    for name, about in FEATURES.items():
        x = np.abs(np.nan_to_num(measured.values[name]))
        own = np.maximum(np.maximum(about.floor, about.share * x), varies[name])
        scale[name] = np.broadcast_to(sd.get(name, np.where(own > 0, own, 1.0)), x.shape)
    return scale


class Reference(eqx.Module):
    """What the features of a model are compared with.

    **Fields:** `values`: of the data, `sd`: what counts as 1, dicts by name, each of shape (sweeps, n);
    `start`, `stop`, `amplitude`: of the step; `room`: for how many spikes.
    """

    values: dict[str, Array]
    sd: dict[str, Array]
    start: Array
    stop: Array
    amplitude: Array
    room: int = eqx.field(static=True)

    def of(self, ts: Array, V: Array, threshold: Array) -> dict[str, Array]:
        """The features of other traces in the same current."""
        return extracted(ts, V, self.start, self.stop, self.amplitude, threshold, self.room)


def same_current(ts: Any, current: Any, start: float, stop: float) -> np.ndarray:
    """Which sweeps have the same current from the time for the rest to the end of the step."""
    ts = np.asarray(ts, float)
    begin, end = max(start, ts[0]), min(stop, ts[-1])
    windows = np.array([[begin - SHARE * (begin - ts[0]), begin], [begin, end]])
    return repeats(ts, np.asarray(current, float), windows)[1]


def reference_of(
    ts: Any, V: Any, current: Any, start: Any, stop: Any, threshold: Any, sd: dict[str, float]
) -> Reference:
    """The features of the data, each with the larger of how it varies and of what counts as 1 at least.

    **Arguments:** see `measure`; `sd`: what counts as 1 in their place.
    """
    most = room_for(V, jnp.asarray(threshold, V.dtype))
    room = 1 << (2 * most + 8).bit_length()  # for a model that fires twice as often; few compilations
    found = measure(ts, V, current, start, stop, threshold, room)
    none = np.zeros((len(V), len(V)), bool)
    same = none if current is None else same_current(ts, current, found.start, found.stop)
    scale = scales(found, same, sd)
    put = lambda x: jnp.asarray(x, V.dtype)
    return Reference(
        {name: put(x) for name, x in found.values.items()},
        {name: put(x) for name, x in scale.items()},
        put(found.start),
        put(found.stop),
        put(found.amplitude),
        room,
    )
