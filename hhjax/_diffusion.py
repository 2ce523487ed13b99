"""A network's noise taken together: its Brownian motions and what they move."""

from typing import Any

import jax
import jax.numpy as jnp
import lineax
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from ._network import Network
from ._neuron import Neuron, State
from ._noise import AbstractLangevinChannel, ExactChain


def brownian_shape(network: Network) -> tuple[int, int]:
    """(k, n): how many Brownian motions drive the network, per neuron and neurons.

    The shape of the path that [`hh.diffusion`][] is multiplied with.
    """
    sources = lambda neuron: sum(channel.sources for channel in neuron.noisy_channels.values())
    return len(network.noise) + max(sources(neuron) for _, neuron in network.kinds), network.n


def channel_increments(neuron: Neuron, dW: Float[Array, "k n"]) -> dict[str, Array]:
    """The rows of dW (√ms) of each noisy channel, where those of the network's noises are left out."""
    start, of_channels = 0, {}
    for name, channel in sorted(neuron.noisy_channels.items()):
        of_channels[name] = dW[start : start + channel.sources]
        start += channel.sources
    return of_channels


def white_charge(network: Network, dW: Float[Array, "k n"]) -> Array:
    """The charge (µA·ms/cm²) that white noise injects into each neuron."""
    charges = [noise.white(row) for noise, row in zip(network.noise, dW)]
    return sum(charges, start=jnp.zeros((network.n,), dW.dtype))


def apply_diffusion(network: Network, y: State, dW: Float[Array, "k n"]) -> State:
    """The change of the state by Brownian increments dW (√ms), Itô."""
    still = jax.tree.map(jnp.zeros_like, y)

    def change_of(part: slice, neuron: Neuron, gates: dict, still: dict) -> dict:
        changes, rows = dict(still), channel_increments(neuron, dW[len(network.noise) :, part])
        for name, channel in neuron.noisy_channels.items():
            assert isinstance(channel, AbstractLangevinChannel)
            changes[name] = channel.diffusion(y.V[part], gates[name], rows[name])
        return changes

    gates = network.map_gates(change_of, y.gates, still.gates)
    noise = tuple(noise.diffusion(x, row) for noise, x, row in zip(network.noise, y.noise or (), dW))
    fit = lambda change: jax.tree.map(lambda c, x: jnp.broadcast_to(c, x.shape), change, y)
    return fit(State(white_charge(network, dW) / network.capacitance, gates, still.s, noise or None))


def diffusion(t: ArrayLike, y: State, args: tuple[Network, Any]) -> lineax.AbstractLinearOperator:
    r"""The diffusion G of $dy = f\,dt + G\,dW$ (Itô), as `diffrax.ControlTerm` takes it.

    ```python
    path = diffrax.VirtualBrownianTree(0.0, 100.0, tol=1e-3, shape=hh.brownian_shape(network), key=key)
    terms = diffrax.MultiTerm(
        diffrax.ODETerm(hh.vector_field), diffrax.ControlTerm(hh.diffusion, path)
    )
    diffrax.diffeqsolve(terms, hh.as_diffrax("euler_maruyama"), ..., args=(network, stimulus))
    ```

    Channel noise depends on the state: of diffrax's own solvers take `diffrax.Euler()`, which
    converges to the Itô solution. Noise of the injected current alone is additive and the
    same in Itô's and Stratonovich's sense, so `diffrax.Heun()` and its kind and `SPaRK()`
    serve as well. (The Milstein methods need the diffusion as a matrix.)

    **Arguments:** `t`: ms; `y`: the state; `args`: `(network, stimulus)`.

    **Returns:** a lineax operator from increments of shape `hh.brownian_shape(network)`,
    √ms, to a `State`.
    """
    network, _ = args
    network.check_diffusive()
    increments = jax.ShapeDtypeStruct(brownian_shape(network), y.V.dtype)
    return lineax.FunctionLinearOperator(lambda dW: apply_diffusion(network, y, dW), increments)


def exact_channels(neuron: Neuron) -> dict[str, ExactChain]:
    """The channels whose Markov chain is followed event by event."""
    return {k: c for k, c in neuron.noisy_channels.items() if isinstance(c, ExactChain)}


def has_exact_channels(network: Network) -> bool:
    """Whether there are any such in any of the neurons."""
    return any(isinstance(channel, ExactChain) for channel in network.noisy_channels.values())


def key_of_kind(key: Array, part: slice) -> Array:
    """The key for draws of the neurons in `part` alone; the first kind has `key` itself."""
    return jax.random.fold_in(key, part.start) if part.start else key
