"""Methods for noisy networks; without noise each is a deterministic method."""

import abc
import math
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._base.math import exprel
from .._base.random import increments
from .._model.network import Network, vector_field
from .._model.neuron import Neuron, State
from .._model.noise import apply_diffusion, brownian_shape, channel_increments, white_charge
from .._noise.channels import AbstractLangevinChannel
from .._noise.jumps import AbstractExactChain, AbstractTauLeap
from ..stimuli._base import Stimulus
from ._base import AbstractStepper, flow_V
from ._exact import has_exact_channels, key_of_kind, run_exact


class AbstractMaruyama(AbstractStepper):
    """A step that is driven by the increments of a Brownian motion.

    All converge to the solution in Itô's sense. `driven_step` is the equation of the step;
    `step` draws the increments, and keys for channels that move by jumps.
    """

    stochastic: ClassVar[bool] = True
    takes_jumps: ClassVar[bool] = True
    """Whether channels that move by jumps are moved as well."""

    def step(self, network: Network, t: Array, dt: Array, z: State, stimulus: Stimulus, key: Any) -> State:
        if not self.takes_jumps:
            network.check_diffusive()
        jumps = any(channel.jumps for channel in network.noisy_channels.values())
        noise_key, jump_key = jax.random.split(key) if jumps else (key, None)
        dW = increments(noise_key, brownian_shape(network), dt)
        return self.driven_step(network, t, dt, z, stimulus, dW, jump_key)

    @abc.abstractmethod
    def driven_step(
        self,
        network: Network,
        t: Array,
        dt: Array,
        y: State,
        stimulus: Stimulus,
        dW: Float[Array, "k n"],
        key: Array | None,
    ) -> State:
        """The state at `t + dt`, given the Brownian increments dW (√ms) of the step.

        `key` is for channels that move by jumps, `None` without such.
        """


class EulerMaruyama(AbstractMaruyama):
    """Euler-Maruyama, `"euler_maruyama"`: y + dt·f + G·dW. Itô.

    Weak order 1; strong order 1 for current noise and the models of channel noise whose
    intensity is free of what the noise moves (`"conductance"`, `"ou_conductance"`), 1/2 for
    `"subunit"` (G. Maruyama, Rend. Circ. Mat. Palermo 4 (1955) 48-90). Without noise it is
    `euler`, and like it stable for the squid axon up to dt = 0.07 ms only. Not for channels
    that move by jumps. V after 4 ms of 10 µA/cm² and σ = 2 µA/cm²·√ms is off by 0.65 mV on
    average at dt = 0.02 ms.
    """

    order: ClassVar[int] = 1
    takes_jumps: ClassVar[bool] = False

    def driven_step(self, network, t, dt, y, stimulus, dW, key):
        slope = vector_field(t, y, (network, stimulus))
        noise = apply_diffusion(network, y, dW)
        return jax.tree.map(lambda x, f, g: x + dt * f + g, y, slope, noise)


class ExpEulerMaruyama(AbstractMaruyama):
    """Independent exponential Euler with noise, `"exp_euler_maruyama"`. Itô.

    V, gates and noise each take their exact step with all others held at their old
    values, noise included. Weak and strong order as `euler_maruyama`; bounded at every dt.
    Exact for a passive membrane under current noise, and for `"ou_conductance"` at a voltage
    clamp. Without noise it is `ind_exp_euler`, with as large an error: 3.8 mV in the example of
    `euler_maruyama`, which has 0.65 mV. Channels with model="exact" need `strang_maruyama`.
    """

    order: ClassVar[int] = 1
    takes_operator: ClassVar[float] = math.inf

    def driven_step(self, network, t, dt, y, stimulus, dW, key):
        if has_exact_channels(network):
            raise ValueError("Channels with model='exact' need solver='strang_maruyama'.")
        _, rate = network.V_form(t + dt / 2, y, stimulus)
        charge = white_charge(network, dW) / network.capacitance
        if network.V_operator() is not None:
            V = flow_V(network, t + dt / 2, dt, y, y.V, stimulus, charge / dt)
            return _move_all_but_V(network, dt, y, dW, key).replace(V=V)
        V = flow_V(network, t + dt / 2, dt, y, y.V, stimulus)
        if network.noise:
            V += jnp.sqrt(exprel(-2 * dt * rate)) * charge
        return _move_all_but_V(network, dt, y, dW, key).replace(V=V)


