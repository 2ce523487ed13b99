"""What is said of a run that turned infinite or NaN."""

import dataclasses
from collections.abc import Callable
from typing import Any

import diffrax
import jax.numpy as jnp
from jaxtyping import Array

from .._model.neuron import State
from .run import Plan, Result, Run


class NonFiniteError(FloatingPointError):
    """A run that turned infinite or NaN.

    **Attributes:** `time`: when it began, ms; `neuron`: the index of the neuron.
    """

    def __init__(self, message: str, time: float, neuron: int):
        super().__init__(message)
        self.time, self.neuron = time, neuron


def hint_for(solver: Any, dt: float, calm: str, is_calm: bool) -> str:
    """What helps: `calm` is a solver that stays bounded, `is_calm` whether it is the one taken."""
    name = solver if isinstance(solver, str) else type(solver).__name__
    if is_calm:
        advice = "may have met a stimulus or rates that are not finite: look at these, or take a smaller dt"
    else:
        advice = f"may be unstable: take a smaller dt, or a solver that stays bounded, such as {calm!r}"
    return f"{name!r} at dt = {dt} ms {advice}; or inspect the run with throw=False."


def _save_finite(t: Array, y: State, args: Any) -> tuple[Array, Any]:
    coupling = args[0].coupling
    return args[0].finite(y), None if coupling is None else coupling.missed(y.s)


def raise_non_finite(run: Run, start: Any, hint: str, integrate: Callable[..., Result]) -> None:
    """Run again by `integrate`, watching, and raise with the first bad time and neuron."""
    watch = Plan(run.plan.steps, 1, initial=False, last=False)
    watched = dataclasses.replace(run, plan=watch, save=_save_finite, reduce=None)
    out = integrate(watched, start, diffrax.DirectAdjoint(), diffrax.NoProgressMeter())
    finite, missed = out.ys
    step = int(jnp.argmin(finite.all(axis=1)))
    if missed is not None and missed[step]:
        hint = (
            "A neuron sent more spikes within the delay of a synapse than this had room for: give the "
            "synapse a larger `in_flight`. (Noise at the threshold can make several spikes of one.)"
        )
    neuron = int(jnp.argmin(finite[step]))
    time = float(run.time(out.end.i - watch.steps + step + 1))
    count = int((~finite[-1]).sum())
    raise NonFiniteError(
        f"The run turned infinite or NaN at t = {time:g} ms, first in neuron {neuron} "
        f"({count} of {finite.shape[1]} at the end). {hint}",
        time,
        neuron,
    )
