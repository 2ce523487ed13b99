"""What noise is: a channel or a current that moves with increments of a Brownian motion."""

import abc
from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from .._channel import Channel
from .._parameters import is_concrete, param, Parameter
from ._scheme import Scheme

Gates = dict[str, Array]


class AbstractNoisyChannel(eqx.Module):
    """A channel of which there are `count`, so that the open fraction fluctuates.

    Everything derives from the gates, exponents and rates of `channel`.

    **Fields:**

    - `channel`: the [`hh.Channel`][] without noise.
    - `count`: how many there are in one neuron, scalar or shape (n,); `inf` for no noise.
    """

    channel: Channel
    count: Parameter = param(positive=True)

    model: ClassVar[str]
    jumps: ClassVar[bool] = False
    """Whether the state moves by jumps, not by a Brownian motion."""

    @property
    def scheme(self) -> Scheme:
        """The states that a channel can be in."""
        return Scheme.of(self.channel)

    @property
    def pool(self) -> str | None:
        """The pool whose concentration the channel senses, by name."""
        return self.channel.pool

    @property
    def has_instantaneous_gates(self) -> bool:
        """Whether the conductance depends on V directly, not through a state alone."""
        return self.channel.has_instantaneous_gates

    @property
    def sources(self) -> int:
        """How many independent Brownian motions act on one neuron's channels."""
        return 0

    @abc.abstractmethod
    def steady_state(self, V: Float[Array, " n"]) -> Gates:
        """The state at rest at V (mV), without fluctuations."""

    @abc.abstractmethod
    def linear_form(self, V: Float[Array, " n"], gates: Gates) -> tuple[Gates, Gates]:
        """(drive, rate) of the mean, dx/dt = drive − rate·x, for each variable; 1/ms."""

    @abc.abstractmethod
    def linear_current(self, V: Float[Array, " n"], gates: Gates) -> tuple[Array, Array]:
        """The current as I = conductance·V − drive, as (drive µA/cm², conductance mS/cm²)."""

    @abc.abstractmethod
    def occupancies(self, V: Float[Array, " n"], gates: Gates) -> Gates:
        """The fraction of channels in each state of the scheme, by its name."""

    def _fully_open(self, V: ArrayLike) -> tuple[Array, Array]:
        """(drive, conductance) if all channels were open."""
        ones = {gate: jnp.ones_like(V) for gate in self.channel.steady_state(V)}
        return self.channel.linear_current(V, ones)

    def open_fraction(self, V: Float[Array, " n"], gates: Gates) -> Array:
        """The fraction of channels whose gates with a state are all open."""
        return self.occupancies(V, gates)[self.scheme.names[-1]]


class AbstractLangevinChannel(AbstractNoisyChannel):
    """Channels whose noise is a diffusion, an Itô stochastic differential equation."""

    @abc.abstractmethod
    def diffusion(self, V: Float[Array, " n"], gates: Gates, dW: Float[Array, "k n"]) -> Gates:
        """The change of each variable by the Brownian increments dW (√ms), Itô."""

    @abc.abstractmethod
    def move(self, V: Float[Array, " n"], gates: Gates, dt: Array, dW: Float[Array, "k n"]) -> Gates:
        """The state after `dt` (ms) with V held and Brownian increments dW (√ms)."""


def sqrt(x: Array) -> Array:
    """√x; where x is not positive, the root of the smallest number, with derivative 0."""
    return jnp.sqrt(jnp.where(x > 0, x, jnp.finfo(x.dtype).tiny))


def check_whole(count: Any, name: str) -> None:
    """Refuse counts of channels that are not whole."""
    if is_concrete(count):
        count = np.asarray(count)
        if not (np.isfinite(count).all() and (count == np.round(count)).all() and (count >= 1).all()):
            raise ValueError(f"`count` of a {name} channel must be whole and at least 1, got {count}.")
