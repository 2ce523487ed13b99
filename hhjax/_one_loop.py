"""A function's elementwise work in one loop over the elements, for XLA on the CPU.

XLA:CPU makes a loop of its own for every array that it cannot leave out, about 50 in the gradient of
a step, and each reads and writes memory again. Only a reduction with several results is one loop
whatever it works out, so that is what the work is written as.
"""

from collections.abc import Callable, Sequence
from typing import Any, no_type_check

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import jaxpr_as_fun, Literal
from jax.extend.core.primitives import div_p, mul_p
from jax.interpreters import partial_eval

from ._jaxprs import bind, CALLS, ELEMENTWISE, inner_jaxpr, is_elementwise, spreads_number, value, variables

# The most that XLA makes one function of. Of what lies before the last 2,000 operations it makes one for
# each value that is used twice (kMaxHloOpsPerSubgraph in its computation_partitioner.cc). LLVM may leave
# these as calls: then there are no vectors, and the loop takes thirty times as long. Loops of up to 3,600
# operations were met that do not, and one of 3,200 that does.
MOST = 2000
# Arrays that a loop may read: with more than about 100, LLVM makes no use of vectors either.
_MOST_READ = 90
# A loop writes all that it reads once more, which is worth it from two operations for each array on, and
# among few elements, where each loop costs more than what is done in it, from a few operations on.
_PER_ARRAY, _FEW_ELEMENTS, _FEWEST = 2, 64, 8


