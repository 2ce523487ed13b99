"""One step of a run, traced for a block of neurons, and what may not be in it."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun
from jax.interpreters import partial_eval
from jaxtyping import Array

from .._network import Network
from .._plan import Plan
from .._steps import Steps
from .._stimulus import Row, SampledOnGrid, Stimulus

# Neurons of one instance of the kernel: a warp, so that few neurons spread over many processors.
BLOCK = 32

# What Pallas translates to Triton among that which acts on each neuron by itself.
_SIMPLE = frozenset(
    "abs acos acosh add add_any and asin asinh atan atan2 atanh bitcast_convert_type broadcast_in_dim cbrt "
    "ceil clamp convert_element_type cos cosh div eq erf_inv exp exp2 expm1 floor ge gt integer_pow "
    "is_finite le log log1p logistic lt max min mul ne neg nextafter not or pow rem reshape rsqrt select_n "
    "shift_left shift_right_arithmetic shift_right_logical sign sin sinh sqrt square squeeze stop_gradient "
    "sub tan tanh xor".split()
)
_CALLS = frozenset(["jit", "closed_call", "custom_jvp_call", "checkpoint"])


class NotFused(ValueError):
    """Why a run cannot take place in one kernel."""


@dataclasses.dataclass(frozen=True)
class Kind:
    """The shape of an array: `rows`, if any, and then one value for each neuron, or one for all."""

    neuron: bool
    rows: int | None = None

    def shape(self, n: int) -> tuple[int, ...]:
        return (() if self.rows is None else (self.rows,)) + ((n,) if self.neuron else ())

    def conform(self, x: Any, wanted: "Kind", n: int) -> Any:
        """`x` of this kind, with one value for each neuron if `wanted` has that."""
        if wanted.neuron and not self.neuron:
            return jnp.broadcast_to(x[..., None], wanted.shape(n))
        return x


@dataclasses.dataclass(frozen=True, eq=False)
class Program:
    """One step of a run, and what it saves, as functions of lists of arrays for BLOCK neurons.

    **Fields:**

    - `advance(i, inputs, carry)`, `observe(i, inputs, carry)`: the carry after step `i` + 1, and what is
        saved after step `i`. `inputs` holds the model's and the stimulus's arrays, of those with
        rows that of step `i`.
    - `inputs`, `carry`, `rows`: the kinds of what they take and give; `dtypes`: theirs.
    - `n`: neurons of the run; `plan`; `chunk`: steps from one kept carry to the next.
    """

    advance: Callable
    observe: Callable
    inputs: tuple[Kind, ...]
    carry: tuple[Kind, ...]
    rows: tuple[Kind, ...]
    dtypes: tuple[tuple, tuple, tuple]
    n: int
    plan: Plan
    chunk: int

    @property
    def kept(self) -> tuple[Kind, ...]:
        """The kinds of the carries that a gradient starts from, one for each chunk."""
        return tuple(Kind(kind.neuron, -(-self.plan.steps // self.chunk)) for kind in self.carry)

    @property
    def moving(self) -> list[int]:
        """Which parts of the carry have derivatives: what is one for all depends on time alone."""
        return _moving(self.carry, self.dtypes[1])

    @property
    def moving_rows(self) -> list[int]:
        """Which parts of what is saved have derivatives."""
        return _moving(self.rows, self.dtypes[2])

    def avals(self, inputs: Sequence[Kind], carry: Sequence[Kind]) -> tuple:
        """The shapes of i, `inputs` and `carry` for one block."""
        shapes = lambda kinds, dtypes: [
            jax.ShapeDtypeStruct(Kind(kind.neuron).shape(BLOCK), dtype) for kind, dtype in zip(kinds, dtypes)
        ]
        i = jax.ShapeDtypeStruct((), jnp.int32)
        return i, shapes(inputs, self.dtypes[0]), shapes(carry, self.dtypes[1])

    def of_kinds(self, inputs: Sequence[Kind], carry: Sequence[Kind], n: int) -> "Program":
        """The same program for inputs and a carry of other kinds, and another n."""
        carry = tuple(carry)
        while True:
            after = jax.eval_shape(self.advance, *self.avals(inputs, carry))
            # What comes to differ from neuron to neuron has a value for each from the start.
            grown = tuple(Kind(k.neuron or x.shape != ()) for k, x in zip(carry, after))
            if grown == carry:
                break
            carry = grown
        saved = jax.eval_shape(self.observe, *self.avals(inputs, carry))
        rows = tuple(Kind(x.shape != (), kind.rows) for kind, x in zip(self.rows, saved))
        return dataclasses.replace(self, inputs=tuple(inputs), carry=carry, rows=rows, n=n)

    def compact(self) -> tuple[Callable, Callable]:
        """`advance` and `observe` without what their results do not need."""
        avals = self.avals(self.inputs, self.carry)
        return _Traced(self.advance, avals), _Traced(self.observe, avals)


def _moving(kinds: Sequence[Kind], dtypes: Sequence[Any]) -> list[int]:
    pairs = enumerate(zip(kinds, dtypes))
    return [k for k, (kind, dtype) in pairs if kind.neuron and jnp.issubdtype(dtype, jnp.floating)]


class _Traced:
    """A function of i, inputs and carry as the operations that its result needs."""

    def __init__(self, fn: Callable, avals: tuple):
        closed = jax.make_jaxpr(fn)(*avals)
        jaxpr, self.used = partial_eval.dce_jaxpr(closed.jaxpr, [True] * len(closed.jaxpr.outvars))
        self.closed = ClosedJaxpr(jaxpr, closed.consts)

    def __call__(self, i: Array, inputs: Sequence[Array], carry: Sequence[Array]) -> list[Array]:
        given = [i, *inputs, *carry]
        return jaxpr_as_fun(self.closed)(*(x for x, used in zip(given, self.used) if used))

    def check(self, what: str) -> None:
        """Refuse what is not done for each neuron by itself."""
        _check_jaxpr(self.closed.jaxpr, self.closed.consts, what)


def _check_jaxpr(jaxpr: Any, consts: Sequence[Any], what: str) -> None:
    alone = lambda shape: shape in ((), (BLOCK,))
    for const in consts:
        if np.shape(const) != ():
            raise NotFused(f"{what} holds a constant array of shape {np.shape(const)}; give it scalars.")
    for equation in jaxpr.eqns:
        name = equation.primitive.name
        if name in _CALLS:
            inner = equation.params.get("jaxpr") or equation.params.get("call_jaxpr")
            _check_jaxpr(getattr(inner, "jaxpr", inner), getattr(inner, "consts", ()), what)
        elif name not in _SIMPLE or not all(alone(x.aval.shape) for x in equation.outvars):
            raise NotFused(
                f"{what} does more than treat each neuron by itself: `{name}` in it gives "
                f"shape {equation.outvars[0].aval.shape} for {BLOCK} neurons."
            )


class _Unread(Stimulus):
    """Stands for a stimulus of which a step has a row alone."""

    def __call__(self, t: Any) -> Array:
        raise NotFused("`saveat.fn` or a reducer reads a sampled stimulus.")


def make_program(steps: Steps, carry: Any, plan: Plan, chunk: int) -> tuple[Program, list[Any]]:
    """The program of a run, and the inputs that it needs.

    **Arguments:** `carry`: the stepper's state and what the reducers carry, at the start.

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
    for k, (path, x) in enumerate(jax.tree.leaves_with_path(steps)):
        if k in where and not in_rows[k] and x.shape not in ((), (n,)):
            name = jax.tree_util.keystr(path)[1:]
            raise NotFused(f"`{name}` has shape {x.shape}, neither a scalar nor one value per neuron.")
    parts, carry_structure = jax.tree.flatten(carry)
    for path, x in jax.tree.leaves_with_path(carry):
        if x.shape not in ((), (n,)):
            name = jax.tree_util.keystr(path[1:])
            whose = "reduce" if path[0].idx else "solver"
            raise NotFused(f"`{whose}{name}` carries an array of shape {x.shape} from step to step.")

    def kind(k: int) -> Kind:
        shape = leaves[k].shape
        if in_rows[k]:
            return Kind(len(shape) == 2, shape[0])
        return Kind(shape == (n,))

    def rebuild(inputs: Sequence[Array]) -> Steps:
        full = list(leaves)
        for k in where:
            full[k] = jnp.zeros((), leaves[k].dtype)  # of those that are not needed
        for k, x in zip(needed, inputs):
            full[k] = x
        full = [Row(x) if in_rows[k] else x for k, x in enumerate(full)]
        block = jax.tree.unflatten(structure, full)
        return dataclasses.replace(block, network=Network(block.network.neuron, n=BLOCK))

    def advance(i: Array, inputs: Sequence[Array], carry: Sequence[Array]) -> list[Array]:
        block, (z, reduced) = rebuild(inputs), jax.tree.unflatten(carry_structure, carry)
        z = block.advance(i, z, None)
        return jax.tree.leaves((z, block.gather(i + 1, z, reduced)))

    def observe(i: Array, inputs: Sequence[Array], carry: Sequence[Array]) -> list[Array]:
        if not rows:
            return []
        z, _ = jax.tree.unflatten(carry_structure, carry)
        return jax.tree.leaves(rebuild(inputs).row(i, z))

    rows = plan.steps // plan.stride if plan.stride < plan.steps else 0
    saved = []
    if rows:
        saved = jax.tree.leaves(jax.eval_shape(steps.row, jax.ShapeDtypeStruct((), jnp.int32), carry[0]))
    for x in saved:
        if x.shape not in ((), (n,)):
            raise NotFused(f"`saveat.fn` gives an array of shape {x.shape}, not one value per neuron.")
    dtype_of = lambda part: tuple(x.dtype for x in part)
    dtypes = (dtype_of(leaves[k] for k in where), dtype_of(parts), dtype_of(saved))
    kinds = tuple(kind(k) for k in where)
    carried = tuple(Kind(x.shape == (n,)) for x in parts)
    row_kinds = tuple(Kind(x.shape == (n,), rows) for x in saved)
    needed = where
    program = Program(advance, observe, kinds, carried, row_kinds, dtypes, n, plan, chunk)
    step, row = program.compact()
    step.check("a step of this model and solver")
    row.check("`saveat.fn`")
    used = [a or b for a, b in zip(step.used, row.used)][1 : 1 + len(where)]
    chosen = [k for k, is_used in enumerate(used) if is_used]
    needed = [where[k] for k in chosen]
    pick = lambda x: tuple(x[k] for k in chosen)
    program = dataclasses.replace(program, inputs=pick(kinds), dtypes=(pick(dtypes[0]), dtypes[1], dtypes[2]))
    return program, [leaves[k] for k in needed]
