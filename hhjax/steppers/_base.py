"""What a stepper is: the equation of one step of the whole network."""

import abc
import math
from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array

from .._base.devices import error_if
from .._base.math import after_ramp, relax
from .._base.operators import AbstractOperator, tr_bdf2
from .._base.parameters import is_concrete
from .._model.network import Network
from .._model.neuron import State
from ..stimuli._base import as_stimulus, Stimulus

EXPLICIT = 1.0
"""The largest dt·L for a step that is not implicit in it."""


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
    takes_operator: ClassVar[float] = EXPLICIT
    """The largest dt·L with which a step is right, L being the bound of `Network.V_operator`."""

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

    def with_V(self, network: Network, t: Array, dt: Array, z: Any, V: Array, stimulus: Stimulus) -> Any:
        """The stepper's state z at `t` (ms) with another V."""
        return self.init(network, t, dt, self.output(network, z).replace(V=V), stimulus)


def flow_V(
    network: Network, t: ArrayLike, dt: Any, y: State, V: Array, stimulus: Stimulus | float, extra: Any = 0.0
) -> Array:
    """V after `dt` (ms) by its own equation, with the coefficients that it has at `t` and `y`.

    Exactly, but for the order 2 of `tr_bdf2` where the V of points are joined by an operator. `extra`
    is more drive, mV/ms. A stimulus that may hold V is a line from `t` − dt/2 to `t` + dt/2.
    """
    stimulus = as_stimulus(stimulus)
    drive, rate = network.V_form(t, y, stimulus)
    if not stimulus.holds_V:
        return by_rule(tr_bdf2, relax, network.V_operator(), V, drive + extra, rate, dt)
    first, last = (network.V_form(t + part * dt, y, stimulus)[0] for part in (-0.5, 0.5))
    drive = (first + last) / 2 + extra
    moved = by_rule(tr_bdf2, relax, network.V_operator(), V, drive, rate, dt)
    return moved + (last - first) * dt * after_ramp(rate, dt)


def by_rule(
    joined: Callable[..., Array],
    alone: Callable[..., Array],
    L: AbstractOperator | None,
    V: Array,
    drive: Array,
    rate: Array,
    dt: Any,
) -> Array:
    """V after `dt` (ms) by `joined(V, drive, rate, L, dt)` where L joins points, elsewhere by `alone`."""
    if L is None:
        return alone(V, drive, rate, dt)
    moved = joined(V, drive, rate, L, dt)
    return moved if L.joined is None else jnp.where(L.joined, moved, alone(V, drive, rate, dt))


def within_reach(stepper: AbstractStepper, network: Network, dt: Any) -> Network:
    """The network, whose V is joined weakly enough for a step of `dt` (ms).

    **Raises:** `ValueError` that names the largest dt; under `jit` an error when it runs.
    """
    L, most = network.V_operator(), stepper.takes_operator
    if L is None or math.isinf(most):
        return network
    reach = dt * L.bound()
    links = "`network` has links of compartments" if network.cells else "`coupling` has gap junctions"
    message = (
        f"{links} too strong for this solver at this `dt`: it takes twice their sum on one neuron, times "
        f"dt/C, up to {most:g}. Take solver='strang'"
    )
    if is_concrete(reach):
        if not reach <= most:
            raise ValueError(
                f"{message}, or dt = {most / float(L.bound()):.3g} ms, got dt = {float(dt):g} ms."
            )
        return network
    return error_if(network, ~(reach <= most), f"{message}.")
