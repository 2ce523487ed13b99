"""A network's noise: channel noise put into it, its Brownian motions and what they move."""

from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from .._base.arguments import as_array, check_choice, check_kind
from .._base.parameters import check_flag, put, shown
from .._noise.channels import AbstractLangevinChannel, AbstractNoisyChannel, Scheme
from .._noise.jumps import ExactChain, TauLeap
from .._noise.langevin import ConductanceNoise, OUConductanceNoise, SubunitNoise
from .._noise.markov import MarkovConductanceNoise, MarkovExactChain, MarkovTauLeap
from ..channels._channel import AbstractGatedChannel
from ..channels._markov import MarkovChannel
from .cell import Cell
from .network import Model, Network
from .neuron import Neuron, Populations, State


def brownian_shape(network: Network) -> tuple[int, int]:
    """(k, n): how many Brownian motions drive the network, per neuron and neurons.

    The shape of the path that [`hh.diffusion`][] is multiplied with.
    """
    check_kind("network", network, Network, "an hh.Network")
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

    def change_of(part: slice, neuron: Neuron, here: State, still: State) -> State:
        changes, rows = dict(still.gates), channel_increments(neuron, dW[len(network.noise) :, part])
        channels, ions = neuron.surroundings(here.concentrations)
        for name in neuron.noisy_channels:
            channel = channels[name]
            assert isinstance(channel, AbstractLangevinChannel)
            changes[name] = channel.diffusion(here.V, here.gates[name], ions, rows[name])
        return still.replace(gates=changes)

    change = network.map_kinds(change_of, y, still)
    noise = tuple(noise.diffusion(x, row) for noise, x, row in zip(network.noise, y.noise or (), dW))
    fit = lambda change: jax.tree.map(lambda c, x: jnp.broadcast_to(c, x.shape), change, y)
    V = white_charge(network, dW) / network.capacitance
    return fit(change.replace(V=V, s=still.s, noise=noise or None))


def diffusion(t: ArrayLike, y: State, args: tuple[Network, Any]) -> lineax.AbstractLinearOperator:
    r"""The diffusion G of $dy = f\,dt + G\,dW$ (Itô), as `diffrax.ControlTerm` takes it.

    ```python
    path = diffrax.VirtualBrownianTree(0.0, 100.0, tol=1e-3, shape=hh.brownian_shape(network), key=key)
    terms = diffrax.MultiTerm(
        diffrax.ODETerm(hh.vector_field), diffrax.ControlTerm(hh.diffusion, path)
    )
    diffrax.diffeqsolve(terms, hh.as_diffrax("euler_maruyama"), ..., args=(network, stimulus))
    ```

    Channel noise depends on the state: of diffrax's own solvers only `diffrax.Euler()` converges to the
    Itô solution. Current noise is additive and the same in Itô's and Stratonovich's sense, so
    `diffrax.Heun()` and other Runge-Kutta methods and `SPaRK()` work as well. (The Milstein methods
    need the diffusion as a matrix.)

    **Arguments:** `t`: ms; `y`: the state; `args`: `(network, stimulus)`.

    **Returns:** a lineax operator from increments of shape `hh.brownian_shape(network)`,
    √ms, to a `State`.
    """
    network, _ = args
    network.check_diffusive()
    increments = jax.ShapeDtypeStruct(brownian_shape(network), y.V.dtype)
    return lineax.FunctionLinearOperator(lambda dW: apply_diffusion(network, y, dW), increments)


MODELS: dict[str, type[AbstractNoisyChannel]] = {
    "subunit": SubunitNoise,
    "conductance": ConductanceNoise,
    "ou_conductance": OUConductanceNoise,
    "tau_leap": TauLeap,
    "exact": ExactChain,
}
"""Of channels with gates."""


MARKOV_MODELS: dict[str, type[AbstractNoisyChannel]] = {
    "conductance": MarkovConductanceNoise,
    "tau_leap": MarkovTauLeap,
    "exact": MarkovExactChain,
}
"""Of channels whose states turn into each other."""


