"""A neuron, its state, and several populations of neurons."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._base.devices import as_varying
from .._base.math import relax_by
from .._base.parameters import (
    as_float_array,
    check_parameters,
    Checked,
    OptionalParameter,
    param,
    Parameter,
    put,
    settle,
    shown,
)
from .._base.renames import reads, renamed
from .._base.tables import Printed, Table
from .._noise.channels import AbstractNoisyChannel
from ..channels._channel import AbstractChannel, AbstractOhmicChannel
from ..channels._ion import Ion, Ions
from .names import check_names
from .tables import neuron_tables, populations_tables


class NotSaved(Mapping[str, Any], eqx.Module):
    """What stands for gates that were not saved: a dict without any, which says how to save them.

    **Fields:** `names`: what there would be.
    """

    names: tuple[str, ...] = eqx.field(static=True, default=())

    def __getitem__(self, name: str) -> Any:
        raise KeyError(
            f"{name!r} was not saved, V alone was: run with saveat=diffrax.SaveAt(t0=True, steps=True) for "
            f"the whole state. `gates` then has {', '.join(self.names) or 'none'}."
        )

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


class State(Checked):
    """Every state variable of a network of n neurons.

    **Fields:**

    - `V`: membrane potential, mV, shape (n,).
    - `gates`: `gates[channel][gate]`, in [0, 1], each of shape (n,). With several populations one such
        dict for each of them, `gates[population][channel][gate]`, of that population's shape. A
        `NotSaved` where V alone was saved.
    - `s`: the state of the coupling, often with leaves of shape (n,); with several couplings a
        dict of states; `None` without one.
    - `noise`: the states of the network's noises, a tuple of `None` and shape (n,); `None`
        without noise.
    - `concentrations`: `concentrations[ion]`, mM, of the ions that currents change, each of shape (n,);
        with several populations `concentrations[population][ion]` for those that have such ions.
    """

    V: Float[Array, "..."]
    gates: Any
    s: Any = None
    noise: Any = None
    concentrations: dict[str, Any] = eqx.field(default_factory=dict)

    def replace(self, **fields: Any) -> "State":
        """This state with other fields."""
        return put(self, **fields)

    def replace_V(self, V: Float[Array, "..."]) -> "State":
        """This state with another membrane potential (mV)."""
        return self.replace(V=V)


def _bare(channel: Any) -> Any:
    return channel.channel if isinstance(channel, AbstractNoisyChannel) else channel


def _with_bare(channel: Any, bare: Any) -> Any:
    if bare is _bare(channel):
        return channel
    return put(channel, channel=bare) if isinstance(channel, AbstractNoisyChannel) else bare


@renamed(pools="ions, of hh.calcium(...) or hh.Ion(...)")
@reads(
    steady_gates="steady_state",
    gates_form="others_form",
    linear_form="others_form, or V_form",
    channels_at="surroundings",
    gates_are_independent="flow_is_exact",
)
class Neuron(Printed, Checked):
    r"""A space-clamped neuron, $C\,dV/dt = I - \sum_k I_k$.

    **Fields:**

    - `channels`: a dict of [`hh.Channel`][]s by name, or of other kinds of channels.
    - `C`: membrane capacitance, µF/cm², scalar or one per neuron.
    - `ions`: a dict of [`hh.Ion`][]s by name, none by default.
    - `celsius`: temperature, °C, of its channels and ions that have none of their own. By default each
        has that of the paper it is from.
    """

    channels: dict[str, AbstractChannel]
    C: Parameter = param(1.0, unit="µF/cm²", positive=True)
    ions: dict[str, Ion] = eqx.field(default_factory=dict)
    celsius: OptionalParameter = param(None, unit="°C", minimum=-273.15)

    def __post_init__(self) -> None:
        for field, kind in (("channels", AbstractChannel), ("ions", Ion)):
            parts = getattr(self, field)
            if not isinstance(parts, dict) or not all(isinstance(x, kind) for x in parts.values()):
                name = {"channels": "Channel", "ions": "Ion"}[field]
                raise TypeError(
                    f"`Neuron.{field}` must be a dict of hh.{name} objects by name, got {shown(parts)}."
                )
        # An E that no ion sets gets its value here, and is then a parameter like others.
        for name, channel in self.channels.items():
            if name not in self._set_by_ions:
                settled = _with_bare(channel, _with_E(_bare(channel)))
                self.channels = self.channels | {name: settled}

    def _check_made(self) -> None:
        for name, ion in self.ions.items():
            if set(ion.carriers) - set(self.channels):
                raise ValueError(
                    f"`Neuron.ions[{name!r}].carriers` must be names of channels, got {list(ion.carriers)} "
                    f"for channels {sorted(self.channels)}."
                )
        for name, channel in self.channels.items():
            needed = {*channel.senses, *({channel.carries} - {None})}
            if needed - set(self.ions):
                raise ValueError(
                    f"`Neuron.ions` must have {', '.join(map(repr, sorted(needed)))}, an hh.Ion such as "
                    f"hh.calcium(), for channel {name!r}, got {sorted(self.ions)}."
                )
            carried = {ion for ion in self.ions if name in self.carriers(ion)}
            if len(carried) > 1:
                raise ValueError(
                    f"`Neuron.ions` must give channel {name!r} one ion at most, got {sorted(carried)}."
                )
            if not isinstance(bare := _bare(channel), AbstractOhmicChannel):
                continue
            ion = self._set_by_ions.get(name)
            if ion is not None and bare.E is not None:
                raise ValueError(
                    f"`E` of channel {name!r} must be None, as ion {ion!r} sets it, got {bare.E} mV. For a "
                    "fixed E give the ion nernst=False."
                )
            if ion is None and bare.E is None:
                raise ValueError(f"`E` of channel {name!r} must be given (mV), as no ion sets it, got None.")
        if self.celsius is None and len(set(self._temperatures.values())) > 1:
            raise ValueError(
                "`Neuron.celsius` must be given (°C), as its parts are of sources at different temperatures: "
                f"{', '.join(f'{name} {celsius:g}' for name, celsius in self._temperatures.items())}."
            )
        check_names(channels=self.channels, ions=self.ions)
        check_parameters(self, "neuron")

    def _tables(self) -> list[Table]:
        return neuron_tables(self)

    @property
    def V_is_linear(self) -> bool:
        """Whether dV/dt is linear in V at fixed gates and concentrations."""
        return not any(c.conductance_depends_on_V for c in self.channels.values())

    @property
    def noisy_channels(self) -> dict[str, AbstractNoisyChannel]:
        """The channels with noise, by name."""
        return {k: c for k, c in self.channels.items() if isinstance(c, AbstractNoisyChannel)}

    @property
    def markov_channels(self) -> list[str]:
        """The channels of which states act on each other, by name."""
        return [k for k, c in self.channels.items() if not c.states_are_independent]

    @property
    def moving_ions(self) -> dict[str, Ion]:
        """The ions that currents change, which have a state."""
        return {name: ion for name, ion in self.ions.items() if ion.moves}

    @property
    def flow_is_exact(self) -> bool:
        """Whether `flow` is exact: at fixed V no channel or concentration acts on another."""
        return not self.moving_ions

    @property
    def _temperatures(self) -> dict[str, float]:
        """The temperature (°C) of the source of each part that has none of its own."""
        parts: dict[str, Any] = {k: _bare(channel) for k, channel in self.channels.items()}
        return {
            name: f.metadata["otherwise"]
            for name, part in (parts | self.ions).items()
            for f in dataclasses.fields(part)
            if f.name == "celsius" and part.celsius is None and f.metadata.get("otherwise") is not None
        }

    @property
    def _set_by_ions(self) -> dict[str, str]:
        """The ion that sets the E of a channel, by the channel's name."""
        return {name: ion for ion, it in self.ions.items() if it.nernst for name in it.carriers}

    def carriers(self, ion: str) -> list[str]:
        """The channels whose current is of an ion, by name."""
        own = [name for name, channel in self.channels.items() if channel.carries == ion]
        return [*self.ions[ion].carriers, *(name for name in own if name not in self.ions[ion].carriers)]

    def surroundings(self, concentrations: Mapping[str, Array]) -> tuple[dict[str, AbstractChannel], Ions]:
        """The channels and ions with what they take from the neuron and each other.

        That is temperature, Nernst potentials and concentrations (mM, by ion; others are at rest).
        """
        ions = {
            name: settle(put(ion, inside=concentrations.get(name, ion.inside)), celsius=self.celsius)
            for name, ion in self.ions.items()
        }
        channels = {}
        for name, channel in self.channels.items():
            ion = self._set_by_ions.get(name)
            E = None if ion is None else ions[ion].E
            channels[name] = _with_bare(channel, settle(_bare(channel), celsius=self.celsius, E=E))
        return channels, ions

    def _ion_forms(self, y: State, channels: Mapping[str, Any], ions: Ions) -> dict[str, tuple[Array, Array]]:
        """(drive, rate) of the concentrations."""
        forms = {}
        for name, ion in self.moving_ions.items():
            currents = [channels[k].current(y.V, y.gates[k], ions) for k in self.carriers(name)]
            forms[name] = ion.linear_form(sum(currents, start=jnp.zeros_like(y.V)), y.concentrations[name])
        return forms

    def steady_state(self, V: Float[Array, " n"]) -> State:
        """The state at rest at V (mV). A concentration that nothing removes is at its `inside`."""
        return _at_rest(self, V)

    def others_form(self, y: State) -> tuple[State, State]:
        """(drive, rate) of dx/dt = drive − rate·x for every state of a channel and every concentration.

        **Arguments:** `y`: the state, of which V, `gates` and `concentrations` count.

        **Returns:** two `State`s that hold V itself; drive in units of x per ms, rate in 1/ms.
        """
        channels, ions = self.surroundings(y.concentrations)
        forms = {name: channel.linear_form(y.V, y.gates[name], ions) for name, channel in channels.items()}
        of_ions = self._ion_forms(y, channels, ions)
        pick = lambda k: State(
            y.V,
            {name: form[k] for name, form in forms.items()},
            concentrations={name: form[k] for name, form in of_ions.items()},
        )
        return pick(0), pick(1)

    def flow(self, y: State, dt: Array, at: State | None = None) -> State:
        """Gates and concentrations after `dt` (ms) with V held, each with the others as they are in `at`."""
        at = y if at is None else at
        channels, ions = self.surroundings(at.concentrations)
        gates = {name: channel.flow(y.V, y.gates[name], ions, dt) for name, channel in channels.items()}
        forms = self._ion_forms(at, channels, ions)
        moved = {name: relax_by(c, forms[name], dt) for name, c in y.concentrations.items()}
        return y.replace(gates=gates, concentrations=moved)

    def currents(self, y: State, outside: Array | float = 0.0) -> dict[str, tuple[Array, Array]]:
        """The current I = conductance·V − drive of each channel: (drive µA/cm², conductance mS/cm²).

        `outside` is the conductance from outside the membrane (mS/cm²), see `bounded`.
        """
        channels, ions = self.surroundings(y.concentrations)
        found = {name: channel.linear_current(y.V, y.gates[name], ions) for name, channel in channels.items()}
        return bounded(found, self.noisy_channels, outside) if self.noisy_channels else found

    def V_form(self, y: State, current: Array, conductance: Array | float = 0.0) -> tuple[Array, Array]:
        """(drive, rate) of dV/dt = drive − rate·V.

        **Arguments:**

        - `y`: the state; its V (mV) is what conductances that depend on V feel.
        - `current`: inward current from outside the membrane, µA/cm².
        - `conductance`: conductance from outside, mS/cm², whose current g·E belongs in
            `current`.

        **Returns:** drive in mV/ms, rate in 1/ms.
        """
        currents = self.currents(y, conductance)
        for _, (driven, conducted) in sorted(currents.items()):  # as under jit, which sorts dicts
            current = current + driven
            conductance = conductance + conducted
        return _per_capacitance(jnp.asarray(current), jnp.asarray(conductance), self.C)


