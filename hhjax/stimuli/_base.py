"""Injected currents, as modules: callables of time whose parameters are arrays.

A step of a solver sees a stimulus through `within`: there a jump or a kink is
replaced by what carries the same charge over the step, so that an edge between two grid
points, or a pulse shorter than a step, is never lost. Smooth stimuli are left as they
are, so that no solver loses order.
"""

import abc
import functools
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from .._base.arguments import as_array, check_kind
from .._base.parameters import (
    as_float_array,
    check_parameters,
    Checked,
    is_concrete,
    param,
    Parameter,
    put,
    run_dtype,
    shown,
)
from .._base.renames import reads


@reads(on_grid="table(edges)")
class Stimulus(Checked):
    """An injected current in µA/cm² as a function of time, positive inward.

    Called with a time (ms) it returns a scalar, the same for all neurons, or shape (n,).
    Stimuli can be added: `hh.Step(5.0, 10.0, 60.0) + hh.Sine(1.0, 40.0)`.
    """

    has_shape_of_parameters: ClassVar[bool] = False
    """Whether the current is a scalar where all parameters are, else of their shape (n,)."""

    @abc.abstractmethod
    def __call__(self, t: ArrayLike) -> Array:
        """The current at time `t` (ms), in µA/cm²."""

    def conductance(self) -> Array | float:
        """What falls off the current as V rises, mS/cm²: the neuron gets I(t) − conductance·V."""
        return 0.0

    @property
    def holds_V(self) -> bool:
        """Whether V may follow this stimulus within a small part of a step."""
        return False

    def points(self, t: ArrayLike) -> list["Point"]:
        """What flows into places of a cell at time `t` (ms)."""
        return []

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
        """The times (ms) at which the current or its slope jumps, shape (k,), as far as they are known."""
        return jnp.zeros((0,))

    def longest_step(self, dt: float) -> Array | float:
        """How long (ms) an adaptive step may be that misses nothing between two `edges`.

        By default 2·dt, so that a change that lasts for dt is not missed. A stimulus that states all of
        its `edges` and is slow between them may allow more.
        """
        return 2 * dt

    def check(self) -> None:
        """Refuse parameters that make no sense together, as far as they can be read now."""

    def _check_made(self) -> None:
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

    has_shape_of_parameters: ClassVar[bool] = True

    def __call__(self, t: ArrayLike) -> Array:
        return self.amplitude

    def longest_step(self, dt: float) -> Array | float:
        return np.inf


class _Line(Stimulus):
    """A straight line in time: `mean` at `middle`, rising by `slope`."""

    mean: Array
    slope: Array
    middle: Array

    def __call__(self, t: ArrayLike) -> Array:
        return self.mean + self.slope * (t - self.middle)


class Sum(Stimulus):
    """The sum of several stimuli.

    **Fields:** `parts`: a tuple of stimuli.
    """

    parts: tuple[Stimulus, ...]

    def check(self) -> None:
        if not (isinstance(self.parts, tuple) and self.parts):
            raise TypeError(f"`Sum.parts` must be a tuple of stimuli, got {shown(self.parts)}.")
        for part in self.parts:
            check_kind("Sum.parts", part, Stimulus, "a tuple of stimuli")
            part.check()

    def __call__(self, t: ArrayLike) -> Array:
        return sum((part(t) for part in self.parts[1:]), start=self.parts[0](t))

    def conductance(self) -> Array | float:
        return sum(part.conductance() for part in self.parts)

    @property
    def holds_V(self) -> bool:
        return any(part.holds_V for part in self.parts)

    def points(self, t: ArrayLike) -> list["Point"]:
        return [point for part in self.parts for point in part.points(t)]

    def within(self, t: Array, dt: Array, end: Array, row: Any = None) -> Stimulus:
        rows = [None] * len(self.parts) if row is None else row
        return Sum(tuple(part.within(t, dt, end, own) for part, own in zip(self.parts, rows)))

    def table(self, edges: Array) -> Any:
        return tuple(part.table(edges) for part in self.parts)

    def edges(self, t0: float, t1: float) -> Array:
        return jnp.concatenate([part.edges(t0, t1) for part in self.parts])

    def longest_step(self, dt: float) -> Array | float:
        return functools.reduce(jnp.minimum, [part.longest_step(dt) for part in self.parts])


