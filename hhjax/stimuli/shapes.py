"""Currents of simple shapes."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array

from .._base.parameters import param, Parameter
from ._base import _Line, _refuse_unless, Constant, Stimulus


class Step(Stimulus):
    """`amplitude` from `start` up to `stop`, zero outside.

    **Fields:** `amplitude`: µA/cm²; `start`, `stop`: ms; each a scalar or shape (n,).
    """

    has_shape_of_parameters: ClassVar[bool] = True

    amplitude: Parameter = param(unit="µA/cm²")
    start: Parameter = param(0.0, unit="ms")
    stop: Parameter = param(np.inf, unit="ms")

    def __call__(self, t: ArrayLike) -> Array:
        return jnp.where((t >= self.start) & (t < self.stop), self.amplitude, 0.0)

    def within(self, t: Array, dt: Array, end: Array, row: Any = None) -> Stimulus:
        # Each from numbers near t, of which the difference is exact.
        span = end - t
        off = jnp.clip(self.start - t, 0.0, span) + jnp.clip(end - self.stop, 0.0, span)
        return Constant(self.amplitude * ((span - off) / span))

    def check(self) -> None:
        _refuse_unless(np.less_equal, "`Step.stop` must not come before `start` (ms)", self.start, self.stop)

    def edges(self, t0: float, t1: float) -> Array:
        return jnp.concatenate([jnp.ravel(self.start), jnp.ravel(self.stop)])

    def longest_step(self, dt: float) -> Array | float:
        return np.inf


class Pulses(Stimulus):
    """A train of rectangular pulses.

    **Fields:**

    - `amplitude`: µA/cm².
    - `start`: onset of the first pulse, ms.
    - `width`: duration of a pulse, ms.
    - `period`: from one onset to the next, ms; at least `width`.
    - `count`: how many pulses, no limit by default.

    Each a scalar or shape (n,).
    """

    has_shape_of_parameters: ClassVar[bool] = True

    amplitude: Parameter = param(unit="µA/cm²")
    start: Parameter = param(unit="ms", finite=True)
    width: Parameter = param(unit="ms", minimum=0.0)
    period: Parameter = param(unit="ms", positive=True, finite=True)
    count: Parameter = param(np.inf, minimum=0.0)

    def _phase(self, t: ArrayLike) -> tuple[Array, Any]:
        """The number of the pulse that began last before t, and the time since (ms)."""
        index = jnp.floor((t - self.start) / self.period)
        index = jax.lax.stop_gradient(jnp.clip(index, 0.0, self.count - 1))
        return index, t - self.start - index * self.period

    def __call__(self, t: ArrayLike) -> Array:
        _, phase = self._phase(t)
        on = (phase >= 0) & (phase < self.width) & (self.count > 0)
        return jnp.where(on, self.amplitude, 0.0)

    def within(self, t: Array, dt: Array, end: Array, row: Any = None) -> Stimulus:
        (first, begun), (last, ended) = self._phase(t), self._phase(end)
        on = lambda phase: jnp.clip(phase, 0.0, self.width)
        fraction = ((last - first) * self.width + on(ended) - on(begun)) / dt
        inside = (first == last) & (begun > 0) & (ended < self.width)
        return Constant(jnp.where(self.count > 0, self.amplitude * jnp.where(inside, 1.0, fraction), 0.0))

    def check(self) -> None:
        _refuse_unless(lambda x: x == np.floor(x), "`Pulses.count` must be a whole number", self.count)
        message = "`Pulses.width` must be at most the `period` (ms)"
        _refuse_unless(np.less_equal, message, self.width, self.period)

    def edges(self, t0: float, t1: float) -> Array:
        start, width, period = jnp.broadcast_arrays(*map(jnp.ravel, (self.start, self.width, self.period)))
        last = np.max(np.ceil((t1 - np.asarray(start)) / np.asarray(period)))
        last = int(max(min(last, np.max(np.asarray(self.count))), 0))
        onsets = start[None] + jnp.multiply.outer(jnp.arange(last).astype(period.dtype), period)
        return jnp.concatenate([jnp.ravel(onsets), jnp.ravel(onsets + width[None])])

    def longest_step(self, dt: float) -> Array | float:
        return np.inf


class Ramp(Stimulus):
    """Zero before `start`, then rising linearly to `amplitude` at `stop`, held after.

    **Fields:** `amplitude`: µA/cm²; `start`, `stop`: ms; each a scalar or shape (n,).
    """

    has_shape_of_parameters: ClassVar[bool] = True

    amplitude: Parameter = param(unit="µA/cm²")
    start: Parameter = param(unit="ms", finite=True)
    stop: Parameter = param(unit="ms", finite=True)

    def __call__(self, t: ArrayLike) -> Array:
        rise = (t - self.start) / (self.stop - self.start)
        return self.amplitude * jnp.clip(rise, 0.0, 1.0)

    def within(self, t: Array, dt: Array, end: Array, row: Any = None) -> Stimulus:
        # Each from numbers near t, of which the difference is exact.
        waiting = jnp.clip(self.start - t, 0.0, dt)
        held = jnp.clip(dt - (self.stop - t), 0.0, dt)
        rising = dt - waiting - held
        height = (t - self.start + waiting + rising / 2) / (self.stop - self.start)
        mean = self.amplitude * (rising * height + held) / dt
        return _Line(mean, (self(t + dt) - self(t)) / dt, t + dt / 2)

    def check(self) -> None:
        _refuse_unless(np.less, "`Ramp.stop` must come after `start` (ms)", self.start, self.stop)

    def edges(self, t0: float, t1: float) -> Array:
        return jnp.concatenate([jnp.ravel(self.start), jnp.ravel(self.stop)])

    def longest_step(self, dt: float) -> Array | float:
        return np.inf


class Sine(Stimulus):
    """offset + amplitude·sin(2π·frequency·t + phase).

    **Fields:** `amplitude`, `offset`: µA/cm²; `frequency`: Hz; `phase`: radians; each a
    scalar or shape (n,).
    """

    has_shape_of_parameters: ClassVar[bool] = True

    amplitude: Parameter = param(unit="µA/cm²")
    frequency: Parameter = param(unit="Hz", minimum=0.0)
    phase: Parameter = param(0.0, finite=True)
    offset: Parameter = param(0.0, unit="µA/cm²")

    def __call__(self, t: ArrayLike) -> Array:
        cycles = self.frequency * t / 1000
        cycles = cycles - jax.lax.stop_gradient(jnp.floor(cycles))  # float32 keeps its digits
        return self.offset + self.amplitude * jnp.sin(2 * np.pi * cycles + self.phase)

    def longest_step(self, dt: float) -> Array | float:
        return jnp.min(250 / self.frequency)  # a quarter of a period
