"""Forward-mode derivatives in which each direction costs little.

JAX pushes every direction through all that a step works out. But a step takes each neuron from a few
numbers to a few others: here the derivatives of these by those are worked out once, whatever the
number of directions, each of which then takes a few products.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, no_type_check

import jax
import jax.numpy as jnp

from ._jaxprs import bind, CALLS, inner_jaxpr, is_elementwise, spreads_number, value, variables

# A value of more slopes than this that more than one operation uses is worked out for every direction if
# so many operations follow from it, as from a stage of a Runge-Kutta method: each would have as many slopes.
_MOST_SLOPES, _MANY = 2, 30


def along(
    fn: Callable[..., Sequence[Any]], args: Sequence[Any], changes: Sequence[Any], results: Sequence[int]
) -> tuple[list[Any], list[Any]]:
    """The results of `fn`, and what these of them, which are floats, change by if the arguments do."""

    def some(*args: Any) -> tuple[list[Any], list[Any]]:
        out = fn(*args)
        return [out[k] for k in results], list(out)

    _, linear, out = jax.linearize(some, *args, has_aux=True)
    closed = jax.make_jaxpr(linear)(*args)
    found = _Walk(changes).results(closed.jaxpr, closed.consts)
    return out, [jnp.zeros_like(out[k]) if x is None else x for k, x in zip(results, found)]


# Called for each operation: not for the run-time type checks of the tests, which take longer.
@no_type_check
class _Walk:
    """Goes through the jaxpr of a linear function of `changes`.

    What changes is known by its slopes: a dict of what one element of it has of the same element of some of
    the `changes`, `None` for the whole. Further `changes` are what comes of operations between elements.
    """

    def __init__(self, changes: Iterable[Any]) -> None:
        self.changes = list(changes)

    def results(self, jaxpr: Any, consts: Sequence[Any]) -> list[Any]:
        """The results for these changes, `None` for what does not change."""
        slopes = [{k: None} for k in range(len(self.changes))]
        out = self.walk(jaxpr, [*consts, *slopes])
        return [self.change(x) if isinstance(x, dict) else None for x in out]

    def new(self, change: Any) -> dict[int, Any]:
        """The slopes of one more change."""
        self.changes.append(change)
        return {len(self.changes) - 1: None}

    def change(self, slopes: dict[int, Any]) -> Any:
        """What changes with these slopes."""
        of = lambda k, slope: slope * self.changes[k].astype(slope.dtype)
        parts = [self.changes[k] if slope is None else of(k, slope) for k, slope in slopes.items()]
        return sum(parts[1:], parts[0])

    def walk(self, jaxpr: Any, args: Sequence[Any]) -> list[Any]:
        """The slopes of what changes, the values of the rest."""
        known = dict(zip([*jaxpr.constvars, *jaxpr.invars], args))
        followers = _followers(jaxpr)
        for equation in jaxpr.eqns:
            values = [value(v, known) for v in equation.invars]
            for v, x in zip(equation.outvars, self.step(equation, values)):
                many = isinstance(x, dict) and len(x) > _MOST_SLOPES and followers.get(v, 0) >= _MANY
                known[v] = self.new(self.change(x)) if many else x
        return [value(v, known) for v in jaxpr.outvars]

    def step(self, equation: Any, values: list[Any]) -> list[Any]:
        """The same for the results of one operation."""
        name = equation.primitive.name
        if name in CALLS:
            jaxpr, consts = inner_jaxpr(equation)
            return self.walk(jaxpr, [*consts, *values])

        def result(of: Callable) -> list[Any]:
            """The results from this of what changes."""
            given = [of(x, v.aval) if isinstance(x, dict) else x for x, v in zip(values, equation.invars)]
            return bind(equation.primitive, equation.params, given)

        moving = [x for x in values if isinstance(x, dict)]
        by = dict.fromkeys(k for x in moving for k in x)
        if not by:
            return result(lambda x, _: x)
        if not (is_elementwise(equation) or spreads_number(equation)):
            return [self.new(x) for x in result(lambda x, _: self.change(x))]
        slope = lambda k: result(lambda x, aval: _slope(x, k, aval))[0]
        if name != "add_any" or len(moving) == 1:
            return [{k: slope(k) for k in by}]
        x, y = moving  # of which each may have slopes that the other has not
        return [x | y | {k: slope(k) for k in x if k in y}]


@no_type_check
def _slope(slopes: dict[int, Any], k: int, aval: Any) -> Any:
    if k not in slopes:
        return jnp.zeros(aval.shape, aval.dtype)
    return jnp.ones(aval.shape, aval.dtype) if slopes[k] is None else slopes[k]


@no_type_check
def _followers(jaxpr: Any) -> dict[Any, int]:
    """How many operations follow from each value that more than one uses."""
    after: dict[Any, int] = {}  # a bit for each
    users: dict[Any, int] = {}
    for k, equation in reversed([*enumerate(jaxpr.eqns)]):
        follow = 1 << k
        for v in equation.outvars:
            follow |= after.get(v, 0)
        for v in variables(equation.invars):
            after[v] = after.get(v, 0) | follow
            users[v] = users.get(v, 0) + 1
    return {v: bits.bit_count() for v, bits in after.items() if users[v] > 1}
