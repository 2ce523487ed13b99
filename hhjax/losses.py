"""Losses for [`hh.fit`][]: small functions of a fitted and a recorded trace, to be added up.

A loss gives residuals, in units of a standard deviation and divided by the square root of
their number, so that their sum of squares is a mean: 1 where the fit is as far from the data
as `sd` says. `hh.losses.Trace(sd=1.0) + 0.1 * hh.losses.SpikeTimes(sd=2.0)` adds two of them.
"""

import abc
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ._base.arguments import as_array, as_window, check_choice, check_function, check_kind
from ._base.host import warn
from ._base.parameters import (
    check_size,
    Checked,
    is_concrete,
    OptionalParameter,
    param,
    Parameter,
    put,
    shown,
)
from ._base.swings import swings_below, warn_of_swings
from ._base.windows import takes_samples, takes_spike
from ._run.spikes import filled, KeptSpikes, traced_spike_times
from .features import spike_count
from .features._extract import FEATURES
from .features._reference import measure, Reference, reference_of
from .features._steps import parts as parts_of


class AbstractLoss(Checked):
    """Base class: `loss(ts, V, target)` gives an array of residuals.

    `ts` has shape (times,), ms, in [`hh.fit`][] the recording's own times; `V` and `target` have
    shape (sweeps, times, n), mV; `target` is NaN where nothing was recorded.
    """

    @abc.abstractmethod
    def __call__(self, ts: Array, V: Array, target: Array) -> Array:
        """Residuals, any shape, without unit."""

    def made_for(self, ts: Array, target: Array, current: Array | None = None) -> "AbstractLoss":
        """The loss as [`hh.fit`][] takes it, which sees the data before it is compiled.

        `current` has shape (sweeps, times) or (sweeps, times, n), in the recording's unit.
        """
        return self

    def watch(self, ts: Array, V: Array) -> None:
        """Warn of what the loss does not see in traces that can be read."""

    def __add__(self, other: Any) -> "AbstractLoss":
        return _Sum((self, as_loss(other)))

    def __mul__(self, weight: Any) -> "AbstractLoss":
        return _Weighted(self, weight)

    __rmul__ = __mul__


class _Sum(AbstractLoss):
    parts: tuple[AbstractLoss, ...]

    def __call__(self, ts: Array, V: Array, target: Array) -> Array:
        return jnp.concatenate([jnp.ravel(part(ts, V, target)) for part in self.parts])

    def made_for(self, ts: Array, target: Array, current: Array | None = None) -> AbstractLoss:
        return _Sum(tuple(part.made_for(ts, target, current) for part in self.parts))

    def watch(self, ts: Array, V: Array) -> None:
        for part in self.parts:
            part.watch(ts, V)


class _Weighted(AbstractLoss):
    loss: AbstractLoss
    weight: Parameter = param(minimum=0.0)

    def __call__(self, ts: Array, V: Array, target: Array) -> Array:
        return _root(self.weight) * self.loss(ts, V, target)

    def made_for(self, ts: Array, target: Array, current: Array | None = None) -> AbstractLoss:
        return _Weighted(self.loss.made_for(ts, target, current), self.weight)

    def watch(self, ts: Array, V: Array) -> None:
        self.loss.watch(ts, V)


def _root(weight: Array) -> Array:
    """√weight, of which the square has the derivative 1 at 0 too."""
    return jnp.sqrt(weight + jnp.finfo(weight.dtype).tiny)


class _Function(AbstractLoss):
    fn: Callable

    def __call__(self, ts: Array, V: Array, target: Array) -> Array:
        return self.fn(ts, V, target)


def as_loss(loss: Any) -> AbstractLoss:
    """A loss, or any function (ts, V, target) → residuals, as a loss."""
    if isinstance(loss, AbstractLoss):
        return loss
    if callable(loss) and not isinstance(loss, type):
        return _Function(loss)
    raise TypeError(
        "`loss` must be a loss such as hh.losses.Trace(), or a function of (ts, V, target) that "
        f"returns residuals, got {shown(loss)}."
    )


