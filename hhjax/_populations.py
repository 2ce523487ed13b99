"""Neurons of several kinds side by side, which a network takes for one."""

from collections.abc import Iterator
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from ._neuron import Neuron


class Populations(eqx.Module):
    """Several populations of different neurons, with the methods of one [`hh.Neuron`][].

    V holds the populations one after the other, in the order of `sizes`; the gates are kept by
    population. Made by [`hh.Network`][] from dicts.

    **Fields:** `neurons`: a neuron by the name of its population; `sizes`: pairs of names and
    numbers of neurons.
    """

    neurons: dict[str, Neuron]
    sizes: tuple[tuple[str, int], ...] = eqx.field(static=True)

    @property
    def ranges(self) -> dict[str, slice]:
        """Where each population lies in V."""
        ranges, start = {}, 0
        for name, size in self.sizes:
            ranges[name] = slice(start, start + size)
            start += size
        return ranges

    def items(self) -> Iterator[tuple[str, Neuron, int]]:
        """Name, neuron and size of every population, in order."""
        for name, size in self.sizes:
            yield name, self.neurons[name], size

    @property
    def V_is_linear(self) -> bool:
        """Whether dV/dt is linear in V at fixed gates, in every population."""
        return all(neuron.V_is_linear for neuron in self.neurons.values())

    @property
    def gates_are_independent(self) -> bool:
        """Whether at fixed V the gates do not act on each other, in every population."""
        return all(neuron.gates_are_independent for neuron in self.neurons.values())

    def steady_gates(self, V: Float[Array, " n"]) -> dict[str, Any]:
        """All gates at rest at V (mV), as `gates[population][channel][gate]`."""
        return {name: self.neurons[name].steady_gates(V[part]) for name, part in self.ranges.items()}

    def gates_form(self, V: Float[Array, " n"], gates: dict[str, Any]) -> tuple[dict, dict]:
        """(drive, rate) of all gates and pools, see `Neuron.gates_form`."""
        forms = {k: self.neurons[k].gates_form(V[part], gates[k]) for k, part in self.ranges.items()}
        return {k: drive for k, (drive, _) in forms.items()}, {k: rate for k, (_, rate) in forms.items()}

    def V_form(
        self, V: Float[Array, " n"], gates: dict[str, Any], current: Array, conductance: Array | float = 0.0
    ) -> tuple[Array, Array]:
        """(drive, rate) of V, see `Neuron.V_form`."""
        current, conductance = (jnp.broadcast_to(x, V.shape) for x in (current, conductance))
        drives, rates = [], []
        for name, part in self.ranges.items():
            form = self.neurons[name].V_form(V[part], gates[name], current[part], conductance[part])
            drive, rate = (jnp.broadcast_to(x, V[part].shape) for x in form)
            drives.append(drive)
            rates.append(rate)
        return jnp.concatenate(drives), jnp.concatenate(rates)
