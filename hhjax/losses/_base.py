"""What a loss is, and losses added up."""

import abc
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .._base.parameters import Checked, param, Parameter, shown
from .._base.windows import takes_samples


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
        return root(self.weight) * self.loss(ts, V, target)

    def made_for(self, ts: Array, target: Array, current: Array | None = None) -> AbstractLoss:
        return _Weighted(self.loss.made_for(ts, target, current), self.weight)

    def watch(self, ts: Array, V: Array) -> None:
        self.loss.watch(ts, V)


def root(weight: Array) -> Array:
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


def normalised(residuals: Array, valid: Array) -> Array:
    count = jnp.maximum(valid.sum(), 1).astype(residuals.dtype)
    return jnp.where(valid, residuals, 0.0) / jnp.sqrt(count)


def like(x: Array, V: Array) -> Array:
    """`x`, scalar or with V's last axes, with V's number of axes and float type."""
    return x.astype(V.dtype).reshape((1,) * (V.ndim - x.ndim) + x.shape)


def check_window(loss: Any, ts: Array) -> None:
    """Refuse a window of a loss in which there are no samples."""
    if not takes_samples(np.asarray(ts), loss.start, loss.stop).any():
        raise ValueError(
            f"`start` = {loss.start:g} and `stop` = {loss.stop:g} ms of a loss must hold a sample of the "
            f"data, which are from {ts[0]:g} to {ts[-1]:g} ms."
        )
