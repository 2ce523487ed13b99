"""Voltage clamp, where the gates have a closed form: families of steps."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from .._base.arguments import as_array, as_number
from .._base.parameters import check_size, run_dtype
from .._model.neuron import Neuron
from ..channels._channel import AbstractChannel, States
from ..channels._ion import Ions
from ._system import one_membrane


class VoltageClamp(eqx.Module):
    """The currents of a membrane whose V is stepped, see [`hh.analysis.voltage_clamp`][].

    **Fields:**

    - `ts`: ms, shape (times,), from the start of the protocol.
    - `V`: the command, mV, shape (steps, times). At an edge it has jumped already.
    - `currents`: `currents[channel]`, µA/cm², outward positive, shape (steps, times).
    - `conductances`: `conductances[channel]`, mS/cm², shape (steps, times); of a
        [`hh.GHKChannel`][] the slope of its current by V.
    - `gates`: `gates[channel][gate]`, in [0, 1], shape (steps, times).
    - `epochs`: for `"hold"`, `"prepulse"`, `"test"` and `"tail"`, those there are, the first
        sample and the one after the last, as (name, first, stop).
    """

    ts: Float[Array, " times"]
    V: Float[Array, "steps times"]
    currents: dict[str, Array]
    conductances: dict[str, Array]
    gates: dict[str, dict[str, Array]]
    epochs: tuple[tuple[str, int, int], ...] = eqx.field(static=True)

    @property
    def total(self) -> Float[Array, "steps times"]:
        """The whole ionic current, µA/cm², outward positive."""
        first, *others = self.currents.values()
        return sum(others, start=first)

    def current(self, channel: str | None = None, epoch: str | None = None) -> Float[Array, "steps times"]:
        """The current of a channel, or the whole ionic current, in an epoch or throughout."""
        if channel is not None and channel not in self.currents:
            raise ValueError(f"`channel` must be one of {sorted(self.currents)}, got {channel!r}.")
        current = self.total if channel is None else self.currents[channel]
        return current if epoch is None else current[:, self.samples(epoch)]

    def samples(self, epoch: str) -> slice:
        """Which samples lie in an epoch."""
        for name, first, stop in self.epochs:
            if name == epoch:
                return slice(first, stop)
        raise ValueError(f"`epoch` must be one of {[name for name, *_ in self.epochs]}, got {epoch!r}.")

    def potential(self, epoch: str = "test") -> Float[Array, " steps"]:
        """V of each step in an epoch, mV."""
        return self.V[:, self.samples(epoch)][:, 0]

    def peak(self, channel: str | None = None, epoch: str = "test") -> Float[Array, " steps"]:
        """The current (µA/cm²) of greatest size in an epoch, with its sign."""
        current = self.current(channel, epoch)
        return jnp.take_along_axis(current, jnp.argmax(jnp.abs(current), axis=1)[:, None], axis=1)[:, 0]

    def initial(self, channel: str | None = None, epoch: str = "tail") -> Float[Array, " steps"]:
        """The current (µA/cm²) right after the jump to an epoch: in the tail, the tail current."""
        return self.current(channel, epoch)[:, 0]

    def iv_curve(self, channel: str | None = None) -> "IVCurve":
        """Current against test potential, of a channel or of the whole membrane."""
        current = self.current(channel, "test")
        inward = current.min(axis=1)
        return IVCurve(self.potential(), self.peak(channel), inward, current[:, -1])


class IVCurve(NamedTuple):
    """Current against voltage in a step.

    `V`: mV; `peak`: the current of greatest size, with its sign; `inward`: the lowest;
    `steady`: at the end; µA/cm², outward positive; all of shape (steps,).
    """

    V: Array
    peak: Array
    inward: Array
    steady: Array


def interval(dt: Any) -> float:
    return as_number("dt", dt, "ms", positive=True)


def _pair(name: str, given: Any) -> tuple[Any, Any]:
    if not isinstance(given, (tuple, list)) or len(given) != 2:
        raise TypeError(f"`{name}` must be a pair (potential in mV, duration in ms), got {given!r}.")
    return given[0], given[1]


def count_samples(name: str, duration: Any, dt: float) -> int:
    """A duration in steps of dt."""
    length = as_number(name, duration, "ms", positive=True)
    count = check_size(name, round(length / dt), 0)
    if count < 1 or abs(count * dt - length) > 1e-6 * dt * count:
        raise ValueError(f"`{name}` must last a whole number of dt = {dt:g} ms, got {duration!r} ms.")
    return count


@eqx.filter_jit
def _responses(
    channels: dict[str, AbstractChannel], ions: Ions, levels: list[Array], times: list[Array]
) -> tuple:
    """Gates, conductances and currents through epochs at `levels`, (steps,) each, at rest in the first.

    `times`: for each epoch the samples from its start, ms, and at last its end.
    """
    # At an edge V has jumped; the last epoch alone shows its end as well.
    keep = [t.size - 1 for t in times[:-1]] + [times[-1].size]
    parts = [jnp.broadcast_to(v[:, None], (v.size, n)) for v, n in zip(levels, keep)]
    V = jnp.concatenate(parts, axis=1)
    gates, conductances, currents = {}, {}, {}
    for name, channel in channels.items():
        at, pieces = channel.steady_state(levels[0], ions), []
        for v, t, n in zip(levels, times, keep):
            through = _through(channel, ions, v, t, at)
            at = {gate: x[:, -1] for gate, x in through.items()}
            pieces.append({gate: x[:, :n] for gate, x in through.items()})
        gates[name] = {gate: jnp.concatenate([piece[gate] for piece in pieces], axis=1) for gate in at}
        driven, conducted = channel.linear_current(V, gates[name], ions)
        conductances[name] = jnp.broadcast_to(conducted, V.shape)
        currents[name] = jnp.broadcast_to(conducted * V - driven, V.shape)
    return V, gates, conductances, currents


_PARTS = 16  # of an interval, in which the flow of a Markov channel has no error that shows


def _through(channel: AbstractChannel, ions: Ions, V: Array, times: Array, at: States) -> States:
    """The states at `times` (ms) after they were `at`, with V held; the shape of V and times."""
    if channel.states_are_independent:
        return jax.vmap(lambda t: channel.flow(V, at, ions, t), out_axes=1)(times)

    def to_next(at: States, dt: Array) -> tuple[States, States]:
        part = lambda _, at: channel.flow(V, at, ions, dt / _PARTS)
        at = jax.lax.fori_loop(0, _PARTS, part, at)
        return at, at

    _, rows = jax.lax.scan(to_next, at, jnp.diff(times, prepend=0.0))
    return jax.tree.map(lambda x: jnp.moveaxis(x, 0, 1), rows)


def family(
    channels: dict[str, AbstractChannel], ions: Ions, epochs: list[tuple[str, Any, int, float]]
) -> VoltageClamp:
    """Epochs (name, potentials, number of samples, interval between them in ms)."""
    dtype = run_dtype(channels)
    names = ["holding" if name == "hold" else name for name, *_ in epochs]
    given = [as_array(name, V, "mV", dtype) for name, (_, V, *_) in zip(names, epochs)]
    steps = {V.size for V in given if V.ndim}
    levels = []
    for name, V in zip(names, given):
        if np.ndim(V) > 1 or np.size(V) == 0 or len(steps) > 1:
            raise ValueError(
                f"`{name}` must be a potential (mV) or have shape (steps,), the same for all epochs, "
                f"got shape {np.shape(V)}."
            )
        levels.append(jnp.broadcast_to(V, (max(steps, default=1),)))
    local = [np.arange(count + 1) * dt for *_, count, dt in epochs]
    responses = _responses(channels, dict(ions), levels, [jnp.asarray(t, dtype) for t in local])
    first = np.cumsum([0] + [count for *_, count, _ in epochs])
    first[-1] += 1  # the end of the last epoch
    spans = tuple((name, int(first[k]), int(first[k + 1])) for k, (name, *_) in enumerate(epochs))
    starts = np.cumsum([0.0] + [count * dt for *_, count, dt in epochs])
    ts = np.concatenate([start + t[:-1] for start, t in zip(starts, local)] + [starts[-1:]])
    V, gates, conductances, currents = responses
    return VoltageClamp(jnp.asarray(ts, dtype), V, currents, conductances, gates, spans)


def voltage_clamp(
    neuron: Neuron | AbstractChannel,
    test: Any,
    *,
    duration: float = 20.0,
    holding: Any = -80.0,
    hold: float = 1.0,
    prepulse: tuple[Any, float] | None = None,
    tail: tuple[Any, float] | None = None,
    dt: float = 0.01,
    concentrations: Mapping[str, ArrayLike] | None = None,
) -> VoltageClamp:
    """A family of voltage steps: holding potential, prepulse, test potential, tail.

    V is clamped ideally, so that each gate relaxes exponentially within each step: the values at
    the samples are exact, whatever dt. Works for any channel, under `jit`, `vmap` and `grad`.

    ```python
    clamp = hh.analysis.voltage_clamp(hh.squid_axon(), test=jnp.arange(-60.0, 61.0, 20.0))
    clamp.currents["na"], clamp.iv_curve("na").peak
    ```

    **Arguments:**

    - `neuron`: an [`hh.Neuron`][], or one [`hh.Channel`][].
    - `test`: potentials of the test pulse, mV, a scalar or shape (steps,); those of the other
        epochs likewise.
    - `duration`: of the test pulse, ms.
    - `holding`: the potential at which everything is at rest in the beginning, mV; `hold`: for
        how long it is shown before the first jump, ms.
    - `prepulse`, `tail`: (mV, ms) of a pulse before and after the test pulse.
    - `dt`: interval of the samples, ms, of which durations are whole multiples.
    - `concentrations`: of the neuron's ions by name, mM, held as by a buffer; needed
        of those that currents change.

    **Returns:** an [`hh.analysis.VoltageClamp`][].

    **Raises:** `ValueError` and `TypeError` for bad input.
    """
    membrane = one_membrane(neuron, concentrations)
    dt = interval(dt)
    epochs = [("hold", holding, count_samples("hold", hold, dt), dt)]
    if prepulse is not None:
        V, length = _pair("prepulse", prepulse)
        epochs.append(("prepulse", V, count_samples("prepulse", length, dt), dt))
    epochs.append(("test", test, count_samples("duration", duration, dt), dt))
    if tail is not None:
        V, length = _pair("tail", tail)
        epochs.append(("tail", V, count_samples("tail", length, dt), dt))
    return family(*membrane, epochs)
