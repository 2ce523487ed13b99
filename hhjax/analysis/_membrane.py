"""What may be clamped: one neuron, or the channels of one."""

from collections.abc import Mapping
from typing import Any

import jax

from .._base.parameters import as_float_array, check_parameters, run_dtype
from .._model.network import Network
from .._model.neuron import Neuron
from ..channels._channel import Channel


def one_neuron(neuron: Any) -> Neuron:
    """Refuse what is not a single neuron without noise."""
    if isinstance(neuron, Network):
        raise TypeError("`neuron` must be one hh.Neuron, not a network: give its `neuron`.")
    if not isinstance(neuron, Neuron):
        raise TypeError(f"`neuron` must be an hh.Neuron, got {neuron!r}.")
    check_parameters(neuron, "neuron")
    _check_scalars(neuron, "neuron")
    if neuron.noisy_channels:
        names = ", ".join(map(repr, neuron.noisy_channels))
        raise ValueError(f"`neuron` must have no channel noise; these channels have: {names}.")
    return neuron


def one_membrane(model: Any, concentrations: Mapping[str, Any] | None) -> dict[str, Any]:
    """The channels of a neuron, or a channel alone, by name, with pools held at `concentrations`."""
    if isinstance(model, Channel):
        check_parameters(model, "neuron")
        _check_scalars(model, "neuron")
        return {type(model).__name__: model}
    if not isinstance(model, Neuron | Network):
        raise TypeError(f"`neuron` must be an hh.Neuron or an hh.Channel, got {model!r}.")
    neuron = one_neuron(model)
    given = dict(concentrations or {})
    if set(given) != set(neuron.pools):
        raise ValueError(
            "`concentrations` must give a concentration (mM) for each calcium pool of the neuron, "
            f"{sorted(neuron.pools)}, at which a buffer holds it; got {sorted(given)}. "
            "How a pool fills up under voltage clamp has no closed form: run hh.simulate with an hh.Clamp."
        )
    held = {name: as_float_array(c, run_dtype(neuron)) for name, c in given.items()}
    for name, c in held.items():
        if c.shape != ():
            raise ValueError(f"`concentrations[{name!r}]` must be one number (mM), got shape {c.shape}.")
    return neuron.channels_at(held)


def _check_scalars(tree: Any, name: str) -> None:
    shapes = {x.shape for x in jax.tree.leaves(tree) if isinstance(x, jax.Array)}
    if shapes - {()}:
        raise ValueError(
            f"`{name}` must be one neuron, each of its parameters a scalar, got shapes "
            f"{sorted(shapes - {()})}. For many, jax.vmap the analysis of one."
        )
