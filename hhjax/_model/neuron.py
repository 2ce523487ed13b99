"""A limit on what negative conductances, which a diffusion allows, do to the membrane."""

from collections.abc import Iterator, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._base.parameters import check_parameters, param, Parameter
from .._base.tables import Printed, Table
from .._noise.channels import AbstractNoisyChannel
from ..channels._channel import Channel
from .names import check_names
from .pool import CalciumPool
from .tables import neuron_tables, populations_tables


class State(eqx.Module):
    """Every state variable of a network of n neurons.

    **Fields:**

    - `V`: membrane potential, mV, shape (n,).
    - `gates`: `gates[channel][gate]`, in [0, 1], each of shape (n,), and `gates[pool]["c"]`, the
        concentration of a pool, mM. With several populations one such dict for each of them,
        `gates[population][channel][gate]`, of that population's shape.
    - `s`: the state of the coupling, often with leaves of shape (n,); with several couplings a
        dict of states; `None` without one.
    - `noise`: the states of the network's noises, a tuple of `None` and shape (n,); `None`
        without noise.
    """

    V: Float[Array, "..."]
    gates: dict[str, dict[str, Any]]
    s: Any = None
    noise: Any = None

    def replace_V(self, V: Float[Array, "..."]) -> "State":
        """This state with another membrane potential (mV)."""
        return State(V=V, gates=self.gates, s=self.s, noise=self.noise)


