"""How operations that are neither elementwise nor mere moves are taken apart into elements.

Each takes an evaluator of `_unroll.py`, the operation and the elements of its operands.
"""

import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from . import _draw
from ._elements import as_elements, folded, LANES
from ._errors import NotFused


def _boxed(x: np.ndarray) -> list[np.ndarray]:
    """The rows of x, each an array even where it is one element."""
    return [as_elements(list(row), x.shape[1:]) for row in x.reshape(x.shape[0], -1)]


def _dot_general(evaluator: Any, equation: Any, values: list[np.ndarray]) -> list[np.ndarray]:
    (contract, batch), out = equation.params["dimension_numbers"], equation.outvars[0].aval
    sides = []
    for k, x in enumerate(values):
        shape = equation.invars[k].aval.shape
        if evaluator.strict and any(shape[axis] == LANES for axis in contract[k]):
            raise evaluator.refuse("dot_general")
        free = [axis for axis in range(x.ndim) if axis not in (*contract[k], *batch[k])]
        order = x.transpose(*batch[k], *free, *contract[k])
        size = lambda axes: math.prod(x.shape[axis] for axis in axes)
        sides.append(order.reshape(size(batch[k]), size(free), size(contract[k])))
    sums = []
    for left, right in zip(*sides):
        for row in left:
            for column in right:
                total = row[0] * column[0]
                for a, b in zip(row[1:], column[1:]):
                    total = total + a * b
                sums.append(total)
    return [as_elements(sums, out.shape)]


def _iota(evaluator: Any, equation: Any, values: list[np.ndarray]) -> list[np.ndarray]:
    shape, axis, dtype = (equation.params[k] for k in ("shape", "dimension", "dtype"))
    if shape[axis] == LANES:
        if evaluator.lane is None:
            raise evaluator.refuse("iota")
        return [as_elements([evaluator.lane.astype(dtype)] * math.prod(folded(shape)), shape)]
    numbers = np.broadcast_to(
        np.arange(shape[axis]).reshape((-1,) + (1,) * (len(shape) - axis - 1)), folded(shape)
    )
    return [as_elements([np.dtype(dtype).type(k) for k in numbers.flat], shape)]


def _scan(evaluator: Any, equation: Any, values: list[np.ndarray]) -> list[np.ndarray]:
    params = equation.params
    count, carried, length = params["num_consts"], params["num_carry"], params["length"]
    consts, carry, xs = values[:count], values[count : count + carried], values[count + carried :]
    if length > 64 or any(x.aval.shape[0] == LANES for x in equation.invars[count + carried :]):
        raise evaluator.refuse("scan")
    rows = []
    for k in range(length)[:: -1 if params["reverse"] else 1]:
        inner = params["jaxpr"]
        out = evaluator.run(inner, inner.consts, [*consts, *carry, *(x[k] for x in map(_boxed, xs))])
        carry, ys = out[:carried], out[carried:]
        rows.append(ys)
    if params["reverse"]:
        rows.reverse()
    return [*carry, *(np.stack(ys) for ys in zip(*rows))]


def _cond(evaluator: Any, equation: Any, values: list[np.ndarray]) -> list[np.ndarray]:
    (which,), args = values[0].flat, values[1:]
    branches = equation.params["branches"]
    if isinstance(which, np.generic):
        return evaluator.run(branches[int(which)], branches[int(which)].consts, args)
    if len(branches) != 2:
        raise evaluator.refuse("cond")
    no, yes = (evaluator.run(branch, branch.consts, args) for branch in branches)
    choose = lambda a, b: as_elements([jnp.where(which > 0, y, x) for x, y in zip(a.flat, b.flat)], a.shape)
    return [choose(a, b) for a, b in zip(no, yes)]


def _random_wrap(evaluator: Any, equation: Any, values: list[np.ndarray]) -> list[np.ndarray]:
    (words,) = values
    pairs = [tuple(pair) for pair in words.reshape(-1, words.shape[-1])]
    return [as_elements(pairs, words.shape[:-1])]


def _random_unwrap(evaluator: Any, equation: Any, values: list[np.ndarray]) -> list[np.ndarray]:
    (keys,) = values
    return [as_elements([word for pair in keys.flat for word in pair], (*keys.shape, 2))]


def _random_fold_in(evaluator: Any, equation: Any, values: list[np.ndarray]) -> list[np.ndarray]:
    kind = str(equation.invars[0].aval.dtype)
    keys, data = np.broadcast_arrays(*values)
    folds = [_draw.fold_in(kind, key, x) for key, x in zip(keys.flat, data.flat)]
    return [as_elements(folds, keys.shape)]


def _random_split(evaluator: Any, equation: Any, values: list[np.ndarray]) -> list[np.ndarray]:
    return _draw_each(evaluator, equation, values[0], lambda kind, key, at: _draw.split(kind, key, at))


def _random_bits(evaluator: Any, equation: Any, values: list[np.ndarray]) -> list[np.ndarray]:
    width = equation.params["bit_width"]
    return _draw_each(evaluator, equation, values[0], lambda kind, key, at: _draw.bits(kind, key, at, width))


def _draw_each(evaluator: Any, equation: Any, keys: np.ndarray, one: Callable) -> list[np.ndarray]:
    """Something for each place of an array, by its number in the whole of it."""
    kind, shape = str(equation.invars[0].aval.dtype), equation.params["shape"]
    whole = [evaluator.n if size == LANES else size for size in shape]
    strides = [math.prod(whole[k + 1 :]) for k in range(len(whole))]
    if math.prod(whole) >= 2**32:
        raise NotFused(f"a step draws {whole} random numbers, more than 2³² at once.")

    def place(index: tuple[int, ...]) -> Any:
        at = np.uint32(sum(k * stride for k, stride in zip(index, strides)))
        if LANES in shape:
            at = evaluator.lane * np.uint32(strides[shape.index(LANES)]) + at
        return at

    drawn = [one(kind, key, place(index)) for key in keys.flat for index in np.ndindex(*folded(shape))]
    return [as_elements(drawn, keys.shape + tuple(shape))]


RULES: dict[str, Callable[[Any, Any, list[np.ndarray]], list[np.ndarray]]] = {
    "dot_general": _dot_general,
    "iota": _iota,
    "scan": _scan,
    "cond": _cond,
    "random_wrap": _random_wrap,
    "random_unwrap": _random_unwrap,
    "random_fold_in": _random_fold_in,
    "random_split": _random_split,
    "random_bits": _random_bits,
}
