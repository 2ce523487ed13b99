"""The loop over time: scans of steps, cut up for speed and for the memory of gradients."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from ._cores import in_shard_map, makes_small_loops, on_gpu
from ._diffrax import is_diffrax
from ._network import Network
from ._neuron import Neuron, State
from ._plan import Cuts, Plan
from ._pullback import Cut, Pulled
from ._random import step_keys
from ._scan import nbytes, near_divisor, scan_in_chunks, take
from ._steps import Outcome, Stand, Steps

# XLA:CPU compiles a loop whose buffers are smaller than about this into one function,
# without which a step of a single neuron costs up to 20 times as much. So a run of few
# neurons saves into small chunks, and the step number is carried, not scanned over.
_SMALL_LOOP_BYTES = 512

# States kept for a gradient up to this size; above, those at segment boundaries alone. The second is
# for a derivative of our own.
_KEPT_BYTES, _KEPT_BY_US = 32_000_000, 95_000_000

# Steps whose gradient is worked out at once, at least and at most; only one where a state is so small,
# for the sake of small loops.
_BLOCK, _FEW_BYTES = (4, 16), 28

# States of this size make loops of a megabyte.
_MEGABYTE_LOOP = 80_000


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
    if not isinstance(adjoint, diffrax.ForwardMode):  # whose directions would all be as large
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

    start = _as_varying(_Carry(at.i, at.z, at.gathered, meter.init()), (steps, at))
    cuts = plan.cuts or cut_up(plan, adjoint, at.z, jax.eval_shape(row, start))
    run = _run_pulled if _is_pulled(steps, at.z, adjoint, meter) else _run
    carry, ys = run(step, row, start, keys, plan, adjoint, cuts)
    meter.close(carry.meter)
    out = steps.outcome(plan.arrange(row, start, ys, carry), carry.z, carry.reduced, "scan")
    goes_on = isinstance(y0, Stand) and y0.gathered is not None
    return dataclasses.replace(out, gathered=carry.reduced) if goes_on else out


def _as_varying(carry: Any, inputs: Any) -> Any:
    """The carry, which within a `jax.shard_map` differs from shard to shard if any of the inputs does."""
    if not in_shard_map():
        return carry
    numbers = [jnp.ravel(x)[0] for x in jax.tree.leaves(inputs) if eqx.is_inexact_array(x) and x.size]
    any_of_them = jnp.isnan(jnp.stack([x.astype(float) for x in numbers])).any()
    return jax.tree.map(lambda x: jnp.where(any_of_them, x, x), carry)


def _run(
    step: Callable, row: Callable, carry: _Carry, keys: Any, plan: Plan, adjoint: Any, cuts: Cuts
) -> tuple[_Carry, Any]:
    """All steps, with the derivatives that JAX makes of them."""
    segment = cuts.segment
    if isinstance(adjoint, diffrax.RecursiveCheckpointAdjoint):
        # A step computed anew for its gradient from the state alone is smaller and faster
        # than one that kept everything it worked out on its way.
        step = jax.checkpoint(step, prevent_cse=False)

    def steps_and_row(carry: _Carry, keys: Array | None) -> tuple[_Carry, Any]:
        carry, _ = scan_in_chunks(step, carry, keys, plan.stride, cuts.steps, bool(segment))
        return carry, row(carry)

    rows, rest = divmod(plan.steps, plan.stride)
    cut = rows * plan.stride
    row_keys = take(keys, slice(cut), (rows, plan.stride))
    carry, ys = scan_in_chunks(steps_and_row, carry, row_keys, rows, cuts.rows, bool(segment))
    if rest:
        rest_keys = take(keys, slice(cut, None), (rest,))
        most = near_divisor(rest, min(segment or rest, rest))
        carry, _ = scan_in_chunks(step, carry, rest_keys, rest, most, bool(segment))
    return carry, ys


def _run_pulled(
    step: Callable, row: Callable, carry: _Carry, keys: Any, plan: Plan, adjoint: Any, cuts: Cuts
) -> tuple[_Carry, Any]:
    """All steps, with a derivative of our own, see `_pullback.py`."""
    every = plan.stride == 1

    def step_and_row(carry: _Carry, key: Array | None) -> tuple[_Carry, Any]:
        carry, _ = step(carry, key)
        return carry, row(carry)

    pulled = Pulled(step_and_row if every else step, carry, None if keys is None else keys[0])
    if pulled.jaxpr.effects:  # such as to print something
        return _run(step, row, carry, keys, plan, adjoint, cuts)
    least, most = (1, 1) if nbytes(carry.z) <= _FEW_BYTES else _BLOCK
    size = nbytes(carry)
    forward = isinstance(adjoint, diffrax.ForwardMode)
    apart = 1 if forward else _steps_between(adjoint, plan.steps, size, least)
    if every:
        cut = Cut(cuts.rows, min(apart, plan.steps), least, most, forward)
        _, carry, ys = pulled.scan(pulled.params, carry, keys, plan.steps, cut)
        return carry, ys

    def steps_and_row(state: tuple, keys: Array | None) -> tuple[tuple, Any]:
        params, carry = state
        params, carry, _ = pulled.scan(params, carry, keys, plan.stride, inner)
        return (params, carry), row(carry)

    inner = Cut(cuts.steps, min(apart, plan.stride), least, most, forward)
    rows, rest = divmod(plan.steps, plan.stride)
    cut = rows * plan.stride
    row_keys = take(keys, slice(cut), (rows, plan.stride))
    many = bool(cuts.segment) and plan.steps * size > 2 * inner.apart * _KEPT_BY_US
    (params, carry), ys = scan_in_chunks(
        steps_and_row, (pulled.params, carry), row_keys, rows, cuts.rows, many
    )
    if rest:
        rest_keys = take(keys, slice(cut, None), (rest,))
        _, carry, _ = pulled.scan(params, carry, rest_keys, rest, dataclasses.replace(inner, chunk=rest))
    return carry, ys


def _steps_between(
    adjoint: diffrax.RecursiveCheckpointAdjoint, steps: int, state_bytes: int, block: int
) -> int:
    """Steps from one state kept for a gradient to the next."""
    if adjoint.checkpoints is not None:
        return math.ceil(steps / adjoint.checkpoints)
    # States within a stretch are kept too while that is gone through, one for each block.
    return max(min(math.ceil(steps * state_bytes / _KEPT_BY_US), math.ceil(math.sqrt(steps * block))), 1)


def _is_pulled(
    steps: Steps, z: Any, adjoint: diffrax.AbstractAdjoint, meter: diffrax.AbstractProgressMeter
) -> bool:
    """Whether the derivative is to be our own."""
    ours = isinstance(adjoint, (diffrax.RecursiveCheckpointAdjoint, diffrax.ForwardMode))
    silent = isinstance(meter, diffrax.NoProgressMeter)
    arrays = (x for x in jax.tree.leaves((steps, z)) if isinstance(x, jax.Array))
    whole = all(jax.typeof(x).sharding.mesh.empty for x in arrays)
    # In one function with the loop over time, XLA would take one neuron at a time.
    swallowed = makes_small_loops() and nbytes(z) < _MEGABYTE_LOOP
    foreign = on_gpu() or is_diffrax(steps.stepper)
    # In the loop of a Markov scheme's many states XLA does not use vectors.
    large = bool(steps.network.noisy_channels)
    return ours and silent and whole and not (swallowed or foreign or large)


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
        segment = _segment_length(adjoint, plan.steps, nbytes(z))
    rows, stride = plan.steps // plan.stride, plan.stride
    most = segment // stride if segment else _SMALL_LOOP_BYTES // nbytes(row)
    steps = near_divisor(stride, min(segment or stride, stride))
    return Cuts(segment, steps, near_divisor(rows, min(max(most, 1), rows)))


def _segment_length(adjoint: diffrax.RecursiveCheckpointAdjoint, steps: int, state_bytes: int) -> int | None:
    """Steps between the states kept for a gradient, `None` to keep the state of every step."""
    if adjoint.checkpoints is not None:
        return math.ceil(steps / adjoint.checkpoints)
    return None if steps * state_bytes <= _KEPT_BYTES else math.ceil(math.sqrt(steps))
