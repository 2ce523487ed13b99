"""One step of a run, as a kernel takes it, and what may not be in it."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from .._plan import Plan
from ._elements import BLOCK, folded, LANES
from ._unroll import Unrolled


@dataclasses.dataclass(frozen=True)
class Kind:
    """The shape of an array: `rows` and `items`, if any, and one value for each lane, or one for all."""

    lanes: bool
    rows: int | None = None
    items: int | None = None

    @property
    def lead(self) -> tuple[int, ...]:
        """The shape without the lanes."""
        return tuple(size for size in (self.rows, self.items) if size is not None)

    def shape(self, n: int) -> tuple[int, ...]:
        return self.lead + ((n,) if self.lanes else ())

    def conform(self, x: Any, wanted: "Kind", n: int) -> Any:
        """`x` of this kind, with one value for each lane if `wanted` has that."""
        if wanted.lanes and not self.lanes:
            return jnp.broadcast_to(x[..., None], wanted.shape(n))
        return x

    def spread(self, lanes: bool) -> "Kind":
        """This kind, with a value for each lane if it had one or if `lanes`."""
        return dataclasses.replace(self, lanes=self.lanes or lanes)

    def elements(self, dtype: Any) -> list[jax.ShapeDtypeStruct]:
        """The shapes of its elements in one block."""
        one = jax.ShapeDtypeStruct((BLOCK,) if self.lanes else (), dtype)
        return [one] * (self.items or 1)


@dataclasses.dataclass(frozen=True, eq=False)
class Program:
    """One step of a run, and what it saves, for one lane: a neuron, or a whole network.

    **Fields:**

    - `advance(i, inputs, carry)`: from lists of arrays, the carry after step `i` + 1, the records that
        the step writes, and for each (whether, at which row). `inputs` holds the arrays of model,
        stimulus and reducers, of those with rows that of step `i`.
    - `observe(i, inputs, carry)`: what is saved after step `i`.
    - `step`, `row`: the same of lists of elements.
    - `avals`: the shapes of inputs and carry for one lane, see `LANES`.
    - `inputs`, `carry`, `rows`: the kinds of arrays; `rows` are the saved ones, then `logs` of records.
    - `dtypes`: of these.
    - `n`: how many lanes; `own`: how many before any batching.
    - `lane`: which of the inputs holds the numbers of the lanes, if one does.
    - `plan`; `chunk`: steps from one kept carry to the next.
    """

    advance: Callable
    observe: Callable
    step: Unrolled
    row: Unrolled
    avals: tuple[list, list]
    inputs: tuple[Kind, ...]
    carry: tuple[Kind, ...]
    rows: tuple[Kind, ...]
    dtypes: tuple[tuple, tuple, tuple]
    logs: int
    n: int
    own: int
    lane: int | None
    plan: Plan
    chunk: int

    @property
    def kept(self) -> tuple[Kind, ...]:
        """The kinds of the carries that a gradient starts from, one for each chunk."""
        chunks = -(-self.plan.steps // self.chunk)
        return tuple(dataclasses.replace(kind, rows=chunks) for kind in self.carry)

    @property
    def moving(self) -> list[int]:
        """Which parts of the carry have derivatives: what is one for all depends on time alone."""
        return _moving(self.carry, self.dtypes[1])

    @property
    def moving_rows(self) -> list[int]:
        """Which parts of what is saved have derivatives."""
        return _moving(self.rows, self.dtypes[2])

    def call(self, unrolled: Unrolled, i: Array, inputs: Sequence[list], *rest: Any) -> Any:
        """An unrolled function of step number, inputs and more."""
        lane = None if self.lane is None else inputs[self.lane][0]
        return unrolled([i], list(inputs), *rest, lane=lane, n=self.own)

    def of_kinds(self, inputs: Sequence[Kind], carry: Sequence[Kind], n: int) -> "Program":
        """The same program for inputs and a carry of other kinds, and another n."""
        carry = tuple(carry)
        elements = lambda kinds, dtypes: [kind.elements(dtype) for kind, dtype in zip(kinds, dtypes)]
        i, given = jax.ShapeDtypeStruct((), jnp.int32), elements(inputs, self.dtypes[0])
        differs = lambda parts: any(x.shape != () for x in parts)

        def seen(unrolled: Unrolled, carry: Sequence[Kind]) -> Any:
            call = lambda i, inputs, carry: self.call(unrolled, i, inputs, carry)
            return jax.eval_shape(call, i, given, elements(carry, self.dtypes[1]))

        while True:
            after, _, _ = seen(self.step, carry)
            # What comes to differ from lane to lane has a value for each from the start.
            grown = tuple(kind.spread(differs(x)) for kind, x in zip(carry, after))
            if grown == carry:
                break
            carry = grown
        saved = seen(self.row, carry)
        shown = [dataclasses.replace(kind, lanes=differs(x)) for kind, x in zip(self.rows, saved)]
        rows = (*shown, *self.rows[len(saved) :])
        return dataclasses.replace(self, inputs=tuple(inputs), carry=carry, rows=rows, n=n)


def _moving(kinds: Sequence[Kind], dtypes: Sequence[Any]) -> list[int]:
    pairs = enumerate(zip(kinds, dtypes))
    return [k for k, (kind, dtype) in pairs if kind.lanes and jnp.issubdtype(dtype, jnp.floating)]


def pack(x: Any, shape: tuple[int, ...], rows: bool = False) -> Any:
    """An array whose shape for one lane is `shape`, with its lanes last and its items before."""
    lead = x.shape[: int(rows)]
    if LANES in shape:
        x = jnp.moveaxis(x, len(lead) + shape.index(LANES), -1)
    items = math.prod(folded(shape))
    return x.reshape(lead + ((items,) if items != 1 else ()) + (x.shape[-1:] if LANES in shape else ()))


def unpack(x: Any, shape: tuple[int, ...], rows: bool = False) -> Any:
    """The inverse of `pack`."""
    lead = x.shape[: int(rows)]
    if LANES not in shape:
        return x.reshape(lead + shape)
    axis = shape.index(LANES)
    x = x.reshape(lead + shape[:axis] + shape[axis + 1 :] + x.shape[-1:])
    return jnp.moveaxis(x, -1, len(lead) + axis)
