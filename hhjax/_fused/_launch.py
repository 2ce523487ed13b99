"""A kernel over blocks of lanes, and how it reads and writes arrays there."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.experimental.pallas as pl
import jax.numpy as jnp
import numpy as np
from jax.experimental.pallas import triton
from jaxtyping import Array

from ._elements import BLOCK
from ._program import Kind, Program

NUMBER = np.int32  # of steps, rows, items


class PerBlock(NamedTuple):
    """An output with the shape of `kind`, which has no lanes, from each block, in a last axis of blocks."""

    kind: Kind


def _spec(kind: Kind) -> pl.BlockSpec:
    """Which part of an array the kernel of one block sees."""
    lead = (NUMBER(0),) * len(kind.lead)
    if kind.lanes:
        return pl.BlockSpec(kind.shape(BLOCK), lambda b: (*lead, b))
    return pl.BlockSpec(kind.lead, lambda b: lead)


def launch(
    kernel: Callable,
    n: int,
    args: Sequence[tuple[Kind, Any]],
    out: Sequence[tuple[Kind | PerBlock, Any]],
    interpret: bool,
    cotangents: int = 0,
) -> list[Array]:
    """Run `kernel` for each block of the n lanes.

    The last block is filled up with the last lane, but the last `cotangents` arguments with
    zero. What has one value for all is written by every block, always the same.
    """
    blocks = -(-n // BLOCK)
    fill = blocks * BLOCK - n

    def whole(k: int, kind: Kind, x: Any) -> Any:
        if not (kind.lanes and fill):
            return x
        mode = "edge" if k < len(args) - cotangents else "constant"
        return jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, fill)], mode=mode)

    specs, shapes = [], []
    for kind, dtype in out:
        if isinstance(kind, PerBlock):
            lead = kind.kind.lead
            place = lambda b, lead=lead: ((NUMBER(0),) * len(lead)) + (b,)
            specs.append(pl.BlockSpec((*lead, None), place))
            shapes.append(jax.ShapeDtypeStruct((*lead, blocks), dtype))
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
    cut = lambda kind, x: x[..., :n] if isinstance(kind, Kind) and kind.lanes and fill else x
    return [cut(kind, x) for (kind, _), x in zip(out, results)]


def loop(count: Any, body: Callable, carry: Any) -> Any:
    return jax.lax.fori_loop(NUMBER(0), count, body, carry)


def _places(kind: Kind, row: Any) -> list[tuple]:
    at = () if row is None else (row,)
    items = [()] if kind.items is None else [(NUMBER(k),) for k in range(kind.items)]
    return [(*at, *item) for item in items]


def read(ref: Any, kind: Kind, row: Any = None) -> list[Array]:
    """The elements of an array, or of one of its rows."""
    return [ref[place] if place else ref[...] for place in _places(kind, row)]


def write(ref: Any, kind: Kind, elements: Sequence[Any], row: Any = None) -> None:
    """Set the elements of an array, or of one of its rows."""
    for place, x in zip(_places(kind, row), elements, strict=True):
        ref[place or ...] = wide(x) if kind.lanes else x


def read_all(refs: Sequence[Any], kinds: Sequence[Kind], row: Any = None) -> list[list[Array]]:
    return [read(ref, kind, row) for ref, kind in zip(refs, kinds)]


def write_all(refs: Sequence[Any], kinds: Sequence[Kind], values: Sequence[Any], row: Any = None) -> None:
    for ref, kind, x in zip(refs, kinds, values):
        write(ref, kind, x, row)


def reader(kinds: Sequence[Kind], refs: Sequence[Any]) -> Callable[[Array], list[list[Array]]]:
    """The inputs as step i needs them: what has no rows is read once."""
    fixed = [None if kind.rows is not None else read(ref, kind) for kind, ref in zip(kinds, refs)]
    pairs = list(zip(fixed, refs, kinds))
    return lambda i: [read(ref, kind, i) if x is None else x for x, ref, kind in pairs]


def wide(x: Any) -> Array:
    """A value for each lane of the block."""
    return jnp.broadcast_to(x, (BLOCK,))


def conform(values: Sequence[Sequence[Any]], kinds: Sequence[Kind]) -> list[list[Array]]:
    """Elements of arrays with a value for each lane where the kind has that."""
    return [[wide(x) if kind.lanes else jnp.asarray(x) for x in xs] for xs, kind in zip(values, kinds)]


def at_row(program: Program, k: Array, action: Callable[[Array], None]) -> None:
    """`action` with the number of the row that is saved after `k` steps of this run, if one is."""
    stride = NUMBER(program.plan.stride)
    if stride == 1:
        action(k - 1)
    else:
        pl.when(k % stride == 0)(lambda: action(k // stride - 1))


def clear(ref: Any, kind: Kind) -> None:
    """Fill an array of lanes with zeros, row by row."""
    assert kind.rows is not None
    zeros = [jnp.zeros(BLOCK if kind.lanes else (), ref.dtype)] * (kind.items or 1)
    loop(NUMBER(kind.rows), lambda row, _: write(ref, kind, zeros, row), None)


def _records(ref: Any, kind: Kind, told: Sequence[Any]) -> list[tuple[Any, Array]]:
    """Where the elements of new records belong, and in which lanes there are such."""
    assert kind.rows is not None
    where, rows = told
    lanes, each = jax.lax.iota(np.int32, BLOCK), (kind.items or 1) // len(where)
    places = []
    for k in range(kind.items or 1):
        row = wide(rows[k // each])
        masked = wide(where[k // each]) & (row < NUMBER(kind.rows))
        places.append((ref.at[row, jnp.full(BLOCK, NUMBER(k)), lanes], masked))
    return places


def write_records(ref: Any, kind: Kind, told: Sequence[Any], record: Sequence[Any]) -> None:
    """Put a record into its row, in each lane that has one."""
    for (place, mask), x in zip(_records(ref, kind, told), record, strict=True):
        triton.store(place, wide(x), mask=mask)


def read_records(ref: Any, kind: Kind, told: Sequence[Any]) -> list[Array]:
    """What stands where a record belongs; 0 in lanes without one."""
    places, zero = _records(ref, kind, told), jnp.zeros(BLOCK, ref.dtype)
    return [jnp.where(mask, triton.load(place, mask=mask, other=zero), zero) for place, mask in places]
