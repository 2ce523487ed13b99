"""Pure functions of a voltage trace: spike times and what follows from them."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ._parameters import as_float_array, is_concrete


def _newton_coefficients(t: Array, v: Array) -> list[Array]:
    """Divided differences of the points (t[k], v[k])."""
    column = [v[k] for k in range(len(t))]
    coefficients = [column[0]]
    for order in range(1, len(t)):
        column = [
            (column[k + 1] - column[k]) / (t[k + order] - t[k]) for k in range(len(column) - 1)
        ]
        coefficients.append(column[0])
    return coefficients


def _value_and_slope(coefficients: list[Array], t: Array, at: Array) -> tuple[Array, Array]:
    """Newton's interpolation polynomial and its derivative, by Horner's rule."""
    value, slope = coefficients[-1], jnp.zeros_like(at)
    for k in range(len(coefficients) - 2, -1, -1):
        slope = slope * (at - t[k]) + value
        value = value * (at - t[k]) + coefficients[k]
    return value, slope


def _interpolant(
    ts: Array, V: Array, slopes: Array | None, i: Array
) -> tuple[list[Array], Array]:
    """Newton coefficients and nodes of the polynomial that describes V after sample i."""
    if slopes is None:  # through the six samples around the interval
        points = min(6, ts.shape[0])
        first = jnp.clip(i - (points // 2 - 1), 0, ts.shape[0] - points)
        window = first + jnp.arange(points)
        t = ts[window] - ts[i]  # relative: float32 keeps its digits late in a run
        return _newton_coefficients(t, V[window]), t
    width = ts[i + 1] - ts[i]  # cubic Hermite: both values and both slopes
    secant = (V[i + 1] - V[i]) / width
    start, end = (secant - slopes[i]) / width, (slopes[i + 1] - secant) / width
    nodes = jnp.stack([jnp.zeros_like(width), jnp.zeros_like(width), width])
    return [V[i], slopes[i], start, (end - start) / width], nodes


def _crossing(ts: Array, V: Array, slopes: Array | None, i: Array) -> Array:
    """Where the interpolant of V crosses zero upward between samples i and i + 1."""
    coefficients, nodes = _interpolant(ts, V, slopes, i)
    width = ts[i + 1] - ts[i]
    low, high = jnp.zeros_like(width), width
    at = width * jnp.clip(-V[i] / (V[i + 1] - V[i]), 0.0, 1.0)
    for _ in range(8):  # Newton's method, kept in the bracket by bisection
        value, slope = _value_and_slope(coefficients, nodes, at)
        low, high = jnp.where(value < 0, at, low), jnp.where(value < 0, high, at)
        newton = at - value / jnp.where(slope == 0, 1.0, slope)
        at = jnp.where((newton > low) & (newton < high), newton, (low + high) / 2)
    # One more Newton step whose slope is held fixed has the derivative of the root
    # itself, by the implicit function theorem.
    at = jax.lax.stop_gradient(at)
    value, slope = _value_and_slope(coefficients, nodes, at)
    slope = jax.lax.stop_gradient(jnp.where(slope == 0, 1.0, slope))  # 0 in empty slots
    return ts[i] + at - value / slope


def _spike_times_of_one(
    ts: Array, V: Array, slopes: Array | None, max_spikes: int
) -> Array:
    """Upward zero crossings of one trace, shape (max_spikes,)."""
    (where,) = jnp.nonzero((V[:-1] < 0) & (V[1:] >= 0), size=max_spikes, fill_value=-1)
    times = jax.vmap(lambda i: _crossing(ts, V, slopes, i))(jnp.maximum(where, 0))
    return jnp.where(where >= 0, times, jnp.nan)


def spike_times(
    ts: Float[Array, " times"],
    V: Float[Array, "times ..."],
    threshold: float | Array = 0.0,
    max_spikes: int | None = None,
    slopes: Float[Array, "times ..."] | None = None,
) -> Float[Array, "... spikes"]:
    """The times at which V crosses `threshold` upward.

    The crossing is interpolated by the quintic through the six samples around it (fewer
    for traces shorter than six): off by 4e-4 ms for squid axon spikes sampled every
    0.1 ms, by 6e-7 ms every 0.025 ms. Given `slopes`, by a cubic Hermite polynomial.
    Differentiable in V and the threshold, by the implicit function theorem, and jit-able.

    **Arguments:**

    - `ts`: sample times, ms, increasing.
    - `V`: mV, shape (times,) or (times, n).
    - `threshold`: mV. At 0 mV the small spikes of a strongly driven squid axon (above
        62.87 µA/cm²) are missed; take a lower one there.
    - `max_spikes`: how many spikes per neuron to keep, the first ones. By default all;
        under `jit`, where the number is not known, room for one at every other sample.
    - `slopes`: dV/dt at the samples, mV/ms, the shape of V; optional.

    **Returns:** ms, shape (max_spikes,) or (n, max_spikes), padded with NaN at the end.

    **Raises:** `ValueError` for shapes that do not match or fewer than two samples.
    """
    ts, V = as_float_array(ts), as_float_array(V)
    if ts.ndim != 1 or ts.shape[0] < 2:
        raise ValueError(f"`ts` must have shape (times,) with at least 2 times, got {ts.shape}.")
    if V.ndim not in (1, 2) or V.shape[0] != ts.shape[0]:
        raise ValueError(
            f"`V` must have shape ({ts.shape[0]},) or ({ts.shape[0]}, n) to match `ts`, got {V.shape}."
        )
    if slopes is not None and jnp.shape(slopes) != V.shape:
        raise ValueError(f"`slopes` must have the shape of `V`, {V.shape}, got {jnp.shape(slopes)}.")
    ts, V = ts.astype(V.dtype), V - jnp.asarray(threshold, V.dtype)
    if max_spikes is None:
        if is_concrete(V):
            upward = (V[:-1] < 0) & (V[1:] >= 0)
            max_spikes = max(int(upward.sum(axis=0).max()), 1)
        else:
            max_spikes = ts.shape[0] // 2
    elif not isinstance(max_spikes, int) or max_spikes < 1:
        raise ValueError(f"`max_spikes` must be a whole number of at least 1, got {max_spikes!r}.")
    one = lambda v, dv: _spike_times_of_one(ts, v, dv, max_spikes)
    return one(V, slopes) if V.ndim == 1 else jax.vmap(one, in_axes=1)(V, slopes)


def isi(times: Float[Array, "... spikes"]) -> Float[Array, "... intervals"]:
    """Interspike intervals in ms, of spike times in ms, NaN where there is none."""
    return jnp.diff(times, axis=-1)


def isi_cv(times: Float[Array, "... spikes"]) -> Float[Array, "..."]:
    """Coefficient of variation of the interspike intervals, std/mean, dimensionless.

    **Arguments:** `times`: ms, padded with NaN. **Returns:** NaN with fewer than three
    spikes.
    """
    intervals = isi(times)
    valid = ~jnp.isnan(intervals)
    count = valid.sum(axis=-1)
    safe = jnp.where(valid, intervals, 0.0)
    mean = safe.sum(axis=-1) / jnp.maximum(count, 1)
    deviation = jnp.where(valid, safe - mean[..., None], 0.0)
    variance = (deviation**2).sum(axis=-1) / jnp.maximum(count, 1)
    positive = variance > 0
    std = jnp.where(positive, jnp.sqrt(jnp.where(positive, variance, 1.0)), 0.0)
    return jnp.where(count >= 2, std / jnp.where(count >= 2, mean, 1.0), jnp.nan)


def firing_rate(
    times: Float[Array, "... spikes"],
    t0: float | Array = -jnp.inf,
    t1: float | Array = jnp.inf,
) -> Float[Array, "..."]:
    """Firing rate in Hz: the reciprocal mean interspike interval between `t0` and `t1`.

    With k spikes in the window, (k − 1)/(last − first). Unlike a count divided by the
    window's length it does not depend on where the window cuts, and it is differentiable.

    **Arguments:** `times`: ms, padded with NaN; `t0`, `t1`: ms, the window.

    **Returns:** Hz, 0 with fewer than two spikes in the window.
    """
    inside = (times >= t0) & (times <= t1)
    count = inside.sum(axis=-1)
    first = jnp.min(jnp.where(inside, times, jnp.inf), axis=-1)
    last = jnp.max(jnp.where(inside, times, -jnp.inf), axis=-1)
    span = jnp.where(count >= 2, last - first, 1.0)
    return jnp.where(count >= 2, 1000 * (count - 1).astype(times.dtype) / span, 0.0)
