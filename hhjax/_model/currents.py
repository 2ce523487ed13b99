"""Every current in V's equation, by its name."""

from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from ..stimuli._base import as_stimulus
from ..synapses._coupling import AbstractCoupling, Couplings
from ..synapses._junctions import Junctions
from .network import Network
from .neuron import State


def currents(network: Network, t: ArrayLike, y: State, stimulus: Any) -> dict[str, Array]:
    """All currents (µA/cm²) at a time (ms) and state, see [`hh.save_currents`][]."""
    stimulus = as_stimulus(stimulus)
    found = {}
    _, outside = network.outside(t, y, stimulus)
    prefixes = [f"{name}." for name in network.ranges] or [""]
    for prefix, (part, neuron), here in zip(prefixes, network.kinds, network.split(y)):
        for name, form in neuron.currents(here, outside[part]).items():
            found[prefix + name] = _outward(here.V, *form)
    for name, part, s in _couplings(network, y):
        at = network.ranges.get(part.post or "", slice(None))
        found[name] = jnp.zeros_like(y.V).at[at].set(_of_coupling(part, y.V[at], s))
    for k, (noise, x) in enumerate(zip(network.noise, y.noise or ())):
        if x is not None:  # white noise is no current
            name = f"noise.{k}" if len(network.noise) > 1 else "noise"
            found[name] = _outward(y.V, *noise.linear_current(x))
    injected = jnp.asarray(stimulus(t), y.V.dtype) - stimulus.conductance() * y.V
    return found | {"stimulus": jnp.broadcast_to(injected, y.V.shape)}


def _outward(V: Float[Array, " n"], drive: Any, conductance: Any) -> Float[Array, " n"]:
    return jnp.broadcast_to(conductance * V - drive, V.shape)


def _couplings(network: Network, y: State) -> Iterator[tuple[str, AbstractCoupling, Any]]:
    """Name, coupling and state of each."""
    coupling = network.coupling
    if isinstance(coupling, Couplings):
        for name, part in coupling.parts.items():
            yield f"coupling.{name}", part, y.s[name]
    elif coupling is not None:
        yield "coupling", coupling, y.s


def _of_coupling(coupling: AbstractCoupling, V: Float[Array, " n"], s: Any) -> Float[Array, " n"]:
    """The current of the receiving neurons at their V (mV)."""
    current = _outward(V, *coupling.linear_current(V, s))
    joined = coupling.junctions(V.size)
    groups = tuple((at.start, at.stop) for at, _ in joined)
    return current + Junctions(tuple(weights for _, weights in joined), groups, jnp.ones_like(V)).times(V)
