"""The loop over time: scans of steps, cut up for speed and for the memory of gradients."""

import math
from collections.abc import Callable
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ._network import Network
from ._neuron import Neuron, State
from ._plan import Plan
from ._reduce import map_reducers
from ._stimulus import Stimulus
from .steppers import AbstractStepper

# XLA:CPU compiles a loop whose buffers are smaller than about this into one function,
# without which a step of a single neuron costs up to 20 times as much. So a run of few
# neurons saves into small chunks, and the step number is carried, not scanned over.
_SMALL_LOOP_BYTES = 512

# States kept for a gradient up to this size; above, those at segment boundaries alone.
_KEPT_BYTES = 32_000_000


class _Carry(eqx.Module):
    """What is handed from step to step: their number, the state of stepper, reducers, meter."""

    i: Array
    z: Any
    reduced: Any
    meter: Any


class Outcome(eqx.Module):
    """What was saved, the final state, which neurons are finite, what was reduced, and the
    stepper's own state at the end."""

    ys: Any
    final: State
    finite: Array
    reduced: Any
    z: Any


def integrate(
    network: Network,
    stimulus: Stimulus,
    y0: Any,
    v0: Array,
    t0: Array,
    t1: Array,
    dt: Array,
    last_dt: Array,
    key: Array | None,
    stepper: AbstractStepper,
    plan: Plan,
    save: Any,
    reduce: Any,
    adjoint: diffrax.AbstractAdjoint,
    meter: diffrax.AbstractProgressMeter,
) -> Outcome:
    """Run the loop: steps `plan.done` to `plan.done` + `plan.steps` of the grid from `t0`.

    `y0` is the network's state at `t0` or, after `plan.done` steps, the stepper's own.
    """
    network = _spread(network)
    total = plan.done + plan.steps
    ready = stimulus.on_grid(t0, t1, dt, total)
    keys = None if key is None else jax.random.split(key, total)[plan.done :]
    args = (network, stimulus)
    whole = last_dt == dt

    def time(i: Array) -> Array:
        return jnp.where((i == total) & ~whole, t1, t0 + i.astype(dt.dtype) * dt)

    def seen(carry: _Carry) -> tuple[Array, State]:
        return time(carry.i), stepper.output(network, carry.z)

    def step(carry: _Carry, key: Array | None) -> tuple[_Carry, None]:
        t = time(carry.i)
        h = jnp.where(carry.i == total - 1, last_dt, dt)
        z = stepper.advance(network, t, h, carry.z, ready.within(t, h, time(carry.i + 1)), key)
        state = meter.step(carry.meter, (carry.i + 1 - plan.done).astype(float) / plan.steps)
        carry = _Carry(carry.i + 1, z, carry.reduced, state)
        update = lambda reducer, gathered: reducer.update(gathered, *seen(carry), args)
        reduced = map_reducers(update, reduce, carry.reduced)
        return _Carry(carry.i, z, reduced, state), None

    def row(carry: _Carry) -> Any:
        return save(*seen(carry), args)

    z0 = y0
    if not plan.done:
        y0 = network.init(v0) if y0 is None else y0
        z0 = stepper.init(network, t0, dt, y0, ready.within(t0, dt, t0 + dt))
    start = _Carry(jnp.int32(plan.done), z0, None, meter.init())
    begin = lambda reducer: reducer.init(*seen(start), args)
    start = _Carry(start.i, z0, map_reducers(begin, reduce), start.meter)
    checkpointed = isinstance(adjoint, diffrax.RecursiveCheckpointAdjoint)
    segment = _segment_length(adjoint, plan.steps, _nbytes(z0)) if checkpointed else None
    if checkpointed:
        # A step computed anew for its gradient from the state alone is smaller and faster
        # than one that kept everything it worked out on its way.
        step = jax.checkpoint(step, prevent_cse=False)

    def steps_and_row(carry: _Carry, keys: Array | None) -> tuple[_Carry, Any]:
        carry, _ = _scan_in_chunks(step, carry, keys, plan.stride, segment or plan.stride, bool(segment))
        return carry, row(carry)

    rows, rest = divmod(plan.steps, plan.stride)
    cut = rows * plan.stride
    row_keys = _take(keys, slice(cut), (rows, plan.stride))
    if segment:
        chunk = max(1, segment // plan.stride)
    else:
        chunk = max(1, _SMALL_LOOP_BYTES // _nbytes(jax.eval_shape(row, start)))
    carry, ys = _scan_in_chunks(steps_and_row, start, row_keys, rows, chunk, bool(segment))
    if rest:
        rest_keys = _take(keys, slice(cut, None), (rest,))
        carry, _ = _scan_in_chunks(step, carry, rest_keys, rest, segment or rest, bool(segment))
    meter.close(carry.meter)

    one = lambda carry: [jax.tree.map(lambda x: x[None], row(carry))]
    parts = [*(one(start) if plan.initial else []), ys, *(one(carry) if plan.last else [])]
    ys = jax.tree.map(lambda *xs: jnp.concatenate(xs), *parts)
    if plan.keep is not None:
        ys = jax.tree.map(lambda x: x[np.array(plan.keep)], ys)
    y1 = stepper.output(network, carry.z)
    reduced = map_reducers(lambda reducer, gathered: reducer.finish(gathered), reduce, carry.reduced)
    return Outcome(ys, y1, network.finite(y1), reduced, carry.z)


compiled_integrate: Callable[..., Outcome] = eqx.filter_jit(integrate)


def _spread(network: Network) -> Network:
    """The network with one value of each parameter for each neuron.

    A gradient then adds up over the neurons once, after the loop, and not at every step.
    """

    def spread(neuron: Neuron, n: int) -> Neuron:
        return jax.tree.map(lambda x: jnp.broadcast_to(x, (n,)) if jnp.ndim(x) == 0 else x, neuron)

    if network.n == 1:
        return network
    if isinstance(network.neuron, Neuron):
        return eqx.tree_at(lambda it: it.neuron, network, spread(network.neuron, network.n))
    neurons = {name: spread(neuron, size) for name, neuron, size in network.neuron.items()}
    return eqx.tree_at(lambda it: it.neuron.neurons, network, neurons)


def _segment_length(adjoint: diffrax.RecursiveCheckpointAdjoint, steps: int, state_bytes: int) -> int | None:
    """Steps between the states kept for a gradient, `None` to keep the state of every step."""
    if adjoint.checkpoints is not None and adjoint.checkpoints < 1:
        raise ValueError(f"`adjoint.checkpoints` must be at least 1, got {adjoint.checkpoints}.")
    if adjoint.checkpoints is not None:
        return math.ceil(steps / adjoint.checkpoints)
    return None if steps * state_bytes <= _KEPT_BYTES else math.ceil(math.sqrt(steps))


def _nbytes(tree: Any) -> int:
    return max(sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree)), 1)


