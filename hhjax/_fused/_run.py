"""A run in one kernel, and whether it can be."""

import dataclasses
import functools
import math
from typing import Any

import diffrax
import jax
from jaxtyping import Array

from .._connectivity import Sparse
from .._diffrax import is_diffrax
from .._jaxprs import split
from .._network import Network
from .._plan import Plan
from .._reduce import Log
from .._steps import Outcome, Steps
from ._draw import check_key
from ._errors import NotFused
from ._make import make_program
from ._primitives import run_p
from ._program import pack, unpack

_MOST_NEURONS = 8  # of a network that one lane holds


def _check(steps: Steps, key: Any, meter: diffrax.AbstractProgressMeter) -> None:
    """Refuse what no look at a single step would show. The rest is found out in tracing one."""
    if is_diffrax(steps.stepper):
        raise NotFused("`solver` is diffrax's; a kernel takes a name in hh.steppers.by_name or a stepper.")
    if not isinstance(meter, diffrax.NoProgressMeter):
        raise NotFused("`progress_meter` cannot be told of steps inside a kernel.")
    if key is not None:
        check_key(key)


def _is_whole(network: Network) -> bool:
    """Whether neurons have to do with each other, so that one lane holds the whole network."""
    mixed = any(noise.mixing is not None for noise in network.noise)
    reasons = {
        "is coupled": network.coupling is not None,
        "has several populations": bool(network.ranges),
        "has noise with a `correlation`": mixed,
    }
    why = next((reason for reason, holds in reasons.items() if holds), None)
    if why and network.n > _MOST_NEURONS:
        raise NotFused(
            f"`network` {why} and has {network.n} neurons, where a kernel holds at most {_MOST_NEURONS}."
        )
    return why is not None


def _with_dense_weights(steps: Steps) -> Steps:
    sparse = lambda x: isinstance(x, Sparse)
    dense = jax.tree.map(lambda x: x.dense() if sparse(x) else x, steps.network, is_leaf=sparse)
    return dataclasses.replace(steps, network=dense)


def _chunk(adjoint: diffrax.AbstractAdjoint, steps: int) -> int:
    """Steps from one state kept for a gradient to the next."""
    if isinstance(adjoint, diffrax.ForwardMode):
        return steps
    if isinstance(adjoint, diffrax.DirectAdjoint):
        return 1
    checkpoints = getattr(adjoint, "checkpoints", None)
    return math.ceil(math.sqrt(steps)) if checkpoints is None else math.ceil(steps / checkpoints)


def fused(
    steps: Steps,
    y0: Any,
    v0: Array,
    key: Array | None,
    plan: Plan,
    adjoint: diffrax.AbstractAdjoint,
    meter: diffrax.AbstractProgressMeter,
) -> Outcome:
    """The run of `_loop.scan` in one kernel, each of whose blocks takes all steps of its lanes.

    A lane is one neuron of a network whose neurons do not act on each other, else the network.

    **Raises:** `NotFused`, a `ValueError`, where that cannot be.
    """
    _check(steps, key, meter)
    at = steps.stand(y0, v0)
    first, start = at.i, (at.z, at.gathered)
    whole = _is_whole(steps.network)
    inner = _with_dense_weights(steps) if whole else steps
    make = functools.partial(make_program, inner, start, plan, _chunk(adjoint, plan.steps), key, whole)
    try:
        program, inputs, saved = make()
    except NotFused:
        if whole:
            raise
        program, inputs, saved = make(tables=True)  # such as edges that happen to be n

    is_log = lambda x: isinstance(x, Log)
    leaves, structure = jax.tree.flatten(start, is_leaf=is_log)
    logs = [k for k, x in enumerate(leaves) if is_log(x)]
    arrays = [k for k, x in enumerate(leaves) if not is_log(x)]
    lane_of = lambda x: x[..., None] if whole else x
    packed = [lane_of(pack(leaves[k], aval.shape)) for k, aval in zip(arrays, program.avals[1])]
    out = run_p.bind(*inputs, *packed, program=program, moving=False)
    ends, rows, records = split(out, len(packed), len(saved))
    for k, x, aval in zip(arrays, ends, program.avals[1]):
        leaves[k] = unpack(x[..., 0] if whole else x, aval.shape)
    for k, x in zip(logs, records):
        x = x.reshape(x.shape[0], -1, leaves[k].values.shape[2], x.shape[-1])  # rows, neurons, width, lanes
        leaves[k] = Log(x.transpose(1, 3, 0, 2).reshape(leaves[k].values.shape))
    end = jax.tree.unflatten(structure, leaves)

    row = lambda at: steps.row(*at)
    start, last = (first, start[0]), (first + plan.steps, end[0])
    if plan.stride < plan.steps:
        ys = [
            unpack(x[..., 0] if whole and kind.lanes else x, shape, rows=True)
            for x, kind, shape in zip(rows, program.rows, saved)
        ]
        ys = jax.tree.unflatten(jax.tree.structure(jax.eval_shape(row, start)), ys)
    else:
        ys = jax.tree.map(lambda x: x[None], row(last))
    z, reduced = end
    return steps.outcome(plan.arrange(row, start, ys, last), z, reduced, "fused")
