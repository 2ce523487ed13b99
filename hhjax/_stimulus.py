"""Injected currents, as modules: callables of time whose parameters are arrays.

A step of a solver sees a stimulus through `within`: there a jump or a kink is
replaced by what carries the same charge over the step, so that an edge between two grid
points, or a pulse shorter than a step, is never lost. Smooth stimuli are left as they
are, so that no solver loses order.
"""

import abc
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from ._parameters import as_float_array, check_parameters, is_concrete, param, Parameter, run_dtype


class Stimulus(eqx.Module):
    """An injected current in µA/cm² as a function of time, positive inward.

    Called with a time (ms) it returns a scalar, the same for all neurons, or shape (n,).
    Stimuli can be added: `hh.Step(5.0, 10.0, 60.0) + hh.Sine(1.0, 40.0)`.
    """

    @abc.abstractmethod
    def __call__(self, t: ArrayLike) -> Array:
        """The current at time `t` (ms), in µA/cm²."""

    def conductance(self) -> Array | float:
        """What falls off the current as V rises, mS/cm²: the neuron gets I(t) − conductance·V."""
        return 0.0

    def table(self, edges: Float[Array, " edges"]) -> Any:
        """What is worked out once for all steps of a run: arrays with one row for each step.

        `edges` are the times (ms) between the steps. `None` where there is nothing of the kind.
        """
        return None

    def within(self, t: Array, dt: Array, end: Array, row: Any = None) -> "Stimulus":
        """This stimulus as a step of `dt` from `t` to `end` (ms) sees it, charge unchanged.

        `end` is t + dt, rounded as the next step's `t` is, so that an edge on the grid
        belongs to both neighbouring steps in the same way. `row` is the step's row of the `table`.
        """
        return self

    def edges(self, t0: float, t1: float) -> Array:
        """The times (ms) at which the current or its slope jumps, shape (k,)."""
        return jnp.zeros((0,))

    def check(self) -> None:
        """Refuse parameters that make no sense together, as far as they can be read now."""

    def __check_init__(self) -> None:
        self.check()

    def __add__(self, other: Any) -> "Stimulus":
        parts = ()
        for stimulus in (self, as_stimulus(other)):
            parts += stimulus.parts if isinstance(stimulus, Sum) else (stimulus,)
        return Sum(parts)

    __radd__ = __add__

    def __mul__(self, factor: Any) -> "Stimulus":
        return Scaled(self, factor)

    __rmul__ = __mul__


def _refuse_unless(holds: Callable[..., Any], message: str, *values: Array) -> None:
    if all(is_concrete(x) for x in values) and not np.all(holds(*map(np.asarray, values))):
        raise ValueError(f"{message}, got {' and '.join(str(x) for x in values)}.")


class Constant(Stimulus):
    """A constant current.

    **Fields:** `amplitude`: µA/cm², scalar or shape (n,).
    """

    amplitude: Parameter = param(unit="µA/cm²")

    def __call__(self, t: ArrayLike) -> Array:
        return self.amplitude


class Step(Stimulus):
    """`amplitude` from `start` up to `stop`, zero outside.

    **Fields:** `amplitude`: µA/cm²; `start`, `stop`: ms; each a scalar or shape (n,).
    """

    amplitude: Parameter = param(unit="µA/cm²")
    start: Parameter = param(0.0, unit="ms")
    stop: Parameter = param(np.inf, unit="ms")

    def __call__(self, t: ArrayLike) -> Array:
        return jnp.where((t >= self.start) & (t < self.stop), self.amplitude, 0.0)

    def within(self, t: Array, dt: Array, end: Array, row: Any = None) -> Stimulus:
        on_until = lambda x: jnp.clip(x - self.start, 0.0, self.stop - self.start)
        fraction = (on_until(end) - on_until(t)) / dt
        # Away from the edges exactly 1, whatever the rounding of t late in a run.
        fraction = jnp.where((t > self.start) & (end < self.stop), 1.0, fraction)
        return Constant(self.amplitude * fraction)

    def check(self) -> None:
        _refuse_unless(np.less_equal, "`Step.stop` must not come before `start` (ms)", self.start, self.stop)

    def edges(self, t0: float, t1: float) -> Array:
        return jnp.concatenate([jnp.ravel(self.start), jnp.ravel(self.stop)])


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

    amplitude: Parameter = param(unit="µA/cm²")
    start: Parameter = param(unit="ms")
    width: Parameter = param(unit="ms", minimum=0.0)
    period: Parameter = param(unit="ms", positive=True)
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
        message = "`Pulses.width` must be at most the `period` (ms)"
        _refuse_unless(np.less_equal, message, self.width, self.period)

    def edges(self, t0: float, t1: float) -> Array:
        start, width, period = jnp.broadcast_arrays(*map(jnp.ravel, (self.start, self.width, self.period)))
        last = np.max(np.ceil((t1 - np.asarray(start)) / np.asarray(period)))
        last = int(max(min(last, np.max(np.asarray(self.count))), 0))
        onsets = start[None] + jnp.multiply.outer(jnp.arange(last).astype(period.dtype), period)
        return jnp.concatenate([jnp.ravel(onsets), jnp.ravel(onsets + width[None])])


