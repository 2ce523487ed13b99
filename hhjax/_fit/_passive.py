"""What steps of current without spikes show of a cell, such as its input resistance."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..recordings import Recording

_SMALL = 15.0  # mV from rest, within which steps count as small
_SPIKE = 15.0  # mV above both ends of a step, beyond which it holds a spike
_SHORTEST = 10.0  # ms that a current must stay for a step to be one
_LONGEST = 1000.0  # ms of a step that are looked at
_BROADEST = 15.0  # ms after its onset, in which a spike reaches its peak and falls
_AFTER = 0.5  # ms after a step of current that the amplifier and the pipette may take


class _Flat(NamedTuple):
    """Samples from `begin` to before `end`, in which the current stays at `level`."""

    begin: int
    end: int
    level: float


class _Step(NamedTuple):
    """What V did after a step of current; `current` before it and its `change`, V `before` in mV.

    V(t) = before + jump + rise·(1 − e^(−t/tau)); `plateau`: V in the end less `before` and the jump;
    `noise`: the standard deviation of V in the 20 ms before.
    """

    sweep: int
    current: float
    change: float
    before: float
    jump: float
    rise: float
    tau: float
    plateau: float
    noise: float


def traces(recording: Recording) -> tuple[np.ndarray, np.ndarray]:
    """V and the current of every sweep, of every neuron of its own, shape (traces, times)."""
    V, current = (np.asarray(x, float) for x in (recording.V, recording.current))
    if V.ndim == 3:
        current = np.broadcast_to(current if current.ndim == 3 else current[..., None], V.shape)
        V, current = (np.moveaxis(x, 2, 1).reshape(-1, x.shape[1]) for x in (V, current))
    return V, current


def measured(recording: Recording, V: np.ndarray, current: np.ndarray, bridge: Any) -> dict[str, Any]:
    """Rest, resistance, time constant, capacitance and bridge, their ranges and sources."""
    dt, span = recording.dt, float(np.ptp(current))
    if span == 0:
        raise ValueError(f"`recording` must have steps of current, got {current.flat[0]:g} all along.")
    noise = 1.4826 * np.median(np.abs(np.diff(current, axis=1))) / np.sqrt(2)
    apart = max(0.02 * span, 8 * noise)
    parts = [_flat_parts(I, apart, dt) for I in current]
    count, steps = 0, []
    for sweep, flat in enumerate(parts):
        for one, two in zip(flat, flat[1:]):
            if two.begin - one.end <= max(1, round(1.0 / dt)):
                count += 1
                steps += _step(sweep, V[sweep], one, two, recording)
    if not count:
        raise ValueError(
            f"`recording` must have steps of current between levels that last {_SHORTEST:g} ms or more, got "
            "none: give leak, area and C by hand, or the part of the recording that has steps."
        )
    if not steps:
        raise ValueError(
            f"`recording` must have steps of current without a spike before or after them, got {count} "
            "steps, none of them so."
        )
    in_pA = recording.current_unit == "pA"
    per = 1e3 if in_pA else 1.0  # mV/pA is GΩ
    known = None if bridge is None else float(bridge)
    if in_pA and known is None:
        of_bridge = (
            [s.jump / s.change * per for s in steps],
            [(s.change / max(s.noise, 1e-3)) ** 2 for s in steps],
        )
        known = _quantile(*of_bridge)
    lost = 0.0 if known is None else known / per
    levels, notes = _rests(V, parts, apart, dt), []
    if not levels:
        levels = [(s.sweep, s.before - (lost + s.plateau / s.change) * s.current, False) for s in steps]
        notes.append("no time without current: rest is where V would be by the input resistance")
    rest = float(np.median([V for _, V, _ in levels]))
    if firing := [sweep for sweep, _, fires in levels if fires]:
        notes.append(f"fires at rest in sweeps {few(firing)}: rest is V between spikes")
    small = _small(steps, rest, lost, apart)
    furthest = max(abs(s.plateau) for s in small)
    if furthest > _SMALL:
        notes.append(f"few steps stay within {_SMALL:g} mV of rest: those that count reach {furthest:.3g} mV")
    each = {
        "resistance": [s.plateau / s.change * per for s in small],
        "tau": [s.tau for s in small],
        "capacitance": [s.change * s.tau / s.rise for s in small],
    }
    if (apart := max(each["capacitance"]) / min(each["capacitance"])) > 2:
        notes.append(f"capacitances differ by a factor of {apart:.2g}: V after a step is no exponential")
    weights = [min(abs(s.rise) / max(s.noise, 1e-3), 20.0) ** 2 for s in small]
    found: dict[str, Any] = {name: _quantile(values, weights) for name, values in each.items()}
    change = _quantile([s.change for s in small], weights)
    middle = lambda values, weights: tuple(_quantile(values, weights, share) for share in (0.25, 0.75))
    ranges = {name: middle(values, weights) for name, values in each.items()}
    sources = dict.fromkeys(each, [s.sweep for s in small])
    if in_pA and bridge is None:
        ranges["bridge"], sources["bridge"] = middle(*of_bridge), [s.sweep for s in steps]
    spikes = spikes_of(V, dt)
    alike = {"rest": [(k, V) for k, V, _ in levels]}
    alike |= {name: [(x.sweep, getattr(x, name)) for x in spikes] for name in ("threshold", "width")}
    for name, seen in alike.items():
        if seen:
            ranges[name] = tuple(np.percentile([x for _, x in seen], [25, 75]))
            sources[name] = [k for k, _ in seen]
    typical = lambda name: float(np.median([x for _, x in alike[name]])) if spikes else np.nan
    return found | {
        "rest": rest,
        "bridge": known,
        "threshold": typical("threshold"),
        "width": typical("width"),
        "change": change,
        "moved": found["resistance"] / per * change,
        "fires": bool(firing),
        "ranges": ranges,
        "sources": {name: tuple(sorted(set(x))) for name, x in sources.items() if x},
        "notes": notes,
    }


def _small(steps: list[_Step], rest: float, lost: float, apart: float) -> list[_Step]:
    """The steps that say most of the membrane at rest.

    Those down from rest if there are any, else those from rest, else all; of these the ones within 15 mV
    of rest, but the three smallest at least.
    """
    calm = [s for s in steps if abs(s.current) <= apart / 2]
    steps = [s for s in calm if s.change < 0] or calm or steps
    far = lambda s: max(abs(s.before - lost * s.current + x - rest) for x in (0.0, s.plateau))
    steps = sorted(steps, key=lambda s: abs(s.plateau))
    return [s for k, s in enumerate(steps) if k < 3 or far(s) <= _SMALL]


def _quantile(values: Sequence[float], weights: Sequence[float], share: float = 0.5) -> float:
    """The weighted quantile, by default the median, between two values where it falls between them."""
    order = np.argsort(values)
    weight = np.asarray(weights)[order]
    return float(np.interp(share * weight.sum(), np.cumsum(weight) - weight / 2, np.asarray(values)[order]))


def _flat_parts(current: np.ndarray, apart: float, dt: float) -> list[_Flat]:
    """The parts of a sweep in which the current stays where it is, of `_SHORTEST` or longer."""
    edges = np.flatnonzero(np.abs(np.diff(current)) > apart) + 1
    found = []
    for begin, end in zip([0, *edges], [*edges, current.size]):
        if (end - begin) * dt < _SHORTEST:
            continue
        thirds = [x.mean() for x in np.array_split(current[begin:end], 3)]
        if np.ptp(thirds) <= apart / 2:
            found.append(_Flat(int(begin), int(end), float(np.median(current[begin:end]))))
    return found


def _step(sweep: int, V: np.ndarray, one: _Flat, two: _Flat, recording: Recording) -> list[_Step]:
    """What V does after a step from one level of the current to the next; none where it spikes."""
    dt = recording.dt
    early = V[max(one.begin, one.end - round(20.0 / dt)) : one.end]
    V = V[two.begin : min(two.end, two.begin + round(_LONGEST / dt))]
    if np.isnan(early).any() or np.isnan(V).any():
        return []
    before, change = float(np.median(early[-max(3, round(5.0 / dt)) :])), two.level - one.level
    # A held current begins with its first sample; a linear one has come half of its way between two.
    sharp = recording.held and two.begin == one.end
    t = dt * np.arange(V.size) + (0.0 if sharp else dt * (two.begin - one.end + 1) / 2)
    late = np.median(V[-max(1, V.size // 5) :])
    after = t >= max(_AFTER, 2 * dt)
    if V[after].max() > max(before, late) + _SPIKE or early.max() > before + _SPIKE:
        return []
    # Where V sags, the exponential is that of the way to the peak.
    width = max(1, round(2.0 / dt))
    smooth = np.convolve(V, np.ones(width) / width, "same")[width:-width] if V.size > 4 * width else V
    away = np.sign(change) * (smooth - before)
    sags = 0.9 * away.max() > np.sign(change) * (late - before)
    stop = t[int(np.argmax(away)) + (V.size - smooth.size) // 2] if sags else t[-1]
    # What is slower than the membrane, of channels, is left out: three time constants are looked at.
    found = None
    for _ in range(4):
        used = after & (t <= stop)
        if used.sum() < 10 or t[used][-1] < 3.0:
            return []
        found = _exponential(t[used], V[used] - before)
        if found is None or 3 * found[0] > stop:
            break
        stop = max(3 * found[0], 3.0)
    if found is None or np.sign(found[1]) != np.sign(change):
        return []
    tau, rise, sd = found
    if abs(rise) < sd:
        return []
    # The jump by the first part alone, where what else than one exponential there is counts least.
    near = after & (t <= max(2.0, tau / 10))
    jump = float(np.polyfit(-np.expm1(-t[near] / tau), V[near] - before, 1)[1]) if near.sum() > 2 else 0.0
    plateau = float(late - before - jump) if sags else rise
    if np.sign(plateau) != np.sign(change):
        return []
    return [_Step(sweep, one.level, change, before, jump, rise, tau, plateau, float(early.std()))]


def _exponential(t: np.ndarray, V: np.ndarray) -> tuple[float, float, float] | None:
    """τ and A of jump + A·(1 − e^(−t/τ)) by least squares, and the standard deviation of what is left."""
    skip = max(1, t.size // 2000)
    t, V = t[::skip], V[::skip]
    low, high = 2 * (t[1] - t[0]) / skip, 2 * t[-1]

    def left(tau: float) -> tuple[float, float]:
        x = -np.expm1(-t / tau)
        dx, dV = x - x.mean(), V - V.mean()
        rise = (dx @ dV) / (dx @ dx)
        return float(np.sum((dV - rise * dx) ** 2)), float(rise)

    taus = np.geomspace(low, high, 40)
    for _ in range(4):
        best = int(np.argmin([left(tau)[0] for tau in taus]))
        if best in (0, taus.size - 1):
            return None
        tau, taus = float(taus[best]), np.geomspace(taus[best - 1], taus[best + 1], 11)
    error, rise = left(tau)
    return tau, rise, float(np.sqrt(error / t.size))


def _rests(V: np.ndarray, parts: list[list[_Flat]], apart: float, dt: float) -> list[tuple[int, float, bool]]:
    """The sweep, V without current and whether it fires, of the first such part of every sweep."""
    found = []
    for sweep, flat in enumerate(parts):
        calm = [part for part in flat if abs(part.level) <= apart / 2]
        if not calm:
            continue
        trace = V[sweep, calm[0].begin : calm[0].end]
        trace = trace[~np.isnan(trace)]
        if trace.size:
            spikes = np.flatnonzero(trace > np.median(trace) + 2 * _SPIKE)
            near = np.zeros(trace.size, bool)
            for k in spikes:
                near[max(0, k - round(5.0 / dt)) : k + round(20.0 / dt)] = True
            trace = trace if near.all() else trace[~near]
            found.append((sweep, float(np.median(trace)), bool(spikes.size)))
    return found


class Spikes(NamedTuple):
    """Of the spikes of a sweep, medians: `threshold`, V at which their rise first exceeds 10 mV/ms, and
    `width`, how long they are above half of the way from there to their peak, ms."""

    sweep: int
    threshold: float
    width: float


def spikes_of(V: np.ndarray, dt: float) -> list[Spikes]:
    """The spikes of every sweep, shape (sweeps, times), that has any."""
    found = []
    for sweep, trace in enumerate(V):
        lag = max(1, round(0.2 / dt))
        slope = (trace[lag:] - trace[:-lag]) / (lag * dt)
        each = []
        for up in np.flatnonzero((trace[:-1] < 0.0) & (trace[1:] >= 0.0)):
            begin = max(0, up - round(3.0 / dt))
            slow = np.flatnonzero(slope[begin:up] < 10.0)
            if not slow.size or begin + slow[-1] + 1 >= up:
                continue
            onset = begin + slow[-1] + 1
            rest = trace[onset : onset + round(_BROADEST / dt)]
            down = np.flatnonzero(~(rest[up + 1 - onset :] >= 0.0))  # not to the next spike
            top = int(np.argmax(rest[: up + 1 - onset + down[0]] if down.size else rest))
            half = (rest[0] + rest[top]) / 2
            falls = np.flatnonzero(rest[top:] < half)
            if falls.size:
                each.append((rest[0], (top + falls[0] - np.argmax(rest >= half)) * dt))
        if each:
            found.append(Spikes(sweep, *np.median(each, axis=0).tolist()))
    return found


def few(sweeps: Sequence[int]) -> str:
    """0, 1, 2, 5 as "0–2, 5"."""
    parts: list[list[int]] = []
    for k in sweeps:
        if parts and k == parts[-1][-1] + 1:
            parts[-1].append(k)
        else:
            parts.append([k])
    return ", ".join(f"{p[0]}–{p[-1]}" if len(p) > 1 else f"{p[0]}" for p in parts)
