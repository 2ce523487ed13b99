"""The loop over time: scans of steps, cut up for speed and for the memory of gradients."""

import dataclasses
import math
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from ._network import Network
from ._neuron import Neuron, State
from ._plan import Cuts, Plan
from ._random import step_keys
from ._steps import Outcome, Stand, Steps

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


def scan(
    steps: Steps,
    y0: State | Stand | None,
    v0: Array,
    key: Array | None,
    plan: Plan,
    adjoint: diffrax.AbstractAdjoint,
    meter: diffrax.AbstractProgressMeter,
) -> Outcome:
    """Run the loop for `plan.steps` steps, from the network's state `y0` at t0 or where a run stands."""
    steps = eqx.tree_at(lambda it: it.network, steps, spread(steps.network))
    at = steps.stand(y0, v0)
    keys = None if key is None else step_keys(key, at.i, plan.steps)

    def step(carry: _Carry, key: Array | None) -> tuple[_Carry, None]:
        z = steps.advance(carry.i, carry.z, key)
        state = meter.step(carry.meter, (carry.i + 1 - at.i).astype(float) / plan.steps)
        i = carry.i + 1
        return _Carry(i, z, steps.gather(i, z, carry.reduced), state), None

    def row(carry: _Carry) -> Any:
        return steps.row(carry.i, carry.z)

    start = _Carry(at.i, at.z, at.gathered, meter.init())
    cuts = plan.cuts or cut_up(plan, adjoint, at.z, jax.eval_shape(row, start))
    segment = cuts.segment
    if isinstance(adjoint, diffrax.RecursiveCheckpointAdjoint):
        # A step computed anew for its gradient from the state alone is smaller and faster
        # than one that kept everything it worked out on its way.
        step = jax.checkpoint(step, prevent_cse=False)

    def steps_and_row(carry: _Carry, keys: Array | None) -> tuple[_Carry, Any]:
        carry, _ = _scan_in_chunks(step, carry, keys, plan.stride, cuts.steps, bool(segment))
        return carry, row(carry)

    rows, rest = divmod(plan.steps, plan.stride)
    cut = rows * plan.stride
    row_keys = _take(keys, slice(cut), (rows, plan.stride))
    carry, ys = _scan_in_chunks(steps_and_row, start, row_keys, rows, cuts.rows, bool(segment))
    if rest:
        rest_keys = _take(keys, slice(cut, None), (rest,))
        most = _near_divisor(rest, min(segment or rest, rest))
        carry, _ = _scan_in_chunks(step, carry, rest_keys, rest, most, bool(segment))
    meter.close(carry.meter)
    out = steps.outcome(plan.arrange(row, start, ys, carry), carry.z, carry.reduced, "scan")
    goes_on = isinstance(y0, Stand) and y0.gathered is not None
    return dataclasses.replace(out, gathered=carry.reduced) if goes_on else out


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


def cut_up(plan: Plan, adjoint: diffrax.AbstractAdjoint, z: Any, row: Any) -> Cuts:
    """How a run is cut up, from the stepper's state and what is saved of it."""
    segment = None
    if isinstance(adjoint, diffrax.RecursiveCheckpointAdjoint):
        segment = _segment_length(adjoint, plan.steps, _nbytes(z))
    rows, stride = plan.steps // plan.stride, plan.stride
    most = segment // stride if segment else _SMALL_LOOP_BYTES // _nbytes(row)
    steps = _near_divisor(stride, min(segment or stride, stride))
    return Cuts(segment, steps, _near_divisor(rows, min(max(most, 1), rows)))


def _segment_length(adjoint: diffrax.RecursiveCheckpointAdjoint, steps: int, state_bytes: int) -> int | None:
    """Steps between the states kept for a gradient, `None` to keep the state of every step."""
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
    """`lax.scan` over `length` calls of f, as a scan over scans of `chunk` calls.

    With `checkpoint`, a gradient keeps the carry at the chunks' boundaries and runs each
    chunk again.
    """
    chunk = min(chunk, length)
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
