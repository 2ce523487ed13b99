"""The kernel of a run's derivative along a direction."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from .._jaxprs import split
from ._launch import (
    at_row,
    clear,
    conform,
    launch,
    loop,
    NUMBER,
    read_all,
    reader,
    write_all,
    write_records,
)
from ._program import Program
from ._unroll import Unrolled


class Moving(NamedTuple):
    """Which of a program's inputs, carry and rows have derivatives."""

    inputs: tuple[int, ...]
    carry: tuple[int, ...]
    rows: tuple[int, ...]


def pick(xs: Sequence[Any], which: Sequence[int]) -> list[Any]:
    return [xs[k] for k in which]


def _put(xs: Sequence[Any], which: Sequence[int], new: Sequence[Any]) -> list[Any]:
    xs = list(xs)
    for k, x in zip(which, new):
        xs[k] = x
    return xs


class Moved:
    """A step and what it saves as functions of what moves, in arrays for one lane.

    **Fields:** `saved`, `logs`: which of the saved arrays and of the records move.
    """

    def __init__(self, program: Program, moving: Moving):
        self.program, self.moving = program, moving
        count = len(program.rows) - program.logs
        self.saved = [k for k in moving.rows if k < count]
        self.logs = [k - count for k in moving.rows if k >= count]
        self.inputs, self.carry = program.avals
        self.d_inputs = pick(self.inputs, moving.inputs)
        self.d_carry = pick(self.carry, moving.carry)
        self.log_kinds = [program.rows[count + k] for k in self.logs]
        i = jax.ShapeDtypeStruct((), jnp.int32)
        self.at = i, self.inputs, self.carry
        self.saved_avals = pick(jax.eval_shape(program.observe, *self.at), self.saved)
        records = jax.eval_shape(program.advance, *self.at)[1] if self.logs else []
        self.record_avals = pick(records, self.logs)

    def step(self, i: Array, inputs: list, carry: list) -> tuple[Callable, list, list]:
        """A step as a function of moving inputs and carry, and these."""
        moving = self.moving

        def of_moving(some: list, moved: list) -> tuple[Any, Any]:
            now, before = _put(inputs, moving.inputs, some), _put(carry, moving.carry, moved)
            after, records, told = self.program.advance(i, now, before)
            return (pick(after, moving.carry), pick(records, self.logs)), (after, told)

        return of_moving, pick(inputs, moving.inputs), pick(carry, moving.carry)

    def row(self, i: Array, inputs: list, carry: list) -> tuple[Callable, list, list]:
        """What is saved, likewise."""
        moving = self.moving

        def of_moving(some: list, moved: list) -> list:
            now, before = _put(inputs, moving.inputs, some), _put(carry, moving.carry, moved)
            return pick(self.program.observe(i, now, before), self.saved)

        return of_moving, pick(inputs, moving.inputs), pick(carry, moving.carry)

    def unroll(self, fn: Callable, *more: Any) -> Unrolled:
        return Unrolled(
            fn, (*self.at, *more), "a derivative of a step of this model and solver", strict=False
        )


def tangent_kernel(program: Program, moving: Moving, args: Sequence[Any], interpret: bool) -> list[Array]:
    """The change of the moving carry and rows with a change of the moving inputs and carry.

    **Arguments:** `args`: the inputs, what `run_kernel` kept, and the changes of both.
    """
    moved = Moved(program, moving)

    def change(i: Array, inputs: list, carry: list, d_inputs: list, d_carry: list) -> Any:
        fn, *at = moved.step(i, inputs, carry)
        _, (d_after, d_records), (after, told) = jax.jvp(fn, at, [d_inputs, d_carry], has_aux=True)
        return after, d_after, d_records, pick(told, moved.logs)

    def row_change(i: Array, inputs: list, carry: list, d_inputs: list, d_carry: list) -> Any:
        fn, *at = moved.row(i, inputs, carry)
        return jax.jvp(fn, at, [d_inputs, d_carry])[1]

    step = moved.unroll(change, moved.d_inputs, moved.d_carry)
    row = moved.unroll(row_change, moved.d_inputs, moved.d_carry)
    done = NUMBER(program.plan.done)
    input_kinds, carry_kinds = pick(program.inputs, moving.inputs), pick(program.carry, moving.carry)
    counts = len(program.inputs), len(program.carry), len(input_kinds), len(carry_kinds)

    def kernel(*refs: Any) -> None:
        inputs, kept, d_inputs, d_start, d_end, d_rows, d_logs = split(
            refs, *counts, len(carry_kinds), len(moved.saved)
        )
        now_at, change_at = reader(program.inputs, inputs), reader(input_kinds, d_inputs)
        for ref, kind in zip(d_logs, moved.log_kinds):
            clear(ref, kind)

        def body(k: Array, carries: Any) -> Any:
            carry, d_carry = carries
            now, d_now = now_at(done + k), change_at(done + k)
            after, d_after, d_records, told = program.call(step, done + k, now, carry, d_now, d_carry)
            for ref, kind, record, where in zip(d_logs, moved.log_kinds, d_records, told):
                write_records(ref, kind, where, record)
            after, d_after = conform(after, program.carry), conform(d_after, carry_kinds)

            def save(number: Array) -> None:
                changes = program.call(row, done + k + 1, now, after, d_now, d_after)
                write_all(d_rows, pick(program.rows, moved.saved), changes, number)

            if d_rows:
                at_row(program, k + 1, save)
            return after, d_after

        start = read_all(kept, program.carry, NUMBER(0)), read_all(d_start, carry_kinds)
        _, d_carry = loop(NUMBER(program.plan.steps), body, start)
        write_all(d_end, carry_kinds, d_carry)

    kinds = [*program.inputs, *program.kept, *input_kinds, *carry_kinds]
    out = [(program.carry[k], program.dtypes[1][k]) for k in moving.carry]
    out += [(program.rows[k], program.dtypes[2][k]) for k in moving.rows]
    return launch(kernel, program.n, list(zip(kinds, args)), out, interpret)