@eqx.filter_jit
def _at_rest(neuron: Neuron, V: Float[Array, " n"]) -> State:
    """The state at rest at V (mV).

    The concentrations by Newton's method on their logarithms, from those without a current; where no
    positive ones are at rest they stay there.
    """
    ions = neuron.moving_ions
    inside = {name: jnp.broadcast_to(ion.inside, V.shape) for name, ion in ions.items()}

    def at(c: dict[str, Array]) -> State:
        channels, around = neuron.surroundings(c)
        gates = {name: channel.steady_state(V, around) for name, channel in channels.items()}
        return State(V, gates, concentrations=c)

    if not ions:
        return at({})

    def excess(log_c: Array) -> Array:
        """dc/dt over c, where c decays, shape (ions, n)."""
        y = at(dict(zip(ions, jnp.exp(log_c))))
        forms = neuron._ion_forms(y, *neuron.surroundings(y.concentrations))
        tau = jnp.stack([jnp.broadcast_to(ion.tau, V.shape) for ion in ions.values()])
        moved = [rate - drive / c for (drive, rate), c in zip(forms.values(), y.concentrations.values())]
        return jnp.where(jnp.isfinite(tau), jnp.stack([jnp.broadcast_to(x, V.shape) for x in moved]), 0.0)

    def improved(log_c: Array, _: None) -> tuple[Array, None]:
        along = lambda k: jax.jvp(excess, (log_c,), (jnp.zeros_like(log_c).at[k].set(1.0),))
        away, columns = zip(*(along(k) for k in range(len(ions))))
        slopes = jnp.moveaxis(jnp.stack(columns, axis=1), -1, 0)  # (n, ions, ions)
        still = jnp.where((slopes == 0).all(axis=2)[..., None], jnp.eye(len(ions), dtype=V.dtype), 0.0)
        step = jnp.linalg.solve(slopes + still, away[0].T[..., None])[..., 0].T
        return log_c - jnp.clip(step, -1.0, 1.0), None

    start = jnp.log(jnp.stack(list(inside.values())))
    found = jax.lax.scan(improved, as_varying(start, (neuron, V)), None, length=40)[0]
    good = jnp.isfinite(found) & (jnp.abs(excess(found)) < 1e-3)
    c = jnp.where(good, jnp.exp(found), jnp.exp(start))
    return at(dict(zip(ions, c)))


def _with_E(channel: AbstractChannel) -> AbstractChannel:
    """The channel with the reversal potential of its source, if it has none."""
    known = {f.name: f.metadata.get("otherwise") for f in dataclasses.fields(channel)}.get("E")
    missing = known is not None and getattr(channel, "E", None) is None
    return put(channel, E=as_float_array(known)) if missing else channel


@jax.custom_jvp
def _per_capacitance(current: Array, conductance: Array, C: Array) -> tuple[Array, Array]:
    by_C = 1 / C
    return current * by_C, conductance * by_C


@_per_capacitance.defjvp
def _per_capacitance_jvp(primals: tuple, tangents: tuple) -> tuple[tuple, tuple]:
    values, C = _per_capacitance(*primals), primals[2]
    # These end in a division: XLA recomputes other expressions at each place where they are used.
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

    V holds the populations one after the other, in the order of `sizes`; gates and concentrations are
    kept by population. Made by [`hh.Network`][] from dicts.

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
