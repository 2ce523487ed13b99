"""A network's noise taken together: its Brownian motions and what they move."""

from typing import Any

import jax
import jax.numpy as jnp
import lineax
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from ._network import Network
from ._neuron import State
from ._noise import AbstractLangevinChannel, ExactChain


def brownian_shape(network: Network) -> tuple[int, int]:
    """(k, n): how many Brownian motions drive the network, per neuron and neurons.

    The shape of the path that [`hh.diffusion`][] is multiplied with.
    """
    channels = network.neuron.noisy_channels.values()
    return len(network.noise) + sum(channel.sources for channel in channels), network.n


def split_increments(network: Network, dW: Float[Array, "k n"]) -> tuple[Array, dict[str, Array]]:
    """The rows of dW (√ms) of the network's noises, and of each noisy channel."""
    start = len(network.noise)
    of_channels = {}
    for name, channel in sorted(network.neuron.noisy_channels.items()):
        of_channels[name] = dW[start : start + channel.sources]
        start += channel.sources
    return dW[: len(network.noise)], of_channels


def white_charge(network: Network, dW: Float[Array, "k n"]) -> Array:
    """The charge (µA·ms/cm²) that white noise injects into each neuron."""
    rows, _ = split_increments(network, dW)
    charges = [noise.white(row) for noise, row in zip(network.noise, rows)]
    return sum(charges, start=jnp.zeros((network.n,), dW.dtype))


def apply_diffusion(network: Network, y: State, dW: Float[Array, "k n"]) -> State:
    """The change of the state by Brownian increments dW (√ms), Itô."""
    rows, of_channels = split_increments(network, dW)
    still = jax.tree.map(jnp.zeros_like, y)
    gates = dict(still.gates)
    for name, channel in network.neuron.noisy_channels.items():
        assert isinstance(channel, AbstractLangevinChannel)
        gates[name] = channel.diffusion(y.V, y.gates[name], of_channels[name])
    noise = tuple(noise.diffusion(x, row) for noise, x, row in zip(network.noise, y.noise or (), rows))
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


def exact_channels(network: Network) -> dict[str, ExactChain]:
    """The channels whose Markov chain is followed event by event."""
    return {k: c for k, c in network.neuron.noisy_channels.items() if isinstance(c, ExactChain)}