def with_channel_noise(
    network: Model,
    *,
    model: str,
    count: Any = None,
    density: Any = None,
    area: Any = None,
    shielding: bool = False,
) -> Model:
    """The same network with a finite number of channels, which open and close at random.

    Works for any [`hh.Channel`][]: the noise follows from its gates, exponents and rates. For an
    [`hh.MarkovChannel`][] there are `"conductance"`, `"tau_leap"` and `"exact"`.
    Channels without a gate that has a state, such as the leak, stay as they are. In a network
    of several populations, give each neuron its noise before you make the network.

    ```python
    noisy = hh.with_channel_noise(hh.squid_axon(), model="conductance", count={"na": 6000, "k": 1800})
    run = hh.simulate(noisy, t1=500.0, dt=0.01, key=jax.random.key(0))
    ```

    | model | what is random | Itô SDE, gradients |
    |---|---|---|
    | `"subunit"` | each gate by itself; far too quiet, see its class | yes |
    | `"conductance"` | the occupancy of every state of the Markov scheme | yes |
    | `"ou_conductance"` | Ornstein-Uhlenbeck processes added to the open fraction | yes |
    | `"tau_leap"` | whole channels, by binomial draws once per step | no |
    | `"exact"` | whole channels, one transition at a time | no |

    **Arguments:**

    - `network`: a network, neuron or cell without channel noise.
    - `model`: a name from the table.
    - `count`: how many channels each neuron has: a dict by channel name of numbers or (n,)
        arrays (a channel that is not named stays free of noise), or one number for every
        channel. Whole numbers for the last two models.
    - `density`, `area`: instead of `count`, channels/µm², as a dict or a number, and the
        neurons' membrane area, µm². For the last two models the product is rounded. A cell has areas of
        its own, and takes the density alone.
    - `shielding`: for `"conductance"`, noise only at the open state; see its class.

    **Returns:** a network or neuron, as `network` was.

    **Raises:** `ValueError` and `TypeError` for an unknown model or channel, a count that
    is not positive, or channels that have noise already.
    """
    if isinstance(network, Cell):
        return _noisy_cell(network, model=model, count=count, density=density, area=area, shielding=shielding)
    neuron = network.neuron if isinstance(network, Network) else network
    if isinstance(neuron, Populations):
        raise TypeError(
            "`network` has several populations: give each neuron its noise, as in "
            "hh.Network({'e': hh.with_channel_noise(neuron, ...), ...}, ...)."
        )
    if not isinstance(neuron, Neuron):
        raise TypeError(f"`network` must be an hh.Network or hh.Neuron, got {shown(network)}.")
    check_choice("model", model, MODELS)
    if check_flag("shielding", shielding) and model != "conductance":
        raise ValueError(f"`shielding` is an option of model='conductance', not of {model!r}.")
    gated = [name for name, channel in neuron.channels.items() if _has_states(channel)]
    counts = _counts(gated, count, density, area, rounded=MODELS[model].jumps)
    options = {"shielding": True} if shielding else {}
    channels = dict(neuron.channels)
    for name, number in counts.items():
        channel = channels[name]
        if isinstance(channel, AbstractNoisyChannel):
            raise ValueError(f"`network` has noise on channel {name!r} already.")
        kinds = MARKOV_MODELS if isinstance(channel, MarkovChannel) else MODELS
        if model not in kinds or (kinds is MARKOV_MODELS and shielding):
            raise ValueError(
                f"`model` for channel {name!r}, whose states turn into each other, must be one of "
                f"{', '.join(map(repr, kinds))} without `shielding`, got {model!r}."
            )
        channels[name] = kinds[model](channel, number, **options)
    noisy = eqx.tree_at(lambda neuron: neuron.channels, neuron, channels)
    if not isinstance(network, Network):
        return noisy
    noisy = eqx.tree_at(lambda network: network.neuron, network, noisy)
    noisy.check()
    return noisy


def _noisy_cell(cell: Cell, *, count: Any, density: Any, area: Any, **options: Any) -> Cell:
    if area is not None:
        raise ValueError(f"`area` must be left out for an hh.Cell, which has its own, got {area!r}.")
    whole = isinstance(cell.membranes, Neuron)
    parts = {"": cell.membranes} if isinstance(cell.membranes, Neuron) else cell.membranes
    own = lambda region: slice(None) if whole else cell.morphology.compartments.region == region
    given = [x for x in (count, density) if isinstance(x, Mapping)]
    found = {name for neuron in parts.values() for name in neuron.channels}
    if unknown := sorted({name for x in given for name in x} - found):
        raise ValueError(f"`density` names {unknown}, but the channels are {sorted(found)}.")

    def noisy(region: str, neuron: Neuron) -> Any:
        """The membrane of a region with noise in those of its channels that are named."""
        has = lambda x: {k: v for k, v in x.items() if k in neuron.channels} if isinstance(x, Mapping) else x
        if not any(map(_has_states, neuron.channels.values())) or any(has(x) == {} for x in given):
            return neuron
        area = None if density is None else cell.area[own(region)]
        return with_channel_noise(neuron, count=has(count), density=has(density), area=area, **options)

    made = {region: noisy(region, neuron) for region, neuron in parts.items()}
    return put(cell, membranes=made[""] if whole else made)


def _has_states(channel: Any) -> bool:
    if isinstance(channel, AbstractNoisyChannel):
        return True
    return isinstance(channel, MarkovChannel) or bool(
        isinstance(channel, AbstractGatedChannel) and Scheme.of(channel).gates
    )


def _by_name(value: Any, gated: list[str], name: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        return {channel: value for channel in gated}
    unknown = sorted(set(value) - set(gated))
    if unknown:
        raise ValueError(f"`{name}` names {unknown}, but the channels with gates are {gated}.")
    return dict(value)


def _counts(gated: list[str], count: Any, density: Any, area: Any, rounded: bool) -> dict[str, Any]:
    if (count is None) == (density is None) or (density is None) != (area is None):
        raise ValueError("Give either `count`, or `density` (channels/µm²) together with `area` (µm²).")
    if count is not None:
        return {
            k: as_array("count", x, positive=True, finite=False)
            for k, x in _by_name(count, gated, "count").items()
        }
    area = as_array("area", area, "µm²", positive=True)
    per_area = _by_name(density, gated, "density").items()
    products = {k: as_array("density", d, "channels/µm²", positive=True) * area for k, d in per_area}
    return {k: jnp.round(product) if rounded else product for k, product in products.items()}
