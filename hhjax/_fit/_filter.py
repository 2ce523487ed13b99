"""A run whose V is corrected at every sample of a recording: a Kalman filter in its steady state."""

from typing import Any

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array

from .._base.parameters import put
from ..steppers._base import AbstractStepper
from ..stimuli._base import Point, Stimulus


class Reading(Stimulus):
    """A stimulus, and what is read of V at every `stride`-th step, shape (times, n), NaN where nothing is."""

    stimulus: Stimulus
    V: Array
    stride: int

    def __call__(self, t: ArrayLike) -> Array:
        return self.stimulus(t)

    def conductance(self) -> Array | float:
        return self.stimulus.conductance()

    def points(self, t: ArrayLike) -> list[Point]:
        return self.stimulus.points(t)

    def table(self, edges: Array) -> Any:
        rows = jnp.full((self.V.shape[0] - 1, self.stride, self.V.shape[1]), jnp.nan, self.V.dtype)
        return self.stimulus.table(edges), rows.at[:, 0].set(self.V[:-1]).reshape(-1, self.V.shape[1])

    def within(self, t: Array, dt: Array, end: Array, row: Any = None) -> Stimulus:
        return put(self, stimulus=self.stimulus.within(t, dt, end, row[0]), V=row[1])


class Filter(AbstractStepper):
    """Another stepper's step, before which V takes over a share `gain`, (n,), of its error in a `Reading`."""

    stepper: AbstractStepper
    gain: Array

    @property
    def takes_operator(self) -> float:
        return self.stepper.takes_operator

    @property
    def order(self) -> int:
        return self.stepper.order

    def init(self, network, t, dt, y0, stimulus):
        return self.stepper.init(network, t, dt, y0, stimulus)

    def step(self, network, t, dt, z, stimulus, key):
        assert isinstance(stimulus, Reading)
        V = self.stepper.output(network, z).V
        V = V + self.gain * jnp.where(jnp.isnan(stimulus.V), 0.0, stimulus.V - V)
        z = self.stepper.with_V(network, t, dt, z, V, stimulus.stimulus)
        return self.stepper.step(network, t, dt, z, stimulus.stimulus, key)

    def output(self, network, z):
        return self.stepper.output(network, z)

    def with_coupling(self, network, t, dt, z, y, stimulus):
        return self.stepper.with_coupling(network, t, dt, z, y, stimulus)

    def with_V(self, network, t, dt, z, V, stimulus):
        return self.stepper.with_V(network, t, dt, z, V, stimulus)
