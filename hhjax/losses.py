"""Losses for [`hh.fit`][]: small functions of a fitted and a recorded trace, to be added up.

A loss gives residuals, in units of a standard deviation and divided by the square root of
their number, so that their sum of squares is a mean: 1 where the fit is as far from the data
as `sd` says. `hh.losses.Trace(sd=1.0) + 0.1 * hh.losses.SpikeTimes(sd=2.0)` adds two of them.
"""

import abc
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ._base.parameters import as_float_array, check_own, check_size, param, Parameter
from ._run.spikes import filled, traced_spike_times


class AbstractLoss(eqx.Module):
    """Base class: `loss(ts, V, target)` gives an array of residuals.

    `ts` has shape (times,), ms; `V` and `target` have shape (sweeps, times, n), mV;
    `target` is NaN where nothing was recorded.
    """

    @abc.abstractmethod
    def __call__(self, ts: Array, V: Array, target: Array) -> Array:
        """Residuals, any shape, without unit."""

    def __add__(self, other: Any) -> "AbstractLoss":
        return _Sum((self, as_loss(other)))

    def __mul__(self, weight: Any) -> "AbstractLoss":
        return _Weighted(self, weight)

    __rmul__ = __mul__


class _Checked(AbstractLoss):
    """A loss whose parameters are checked when it is made."""

    def __check_init__(self) -> None:
        check_own(self)


class _Sum(AbstractLoss):
    parts: tuple[AbstractLoss, ...]

    def __call__(self, ts: Array, V: Array, target: Array) -> Array:
        return jnp.concatenate([jnp.ravel(part(ts, V, target)) for part in self.parts])


class _Weighted(_Checked):
    loss: AbstractLoss
    weight: Parameter = param(minimum=0.0)

    def __call__(self, ts: Array, V: Array, target: Array) -> Array:
        return _root(self.weight) * self.loss(ts, V, target)


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
    if callable(loss):
        return _Function(loss)
    raise TypeError(
        "`loss` must be a loss such as hh.losses.Trace(), or a function of (ts, V, target) that "
        f"returns residuals, got {loss!r}."
    )


def _normalised(residuals: Array, valid: Array) -> Array:
    count = jnp.maximum(valid.sum(), 1).astype(residuals.dtype)
    return jnp.where(valid, residuals, 0.0) / jnp.sqrt(count)


def _like(x: Array, V: Array) -> Array:
    """`x`, scalar or with V's last axes, with V's number of axes and float type."""
    return x.astype(V.dtype).reshape((1,) * (V.ndim - x.ndim) + x.shape)


class Trace(_Checked):
    """Difference of the membrane potentials, sample by sample.

    **Fields:**

    - `sd`: what counts as 1, positive, mV, scalar or broadcast against (sweeps, times, n); for
        instance the noise of the recording.
    - `weights`: non-negative, broadcast against (sweeps, times, n); optional.
    - `start`, `stop`: the part of each sweep that counts, ms.
    """

    sd: Parameter = param(1.0, unit="mV", positive=True)
    weights: Float[Array, "..."] | None = eqx.field(
        default=None,
        converter=lambda w: None if w is None else as_float_array(w),
        metadata={"param": True, "minimum": 0.0},
    )
    start: float = -jnp.inf
    stop: float = jnp.inf

    def __call__(self, ts: Array, V: Array, target: Array) -> Array:
        inside = ((ts >= self.start) & (ts <= self.stop))[None, :, None]
        valid = jnp.isfinite(target) & inside
        error = (V - jnp.where(valid, target, 0.0)) / _like(self.sd, V)
        if self.weights is not None:
            error = error * _root(_like(self.weights, V))
        return _normalised(error, valid)


class SpikeTimes(_Checked):
    """Difference of spike times, first with first, second with second and so on.

    A spike that one trace has and the other lacks counts as one at the end of the trace.
    The slope of such a residual says nothing about the missing spike: add a [`Trace`][] or
    a smooth [`hh.features.spike_count`][] for that.

    **Fields:**

    - `sd`: what counts as 1, positive, ms.
    - `drift`: non-negative; `sd` grows by this for each ms that the recorded spike is later than
        the start: what is wrong with the intervals of a train adds up.
    - `threshold`: mV.
    - `max_spikes`: how many are compared, at least 1.
    - `start`, `stop`: the part of each sweep that counts, ms; a missing spike counts as one
        at its end.

    A spike whose crossing lies next to a missing sample (NaN) is left out.
    """

    sd: Parameter = param(1.0, unit="ms", positive=True)
    threshold: Parameter = param(0.0, unit="mV")
    max_spikes: int = eqx.field(default=20, static=True)
    drift: Parameter = param(0.0, minimum=0.0)
    start: float = -jnp.inf
    stop: float = jnp.inf

    def __check_init__(self) -> None:
        check_size("max_spikes", self.max_spikes)

    def __call__(self, ts: Array, V: Array, target: Array) -> Array:
        inside = (ts[1:] >= self.start) & (ts[:-1] <= self.stop)

        def times(V: Array) -> Array:
            V, known = filled(ts, V)
            V = V - self.threshold.astype(V.dtype)
            found = traced_spike_times(ts, V, None, self.max_spikes, inside & known)
            counts = (found >= self.start) & (found <= self.stop)
            return jnp.sort(jnp.where(counts, found, jnp.nan))  # NaN comes last

        every_trace = jax.vmap(jax.vmap(times, in_axes=1))
        fit, data = every_trace(V), every_trace(target)
        valid = ~(jnp.isnan(fit) & jnp.isnan(data))
        at_end = lambda x: jnp.where(jnp.isnan(x), jnp.minimum(ts[-1], self.stop), x)
        fit, data = at_end(fit), at_end(data)
        sd = self.sd.astype(V.dtype) + self.drift.astype(V.dtype) * (data - jnp.maximum(ts[0], self.start))
        return _normalised((fit - data) / sd, valid)


class Feature(_Checked):
    """Difference of a feature of the trace, such as one of [`hh.features`][].

    **Fields:** `fn`: a function of (ts, V); `sd`: what counts as 1, positive, in the unit of the
    feature. Sweeps and neurons with a missing sample (NaN) are left out.
    """

    fn: Callable
    sd: Parameter = param(1.0, positive=True)

    def __call__(self, ts: Array, V: Array, target: Array) -> Array:
        valid = jnp.isfinite(target).all(axis=-2)
        wanted = self.fn(ts, jnp.where(jnp.isfinite(target), target, 0.0))
        error = (self.fn(ts, V) - wanted) / self.sd.astype(V.dtype)
        return _normalised(error, jnp.broadcast_to(valid, error.shape))