class OneLoop:
    """`fn` of arrays like `args` (or their shapes), with what is elementwise in as few loops as can be.

    Operations between elements, such as a product with a matrix, stand between the loops. Derivatives
    are those of `fn` itself.

    **Arguments:** `fixed`: how many of the `args`, the first ones, are the same in every step of a loop
    over time that this stands in. XLA takes out of that what depends on them alone; `may_round`:
    whether rounding may differ from `fn`'s by a little: it then divides but once by a number, and multiplies,
    and takes what is to be broadcast into the loops too.

    **Fields:** `operations`: how many the largest loop would have, of which only `MOST` are done in one.
    """

    def __init__(
        self, fn: Callable[..., Sequence[Any]], args: Sequence[Any], fixed: int = 0, may_round: bool = False
    ):
        self.plain = jax.make_jaxpr(fn)(*args)
        inlined = lambda *args: _Inliner(may_round).run(self.plain.jaxpr, self.plain.consts, args)
        closed = jax.make_jaxpr(inlined)(*args)
        wanted = [True] * len(closed.jaxpr.outvars)
        self.jaxpr, self.used = partial_eval.dce_jaxpr(closed.jaxpr, wanted)
        self.consts = closed.consts
        self.users: dict[Any, set[int]] = {v: {-1} for v in variables(self.jaxpr.outvars)}
        for equation in self.jaxpr.eqns:
            for v in variables(equation.invars):
                self.users.setdefault(v, set()).add(id(equation))
        # In each stage first what is not elementwise, then one loop for each shape.
        self.stages: list[tuple[list, dict[tuple, list]]] = []
        self.scalars: dict[Any, Any] = {}  # what stands for their arrays in a loop
        self._arrange({*self.jaxpr.constvars, *closed.jaxpr.invars[:fixed]})
        sizes = [len(equations) for _, loops in self.stages for equations in loops.values()]
        self.operations = max(sizes, default=0)

    def _arrange(self, steady: set) -> None:
        stage = {v: 0 for v in (*self.jaxpr.constvars, *self.jaxpr.invars)}
        looped: set = set()
        for equation in self.jaxpr.eqns:
            shape = _loop_shape(equation)
            sources = variables(equation.invars)
            if steady.issuperset(sources):
                steady.update(equation.outvars)
                shape = None
            if spreads_number(equation):
                self.scalars[equation.outvars[0]] = equation.invars[0]
                shape = None
            at = max((stage[v] + (shape is None and v in looped) for v in sources), default=0)
            while len(self.stages) <= at:
                self.stages.append(([], {}))
            if shape is None:
                self.stages[at][0].append(equation)
            else:
                self.stages[at][1].setdefault(shape, []).append(equation)
                looped.update(equation.outvars)
            stage.update({v: at for v in equation.outvars})

    def __call__(self, *args: Any) -> list[Any]:
        @jax.custom_jvp
        def looped(*args: Any) -> list[Any]:
            return self._run(args)

        @looped.defjvp
        def _(primals: Sequence[Any], tangents: Sequence[Any]) -> Any:
            return jax.jvp(jaxpr_as_fun(self.plain), primals, tangents)

        return looped(*args)

    def _run(self, args: Sequence[Any]) -> list[Any]:
        known = dict(zip(self.jaxpr.constvars, self.consts))
        known.update(zip(self.jaxpr.invars, (x for x, used in zip(args, self.used) if used)))
        for others, loops in self.stages:
            for equation in others:
                _evaluate(equation, known)
            for shape, equations in loops.items():
                for part in self._parts(equations):
                    self._loop(shape, part, known)
        return [value(v, known) for v in self.jaxpr.outvars]

    def _parts(self, equations: list) -> list[list]:
        """What is done in one loop: not too many operations, of not too many arrays."""
        parts: list[list] = [[]]
        made: set = set()
        read: set = set()
        for equation in equations:
            more = {v for v in variables(equation.invars) if v not in made}
            if len(parts[-1]) >= MOST or len(read | more) > _MOST_READ:
                parts.append([])
                made, read = set(), set(variables(equation.invars))
            parts[-1].append(equation)
            made.update(equation.outvars)
            read |= more
        return parts

    def _loop(self, shape: tuple[int, ...], equations: list, known: dict) -> None:
        """Add to what is `known` the results of a loop that are needed outside of it."""
        made = dict.fromkeys(v for equation in equations for v in equation.outvars)
        inside = set(map(id, equations))
        results = [v for v in made if not inside.issuperset(self.users.get(v, ()))]
        element = lambda v: v if isinstance(v, Literal) else self.scalars.get(v, v)
        read = variables([element(v) for equation in equations for v in equation.invars])
        sources = [v for v in dict.fromkeys(read) if v not in made]
        least = _PER_ARRAY * len(sources) if np.prod(shape) > _FEW_ELEMENTS else _FEWEST
        if len(equations) < least:
            for equation in equations:
                _evaluate(equation, known)
            return

        def work(*elements: Any) -> list[Any]:
            here = dict(zip(sources, elements))
            for equation in equations:
                _evaluate(equation, here, element)
            return [here[v] for v in results]

        values = [jnp.broadcast_to(known[v], shape) for v in sources]
        known.update(zip(results, _as_reduction(work, values, [v.aval.dtype for v in results])))


def _as_reduction(work: Callable, values: list, dtypes: list) -> list:
    """`work` on every element of `values`, as a reduction over two rows that are alike.

    What is combined are pairs (x, work(x)), of which the last is taken, if there is one: a monoid.
    XLA refuses floats of several precisions in it, so all of them are of the highest.
    """
    count, given = len(values), [x.dtype for x in values]
    floats = [dtype for dtype in (*given, *dtypes) if jnp.issubdtype(dtype, jnp.floating)]
    with jax.numpy_dtype_promotion("standard"):
        widest = jnp.result_type(*floats or [bool])
    highest = lambda dtype: widest if dtype in floats else dtype
    as_given = lambda xs, dtypes: [x.astype(dtype) for x, dtype in zip(xs, dtypes)]

    def last(before: tuple, after: tuple) -> tuple:
        there = after[0]
        pairs = zip(before[1 : count + 1], after[1 : count + 1])
        # No jnp.where: it would be a call, and XLA crashes where it drops a reduction with calls in it.
        x = [jax.lax.select(there, new, old) for old, new in pairs]
        return (before[0] | there, *x, *as_given(work(*as_given(x, given)), map(highest, dtypes)))

    rows = [jnp.broadcast_to(x.astype(highest(x.dtype))[None], (2, *x.shape)) for x in values]
    there = jnp.ones(rows[0].shape, bool)
    results = [jnp.zeros(rows[0].shape, highest(dtype)) for dtype in dtypes]
    none = [jnp.zeros((), x.dtype) for x in (there, *rows, *results)]
    out = jax.lax.reduce((there, *rows, *results), tuple(none), last, (0,))
    # Without this, the translation of a reduction of which not all is used takes seconds.
    return as_given(jax.lax.optimization_barrier(out)[count + 1 :], dtypes)


