"""The membrane of one neuron, or of many alike: a capacitance and a set of channels."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from ._channel import Channel
from ._noise import AbstractNoisyChannel, bounded
from ._parameters import check_parameters, param


class State(eqx.Module):
    """Every state variable of a network of n neurons.

    **Fields:**

    - `V`: membrane potential, mV, shape (n,).
    - `gates`: `gates[channel][gate]`, in [0, 1], each of shape (n,).
    - `s`: the state of the coupling, each leaf of shape (n,); `None` without one.
    - `noise`: the states of the network's noises, a tuple of `None` and shape (n,); `None`
        without noise.
    """

    V: Float[Array, "..."]
    gates: dict[str, dict[str, Float[Array, "..."]]]
    s: Any = None
    noise: Any = None

    def replace_V(self, V: Float[Array, "..."]) -> "State":
        """This state with another membrane potential (mV)."""
        return State(V=V, gates=self.gates, s=self.s, noise=self.noise)


class Neuron(eqx.Module):
    r"""A space-clamped neuron, $C\,dV/dt = I - \sum_k I_k$.

    **Fields:**

    - `channels`: a dict of [`hh.Channel`][]s by name.
    - `C`: membrane capacitance, µF/cm², scalar or one per neuron.
    """

    channels: dict[str, Channel | AbstractNoisyChannel]
    C: Float[Array, "..."] = param(1.0, unit="µF/cm²", positive=True)

    def __check_init__(self) -> None:
        if not isinstance(self.channels, dict) or not all(
            isinstance(c, Channel | AbstractNoisyChannel) for c in self.channels.values()
        ):
            raise TypeError(
                f"`Neuron.channels` must be a dict of hh.Channel objects by name, got {self.channels!r}."
            )
        check_parameters(self, "neuron")

    @property
    def V_is_linear(self) -> bool:
        """Whether dV/dt is linear in V at fixed gates (no instantaneous gates)."""
        return not any(c.has_instantaneous_gates for c in self.channels.values())

    @property
    def noisy_channels(self) -> dict[str, AbstractNoisyChannel]:
        """The channels with noise, by name."""
        return {k: c for k, c in self.channels.items() if isinstance(c, AbstractNoisyChannel)}

    def steady_gates(self, V: Float[Array, " n"]) -> dict[str, dict[str, Array]]:
        """All gates at rest at V (mV), as `gates[channel][gate]`."""
        return {name: channel.steady_state(V) for name, channel in self.channels.items()}

    def linear_form(
        self,
        V: Float[Array, " n"],
        gates: dict[str, dict[str, Array]],
        current: Array,
        conductance: Array | float = 0.0,
    ) -> tuple[State, State]:
        """(drive, rate) of dx/dt = drive − rate·x for V and for every gate.

        **Arguments:**

        - `V`: mV, shape (n,).
        - `gates`: `gates[channel][gate]`, each of shape (n,).
        - `current`: inward current from outside the membrane, µA/cm².
        - `conductance`: conductance from outside, mS/cm², whose current g·E belongs in
            `current`.

        **Returns:** two `State`s; drive in mV/ms and 1/ms, rate in 1/ms.
        """
        drives, rates, currents = {}, {}, {}
        for name, channel in self.channels.items():
            noisy = isinstance(channel, AbstractNoisyChannel)
            form = channel.linear_form(V, gates[name]) if noisy else channel.linear_form(V)
            drives[name], rates[name] = form
            currents[name] = channel.linear_current(V, gates[name])
        if self.noisy_channels:
            currents = bounded(currents, self.noisy_channels, conductance)
        for driven, conducted in currents.values():
            current = current + driven
            conductance = conductance + conducted
        return State(current / self.C, drives), State(jnp.asarray(conductance / self.C), rates)
