"""Voltage clamp, where the gates' equations are linear: families of steps and other commands."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from .._base.arguments import as_array, as_number
from .._base.math import after_ramp, relax
from .._base.parameters import cast_floats, check_size, run_dtype
from .._model.neuron import Neuron
from ..channels._channel import AbstractChannel, States
from ..channels._ion import Ions
from ..stimuli._base import as_stimulus, Stimulus
from ._system import one_membrane


class VoltageClamp(eqx.Module):
    """The currents of a membrane whose V is commanded, see [`hh.analysis.voltage_clamp`][].

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
    channels: dict[str, AbstractChannel], ions: Ions, levels: list[Any], times: list[Array], parts: list[int]
) -> tuple:
    """V, gates, conductances and currents through epochs at `levels`, at rest in the first.

    `levels`: (steps,) each, or what gives as many as a function of the time since the epoch's start.

    `times`: for each epoch the samples from its start, ms, and at last its end; `parts`: of the interval
    between samples, in which a moving V is a line.
    """
    # At an edge V has jumped; the last epoch alone shows its end as well.
    keep = [t.size - 1 for t in times[:-1]] + [times[-1].size]
    course = lambda v, t: jax.vmap(v)(t).reshape(t.size, -1) if isinstance(v, Stimulus) else v
    steps = levels[0].size
    rows = [jnp.broadcast_to(course(v, t[:n]), (n, steps)) for v, t, n in zip(levels, times, keep)]
    V = jnp.concatenate(rows).T
    gates, conductances, currents = {}, {}, {}
    for name, channel in channels.items():
        at, pieces = channel.steady_state(levels[0], ions), []
        for v, t, n, k in zip(levels, times, keep, parts):
            through = _through(channel, ions, v, t, k, at)
            at = {gate: x[:, -1] for gate, x in through.items()}
            pieces.append({gate: x[:, :n] for gate, x in through.items()})
        gates[name] = {gate: jnp.concatenate([piece[gate] for piece in pieces], axis=1) for gate in at}
        driven, conducted = channel.linear_current(V, gates[name], ions)
        conductances[name] = jnp.broadcast_to(conducted, V.shape)
        currents[name] = jnp.broadcast_to(conducted * V - driven, V.shape)
    return V, gates, conductances, currents


_PARTS = 16  # of an interval, in which the flow of a Markov channel has no error that shows


_PART = 0.02  # ms, the longest in which a moving V is taken for a line


def _through(
    channel: AbstractChannel, ions: Ions, V: Array | Stimulus, times: Array, parts: int, at: States
) -> States:
    """The states at `times` (ms) after they were `at`, shape (steps, times)."""
    exact = channel.states_are_independent
    if exact and not isinstance(V, Stimulus):
        return jax.vmap(lambda t: channel.flow(V, at, ions, t), out_axes=1)(times)

    def through(parts: int) -> States:
        """In so many parts of each interval."""
        later = jnp.multiply.outer(jnp.diff(times), jnp.asarray(np.arange(parts) / parts, times.dtype))
        edges = jnp.append(jnp.ravel(times[:-1, None] + later), times[-1])
        ends = (_relaxed if exact else _flown)(channel, ions, _potentials(V, edges), jnp.diff(edges), at)
        return jax.tree.map(lambda x: x[parts - 1 :: parts], ends)

    if exact:  # of order 4
        rows = jax.tree.map(
            lambda fine, coarse: fine + (fine - coarse) / 3, through(2 * parts), through(parts)
        )
    else:
        rows = through(_PARTS)
    return jax.tree.map(lambda first, x: jnp.concatenate([first[None], x]).T, at, rows)


def _potentials(V: Array | Stimulus, edges: Array) -> list[Array]:
    """V at the start, in the middle and at the end of each part between `edges` (ms), as a stimulus there."""
    if not isinstance(V, Stimulus):
        return [jnp.broadcast_to(V, (edges.size - 1, V.size))] * 3

    def see(t: Array, dt: Array, end: Array, row: Any) -> list[Array]:
        seen = V.within(t, dt, end, row)
        return [jnp.atleast_1d(jnp.asarray(seen(x), t.dtype)) for x in (t, t + dt / 2, end)]

    return jax.vmap(see)(edges[:-1], jnp.diff(edges), edges[1:], V.table(edges))


def _flown(channel: AbstractChannel, ions: Ions, V: list[Array], dt: Array, at: States) -> States:
    """The states at the ends of parts of `dt` (ms), each with the V in its middle."""

    def part(at: States, here: tuple[Array, Array]) -> tuple[States, States]:
        at = channel.flow(jnp.broadcast_to(here[0], shape), at, ions, here[1])
        return at, at

    shape = jax.tree.leaves(at)[0].shape
    return jax.lax.scan(part, at, (V[1], dt))[1]


