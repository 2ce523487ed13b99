"""A run: the network, what is done to it, the grid, and which states are kept."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .._base.arguments import as_host, check_function
from .._base.parameters import is_concrete, shown
from .._model.network import Network
from .._model.neuron import State
from ..steppers._base import AbstractStepper
from ..stimuli._base import Stimulus
from .reducers import map_reducers


def count_steps(t0: float, t1: float, dt: float) -> tuple[int, float]:
    """The number of steps and the length (ms) of the last one, which ends at t1 exactly."""
    steps = max(round((t1 - t0) / dt), 1)
    if abs(t0 + steps * dt - t1) <= min(1e-6 * steps, 1e-3) * dt:
        return steps, dt
    steps = math.ceil((t1 - t0) / dt)
    return steps, t1 - (t0 + (steps - 1) * dt)


@dataclasses.dataclass(frozen=True)
class Plan:
    """Which states of a run of `steps` steps are saved.

    Rows are made for the initial state (if `initial`), every `stride`-th step and the last step
    (if `last`); of these the rows in `keep` are returned, all for `None`.
    """

    steps: int
    stride: int
    initial: bool
    last: bool
    keep: tuple[int, ...] | None = None

    def arrange(self, row: Callable[[Any], Any], start: Any, ys: Any, end: Any) -> Any:
        """All that is returned, from the rows `ys` made at every `stride`-th step.

        **Arguments:** `row`: what is saved of a carry; `start`, `end`: the first and the last.
        """
        one = lambda carry: [jax.tree.map(lambda x: x[None], row(carry))]
        parts = [*(one(start) if self.initial else []), ys, *(one(end) if self.last else [])]
        ys = jax.tree.map(lambda *xs: jnp.concatenate(xs), *parts)
        return ys if self.keep is None else jax.tree.map(lambda x: x[np.array(self.keep)], ys)


def make_plan(saveat: Any, t0: float, t1: float, dt: float, steps: int) -> tuple[Plan, np.ndarray]:
    """The plan for a `diffrax.SaveAt`, and the numbers of the steps that it saves.

    **Raises:** `TypeError` and `ValueError` for what a run on a grid cannot save.
    """
    if not isinstance(saveat, diffrax.SaveAt):
        raise TypeError(f"`saveat` must be a diffrax.SaveAt, got {shown(saveat)}.")
    check_function("saveat.fn", getattr(saveat.subs, "fn", len), "t, y and args")
    sub = saveat.subs
    unsupported = [
        k for k in ("dense", "solver_state", "controller_state", "made_jump") if getattr(saveat, k)
    ]
    if not unsupported and not jax.tree.leaves(sub, is_leaf=lambda x: isinstance(x, diffrax.SubSaveAt)):
        raise ValueError(
            f"`saveat` must save something: give it any of t0, t1, ts and steps, got {saveat!r}."
        )
    if unsupported or not isinstance(sub, diffrax.SubSaveAt):
        what = ", ".join(unsupported) or "several `subs`"
        raise ValueError(
            f"`saveat` with {what} is not supported: use diffrax.SaveAt(t0=, t1=, ts=, steps=, fn=)."
        )
    whole = isinstance(sub.steps, (int, np.integer)) and sub.steps >= 0
    alone = not sub.t0 and not sub.t1 and sub.ts is None
    if not whole or (alone and sub.steps > steps):
        raise ValueError(
            f"`saveat.steps` must be True, or a whole number from 1 to the {steps} steps of the run, "
            f"got {sub.steps!r}."
        )
    wanted = np.zeros(steps + 1, bool)
    wanted[0], wanted[steps] = sub.t0, sub.t1
    if sub.steps:
        wanted[sub.steps :: sub.steps] = True
    if sub.ts is not None:
        wanted[_on_grid(sub.ts, t0, t1, dt, steps)] = True

    (indices,) = np.nonzero(wanted)
    inner = indices[(indices > 0) & (indices < steps)]
    stride = int(np.gcd.reduce(inner)) if inner.size else steps
    initial, last = bool(wanted[0]), bool(wanted[steps]) and steps % stride != 0
    made = np.arange(stride, steps + 1, stride)
    made = np.concatenate([[0] * initial, made, [steps] * last]).astype(int)
    keep = None
    if made.size != indices.size:
        keep = tuple(np.searchsorted(made, indices).tolist())
    return Plan(steps, stride, initial, last, keep), indices


def _on_grid(ts: Any, t0: float, t1: float, dt: float, steps: int) -> np.ndarray:
    """The numbers of the steps that end at `ts` (ms)."""
    if not is_concrete(ts):
        raise TypeError("`saveat.ts` decides what is compiled: make the SaveAt outside the jitted function.")
    rounding = 4 * float(np.finfo(ts.dtype).eps) if np.issubdtype(ts.dtype, np.floating) else 0.0
    ts = as_host("saveat.ts", ts, "ms", axes="(times,)", increasing=True)
    indices = np.rint((ts - t0) / dt).astype(int)
    grid = t0 + indices * dt
    at_end = np.abs(ts - t1) <= np.abs(ts - grid)
    indices, grid = np.where(at_end, steps, indices), np.where(at_end, t1, grid)
    off = np.abs(grid - ts) > 1e-3 * dt + rounding * np.abs(ts)
    off |= (indices < 0) | (indices > steps)
    if off.any():
        nearest = np.clip(grid[off][0], t0, t1)
        raise ValueError(
            f"`saveat.ts` must lie on the grid t0 + i·dt of the run ({t0} to {t1} ms, dt = {dt} ms); "
            f"{ts[off][0]} does not, the nearest grid time is {nearest:g}."
        )
    return indices


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

    **Fields:** `plan`: how many of them are taken, and which are saved by `save`; `reduce`: the reducers, and
    what watches over them, see `watched`; the others as in [`hh.simulate`][].
    """

    network: Network
    stimulus: Stimulus
    stepper: AbstractStepper
    t0: Any
    t1: Any
    dt: Any
    last_dt: Any
    total: Any
    key: Array | None
    save: Any
    reduce: Any
    plan: Plan = eqx.field(static=True)
    unroll: int = eqx.field(static=True, default=1, repr=False)  # is no part of what a folder holds

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
            if isinstance(start, State):
                y0 = start
            else:  # and what arrives at this very time
                y0 = self.network.init(start)
                y0 = self.network.after_step(self.t0, self.t0, self.dt, y0, y0)
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
        finite = self.network.finite(final)
        finish = lambda reducer, carry: reducer.void(reducer.finish(carry), finite)
        return Result(ys, final, finite, map_reducers(finish, self.reduce, end.reduced), end)

    def _seen(self, i: Array, z: Any) -> tuple[Array, State, Any]:
        return self.time(i), self.stepper.output(self.network, z), (self.network, self.stimulus)


def steps_done(start: Any) -> Any:
    """How many steps came before a run that begins there."""
    return start.i if isinstance(start, RunState) else 0


def nbytes(tree: Any) -> int:
    """The size of all arrays, or of arrays of such shapes and types."""
    return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree))
