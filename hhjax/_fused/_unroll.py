"""A function of small arrays as what it does to each of their elements.

A kernel holds scalars, one for each of its lanes: a lane is one neuron of an uncoupled network, or
one network. An array of shape (3, 4) is twelve of them there.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Literal
from jax.interpreters import partial_eval

from . import _draw
from ._errors import NotFused
from ._moves import Mover, MOVES

# Lanes of one instance of the kernel: a warp, so that few neurons spread over many processors.
BLOCK = 32

# The number of neurons for which a step of lanes is traced: marks the axis along which they lie.
LANES = 1009

_MOST = 1000  # elements of one array, fewer than LANES

# What Pallas translates to Triton among that which acts on each element by itself.
_SIMPLE = frozenset(
    "abs acos acosh add add_any and asin asinh atan atan2 atanh bitcast_convert_type cbrt ceil clamp "
    "convert_element_type cos cosh div eq erf_inv exp exp2 expm1 floor ge gt integer_pow is_finite le log "
    "log1p logistic lt max min mul ne neg nextafter not or pow rem rsqrt select_n shift_left "
    "shift_right_arithmetic shift_right_logical sign sin sinh sqrt square stop_gradient sub tan tanh "
    "xor".split()
)
_SAME = frozenset(
    ["copy", "copy_p", "optimization_barrier", "random_unwrap", "reshard", "sharding_constraint"]
)
_CALLS = frozenset(["jit", "closed_call", "custom_jvp_call", "custom_vjp_call", "checkpoint", "remat2"])
_FOLDS = {
    "reduce_sum": jnp.add,
    "reduce_prod": jnp.multiply,
    "reduce_max": jnp.maximum,
    "reduce_min": jnp.minimum,
    "reduce_and": jnp.logical_and,
    "reduce_or": jnp.logical_or,
}
# What takes a number for an array of the same.
_MIXED = frozenset("add sub mul div max min and or xor lt le gt ge eq ne".split())
# What is known is worked out at once: it may say where something is.
_KNOWN: dict[str, Callable] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "neg": np.negative,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
    "eq": np.equal,
    "ne": np.not_equal,
    "max": np.maximum,
    "min": np.minimum,
    "and": np.bitwise_and,
    "or": np.bitwise_or,
    "select_n": lambda which, *cases: cases[int(which)],
}


def folded(shape: Sequence[int]) -> tuple[int, ...]:
    """The shape of the elements of one lane."""
    return tuple(1 if size == LANES else size for size in shape)


def as_elements(parts: Sequence[Any], shape: Sequence[int]) -> np.ndarray:
    """An array of objects, which numpy must not look into."""
    elements = np.empty(len(parts), object)
    for k, x in enumerate(parts):
        elements[k] = x
    return elements.reshape(folded(shape))


class Unrolled:
    """`fn` of `args` (shapes in any structure) as a function of lists of elements.

    What its result does not need is left out; `used` says which of the leaves of `args` it does.

    **Fields:** `what`: the name of `fn` in errors; `strict`: whether to refuse what goes from lane to
    lane. A derivative may sum over the lanes, for which each keeps its own part.
    """

    def __init__(self, fn: Callable, args: tuple, what: str, strict: bool = True):
        self.what, self.strict = what, strict
        self.lanes = any(LANES in x.shape for x in jax.tree.leaves(args))
        closed, out = jax.make_jaxpr(fn, return_shape=True)(*args)
        self.structure, self.out_structure = jax.tree.structure(args), jax.tree.structure(out)
        self.jaxpr, self.used = partial_eval.dce_jaxpr(closed.jaxpr, [True] * len(closed.jaxpr.outvars))
        self.consts = closed.consts

    def __call__(self, *args: Any, lane: Any = None, n: int = 1) -> Any:
        """The elements of the result, as lists in its structure.

        **Arguments:** `args`: a list of elements for each leaf; `lane`: the numbers of the lanes, of
        which there are `n` before any batching.
        """
        leaves = self.structure.flatten_up_to(args)
        evaluator = _Evaluator(self.what, self.strict, self.lanes, lane, n)
        given = [x for x, used in zip(leaves, self.used) if used]
        arrays = [as_elements(x, v.aval.shape) for x, v in zip(given, self.jaxpr.invars)]
        out = evaluator.run(self.jaxpr, self.consts, arrays)
        return jax.tree.unflatten(self.out_structure, [list(x.ravel()) for x in out])


@dataclasses.dataclass
class _Evaluator:
    """Goes through the operations of a jaxpr, with an array of elements for each variable."""

    what: str
    strict: bool
    lanes: bool
    lane: Any
    n: int

    def refuse(self, name: str) -> NotFused:
        limit = "treat each neuron by itself" if self.lanes else "a kernel can"
        return NotFused(f"{self.what} does more than {limit}: `{name}` in it.")

    def constant(self, x: Any) -> np.ndarray:
        if isinstance(x, jax.core.Tracer):
            raise NotFused(f"{self.what} holds a value that is being traced; hand it over as a parameter.")
        x = np.asarray(x)
        if LANES in x.shape or x.size > _MOST:
            raise NotFused(f"{self.what} holds a constant array of shape {x.shape}; give it scalars.")
        return as_elements([x.dtype.type(value) for value in x.ravel()], x.shape)

    def run(self, jaxpr: Any, consts: Sequence[Any], args: Sequence[np.ndarray]) -> list[np.ndarray]:
        jaxpr = getattr(jaxpr, "jaxpr", jaxpr)
        known = dict(zip(jaxpr.constvars, map(self.constant, consts)))
        known.update(zip(jaxpr.invars, args))

        def value(x: Any) -> np.ndarray:
            if not isinstance(x, Literal):
                return known[x]
            return as_elements([x.aval.dtype.type(x.val)], ())

        for equation in jaxpr.eqns:
            if any(getattr(x.aval, "shape", ()).count(LANES) > 1 for x in equation.outvars):
                raise self.refuse(equation.primitive.name)
            values = [value(x) for x in equation.invars]
            for variable, result in zip(equation.outvars, self.apply(equation, values)):
                if result.size > _MOST:
                    raise NotFused(f"{self.what} makes an array of shape {result.shape}, too much to unroll.")
                known[variable] = result
        return [value(x) for x in jaxpr.outvars]

    def apply(self, equation: Any, values: list[np.ndarray]) -> list[np.ndarray]:
        name, params = equation.primitive.name, equation.params
        out = [x.aval for x in equation.outvars]
        if name in _SIMPLE:
            return [self.each(equation.primitive, params, values)]
        if name in _SAME:
            return values
        if name in _CALLS:
            inner = params.get("jaxpr") or params.get("call_jaxpr") or params["fun_jaxpr"]
            return self.run(inner, getattr(inner, "consts", ()), values)
        if name in MOVES:
            shapes = [x.aval.shape for x in equation.invars]
            mover = Mover(LANES, lambda: self.refuse(name))
            return mover(equation.primitive, params, values, shapes, [x.shape for x in out])
        rule = getattr(self, f"_{name.replace('-', '_')}", None)
        if name in _FOLDS:
            return [self.fold(_FOLDS[name], name, equation.invars[0].aval.shape, values[0], params["axes"])]
        if rule is None:
            raise self.refuse(name)
        return rule(equation, values)

    def bind(self, primitive: Any, params: dict, xs: Sequence[Any]) -> Any:
        if all(isinstance(x, np.generic) for x in xs):
            if primitive.name == "convert_element_type":
                return xs[0].astype(params["new_dtype"])
            if primitive.name in _KNOWN:
                return _KNOWN[primitive.name](*xs)
            with jax.ensure_compile_time_eval():
                x = np.asarray(primitive.bind(*map(jnp.asarray, xs), **params))
            return x.dtype.type(x)
        if any(np.ndim(x) for x in xs):
            stays = lambda x: primitive.name in _MIXED and isinstance(x, np.generic)
            xs = [x if stays(x) else jnp.broadcast_to(x, (BLOCK,)) for x in xs]
        return primitive.bind(*xs, **params)

    def each(self, primitive: Any, params: dict, values: list[np.ndarray]) -> np.ndarray:
        shape = np.broadcast_shapes(*(x.shape for x in values))
        values = [np.broadcast_to(x, shape) for x in values]
        return as_elements([self.bind(primitive, params, xs) for xs in zip(*(x.flat for x in values))], shape)

    def fold(self, join: Callable, name: str, shape: tuple, x: np.ndarray, axes: Any) -> np.ndarray:
        if self.strict and any(shape[axis] == LANES for axis in axes):
            raise self.refuse(name)
        kept = [axis for axis in range(x.ndim) if axis not in axes]
        rows = x.transpose(*kept, *axes).reshape(math.prod(x.shape[k] for k in kept), -1)
        totals = []
        for row in rows:
            total = row[0]
            for term in row[1:]:
                total = join(total, term)
            totals.append(total)
        return as_elements(totals, [x.shape[k] for k in kept])

    def _dot_general(self, equation: Any, values: list[np.ndarray]) -> list[np.ndarray]:
        (contract, batch), out = equation.params["dimension_numbers"], equation.outvars[0].aval
        sides = []
        for k, x in enumerate(values):
            shape = equation.invars[k].aval.shape
            if self.strict and any(shape[axis] == LANES for axis in contract[k]):
                raise self.refuse("dot_general")
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

    def _iota(self, equation: Any, values: list[np.ndarray]) -> list[np.ndarray]:
        shape, axis, dtype = (equation.params[k] for k in ("shape", "dimension", "dtype"))
        if shape[axis] == LANES:
            if self.lane is None:
                raise self.refuse("iota")
            return [as_elements([self.lane.astype(dtype)] * math.prod(folded(shape)), shape)]
        numbers = np.broadcast_to(
            np.arange(shape[axis]).reshape((-1,) + (1,) * (len(shape) - axis - 1)), folded(shape)
        )
        return [as_elements([np.dtype(dtype).type(k) for k in numbers.flat], shape)]

    def _scan(self, equation: Any, values: list[np.ndarray]) -> list[np.ndarray]:
        params = equation.params
        count, carried, length = params["num_consts"], params["num_carry"], params["length"]
        consts, carry, xs = values[:count], values[count : count + carried], values[count + carried :]
        if length > 64 or any(x.aval.shape[0] == LANES for x in equation.invars[count + carried :]):
            raise self.refuse("scan")
        rows = []
        for k in range(length)[:: -1 if params["reverse"] else 1]:
            inner = params["jaxpr"]
            out = self.run(inner, inner.consts, [*consts, *carry, *(x[k] for x in map(_boxed, xs))])
            carry, ys = out[:carried], out[carried:]
            rows.append(ys)
        if params["reverse"]:
            rows.reverse()
        return [*carry, *(np.stack(ys) for ys in zip(*rows))]

    def _cond(self, equation: Any, values: list[np.ndarray]) -> list[np.ndarray]:
        (which,), args = values[0].flat, values[1:]
        branches = equation.params["branches"]
        if isinstance(which, np.generic):
            return self.run(branches[int(which)], branches[int(which)].consts, args)
        if len(branches) != 2:
            raise self.refuse("cond")
        no, yes = (self.run(branch, branch.consts, args) for branch in branches)
        choose = lambda a, b: as_elements(
            [jnp.where(which > 0, y, x) for x, y in zip(a.flat, b.flat)], a.shape
        )
        return [choose(a, b) for a, b in zip(no, yes)]

    def _random_wrap(self, equation: Any, values: list[np.ndarray]) -> list[np.ndarray]:
        (words,) = values
        pairs = [tuple(pair) for pair in words.reshape(-1, words.shape[-1])]
        return [as_elements(pairs, words.shape[:-1])]

    def _random_fold_in(self, equation: Any, values: list[np.ndarray]) -> list[np.ndarray]:
        kind = str(equation.invars[0].aval.dtype)
        keys, data = np.broadcast_arrays(*values)
        folds = [_draw.fold_in(kind, key, x) for key, x in zip(keys.flat, data.flat)]
        return [as_elements(folds, keys.shape)]

    def _random_split(self, equation: Any, values: list[np.ndarray]) -> list[np.ndarray]:
        return self.draw(equation, values[0], lambda kind, key, at: _draw.split(kind, key, at))

    def _random_bits(self, equation: Any, values: list[np.ndarray]) -> list[np.ndarray]:
        width = equation.params["bit_width"]
        return self.draw(equation, values[0], lambda kind, key, at: _draw.bits(kind, key, at, width))

    def draw(self, equation: Any, keys: np.ndarray, one: Callable) -> list[np.ndarray]:
        """Something for each place of an array, by its number in the whole of it."""
        kind, shape = str(equation.invars[0].aval.dtype), equation.params["shape"]
        whole = [self.n if size == LANES else size for size in shape]
        strides = [math.prod(whole[k + 1 :]) for k in range(len(whole))]
        if math.prod(whole) >= 2**32:
            raise NotFused(f"a step draws {whole} random numbers, more than 2³² at once.")

        def place(index: tuple[int, ...]) -> Any:
            at = np.uint32(sum(k * stride for k, stride in zip(index, strides)))
            if LANES in shape:
                at = self.lane * np.uint32(strides[shape.index(LANES)]) + at
            return at

        drawn = [one(kind, key, place(index)) for key in keys.flat for index in np.ndindex(*folded(shape))]
        return [as_elements(drawn, keys.shape + tuple(shape))]


def _boxed(x: np.ndarray) -> list[np.ndarray]:
    """The rows of x, each an array even where it is one element."""
    return [
        as_elements(list(row.ravel()) if isinstance(row, np.ndarray) else [row], x.shape[1:]) for row in x
    ]