def _normalised(residuals: Array, valid: Array) -> Array:
    count = jnp.maximum(valid.sum(), 1).astype(residuals.dtype)
    return jnp.where(valid, residuals, 0.0) / jnp.sqrt(count)


def _like(x: Array, V: Array) -> Array:
    """`x`, scalar or with V's last axes, with V's number of axes and float type."""
    return x.astype(V.dtype).reshape((1,) * (V.ndim - x.ndim) + x.shape)


def _check_window(loss: Any, ts: Array) -> None:
    """Refuse a window of a loss in which there are no samples."""
    if not takes_samples(np.asarray(ts), loss.start, loss.stop).any():
        raise ValueError(
            f"`start` = {loss.start:g} and `stop` = {loss.stop:g} ms of a loss must hold a sample of the "
            f"data, which are from {ts[0]:g} to {ts[-1]:g} ms."
        )


class Trace(AbstractLoss):
    """Difference of the membrane potentials, sample by sample.

    **Fields:**

    - `sd`: what counts as 1, positive, mV, scalar or broadcast against (sweeps, times, n); for
        instance the noise of the recording.
    - `weights`: non-negative, broadcast against (sweeps, times, n); optional.
    - `start`, `stop`: the part of each sweep that counts, ms, samples at both ends included.
    """

    sd: Parameter = param(1.0, unit="mV", positive=True, finite=False, per="sample")
    weights: OptionalParameter = param(None, minimum=0.0, per="sample")
    start: float = -jnp.inf
    stop: float = jnp.inf

    def _check_made(self) -> None:
        as_window(self.start, self.stop)

    def made_for(self, ts: Array, target: Array, current: Array | None = None) -> AbstractLoss:
        _check_window(self, ts)
        return self

    def __call__(self, ts: Array, V: Array, target: Array) -> Array:
        inside = takes_samples(ts, self.start, self.stop)[None, :, None]
        valid = jnp.isfinite(target) & inside
        error = (V - jnp.where(valid, target, 0.0)) / _like(self.sd, V)
        if self.weights is not None:
            error = error * _root(_like(self.weights, V))
        return _normalised(error, valid)


class Prediction(Trace):
    """Error of the membrane potential predicted for each sample from the samples before it.

    For cells with noise, whose spikes a free-running model cannot have. In [`hh.fit`][] V is corrected at
    each sample by a fraction of its difference from the data: a Kalman filter of V in its steady state. The
    fraction is estimated together with the parameters, or follows from noise that is given. Outside of
    [`hh.fit`][] it is a [`Trace`][].

    **Fields:** those of [`Trace`][], and

    - `process`: white noise in the cell, mV/√ms, which is σ/C of an [`hh.CurrentNoise`][]; `reading`: noise
        of each reading, mV, positive; scalar or shape (n,). Both are given or both estimated. If given, 1
        is an error as large as they lead to, times `sd`.
    """

    process: OptionalParameter = param(None, unit="mV/√ms", minimum=0.0)
    reading: OptionalParameter = param(None, unit="mV", positive=True)

    def _check_made(self) -> None:
        super()._check_made()
        if (self.process is None) != (self.reading is None):
            raise ValueError(
                "`process` and `reading` must be given both or neither, got "
                f"{shown(self.process)} and {shown(self.reading)}."
            )

    def steady(self, sampling: Array | float) -> tuple[Array, Array]:
        """The share that V takes over of an error, and the error's standard deviation (mV), where both kinds
        of noise are given: the scalar Riccati equation of a random walk."""
        assert self.process is not None and self.reading is not None
        q, r = self.process**2 * sampling, self.reading**2
        before = (q + jnp.sqrt(q**2 + 4 * q * r)) / 2
        return before / (before + r), jnp.sqrt(before + r)

    def __call__(self, ts: Array, V: Array, target: Array) -> Array:
        residuals = super().__call__(ts, V, target)
        return residuals if self.process is None else residuals / _like(self.steady(ts[1] - ts[0])[1], V)


