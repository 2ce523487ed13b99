"""V and counted channels together, from one transition to the next."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from .._base.math import relax
from .._model.network import Network
from .._model.neuron import Neuron, State
from .._noise.jumps import AbstractExactChain, fire, propensities, without_gradient
from ..channels._ion import Ions


def has_exact_channels(network: Network) -> bool:
    """Whether there are any such in any of the neurons."""
    return any(isinstance(channel, AbstractExactChain) for channel in network.noisy_channels.values())


def key_of_kind(key: Array, part: slice) -> Array:
    """The key for draws of the neurons in `part` alone; the first kind has `key` itself."""
    return jax.random.fold_in(key, part.start) if part.start else key


_V_STEP = 1.0  # mV that V may move within one interval of quadrature


_EVENTS = 2.0  # transitions expected in it


_MOST = 1_000_000  # intervals in one call, after which it gives up with NaN


def run_exact(network: Network, t: Array, dt: Array, y: State, stimulus: Any, key: Array) -> State:
    """V and the channels with model="exact" moved by `dt` (ms), everything else held.

    Per interval: V(s) is exact at the present counts; the propensities are taken as
    linear between its ends; if their integral passes an exponential random number inside,
    the interval ends there with one transition. What is left of the number at an
    interval's end is drawn anew, which is the same, as exponentials have no memory.
    """
    y, network, stimulus = without_gradient((y, network, stimulus), "exact")

    def exact(neuron: Neuron, here: State) -> tuple[dict[str, AbstractExactChain], Ions]:
        """The channels whose Markov chain is followed event by event, and the ions about them."""
        channels, ions = neuron.surroundings(here.concentrations)
        return {k: c for k, c in channels.items() if isinstance(c, AbstractExactChain)}, ions

    def shut(part: slice, neuron: Neuron, here: State) -> State:
        off = {k: jax.tree.map(jnp.zeros_like, here.gates[k]) for k in exact(neuron, here)[0]}
        return here.replace(gates=here.gates | off)

    drive, rate = network.V_form(t, network.map_kinds(shut, y), stimulus)
    moved = []

    def move(part: slice, neuron: Neuron, here: State) -> State:
        own = key_of_kind(key, part)
        around = exact(neuron, here)
        V, counts = _follow(neuron, around, drive[part], rate[part], dt, here.V, here.gates, own)
        moved.append(V)
        return here.replace(gates=here.gates | counts)

    y = network.map_kinds(move, y)
    return y.replace(V=jnp.concatenate(moved))


def _follow(
    neuron: Neuron, exact: tuple, drive: Array, rate: Array, dt: Array, V: Array, gates: dict, key: Array
) -> tuple[Array, dict]:
    """V and the counts of the exact channels moved by `dt`, with the others' drive and rate."""
    channels, ions = exact
    if not channels:
        return relax(V, drive, rate, dt), {}
    one = jnp.ones((), V.dtype)
    flow = lambda V, into, out, time: relax(V, time * into, time * out, one)

    def unfinished(carry: tuple) -> Array:
        i, _, _, left = carry
        return jnp.any(left > 0) & (i < _MOST)

    def interval(carry: tuple) -> tuple:
        i, V, gates, left = carry
        into, out = drive, rate
        for name, channel in channels.items():
            driven, conducted = channel.linear_current(V, gates[name], ions)
            into, out = into + driven / neuron.C, out + conducted / neuron.C
        flows = propensities(channels, V, gates, ions)
        total = sum(flows)
        slope = jnp.abs(into - out * V)
        step = jnp.minimum(left, jnp.minimum(_EVENTS / total, _V_STEP / slope))
        end_flows = propensities(channels, flow(V, into, out, step), gates, ions)
        end_total = sum(end_flows)

        bits = jax.random.uniform(jax.random.fold_in(key, i), (2, *V.shape), V.dtype)
        wanted = -jnp.log1p(-bits[0])
        happens = (step * (total + end_total) / 2 >= wanted) & (left > 0)
        # s·(a·w + (b − a)·w²/2) = wanted for w in [0, 1], written so that a = b is no exception.
        per_step = wanted / jnp.where(happens, step, 1.0)
        root = jnp.sqrt(jnp.maximum(total**2 + 2 * (end_total - total) * per_step, 0.0))
        w = jnp.where(happens, 2 * per_step / jnp.where(happens, total + root, 1.0), 1.0)
        w = jnp.minimum(w, 1.0)
        at_event = [a + (b - a) * w for a, b in zip(flows, end_flows)]
        level = jnp.where(happens, bits[1] * sum(at_event), -1.0)
        return i + 1, flow(V, into, out, w * step), fire(channels, gates, at_event, level), left - w * step

    start = (jnp.int32(0), V, {name: gates[name] for name in channels}, jnp.broadcast_to(dt, V.shape))
    _, V, counts, left = jax.lax.while_loop(unfinished, interval, start)
    return jnp.where(left > 0, jnp.nan, V), counts