# What is called for each operation is not for the run-time type checks of the tests, which take longer.
@no_type_check
def _loop_shape(equation: Any) -> tuple[int, ...] | None:
    """The shape over which an operation is elementwise, `None` if it is not."""
    shape = equation.outvars[0].aval.shape
    return shape if shape and is_elementwise(equation) else None


@no_type_check
def _evaluate(equation: Any, known: dict, stands_for: Callable = lambda v: v) -> None:
    values = [value(stands_for(v), known) for v in equation.invars]
    known.update(zip(equation.outvars, bind(equation.primitive, equation.params, values)))


@no_type_check
class _Inliner:
    """Goes through a jaxpr and the calls in it, and does the same thing once only."""

    def __init__(self, may_round: bool) -> None:
        self.may_round = may_round
        self.done: dict[Any, tuple[list, list]] = {}
        self.ones: dict[int, Any] = {}  # arrays of nothing else

    def is_one(self, x: Any) -> bool:
        return id(x) in self.ones or (isinstance(x, np.generic) and bool(x == 1))

    def run(self, jaxpr: Any, consts: Sequence[Any], args: Sequence[Any]) -> list[Any]:
        known = dict(zip(jaxpr.constvars, consts))
        known.update(zip(jaxpr.invars, args))
        for equation in jaxpr.eqns:
            values = [value(v, known) for v in equation.invars]
            name = equation.primitive.name
            if name in CALLS:
                out = self.run(*inner_jaxpr(equation), values)
            elif self.may_round and name == "div" and jnp.issubdtype(values[1].dtype, jnp.floating):
                out = [self.quotient(*values)]
            elif name == "mul":
                out = [self.product(*values)]
            else:
                out = self.bind(equation.primitive, equation.params, values)
            known.update(zip(equation.outvars, out))
        return [value(v, known) for v in jaxpr.outvars]

    def quotient(self, x: Any, y: Any) -> Any:
        one = y.dtype.type(1)
        by_y = one / y if isinstance(y, np.generic) else self.bind(div_p, {}, [one, y])[0]
        return self.product(x, by_y)

    def product(self, x: Any, y: Any) -> Any:
        if self.is_one(x) or self.is_one(y):
            return jnp.broadcast_to(y if self.is_one(x) else x, np.broadcast_shapes(x.shape, y.shape))
        return self.bind(mul_p, {}, [x, y])[0]

    def bind(self, primitive: Any, params: dict, values: list[Any]) -> list[Any]:
        same = lambda x: (x.dtype.char, x.tobytes()) if isinstance(x, np.generic) else id(x)
        key = primitive, str(params), *map(same, values)
        if key not in self.done:
            args = values
            if self.may_round and primitive.name in ELEMENTWISE:
                shape = np.broadcast_shapes(*(x.shape for x in values))
                args = [x if x.shape in (shape, ()) else jnp.broadcast_to(x, shape) for x in values]
            out = bind(primitive, params, args)
            self.done[key] = values, out
            if primitive.name == "broadcast_in_dim" and self.is_one(values[0]):
                self.ones[id(out[0])] = out[0]
        return self.done[key][1]