class Current(AbstractLoss):
    """Difference of the currents of a voltage clamp, sample by sample.

    **Fields:**

    - `sd`: what counts as 1, positive, in the unit of the recording; by default the noise from sample to
        sample, from second differences of the data (at least 1e-4 of their size).
    - `start`, `stop`: the part of each sweep that counts, ms, samples at both ends included.
    """

    sd: OptionalParameter = param(None, positive=True)
    start: float = -jnp.inf
    stop: float = jnp.inf

    def _check_made(self) -> None:
        as_window(self.start, self.stop)

    def made_for(self, ts: Array, target: Array, current: Array | None = None) -> AbstractLoss:
        _check_window(self, ts)
        if self.sd is not None:
            return self
        data = np.asarray(target, float)
        # The median leaves out the few samples at jumps. Second differences of independent errors have the
        # variance 1 + 4 + 1.
        noise = 1.4826 * np.nanmedian(np.abs(np.diff(data, n=2, axis=1))) / np.sqrt(6)
        least = 1e-4 * np.nanmax(np.abs(data))
        return put(self, sd=jnp.asarray(np.nanmax([noise, least, 1e-12]), target.dtype))

    def __call__(self, ts: Array, V: Array, target: Array) -> Array:
        if self.sd is None:
            return self.made_for(ts, target)(ts, V, target)
        valid = jnp.isfinite(target) & takes_samples(ts, self.start, self.stop)[None, :, None]
        return _normalised((V - jnp.where(valid, target, 0.0)) / self.sd.astype(V.dtype), valid)


