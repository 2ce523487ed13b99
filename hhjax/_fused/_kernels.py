"""The kernel of a run."""

from collections.abc import Sequence
from typing import Any

import jax.experimental.pallas as pl
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


def run_kernel(program: Program, keep: bool, args: Sequence[Any], interpret: bool) -> list[Array]:
    """The carry at the end, the rows and, with `keep`, the carry at the start of each chunk."""
    sizes = len(program.inputs), len(program.carry)
    saved = len(program.rows) - program.logs
    done, chunk = NUMBER(program.plan.done), NUMBER(program.chunk)

    def kernel(*refs: Any) -> None:
        inputs, start, end, rows, logs, kept = split(refs, *sizes, sizes[1], saved, program.logs)
        log_kinds = program.rows[saved:]
        now_at = reader(program.inputs, inputs)
        for ref, kind in zip(logs, log_kinds):
            clear(ref, kind)

        def body(k: Array, carry: list) -> list:
            if keep:
                pl.when(k % chunk == 0)(lambda: write_all(kept, program.carry, carry, k // chunk))
            now = now_at(done + k)
            after, records, told = program.call(program.step, done + k, now, carry)
            for ref, kind, record, where in zip(logs, log_kinds, records, told):
                write_records(ref, kind, where, record)
            after = conform(after, program.carry)

            def save(row: Array) -> None:
                write_all(rows, program.rows, program.call(program.row, done + k + 1, now, after), row)

            if rows:
                at_row(program, k + 1, save)
            return after

        carry = loop(NUMBER(program.plan.steps), body, read_all(start, program.carry))
        write_all(end, program.carry, carry)

    kinds = [*program.inputs, *program.carry]
    out = list(zip((*program.carry, *program.rows), (*program.dtypes[1], *program.dtypes[2])))
    if keep:
        out += list(zip(program.kept, program.dtypes[1]))
    return launch(kernel, program.n, list(zip(kinds, args)), out, interpret)
