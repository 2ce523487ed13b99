"""Smooth features of voltage traces, for losses and sensitivities.

Each takes `ts` (ms, shape (times,)) and `V` (mV, shape (..., times, n)) and returns shape
(..., n). All can be differentiated; where a hard count or maximum has no useful slope, a
smooth one stands in for it. A window from `start` to `stop` has the samples at both ends; what happens
between two samples belongs to it if it ends later than `start` and not later than `stop`. One without
samples is refused, or under `jit` NaN.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from ._base.parameters import as_float_array, is_concrete
from ._base.renames import renamed
from ._base.swings import swings_below, warn_of_swings
from ._base.windows import length, takes, takes_samples


def _inside(ts: ArrayLike, V: Array, start: float, stop: float) -> Array:
    """Which samples lie between `start` and `stop` (ms), with V's number of axes."""
    inside = takes_samples(as_float_array(ts), start, stop)
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
    in mV; rises between `start` and `stop` (ms) count. Outside `jit` a warning tells of V that rises and
    falls by more than 10 mV below the threshold.
    """
    ts, V = as_float_array(ts), as_float_array(V)
    samples = _inside(ts, V, start, stop)
    if all(is_concrete(x) for x in (V, threshold, samples)):
        seen = jnp.moveaxis(jnp.where(samples, V, jnp.nan), -2, 0)
        warn_of_swings(swings_below(seen, threshold), threshold)
    up = jax.nn.sigmoid((V - threshold) / width)
    rises = jax.nn.relu(jnp.diff(up, axis=-2))
    inside = takes(ts[1:], start, stop).reshape((1,) * (V.ndim - 2) + (-1, 1))
    return jnp.where(samples.any(), jnp.where(inside, rises, 0.0).sum(axis=-2), jnp.nan)


def spike_rate(
    ts: Float[ArrayLike, "..."],
    V: Float[ArrayLike, "..."],
    *,
    threshold: ArrayLike = 0.0,
    width: ArrayLike = 10.0,
    start: float = -jnp.inf,
    stop: float = jnp.inf,
) -> Float[Array, "..."]:
    """[`spike_count`][] per second (Hz) of the window, as far as there is a trace."""
    ts = as_float_array(ts)
    count = spike_count(ts, V, threshold=threshold, width=width, start=start, stop=stop)
    return 1000 * count / length(ts, start, stop)