class SpikeTimes(AbstractLoss):
    """Difference of spike times, first with first, second with second and so on.

    A spike that only one trace has counts as if the other had it at the end of the trace, and at least as
    `sd`. Spikes beyond `max_spikes` count as if they came with the last one that is kept.
    The gradient of such a residual says nothing about the missing spike: add a [`Trace`][] or
    a smooth [`hh.features.spike_count`][] for that.

    **Fields:**

    - `sd`: what counts as 1, positive, ms.
    - `drift`: non-negative; `sd` grows by this for each ms that the recorded spike is later than
        the start: what is wrong with the intervals of a train adds up.
    - `threshold`: mV.
    - `max_spikes`: how many are compared, the first ones, at least 1, with a warning where a trace has
        more; by default all of the data.
    - `start`, `stop`: the part of each sweep that counts, ms; a missing spike counts as one
        at its end. A spike at `stop` belongs to it, one at `start` does not.

    A spike whose crossing lies next to a missing sample (NaN) is left out.
    """

    sd: Parameter = param(1.0, unit="ms", positive=True)
    threshold: Parameter = param(0.0, unit="mV")
    max_spikes: int | None = eqx.field(default=None, static=True)
    drift: Parameter = param(0.0, minimum=0.0)
    start: float = -jnp.inf
    stop: float = jnp.inf

    def _check_made(self) -> None:
        if self.max_spikes is not None:
            check_size("max_spikes", self.max_spikes)
        as_window(self.start, self.stop)

    def _spikes(self, ts: Array, V: Array, room: int) -> KeptSpikes:
        # Of every trace those that count, shape (sweeps, n, room).
        def of_trace(V: Array) -> KeptSpikes:
            V, known = filled(ts, V)
            V = V - self.threshold.astype(V.dtype)
            inside = takes_spike(ts[:-1], ts[1:], V[:-1], V[1:], self.start, self.stop)
            return traced_spike_times(ts, V, None, room, inside & known)

        return jax.vmap(jax.vmap(of_trace, in_axes=1))(V)

    def watch(self, ts: Array, V: Array) -> None:
        inside = takes_samples(np.asarray(ts), self.start, self.stop)
        seen = np.where(inside[:, None], np.asarray(V), np.nan)
        warn_of_swings(swings_below(np.moveaxis(seen, 1, 0), self.threshold), self.threshold, "trace")
        if self.max_spikes is not None and (most := int(np.max(_counts(self, ts, V)))) > self.max_spikes:
            warn(
                f"A trace has {most} spikes; `max_spikes` compares the first {self.max_spikes}, the others "
                "as if they came with the last of these."
            )

    def made_for(self, ts: Array, target: Array, current: Array | None = None) -> "SpikeTimes":
        _check_window(self, ts)
        if self.max_spikes is None:
            most = int(np.max(_counts(self, ts, target)))
            # With room for a model that fires twice as often; few compilations.
            return put(self, max_spikes=1 << (2 * most + 8).bit_length())
        return self

    def __call__(self, ts: Array, V: Array, target: Array) -> Array:
        if all(is_concrete(x) for x in jax.tree.leaves((self, ts, V, target))):
            self.watch(ts, jnp.concatenate([target, V]))
            return _errors(_of_any_window(self.made_for(ts, target), ts), ts, V, target)
        return self._errors(ts, V, target)

    def _errors(self, ts: Array, V: Array, target: Array) -> Array:
        room = ts.shape[0] // 2 if self.max_spikes is None else self.max_spikes
        fit, data = self._spikes(ts, V, room), self._spikes(ts, target, room)
        pairs = ~(jnp.isnan(fit.times) & jnp.isnan(data.times))
        alone = jnp.isnan(fit.times) != jnp.isnan(data.times)
        end = jnp.minimum(ts[-1], self.stop).astype(V.dtype)
        # One more pair for spikes beyond `room`: they count as if they came with the last one kept.
        more = jnp.maximum(fit.count, room) - jnp.maximum(data.count, room)
        spare = lambda times, lacks: jnp.where(lacks[..., None], end, times[..., -1:])
        put = lambda times, lacks: jnp.concatenate([times, spare(times, lacks)], axis=-1)
        fit, data = put(fit.times, more <= 0), put(data.times, more >= 0)
        fit, data = (jnp.where(jnp.isnan(x), end, x) for x in (fit, data))
        number = jnp.concatenate([pairs.astype(V.dtype), jnp.abs(more).astype(V.dtype)[..., None]], axis=-1)
        sd = self.sd.astype(V.dtype) + self.drift.astype(V.dtype) * (data - jnp.maximum(ts[0], self.start))
        error = (fit - data) / sd
        alone = jnp.append(alone, jnp.ones_like(alone[..., :1]), axis=-1) & (jnp.abs(error) < 1)
        error = jnp.where(alone, jnp.where(error < 0, -1.0, 1.0), error)
        error = jnp.where(number > 0, error, 0.0)
        return error * jnp.sqrt(number / jnp.maximum(number.sum(), 1))


def _of_any_window(loss: SpikeTimes, ts: Array, **fields: Any) -> SpikeTimes:
    """The loss with its window in arrays: one compilation for all windows."""
    return put(loss, start=jnp.asarray(loss.start, ts.dtype), stop=jnp.asarray(loss.stop, ts.dtype), **fields)


_errors = eqx.filter_jit(SpikeTimes._errors)


def _counts(loss: SpikeTimes, ts: Array, V: Array) -> Array:
    """How many spikes each trace has, shape (sweeps, n)."""
    return _counted(_of_any_window(loss, ts, max_spikes=None), ts, V)


@eqx.filter_jit
def _counted(loss: SpikeTimes, ts: Array, V: Array) -> Array:
    return loss._spikes(ts, V, 1).count