class StrangMaruyama(AbstractMaruyama):
    """Strang splitting with noise, `"strang_maruyama"`. Itô.

    V half a step, gates, channels and coupling a whole step, V half a step, each exactly
    with the others held, noise included. Without noise of order 2, at about the cost of
    `strang`, with one evaluation of the rates per step, and bounded at every dt. Exact for a
    passive membrane under current noise. Strong order as `euler_maruyama`, but the error in that example
    is 0.06 mV instead of 0.65 mV, and the error of averages falls as dt² down to 0.01 ms.
    Runs every model of channel noise; with model="exact", V and the channels move together
    in the half steps.
    """

    order: ClassVar[int] = 2
    takes_operator: ClassVar[float] = math.inf

    def driven_step(self, network, t, dt, y, stimulus, dW, key):
        middle, half = t + dt / 2, dt / 2
        charge = white_charge(network, dW) / network.capacitance
        keys = (None, None, None) if key is None else jax.random.split(key, 3)
        y = _half_V(network, middle - half / 2, half, y, stimulus, charge, keys[0])
        y = _move_all_but_V(network, dt, y, dW, keys[1])
        return _half_V(network, middle + half / 2, half, y, stimulus, charge, keys[2])


def _half_V(network, t, half, y, stimulus, charge, key):
    """V, with the channels that are followed exactly, moved by half a step."""
    at = y
    if not network.V_is_linear:  # the coefficients of V's equation from a V halfway on
        at = y.replace(V=flow_V(network, t, half / 2, y, y.V, stimulus))
    if network.V_operator() is not None:
        if has_exact_channels(network):
            raise ValueError("Channels with model='exact' do not go with gap junctions.")
        return y.replace(V=flow_V(network, t, half, at, y.V, stimulus, charge / (2 * half)))
    _, rate = network.V_form(t, at, stimulus)
    if has_exact_channels(network):
        y = run_exact(network, t, half, y, stimulus, key)
    else:
        y = y.replace(V=flow_V(network, t, half, at, y.V, stimulus))
    if not network.noise:
        return y
    # Both halves get the same dW. With u = e^(−rate·dt/2) their sum has the variance of the
    # exact process over dt, ∝ (1 − u⁴)/(2·rate), when each has the one below.
    mean = exprel(-half * rate)
    u = 1 - half * rate * mean
    variance = mean / 4 * (1 + u**2) / (1 + u)
    return y.replace(V=y.V + jnp.sqrt(variance) * charge)


def _move_all_but_V(network: Network, dt: Array, y: State, dW: Array, key: Any) -> State:
    """Gates, channels, coupling and noise moved by `dt` with V held."""

    def move_noisy(part: slice, neuron: Neuron, here: State, moved: State) -> State:
        channels, ions = neuron.surroundings(here.concentrations)
        rows = channel_increments(neuron, dW[len(network.noise) :, part])
        gates = dict(moved.gates)
        for i, name in enumerate(neuron.noisy_channels):
            channel, at = channels[name], (here.V, here.gates[name], ions)
            if isinstance(channel, AbstractExactChain):
                gates[name] = here.gates[name]
            elif isinstance(channel, AbstractTauLeap):
                gates[name] = channel.move(*at, dt, jax.random.fold_in(key_of_kind(key, part), i))
            elif isinstance(channel, AbstractLangevinChannel):
                gates[name] = channel.move(*at, dt, rows[name])
        return moved.replace(gates=gates)

    moved = network.flow(y, dt)
    noise = tuple(noise.move(x, dt, row) for noise, x, row in zip(network.noise, y.noise or (), dW))
    return network.map_kinds(move_noisy, y, moved).replace(s=moved.s, noise=noise or None)
