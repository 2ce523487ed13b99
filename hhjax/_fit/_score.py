"""How near a model's traces are to a recording's, beside how near its own sweeps are to each other."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .._base.arguments import as_host, as_number, check_kind
from .._base.host import number
from .._base.swings import swings_below, warn_of_swings
from .._base.tables import Printed, Table
from .._base.windows import takes, takes_samples
from .._run.spikes import coincidence_factor, concrete_spike_times, filled
from ..features._extract import FEATURES
from ..features._reference import measure, same_current, scales
from ..features._steps import parts as parts_of, repeats
from ..recordings import Recording


@dataclasses.dataclass(frozen=True)
class Score(Printed):
    """How near a model's traces are to a recording's; every field of shape (sweeps, n) but where said.

    Beside some stands what the cell's own sweeps say of each other where their current is the same, that of a
    window and of the one before: the mean over all others, NaN where there is none. A model that is like
    the cell without its noise does better than that, since noise counts once and not twice.

    **Fields:**

    - `spikes_data`, `spikes_model`: how many, whole numbers.
    - `coincidence`: the coincidence factor Γ, see [`hh.coincidence_factor`][].
    - `rmse`: root mean squared error of V below threshold, mV.
    - `windows`: ms, shape (windows, 2).
    - `explained`, `explained_by_repeats`: explained variance of V below threshold in every window,
        1 − (mean squared error)/(variance of the data), shape (windows, sweeps, n).
    - `coincidences`, `coincidences_of_repeats`: Γ in every window, shape (windows, sweeps, n).
    - `z`: features of the model minus those of the data, by what counts as 1 in
        [`hh.losses.Features`][], a dict by name; infinite where only one of the two has the feature.
    - `z_of_repeats`: root mean square of that between sweeps, a dict by name.

    Where nothing was recorded all but `spikes_model` are NaN. Of a model that turned infinite or NaN
    `spikes_model` is −1 and the rest but `spikes_data` and what repeats say NaN.
    """

    spikes_data: np.ndarray
    spikes_model: np.ndarray
    coincidence: np.ndarray
    rmse: np.ndarray
    windows: np.ndarray | None = None
    explained: np.ndarray | None = None
    explained_by_repeats: np.ndarray | None = None
    coincidences: np.ndarray | None = None
    coincidences_of_repeats: np.ndarray | None = None
    z: dict[str, np.ndarray] | None = None
    z_of_repeats: dict[str, np.ndarray] | None = None

    def _tables(self) -> list[Table]:
        headers = ("sweep", "neuron", "spikes (data)", "spikes (model)", "Γ", "RMSE below threshold (mV)")
        rows = [
            (
                *map(str, at),
                f"{self.spikes_data[at]:.0f}",
                str(self.spikes_model[at]),
                f"{self.coincidence[at]:5.2f}",
                f"{self.rmse[at]:.2f}",
            )
            for at in np.ndindex(*self.rmse.shape)
        ]
        tables = [Table(headers, rows, left=(), most=len(rows))]
        if self.windows is None or self.z is None or self.z_of_repeats is None:  # of version 0.1.0
            return tables
        by_window = [self.explained, self.explained_by_repeats]
        by_window += [self.coincidences, self.coincidences_of_repeats]
        rows = [
            (f"{start:g}", f"{stop:g}", *(number(_median(np.asarray(x)[k]), 3) for x in by_window))
            for k, (start, stop) in enumerate(self.windows)
        ]
        headers = ("from (ms)", "to (ms)", "explained variance", "by repeats", "Γ", "Γ of repeats")
        tables.append(Table(headers, rows, "Medians over sweeps in each window", left=()))
        rows = []
        for name, z in self.z.items():
            if np.isnan(z).all() and np.isnan(self.z_of_repeats[name]).all():
                continue
            size = [number(_rms(x[np.isfinite(x)]), 3) for x in (z, self.z_of_repeats[name])]
            rows.append((name, *size, str(int(np.isfinite(z).sum())), str(int(np.isinf(z).sum()))))
        headers = ("feature", "z", "z of repeats", "sweeps", "only in one")
        tables.append(Table(headers, rows, "Root mean square z-scores of features"))
        return tables


def _median(x: np.ndarray) -> float:
    x = x[~np.isnan(x)]
    return float(np.median(x)) if x.size else np.nan


def _rms(x: np.ndarray) -> float:
    return float(np.sqrt(np.mean(x**2))) if x.size else np.nan


class _Trace(NamedTuple):
    """V (mV), when it spikes (ms), and which samples are there and away from spikes, shape (times,)."""

    V: np.ndarray
    spikes: np.ndarray
    below: np.ndarray


def _traces(
    ts: np.ndarray, V: np.ndarray, threshold: float, before: float, after: float
) -> dict[tuple[int, int], _Trace]:
    found = {}
    for at in np.ndindex(V.shape[::2]):
        v = V[at[0], :, at[1]]
        spikes, below = known_spikes(ts, v, threshold), ~np.isnan(v)
        for time in spikes:
            below &= (ts < time - before) | (ts > time + after)
        found[at] = _Trace(v, spikes, below)
    return found


def known_spikes(ts: Any, V: np.ndarray, threshold: float) -> np.ndarray:
    """The times at which a trace crosses the threshold between two samples that are there."""
    at = jnp.asarray(ts)
    trace, known = map(np.asarray, filled(at, jnp.asarray(V, at.dtype)))
    found = np.asarray(concrete_spike_times(at, (trace - threshold)[:, None], None, known[:, None]))
    return found[~np.isnan(found)]


def _explained(data: _Trace, other: _Trace, among: np.ndarray) -> float:
    """The share of the variance of V below threshold that another trace explains."""
    among = among & data.below & other.below
    x = data.V[among]
    variance = x.var() if x.size > 1 else 0.0
    return float(1 - np.mean((other.V[among] - x) ** 2) / variance) if variance > 0 else np.nan


def _mean_of_others(of: Callable[[int], float], same: np.ndarray) -> float:
    found = np.array([of(j) for j in np.flatnonzero(same).tolist()])
    return float(np.nanmean(found)) if np.isfinite(found).any() else np.nan


def score(
    V: Any,
    data: Recording,
    *,
    threshold: float = 0.0,
    window: float = 4.0,
    before: float = 2.0,
    after: float = 5.0,
    windows: Sequence[tuple[float, float]] | None = None,
) -> Score:
    """Compare a model's traces, such as those of [`hh.replay`][], with a recording's.

    **Arguments:**

    - `V`: mV, shape (sweeps, times, n) or (sweeps, times).
    - `data`: the recording.
    - `threshold`: of a spike, mV, with a warning where V rises and falls by more than 10 mV below it;
        `window`: within which two spikes coincide, ms.
    - `before`, `after`: what is left out of errors around every spike of either trace,
        ms.
    - `windows`: parts of the sweeps that are told by themselves, (start, stop) in ms each; by default those
        between changes of the current.

    **Returns:** a [`hh.Score`][]; [`hh.plot.score`][] draws it. Missing data (NaN) are left out of errors. A
    spike whose crossing lies
    in a gap or next to it is not known, and the model's has no match. Where a neuron's sweep has no data at
    all, what needs them is NaN. Features are those of the step that `data.features()` finds.
    """
    check_kind("data", data, Recording, "an hh.Recording")
    threshold = as_number("threshold", threshold, "mV")
    window = as_number("window", window, "ms", positive=True)
    before, after = (as_number(*x, "ms", least=0.0) for x in (("before", before), ("after", after)))
    ts, target, current = data.ts, np.asarray(data.V), data.current if data.current_known else None
    target = target[..., None] if target.ndim == 2 else target
    V = as_host("V", V, "mV", missing=True, finite=False)
    V = V[..., None] if V.ndim == 2 else V
    if V.shape != target.shape:
        raise ValueError(f"`V` must have the shape of `data.V`, {target.shape}, got {V.shape}.")
    own = ts[[0, -1]][None] if current is None else parts_of(ts, current)
    ends_of = own if windows is None else as_host("windows", windows, "ms", axes="(windows, 2)", least=1)
    inside = [takes_samples(ts, *ends) for ends in ends_of]
    for ends, among in zip(ends_of, inside):
        if not (ends[0] < ends[1] and among.any()):
            raise ValueError(
                f"`windows` must be (start, stop) that hold samples of the data, which are from {ts[0]:g} to "
                f"{ts[-1]:g} ms, got ({ends[0]:g}, {ends[1]:g})."
            )
    for traces, of in ((target, "trace of the data"), (V, "trace of the model")):
        warn_of_swings(swings_below(np.moveaxis(traces, 1, 0), threshold), threshold, of)

    sweeps, _, n = target.shape
    shape = (sweeps, n)
    theirs, ours = (_traces(ts, x, threshold, before, after) for x in (target, V))
    spikes_model = np.zeros(shape, int)
    spikes_data, gamma, rmse = np.full((3, *shape), np.nan)
    explained, by_repeats, gammas, of_repeats = np.full((4, len(ends_of), *shape), np.nan)
    same = np.zeros((len(ends_of), sweeps, sweeps), bool)
    if current is not None:
        same = repeats(ts, current, ends_of)
    for at in np.ndindex(shape):
        real, model = theirs[at], ours[at]
        finite, recorded = np.isfinite(model.V).all(), not np.isnan(real.V).all()
        spikes_model[at] = len(model.spikes) if finite else -1
        if not recorded:
            continue
        spikes_data[at] = len(real.spikes)
        for k, (ends, among) in enumerate(zip(ends_of, inside)):

            def coincidence(other: _Trace) -> float:
                ours, theirs = (x.spikes[takes(x.spikes, *ends)] for x in (other, real))
                return coincidence_factor(ours, theirs, ends[1] - ends[0], window)

            other = lambda j: theirs[j, at[1]]
            by_repeats[k, *at] = _mean_of_others(lambda j: _explained(real, other(j), among), same[k, at[0]])
            of_repeats[k, *at] = _mean_of_others(lambda j: coincidence(other(j)), same[k, at[0]])
            if finite:
                explained[k, *at], gammas[k, *at] = _explained(real, model, among), coincidence(model)
        if not finite:
            continue
        gamma[at] = coincidence_factor(model.spikes, real.spikes, ts[-1] - ts[0], window)
        below = real.below & model.below
        if below.any():
            rmse[at] = np.sqrt(np.mean((model.V - real.V)[below] ** 2))
    z = _z_scores(ts, target, V, current, threshold)
    whole = spikes_data, spikes_model, gamma, rmse
    return Score(*whole, ends_of, explained, by_repeats, gammas, of_repeats, *z)


def _z_scores(
    ts: np.ndarray, target: np.ndarray, V: np.ndarray, current: np.ndarray | None, threshold: float
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """By feature, of the model and between sweeps of the same current."""
    none = {name: np.full(target.shape[::2], np.nan) for name in FEATURES}
    if ts.size < 5:
        return none, dict(none)
    with jax.enable_x64(True):
        theirs, ours = (measure(ts, x, current, None, None, threshold) for x in (target, V))
    same = np.zeros((len(target), len(target)), bool)
    if current is not None:
        same = same_current(ts, current, theirs.start, theirs.stop)
    scale = scales(theirs, same, {})
    known = np.isfinite(theirs.values["count"]) & np.isfinite(ours.values["count"])
    z, of_repeats = {}, {}
    for name, x in theirs.values.items():
        y = ours.values[name]
        only_one = known & (np.isfinite(x) != np.isfinite(y))
        z[name] = np.where(only_one, np.inf, np.where(known, (y - x) / scale[name], np.nan))
        off = (x[None] - x[:, None]) / scale[name][:, None]
        pairs = same[..., None] & np.isfinite(off)
        squares = np.where(pairs, off, 0.0) ** 2
        count = pairs.sum(axis=1)
        of_repeats[name] = np.where(count > 0, np.sqrt(squares.sum(axis=1) / np.maximum(count, 1)), np.nan)
    return z, of_repeats
