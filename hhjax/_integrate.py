"""Which loop a run takes: a scan of steps, or one kernel."""

import dataclasses
from collections.abc import Callable
from typing import Any

import diffrax
import equinox as eqx
from jaxtyping import Array

from ._cores import on_gpu
from ._fused import fused, NotFused
from ._loop import scan, spread
from ._network import Network
from ._neuron import State
from ._plan import Plan
from ._steps import Outcome, Stand, Steps, steps_done
from ._stimulus import Stimulus
from .steppers import AbstractStepper

BACKENDS = ("auto", "scan", "fused")


def check_backend(backend: Any) -> None:
    """Refuse what is not the name of a loop."""
    if backend not in BACKENDS:
        raise ValueError(f"`backend` must be one of {', '.join(map(repr, BACKENDS))}, got {backend!r}.")


def prefers_fused(backend: str) -> bool:
    """Whether the kernel is tried first."""
    return backend == "fused" or (backend == "auto" and on_gpu())


def _integrate(
    network: Network,
    stimulus: Stimulus,
    y0: State | Stand | None,
    v0: Array,
    t0: Array,
    t1: Array,
    dt: Array,
    last_dt: Array,
    total: Any,
    key: Array | None,
    stepper: AbstractStepper,
    plan: Plan,
    save: Any,
    reduce: Any,
    adjoint: diffrax.AbstractAdjoint,
    meter: diffrax.AbstractProgressMeter,
    backend: str,
) -> Outcome:
    """Run `plan.steps` of the `total` steps from `t0` to `t1`.

    They begin with the network's state `y0` at `t0`, or where a run stands. With whole numbers of
    Python for `total` and in a `Stand` the loop is made for them, which a kernel needs.
    """
    steps = Steps(network, stimulus, stimulus, stepper, save, reduce, t0, t1, dt, last_dt, total)
    if prefers_fused(backend):
        whole = dataclasses.replace(plan, done=steps_done(y0))
        try:
            return fused(_ready(steps, None), y0, v0, key, whole, adjoint, meter)
        except NotFused as error:
            if backend == "fused":
                raise ValueError(f"`backend='fused'` is not possible here: {error}") from None
    return scan(_ready(steps, (steps_done(y0), plan.steps)), y0, v0, key, plan, adjoint, meter)


def _ready(steps: Steps, part: tuple[Any, int] | None) -> Steps:
    """The steps with the stimulus made ready, see `Stimulus.on_grid`."""
    ready = steps.stimulus.on_grid(steps.t0, steps.t1, steps.dt, steps.total, part)
    return dataclasses.replace(steps, ready=ready)


integrate: Callable[..., Outcome] = eqx.filter_jit(_integrate)


@eqx.filter_jit
def begin(steps: Steps, y0: State | Stand | None, v0: Array) -> tuple[Stand, Any]:
    """Where a run of `steps` stands at its beginning, and what is saved there."""
    ready = _ready(steps, (steps_done(y0), 2))  # no more of the stimulus is seen
    steps = eqx.tree_at(lambda it: it.network, ready, spread(steps.network))
    at = steps.stand(y0, v0)
    return at, steps.row(at.i, at.z)


@eqx.filter_jit
def conclude(steps: Steps, at: Stand) -> Outcome:
    """The result of a run that stands at its end, without what was saved."""
    return steps.outcome(None, at.z, at.gathered, "scan")
