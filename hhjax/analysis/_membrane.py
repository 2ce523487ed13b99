"""What the channels of one neuron are, at which V it rests, and where that rest is lost."""

from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._channel import Channel
from .._network import Network
from .._neuron import Neuron
from .._parameters import as_float_array, check_parameters, run_dtype
from .._spikes import spike_times

_LOWEST, _HIGHEST, _POINTS = -150.0, 80.0, 2301  # mV: where an equilibrium is looked for, every 0.1 mV


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


def steady_current(neuron: Neuron, V: Float[Array, " points"]) -> Float[Array, " points"]:
    """The ionic current (µA/cm², outward) with all gates and pools at rest at each V (mV)."""
    drive, rate = neuron.V_form(V, neuron.steady_gates(V), jnp.zeros_like(V))
    return neuron.C * (rate * V - drive)


def _grid(neuron: Neuron) -> Array:
    return jnp.linspace(_LOWEST, _HIGHEST, _POINTS, dtype=run_dtype(neuron))


@eqx.filter_jit
def resting_potential(neuron: Neuron) -> Float[Array, ""]:
    """The lowest V (mV) at which the membrane rests without current; NaN if there is none.

    Differentiable. Whether the rest is stable is not asked.
    """
    V = _grid(neuron)
    return spike_times(V, steady_current(neuron, V), max_spikes=1)[0]


@eqx.filter_jit
def first_fold(neuron: Neuron) -> Float[Array, ""]:
    """The current (µA/cm²) at which the resting state is lost in a fold; infinite if it never is.

    It is the first maximum of the steady current as V rises. Differentiable.
    """
    V = _grid(neuron)
    current, slope = jax.jvp(lambda V: steady_current(neuron, V), (V,), (jnp.ones_like(V),))
    at = spike_times(V, -slope, max_spikes=1)
    exists = ~jnp.isnan(at[0])
    top = steady_current(neuron, jnp.where(exists, at, V[:1]))[0]
    return jnp.where(exists, top, np.inf)
