"""Activation and inactivation curves of channels, and the kinetics of their gates."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optimistix as optx
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from .._base.arguments import as_array, as_number, check_choice
from .._base.parameters import run_dtype
from .._model.neuron import Neuron
from ..channels._channel import AbstractChannel, AbstractGatedChannel, AbstractOhmicChannel
from ..channels._ion import Ions
from ..channels._kinetics import Instantaneous
from ._system import one_membrane, one_neuron
from ._voltage_clamp import count_samples, family, interval, VoltageClamp


@jax.jit
def _boltzmann(V: Array, y: Array) -> tuple[Array, Array]:
    rises = ((V - V.mean()) * (y - y.mean())).sum() >= 0
    start = jnp.stack([V[jnp.argmin(jnp.abs(y - 0.5))], jnp.where(rises, 6.0, -6.0).astype(V.dtype)])
    errors = lambda x, _: jax.nn.sigmoid((V - x[0]) / x[1]) - y
    tol = 1e-8 if V.dtype == jnp.float64 else 1e-5
    solver = optx.LevenbergMarquardt(rtol=tol, atol=tol)
    half, slope = optx.least_squares(errors, solver, start, max_steps=200, throw=False).value
    return half, slope


class GatingCurve(eqx.Module):
    """How much of a conductance a potential leaves to be used.

    **Fields:** `V`: mV, shape (steps,); `relative`: peak conductance in the test pulse as a
    fraction of its greatest value in the family, shape (steps,).
    """

    V: Float[Array, " steps"]
    relative: Float[Array, " steps"]

    def boltzmann(self) -> tuple[Array, Array]:
        """The half potential and slope (mV) of 1/(1 + exp(−(V − half)/slope)), by least squares.

        The slope is negative for a curve that falls. Differentiable.
        """
        return _boltzmann(self.V, self.relative)


def _only(neuron: Neuron | AbstractChannel, channel: str | None) -> tuple[dict[str, AbstractChannel], Ions]:
    """One channel of a neuron, or the channel given, and the ions about it at rest."""
    if not isinstance(neuron, Neuron):
        return one_membrane(neuron, None)
    channels, ions = one_neuron(neuron).surroundings({})
    name: str = check_choice("channel", channel, sorted(channels))
    return {name: channels[name]}, ions


def _one_ohmic(neuron: Neuron | AbstractChannel, channel: str | None) -> tuple[dict[str, Any], Ions]:
    """The same of a channel with a conductance."""
    channels, ions = _only(neuron, channel)
    (found,) = channels.values()
    if not isinstance(found, AbstractOhmicChannel):
        raise TypeError(
            f"`channel` must be Ohmic, with a conductance g and a reversal potential E, got {found!r}."
        )
    return channels, ions


def _relative(clamp: VoltageClamp, epoch: str) -> GatingCurve:
    (conductance,) = clamp.conductances.values()
    peak = conductance[:, clamp.samples("test")].max(axis=1)
    return GatingCurve(clamp.potential(epoch), peak / peak.max())


def activation_curve(
    neuron: Neuron | AbstractChannel,
    test: Any,
    channel: str | None = None,
    *,
    holding: Any = -80.0,
    duration: float = 20.0,
    dt: float = 0.01,
) -> GatingCurve:
    """The activation curve of a channel as it is measured: peak conductance against test potential.

    Inactivation that sets in before the peak lowers it; the steady states of the gates themselves
    are in [`hh.analysis.gate_kinetics`][].

    **Arguments:** `channel`: which, by name, unless a channel is given; others as in
    [`hh.analysis.voltage_clamp`][].
    """
    membrane, dt = _one_ohmic(neuron, channel), interval(dt)
    epochs = [("hold", holding, 1, dt), ("test", test, count_samples("duration", duration, dt), dt)]
    return _relative(family(*membrane, epochs), "test")


def inactivation_curve(
    neuron: Neuron | AbstractChannel,
    prepulse: Any,
    channel: str | None = None,
    *,
    test: Any = 0.0,
    holding: Any = -80.0,
    prepulse_duration: float = 500.0,
    duration: float = 20.0,
    dt: float = 0.01,
) -> GatingCurve:
    """The steady-state inactivation curve of a channel: peak conductance against prepulse potential.

    **Arguments:** `prepulse`: potentials, mV, shape (steps,), each held for `prepulse_duration`
    (ms), then `test`; `channel`: which, by name, unless a channel is given; others as in
    [`hh.analysis.voltage_clamp`][].
    """
    membrane, dt = _one_ohmic(neuron, channel), interval(dt)
    prepulse_duration = as_number("prepulse_duration", prepulse_duration, "ms", positive=True)
    epochs = [
        ("hold", holding, 1, dt),
        ("prepulse", prepulse, 1, prepulse_duration),  # of which the end alone matters
        ("test", test, count_samples("duration", duration, dt), dt),
    ]
    return _relative(family(*membrane, epochs), "prepulse")


class GateCurve(NamedTuple):
    """`inf`: steady state of a gate, in [0, 1]; `tau`: its time constant, ms, 0 if it follows V at once."""

    inf: Array
    tau: Array


def gate_kinetics(
    neuron: Neuron | AbstractGatedChannel, V: Float[ArrayLike, "*s"], channel: str | None = None
) -> dict[str, GateCurve]:
    """Steady state and time constant (ms) of every gate of a channel against V (mV).

    The time constants are those at the neuron's temperature. A channel alone has its own, or that of
    its source; concentrations are those at rest.

    **Arguments:** `channel`: which, by name, unless a channel is given.

    **Returns:** for each gate a pair (inf, tau), each of the shape of V.
    """
    channels, ions = _only(neuron, channel)
    (found,) = channels.values()
    if not isinstance(found, AbstractGatedChannel):
        raise TypeError(f"`channel` must have gates, as an hh.Channel has, got {found!r}.")
    V = as_array("V", V, "mV", run_dtype(found))
    _, rates = found.linear_form(V, None, ions)
    curves = {}
    for gate, kinetics in found.kinetics(V, ions).items():
        at_once = isinstance(kinetics, Instantaneous)
        tau = jnp.zeros_like(V) if at_once else jnp.broadcast_to(1 / rates[gate], V.shape)
        curves[gate] = GateCurve(jnp.broadcast_to(kinetics.inf, V.shape), tau)
    return curves