class Feature(AbstractLoss):
    """Difference of a feature of the trace, such as one of [`hh.features`][].

    **Fields:** `fn`: a function of (ts, V); `sd`: what counts as 1, positive, in the unit of the
    feature. Sweeps and neurons of whose data it reads a missing sample (NaN) are left out.
    """

    fn: Callable
    sd: Parameter = param(1.0, positive=True)

    def _check_made(self) -> None:
        check_function("fn", self.fn, "ts and V")

    def watch(self, ts: Array, V: Array) -> None:
        self.fn(ts, V)  # which warns, if it is one of ours

    def __call__(self, ts: Array, V: Array, target: Array) -> Array:
        # What is missing outside the window of the feature makes no difference to it.
        wanted, other = (self.fn(ts, jnp.where(jnp.isfinite(target), target, x)) for x in (-100.0, 100.0))
        valid = jnp.isfinite(wanted) & (wanted == other)
        error = (self.fn(ts, V) - jnp.where(valid, wanted, 0.0)) / self.sd.astype(V.dtype)
        return _normalised(error, jnp.broadcast_to(valid, error.shape))


def _as_names(names: Any) -> Any:
    return (names,) if isinstance(names, str) else tuple(names) if isinstance(names, list) else names


class Features(AbstractLoss):
    """Differences of the features of [`hh.features.extract`][], each by how much it varies in the data.

    The unit is the standard deviation of a feature over the sweeps of the data that have the same current
    or, if none have, from an interpolation between the sweeps with the next lower and higher current. It is
    at least 1 for counts, 1 Hz, 1 ms for latencies and time constants, 0.5 ms for the AHP, 0.05 ms for
    half-widths, 2 mV for heights and thresholds, 1 mV for rest and AHP, 0.5 mV for the sag, 0.02 for
    adaptation; and for all but potentials and adaptation at least 10 % of the value.

    The count itself has no gradient; it gets that of [`hh.features.spike_count`][]. Where noise is large,
    the lowest V of the data, and so the sag, is mostly noise: leave the sag out by `names`.

    **Fields:**

    - `names`: which features, by default all.
    - `start`, `stop`: the step, ms, by default as in `recording.features()`.
    - `threshold`: of a spike, mV.
    - `missing`: the residual of a feature that only the data or only the model has.
    - `sd`: what counts as 1 instead, a dict by name, in the unit of the feature.
    - `reference`: the features of the data, which [`hh.fit`][] finds.

    A sweep in which samples are missing (NaN), in the step or in the time for the rest, is left out.
    """

    names: tuple[str, ...] = eqx.field(default=tuple(FEATURES), static=True, converter=_as_names)
    start: float | None = None
    stop: float | None = None
    threshold: Parameter = param(0.0, unit="mV")
    missing: Parameter = param(5.0, minimum=0.0)
    sd: dict[str, Any] = eqx.field(default_factory=dict)
    reference: Reference | None = None

    def _check_made(self) -> None:
        if not isinstance(self.names, tuple) or not self.names:
            raise TypeError(f"`names` must be a list of names of features, got {shown(self.names)}.")
        for name in self.names:
            check_choice("names", name, FEATURES)
        for name, x in (("start", self.start), ("stop", self.stop)):
            if x is not None:
                as_array(name, x, "ms", shapes=[()], finite=False)
        for name, x in check_kind("sd", self.sd, dict, "a dict by name of a feature").items():
            check_choice("sd", name, FEATURES)
            as_array(f"sd[{name!r}]", x, FEATURES[name].unit, shapes=[()], positive=True)

    def made_for(self, ts: Array, target: Array, current: Array | None = None) -> "Features":
        found = reference_of(ts, target, current, self.start, self.stop, self.threshold, self.sd)
        return put(self, reference=found)

    def watch(self, ts: Array, V: Array) -> None:
        if self.reference is not None:
            inside = takes_samples(np.asarray(ts), self.reference.start, self.reference.stop)
            seen = np.moveaxis(np.where(inside[:, None], np.asarray(V), np.nan), 1, 0)
            warn_of_swings(swings_below(seen, self.threshold), self.threshold, "trace")

    def __call__(self, ts: Array, V: Array, target: Array) -> Array:
        data = self.reference
        if data is None or data.amplitude.shape != (V.shape[0], V.shape[2]):
            raise ValueError(
                "`loss` of features must be made for whole sweeps, as hh.fit does by "
                f"loss.made_for(ts, V, current), got traces of shape {V.shape}."
            )
        threshold = self.threshold.astype(V.dtype)
        found = data.of(ts.astype(V.dtype), V, threshold)
        window = {"start": data.start, "stop": data.stop}
        smooth = spike_count(ts, V, threshold=threshold, **window)
        found["count"] = found["count"] + smooth - jax.lax.stop_gradient(smooth)
        known, ran = jnp.isfinite(data.values["count"]), jnp.isfinite(found["count"])
        residuals, there = [], []
        for name in self.names:
            x, wanted = found[name], data.values[name]
            has, had = jnp.isfinite(x), jnp.isfinite(wanted)
            both = has & had
            error = (jnp.where(both, x, 0.0) - jnp.where(both, wanted, 0.0)) / data.sd[name]
            error = jnp.where(has == had, error, self.missing.astype(V.dtype))
            residuals.append(jnp.where(ran, error, jnp.nan))
            there.append((has | had) & known)
        return _normalised(jnp.stack(residuals), jnp.stack(there))


