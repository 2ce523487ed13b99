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

from ._base.parameters import as_float_array, is_concrete
from ._base.renames import renamed


def _inside(ts: ArrayLike, V: Array, start: float, stop: float) -> Array:
    """Which samples lie between `start` and `stop` (ms), with V's number of axes."""
    ts = as_float_array(ts)
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
    V = as_float_array(V)
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
    return mean(ts, V, start=stop - 10.0 if start is None else start, stop=stop)


def peak(
    ts: Float[ArrayLike, "..."],
    V: Float[ArrayLike, "..."],
    *,
    start: float = -jnp.inf,
    stop: float = jnp.inf,
) -> Float[Array, "..."]:
    """Highest sample (mV) between `start` and `stop` (ms); its slope is that of the sample."""
    V = as_float_array(V)
    return jnp.where(_inside(ts, V, start, stop), V, -jnp.inf).max(axis=-2)


def trough(
    ts: Float[ArrayLike, "..."],
    V: Float[ArrayLike, "..."],
    *,
    start: float = -jnp.inf,
    stop: float = jnp.inf,
) -> Float[Array, "..."]:
    """Lowest sample (mV) between `start` and `stop` (ms)."""
    return -peak(ts, -as_float_array(V), start=start, stop=stop)


def ahp_depth(
    ts: Float[ArrayLike, "..."],
    V: Float[ArrayLike, "..."],
    *,
    before: float,
    start: float,
    stop: float,
) -> Float[Array, "..."]:
    """Depth (mV) of the afterhyperpolarisation: [`rest`][] up to `before` (ms) minus the [`trough`][]."""
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
    V = as_float_array(V)
    up = jax.nn.sigmoid((V - threshold) / width)
    rises = jax.nn.relu(jnp.diff(up, axis=-2))
    return jnp.where(_inside(ts, V, start, stop)[..., 1:, :], rises, 0.0).sum(axis=-2)


def spike_rate(
    ts: Float[ArrayLike, "..."], V: Float[ArrayLike, "..."], **options: Any
) -> Float[Array, "..."]:
    """[`spike_count`][] per second (Hz) of the trace's length."""
    ts = as_float_array(ts)
    return 1000 * spike_count(ts, V, **options) / (ts[-1] - ts[0])
