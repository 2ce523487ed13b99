"""Showing how far a loop outside of JAX has come."""

from typing import Any

import diffrax
import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array

# Outside of jit these compile a condition afresh at each step. Others may want to see a number.
_COMPILED = diffrax.TextProgressMeter, diffrax.TqdmProgressMeter


def _step(meter: diffrax.AbstractProgressMeter, state: Any, progress: Array) -> Any:
    return meter.step(state, progress)


_compiled_step = eqx.filter_jit(_step)


class Progress:
    """So much of a total is done, shown by one of diffrax's progress meters."""

    def __init__(self, meter: diffrax.AbstractProgressMeter, total: int, done: int = 0):
        self.meter, self.total, self.done, self.state = meter, total, done, meter.init()
        self.step = _compiled_step if isinstance(meter, _COMPILED) else _step

    def advance(self, by: int = 1) -> None:
        self.done += by
        self.state = self.step(self.meter, self.state, jnp.asarray(self.done / self.total))

    def close(self) -> None:
        self.meter.close(self.state)
