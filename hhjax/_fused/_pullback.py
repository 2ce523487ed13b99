"""The kernel of the transpose of a run's derivative."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from .._jaxprs import split
from ._derivatives import Moved, Moving, pick
from ._elements import BLOCK
from ._launch import (
    conform,
    launch,
    loop,
    NUMBER,
    PerBlock,
    read_all,
    read_records,
    reader,
    wide,
    write,
    write_all,
)
from ._program import Kind, Program


def pullback_kernel(program: Program, moving: Moving, args: Sequence[Any], interpret: bool) -> list[Array]:
    """The transpose of `tangent_kernel`: what a change of inputs and start means to the result.

    From the last chunk to the first, each is run again from its kept carry and then gone
    through backwards.

    **Arguments:** `args`: the inputs, what `run_kernel` kept, and the cotangents of the moving
    carry and rows.
    """
    moved = Moved(program, moving)

    def pull(i: Array, inputs: list, carry: list, ct_after: list, ct_records: list) -> Any:
        fn, *at = moved.step(i, inputs, carry)
        _, back, _ = jax.vjp(fn, *at, has_aux=True)
        return back((ct_after, ct_records))

    def pull_row(i: Array, inputs: list, carry: list, ct_rows: list) -> Any:
        fn, *at = moved.row(i, inputs, carry)
        return jax.vjp(fn, *at)[1](ct_rows)

    def tell(i: Array, inputs: list, carry: list) -> Any:
        return pick(program.advance(i, inputs, carry)[2], moved.logs)

    back, back_row = (
        moved.unroll(pull, moved.d_carry, moved.record_avals),
        moved.unroll(pull_row, moved.saved_avals),
    )
    told_at = moved.unroll(tell)
    steps, done, chunk = (NUMBER(x) for x in (program.plan.steps, program.plan.done, program.chunk))
    stride, chunks = NUMBER(program.plan.stride), -(-program.plan.steps // program.chunk)
    kinds, carry_kinds = pick(program.inputs, moving.inputs), pick(program.carry, moving.carry)
    row_kinds = pick(program.rows, moved.saved)
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
                    return added(ct_now, of_lanes(pick(by_now, summed))), added(ct_carry, of_lanes(by_carry))

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
                return added(ct_now, of_lanes(pick(by_now, summed))), of_lanes(by_carry)

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
