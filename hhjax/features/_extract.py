"""Features of the response to a step: of its spikes, and of V where there are none."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from .._base.arguments import as_array, as_window
from .._base.parameters import check_size, is_concrete
from .._base.swings import swings_below, warn_of_swings
from .._base.windows import takes, takes_samples
from ._steps import SHARE

FAST = 10.0  # mV/ms: V that rises faster is a spike's
_LONG = 3  # samples for which it must
_SETTLED = 1.0  # ms after the start of a step, before which V is the electrode's too


class About(NamedTuple):
    """What a feature is.

    **Fields:** `unit`; `floor`, `share`: what difference counts as 1 at least, in the unit and as a share of
    the value; `short`: its name in tables.
    """

    unit: str
    floor: float
    share: float
    short: str


FEATURES = {
    "count": About("", 1.0, 0.1, "count"),
    "rate": About("Hz", 1.0, 0.1, "rate"),
    "latency": About("ms", 1.0, 0.1, "latency"),
    "spike_height": About("mV", 2.0, 0.0, "height"),
    "half_width": About("ms", 0.05, 0.1, "half-width"),
    "threshold": About("mV", 2.0, 0.0, "threshold"),
    "ahp_depth": About("mV", 1.0, 0.0, "AHP"),
    "ahp_time": About("ms", 0.5, 0.1, "AHP time"),
    "adaptation": About("", 0.02, 0.0, "adaptation"),
    "rest": About("mV", 1.0, 0.0, "rest"),
    "sag": About("mV", 0.5, 0.1, "sag"),
    "input_resistance": About("MΩ", 0.0, 0.1, "R_in"),
    "time_constant": About("ms", 1.0, 0.1, "tau"),
}
"""Every feature, in the order of tables."""


def extract(
    ts: Float[ArrayLike, "..."],
    V: Float[ArrayLike, "..."],
    *,
    start: ArrayLike = -jnp.inf,
    stop: ArrayLike = jnp.inf,
    amplitude: ArrayLike | None = None,
    threshold: ArrayLike = 0.0,
    max_spikes: int | None = None,
) -> dict[str, Float[Array, "..."]]:
    """Features of the response to a step of the current, each NaN where there is none.

    Those of spikes are means over the spikes whose peak lies in the step; V at a peak is that of a parabola
    through three samples, and a crossing that of a straight line through two.

    Behind each stands what it is called in eFEL.

    - `count`: number of spikes (`Spikecount_stimint`).
    - `rate`: Hz, `count` by the time from `start` to the last peak, 0 without spikes (`mean_frequency`).
    - `latency`: ms from `start` to the first peak (`time_to_first_spike`).
    - `spike_height`: mV from threshold to peak (`AP_amplitude`).
    - `half_width`: ms, at half of that height (`AP_duration_half_width`).
    - `threshold`: mV, where V begins to rise by 10 mV/ms for three samples (`AP_begin_voltage`).
    - `ahp_depth`: mV from `rest` down to the lowest V after a spike
        (`voltage_base` − `min_between_peaks_values`).
    - `ahp_time`: ms from the peak to there (of `min_between_peaks_indices`).
    - `adaptation`: mean of (ISI₂ − ISI₁)/(ISI₂ + ISI₁) of intervals side by side, from the second spike on
        (`adaptation_index2`).
    - `rest`: mV, mean of the last tenth of the time before `start` (`voltage_base`).
    - `sag`: mV from the lowest V up to the mean of the step's last tenth (`sag_amplitude`).
    - `input_resistance`: from `rest` to the step's last tenth, by `amplitude`
        (`ohmic_input_resistance_vb_ssse`).
    - `time_constant`: ms, of an exponential from 1 ms after `start` to the lowest V (`time_constant`).

    The last three are of steps without spikes; sag and time constant only of negative steps. The lowest V
    after the last spike is taken before `stop`. All but the count have gradients;
    [`hh.features.spike_count`][] is a count that has one.

    **Arguments:**

    - `ts`: ms, shape (times,); `V`: mV, shape (..., times, n).
    - `start`, `stop`: the step, ms; `rest` needs a `start`.
    - `amplitude`: by how much the current changes at `start`, pA or µA/cm², broadcast against the result;
        without it `input_resistance` is NaN.
    - `threshold`: of what counts as a spike, mV, with a warning outside `jit` where V rises and falls by more
        than 10 mV below it. A spike crosses it upwards and downwards again.
    - `max_spikes`: how many spikes of a trace are kept; by default all. Spikes beyond these are counted, but
        left out of the means.

    **Returns:** a dict by name, of shape (..., n). The input resistance is in MΩ for pA and in Ω·cm² for
    µA/cm². All of a trace with missing samples (NaN) in the step, or in the time for the rest, is NaN, the
    count too.
    """
    ts = as_array("ts", ts, "ms", axes="(times,)", least=5, increasing=True)
    V = as_array("V", V, "mV", missing=True, finite=False)
    if V.ndim < 2 or V.shape[-2] != ts.size:
        raise ValueError(f"`V` must have shape (..., {ts.size}, n) to match `ts`, got {V.shape}.")
    start, stop = as_window(start, stop)
    inside = takes_samples(ts, start, stop)
    if is_concrete(inside) and not inside.any():
        raise ValueError(f"No sample lies between `start` = {start} and `stop` = {stop} ms.")
    threshold = as_array("threshold", threshold, "mV", V.dtype, shapes=[()])
    shape = V.shape[:-2] + V.shape[-1:]
    nothing = jnp.nan if amplitude is None else amplitude
    amplitude = as_array("amplitude", nothing, "pA or µA/cm²", V.dtype, missing=True)
    try:
        amplitude = jnp.broadcast_to(amplitude, shape)
    except ValueError:
        raise ValueError(
            f"`amplitude` must be a scalar or have shape {shape}, got {amplitude.shape}."
        ) from None
    if all(is_concrete(x) for x in (V, threshold, inside)):
        seen = jnp.moveaxis(jnp.where(inside[:, None], V, jnp.nan), -2, 0)
        warn_of_swings(swings_below(seen, threshold), threshold)
    room = room_for(V, threshold) if max_spikes is None else check_size("max_spikes", max_spikes)
    ends = (as_array(name, x, "ms", V.dtype, finite=False) for name, x in (("start", start), ("stop", stop)))
    found = extracted(ts.astype(V.dtype), V, *ends, amplitude, threshold, room)
    return {name: found[name] for name in FEATURES}  # jit sorts them


def room_for(V: Array, threshold: Array) -> int:
    """Enough room for the spikes of every trace; a power of two, so that few programs are compiled."""
    if not (is_concrete(V) and is_concrete(threshold)):
        return max(V.shape[-2] // 2, 1)
    above = np.asarray(V) >= np.asarray(threshold)
    most = (above[..., 1:, :] & ~above[..., :-1, :]).sum(axis=-2).max(initial=0)
    return 1 << max(int(most) - 1, 0).bit_length()


@functools.partial(jax.jit, static_argnames=("room",))
def extracted(
    ts: Array, V: Array, start: Array, stop: Array, amplitude: Array, threshold: Array, room: int
) -> dict[str, Array]:
    """`extract` of arrays that fit together."""
    of_one = lambda V, amplitude: _of_trace(ts, V, start, stop, amplitude, threshold, room)
    flat = jnp.moveaxis(V, -2, -1).reshape(-1, ts.size)
    found = jax.vmap(of_one)(flat, amplitude.reshape(-1))
    return {name: x.reshape(amplitude.shape) for name, x in found.items()}


def _mean(x: Array, among: Array) -> Array:
    """Mean of some, NaN of none."""
    count = among.sum()
    total = jnp.where(among, x, 0.0).sum()
    return jnp.where(count > 0, total / jnp.maximum(count, 1).astype(x.dtype), jnp.nan)


def _ratio(x: Array, y: Array) -> Array:
    """x/y, and 0 where y is 0, with slopes that are finite."""
    return jnp.where(y == 0, 0.0, x / jnp.where(y == 0, 1.0, y))


def _of_trace(
    ts: Array, V: Array, start: Array, stop: Array, amplitude: Array, threshold: Array, room: int
) -> dict[str, Array]:
    begin, end = jnp.maximum(start, ts[0]), jnp.minimum(stop, ts[-1])
    before = takes_samples(ts, begin - SHARE * (begin - ts[0]), begin)
    within = takes_samples(ts, begin, end)
    late = takes_samples(ts, end - SHARE * (end - begin), end) & (ts < end)
    has_rest = start > ts[0]
    known = jnp.isfinite(jnp.where(within | (before & has_rest), V, 0.0)).all()
    V = jnp.where(jnp.isfinite(V), V, threshold - 1.0)

    rest = jnp.where(has_rest, _mean(V, before), jnp.nan)
    settled = _mean(V, late)
    lowest = jnp.where(within, V, jnp.inf).min()
    above = V >= threshold
    quiet = ~(above & (within | before)).any()
    down = quiet & (settled < rest) & ~(amplitude >= 0)
    change = jnp.where(has_rest, settled - rest, 0.0)
    found = _of_spikes(ts, V, begin, end, above, rest, room) | {
        "rest": rest,
        "sag": jnp.where(down, settled - lowest, jnp.nan),
        "input_resistance": jnp.where(
            quiet & has_rest & (jnp.abs(amplitude) > 0), 1000 * _ratio(change, amplitude), jnp.nan
        ),
        "time_constant": jnp.where(down, _time_constant(ts, V, begin, within), jnp.nan),
    }
    return {name: jnp.where(known, x, jnp.nan) for name, x in found.items()}


def _of_spikes(
    ts: Array, V: Array, begin: Array, end: Array, above: Array, rest: Array, room: int
) -> dict[str, Array]:
    """Where things happen is found first, and has no slope; then what V is there."""
    length = ts.size
    k = jnp.arange(length, dtype=jnp.int32)
    v = jax.lax.stop_gradient(V)
    last = lambda which: jax.lax.cummax(jnp.where(which, k, -1))  # at or before each sample
    first = lambda which: jax.lax.cummin(jnp.where(which, k, length), reverse=True)  # at or after

    up = above & ~jnp.roll(above, 1) & (k > 0)
    falls = k < jnp.where(above, -1, k).max()  # a spike that is cut by the end has no peak
    number = jnp.cumsum(up, dtype=jnp.int32)
    which = jnp.where(above & (number > 0) & falls, number - 1, room)
    peak = _where_least(-v, which, room)
    real = peak < length
    is_peak = jnp.zeros(length, jnp.int32).at[peak].set(1, mode="drop")
    so_far = jnp.cumsum(is_peak)
    beside = lambda x: jnp.full(1, x, jnp.int32)
    next_peak = jnp.append(peak[1:], beside(length))
    previous = jnp.append(beside(-1), peak[:-1])
    p = jnp.clip(peak, 1, length - 2)

    # Three samples around the peak, and their parabola.
    left, top, right = V[p - 1], V[p], V[p + 1]
    slope, bend = (right - left) / 2, left - 2 * top + right
    off = -_ratio(slope, bend)
    height = top + slope * off / 2
    time = ts[p] + off * (ts[p + 1] - ts[p - 1]) / 2
    counts = real & takes(time, begin, end)

    # The last time before it that V began to rise fast.
    rise = jnp.zeros_like(v).at[1:-1].set((v[2:] - v[:-2]) / (ts[2:] - ts[:-2]))
    fast = rise > FAST
    lasts = functools.reduce(jnp.logical_and, (jnp.roll(fast, -i) for i in range(_LONG)))
    onset = last(lasts & ~jnp.roll(fast, 1) & (k > 1) & (k < length - _LONG))[p]
    has_onset = counts & (onset > previous)
    o = jnp.clip(onset, 2, length - 2)
    speed = lambda i: (V[i + 1] - V[i - 1]) / (ts[i + 1] - ts[i - 1])
    part = _ratio(FAST - speed(o - 1), speed(o) - speed(o - 1))
    threshold = V[o - 1] + jnp.clip(part, 0.0, 1.0) * (V[o] - V[o - 1])

    # Half way up, and down again.
    half = (threshold + height) / 2
    of_next, of_last = so_far - is_peak, so_far - 1
    level = jax.lax.stop_gradient(half)
    below = lambda which: v < level[jnp.clip(which, 0, room - 1)]
    i, j = last(below(of_next))[p], first(below(of_last))[p]
    wide = has_onset & (i > previous) & (j < next_peak) & (i >= onset - 1)
    crossing = lambda a, b: ts[a] + _ratio(half - V[a], V[b] - V[a]) * (ts[b] - ts[a])
    i, j = jnp.clip(i, 0, length - 2), jnp.clip(j, 1, length - 1)
    width = crossing(j - 1, j) - crossing(i, i + 1)

    # The lowest V until the next peak or the end.
    final = jnp.where(takes_samples(ts, begin, end), k, -1).max()
    deep = _where_least(v, jnp.where((so_far > 0) & (k <= final), so_far - 1, room), room)
    has_ahp = counts & (deep < length) & (deep < final)
    d = jnp.clip(deep, 0, length - 1)

    # The rest is of the times of peaks.
    more = jnp.where(up & (number > room) & falls, ts, jnp.inf)
    count = counts.sum() + takes(more, begin, end).sum()
    counted = jnp.where(counts, time, 0.0)
    first_time = (jnp.where(counts & (jnp.cumsum(counts) == 1), counted, 0.0)).sum()
    last_time = counted[jnp.maximum(jnp.where(counts, jnp.arange(room, dtype=jnp.int32), -1).max(), 0)]
    any_there = counts.any()
    intervals = jnp.diff(time)
    later = counts & (jnp.cumsum(counts) > 1)
    pairs = later[:-2] & counts[2:] if room > 2 else jnp.zeros(0, bool)
    changes = _ratio(jnp.diff(intervals), intervals[1:] + intervals[:-1])
    duration = jnp.where(any_there, last_time - begin, 0.0)
    return {
        "count": count.astype(V.dtype),
        "rate": 1000 * _ratio(counts.sum().astype(V.dtype), duration),
        "latency": jnp.where(any_there, first_time - begin, jnp.nan),
        "spike_height": _mean(height - threshold, has_onset),
        "half_width": _mean(width, wide),
        "threshold": _mean(threshold, has_onset),
        "ahp_depth": rest - _mean(V[d], has_ahp),
        "ahp_time": _mean(ts[d] - time, has_ahp),
        "adaptation": _mean(changes, pairs) if room > 2 else jnp.full((), jnp.nan, V.dtype),
    }


def _where_least(v: Array, which: Array, room: int) -> Array:
    """The first sample at which v is least among those of each number; the number of samples if none has it.

    **Arguments:** `which`: a number below `room` for each sample, or `room`.
    """
    least = jax.ops.segment_min(v, which, num_segments=room + 1)
    k = jnp.where(v == least[which], jnp.arange(v.size, dtype=jnp.int32), v.size)
    return jnp.minimum(jax.ops.segment_min(k, which, num_segments=room + 1)[:room], v.size)


def _time_constant(ts: Array, V: Array, begin: Array, within: Array) -> Array:
    """τ of V = a + b·exp(−t/τ) until V is lowest.

    As V − V₀ = −∫(V − V₀)dt/τ + c·t, which is linear in 1/τ and c, it takes neither logarithms nor
    the value at the end, and little harm from noise (J. Jacquelin, *Régressions et équations intégrales*
    (2009)).
    """
    at_lowest = jnp.argmin(jnp.where(within, jax.lax.stop_gradient(V), jnp.inf))
    among = (ts >= begin + _SETTLED) & within & (jnp.arange(ts.size) <= at_lowest)
    count = jnp.maximum(among.sum(), 1).astype(V.dtype)
    centred = lambda x: jnp.where(among, x - jnp.where(among, x, 0.0).sum() / count, 0.0)
    t = centred(ts)
    y = centred(V)
    area = jnp.cumsum(jnp.append(jnp.zeros(1, V.dtype), (y[1:] + y[:-1]) / 2 * jnp.diff(ts)))
    area = centred(area)
    # y = α·area + β·t
    aa, at, tt = (area**2).sum(), (area * t).sum(), (t**2).sum()
    ay, ty = (area * y).sum(), (t * y).sum()
    alpha = _ratio(ay * tt - ty * at, aa * tt - at**2)
    fine = (among.sum() >= 10) & (alpha < 0)
    return jnp.where(fine, -1 / jnp.where(fine, alpha, -1.0), jnp.nan)