class _Line(Stimulus):
    """A straight line in time: `mean` at `middle`, rising by `slope`."""

    mean: Array
    slope: Array
    middle: Array

    def __call__(self, t: ArrayLike) -> Array:
        return self.mean + self.slope * (t - self.middle)


class Ramp(Stimulus):
    """Zero before `start`, then rising linearly to `amplitude` at `stop`, held after.

    **Fields:** `amplitude`: µA/cm²; `start`, `stop`: ms; each a scalar or shape (n,).
    """

    amplitude: Parameter = param(unit="µA/cm²")
    start: Parameter = param(unit="ms")
    stop: Parameter = param(unit="ms")

    def __call__(self, t: ArrayLike) -> Array:
        rise = (t - self.start) / (self.stop - self.start)
        return self.amplitude * jnp.clip(rise, 0.0, 1.0)

    def within(self, t: Array, dt: Array, end: Array, row: Any = None) -> Stimulus:
        duration = self.stop - self.start

        def area(x: Array) -> Array:  # under the ramp from start up to start + x
            rising = jnp.clip(x, 0.0, duration)
            return rising**2 / (2 * duration) + jnp.maximum(x - duration, 0.0)

        since = t - self.start
        whole = (since >= 0) & (since + dt <= duration)
        middle = self(t + dt / 2)
        mean = jnp.where(
            whole | (since >= duration), middle, self.amplitude * (area(since + dt) - area(since)) / dt
        )
        return _Line(mean, (self(t + dt) - self(t)) / dt, t + dt / 2)

    def check(self) -> None:
        _refuse_unless(np.less, "`Ramp.stop` must come after `start` (ms)", self.start, self.stop)

    def edges(self, t0: float, t1: float) -> Array:
        return jnp.concatenate([jnp.ravel(self.start), jnp.ravel(self.stop)])


class Sine(Stimulus):
    """offset + amplitude·sin(2π·frequency·t + phase).

    **Fields:** `amplitude`, `offset`: µA/cm²; `frequency`: Hz; `phase`: radians; each a
    scalar or shape (n,).
    """

    amplitude: Parameter = param(unit="µA/cm²")
    frequency: Parameter = param(unit="Hz", minimum=0.0)
    phase: Parameter = param(0.0)
    offset: Parameter = param(0.0, unit="µA/cm²")

    def __call__(self, t: ArrayLike) -> Array:
        cycles = self.frequency * t / 1000
        cycles = cycles - jax.lax.stop_gradient(jnp.floor(cycles))  # float32 keeps its digits
        return self.offset + self.amplitude * jnp.sin(2 * np.pi * cycles + self.phase)


def _between(x: Any, low: Any, high: Any) -> Array:
    """`jnp.clip`, with the derivative 1 at both ends."""
    x = jnp.where(x < low, low, x)
    return jnp.where(x > high, high, x)


