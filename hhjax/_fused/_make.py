"""The program of a run: its step traced for one lane, and what may not be in it."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .._network import Network
from .._plan import Plan
from .._reduce import Log, LogInKernel, NewRecord
from .._steps import Steps
from .._stimulus import Row, SampledOnGrid, Stimulus
from . import _draw
from ._elements import folded, LANES, MOST
from ._errors import NotFused
from ._program import Kind, pack, Program
from ._unroll import Unrolled

_MOST_CARRIED = 512  # numbers of one lane


class _Unread(Stimulus):
    """Stands for a stimulus of which a step has a row alone."""

    def __call__(self, t: Any) -> Array:
        raise NotFused("`saveat.fn` or a reducer reads a sampled stimulus.")


def _is_log(x: Any) -> bool:
    return isinstance(x, Log)


def _traced(what: str, trace: Callable[[], Any]) -> Any:
    """What `trace` gives; whatever goes wrong in it, the scan may well do."""
    try:
        return trace()
    except NotFused:
        raise
    except (TypeError, ValueError, IndexError, NotImplementedError) as error:
        first = str(error).partition("\n")[0]
        raise NotFused(f"{what} cannot be traced for one lane: {first}") from error


def make_program(
    steps: Steps, start: tuple[Any, Any], plan: Plan, chunk: int, key: Any, whole: bool, tables: bool = False
) -> tuple[Program, list[Any], list[tuple]]:
    """The program of a run, the inputs that it needs, and the shapes of what it saves in one lane.

    **Arguments:** `start`: the stepper's state and what the reducers carry; `whole`: whether a lane is
    the whole network, not a neuron; `tables`: whether arrays of n numbers in reducers are those of
    each lane, not one for each.

    **Raises:** `NotFused`.
    """
    n = steps.network.n
    sampled = lambda x: isinstance(x, SampledOnGrid)
    if any(map(sampled, jax.tree.leaves(steps.ready, is_leaf=sampled))):
        steps = dataclasses.replace(steps, stimulus=_Unread())
    leaves, structure = jax.tree.flatten(steps)
    mark = lambda x: x.mark_rows() if sampled(x) else False
    in_rows = jax.tree.leaves(jax.tree.map(mark, steps, is_leaf=sampled))
    where = [k for k, x in enumerate(leaves) if isinstance(x, (jax.Array, np.ndarray))]
    names = [jax.tree_util.keystr(path)[1:] for path, _ in jax.tree.leaves_with_path(steps)]

    def shape_of(k: int) -> tuple[int, ...]:
        shape, of_reducer = leaves[k].shape[int(in_rows[k]) :], names[k].startswith("reduce")
        if jnp.issubdtype(leaves[k].dtype, jax.dtypes.prng_key):
            raise NotFused(f"`{names[k]}` is a key, and a kernel draws for noise alone.")
        if whole or shape == () or (of_reducer and (tables or shape != (n,))):
            if math.prod(shape) > MOST:
                raise NotFused(f"`{names[k]}` has shape {shape}, more than {MOST} numbers.")
            return shape
        if shape != (n,):
            raise NotFused(
                f"`{names[k]}` has shape {leaves[k].shape}, neither a scalar nor one value per neuron."
            )
        return (LANES,)

    def rebuild(inputs: Sequence[Array]) -> Steps:
        full = list(leaves)
        for k in where:
            full[k] = jnp.zeros(shapes[k], leaves[k].dtype)  # of those that are not needed
        for k, x in zip(needed, inputs):
            full[k] = x
        block = jax.tree.unflatten(structure, [Row(x) if in_rows[k] else x for k, x in enumerate(full)])
        if whole:
            return block
        network = block.network
        return dataclasses.replace(block, network=Network(network.neuron, n=LANES, noise=network.noise))

    def advance(i: Array, inputs: Sequence[Array], carry: Sequence[Array]) -> tuple[list, list, list]:
        block, (z, reduced) = rebuild(inputs), jax.tree.unflatten(carry_structure, carry)
        step_key = None
        if key is not None:
            high, low = inputs[len(needed) : len(needed) + 2]
            words = _draw.split(str(key.dtype), (high, low), i.astype(jnp.uint32))
            step_key = jax.random.wrap_key_data(jnp.stack(words), impl=jax.random.key_impl(key))
        z = block.advance(i, z, step_key)
        reduced = block.gather(i + 1, z, reduced)
        told = [x for x in jax.tree.leaves(reduced, is_leaf=_is_record) if _is_record(x)]
        kept = jax.tree.map(lambda x: LogInKernel() if _is_record(x) else x, reduced, is_leaf=_is_record)
        return jax.tree.leaves((z, kept)), [x.record for x in told], [(x.where, x.row) for x in told]

    def observe(i: Array, inputs: Sequence[Array], carry: Sequence[Array]) -> list[Array]:
        if not rows:
            return []
        z, _ = jax.tree.unflatten(carry_structure, carry)
        return jax.tree.leaves(rebuild(inputs).row(i, z))

    rows = plan.steps // plan.stride if plan.stride < plan.steps else 0
    shapes = {k: shape_of(k) for k in where}
    needed = where
    z_shapes = [_lane_shape(x, n, whole, path) for path, x in jax.tree.leaves_with_path(start[0])]
    z_avals = [jax.ShapeDtypeStruct(shape, x.dtype) for shape, x in zip(z_shapes, jax.tree.leaves(start[0]))]
    input_avals = [jax.ShapeDtypeStruct(shapes[k], leaves[k].dtype) for k in where]
    i_aval = jax.ShapeDtypeStruct((), jnp.int32)
    z_of = lambda leaves: jax.tree.unflatten(jax.tree.structure(start[0]), leaves)
    begin = lambda i, inputs, z: rebuild(inputs).begin_reducing(i, z_of(z))
    trace = lambda: jax.eval_shape(begin, i_aval, input_avals, z_avals)
    reduced = _traced("`reduce`", trace)
    if not _same_shapes(reduced, start[1], n):
        raise NotFused("`reduce` carries arrays whose shape is not that of one neuron for each.")
    logs = [x.values for x in jax.tree.leaves(reduced, is_leaf=_is_log) if _is_log(x)]
    bare = jax.tree.map(lambda x: LogInKernel() if _is_log(x) else x, reduced, is_leaf=_is_log)
    parts, carry_structure = jax.tree.flatten((z_of(z_avals), bare))
    if (count := sum(math.prod(folded(x.shape)) for x in parts)) > _MOST_CARRIED:
        raise NotFused(f"a lane carries {count} numbers from step to step, more than {_MOST_CARRIED}.")

    extra: list[Any] = []
    if key is not None:
        extra = [*jnp.moveaxis(jax.random.key_data(key), -1, 0)]
        extra += [] if whole else [jnp.arange(n, dtype=jnp.uint32)]
    extra_shapes = [(), (), (LANES,)][: len(extra)]

    def unrolled(inputs: list) -> tuple[Unrolled, Unrolled]:
        avals = i_aval, inputs, parts
        step = lambda: Unrolled(advance, avals, "a step of this model and solver")
        row = lambda: Unrolled(observe, avals, "`saveat.fn`")
        return _traced("a step", step), _traced("`saveat.fn`", row)

    extra_avals = [jax.ShapeDtypeStruct(shape, x.dtype) for shape, x in zip(extra_shapes, extra)]
    step, row = unrolled(input_avals + extra_avals)
    used = [a or b for a, b in zip(step.used, row.used)][1:]
    needed = [k for k, is_used in zip(where, used) if is_used]
    input_avals = [jax.ShapeDtypeStruct(shapes[k], leaves[k].dtype) for k in needed] + extra_avals
    step, row = unrolled(input_avals)
    saved = jax.eval_shape(observe, i_aval, input_avals, parts)
    if rows and not _same_shapes(saved, jax.eval_shape(steps.row, i_aval, start[0]), n):
        raise NotFused("`saveat.fn` gives arrays whose shape is not that of one neuron for each.")

    sized = lambda shape: None if math.prod(folded(shape)) == 1 else math.prod(folded(shape))
    of_rows = [leaves[k].shape[0] if in_rows[k] else None for k in needed] + [None] * len(extra)
    kinds = [Kind(LANES in x.shape, length, sized(x.shape)) for x, length in zip(input_avals, of_rows)]
    carry = [Kind(whole or LANES in x.shape, None, sized(x.shape)) for x in parts]
    row_kinds = [Kind(False, rows, sized(x.shape)) for x in saved]
    row_kinds += [Kind(True, x.shape[1], math.prod(folded(x.shape[::2]))) for x in logs]
    types = lambda xs: tuple(x.dtype for x in xs)
    lane = len(input_avals) - 1 if extra and not whole else None
    program = Program(
        advance,
        observe,
        step,
        row,
        (input_avals, parts),
        tuple(kinds),
        tuple(carry),
        tuple(row_kinds),
        (types(input_avals), types(parts), (*types(saved), *types(logs))),
        len(logs),
        1 if whole else n,
        1 if whole else n,
        lane,
        plan,
        chunk,
    )
    program = program.of_kinds(program.inputs, program.carry, program.n)
    operands = [pack(leaves[k], shapes[k], rows=in_rows[k]) for k in needed] + extra
    return program, operands, [x.shape for x in saved]


def _same_shapes(lane: Any, real: Any, n: int) -> bool:
    """Whether arrays for one lane are those of a run, but for the number of neurons."""
    whole = lambda shape: tuple(n if size == LANES else size for size in shape)
    shapes = [whole(x.shape) for x in jax.tree.leaves(lane)]
    return shapes == [x.shape for x in jax.tree.leaves(real)]


def _is_record(x: Any) -> bool:
    return isinstance(x, (NewRecord, LogInKernel))


def _lane_shape(x: Any, n: int, whole: bool, path: Any) -> tuple[int, ...]:
    """The shape in one lane of a part of the stepper's state."""
    if whole or x.shape == ():
        return x.shape
    if x.shape != (n,):
        name = jax.tree_util.keystr(path)
        raise NotFused(f"`solver{name}` carries an array of shape {x.shape} from step to step.")
    return (LANES,)
