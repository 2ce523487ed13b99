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
from jax.core import Tracer
from jax.extend.core import Literal
from jax.interpreters import partial_eval

from .._jaxprs import aval, CALLS, ELEMENTWISE, inner_jaxpr
from ._elements import as_elements, BLOCK, LANES, MOST
from ._errors import NotFused
from ._moves import Mover, MOVES
from ._rules import RULES

_SAME = frozenset(["copy", "copy_p", "optimization_barrier", "reshard", "sharding_constraint"])
_FOLDS = {
    "reduce_sum": jnp.add,
    "reduce_prod": jnp.multiply,
    "reduce_max": jnp.maximum,
    "reduce_min": jnp.minimum,
    "reduce_and": jnp.bitwise_and,
    "reduce_or": jnp.bitwise_or,
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
        arrays = [as_elements(x, aval(v).shape) for x, v in zip(given, self.jaxpr.invars)]
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
        if isinstance(x, Tracer):
            raise NotFused(f"{self.what} holds a value that is being traced; hand it over as a parameter.")
        x = np.asarray(x)
        if LANES in x.shape or x.size > MOST:
            raise NotFused(f"{self.what} holds a constant array of shape {x.shape}; give it scalars.")
        return as_elements([x.dtype.type(value) for value in x.ravel()], x.shape)

    def run(self, jaxpr: Any, consts: Sequence[Any], args: Sequence[np.ndarray]) -> list[np.ndarray]:
        jaxpr = getattr(jaxpr, "jaxpr", jaxpr)
        known = dict(zip(jaxpr.constvars, map(self.constant, consts)))
        known.update(zip(jaxpr.invars, args))

        def value(x: Any) -> np.ndarray:
            if not isinstance(x, Literal):
                return known[x]
            return as_elements([aval(x).dtype.type(x.val)], ())

        for equation in jaxpr.eqns:
            if any(getattr(x.aval, "shape", ()).count(LANES) > 1 for x in equation.outvars):
                raise self.refuse(equation.primitive.name)
            values = [value(x) for x in equation.invars]
            for variable, result in zip(equation.outvars, self.apply(equation, values)):
                if result.size > MOST:
                    raise NotFused(f"{self.what} makes an array of shape {result.shape}, too much to unroll.")
                known[variable] = result
        return [value(x) for x in jaxpr.outvars]

    def apply(self, equation: Any, values: list[np.ndarray]) -> list[np.ndarray]:
        name, params = equation.primitive.name, equation.params
        out = [x.aval for x in equation.outvars]
        if name in ELEMENTWISE:
            return [self.each(equation.primitive, params, values)]
        if name in _SAME:
            return values
        if name in CALLS:
            return self.run(*inner_jaxpr(equation), values)
        if name in MOVES:
            shapes = [x.aval.shape for x in equation.invars]
            mover = Mover(LANES, lambda: self.refuse(name))
            return mover(equation.primitive, params, values, shapes, [x.shape for x in out])
        if name in _FOLDS:
            return [self.fold(_FOLDS[name], name, equation.invars[0].aval.shape, values[0], params["axes"])]
        if name not in RULES:
            raise self.refuse(name)
        return RULES[name](self, equation, values)

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
