"""Which loop a run takes: a scan of steps, or one kernel."""

from collections.abc import Callable
from typing import Any

import diffrax
import equinox as eqx
import jax
from jaxtyping import Array

from ._fused import fused, NotFused
from ._loop import scan
from ._network import Network
from ._plan import Plan
from ._steps import Outcome, Steps
from ._stimulus import Stimulus
from .steppers import AbstractStepper

BACKENDS = ("auto", "scan", "fused")


def check_backend(backend: Any) -> None:
    """Refuse what is not the name of a loop."""
    if backend not in BACKENDS:
        raise ValueError(f"`backend` must be one of {', '.join(map(repr, BACKENDS))}, got {backend!r}.")


def _on_gpu() -> bool:
    device = getattr(jax.config, "jax_default_device")
    if device is None:
        return jax.default_backend() == "gpu"
    return getattr(device, "platform", device) in ("gpu", "cuda", "rocm")


def _integrate(
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
    backend: str,
) -> Outcome:
    """Run steps `plan.done` to `plan.done` + `plan.steps` of the grid from `t0`.

    `y0` is the network's state at `t0` or, after `plan.done` steps, the stepper's own.
    """
    total = plan.done + plan.steps
    ready = stimulus.on_grid(t0, t1, dt, total)
    steps = Steps(network, stimulus, ready, stepper, save, reduce, t0, t1, dt, last_dt, total)
    if backend == "fused" or (backend == "auto" and _on_gpu()):
        try:
            return fused(steps, y0, v0, key, plan, adjoint, meter)
        except NotFused as error:
            if backend == "fused":
                raise ValueError(f"`backend='fused'` is not possible here: {error}") from None
    return scan(steps, y0, v0, key, plan, adjoint, meter)


integrate: Callable[..., Outcome] = eqx.filter_jit(_integrate)
