"""Pure functions of a voltage trace: spike times and what follows from them."""

import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int

from .._base.arguments import as_array, as_number, as_window
from .._base.host import warn
from .._base.parameters import check_size, is_concrete
from .._base.renames import reads, renamed
from .._base.swings import swings_below, warn_of_swings
from .._base.windows import takes, takes_spike


@reads(shape="times.shape")
class KeptSpikes(eqx.Module):
    """The first spikes of every neuron, and how many there were.

    A result that needs more spikes than were kept, such as a rate in a later window, is NaN, with a
    warning outside `jit`.

    **Fields:**

    - `times`: ms, shape (n, max_spikes), padded with NaN at the end.
    - `count`: of all spikes, whole numbers, shape (n,); −1 for a neuron that turned infinite or NaN.
    """

    times: Float[Array, "..."]
    count: Int[Array, "..."]

    def __getitem__(self, *at: Any, **how: Any) -> Any:
        raise TypeError("hh.KeptSpikes is no array: take `.times`, ms, or `.count`.")

    __array__ = __getitem__


def _newton_coefficients(t: Array, v: Array) -> list[Array]:
    """Divided differences of the points (t[k], v[k])."""
    column = [v[k] for k in range(len(t))]
    coefficients = [column[0]]
    for order in range(1, len(t)):
        column = [(column[k + 1] - column[k]) / (t[k + order] - t[k]) for k in range(len(column) - 1)]
        coefficients.append(column[0])
    return coefficients


def _value_and_slope(coefficients: list[Array], t: Array, at: Array) -> tuple[Array, Array]:
    """Newton's interpolation polynomial and its derivative, by Horner's rule."""
    value, slope = coefficients[-1], jnp.zeros_like(at)
    for k in range(len(coefficients) - 2, -1, -1):
        slope = slope * (at - t[k]) + value
        value = value * (at - t[k]) + coefficients[k]
    return value, slope


