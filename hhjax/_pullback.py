"""A loop of steps and its derivatives. Backwards several steps are taken at a time, each time in one loop
over the elements; forwards see `_along.py`.

For the steps of a run on the CPU. JAX's own derivative of a loop works through about 50 arrays at
every step, and adds what it finds for each parameter to what it has. Here a block of steps is worked
out anew from the state before it, gone through backwards and added up, all at once for each neuron.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun, Primitive
from jax.interpreters import ad, batching, mlir, partial_eval

from ._along import along
from ._cores import is_wide
from ._jaxprs import split, variables
from ._one_loop import MOST, OneLoop
from ._scan import nbytes, near_divisor, scan, scan_in_chunks, take


@dataclasses.dataclass(frozen=True)
class Cut:
    """How a loop is cut up.

    **Fields:** `chunk`: calls in an inner loop; `apart`: calls from one carry that is kept for a gradient
    to the next, or a few more; `least`, `most`: calls whose derivative is worked out at once, if XLA can
    do so many: more than the least where carries are far apart, for there calls are made anew; `forward`:
    whether nothing is kept, and derivatives are worked out along with the values.
    """

    chunk: int
    apart: int
    least: int
    most: int
    forward: bool = False

    def within(self, operations: int) -> tuple[int, int]:
        """Calls whose derivative is worked out at once if one is of so many operations, and how many
        times that from one kept carry to the next."""
        block = min(max(self.apart, self.least), self.most, max(MOST // operations, 1))
        return block, math.ceil(self.apart / block)


class Pulled:
    """Loops of `f(carry, x) -> (carry, y)`, for arguments like these.

    **Fields:** `params`: all that `f` refers to and may be differentiated by. These go through `scan`
    unchanged, so that the derivatives by them are added up on the way back.
    """

    def __init__(self, f: Callable[[Any, Any], tuple[Any, Any]], carry: Any, x: Any):
        closed, (_, y) = jax.make_jaxpr(f, return_shape=True)(carry, x)
        self.jaxpr, self.structure = closed.jaxpr, jax.tree.structure(y)
        is_param = [isinstance(x, Tracer) and _moves(x) for x in closed.consts]
        self.consts = [x for x, param in zip(closed.consts, is_param) if not param]
        self.params = [x for x, param in zip(closed.consts, is_param) if param]
        # Where the jaxpr's constants and arguments stand if the parameters come after other constants.
        order = sorted(range(len(is_param)), key=lambda k: is_param[k])
        self.place = [*map(order.index, range(len(order)))]
        self.place += range(len(order), len(order) + len(self.jaxpr.invars))

    def scan(self, params: Any, carry: Any, xs: Any, length: int, cut: Cut) -> tuple[Any, Any, Any]:
        """The params, the carry and the ys after `length` calls of `f`, as by `lax.scan`."""
        leaves, structure = jax.tree.flatten(carry)
        jaxpr, place, rows = self.jaxpr, self.place, jax.tree.leaves(xs)

        def run(*flat: Any) -> list[Any]:
            consts, args = split([flat[k] for k in place], len(jaxpr.constvars))
            return jaxpr_as_fun(ClosedJaxpr(jaxpr, consts))(*args)

        sizes = len(self.consts), len(params), len(leaves), len(rows)
        sources = tuple(frozenset(place[k] for k in ks) for ks in _sources(jaxpr))
        avals = tuple(v.aval for v in jaxpr.outvars)
        # In jit a call and its derivative are traced once for all the calls of a block.
        loop = _Loop(jax.jit(run), sizes, sources, avals, length, cut)
        out = call_p.bind(*self.consts, *params, *leaves, *rows, loop=loop)
        params, carry, ys = split(out, len(params), len(leaves))
        return params, jax.tree.unflatten(structure, carry), jax.tree.unflatten(self.structure, ys)


def _moves(x: Any) -> bool:
    return jnp.issubdtype(x.dtype, jnp.floating)


def _sources(jaxpr: Any) -> list[frozenset[int]]:
    """Which constants and arguments each result comes from."""
    known = {v: frozenset([k]) for k, v in enumerate([*jaxpr.constvars, *jaxpr.invars])}
    of = lambda vs: frozenset().union(*(known[v] for v in variables(vs)))
    for equation in jaxpr.eqns:
        known.update({v: of(equation.invars) for v in equation.outvars})
    return [of([v]) for v in jaxpr.outvars]


def _with_rows(aval: Any, count: int) -> Any:
    return aval.update(shape=(count, *aval.shape))


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class _Loop:
    """`length` calls of `run`, which gives what is carried and a row of results.

    **Fields:** `sizes`: how many constants, parameters, carried arrays and further ones, of which each
    call takes a row, `run` takes; `sources`, `avals`: of each of its results the arguments that it
    comes from, and its shape and type; `block`, `kept`: calls whose derivative is worked out at once,
    and how many times that from one carry that a gradient begins from to the next. The loop gives these
    carries as well, unless `block` is 0; `change`: what it also works out the changes of, if any.
    """

    run: Callable[..., list[Any]]
    sizes: tuple[int, int, int, int]
    sources: tuple[frozenset[int], ...]
    avals: tuple[Any, ...]
    length: int
    cut: Cut
    block: int = 0
    kept: int = 1
    change: "_Change | None" = None

    @property
    def carried(self) -> range:
        """Which arguments are carried."""
        return range(sum(self.sizes[:2]), sum(self.sizes[:3]))

    @property
    def stretches(self) -> list[tuple[slice, int, int]]:
        """For the most of the loop and what remains of it: which calls, in how many stretches from one kept
        carry to the next, of how many each."""
        length = self.block * self.kept
        count, rest = divmod(self.length, length)
        cut = self.length - rest
        parts = [(slice(0, cut), count, length), (slice(cut, self.length), 1, rest)]
        return [stretch for stretch in parts if stretch[0].stop > stretch[0].start]

    @property
    def row_bytes(self) -> int:
        return nbytes(self.avals[len(self.carried) :])

    @property
    def chunk(self) -> int:
        """Calls in an inner loop, fewer if there are rows of changes besides those of values."""
        of_values = (self if self.change is None else self.change.loop).row_bytes
        return near_divisor(self.length, max(self.cut.chunk * of_values // self.row_bytes, 1))

    def place(self, k: int) -> int:
        """Where an argument has a batch axis: in rows after that of the rows."""
        return int(k >= self.carried.stop)

    def result_place(self, k: int) -> int:
        """Where a result of `run` has one in the loop's."""
        return int(k >= len(self.carried))

    def reached(self, args: Iterable[int]) -> tuple[set[int], list[int]]:
        """The arguments that come to depend on some of them in the course of the loop, with these, and
        the results that do."""
        args = set(args)
        while True:
            results = [k for k, sources in enumerate(self.sources) if sources & args]
            grown = args | {self.carried[k] for k in results if k < len(self.carried)}
            if grown == args:
                return args, results
            args = grown

    def shapes(self, results: Iterable[int]) -> list[Any]:
        """The shapes and types of results of the whole loop."""
        rows = lambda k: _with_rows(self.avals[k], self.length) if self.result_place(k) else self.avals[k]
        return [rows(k) for k in results]

    def body(self, fixed: Sequence[Any]) -> Callable[[list, list], tuple[list, list]]:
        """A call, from constants and parameters."""

        def f(carry: list, x: list) -> tuple[list, list]:
            carry, y = split(self.run(*fixed, *carry, *x), len(self.carried))
            return carry, y

        return f

    def several(self, fixed: Sequence[Any], carry: list, rows: list) -> tuple[list, list[list]]:
        """A call for each of the rows: what is carried after them, and the results of each."""
        f, ys = self.body(fixed), []
        for xs in rows:
            carry, y = f(carry, xs)
            ys.append(y)
        return carry, ys

    def forward(self, *args: Any) -> list[Any]:
        """The parameters, what is carried at the end, rows of results and, with a `block`, the carries."""
        consts, params, carry, xs = split(args, *self.sizes[:3])
        fixed, parts, kept = [*consts, *params], [], []
        if not self.block:
            call = self.body(fixed)
            if not is_wide():  # for then one loop takes twice as long as XLA's several do
                calls = self.calls(fixed, carry, [_shapes(xs, 1)])
                call = lambda carry, x: tuple(split(calls(*fixed, *carry, *x), len(carry)))
            carry, ys = scan_in_chunks(call, carry, xs, self.length, self.chunk)
            return [*params, *carry, *ys]

        for part, count, length in self.stretches:
            rows = self.in_blocks(xs, part, count, length)
            go = functools.partial(self.go, self.calls(fixed, carry, _shapes(rows, 2)), fixed)

            def stretch(carry: list, rows: list) -> tuple[list, Any]:
                after, ys = scan(go, carry, rows, length // len(rows))
                return after, (ys, carry)

            chunk = near_divisor(count, max(self.cut.chunk // length, 1)) if self.cut.most == 1 else count
            carry, (ys, starts) = scan_in_chunks(stretch, carry, rows, count, chunk)
            parts.append([y.reshape(-1, *y.shape[3:]) for y in ys])
            kept += starts
        ys = [jnp.concatenate(rows) for rows in zip(*parts)]
        return [*params, *carry, *ys, *kept]

    def in_blocks(self, xs: Any, part: slice, count: int, length: int) -> list[Any]:
        """The rows of `part` for each call of a block, of shape (`count`, blocks in a stretch)."""
        block = 1 if length % self.block else self.block  # where few calls remain, quick to compile
        rows = take(xs, part, (count, length // block, block))
        # One array for each call: XLA makes one loop only of what is read at one place.
        return [jax.tree.map(lambda x: x[:, :, k], rows) for k in range(block)]

    def calls(self, fixed: list, carry: list, rows: list) -> OneLoop:
        """A call for each of the rows, in one loop over the elements."""
        given, structure = jax.tree.flatten((carry, rows))

        def calls(*args: Any) -> list[Any]:
            fixed_here, rest = split(args, len(fixed))
            carry, ys = self.several(fixed_here, *jax.tree.unflatten(structure, rest))
            return jax.tree.leaves((carry, ys))

        return OneLoop(calls, [*fixed, *given], len(fixed), may_round=self.change is not None)

    def go(self, calls: OneLoop, fixed: list, carry: list, rows: list) -> tuple[list, list]:
        """The carry after some calls, and their results in rows."""
        carry, ys = split(calls(*fixed, *carry, *jax.tree.leaves(rows)), len(carry))
        return carry, [jnp.stack(ys[k :: len(ys) // len(rows)]) for k in range(len(ys) // len(rows))]

    def batched(self, args: Iterable[int], size: int) -> tuple["_Loop", set[int], list[int]]:
        """The same loop with a batch axis in some arguments; then which come to have one and which
        results do."""
        args, results = self.reached(args)
        if not args:
            return self, args, results
        out = [0 if k in results else None for k in range(len(self.avals))]
        run = jax.vmap(
            self.run, [0 if k in args else None for k in range(sum(self.sizes))], out, axis_size=size
        )
        avals = tuple(_with_rows(x, size) if k in results else x for k, x in enumerate(self.avals))
        return dataclasses.replace(self, run=run, avals=avals), args, results


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class _Change:
    """What the results of a loop change by if its arguments do.

    **Fields:** `params`, `carried`: which of them change; `rows`: which rows of results do.
    """

    loop: _Loop
    params: tuple[int, ...]
    carried: tuple[int, ...]
    rows: tuple[int, ...]

    @property
    def moving(self) -> list[int]:
        """Which arguments change."""
        first = self.loop.sizes[0]
        return [*(first + k for k in self.params), *(self.loop.carried[k] for k in self.carried)]

    @property
    def results(self) -> list[int]:
        """Which results of `run` do."""
        return [*self.carried, *(len(self.loop.carried) + k for k in self.rows)]

    def of_moving(self, args: Sequence[Any], fn: Callable) -> tuple[Callable, list[Any]]:
        """`fn(fixed, rest)` as a function of what changes of these arguments."""

        def restricted(*moving: Any) -> Any:
            given = list(args)
            for k, x in zip(self.moving, moving):
                given[k] = x
            return fn(*split(given, self.loop.carried.start))

        return restricted, [args[k] for k in self.moving]

    @property
    def parts(self) -> tuple[int, ...]:
        """Of the loop of values and changes, how many arguments of each kind there are: constants,
        parameters, their changes, carried arrays, their changes, and then the rows."""
        consts, params, carry, _ = self.loop.sizes
        return consts, params, len(self.params), carry, len(self.carried)

    @property
    def together(self) -> _Loop:
        """The loop of values and changes. A change comes after all values of its kind."""
        loop, sizes, parts = self.loop, self.loop.sizes, self.parts
        first = len(loop.carried)

        def run(*args: Any) -> list[Any]:
            consts, params, d_params, carry, d_carry, xs = split(args, *parts)
            call = lambda fixed, rest: loop.run(*fixed, *rest)
            fn, at = self.of_moving([*consts, *params, *carry, *xs], call)
            out, d_out = along(fn, at, [*d_params, *d_carry], self.results)
            return [*out[:first], *d_out[: len(d_carry)], *out[first:], *d_out[len(d_carry) :]]

        consts, params, d_params, carry, d_carry, xs = split(range(sum(parts) + sizes[3]), *parts)
        places = [*consts, *params, *carry, *xs]
        changed = dict(zip(self.moving, [*d_params, *d_carry]))
        of = [frozenset(places[k] for k in sources) for sources in loop.sources]
        by = [of[k] | {changed[s] for s in loop.sources[k] if s in changed} for k in self.results]
        mixed = lambda xs, d: (*xs[:first], *d[: parts[-1]], *xs[first:], *d[parts[-1] :])
        return dataclasses.replace(
            loop,
            run=run,
            sizes=(sizes[0], sizes[1] + parts[2], sizes[2] + parts[4], sizes[3]),
            sources=mixed(of, by),
            avals=mixed(loop.avals, [loop.avals[k] for k in self.results]),
            change=self,
        )

    def push(self, *args: Any) -> list[Any]:
        """The change of parameters, carried arrays and rows, from the arguments, the kept carries and the
        changes."""
        given, xs, _ = split(args, self.loop.carried.stop, self.loop.sizes[3])
        changes = list(args[len(args) - len(self.moving) :])

        def results(fixed: list, carry: list) -> list:
            loop = self.loop
            carry, ys = scan_in_chunks(loop.body(fixed), carry, xs, loop.length, loop.cut.chunk)
            return [*(carry[k] for k in self.carried), *(ys[k] for k in self.rows)]

        fn, at = self.of_moving(given, results)
        return [*changes[: len(self.params)], *jax.jvp(fn, at, changes)[1]]

    def pull(self, *args: Any) -> list[Any]:
        """The transpose: the cotangents of what changes, from the arguments, the kept carries and the
        cotangents of what does."""
        loop, carried = self.loop, len(self.loop.carried)
        fixed, _, xs, rest = split(args, loop.carried.start, *loop.sizes[2:])
        kept, sums, ct_carry, ct_ys = split(
            rest, len(loop.stretches) * carried, len(self.params), len(self.carried)
        )
        state = sums, ct_carry
        for k, (part, count, length) in reversed(list(enumerate(loop.stretches))):
            starts = kept[k * carried : (k + 1) * carried]
            rows = loop.in_blocks((xs, ct_ys), part, count, length)
            pulled = self._pulled(fixed, state, (_shapes(starts, 1), _shapes(rows, 2)))
            back = functools.partial(self._back, fixed, length // len(rows), pulled)
            state, _ = jax.lax.scan(back, state, (starts, rows), reverse=True)
        sums, ct_carry = state
        return [*sums, *ct_carry]

    def _back(self, fixed: list, blocks: int, pulled: OneLoop, state: Any, at: Any) -> Any:
        """Back over the steps from one kept carry to the next."""
        carry, rows = at

        def back(state: Any, at: Any) -> tuple[Any, None]:
            sums, _ = state
            out = pulled(*fixed, *jax.tree.leaves((at, state)))
            return tuple(split(out, len(sums))), None

        if blocks == 1:
            return back(state, (carry, jax.tree.map(lambda x: x[0], rows)))
        xs = [jax.tree.map(lambda x: x[:-1], xs) for xs, _ in rows]
        calls = self.loop.calls(fixed, carry, _shapes(xs, 1))

        def go(carry: list, xs: list) -> tuple[list, list]:
            after, _ = self.loop.go(calls, fixed, carry, xs)
            return after, after

        _, later = scan(go, carry, xs, blocks - 1)
        starts = [jnp.concatenate([x[None], xs]) for x, xs in zip(carry, later)]
        return jax.lax.scan(back, state, (starts, rows), reverse=True)

    @property
    def step_by_step(self) -> "_Change":
        """The same, of which the transpose goes back one call at a time."""
        loop = self.loop
        return dataclasses.replace(self, loop=dataclasses.replace(loop, block=1, kept=loop.block * loop.kept))

    def cut(self, args: Sequence[Any]) -> "_Change":
        """The same for a loop that keeps what the transpose needs."""
        loop, operations = self.loop, 1
        if loop.cut.most > 1:
            fixed, carry, xs = split(args, loop.carried.start, len(loop.carried))
            ct_ys = [loop.avals[k] for k in self.results[len(self.carried) :]]
            at = _shapes(carry, 0), [(_shapes(xs, 1), _shapes(ct_ys, 0))]
            state = tuple(split(_shapes([args[k] for k in self.moving], 0), len(self.params)))
            operations = max(self._pulled(fixed, state, at).operations, 1)
        block, kept = loop.cut.within(operations)
        return dataclasses.replace(self, loop=dataclasses.replace(loop, block=block, kept=kept))

    def _pulled(self, fixed: list, state: Any, at: Any) -> OneLoop:
        """Cotangents before a block of steps from those after it, `state`, and what is there."""
        given, structure = jax.tree.flatten((at, state))

        def pulled(*args: Any) -> list[Any]:
            fixed_here, rest = split(args, len(fixed))
            (carry, rows), (sums, ct_carry) = jax.tree.unflatten(structure, rest)

            def results(fixed: list, carry: list) -> Any:
                carry, ys = self.loop.several(fixed, carry, [xs for xs, _ in rows])
                return [carry[k] for k in self.carried], [[y[k] for k in self.rows] for y in ys]

            fn, where = self.of_moving([*fixed_here, *carry], results)
            out = jax.vjp(fn, *where)[1]((ct_carry, [ct_y for _, ct_y in rows]))
            ct_params, ct_carry = split(out, len(sums))
            return [*(x + ct for x, ct in zip(sums, ct_params)), *ct_carry]

        return OneLoop(pulled, [*fixed, *given], fixed=len(fixed), may_round=True)


def _shapes(xs: Any, axes: int) -> Any:
    """The shapes and types of arrays without their first axes."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[axes:], x.dtype), xs)


def _call_shapes(*args: Any, loop: _Loop) -> list[Any]:
    _, params, carry, _ = split(args, *loop.sizes[:3])
    kept = []
    for _, count, _ in loop.stretches if loop.block else []:
        kept += [_with_rows(x, count) for x in carry]
    return [*params, *loop.shapes(range(len(loop.avals))), *kept]


def _push_shapes(*args: Any, change: _Change) -> list[Any]:
    params = args[len(args) - len(change.moving) :][: len(change.params)]
    return [*params, *change.loop.shapes(change.results)]


def _primitive(name: str, evaluate: Callable[..., list[Any]], shapes: Callable[..., list[Any]]) -> Primitive:
    primitive = Primitive(f"hhjax_{name}")
    primitive.multiple_results = True
    primitive.def_impl(evaluate)
    primitive.def_abstract_eval(shapes)
    mlir.register_lowering(primitive, mlir.lower_fun(evaluate, multiple_results=True))
    return primitive


call_p = _primitive("call", lambda *args, loop: loop.forward(*args), _call_shapes)
push_p = _primitive("push", lambda *args, change: change.push(*args), _push_shapes)


def _in_front(x: Any, axis: int | None, place: int, size: int) -> Any:
    """`x` with a batch axis in this place."""
    if axis is not None:
        return jnp.moveaxis(x, axis, place)
    return jnp.broadcast_to(jnp.expand_dims(x, place), (*x.shape[:place], size, *x.shape[place:]))


def _size(args: Sequence[Any], axes: Sequence[Any]) -> int:
    return next(x.shape[axis] for x, axis in zip(args, axes) if axis is not None)


def _batch_call(args: Sequence[Any], axes: Sequence[Any], loop: _Loop) -> tuple[list[Any], list[Any]]:
    size = _size(args, axes)
    wide, inside, results = loop.batched((k for k, axis in enumerate(axes) if axis is not None), size)
    full = lambda k: _in_front(args[k], axes[k], loop.place(k), size)
    out = call_p.bind(*(full(k) if k in inside else x for k, x in enumerate(args)), loop=wide)
    params = [0 if k in inside else None for k in range(loop.sizes[0], loop.carried.start)]
    places = [loop.result_place(k) if k in results else None for k in range(len(loop.avals))]
    kept = [1 if k in inside else None for k in loop.carried]
    return out, [*params, *places, *kept * (len(loop.stretches) if loop.block else 0)]


def _batch_push(args: Sequence[Any], axes: Sequence[Any], change: _Change) -> tuple[list[Any], list[Any]]:
    loop, size = change.loop, _size(args, axes)
    count, first = sum(loop.sizes), len(args) - len(change.moving)
    kept = [*loop.carried] * len(loop.stretches)
    # What moves has a value and a change for each member of the batch.
    batched = {*change.moving, *(k for k, axis in enumerate(axes[:count]) if axis is not None)}
    batched.update(k for k, axis in zip(kept, axes[count:first]) if axis is not None)
    wide, inside, _ = loop.batched(batched, size)
    full = lambda k, place: _in_front(args[k], axes[k], place, size)
    given = [full(k, loop.place(k)) if k in inside else args[k] for k in range(count)]
    given += [full(count + at, 1) if k in inside else args[count + at] for at, k in enumerate(kept)]
    changes = [full(k, 0) for k in range(first, len(args))]
    out = push_p.bind(*given, *changes, change=dataclasses.replace(change, loop=wide))
    return out, [*[0] * len(change.params), *map(loop.result_place, change.results)]


batching.primitive_batchers[call_p] = _batch_call
batching.primitive_batchers[push_p] = _batch_push


def _call_jvp(primals: Sequence[Any], tangents: Sequence[Any], loop: _Loop) -> tuple[list[Any], list[Any]]:
    moves = [k for k, x in enumerate(tangents) if not isinstance(x, ad.Zero)]
    params = range(loop.sizes[0], loop.carried.start)
    if loop.block or any(k not in params and k not in loop.carried for k in moves):
        tangents = tuple(map(ad.instantiate_zeros, tangents))
        return jax.jvp(loop.forward, tuple(primals), tangents)
    inside, results = loop.reached(moves)
    change = _Change(
        loop,
        tuple(k - params.start for k in params if k in moves),
        tuple(at for at, k in enumerate(loop.carried) if k in inside and _moves(primals[k])),
        tuple(k - len(loop.carried) for k in results if loop.result_place(k) and _moves(loop.avals[k])),
    )
    changes = [ad.instantiate_zeros(tangents[k]) for k in change.moving]
    if loop.cut.forward:
        out, pushed = _call_together(primals, changes, change)
    else:
        change = change.cut(primals)
        out = call_p.bind(*primals, loop=change.loop)
        out, kept = split(out, len(params) + len(loop.avals))
        pushed = push_p.bind(*primals, *kept, *changes, change=change)
    d_out: list[Any] = [ad.Zero(jax.typeof(x).to_tangent_aval()) for x in out]
    for k, x in zip([*change.params, *(len(params) + k for k in change.results)], pushed):
        d_out[k] = x
    return out, d_out


def _call_together(
    primals: Sequence[Any], changes: Sequence[Any], change: _Change
) -> tuple[list[Any], list[Any]]:
    """The results of a loop, and of those that change what they change by."""
    loop = change.loop
    consts, params, carry, xs = split(primals, *loop.sizes[:3])
    d_params, d_carry = split(changes, len(change.params))
    out = call_p.bind(*consts, *params, *d_params, *carry, *d_carry, *xs, loop=change.together)
    counts = map(len, (params, d_params, carry, d_carry, loop.avals[len(carry) :]))
    params, d_params, carry, d_carry, ys, d_ys = split(out, *counts)
    return [*params, *carry, *ys], [*d_params, *d_carry, *d_ys]


def _not_in_reverse(*args: Any, **params: Any) -> Any:
    raise ValueError(
        "A run with adjoint=diffrax.ForwardMode() has no reverse-mode derivative: use jax.jvp or jax.jacfwd, "
        "or for jax.grad, jax.vjp and jax.linearize adjoint=diffrax.RecursiveCheckpointAdjoint()."
    )


def _call_partly_known(trace: Any, *tracers: Any, loop: _Loop) -> Any:
    """In reverse mode values are known, and changes are not."""
    if loop.change is not None:
        known = [x.is_known() for x in tracers]
        consts, params, d_params, carry, d_carry, xs = split(known, *loop.change.parts)
        if all((*consts, *params, *carry, *xs)) and not all((*d_params, *d_carry)):
            _not_in_reverse()
    return trace.default_process_primitive(call_p, tracers, {"loop": loop})


def _push_jvp(primals: Sequence[Any], tangents: Sequence[Any], change: _Change) -> Any:
    return jax.jvp(change.push, tuple(primals), tuple(map(ad.instantiate_zeros, tangents)))


def _push_transpose(cts: Sequence[Any], *args: Any, change: _Change) -> list[Any]:
    first = len(args) - len(change.moving)
    # The derivative of several calls at once takes XLA many times as long to compile as that of one.
    pull = jax.custom_jvp(change.pull)
    pull.defjvp(functools.partial(jax.jvp, change.step_by_step.pull))
    found = pull(*args[:first], *map(ad.instantiate_zeros, cts))
    pairs = zip(args[first:], found, strict=True)
    return [None] * first + [ct if ad.is_undefined_primal(x) else None for x, ct in pairs]


ad.primitive_jvps[call_p] = _call_jvp
ad.primitive_transposes[call_p] = _not_in_reverse
partial_eval.custom_partial_eval_rules[call_p] = _call_partly_known
ad.primitive_jvps[push_p] = _push_jvp
ad.primitive_transposes[push_p] = _push_transpose
