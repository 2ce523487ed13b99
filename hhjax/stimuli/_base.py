"""Injected currents, as modules: callables of time whose parameters are arrays.

A step of a solver sees a stimulus through `within`: there a jump or a kink is
replaced by what carries the same charge over the step, so that an edge between two grid
points, or a pulse shorter than a step, is never lost. Smooth stimuli are left as they
are, so that no solver loses order.
"""

import abc
from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from .._base.parameters import check_parameters, is_concrete, param, Parameter, put, run_dtype


class Stimulus(eqx.Module):
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

    def points(self, t: ArrayLike) -> list[tuple[Any, Array]]:
        """Currents (nA) into places of a cell at time `t` (ms): pairs of a place and a current."""
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

    has_shape_of_parameters: ClassVar[bool] = True

    def __call__(self, t: ArrayLike) -> Array:
        return self.amplitude


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
        for part in self.parts:
            part.check()

    def __call__(self, t: ArrayLike) -> Array:
        return sum((part(t) for part in self.parts[1:]), start=self.parts[0](t))

    def conductance(self) -> Array | float:
        return sum(part.conductance() for part in self.parts)

    @property
    def holds_V(self) -> bool:
        return any(part.holds_V for part in self.parts)

    def points(self, t: ArrayLike) -> list[tuple[Any, Array]]:
        return [point for part in self.parts for point in part.points(t)]

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

    @property
    def holds_V(self) -> bool:
        return self.stimulus.holds_V

    def points(self, t: ArrayLike) -> list[tuple[Any, Array]]:
        return [(place, self.factor * current) for place, current in self.stimulus.points(t)]

    def within(self, t: Array, dt: Array, end: Array, row: Any = None) -> Stimulus:
        return Scaled(self.stimulus.within(t, dt, end, row), self.factor)

    def table(self, edges: Array) -> Any:
        return self.stimulus.table(edges)

    def edges(self, t0: float, t1: float) -> Array:
        return self.stimulus.edges(t0, t1)


class PointCurrent(Stimulus):
    """A current into one place of a cell: `hh.PointCurrent(hh.Step(0.5, 5.0, 55.0), at="soma")`.

    **Fields:** `current`: a number or a stimulus, in nA in place of µA/cm²; `at`: the place, see
    `Network.index`.
    """

    current: Stimulus = eqx.field(converter=lambda x: as_stimulus(x))
    at: str | int = eqx.field(static=True)

    def check(self) -> None:
        self.current.check()

    def __call__(self, t: ArrayLike) -> Array:
        return jnp.zeros(())

    def points(self, t: ArrayLike) -> list[tuple[Any, Array]]:
        return [(self.at, self.current(t))]

    def within(self, t: Array, dt: Array, end: Array, row: Any = None) -> Stimulus:
        return put(self, current=self.current.within(t, dt, end, row))

    def table(self, edges: Array) -> Any:
        return self.current.table(edges)

    def edges(self, t0: float, t1: float) -> Array:
        return self.current.edges(t0, t1)


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
    parts = stimulus.parts if isinstance(stimulus, Sum) else (stimulus,)
    for part in parts:  # into a place of n cells goes one current for each of these
        check_parameters(part, "stimulus", None if isinstance(part, PointCurrent) else n)
    stimulus.check()
    if all(part.has_shape_of_parameters for part in parts):
        return  # which were checked
    out = eqx.filter_eval_shape(stimulus, jax.ShapeDtypeStruct((), run_dtype(stimulus)))
    if out.shape not in ((), (n,)):
        raise ValueError(
            f"`stimulus` must give a scalar or shape ({n},), one current per neuron, got shape {out.shape}."
        )
