"""Smooth features of voltage traces, for losses and sensitivities.

Each takes `ts` (ms, shape (times,)) and `V` (mV, shape (..., times, n)) and returns shape
(..., n). All can be differentiated; where a hard count or maximum has no useful slope, a
smooth one stands in for it. A window without samples is refused, or under `jit` NaN.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from ._base.arguments import as_array, as_window
from ._base.parameters import is_concrete
from ._base.renames import renamed


def _as_V(V: ArrayLike) -> Array:
    return as_array("V", V, "mV", missing=True, finite=False)


def _inside(ts: ArrayLike, V: Array, start: float, stop: float) -> Array:
    """Which samples lie between `start` and `stop` (ms), with V's number of axes."""
    ts = as_array("ts", ts, "ms", axes="(times,)")
    if V.ndim < 2 or V.shape[-2] != ts.size:
        raise ValueError(f"`V` must have shape (..., {ts.size}, n) to match `ts`, got {V.shape}.")
    start, stop = as_window(start, stop)
    inside = (ts >= start) & (ts <= stop)
    if is_concrete(inside) and not inside.any():
        raise ValueError(f"No sample lies between `start` = {start} and `stop` = {stop} ms.")
    return inside.reshape((1,) * (V.ndim - 2) + (-1, 1))


def mean(
    ts: Float[ArrayLike, "..."],
    V: Float[ArrayLike, "..."],
    *,
    start: float = -jnp.inf,
    stop: float = jnp.inf,
) -> Float[Array, "..."]:
    """Mean membrane potential (mV) between `start` and `stop` (ms)."""
    V = _as_V(V)
    inside = _inside(ts, V, start, stop)
    return jnp.where(inside, V, 0.0).sum(axis=-2) / inside.sum().astype(V.dtype)


@renamed(before="stop", window="start")
def rest(
    ts: Float[ArrayLike, "..."],
    V: Float[ArrayLike, "..."],
    *,
    stop: float,
    start: float | None = None,
) -> Float[Array, "..."]:
    """Mean membrane potential (mV) between `start`, by default 10 ms before, and `stop` (ms)."""
    as_array("stop", stop, "ms", shapes=[()], finite=False)
    return mean(ts, V, start=stop - 10.0 if start is None else start, stop=stop)


def peak(
    ts: Float[ArrayLike, "..."],
    V: Float[ArrayLike, "..."],
    *,
    start: float = -jnp.inf,
    stop: float = jnp.inf,
) -> Float[Array, "..."]:
    """Highest sample (mV) between `start` and `stop` (ms); its slope is that of the sample."""
    V = _as_V(V)
    return jnp.where(_inside(ts, V, start, stop), V, -jnp.inf).max(axis=-2)


def trough(
    ts: Float[ArrayLike, "..."],
    V: Float[ArrayLike, "..."],
    *,
    start: float = -jnp.inf,
    stop: float = jnp.inf,
) -> Float[Array, "..."]:
    """Lowest sample (mV) between `start` and `stop` (ms)."""
    return -peak(ts, -_as_V(V), start=start, stop=stop)


def ahp_depth(
    ts: Float[ArrayLike, "..."],
    V: Float[ArrayLike, "..."],
    *,
    before: float,
    start: float,
    stop: float,
) -> Float[Array, "..."]:
    """Depth (mV) of the afterhyperpolarisation: [`rest`][] up to `before` (ms) minus the [`trough`][]."""
    as_window(before, stop, ("before", "stop"))
    return rest(ts, V, stop=before) - trough(ts, V, start=start, stop=stop)


def spike_count(
    ts: Float[ArrayLike, "..."],
    V: Float[ArrayLike, "..."],
    *,
    threshold: ArrayLike = 0.0,
    width: ArrayLike = 10.0,
    start: float = -jnp.inf,
    stop: float = jnp.inf,
) -> Float[Array, "..."]:
    """A smooth number of spikes: the total rise of sigmoid((V − threshold)/width).

    A spike from well below to well above the threshold adds 1, one that peaks near it a
    part, so that the slope tells which way a missing spike lies. `threshold` and `width`
    in mV; rises between `start` and `stop` (ms) count.
    """
    V = _as_V(V)
    inside = _inside(ts, V, start, stop)
    shapes = [(), (1,), V.shape[-1:]]
    threshold = as_array("threshold", threshold, "mV", V.dtype, shapes=shapes)
    width = as_array("width", width, "mV", V.dtype, shapes=shapes, positive=True)
    up = jax.nn.sigmoid((V - threshold) / width)
    rises = jax.nn.relu(jnp.diff(up, axis=-2))
    return jnp.where(inside[..., 1:, :], rises, 0.0).sum(axis=-2)


def spike_rate(
    ts: Float[ArrayLike, "..."], V: Float[ArrayLike, "..."], **options: Any
) -> Float[Array, "..."]:
    """[`spike_count`][] per second (Hz) of the trace's length."""
    ts = as_array("ts", ts, "ms", axes="(times,)", least=2)
    return 1000 * spike_count(ts, V, **options) / (ts[-1] - ts[0])
