"""Losses of features, one or many."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .._base.arguments import as_array, check_choice, check_function, check_kind
from .._base.parameters import param, Parameter, put, shown
from .._base.swings import swings_below, warn_of_swings
from .._base.windows import takes_samples
from ..features import spike_count
from ..features._extract import FEATURES
from ..features._reference import Reference, reference_of
from ._base import AbstractLoss, normalised


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
        return normalised(error, jnp.broadcast_to(valid, error.shape))


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
        return normalised(jnp.stack(residuals), jnp.stack(there))
