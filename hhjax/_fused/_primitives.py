"""The kernels as primitives of JAX: how they are compiled, batched and differentiated.

A batch of runs is one run of all their lanes. `run_p` has a derivative, `tangent_p`, which
is linear in the last of its arguments and has a transpose, `pullback_p`.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from ._derivatives import Moving, tangent_kernel
from ._kernels import run_kernel
from ._program import Kind, Program
from ._pullback import pullback_kernel


def _arguments(name: str, program: Program, moving: Any) -> list[tuple[str, int, Kind]]:
    """What each argument of a primitive belongs to, and its kind."""
    inputs = [("input", k, kind) for k, kind in enumerate(program.inputs)]
    carry = [("carry", k, kind) for k, kind in enumerate(program.carry)]
    if name == "run":
        return inputs + carry
    kept = [("carry", k, kind) for k, kind in enumerate(program.kept)]
    moved = [carry[k] for k in moving.carry]
    if name == "tangent":
        return inputs + kept + [inputs[k] for k in moving.inputs] + moved
    return inputs + kept + moved + [("row", k, program.rows[k]) for k in moving.rows]


def _results(name: str, program: Program, moving: Any) -> list[tuple[Kind, Any]]:
    """The kinds and types of what a primitive gives."""
    inputs, carry, rows = (
        list(zip(kinds, dtypes))
        for kinds, dtypes in zip((program.inputs, program.carry, program.rows), program.dtypes)
    )
    if name == "run":
        return carry + rows + (list(zip(program.kept, program.dtypes[1])) if moving else [])
    carry = [carry[k] for k in moving.carry]
    if name == "tangent":
        return carry + [rows[k] for k in moving.rows]
    return [inputs[k] for k in moving.inputs] + carry


def _primitive(name: str, kernel: Callable) -> Primitive:
    """A primitive with the parameters `program` and `moving`, which for "run" is whether to keep."""
    primitive = Primitive(f"hhjax_{name}")
    primitive.multiple_results = True

    def abstract(*_: Any, program: Program, moving: Any) -> list:
        results = _results(name, program, moving)
        return [ShapedArray(kind.shape(program.n), dtype) for kind, dtype in results]

    def apply(*args: Any, program: Program, moving: Any, interpret: bool) -> list[Any]:
        return kernel(program, moving, args, interpret)

    primitive.def_abstract_eval(abstract)
    primitive.def_impl(lambda *args, **params: jax.jit(functools.partial(primitive.bind, **params))(*args))
    lower = lambda interpret: mlir.lower_fun(
        functools.partial(apply, interpret=interpret), multiple_results=True
    )
    mlir.register_lowering(primitive, lower(True))
    for platform in ("cuda", "rocm"):
        mlir.register_lowering(primitive, lower(False), platform=platform)
    batching.primitive_batchers[primitive] = functools.partial(_batch, name, primitive)
    return primitive


def _batch(
    name: str, primitive: Primitive, args: Sequence[Any], axes: Sequence[Any], program: Program, moving: Any
) -> tuple[list[Any], list[Any]]:
    size = next(x.shape[axis] for x, axis in zip(args, axes) if axis is not None)
    n = program.n
    arguments = _arguments(name, program, moving)
    batched = {(what, k) for (what, k, _), axis in zip(arguments, axes) if axis is not None}
    if name == "pullback":  # what is one for all runs has a cotangent from each
        batched |= {("input", k) for k in moving.inputs}
    of_each = lambda what, kinds: [kind.spread((what, k) in batched) for k, kind in enumerate(kinds)]
    wide = program.of_kinds(of_each("input", program.inputs), of_each("carry", program.carry), size * n)

    def flat(x: Any, axis: Any, kind: Kind, wanted: Kind) -> Any:
        first = len(kind.lead)
        if not wanted.lanes:
            return x
        if axis is None:
            x = kind.conform(x, wanted, n)
            return jnp.tile(x, (1,) * first + (size,))
        x = jnp.moveaxis(x, axis, first)
        if not kind.lanes:
            x = jnp.broadcast_to(x[..., None], (*x.shape, n))
        return x.reshape(x.shape[:first] + (size * n,))

    wanted = [kind for _, _, kind in _arguments(name, wide, moving)]
    flats = [flat(x, axis, a[2], kind) for x, axis, a, kind in zip(args, axes, arguments, wanted)]
    out = primitive.bind(*flats, program=wide, moving=moving)
    sums = len(moving.inputs) if name == "pullback" else 0
    results, result_axes = [], []
    kinds = zip(_results(name, program, moving), _results(name, wide, moving))
    for k, (x, ((kind, _), (given, _))) in enumerate(zip(out, kinds)):
        if not given.lanes:
            results.append(x)
            result_axes.append(None)
            continue
        x = x.reshape(x.shape[:-1] + (size, n))
        if not kind.lanes:
            x = x.sum(axis=-1) if k < sums else x[..., 0]
        results.append(x)
        result_axes.append(len(kind.lead))
    return results, result_axes


run_p = _primitive("run", run_kernel)
tangent_p = _primitive("tangent", tangent_kernel)
pullback_p = _primitive("pullback", pullback_kernel)


def _run_jvp(
    primals: Sequence[Any], tangents: Sequence[Any], program: Program, moving: bool
) -> tuple[list[Any], list[Any]]:
    n, count = program.n, len(program.inputs)
    moves = lambda x: not isinstance(x, ad.Zero)
    d_inputs, d_carry = tangents[:count], tangents[count:]
    active = tuple(k for k, x in enumerate(d_inputs) if moves(x))
    # What moves has one value for each lane, to be summed up outside of the kernel, but for
    # what has a row for each step.
    kinds = [kind.spread(kind.rows is None and moves(x)) for kind, x in zip(program.inputs, d_inputs)]
    carry = [kind.spread(moves(x)) for kind, x in zip(program.carry, d_carry)]
    wide = program.of_kinds(kinds, carry, n)
    which = Moving(active, tuple(wide.moving), tuple(wide.moving_rows))

    out = run_p.bind(*primals, program=program, moving=True)
    ends = len(program.carry), len(program.carry) + len(program.rows)
    conform = lambda x, kind, wanted: kind.conform(x, wanted, n)
    inputs = map(conform, primals[:count], program.inputs, wide.inputs)
    kept = map(conform, out[ends[1] :], program.kept, wide.kept)
    d_inputs = [conform(d_inputs[k], program.inputs[k], wide.inputs[k]) for k in active]
    d_carry = [
        conform(ad.instantiate_zeros(d_carry[k]), program.carry[k], wide.carry[k]) for k in which.carry
    ]
    changes = tangent_p.bind(*inputs, *kept, *d_inputs, *d_carry, program=wide, moving=which)

    if not moving:
        out = out[: ends[1]]
    d_out: list[Any] = [ad.Zero(jax.typeof(x).to_tangent_aval()) for x in out]
    declared = [*program.carry, *program.rows]
    places = [*which.carry, *(ends[0] + k for k in which.rows)]
    for k, x in zip(places, changes):
        d_out[k] = x if declared[k].lanes else x[..., 0]
    return out, d_out


def _linear_jvp(name: str, primitive: Primitive, linear: Callable) -> Callable:
    def rule(primals: Sequence[Any], tangents: Sequence[Any], program: Program, moving: Moving) -> Any:
        count = len(primals) - linear(moving)
        if any(not isinstance(x, ad.Zero) for x in tangents[:count]):
            raise NotImplementedError(
                "The fused loop has first derivatives only: take backend='scan' for second ones."
            )
        changes = [ad.instantiate_zeros(x) for x in tangents[count:]]
        bind = lambda xs: primitive.bind(*primals[:count], *xs, program=program, moving=moving)
        return bind(primals[count:]), bind(changes)

    return rule


def _tangent_transpose(cts: Sequence[Any], *args: Any, program: Program, moving: Moving) -> list[Any]:
    count = len(args) - len(moving.inputs) - len(moving.carry)
    cts = [ad.instantiate_zeros(ct) for ct in cts]
    out = pullback_p.bind(*args[:count], *cts, program=program, moving=moving)
    pairs = zip(args[count:], out, strict=True)
    return [None] * count + [ct if ad.is_undefined_primal(x) else None for x, ct in pairs]


ad.primitive_jvps[run_p] = _run_jvp
ad.primitive_jvps[tangent_p] = _linear_jvp(
    "tangent", tangent_p, lambda moving: len(moving.inputs) + len(moving.carry)
)
ad.primitive_jvps[pullback_p] = _linear_jvp(
    "pullback", pullback_p, lambda moving: len(moving.carry) + len(moving.rows)
)
ad.primitive_transposes[tangent_p] = _tangent_transpose