def _relaxed(channel: AbstractChannel, ions: Ions, V: list[Array], dt: Array, at: States) -> States:
    """The same of independent states: in each part the steady state is a line, the rate constant."""

    def ends(x: Array, *forms: Array) -> Array:
        shape = (dt.size, x.size)
        first, rate, last = (jnp.broadcast_to(form, shape) for form in forms)
        step = jnp.broadcast_to(dt[:, None], shape)
        added = relax(jnp.zeros_like(rate), rate * (first + last) / 2, rate, step)
        added = added + step * rate * (last - first) * after_ramp(rate, step)
        move = lambda x, part: (part[0] * x + part[1],) * 2
        return jax.lax.scan(move, x, (jnp.exp(-rate * step), added))[1]

    def form(V: Array) -> tuple[States, States]:
        return channel.linear_form(V, dict.fromkeys(at, jnp.zeros_like(V)), ions)

    (drive, rate), (_, middle), (drive_end, rate_end) = map(form, V)
    steady = lambda drive, rate: jax.tree.map(lambda b, a: b / jnp.where(a == 0, 1, a), drive, rate)
    return jax.tree.map(ends, at, steady(drive, rate), middle, steady(drive_end, rate_end))


def _shape(V: Any) -> tuple[int, ...]:
    if not isinstance(V, Stimulus):
        return np.shape(V)
    return jax.eval_shape(V, jax.ShapeDtypeStruct((), run_dtype(V))).shape


def family(
    channels: dict[str, AbstractChannel], ions: Ions, epochs: list[tuple[str, Any, int, float]]
) -> VoltageClamp:
    """Epochs (name, potentials or a command, number of samples, interval between them in ms)."""
    dtype = run_dtype(channels)
    names = ["holding" if name == "hold" else name for name, *_ in epochs]
    moving = lambda V: isinstance(V, Stimulus) or (callable(V) and not isinstance(V, type))
    commands = [
        cast_floats(as_stimulus(V), dtype) if moving(V) else as_array(name, V, "mV", dtype)
        for name, (_, V, *_) in zip(names, epochs)
    ]
    size = next((_shape(V) for V in commands if _shape(V)), (1,))
    levels = []
    for name, V in zip(names, commands):
        if len(_shape(V)) > 1 or 0 in _shape(V) or _shape(V) not in ((), size):
            raise ValueError(
                f"`{name}` must be a potential (mV) or have shape (steps,), the same for all epochs, "
                f"got shape {_shape(V)}."
            )
        if isinstance(V, Stimulus):
            if name == "holding":
                raise TypeError(f"`holding` must be a potential (mV), at which all is at rest, got {V!r}.")
            V.check()
        levels.append(V if isinstance(V, Stimulus) else jnp.broadcast_to(V, size))
    local = [np.arange(count + 1) * dt for *_, count, dt in epochs]
    parts = [math.ceil(dt / _PART) for *_, dt in epochs]
    responses = _responses(channels, dict(ions), levels, [jnp.asarray(t, dtype) for t in local], parts)
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
    """A family of voltage steps, ramps or other commands: holding potential, prepulse, test, tail.

    V is clamped ideally, so that each gate relaxes exponentially within each step: the values at
    the samples are exact, whatever dt. Works for any channel, under `jit`, `vmap` and `grad`.

    ```python
    clamp = hh.analysis.voltage_clamp(hh.squid_axon(), test=jnp.arange(-60.0, 61.0, 20.0))
    clamp.currents["na"], clamp.iv_curve("na").peak
    ramp = hh.analysis.voltage_clamp(hh.squid_axon(), hh.Ramp(140.0, 0.0, 20.0) + (-80.0))
    ```

    Where V moves, the gates follow it by a method of order 4, in parts of at most 0.02 ms.

    **Arguments:**

    - `neuron`: an [`hh.Neuron`][], or one [`hh.Channel`][].
    - `test`: potentials of the test pulse, mV, a scalar or shape (steps,); or a command, that is a
        stimulus in mV such as [`hh.Ramp`][] or [`hh.Sampled`][], or a function of the time (ms) since
        the start of the test pulse, with a scalar or shape (steps,). Those of the other epochs likewise.
    - `duration`: of the test pulse, ms.
    - `holding`: the potential at which everything is at rest in the beginning, mV, no command; `hold`:
        for how long it is shown before the first jump, ms.
    - `prepulse`, `tail`: (mV or a command, ms) of a pulse before and after the test pulse.
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
