"""The loop over time: one `lax.scan` of steps."""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp

from .._base.devices import as_varying
from .._base.random import step_keys
from .._model.network import Network
from .._model.neuron import Neuron
from .run import nbytes, Result, Run, RunState, steps_done

KEPT_BYTES = 1_000_000_000
"""What a gradient may keep of a run; above that, it keeps only the states between chunks."""


# For a state of so few bytes all values of a step are kept, about so many times its size.
_FEW_BYTES, _ALL = 100, 30
# Else two steps are computed again together: half the states to keep, at no more work. If a state has so many
# arrays, it is one step: two would take twice as long to compile and be no faster.
_BLOCK, _MANY_ARRAYS = 2, 12


def integrate(
    run: Run, start: Any, adjoint: diffrax.AbstractAdjoint, meter: diffrax.AbstractProgressMeter
) -> Result:
    """Take the steps of a run from `start`, see `Run.begin`."""
    run = eqx.tree_at(lambda it: it.network, run, run.network.settled())
    if not isinstance(adjoint, diffrax.ForwardMode):  # whose directions would all be as large
        run = eqx.tree_at(lambda it: it.network, run, spread(run.network))
    plan, first = run.plan, jnp.asarray(steps_done(start), jnp.int32)
    table = run.table(first, plan.steps)
    begin = run.begin(start, jax.tree.map(lambda x: x[0], table))
    keys = None if run.key is None else step_keys(run.key, first, plan.steps)

    def step(carry: tuple, xs: tuple) -> tuple[tuple, None]:
        state, seen = carry
        state = run.step(state, *xs)
        return (state, meter.step(seen, (state.i - first).astype(float) / plan.steps)), None

    def steps_to_row(carry: tuple, xs: tuple) -> tuple[tuple, Any]:
        if plan.stride == 1:
            carry, _ = step(carry, xs)
        else:
            carry, _ = scan(step, carry, xs, plan.stride, within, run.unroll)
        return carry, run.row(carry[0])

    carry = as_varying((begin, meter.init()), (run, begin))
    within = _kept(adjoint, plan.steps, begin.z)
    of_rows = within if plan.stride == 1 else within.of_rows(plan.stride)
    rows, rest = divmod(plan.steps, plan.stride)
    xs = keys, table
    row_xs = _cut(xs, 0, (rows,) if plan.stride == 1 else (rows, plan.stride))
    carry, ys = scan(steps_to_row, carry, row_xs, rows, of_rows, run.unroll // plan.stride)
    if rest:
        carry, _ = scan(step, carry, _cut(xs, rows * plan.stride, (rest,)), rest, within, run.unroll)
    end, seen = carry
    meter.close(seen)
    return run.result(plan.arrange(run.row, begin, ys, end), end)


compiled: Callable[..., Result] = eqx.filter_jit(integrate)


class Kept(NamedTuple):
    """What a gradient keeps of a loop: the carry before every block of `block` calls or, with a `chunk`,
    before every chunk of so many calls and, while that is gone through, before its blocks. The calls are
    made anew. A `block` of 0 keeps all that is worked out."""

    block: int
    chunk: int | None = None

    def of_rows(self, stride: int) -> "Kept":
        """The same for calls that each hold such a loop of `stride` calls."""
        return Kept(0, self.chunk and max(self.chunk // stride, 1))


def _kept(adjoint: diffrax.AbstractAdjoint, steps: int, state: Any, most: int = KEPT_BYTES) -> Kept:
    """What a gradient of a run keeps, in at most so many bytes, see `hh.simulate`."""
    if not isinstance(adjoint, diffrax.RecursiveCheckpointAdjoint):
        return Kept(0)
    size = nbytes(state)
    block = 1 if len(jax.tree.leaves(state)) > _MANY_ARRAYS else _BLOCK
    if adjoint.checkpoints is not None:
        chunk = math.ceil(steps / adjoint.checkpoints)
        return Kept(min(chunk, block), chunk if chunk > block else None)
    block, of_step = (0, _ALL * size) if size <= _FEW_BYTES else (block, size / block)
    return Kept(block, None if steps * of_step <= most else math.ceil(math.sqrt(steps)))


def reverse_adjoint(network: Network, steps: int, batch: int) -> diffrax.RecursiveCheckpointAdjoint:
    """The adjoint for gradients of a batch of runs, which together keep no more than one run may."""
    state = eqx.filter_eval_shape(network.init)
    kept = _kept(diffrax.RecursiveCheckpointAdjoint(), steps, state, KEPT_BYTES // batch)
    states = None if kept.chunk is None else math.ceil(steps / kept.chunk)
    return diffrax.RecursiveCheckpointAdjoint(checkpoints=states)


def scan(f: Callable, carry: Any, xs: Any, length: int, kept: Kept, unroll: int = 1) -> tuple[Any, Any]:
    """`lax.scan` of `length` calls of f, `unroll` of them in a turn, with what a gradient keeps of it."""
    if kept.chunk is not None and kept.chunk < length:
        chunk = _near_divisor(length, kept.chunk)
        several = lambda carry, xs: scan(f, carry, xs, chunk, Kept(kept.block), unroll)
        turns = 1
        apart = together = lambda x: x
    elif kept.block:
        chunk = min(kept.block, length)
        several = functools.partial(_calls, f)
        turns = unroll // chunk
        # One array for each call of a block: what is read or written at one place goes into one loop.
        apart = lambda xs: tuple(jax.tree.map(lambda x: x[:, k], xs) for k in range(chunk))
        together = lambda ys: jax.tree.map(lambda *ys: jnp.stack(ys, axis=1), *ys)
    else:
        return _loop(f, carry, xs, length, unroll)
    anew = functools.partial(jax.checkpoint, prevent_cse=False)
    count, rest = divmod(length, chunk)
    carry, ys = _loop(anew(several), carry, apart(_cut(xs, 0, (count, chunk))), count, turns)
    ys = jax.tree.map(lambda y: y.reshape((-1,) + y.shape[2:]), together(ys))
    if rest:
        carry, tail = _loop(anew(f), carry, _cut(xs, count * chunk, (rest,)), rest)
        ys = jax.tree.map(lambda *parts: jnp.concatenate(parts), ys, tail)
    return carry, ys


def _calls(f: Callable, carry: Any, xs: tuple) -> tuple[Any, tuple]:
    """A call for each of the xs."""
    ys = []
    for x in xs:
        carry, y = f(carry, x)
        ys.append(y)
    return carry, tuple(ys)


def _loop(f: Callable, carry: Any, xs: Any, length: int, unroll: int = 1) -> tuple[Any, Any]:
    """`lax.scan`, which for one call of f makes no loop."""
    if length > 1:
        return jax.lax.scan(f, carry, xs, length=length, unroll=min(max(unroll, 1), length))
    carry, y = f(carry, jax.tree.map(lambda x: x[0], xs))
    return carry, jax.tree.map(lambda y: y[None], y)


def _cut(xs: Any, start: int, shape: tuple[int, ...]) -> Any:
    """Rows of `xs` from `start` on, in leading axes of this shape."""
    rows = slice(start, start + math.prod(shape))
    return jax.tree.map(lambda x: x[rows].reshape(shape + x.shape[1:]), xs)


def _near_divisor(length: int, chunk: int) -> int:
    """The largest divisor of `length` between half of `chunk` and `chunk`, else `chunk`.

    A divisor leaves no rest, for which f would be compiled once more.
    """
    divisors = (k for k in range(chunk, chunk // 2, -1) if length % k == 0)
    return next(divisors, chunk)


def spread(network: Network) -> Network:
    """The network with one value of each parameter for each neuron.

    A gradient then adds up over the neurons once, after the loop, and not at every step.
    """

    def over(neuron: Neuron, n: int) -> Neuron:
        return jax.tree.map(lambda x: jnp.broadcast_to(x, (n,)) if jnp.ndim(x) == 0 else x, neuron)

    if network.n == 1:
        return network
    if isinstance(network.neuron, Neuron):
        return eqx.tree_at(lambda it: it.neuron, network, over(network.neuron, network.n))
    neurons = {name: over(neuron, size) for name, neuron, size in network.neuron.items()}
    return eqx.tree_at(lambda it: it.neuron.neurons, network, neurons)


@eqx.filter_jit
def begin(run: Run, start: Any) -> tuple[RunState, Any]:
    """Where a run begins, and what is saved there."""
    run = eqx.tree_at(lambda it: it.network, run, spread(run.network))
    table = run.table(jnp.asarray(steps_done(start), jnp.int32), 1)
    state = run.begin(start, jax.tree.map(lambda x: x[0], table))
    return state, run.row(state)


@eqx.filter_jit
def conclude(run: Run, end: RunState) -> Result:
    """The result of a run that ended there, without what was saved."""
    return run.result(None, end)