def _take(keys: Array | None, part: slice, shape: tuple[int, ...]) -> Array | None:
    return None if keys is None else keys[part].reshape(shape + keys.shape[1:])


def _scan(f: Any, carry: Any, keys: Array | None, length: int) -> tuple[Any, Any]:
    if length == 1:
        carry, y = f(carry, None if keys is None else keys[0])
        return carry, jax.tree.map(lambda x: x[None], y)
    return jax.lax.scan(f, carry, keys, length=length)


def _scan_in_chunks(
    f: Any, carry: Any, keys: Array | None, length: int, chunk: int, checkpoint: bool
) -> tuple[Any, Any]:
    """`lax.scan` over `length` calls of f, as a scan over scans of about `chunk` calls.

    With `checkpoint`, a gradient keeps the carry at the chunks' boundaries and runs each
    chunk again.
    """
    chunk = _near_divisor(length, min(chunk, length))
    if chunk == 1 or (chunk == length and not checkpoint):
        return _scan(f, carry, keys, length)
    inner = lambda carry, keys: _scan(f, carry, keys, chunk)
    if checkpoint:
        inner = jax.checkpoint(inner, prevent_cse=False)
    count, rest = divmod(length, chunk)
    cut = count * chunk
    carry, ys = _scan(inner, carry, _take(keys, slice(cut), (count, chunk)), count)
    ys = jax.tree.map(lambda x: x.reshape((cut,) + x.shape[2:]), ys)
    if rest:
        carry, tail = _scan(f, carry, _take(keys, slice(cut, None), (rest,)), rest)
        ys = jax.tree.map(lambda *parts: jnp.concatenate(parts), ys, tail)
    return carry, ys


def _near_divisor(length: int, chunk: int) -> int:
    """The largest divisor of `length` between half of `chunk` and `chunk`, else `chunk`.

    A divisor leaves no rest, for which f would be compiled once more.
    """
    divisors = (k for k in range(chunk, chunk // 2, -1) if length % k == 0)
    return next(divisors, chunk)
