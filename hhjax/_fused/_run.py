"""A run in one kernel, and whether it can be."""

import math
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
from jaxtyping import Array

from .._diffrax import is_diffrax
from .._plan import Plan
from .._steps import Outcome, Steps
from ._primitives import run_p
from ._program import make_program, NotFused


def _check(steps: Steps, meter: diffrax.AbstractProgressMeter) -> None:
    """Refuse what no look at a single step would show. The rest is found out in tracing one."""
    network = steps.network
    if network.coupling is not None:
        raise NotFused("`network` is coupled, and a kernel holds neurons that do not act on each other.")
    if network.ranges:
        raise NotFused("`network` has several populations, and a kernel holds neurons of one kind.")
    if steps.stepper.stochastic or network.is_noisy:
        raise NotFused("`network` or `solver` is noisy, and a kernel draws no random numbers.")
    if is_diffrax(steps.stepper):
        raise NotFused("`solver` is diffrax's; a kernel takes a name in hh.steppers.by_name or a stepper.")
    if not isinstance(meter, diffrax.NoProgressMeter):
        raise NotFused("`progress_meter` cannot be told of steps inside a kernel.")


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
    plan: Plan,
    adjoint: diffrax.AbstractAdjoint,
    meter: diffrax.AbstractProgressMeter,
) -> Outcome:
    """The run of `_loop.scan` in one kernel, each of whose blocks takes all steps of its neurons.

    **Raises:** `NotFused`, a `ValueError`, where that cannot be.
    """
    _check(steps, meter)
    first = jnp.int32(plan.done)
    z = y0 if plan.done else steps.begin(y0, v0)
    start = z, steps.begin_reducing(first, z)
    program, inputs = make_program(steps, start, plan, _chunk(adjoint, plan.steps))
    leaves, structure = jax.tree.flatten(start)
    out = run_p.bind(*inputs, *leaves, program=program, moving=False)
    end = jax.tree.unflatten(structure, out[: len(leaves)])
    row = lambda at: steps.row(*at)
    start, last = (first, start[0]), (first + plan.steps, end[0])
    if plan.stride < plan.steps:
        ys = jax.tree.unflatten(jax.tree.structure(jax.eval_shape(row, start)), out[len(leaves) :])
    else:
        ys = jax.tree.map(lambda x: x[None], row(last))
    z, reduced = end
    return steps.outcome(plan.arrange(row, start, ys, last), z, reduced, "fused")
