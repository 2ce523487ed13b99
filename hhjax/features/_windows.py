"""Smooth features of a window of time."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from .._base.arguments import as_array, as_window
from .._base.parameters import is_concrete
from .._base.renames import renamed
from .._base.swings import swings_below, warn_of_swings
from .._base.windows import length, takes, takes_samples

_takes_samples = jax.jit(takes_samples)


def _as_V(V: ArrayLike) -> Array:
    return as_array("V", V, "mV", missing=True, finite=False)


def _inside(ts: ArrayLike, V: Array, start: ArrayLike, stop: ArrayLike) -> Array:
    """Which samples lie between `start` and `stop` (ms), with V's number of axes."""
    ts = as_array("ts", ts, "ms", axes="(times,)")
    if V.ndim < 2 or V.shape[-2] != ts.size:
        raise ValueError(f"`V` must have shape (..., {ts.size}, n) to match `ts`, got {V.shape}.")
    inside = _takes_samples(ts, *as_window(start, stop))
    if is_concrete(inside) and not inside.any():
        raise ValueError(f"No sample lies between `start` = {start} and `stop` = {stop} ms.")
    return inside.reshape((1,) * (V.ndim - 2) + (-1, 1))


def mean(
    ts: Float[ArrayLike, "..."],
    V: Float[ArrayLike, "..."],
    *,
    start: ArrayLike = -jnp.inf,
    stop: ArrayLike = jnp.inf,
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
    start: ArrayLike = -jnp.inf,
    stop: ArrayLike = jnp.inf,
) -> Float[Array, "..."]:
    """Highest sample (mV) between `start` and `stop` (ms); its slope is that of the sample."""
    V = _as_V(V)
    return jnp.where(_inside(ts, V, start, stop), V, -jnp.inf).max(axis=-2)


def trough(
    ts: Float[ArrayLike, "..."],
    V: Float[ArrayLike, "..."],
    *,
    start: ArrayLike = -jnp.inf,
    stop: ArrayLike = jnp.inf,
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
    start: ArrayLike = -jnp.inf,
    stop: ArrayLike = jnp.inf,
) -> Float[Array, "..."]:
    """A smooth number of spikes: the total rise of sigmoid((V − threshold)/width).

    A spike from well below to well above the threshold adds 1, one that peaks near it a
    part, so that the slope tells which way a missing spike lies. `threshold` and `width`
    in mV; rises between `start` and `stop` (ms) count. Outside `jit` you are warned where V rises and
    falls by more than 10 mV below the threshold.
    """
    ts, V = as_array("ts", ts, "ms", axes="(times,)"), _as_V(V)
    samples = _inside(ts, V, start, stop)
    shapes = [(), (1,), V.shape[-1:]]
    threshold = as_array("threshold", threshold, "mV", V.dtype, shapes=shapes)
    width = as_array("width", width, "mV", V.dtype, shapes=shapes, positive=True)
    if all(is_concrete(x) for x in (V, threshold, samples)):
        seen = jnp.moveaxis(jnp.where(samples, V, jnp.nan), -2, 0)
        warn_of_swings(swings_below(seen, threshold), threshold)
    return _rise(ts, (V - threshold) / width, samples, start, stop)


@jax.jit
def _rise(ts: Array, x: Array, samples: Array, start: ArrayLike, stop: ArrayLike) -> Array:
    """Of sigmoid(x) within the window."""
    rises = jax.nn.relu(jnp.diff(jax.nn.sigmoid(x), axis=-2))
    inside = takes(ts[1:], start, stop).reshape((1,) * (x.ndim - 2) + (-1, 1))
    return jnp.where(samples.any(), jnp.where(inside, rises, 0.0).sum(axis=-2), jnp.nan)


def spike_rate(
    ts: Float[ArrayLike, "..."],
    V: Float[ArrayLike, "..."],
    *,
    threshold: ArrayLike = 0.0,
    width: ArrayLike = 10.0,
    start: ArrayLike = -jnp.inf,
    stop: ArrayLike = jnp.inf,
) -> Float[Array, "..."]:
    """[`spike_count`][] per second (Hz) of the window, as far as there is a trace."""
    ts = as_array("ts", ts, "ms", axes="(times,)", least=2)
    count = spike_count(ts, V, threshold=threshold, width=width, start=start, stop=stop)
    return 1000 * count / length(ts, start, stop)
