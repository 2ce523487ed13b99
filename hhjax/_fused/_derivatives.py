"""The kernels of a run's derivative along a direction, and of the transpose of that."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from ._launch import (
    at_row,
    clear,
    conform,
    launch,
    loop,
    NUMBER,
    PerBlock,
    read_all,
    read_records,
    reader,
    split,
    wide,
    write,
    write_all,
    write_records,
)
from ._program import Kind, Program
from ._unroll import BLOCK, Unrolled


class Moving(NamedTuple):
    """Which of a program's inputs, carry and rows have derivatives."""

    inputs: tuple[int, ...]
    carry: tuple[int, ...]
    rows: tuple[int, ...]


def _pick(xs: Sequence[Any], which: Sequence[int]) -> list[Any]:
    return [xs[k] for k in which]


def _put(xs: Sequence[Any], which: Sequence[int], new: Sequence[Any]) -> list[Any]:
    xs = list(xs)
    for k, x in zip(which, new):
        xs[k] = x
    return xs


class _Moved:
    """A step and what it saves as functions of what moves, in arrays for one lane.

    **Fields:** `saved`, `logs`: which of the saved arrays and of the records move.
    """

    def __init__(self, program: Program, moving: Moving):
        self.program, self.moving = program, moving
        count = len(program.rows) - program.logs
        self.saved = [k for k in moving.rows if k < count]
        self.logs = [k - count for k in moving.rows if k >= count]
        self.inputs, self.carry = program.avals
        self.d_inputs = _pick(self.inputs, moving.inputs)
        self.d_carry = _pick(self.carry, moving.carry)
        self.log_kinds = [program.rows[count + k] for k in self.logs]
        i = jax.ShapeDtypeStruct((), jnp.int32)
        self.at = i, self.inputs, self.carry
        self.saved_avals = _pick(jax.eval_shape(program.observe, *self.at), self.saved)
        records = jax.eval_shape(program.advance, *self.at)[1] if self.logs else []
        self.record_avals = _pick(records, self.logs)

    def step(self, i: Array, inputs: list, carry: list) -> tuple[Callable, list, list]:
        """A step as a function of moving inputs and carry, and these."""
        moving = self.moving

        def of_moving(some: list, moved: list) -> tuple[Any, Any]:
            now, before = _put(inputs, moving.inputs, some), _put(carry, moving.carry, moved)
            after, records, told = self.program.advance(i, now, before)
            return (_pick(after, moving.carry), _pick(records, self.logs)), (after, told)

        return of_moving, _pick(inputs, moving.inputs), _pick(carry, moving.carry)

    def row(self, i: Array, inputs: list, carry: list) -> tuple[Callable, list, list]:
        """What is saved, likewise."""
        moving = self.moving

        def of_moving(some: list, moved: list) -> list:
            now, before = _put(inputs, moving.inputs, some), _put(carry, moving.carry, moved)
            return _pick(self.program.observe(i, now, before), self.saved)

        return of_moving, _pick(inputs, moving.inputs), _pick(carry, moving.carry)

    def unroll(self, fn: Callable, *more: Any) -> Unrolled:
        return Unrolled(
            fn, (*self.at, *more), "a derivative of a step of this model and solver", strict=False
        )


def tangent_kernel(program: Program, moving: Moving, args: Sequence[Any], interpret: bool) -> list[Array]:
    """The change of the moving carry and rows with a change of the moving inputs and carry.

    **Arguments:** `args`: the inputs, what `run_kernel` kept, and the changes of both.
    """
    moved = _Moved(program, moving)

    def change(i: Array, inputs: list, carry: list, d_inputs: list, d_carry: list) -> Any:
        fn, *at = moved.step(i, inputs, carry)
        _, (d_after, d_records), (after, told) = jax.jvp(fn, at, [d_inputs, d_carry], has_aux=True)
        return after, d_after, d_records, _pick(told, moved.logs)

    def row_change(i: Array, inputs: list, carry: list, d_inputs: list, d_carry: list) -> Any:
        fn, *at = moved.row(i, inputs, carry)
        return jax.jvp(fn, at, [d_inputs, d_carry])[1]

    step = moved.unroll(change, moved.d_inputs, moved.d_carry)
    row = moved.unroll(row_change, moved.d_inputs, moved.d_carry)
    done = NUMBER(program.plan.done)
    input_kinds, carry_kinds = _pick(program.inputs, moving.inputs), _pick(program.carry, moving.carry)
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
                write_all(d_rows, _pick(program.rows, moved.saved), changes, number)

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