class Neuron(Printed, eqx.Module):
    r"""A space-clamped neuron, $C\,dV/dt = I - \sum_k I_k$.

    **Fields:**

    - `channels`: a dict of [`hh.Channel`][]s by name.
    - `C`: membrane capacitance, µF/cm², scalar or one per neuron.
    - `pools`: a dict of [`hh.CalciumPool`][]s by name, none by default.
    """

    channels: dict[str, Channel | AbstractNoisyChannel]
    C: Parameter = param(1.0, unit="µF/cm²", positive=True)
    pools: dict[str, CalciumPool] = eqx.field(default_factory=dict)

    def __check_init__(self) -> None:
        for field, kinds in (("channels", Channel | AbstractNoisyChannel), ("pools", CalciumPool)):
            parts = getattr(self, field)
            if not isinstance(parts, dict) or not all(isinstance(c, kinds) for c in parts.values()):
                kind = {"channels": "Channel", "pools": "CalciumPool"}[field]
                raise TypeError(
                    f"`Neuron.{field}` must be a dict of hh.{kind} objects by name, got {parts!r}."
                )
        for name, channel in self.channels.items():
            if channel.pool is not None and channel.pool not in self.pools:
                raise ValueError(
                    f"`Neuron.pools` must have {channel.pool!r}, an hh.CalciumPool, for channel {name!r} "
                    f"to sense, got {sorted(self.pools)}."
                )
        for name, pool in self.pools.items():
            missing = set(pool.carriers) - set(self.channels)
            if missing or name in self.channels:
                raise ValueError(
                    f"`Neuron.pools[{name!r}].carriers` must be names of channels, and its own name must "
                    f"not, got {list(pool.carriers)} for channels {sorted(self.channels)}."
                )
        check_names(channels=self.channels, pools=self.pools)
        check_parameters(self, "neuron")

    def _tables(self) -> list[Table]:
        return neuron_tables(self)

    @property
    def V_is_linear(self) -> bool:
        """Whether dV/dt is linear in V at fixed gates (no instantaneous gates)."""
        return not any(c.has_instantaneous_gates for c in self.channels.values())

    @property
    def noisy_channels(self) -> dict[str, AbstractNoisyChannel]:
        """The channels with noise, by name."""
        return {k: c for k, c in self.channels.items() if isinstance(c, AbstractNoisyChannel)}

    @property
    def gates_are_independent(self) -> bool:
        """Whether at fixed V the gates do not act on each other (no pools)."""
        return not self.pools

    def channels_at(self, concentrations: dict[str, Array]) -> dict[str, Channel | AbstractNoisyChannel]:
        """The channels with what their pools set: sensed calcium, Nernst potentials.

        **Arguments:** `concentrations`: mM, by the name of the pool.
        """

        def bare(c: Any) -> Any:
            return c.channel if isinstance(c, AbstractNoisyChannel) else c

        channels = dict(self.channels)
        for name, channel in channels.items():
            if channel.pool is not None:
                calcium = concentrations[channel.pool]
                channels[name] = eqx.tree_at(lambda c: bare(c).calcium, channel, calcium)
        for name, pool in self.pools.items():
            if pool.nernst:
                E = pool.reversal(concentrations[name])
                for carrier in pool.carriers:
                    channels[carrier] = eqx.tree_at(lambda c: bare(c).E, channels[carrier], E)
        return channels

    def _channels_in(self, gates: dict[str, dict[str, Array]]) -> dict[str, Any]:
        """The channels with what the concentrations among the `gates` set."""
        return self.channels_at({name: gates[name]["c"] for name in self.pools})

    def _inward(self, pool: CalciumPool, channels: dict[str, Any], V: Array, gates: Any) -> Any:
        """The current that fills a pool, µA/cm², inward positive."""
        currents = [channels[name].linear_current(V, gates[name]) for name in pool.carriers]
        return sum(drive - conductance * V for drive, conductance in currents)

    def steady_gates(self, V: Float[Array, " n"]) -> dict[str, dict[str, Array]]:
        """All gates and pools at rest at V (mV), as `gates[channel][gate]`."""
        c = {name: jnp.broadcast_to(pool.rest, V.shape) for name, pool in self.pools.items()}

        def excess(c: dict[str, Array]) -> dict[str, Array]:
            """How far each pool is from where its own current would keep it, mM."""
            channels = self.channels_at(c)
            gates = {name: channel.steady_state(V) for name, channel in channels.items()}
            level = lambda pool: pool.steady_state(self._inward(pool, channels, V, gates))
            return {name: c[name] - level(pool) for name, pool in self.pools.items()}

        if self.pools:
            # Newton's method from below, where it cannot overshoot: the current falls as c rises.
            def improved(_: Any, c: dict[str, Array]) -> dict[str, Array]:
                away, slope = jax.jvp(excess, (c,), (jax.tree.map(jnp.ones_like, c),))
                return jax.tree.map(lambda c, f, df: c - f / jnp.maximum(df, 1.0), c, away, slope)

            c = jax.lax.fori_loop(0, 30, improved, c)
        gates = {name: channel.steady_state(V) for name, channel in self.channels_at(c).items()}
        return gates | {name: {"c": level} for name, level in c.items()}

    def gates_form(
        self, V: Float[Array, " n"], gates: dict[str, dict[str, Array]]
    ) -> tuple[dict[str, dict[str, Array]], dict[str, dict[str, Array]]]:
        """(drive, rate) of dx/dt = drive − rate·x for every gate and every pool.

        **Arguments:** `V`: mV, shape (n,); `gates`: `gates[channel][gate]`, each of shape (n,).

        **Returns:** two dicts like `gates`; drive in units of x per ms, rate in 1/ms.
        """
        drives, rates = {}, {}
        channels = self._channels_in(gates)
        for name, channel in channels.items():
            noisy = isinstance(channel, AbstractNoisyChannel)
            form = channel.linear_form(V, gates[name]) if noisy else channel.linear_form(V)
            drives[name], rates[name] = form
        for name, pool in self.pools.items():
            drive, rate = pool.linear_form(self._inward(pool, channels, V, gates))
            drives[name], rates[name] = {"c": drive}, {"c": rate}
        return drives, rates

    def V_form(
        self,
        V: Float[Array, " n"],
        gates: dict[str, dict[str, Array]],
        current: Array,
        conductance: Array | float = 0.0,
    ) -> tuple[Array, Array]:
        """(drive, rate) of dV/dt = drive − rate·V.

        **Arguments:**

        - `V`: mV, shape (n,), which instantaneous gates feel.
        - `gates`: `gates[channel][gate]`, each of shape (n,).
        - `current`: inward current from outside the membrane, µA/cm².
        - `conductance`: conductance from outside, mS/cm², whose current g·E belongs in
            `current`.

        **Returns:** drive in mV/ms, rate in 1/ms.
        """
        channels = self._channels_in(gates)
        currents = {name: channel.linear_current(V, gates[name]) for name, channel in channels.items()}
        if self.noisy_channels:
            currents = bounded(currents, self.noisy_channels, conductance)
        for _, (driven, conducted) in sorted(currents.items()):  # as under jit, which sorts dicts
            current = current + driven
            conductance = conductance + conducted
        return _per_capacitance(jnp.asarray(current), jnp.asarray(conductance), self.C)


@jax.custom_jvp
def _per_capacitance(current: Array, conductance: Array, C: Array) -> tuple[Array, Array]:
    by_C = 1 / C
    return current * by_C, conductance * by_C