@jax.jit
def _crossing(t: Array, v: Array, slopes: Array | None, near: Array) -> Array:
    """Where the interpolant of one window of samples crosses zero upward.

    **Arguments:** `t`, `v`: the samples of the window, times from the first one; `slopes`:
    those of the samples `near` and `near` + 1, between which v changes sign.
    """
    low, high = t[near], t[near + 1]
    if slopes is None:  # through all the samples
        nodes, coefficients = t, _newton_coefficients(t, v)
    else:  # cubic Hermite: both values and both slopes
        nodes = jnp.stack([low, low, high])
        secant = (v[near + 1] - v[near]) / (high - low)
        start, end = (secant - slopes[0]) / (high - low), (slopes[1] - secant) / (high - low)
        coefficients = [v[near], slopes[0], start, (end - start) / (high - low)]
    at = low + (high - low) * jnp.clip(-v[near] / (v[near + 1] - v[near]), 0.0, 1.0)

    def newton(_: Any, bracket: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        low, high, at = bracket
        value, slope = _value_and_slope(coefficients, nodes, at)
        low, high = jnp.where(value < 0, at, low), jnp.where(value < 0, high, at)
        step = at - value / jnp.where(slope == 0, 1.0, slope)
        return low, high, jnp.where((step >= low) & (step <= high), step, (low + high) / 2)

    _, _, at = jax.lax.fori_loop(0, 8, newton, (low, high, at))
    # A Newton step from the root, held fixed, has the right first derivative. A second step makes those up to
    # the third right.
    at = jax.lax.stop_gradient(at)
    for _ in range(2):
        value, slope = _value_and_slope(coefficients, nodes, at)
        at = at - value / jnp.where(slope == 0, 1.0, slope)  # 0 in empty slots
    return at


crossings = jax.jit(jax.vmap(_crossing))


def _window(xp: Any, i: Any, length: int) -> tuple[Any, Any]:
    """The (up to) six samples around the interval after sample i, and i's place in them."""
    points = min(6, length)
    first = xp.clip(i - (points // 2 - 1), 0, length - points)
    return first[:, None] + xp.arange(points)[None, :], i - first


def traced_spike_times(
    ts: Array, V: Array, slopes: Array | None, max_spikes: int | np.integer, among: Array | bool = True
) -> KeptSpikes:
    """Upward zero crossings of one trace, the first `max_spikes` of them.

    **Arguments:** `among`: which intervals between samples count, shape (times − 1,).
    """
    found = (V[:-1] < 0) & (V[1:] >= 0) & among
    (where,) = jnp.nonzero(found, size=int(max_spikes), fill_value=-1)
    i = jnp.maximum(where, 0)
    window, near = _window(jnp, i, ts.shape[0])
    ends = None if slopes is None else jnp.stack([slopes[i], slopes[i + 1]], axis=-1)
    # Times from the window's start: float32 keeps its digits late in a run.
    origin = ts[window[:, 0]]
    times = origin + crossings(ts[window] - origin[:, None], V[window], ends, near)
    return KeptSpikes(jnp.where(where >= 0, times, jnp.nan), found.sum(dtype=jnp.int32))


@functools.partial(jax.jit, static_argnames="room")
def _first_spikes(ts: Array, V: Array, slopes: Array | None, room: int) -> KeptSpikes:
    """Upward zero crossings of the columns of V, shape (times, n), the first `room` of each."""
    return jax.vmap(lambda v, dv: traced_spike_times(ts, v, dv, room), in_axes=1)(V, slopes)


def spikes_within(ts: Array, V: Array, start: Any, stop: Any, room: int) -> KeptSpikes:
    """Upward zero crossings of the columns of V, shape (times, n), in a window of time, the first `room`."""

    def of_one(v: Array) -> KeptSpikes:
        among = takes_spike(ts[:-1], ts[1:], v[:-1], v[1:], start, stop)
        return traced_spike_times(ts, v, None, room, among)

    return jax.vmap(of_one, in_axes=1)(V)


@jax.jit
def filled(ts: Array, V: Array) -> tuple[Array, Array]:
    """One trace with missing samples (NaN) interpolated, and between which samples there are none."""
    known = ~jnp.isnan(V)
    last = jax.lax.cummax(jnp.where(known, jnp.arange(V.size), 0))
    last = jnp.maximum(last, jnp.argmax(known))
    return jnp.where(known, V, jnp.interp(ts, ts[last], V[last])), known[:-1] & known[1:]


def concrete_spike_times(ts: Any, V: Any, slopes: Any, among: Any = True) -> Array:
    """Upward zero crossings of the columns of V, shape (n, most), padded with NaN.

    Finding them on the host leaves arrays to compile for whose size does not depend on
    the length of the trace.

    **Arguments:** `among`: which intervals between samples count, shape (times − 1, n).
    """
    ts, V = np.asarray(ts), np.asarray(V)
    neuron, i = np.nonzero(((V[:-1] < 0) & (V[1:] >= 0) & np.asarray(among)).T)
    count = len(i)
    room = 1 << max(count - 1, 0).bit_length()  # a power of two: few compilations
    i_room, neuron_room = (np.pad(x, (0, room - count)) for x in (i, neuron))
    window, near = _window(np, i_room, ts.shape[0])
    ends = None
    if slopes is not None:
        slopes = np.asarray(slopes)
        ends = np.stack([slopes[i_room, neuron_room], slopes[i_room + 1, neuron_room]], axis=-1)
    origin = ts[window[:, 0]]
    local = crossings(ts[window] - origin[:, None], V[window, neuron_room[:, None]], ends, near)
    found = (origin + np.asarray(local))[:count]
    counts = np.bincount(neuron, minlength=V.shape[1])
    slot = np.arange(count) - np.repeat(np.cumsum(counts) - counts, counts)
    times = np.full((V.shape[1], max(counts.max(), 1)), np.nan, V.dtype)
    times[neuron, slot] = found
    return jnp.asarray(times)


def spike_times(
    ts: Float[ArrayLike, "..."],
    V: Float[ArrayLike, "..."],
    threshold: ArrayLike = 0.0,
    max_spikes: int | np.integer | None = None,
    slopes: Float[ArrayLike, "..."] | None = None,
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
        62.87 µA/cm²) are missed; take a lower one there. Outside `jit` you are warned where V
        rises and falls by more than 10 mV below the threshold.
    - `max_spikes`: how many spikes per neuron to keep, the first ones; outside `jit` with a warning if there
        are more. By default all; under `jit` and `grad`, where the number is not known, room for one at
        every other sample.
    - `slopes`: dV/dt at the samples, mV/ms, the shape of V; optional.

    **Returns:** ms, shape (max_spikes,) or (n, max_spikes), padded with NaN at the end.

    **Raises:** `ValueError` for shapes that do not match or fewer than two samples.
    """
    times, swings = spikes_and_swings(ts, V, threshold, max_spikes, slopes)
    if swings is not None:
        warn_of_swings(swings, threshold)
    return times


def spikes_and_swings(
    ts: Any, V: Any, threshold: Any, max_spikes: Any = None, slopes: Any = None
) -> tuple[Float[Array, "... spikes"], np.ndarray | None]:
    """See `spike_times`; and of which neurons V rises and falls below the threshold, if that is known."""
    ts = as_array("ts", ts, "ms", axes="(times,)", least=2, increasing=True)
    V = as_array("V", V, "mV", missing=True, finite=False)
    if V.ndim not in (1, 2) or V.shape[0] != ts.shape[0]:
        raise ValueError(
            f"`V` must have shape ({ts.shape[0]},) or ({ts.shape[0]}, n) to match `ts`, got {V.shape}."
        )
    if slopes is not None:
        slopes = as_array("slopes", slopes, "mV/ms", V.dtype, shapes=[V.shape], missing=True, finite=False)
    threshold = as_array("threshold", threshold, "mV", V.dtype, shapes={(), (1,), V.shape[1:]})
    raw, ts = V, ts.astype(V.dtype)
    on_host = max_spikes is None and all(is_concrete(x) for x in (ts, V, slopes, threshold))
    V = np.asarray(V) - np.asarray(threshold) if on_host else V - threshold
    if max_spikes is not None:
        check_size("max_spikes", max_spikes)
    single = V.ndim == 1
    if single:
        V, slopes = V[:, None], None if slopes is None else slopes[:, None]
    if on_host:
        times = concrete_spike_times(ts, V, slopes)
    else:
        room = ts.shape[0] // 2 if max_spikes is None else max_spikes
        times, _ = read(_first_spikes(ts, V, slopes, int(room)))
    swings = swings_below(raw[:, None] if single else raw, threshold) if is_concrete(V) else None
    return times[0] if single else times, swings


def read(spikes: Any, stop: ArrayLike = jnp.inf, name: str = "times") -> tuple[Any, Any]:
    """Times (ms) of spikes, and whether these are all up to `stop` (ms), with a warning if not."""
    if not isinstance(spikes, KeptSpikes):
        times = as_array(name, spikes, "ms", missing=True, finite=False)
        if times.ndim < 1:
            raise ValueError(f"`{name}` must have an axis of spikes, got {times}.")
        return times, True
    times, count = spikes.times, spikes.count
    over, known = _over(spikes, stop)
    if is_concrete(over) and np.any(over):
        warn(
            f"{np.sum(over)} of {np.size(over)} trains have more spikes, up to {np.max(count)}, than the "
            f"{times.shape[-1]} that were kept: give a larger `max_spikes`."
        )
    return times, known


@jax.jit
def _over(spikes: KeptSpikes, stop: ArrayLike) -> tuple[Array, Array]:
    """Of which trains some spikes up to `stop` were not kept, and of which all are known."""
    over = (spikes.count > spikes.times.shape[-1]) & ~(spikes.times[..., -1] >= stop)
    return over, ~over & (spikes.count >= 0)


def isi(times: Float[Array, "... spikes"] | KeptSpikes) -> Float[Array, "... intervals"]:
    """Interspike intervals in ms, of spike times in ms, NaN where there is none."""
    return jnp.diff(read(times)[0], axis=-1)


def isi_cv(times: Float[Array, "... spikes"] | KeptSpikes) -> Float[Array, "..."]:
    """Coefficient of variation of the interspike intervals, std/mean, dimensionless.

    **Arguments:** `times`: ms, padded with NaN, or an [`hh.KeptSpikes`][]. **Returns:** NaN with fewer than
    three spikes, and with more than were kept.
    """
    return _cv(*read(times))


@jax.jit
def _cv(found: Array, known: Any) -> Array:
    intervals = jnp.diff(found, axis=-1)
    valid = ~jnp.isnan(intervals)
    count = valid.sum(axis=-1).astype(found.dtype)
    safe = jnp.where(valid, intervals, 0.0)
    mean = safe.sum(axis=-1) / jnp.maximum(count, 1)
    deviation = jnp.where(valid, safe - jnp.expand_dims(mean, -1), 0.0)
    variance = (deviation**2).sum(axis=-1) / jnp.maximum(count, 1)
    positive = variance > 0
    std = jnp.where(positive, jnp.sqrt(jnp.where(positive, variance, 1.0)), 0.0)
    return jnp.where((count >= 2) & known, std / jnp.where(count >= 2, mean, 1.0), jnp.nan)


@renamed(t0="start", t1="stop")
def firing_rate(
    times: Float[Array, "... spikes"] | KeptSpikes,
    start: ArrayLike = -jnp.inf,
    stop: ArrayLike = jnp.inf,
) -> Float[Array, "..."]:
    """Firing rate in Hz: the reciprocal mean interspike interval between `start` and `stop`.

    With k spikes in the window, (k − 1)/(last − first). Unlike a count divided by the
    window's length it does not depend on where the window cuts, and it is differentiable.

    **Arguments:** `times`: ms, padded with NaN, or an [`hh.KeptSpikes`][]; `start`, `stop`: ms, the window,
    to which a spike at its stop belongs and one at its start does not.

    **Returns:** Hz, 0 with fewer than two spikes in the window; NaN where some in it were not kept.
    """
    start, stop = as_window(start, stop)
    return _rate(*read(times, stop), start, stop)


@jax.jit
def _rate(found: Array, known: Any, start: Any, stop: Any) -> Array:
    inside = takes(found, start, stop)
    count = inside.sum(axis=-1).astype(found.dtype)
    first = jnp.min(jnp.where(inside, found, jnp.inf), axis=-1)
    last = jnp.max(jnp.where(inside, found, -jnp.inf), axis=-1)
    span = jnp.where(count >= 2, last - first, 1.0)
    return jnp.where(known, jnp.where(count >= 2, 1000 * (count - 1) / span, 0.0), jnp.nan)


def coincidence_factor(times: Any, reference: Any, duration: float, window: float = 4.0) -> float:
    r"""How well a model's spikes match a reference's, beyond chance.

    $\Gamma = \frac{N_{coinc} - \langle N_{coinc} \rangle}{(N_{ref} + N)/2}\,\frac{1}{1 - 2 \nu \Delta}$
    with $\langle N_{coinc} \rangle = 2 \nu \Delta N_{ref}$ for a Poisson train of the model's
    rate ν (W. M. Kistler, W. Gerstner and J. L. van Hemmen, Neural Comput. 9 (1997)
    1015-1045, eq. 37). 1 if every spike is matched, 0 if no more are than by chance. A
    spike matches one other at most.

    **Arguments:** `times`, `reference`: of one neuron each, ms, NaN ignored, or an [`hh.KeptSpikes`][];
    `duration`: of the trace, ms; `window`: Δ, ms.

    **Returns:** dimensionless; NaN where neither has a spike, or one has more than were kept.
    """
    both = [read(x, name=name) for name, x in (("times", times), ("reference", reference))]
    ours, theirs = (np.sort(x[~np.isnan(x)]) for x in (np.asarray(x, float) for x, _ in both))
    duration = as_number("duration", duration, "ms", positive=True)
    window = as_number("window", window, "ms", positive=True)
    if ours.size + theirs.size == 0 or not all(np.all(known) for _, known in both):
        return float("nan")
    matched, i, j = 0, 0, 0
    while i < ours.size and j < theirs.size:
        if abs(ours[i] - theirs[j]) <= window:
            matched, i, j = matched + 1, i + 1, j + 1
        elif ours[i] < theirs[j]:
            i += 1
        else:
            j += 1
    chance = 2 * ours.size / duration * window
    return float((matched - chance * theirs.size) / ((ours.size + theirs.size) / 2) / (1 - chance))