def pullback_kernel(program: Program, moving: Moving, args: Sequence[Any], interpret: bool) -> list[Array]:
    """The transpose of `tangent_kernel`: what a change of inputs and start means to the result.

    From the last chunk to the first, each is run again from its kept carry and then gone
    through backwards.

    **Arguments:** `args`: the inputs, what `run_kernel` kept, and the cotangents of the moving
    carry and rows.
    """
    moved = _Moved(program, moving)

    def pull(i: Array, inputs: list, carry: list, ct_after: list, ct_records: list) -> Any:
        fn, *at = moved.step(i, inputs, carry)
        _, back, _ = jax.vjp(fn, *at, has_aux=True)
        return back((ct_after, ct_records))

    def pull_row(i: Array, inputs: list, carry: list, ct_rows: list) -> Any:
        fn, *at = moved.row(i, inputs, carry)
        return jax.vjp(fn, *at)[1](ct_rows)

    def tell(i: Array, inputs: list, carry: list) -> Any:
        return _pick(program.advance(i, inputs, carry)[2], moved.logs)

    back, back_row = (
        moved.unroll(pull, moved.d_carry, moved.record_avals),
        moved.unroll(pull_row, moved.saved_avals),
    )
    told_at = moved.unroll(tell)
    steps, done, chunk = (NUMBER(x) for x in (program.plan.steps, program.plan.done, program.chunk))
    stride, chunks = NUMBER(program.plan.stride), -(-program.plan.steps // program.chunk)
    kinds, carry_kinds = _pick(program.inputs, moving.inputs), _pick(program.carry, moving.carry)
    row_kinds = _pick(program.rows, moved.saved)
    summed = [k for k, kind in enumerate(kinds) if kind.rows is None]
    written = [k for k, kind in enumerate(kinds) if kind.rows is not None]
    counts = (len(program.inputs), len(program.carry), len(carry_kinds), len(row_kinds), len(moved.logs))
    of_lanes = lambda values: [[wide(x) for x in xs] for xs in values]
    added = lambda xs, ys: jax.tree.map(lambda x, y: x + y, xs, ys)

    def kernel(*refs: Any) -> None:
        inputs, kept, ct_end, ct_rows, ct_logs, ct_inputs, ct_start, room = split(
            refs, *counts, len(kinds), len(carry_kinds)
        )
        now_at = reader(program.inputs, inputs)

        def forward(first: Array) -> Callable:
            def body(m: Array, carry: list) -> list:
                write_all(room, program.carry, carry, m)
                i = done + first + m
                return conform(program.call(program.step, i, now_at(i), carry)[0], program.carry)

            return body

        def backward(first: Array, count: Array) -> Callable:
            def body(m: Array, cts: Any) -> Any:
                ct_now, ct_carry = cts
                m = count - 1 - m
                i = done + first + m
                now, carry = now_at(i), read_all(room, program.carry, m)

                def with_row(number: Any) -> Any:
                    after = read_all(room, program.carry, m + 1)
                    ct_saved = read_all(ct_rows, row_kinds, number)
                    by_now, by_carry = program.call(back_row, i + 1, now, after, ct_saved)
                    return added(ct_now, of_lanes(_pick(by_now, summed))), added(ct_carry, of_lanes(by_carry))

                k = first + m + 1
                if ct_rows and stride == 1:
                    ct_now, ct_carry = with_row(k - 1)
                elif ct_rows:
                    saved = k % stride == 0
                    ct_now, ct_carry = jax.lax.cond(
                        saved, lambda: with_row(k // stride - 1), lambda: (ct_now, ct_carry)
                    )
                told = program.call(told_at, i, now, carry) if ct_logs else []
                ct_records = [read_records(*one) for one in zip(ct_logs, moved.log_kinds, told)]
                by_now, by_carry = program.call(back, i, now, carry, ct_carry, ct_records)
                for k in written:
                    one = of_lanes(by_now)[k]
                    write(ct_inputs[k], kinds[k], one if kinds[k].lanes else [x.sum() for x in one], i)
                return added(ct_now, of_lanes(_pick(by_now, summed))), of_lanes(by_carry)

            return body

        def through_chunk(c: Array, cts: Any) -> Any:
            c = NUMBER(chunks - 1) - c
            first = c * chunk
            count = jnp.minimum(chunk, steps - first)
            end = loop(count, forward(first), read_all(kept, program.carry, c))
            write_all(room, program.carry, end, count)
            return loop(count, backward(first, count), cts)

        def nothing(i: Array, _: None) -> None:
            for k in written:
                zero = jnp.zeros(BLOCK if kinds[k].lanes else (), ct_inputs[k].dtype)
                write(ct_inputs[k], kinds[k], [zero] * (kinds[k].items or 1), i)

        if written and program.plan.done:
            loop(done, nothing, None)
        zeros = [[jnp.zeros(BLOCK, ct_inputs[k].dtype)] * (kinds[k].items or 1) for k in summed]
        ct_now, ct_carry = loop(NUMBER(chunks), through_chunk, (zeros, read_all(ct_end, carry_kinds)))
        for k, x in zip(summed, ct_now):
            write(ct_inputs[k], kinds[k], x)
        write_all(ct_start, carry_kinds, ct_carry)

    per_block = lambda kind: kind if kind.lanes else PerBlock(kind)
    in_room: Callable[[Kind], Any] = lambda kind: per_block(dataclasses.replace(kind, rows=program.chunk + 1))
    carry = [(program.carry[k], program.dtypes[1][k]) for k in moving.carry]
    rows = [(program.rows[k], program.dtypes[2][k]) for k in moving.rows]
    given = [*program.inputs, *program.kept, *(kind for kind, _ in carry), *(kind for kind, _ in rows)]
    out = [(per_block(kind), program.dtypes[0][k]) for kind, k in zip(kinds, moving.inputs)]
    out += carry
    out += [(in_room(kind), dtype) for kind, dtype in zip(program.carry, program.dtypes[1])]
    results = launch(kernel, program.n, list(zip(given, args)), out, interpret, len(carry) + len(rows))
    cts, results = results[: len(kinds)], results[len(kinds) :]
    cts = [x if kind.lanes else x.sum(axis=-1) for kind, x in zip(kinds, cts)]
    return cts + results[: len(carry)]