@_per_capacitance.defjvp
def _per_capacitance_jvp(primals: tuple, tangents: tuple) -> tuple[tuple, tuple]:
    values, C = _per_capacitance(*primals), primals[2]
    # XLA computes anew, wherever it is used, what does not end in a division: so these do.
    d_current, d_conductance, d_C = tangents
    return values, ((d_current - values[0] * d_C) / C, (d_conductance - values[1] * d_C) / C)


Current = tuple[Array, Array]


def bounded(
    currents: Mapping[str, Current], noisy: Mapping[str, object], outside: Array | float
) -> dict[str, Current]:
    """Currents whose negative conductances are at most half of the positive ones together.

    A fluctuation may carry an open fraction below zero; for a few hundred channels and
    more, that is a small part of the membrane's conductance and nothing is changed. For a
    handful it could turn the membrane's conductance negative and blow V up: there the
    negative currents of noisy channels are scaled down in common.

    **Arguments:** `currents`: (drive, conductance) of each channel; `noisy`: the names that
    may be negative; `outside`: further conductance, mS/cm².
    """
    positive = outside + sum(jnp.maximum(g, 0.0) for _, g in currents.values())
    negative = sum(jnp.maximum(-currents[name][1], 0.0) for name in noisy)
    too_much = 2 * negative > positive
    scale = jnp.where(too_much, positive / jnp.where(too_much, 2 * negative, 1.0), 1.0)
    limited = dict(currents)
    for name in noisy:
        drive, g = currents[name]
        factor = jnp.where(g < 0, scale, 1.0)
        limited[name] = (drive * factor, g * factor)
    return limited


class Populations(Printed, eqx.Module):
    """Several populations of different neurons, with the methods of one [`hh.Neuron`][].

    V holds the populations one after the other, in the order of `sizes`; the gates are kept by
    population. Made by [`hh.Network`][] from dicts.

    **Fields:** `neurons`: a neuron by the name of its population; `sizes`: pairs of names and
    numbers of neurons.
    """

    neurons: dict[str, Neuron]
    sizes: tuple[tuple[str, int], ...] = eqx.field(static=True)

    def _tables(self) -> list[Table]:
        return populations_tables(self)

    @property
    def ranges(self) -> dict[str, slice]:
        """Where each population lies in V."""
        ranges, start = {}, 0
        for name, size in self.sizes:
            ranges[name] = slice(start, start + size)
            start += size
        return ranges

    def items(self) -> Iterator[tuple[str, Neuron, int]]:
        """Name, neuron and size of every population, in order."""
        for name, size in self.sizes:
            yield name, self.neurons[name], size

    @property
    def V_is_linear(self) -> bool:
        """Whether dV/dt is linear in V at fixed gates, in every population."""
        return all(neuron.V_is_linear for neuron in self.neurons.values())

    @property
    def gates_are_independent(self) -> bool:
        """Whether at fixed V the gates do not act on each other, in every population."""
        return all(neuron.gates_are_independent for neuron in self.neurons.values())

    def steady_gates(self, V: Float[Array, " n"]) -> dict[str, Any]:
        """All gates at rest at V (mV), as `gates[population][channel][gate]`."""
        return {name: self.neurons[name].steady_gates(V[part]) for name, part in self.ranges.items()}

    def gates_form(self, V: Float[Array, " n"], gates: dict[str, Any]) -> tuple[dict, dict]:
        """(drive, rate) of all gates and pools, see `Neuron.gates_form`."""
        forms = {k: self.neurons[k].gates_form(V[part], gates[k]) for k, part in self.ranges.items()}
        return {k: drive for k, (drive, _) in forms.items()}, {k: rate for k, (_, rate) in forms.items()}

    def V_form(
        self, V: Float[Array, " n"], gates: dict[str, Any], current: Array, conductance: Array | float = 0.0
    ) -> tuple[Array, Array]:
        """(drive, rate) of V, see `Neuron.V_form`."""
        current, conductance = (jnp.broadcast_to(x, V.shape) for x in (current, conductance))
        drives, rates = [], []
        for name, part in self.ranges.items():
            form = self.neurons[name].V_form(V[part], gates[name], current[part], conductance[part])
            drive, rate = (jnp.broadcast_to(x, V[part].shape) for x in form)
            drives.append(drive)
            rates.append(rate)
        return jnp.concatenate(drives), jnp.concatenate(rates)
