"""Giving a network's channels noise."""

from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from ._network import Network
from ._neuron import Neuron
from ._noise import (
    AbstractNoisyChannel,
    ConductanceNoise,
    ExactChain,
    OUConductanceNoise,
    SubunitNoise,
    TauLeap,
)
from ._parameters import as_float_array, is_concrete
from ._populations import Populations

MODELS = {
    "subunit": SubunitNoise,
    "conductance": ConductanceNoise,
    "ou_conductance": OUConductanceNoise,
    "tau_leap": TauLeap,
    "exact": ExactChain,
}


def with_channel_noise(
    network: Network | Neuron,
    *,
    model: str,
    count: Any = None,
    density: Any = None,
    area: Any = None,
    shielding: bool = False,
) -> Network | Neuron:
    """The same network with a finite number of channels, which open and close at random.

    Works for any [`hh.Channel`][]: the noise follows from its gates, exponents and rates.
    Channels without a gate that has a state, such as the leak, stay as they are. In a network
    of several populations each neuron is given its noise before, or none.

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

    - `network`: a network or neuron without channel noise.
    - `model`: a name from the table.
    - `count`: how many channels each neuron has: a dict by channel name of numbers or (n,)
        arrays (a channel that is not named stays free of noise), or one number for every
        channel. Whole numbers for the last two models.
    - `density`, `area`: instead of `count`, channels/µm², as a dict or a number, and the
        neurons' membrane area, µm². For the last two models the product is rounded.
    - `shielding`: for `"conductance"`, noise only at the open state; see its class.

    **Returns:** a network or neuron, as `network` was.

    **Raises:** `ValueError` and `TypeError` for an unknown model or channel, a count that
    is not positive, or channels that have noise already.
    """
    neuron = network.neuron if isinstance(network, Network) else network
    if isinstance(neuron, Populations):
        raise TypeError(
            "`network` has several populations: give each neuron its noise, as in "
            "hh.Network({'e': hh.with_channel_noise(neuron, ...), ...}, ...)."
        )
    if not isinstance(neuron, Neuron):
        raise TypeError(f"`network` must be an hh.Network or hh.Neuron, got {network!r}.")
    if model not in MODELS:
        raise ValueError(f"`model` must be one of {', '.join(map(repr, MODELS))}, got {model!r}.")
    if shielding and model != "conductance":
        raise ValueError(f"`shielding` is an option of model='conductance', not of {model!r}.")
    gated = [name for name, channel in neuron.channels.items() if _has_states(channel)]
    kind = MODELS[model]
    counts = _counts(gated, count, density, area, rounded=kind.jumps)
    options = {"shielding": True} if shielding else {}
    channels = dict(neuron.channels)
    for name, number in counts.items():
        channel = channels[name]
        if isinstance(channel, AbstractNoisyChannel):
            raise ValueError(f"`network` has noise on channel {name!r} already.")
        channels[name] = kind(channel, number, **options)
    noisy = eqx.tree_at(lambda neuron: neuron.channels, neuron, channels)
    if not isinstance(network, Network):
        return noisy
    noisy = eqx.tree_at(lambda network: network.neuron, network, noisy)
    noisy.check()
    return noisy


def _has_states(channel: Any) -> bool:
    if isinstance(channel, AbstractNoisyChannel):
        return True
    return bool(eqx.filter_eval_shape(lambda c: c.steady_state(jnp.zeros(())), channel))


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
        return _by_name(count, gated, "count")
    area = as_float_array(area)
    if is_concrete(area) and not (np.asarray(area) > 0).all():
        raise ValueError(f"`area` must be positive (µm²), got {area}.")
    products = {k: as_float_array(d) * area for k, d in _by_name(density, gated, "density").items()}
    return {k: jnp.round(product) if rounded else product for k, product in products.items()}
