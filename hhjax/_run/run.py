"""A run: the network, what is done to it, the grid, and what is kept of it."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .._model.network import Network
from .._model.neuron import State
from ..steppers._base import AbstractStepper
from ..stimuli._base import Stimulus
from .grid import Plan
from .reducers import map_reducers


class RunState(eqx.Module):
    """Where a run is.

    **Fields:** `i`: how many steps were taken; `z`: the stepper's state; `reduced`: what the reducers
    carry, `None` for them to begin anew.
    """

    i: Any
    z: Any
    reduced: Any = None


class Result(eqx.Module):
    """What was saved, the final state, which neurons are finite, the results of the reducers, and
    where the run ended."""

    ys: Any
    final: State
    finite: Array
    reduced: Any
    end: RunState


class Run(eqx.Module):
    """Steps on the grid t0 + i·dt, of which the last, number `total`, ends at t1.

    **Fields:** `plan`: how many of them are taken, and which are saved by `save`; the others as in
    [`hh.simulate`][].
    """

    network: Network
    stimulus: Stimulus
    stepper: AbstractStepper
    t0: Array | np.ndarray
    t1: Array | np.ndarray
    dt: Array | np.ndarray
    last_dt: Array | np.ndarray
    total: Any
    key: Array | None
    save: Any
    reduce: Any
    plan: Plan = eqx.field(static=True)

    def time(self, i: Array) -> Array:
        """The time (ms) after `i` steps, without the rounding errors of a sum."""
        early = (i == self.total) & (self.last_dt != self.dt)
        return jnp.where(early, self.t1, self.t0 + i.astype(self.dt.dtype) * self.dt)

    def table(self, first: Array, steps: int) -> Any:
        """The stimulus's table for `steps` steps, after the `first` ones."""
        return self.stimulus.table(self.time(first + jnp.arange(steps + 1, dtype=jnp.int32)))

    def begin(self, start: Any, row: Any) -> RunState:
        """Where the run begins: at a state of the network, at rest for V (mV), or where another stopped.

        `row` is the first of the stimulus's table.
        """
        if not isinstance(start, RunState):
            y0 = start if isinstance(start, State) else self.network.init(start)
            seen = self.stimulus.within(self.t0, self.dt, self.t0 + self.dt, row)
            start = RunState(jnp.int32(0), self.stepper.init(self.network, self.t0, self.dt, y0, seen))
        i, reduced = jnp.asarray(start.i, jnp.int32), start.reduced
        if reduced is None:
            begin = lambda reducer: reducer.init(*self._seen(i, start.z))
            reduced = map_reducers(begin, self.reduce)
        return RunState(i, start.z, reduced)

    def step(self, state: RunState, key: Array | None, row: Any) -> RunState:
        """One step of the solver, then of the reducers."""
        i, t, end = state.i, self.time(state.i), self.time(state.i + 1)
        dt = jnp.where(i == self.total - 1, self.last_dt, self.dt)
        seen = self.stimulus.within(t, dt, end, row)
        z = self.stepper.advance(self.network, t, end, dt, state.z, seen, key)
        update = lambda reducer, carry: reducer.update(carry, *self._seen(i + 1, z))
        return RunState(i + 1, z, map_reducers(update, self.reduce, state.reduced))

    def row(self, state: RunState) -> Any:
        """What is saved of a state."""
        return self.save(*self._seen(state.i, state.z))

    def result(self, ys: Any, end: RunState) -> Result:
        """The result of a run that ended there, of which `ys` was saved."""
        final = self.stepper.output(self.network, end.z)
        reduced = map_reducers(lambda reducer, carry: reducer.finish(carry), self.reduce, end.reduced)
        return Result(ys, final, self.network.finite(final), reduced, end)

    def _seen(self, i: Array, z: Any) -> tuple[Array, State, Any]:
        return self.time(i), self.stepper.output(self.network, z), (self.network, self.stimulus)


def steps_done(start: Any) -> Any:
    """How many steps came before a run that begins there."""
    return start.i if isinstance(start, RunState) else 0


def nbytes(tree: Any) -> int:
    """The size of all arrays, or of arrays of such shapes and types."""
    return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree))
