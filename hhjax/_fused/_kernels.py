"""The kernels: a run, its derivative along a direction, and the transpose of that."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.experimental.pallas as pl
import jax.numpy as jnp
import numpy as np
from jax.experimental.pallas import triton
from jax.typing import ArrayLike
from jaxtyping import Array

from ._program import BLOCK, Kind, Program

_NUMBER = np.int32  # of steps


def _spec(kind: Kind) -> pl.BlockSpec:
    """Which part of an array the kernel of one block sees."""
    shape = kind.shape(BLOCK)
    if kind.neuron:
        return pl.BlockSpec(shape, (lambda b: (b,)) if kind.rows is None else (lambda b: (_NUMBER(0), b)))
    return pl.BlockSpec(shape, lambda b: (_NUMBER(0),) * len(shape))


class _PerBlock(NamedTuple):
    """An output of `rows` values from each block, in an array with a last axis of blocks."""

    rows: int


def _launch(
    kernel: Callable,
    n: int,
    args: Sequence[tuple[Kind, Any]],
    out: Sequence[tuple[Kind | _PerBlock, Any]],
    interpret: bool,
    cotangents: int = 0,
) -> list[Array]:
    """Run `kernel` for each block of the n neurons.

    The last block is filled up with the last neuron, but the last `cotangents` arguments with
    zero. What has one value for all is written by every block, always the same.
    """
    blocks = -(-n // BLOCK)
    fill = blocks * BLOCK - n

    def whole(k: int, kind: Kind, x: Any) -> Any:
        if not (kind.neuron and fill):
            return x
        mode = "edge" if k < len(args) - cotangents else "constant"
        return jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, fill)], mode=mode)

    specs, shapes = [], []
    for kind, dtype in out:
        if isinstance(kind, _PerBlock):
            specs.append(pl.BlockSpec((kind.rows, None), lambda b: (_NUMBER(0), b)))
            shapes.append(jax.ShapeDtypeStruct((kind.rows, blocks), dtype))
        else:
            specs.append(_spec(kind))
            shapes.append(jax.ShapeDtypeStruct(kind.shape(blocks * BLOCK), dtype))
    results = pl.pallas_call(
        kernel,
        out_shape=shapes,
        grid=(blocks,),
        in_specs=[_spec(kind) for kind, _ in args],
        out_specs=specs,
        interpret=interpret,
        compiler_params=triton.CompilerParams(num_warps=1),
    )(*(whole(k, kind, x) for k, (kind, x) in enumerate(args)))
    cut = lambda kind, x: x[..., :n] if isinstance(kind, Kind) and kind.neuron and fill else x
    return [cut(kind, x) for (kind, _), x in zip(out, results)]


def _reader(kinds: Sequence[Kind], refs: Sequence[Any]) -> Callable[[Array], list[Array]]:
    """The inputs as step i needs them: what has no rows is read once."""
    fixed = [None if kind.rows is not None else ref[...] for kind, ref in zip(kinds, refs)]
    return lambda i: [ref[i] if x is None else x for x, ref in zip(fixed, refs)]


def _split(xs: Sequence[Any], *counts: int) -> list[list[Any]]:
    ends = np.cumsum((0,) + counts)
    return [list(xs[a:b]) for a, b in zip(ends[:-1], ends[1:], strict=True)] + [list(xs[ends[-1] :])]


def _at_row(program: Program, k: Array, action: Callable[[Array], None]) -> None:
    """`action` with the number of the row that is saved after `k` steps of this run, if one is."""
    stride = _NUMBER(program.plan.stride)
    if stride == 1:
        action(k - 1)
    else:
        pl.when(k % stride == 0)(lambda: action(k // stride - 1))


def _loop(count: Any, body: Callable, carry: Any) -> Any:
    return jax.lax.fori_loop(_NUMBER(0), count, body, carry)


def run_kernel(program: Program, keep: bool, args: Sequence[Any], interpret: bool) -> list[Array]:
    """The carry at the end, the rows and, with `keep`, the carry at the start of each chunk."""
    advance, observe = program.compact()
    sizes = len(program.inputs), len(program.carry)
    done, chunk = _NUMBER(program.plan.done), _NUMBER(program.chunk)

    def kernel(*refs: Any) -> None:
        inputs, start, end, rows, kept = _split(refs, *sizes, sizes[1], len(program.rows))
        read = _reader(program.inputs, inputs)

        def body(k: Array, carry: list[Array]) -> list[Array]:
            if keep:

                @pl.when(k % chunk == 0)
                def _() -> None:
                    for ref, x in zip(kept, carry):
                        ref[k // chunk] = x

            now = read(done + k)
            carry = advance(done + k, now, carry)

            def save(row: Array) -> None:
                for ref, x in zip(rows, observe(done + k + 1, now, carry)):
                    ref[row] = x

            if rows:
                _at_row(program, k + 1, save)
            return carry

        carry = _loop(_NUMBER(program.plan.steps), body, [ref[...] for ref in start])
        for ref, x in zip(end, carry):
            ref[...] = x

    kinds = [*program.inputs, *program.carry]
    out = list(zip((*program.carry, *program.rows), (*program.dtypes[1], *program.dtypes[2])))
    if keep:
        out += list(zip(program.kept, program.dtypes[1]))
    return _launch(kernel, program.n, list(zip(kinds, args)), out, interpret)


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


def _of_moving(program: Program, moving: Moving) -> tuple[Callable, Callable]:
    """`advance` and `observe` at step i as functions of what moves, from there and back.

    Each takes i, inputs and carry, and gives a function of the moving inputs and carry; that
    gives the moving results and, from `advance`, the whole carry as well.
    """
    advance, observe = program.compact()

    def step(i: Array, inputs: list[Array], carry: list[Array]) -> Callable:
        def of_moving(some: list[Array], moved: list[Array]) -> tuple[list[Array], list[Array]]:
            after = advance(i, _put(inputs, moving.inputs, some), _put(carry, moving.carry, moved))
            return _pick(after, moving.carry), after

        return of_moving

    def row(i: Array, inputs: list[Array], carry: list[Array]) -> Callable:
        def of_moving(some: list[Array], moved: list[Array]) -> list[Array]:
            saved = observe(i, _put(inputs, moving.inputs, some), _put(carry, moving.carry, moved))
            return _pick(saved, moving.rows)

        return of_moving

    return step, row


def tangent_kernel(program: Program, moving: Moving, args: Sequence[Any], interpret: bool) -> list[Array]:
    """The change of the moving carry and rows with a change of the moving inputs and carry.

    **Arguments:** `args`: the inputs, what `run_kernel` kept, and the changes of both.
    """
    step, row = _of_moving(program, moving)
    done = _NUMBER(program.plan.done)
    counts = len(program.inputs), len(program.carry), len(moving.inputs), len(moving.carry)

    def kernel(*refs: Any) -> None:
        inputs, kept, d_inputs, d_start, d_end, d_rows = _split(refs, *counts, len(moving.carry))
        read = _reader(program.inputs, inputs)
        read_change = _reader(_pick(program.inputs, moving.inputs), d_inputs)

        def body(k: Array, carries: Any) -> Any:
            carry, d_carry = carries
            i = done + k
            now, d_now = read(i), read_change(i)
            at = _pick(now, moving.inputs)
            moved = at, _pick(carry, moving.carry)
            _, d_carry, carry = jax.jvp(step(i, now, carry), moved, (d_now, d_carry), has_aux=True)

            def save(number: Array) -> None:
                moved = at, _pick(carry, moving.carry)
                _, changes = jax.jvp(row(i + 1, now, carry), moved, (d_now, d_carry))
                for ref, x in zip(d_rows, changes):
                    ref[number] = x

            if d_rows:
                _at_row(program, k + 1, save)
            return carry, d_carry

        start = [ref[_NUMBER(0)] for ref in kept], [ref[...] for ref in d_start]
        _, d_carry = _loop(_NUMBER(program.plan.steps), body, start)
        for ref, x in zip(d_end, d_carry):
            ref[...] = x

    d_kinds = _pick(program.inputs, moving.inputs), _pick(program.carry, moving.carry)
    kinds = [*program.inputs, *program.kept, *d_kinds[0], *d_kinds[1]]
    out = [(program.carry[k], program.dtypes[1][k]) for k in moving.carry]
    out += [(program.rows[k], program.dtypes[2][k]) for k in moving.rows]
    return _launch(kernel, program.n, list(zip(kinds, args)), out, interpret)


def pullback_kernel(program: Program, moving: Moving, args: Sequence[Any], interpret: bool) -> list[Array]:
    """The transpose of `tangent_kernel`: what a change of inputs and start means to the result.

    From the last chunk to the first, each is run again from its kept carry and then gone
    through backwards.

    **Arguments:** `args`: the inputs, what `run_kernel` kept, and the cotangents of the moving
    carry and rows.
    """
    step, row = _of_moving(program, moving)
    advance, _ = program.compact()
    steps, done, chunk = (_NUMBER(x) for x in (program.plan.steps, program.plan.done, program.chunk))
    stride = _NUMBER(program.plan.stride)
    chunks = -(-program.plan.steps // program.chunk)
    kinds = _pick(program.inputs, moving.inputs)
    summed = [k for k, kind in enumerate(kinds) if kind.rows is None]
    written = [k for k, kind in enumerate(kinds) if kind.rows is not None]
    counts = (len(program.inputs), len(program.carry), len(moving.carry), len(moving.rows))

    def kernel(*refs: Any) -> None:
        inputs, kept, ct_end, ct_rows, ct_inputs, ct_start, room = _split(
            refs, *counts, len(kinds), len(moving.carry)
        )
        read = _reader(program.inputs, inputs)

        def forward(first: Array) -> Callable:
            def body(m: Array, carry: list[Array]) -> list[Array]:
                for ref, x in zip(room, carry):
                    ref[m] = x
                return advance(done + first + m, read(done + first + m), carry)

            return body

        def backward(first: Array, count: Array) -> Callable:
            def body(m: Array, cts: Any) -> Any:
                ct_now, ct_carry = cts
                m = count - 1 - m
                i = done + first + m
                now, carry = read(i), [ref[m] for ref in room]
                at = _pick(now, moving.inputs)
                _, pull, after = jax.vjp(step(i, now, carry), at, _pick(carry, moving.carry), has_aux=True)

                def with_row(number: ArrayLike) -> Any:
                    _, pull_row = jax.vjp(row(i + 1, now, after), at, _pick(after, moving.carry))
                    by_now, by_carry = pull_row([ref[number] for ref in ct_rows])
                    added = lambda xs, ys: [x + y for x, y in zip(xs, ys)]
                    return added(ct_now, _pick(by_now, summed)), added(ct_carry, by_carry)

                k = first + m + 1
                if ct_rows and stride == 1:
                    ct_now, ct_carry = with_row(k - 1)
                elif ct_rows:
                    saved = k % stride == 0
                    ct_now, ct_carry = jax.lax.cond(
                        saved, lambda: with_row(k // stride - 1), lambda: (ct_now, ct_carry)
                    )
                by_now, ct_carry = pull(ct_carry)
                for k in written:
                    ct_inputs[k][i] = by_now[k]
                return [x + y for x, y in zip(ct_now, _pick(by_now, summed))], ct_carry

            return body

        def through_chunk(c: Array, cts: Any) -> Any:
            c = _NUMBER(chunks - 1) - c
            first = c * chunk
            count = jnp.minimum(chunk, steps - first)
            _loop(count, forward(first), [ref[c] for ref in kept])
            return _loop(count, backward(first, count), cts)

        def nothing(i: Array, _: None) -> None:
            for k in written:
                ct_inputs[k][i] = jnp.zeros(Kind(kinds[k].neuron).shape(BLOCK), ct_inputs[k].dtype)

        if written and program.plan.done:
            _loop(done, nothing, None)
        zeros = [jnp.zeros(BLOCK, ct_inputs[k].dtype) for k in summed]
        ct_now, ct_carry = _loop(_NUMBER(chunks), through_chunk, (zeros, [ref[...] for ref in ct_end]))
        for k, x in zip(summed, ct_now):
            ct_inputs[k][...] = x
        for ref, x in zip(ct_start, ct_carry):
            ref[...] = x

    per_block = lambda kind: kind if kind.neuron else _PerBlock(kind.rows)
    carry = [(program.carry[k], program.dtypes[1][k]) for k in moving.carry]
    rows = [(program.rows[k], program.dtypes[2][k]) for k in moving.rows]
    given = [*program.inputs, *program.kept, *(kind for kind, _ in carry), *(kind for kind, _ in rows)]
    out = [(per_block(kind), program.dtypes[0][k]) for kind, k in zip(kinds, moving.inputs)]
    out += carry
    out += [(per_block(Kind(k.neuron, program.chunk)), d) for k, d in zip(program.carry, program.dtypes[1])]
    results = _launch(kernel, program.n, list(zip(given, args)), out, interpret, len(carry) + len(rows))
    cts, results = results[: len(kinds)], results[len(kinds) :]
    cts = [x if kind.neuron else x.sum(axis=-1) for kind, x in zip(kinds, cts)]
    return cts + results[: len(carry)]