class Firing(AbstractLoss):
    """How often a cell fires in each part of a protocol and when, its spikes, and V below their onset.

    For free-running models of real cells, whose spikes cannot be met one by one; best with
    [`hh.Evolution`][]. Four mean squares, added up:

    - Spike counts in each part between two changes of the current; 1 is one spike and a tenth of the data's.
    - How long a spike is above the threshold, and the area between; 1 is `shape`, as a share of the data's.
        What is much more than that counts by its size and not by its square.
    - V below the onset of spikes, in means over 5 ms; 1 is `sd`.
    - Spike times, as the distance between trains smoothed by exp(−t/10 ms) (M. C. W. van Rossum, Neural
        Comput. 13 (2001) 751), times `timing`; 1 is a train without a spike in place of the data's.

    **Fields:**

    - `threshold`: of a spike, mV; by default half-way from the onset of the data's spikes to 0 mV.
    - `sd`: mV; `shape`, `timing`: without unit.
    - `parts`, `bin`, `onset`: the parts and the 5 ms in samples, and the V at which spikes of the data
        begin to rise by 10 mV/ms, mV, which [`hh.fit`][] finds.

    Where a sample is missing (NaN) the model's own counts in its place.
    """

    threshold: OptionalParameter = param(None, unit="mV")
    sd: Parameter = param(4.0, unit="mV", positive=True)
    shape: Parameter = param(0.3, positive=True)
    timing: Parameter = param(0.1, minimum=0.0)
    parts: tuple[tuple[int, int], ...] | None = eqx.field(default=None, static=True)
    bin: int = eqx.field(default=1, static=True)
    onset: OptionalParameter = param(None, unit="mV")

    def made_for(self, ts: Array, target: Array, current: Array | None = None) -> "Firing":
        times = np.asarray(ts, float)
        windows = times[[0, -1]][None] if current is None else parts_of(times, np.asarray(current, float))
        edges = np.searchsorted(times, windows)
        onset = np.nan
        for level in (0.0, -20.0) if self.threshold is None else (float(self.threshold),):
            onsets = measure(ts, target, current, -np.inf, np.inf, level).values["threshold"]
            if np.isnan(onset) and np.isfinite(onsets).any():
                onset = np.nanmedian(onsets)
        onset = _ONSET if np.isnan(onset) else onset
        threshold = onset / 2 if self.threshold is None else self.threshold
        return put(
            self,
            threshold=jnp.asarray(threshold, target.dtype),
            parts=tuple((int(first), int(last)) for first, last in edges),
            bin=max(1, min(round(_BIN / (times[1] - times[0])), len(times))),
            onset=jnp.asarray(onset, target.dtype),
        )

    def watch(self, ts: Array, V: Array) -> None:
        assert self.threshold is not None
        warn_of_swings(swings_below(jnp.moveaxis(V, 1, 0), self.threshold), self.threshold, "trace")

    def __call__(self, ts: Array, V: Array, target: Array) -> Array:
        if self.parts is None:
            return self.made_for(ts, target)(ts, V, target)
        ours, theirs = self._seen(ts, V), self._seen(ts, jnp.where(jnp.isfinite(target), target, V))
        wrong = (ours.count - theirs.count) / (1 + 0.1 * theirs.count)
        fire = (ours.count > 0.5) & (theirs.count > 0.5)
        shapes = [
            jnp.where(fire, x / jnp.where(fire, y, 1.0) - 1, 0.0) for x, y in zip(ours.shape, theirs.shape)
        ]
        # One spike more adds the square of its trace, 1/(1 − decay²) over all bins.
        alone = jnp.maximum(theirs.count.sum(axis=0), 1.0) / (1 - self._decay(ts) ** 2)
        late = (ours.train - theirs.train) / jnp.sqrt(alone)[None]
        return jnp.concatenate(
            [
                _mean_square(wrong),
                _mean_square(_robust(jnp.stack(shapes) / self.shape.astype(V.dtype))),
                _mean_square((ours.below - theirs.below) / self.sd.astype(V.dtype)),
                _mean_square(late) * _root(self.timing.astype(V.dtype) * len(late)),
            ]
        )

    def _decay(self, ts: Array) -> Array:
        return jnp.exp(-(ts[self.bin] - ts[0]) / _TAU)

    def _seen(self, ts: Array, V: Array) -> "_Seen":
        assert self.parts is not None and self.onset is not None and self.threshold is not None
        V = jnp.moveaxis(V, 1, 0)  # times first
        bins = len(V) // self.bin
        binned = lambda x: x[: bins * self.bin].reshape(bins, self.bin, *x.shape[1:])
        below = binned(jnp.minimum(V, self.onset.astype(V.dtype))).mean(axis=1)
        V = V - self.threshold.astype(V.dtype)
        above = jax.nn.sigmoid(V / _SOFT)
        rises = jnp.maximum(jnp.diff(above, axis=0, prepend=above[:1]), 0.0)  # 1 by a spike
        decay = self._decay(ts).astype(V.dtype)
        smooth = lambda train, spikes: (decay * train + spikes,) * 2
        _, train = jax.lax.scan(smooth, jnp.zeros_like(V[0]), binned(rises).sum(axis=1))
        parts = self.parts
        of_parts = lambda x: jnp.stack([x[first:last].sum(axis=0) for first, last in parts])
        count = of_parts(rises)
        each = (ts[1] - ts[0]) / jnp.maximum(count, 0.5)
        return _Seen(count, (of_parts(above) * each, of_parts(jnp.maximum(V, 0.0)) * each), below, train)


class _Seen(NamedTuple):
    """What of traces [`Firing`][] compares: `count` and the two of `shape` (parts, sweeps, n); `below` (mV)
    and `train` (bins, sweeps, n)."""

    count: Array
    shape: tuple[Array, Array]
    below: Array
    train: Array


_BIN, _TAU = 5.0, 10.0  # ms
_ONSET = -40.0  # mV, where the data have no spike
_SOFT = 2.0  # mV about the threshold, within which being above it is a matter of degree


def _mean_square(x: Array) -> Array:
    """Residuals whose sum of squares is the mean of those of x."""
    return jnp.ravel(x) / np.sqrt(x.size)


def _robust(x: Array) -> Array:
    """Residuals whose square is x² for small x and 2·|x| for large ones: pseudo-Huber."""
    return x * jnp.sqrt(2 / (1 + jnp.sqrt(1 + x**2)))