class Scaled(Stimulus):
    """A stimulus times a number: `0.5 * hh.Step(5.0)`.

    **Fields:** `stimulus`; `factor`: scalar or shape (n,).
    """

    stimulus: Stimulus
    factor: Parameter = param(finite=True)

    def check(self) -> None:
        check_kind("Scaled.stimulus", self.stimulus, Stimulus, "a stimulus such as hh.Step(5.0)")
        self.stimulus.check()

    def __call__(self, t: ArrayLike) -> Array:
        return self.factor * self.stimulus(t)

    def conductance(self) -> Array | float:
        return self.factor * self.stimulus.conductance()

    @property
    def holds_V(self) -> bool:
        return self.stimulus.holds_V

    def points(self, t: ArrayLike) -> list["Point"]:
        return [Point(at, self.factor * I, self.factor * g) for at, I, g in self.stimulus.points(t)]

    def within(self, t: Array, dt: Array, end: Array, row: Any = None) -> Stimulus:
        return Scaled(self.stimulus.within(t, dt, end, row), self.factor)

    def table(self, edges: Array) -> Any:
        return self.stimulus.table(edges)

    def edges(self, t0: float, t1: float) -> Array:
        return self.stimulus.edges(t0, t1)

    def longest_step(self, dt: float) -> Array | float:
        return self.stimulus.longest_step(dt)


class Point(NamedTuple):
    """The inward current − conductance·V at a place, in nA and µS."""

    at: Any
    current: Array
    conductance: Array


class PointCurrent(Stimulus):
    """A current into one place of a cell: `hh.PointCurrent(hh.Step(0.5, 5.0, 55.0), at="soma")`.

    **Fields:** `current`: a number or a stimulus, in nA in place of µA/cm² (an [`hh.Clamp`][] has its
    conductance in µS); `at`: the place, see `Network.index`. One value for each cell there, or one for all.
    """

    current: Stimulus = eqx.field(converter=lambda x: as_stimulus(x, "PointCurrent.current", "nA"))
    at: str | int = eqx.field(static=True)

    def check(self) -> None:
        check_kind("at", self.at, (str, int), "a place such as 'dend(0.5)', or a compartment's number")
        self.current.check()

    def __call__(self, t: ArrayLike) -> Array:
        return jnp.zeros(())

    @property
    def holds_V(self) -> bool:
        return self.current.holds_V

    def points(self, t: ArrayLike) -> list["Point"]:
        return [Point(self.at, self.current(t), jnp.asarray(self.current.conductance()))]

    def within(self, t: Array, dt: Array, end: Array, row: Any = None) -> Stimulus:
        return put(self, current=self.current.within(t, dt, end, row))

    def table(self, edges: Array) -> Any:
        return self.current.table(edges)

    def edges(self, t0: float, t1: float) -> Array:
        return self.current.edges(t0, t1)

    def longest_step(self, dt: float) -> Array | float:
        return self.current.longest_step(dt)


class _Function(Stimulus):
    """Any callable of t. An `equinox.Module` is traced, a plain function is static."""

    fn: Callable

    def __call__(self, t: ArrayLike) -> Array:
        return as_array("stimulus", self.fn(t), "µA/cm²", jnp.result_type(t))


def as_stimulus(stimulus: Any, name: str = "stimulus", unit: str = "µA/cm²") -> Stimulus:
    """A number, an (n,) array, a `Stimulus` or a callable of t (ms), as a `Stimulus`."""
    if isinstance(stimulus, Stimulus):
        return stimulus
    if callable(stimulus) and not (isinstance(stimulus, type) and issubclass(stimulus, Stimulus)):
        return _Function(stimulus)
    try:
        stimulus = as_float_array(stimulus)
    except TypeError:
        raise TypeError(
            f"`{name}` must be a number or (n,) array in {unit}, a stimulus such as hh.Step(5.0), "
            f"or a callable of t (ms), got {shown(stimulus)}."
        ) from None
    amplitude = as_array(f"{name}.amplitude", stimulus, unit, missing=True, warn=True)
    return put(Constant(0.0), amplitude=amplitude)  # NaN is refused by `check_stimulus`


def check_stimulus(stimulus: Stimulus, n: int) -> None:
    """Refuse NaN, and currents that are neither a scalar nor of shape (n,)."""
    parts = stimulus.parts if isinstance(stimulus, Sum) else (stimulus,)
    for part in parts:  # into a place of n cells goes one current for each of these
        check_parameters(part, "stimulus", None if isinstance(part, PointCurrent) else n)
    stimulus.check()
    if all(part.has_shape_of_parameters for part in parts):
        return  # which were checked
    try:
        out = eqx.filter_eval_shape(stimulus, jax.ShapeDtypeStruct((), run_dtype(stimulus)))
    except TypeError as error:
        raise TypeError(
            f"`stimulus` must be callable with a time and return a number in µA/cm², got {shown(stimulus)}, "
            f"which raises: {error}"
        ) from error
    if out.shape not in ((), (n,)):
        raise ValueError(
            f"`stimulus` must give a scalar or shape ({n},), one current per neuron, got shape {out.shape}."
        )