class Sampled(Stimulus):
    """A recorded current, linear between samples and held at its ends.

    `simulate` integrates it exactly over every step, so that it may be sampled more
    finely than dt; under `diffrax.diffeqsolve` it is read at single times.

    **Fields:**

    - `ts`: times, ms, shape (samples,), increasing.
    - `values`: µA/cm², shape (samples,) or (samples, n).
    """

    ts: Float[Array, " samples"] = eqx.field(converter=as_float_array)
    values: Float[Array, "samples ..."] = eqx.field(converter=as_float_array)

    def check(self) -> None:
        if self.ts.ndim != 1 or self.ts.shape[0] < 2:
            raise ValueError(f"`Sampled.ts` must have shape (samples,) with at least 2, got {self.ts.shape}.")
        if self.values.ndim not in (1, 2) or self.values.shape[0] != self.ts.shape[0]:
            raise ValueError(
                f"`Sampled.values` must have shape ({self.ts.shape[0]},) or ({self.ts.shape[0]}, n) "
                f"to match `ts`, got {self.values.shape}."
            )
        if is_concrete(self.ts) and not (np.diff(np.asarray(self.ts)) > 0).all():
            raise ValueError("`Sampled.ts` must increase from sample to sample.")

    def __call__(self, t: ArrayLike) -> Array:
        last = self.ts.shape[0] - 2
        i = jnp.clip(jnp.searchsorted(self.ts, t, side="right") - 1, 0, last)
        u = _between((t - self.ts[i]) / (self.ts[i + 1] - self.ts[i]), 0.0, 1.0)
        u = jnp.reshape(u, jnp.shape(t) + (1,) * (self.values.ndim - 1))
        return self.values[i] * (1 - u) + self.values[i + 1] * u

    def table(self, edges: Array) -> tuple[Array, Array]:
        # Trapezium rule on the union of samples and step edges, where it is exact.
        # Of a sample on an edge the derivative is that of one just before it, whose interval counts to the
        # step before: hence the order of what is sorted, and steps by numbers of edges, not by times.
        ts = jnp.concatenate([_between(self.ts, edges[0], edges[-1]), edges])
        order = jnp.argsort(ts)
        ts, step = ts[order], jnp.cumsum(order >= self.ts.shape[0])
        values = self(ts)
        per_time = lambda x: x.reshape((-1,) + (1,) * (values.ndim - 1))
        areas = per_time(jnp.diff(ts)) * (values[1:] + values[:-1]) / 2
        total = lambda x: jax.ops.segment_sum(x, step[:-1], edges.shape[0])[1:]  # 0: before the first edge
        means = total(areas) / per_time(total(jnp.diff(ts)))
        return means, jnp.diff(self(edges), axis=0) / per_time(jnp.diff(edges))

    def within(self, t: Array, dt: Array, end: Array, row: Any = None) -> Stimulus:
        return self if row is None else _Line(*row, t + dt / 2)

    def edges(self, t0: float, t1: float) -> Array:
        return self.ts


class Tabulated(Stimulus):
    """A `Sampled` current on the grid of a run, of which the table is made already.

    **Fields:** `means`, `slopes`: in every step, µA/cm² and µA/cm²/ms, shape (steps,) or (steps, n);
    `dt`: the length of a step, ms, the first of which begins at 0.
    """

    means: Array
    slopes: Array
    dt: float = eqx.field(static=True)

    def table(self, edges: Array) -> tuple[Array, Array]:
        return self.means, self.slopes

    def within(self, t: Array, dt: Array, end: Array, row: Any = None) -> Stimulus:
        return self if row is None else _Line(*row, t + dt / 2)

    def __call__(self, t: ArrayLike) -> Array:
        i = jnp.clip(jnp.floor(jnp.asarray(t) / self.dt).astype(jnp.int32), 0, self.means.shape[0] - 1)
        return self.means[i] + self.slopes[i] * (t - (i + 0.5) * self.dt)


