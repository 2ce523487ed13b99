"""What a stepper is: the equation of one step of the whole network."""

import abc
from typing import Any, ClassVar

import equinox as eqx
import jax
from jax.typing import ArrayLike
from jaxtyping import Array

from .._base.math import once, relax
from .._model.network import Network
from .._model.neuron import State
from ..stimuli._base import Stimulus


class AbstractStepper(eqx.Module):
    """One step of a numerical method at a fixed time step.

    A stepper knows a model only through its vector field and its conditionally linear
    form. `step` advances the stepper's own state z, which for most methods is the
    network's state itself; a method that keeps anything more overrides `init` and
    `output`. To write one takes the equation of its step:

    ```python
    class MyEuler(hh.AbstractStepper):
        order = 1

        def step(self, network, t, dt, z, stimulus, key):
            slope = hh.vector_field(t, z, (network, stimulus))
            return jax.tree.map(lambda x, dx: x + dt * dx, z, slope)
    ```
    """

    order: ClassVar[int]
    """The order of convergence."""
    stochastic: ClassVar[bool] = False
    """Whether `step` needs a key."""

    def init(self, network: Network, t: Array, dt: Array, y0: State, stimulus: Stimulus) -> Any:
        """The stepper's state z at the start of a run from `y0` at `t` (ms)."""
        return y0

    @abc.abstractmethod
    def step(
        self,
        network: Network,
        t: Array,
        dt: Array,
        z: Any,
        stimulus: Stimulus,
        key: Array | None,
    ) -> Any:
        """The stepper's state at `t + dt`, from that at `t` (ms).

        `stimulus` has no jumps within the step. `key` is a random key of this step's
        own, `None` for a deterministic run.
        """

    def output(self, network: Network, z: Any) -> State:
        """The network's state that z stands for."""
        return z

    def advance(
        self, network: Network, t: Array, end: Array, dt: Array, z: Any, stimulus: Stimulus, key: Array | None
    ) -> Any:
        """One `step`, and what spikes within it bring about at its end (`Network.after_step`).

        `end` is the `t` of the next step, of which t + dt may be off by a rounding error.
        """
        new = self.step(network, t, dt, z, stimulus, key)
        if not network.has_events:
            return new
        y = network.after_step(t, end, dt, self.output(network, z), self.output(network, new))
        return self.with_coupling(network, end, dt, new, y, stimulus)

    def with_coupling(
        self, network: Network, t: Array, dt: Array, z: Any, y: State, stimulus: Stimulus
    ) -> Any:
        """The stepper's state z at `t` (ms) with the coupling's state of `y`, the network's at `t`."""
        return self.init(network, t, dt, y, stimulus)


def relax_all(network: Network, t: ArrayLike, dt: Any, y: State, stimulus: Stimulus | float) -> State:
    """Every variable moved by `dt` towards its own steady state, the others held fixed.

    The exact flow of dx/dt = drive − rate·x for each x alone, with the stimulus at `t`.
    """
    drive, rate = once(network.linear_form(t, y, stimulus))
    return jax.tree.map(lambda x, b, a: relax(x, b, a, dt), y, drive, rate)