class Clamp(Stimulus):
    """An electrode that draws V towards a command: I = g·(command(t) − V).

    A voltage clamp whose series resistance is 1/g, or, with a small g, a nudge.

    **Fields:**

    - `command`: the command potential, mV, a number or a stimulus in mV, such as
        `hh.Sampled(ts, V)`.
    - `g`: mS/cm², scalar or shape (n,).
    """

    command: Stimulus = eqx.field(converter=lambda command: as_stimulus(command))
    g: Parameter = param(unit="mS/cm²", minimum=0.0)

    def check(self) -> None:
        self.command.check()

    def __call__(self, t: ArrayLike) -> Array:
        return self.g * self.command(t)

    def conductance(self) -> Array:
        return self.g

    def within(self, t: Array, dt: Array, end: Array, row: Any = None) -> Stimulus:
        return Clamp(self.command.within(t, dt, end, row), self.g)

    def table(self, edges: Array) -> Any:
        return self.command.table(edges)

    def edges(self, t0: float, t1: float) -> Array:
        return self.command.edges(t0, t1)


class Sum(Stimulus):
    """The sum of several stimuli.

    **Fields:** `parts`: a tuple of stimuli.
    """

    parts: tuple[Stimulus, ...]

    def check(self) -> None:
        for part in self.parts:
            part.check()

    def __call__(self, t: ArrayLike) -> Array:
        return sum((part(t) for part in self.parts[1:]), start=self.parts[0](t))

    def conductance(self) -> Array | float:
        return sum(part.conductance() for part in self.parts)

    def within(self, t: Array, dt: Array, end: Array, row: Any = None) -> Stimulus:
        rows = [None] * len(self.parts) if row is None else row
        return Sum(tuple(part.within(t, dt, end, own) for part, own in zip(self.parts, rows)))

    def table(self, edges: Array) -> Any:
        return tuple(part.table(edges) for part in self.parts)

    def edges(self, t0: float, t1: float) -> Array:
        return jnp.concatenate([part.edges(t0, t1) for part in self.parts])


class Scaled(Stimulus):
    """A stimulus times a number: `0.5 * hh.Step(5.0)`.

    **Fields:** `stimulus`; `factor`: scalar or shape (n,).
    """

    stimulus: Stimulus
    factor: Parameter = param()

    def check(self) -> None:
        self.stimulus.check()

    def __call__(self, t: ArrayLike) -> Array:
        return self.factor * self.stimulus(t)

    def conductance(self) -> Array | float:
        return self.factor * self.stimulus.conductance()

    def within(self, t: Array, dt: Array, end: Array, row: Any = None) -> Stimulus:
        return Scaled(self.stimulus.within(t, dt, end, row), self.factor)

    def table(self, edges: Array) -> Any:
        return self.stimulus.table(edges)

    def edges(self, t0: float, t1: float) -> Array:
        return self.stimulus.edges(t0, t1)


class _Function(Stimulus):
    """Any callable of t. An `equinox.Module` is traced, a plain function is static."""

    fn: Callable

    def __call__(self, t: ArrayLike) -> Array:
        return jnp.asarray(self.fn(t), jnp.result_type(t))


def as_stimulus(stimulus: Any) -> Stimulus:
    """A number, an (n,) array, a `Stimulus` or a callable of t (ms), as a `Stimulus`."""
    if isinstance(stimulus, Stimulus):
        return stimulus
    if callable(stimulus):
        return _Function(stimulus)
    try:
        return Constant(stimulus)
    except (TypeError, ValueError) as error:
        raise TypeError(
            "`stimulus` must be a number or (n,) array in µA/cm², a stimulus such as hh.Step, "
            f"or a callable of t (ms), got {stimulus!r}."
        ) from error


def check_stimulus(stimulus: Stimulus, n: int) -> None:
    """Refuse NaN, and currents that are neither a scalar nor of shape (n,)."""
    check_parameters(stimulus, "stimulus", n)
    stimulus.check()
    parts = stimulus.parts if isinstance(stimulus, Sum) else (stimulus,)
    if all(type(part) in (Constant, Step, Pulses, Ramp, Sine) for part in parts):
        return  # their parameters were checked, and decide the shape
    out = eqx.filter_eval_shape(stimulus, jax.ShapeDtypeStruct((), run_dtype(stimulus)))
    if out.shape not in ((), (n,)):
        raise ValueError(
            f"`stimulus` must give a scalar or shape ({n},), one current per neuron, got shape {out.shape}."
        )
