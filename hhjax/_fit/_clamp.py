"""Voltage clamp in a fit: the current of a model whose V is commanded."""

import math
from typing import Any, NamedTuple

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .._base.parameters import cast_floats, run_dtype, shown
from .._model.network import Network
from .._model.neuron import State
from .._run.simulate import save_V, simulate
from ..losses import AbstractLoss, as_loss, Current
from ..recordings import Recording, VoltageClampRecording
from ..recordings._voltage_clamp import check_SI_of_clamp
from ..steppers.solvers import as_stepper
from ..steppers.staggered import relax_gates
from ..stimuli.sampled import Clamp, Electrode, Tabulated
from ._protocol import check_unit, FINEST, split


class ClampTraces(NamedTuple):
    """A voltage-clamp recording in a fit, and the fitted model's current.

    `name` and `unit` of the recording; `ts`: ms; `V`: the command, mV; `current` of the model and `data`,
    in that unit, outward positive; shape (sweeps, times).
    """

    name: str
    unit: str
    ts: Any
    V: Any
    current: Any
    data: Any


class Clamped(eqx.Module):
    """A voltage-clamp recording, and how the current is compared.

    **Fields:** `ts`: ms from 0, and `began`, when the first sample was; `V`: mV, and `data`, shape (sweeps,
    times); `share` of all samples of a fit, scalar; `leak_holding`: mV or `None`; `uncompensated`: the part
    of the series resistance that is there; `sampling`: ms, in `stride` steps.
    """

    ts: Array
    began: Array
    V: Array
    data: Array
    share: Array
    objective: AbstractLoss
    solver: Any
    leak_holding: Array | None
    uncompensated: float = eqx.field(static=True)
    leak_pulses: int = eqx.field(static=True)
    sampling: float = eqx.field(static=True)
    stride: int = eqx.field(static=True)
    name: str = eqx.field(static=True)
    unit: str = eqx.field(static=True)

    def current(self, model: Any) -> Array:
        """What the amplifier measures of the model, in the unit of the recording, (sweeps, times)."""
        network, electrode = split(model)
        measure = lambda V: jax.vmap(lambda V: self._measured(network, electrode, V))(V)
        found = measure(self.V)
        if self.leak_pulses:
            first = self.V[:, :1]
            begin = first if self.leak_holding is None else self.leak_holding
            small = measure(begin + (self.V - first) / self.leak_pulses)
            found = found - self.leak_pulses * (small - small[:, :1])
        return found

    def _measured(self, network: Network, electrode: Electrode, V: Array) -> Array:
        """Of one sweep, without leak subtraction."""
        V = V if electrode.junction is None else V - electrode.junction
        if electrode.series is None:
            density = _ideal(network, V, self.sampling) - electrode.offset
        else:
            density = self._through(network, electrode, V)
        return density if electrode.area is None else density * electrode.area / 100  # µA/cm² in pA

    def _through(self, network: Network, electrode: Electrode, V: Array) -> Array:
        """The current (µA/cm²) through a series resistance."""
        # 1 mV/MΩ/µm² = 1e5 µA/cm².
        g = 1e5 / (electrode.series * electrode.area * self.uncompensated)
        dt = self.sampling / self.stride
        held = jnp.repeat(V[:-1], self.stride)
        run = simulate(
            network,
            t1=dt * held.size,
            dt=dt,
            stimulus=Clamp(Tabulated(held, jnp.zeros_like(held), dt), g) + electrode.offset,
            v0=_at_rest(network, V[:1], g, electrode.offset),
            saveat=diffrax.SaveAt(t0=True, steps=self.stride, fn=save_V),
            solver=self.solver,
            throw=False,
        )
        return g * (V - run.ys.V[:, 0])

    def residuals(self, model: Any) -> Array:
        """Shape (R,), so that their squares are their share of a mean over all samples of the fit."""
        found = self.objective(self.ts + self.began, self.current(model)[..., None], self.data[..., None])
        return jnp.sqrt(self.share) * jnp.ravel(found)

    def traces(self, model: Any) -> ClampTraces:
        return ClampTraces(self.name, self.unit, self.ts, self.V, self.current(model), self.data)


def _ionic(network: Network, y: State) -> Array:
    """The current of all channels of one neuron, µA/cm², shape (1,)."""
    ((_, neuron),) = network.kinds
    each = [g * y.V - drive for drive, g in neuron.currents(y).values()]
    return sum(each, start=jnp.zeros_like(y.V))


def _at_rest(network: Network, command: Array, g: Array, offset: Array) -> Array:
    """V at which all rests behind a series resistance of 1/g, by Newton's method; shape (1,)."""

    def improved(V: Array, _: None) -> tuple[Array, None]:
        excess = lambda V: _ionic(network, network.init(V)) - offset - g * (command - V)
        value, slope = jax.jvp(excess, (V,), (jnp.ones_like(V),))
        return V - value / slope, None

    return jax.lax.scan(improved, command, None, length=6)[0]


def _ideal(network: Network, V: Array, dt: float) -> Array:
    """The ionic current (µA/cm²) of one neuron held at V (mV, (times,)), each for `dt` (ms).

    Exact but for concentrations, since gates are linear where V stands still. At a jump V has jumped.
    """

    def sample(y: State, V: Array) -> tuple[State, Array]:
        y = y.replace(V=V[None])
        return relax_gates(network, jnp.asarray(dt, V.dtype), y), _ionic(network, y)[0]

    return jax.lax.scan(sample, network.init(V[0]), V)[1]


class _Nothing(AbstractLoss):
    """Of a fit without a current-clamp recording."""

    def __call__(self, ts: Array, V: Array, target: Array) -> Array:
        return jnp.zeros(1, V.dtype)


class Parts(NamedTuple):
    """What a fit compares: a current-clamp recording with loss and beginning, and those in voltage clamp."""

    data: Any
    loss: Any
    v0: Any
    initial: Any
    clamps: tuple[Clamped, ...]


def parts(data: Any, loss: Any, v0: Any, initial: Any, model: Any, dt: float | None, solver: Any) -> Parts:
    """The recordings of a fit, each with its loss.

    Without one of current clamp a stand-in of two samples takes its place, of which nothing is compared.
    """
    kinds = (Recording, VoltageClampRecording)
    several = isinstance(data, (list, tuple)) and any(isinstance(x, kinds) for x in data)
    given: list[Any] = list(data) if several else [data]
    clamps = [x for x in given if isinstance(x, VoltageClampRecording)]
    others = [x for x in given if not isinstance(x, VoltageClampRecording)]
    if not clamps and not several:
        return Parts(data, loss, v0, initial, ())
    if len(others) > 1:
        raise ValueError(
            "`data` must have one recording in current clamp, besides those in voltage clamp: put all sweeps "
            f"into one, got {len(others)}."
        )
    if isinstance(loss, (list, tuple)):
        if len(loss) != len(given):
            raise ValueError(
                f"`loss` must have one loss or None for each of the {len(given)} recordings of `data`, got "
                f"{len(loss)}."
            )
        losses = list(loss)
    else:  # of the current-clamp recording, if there is one
        losses = [None if others and x is not others[0] else loss for x in given]
    own = next((part for x, part in zip(given, losses) if others and x is others[0]), None)
    network, electrode = split(model)
    _check_clampable(network)
    dtype = run_dtype(network)
    of_clamps = [part for x, part in zip(given, losses) if isinstance(x, VoltageClampRecording)]
    counts = [int(np.isfinite(x.current).sum()) for x in clamps]
    total = sum(counts) + (int(np.isfinite(others[0].V).sum()) if others else 0)
    made = tuple(
        _clamped(x, part, count / max(total, 1), electrode, dt, solver, dtype)
        for x, part, count in zip(clamps, of_clamps, counts)
    )
    if others:
        return Parts(others[0], own, v0, initial, made)
    step = FINEST if dt is None else dt
    rest = float(clamps[0].V[0, 0])
    still = Recording([0.0, step], [0.0, 0.0], [rest, rest], clamps[0].current_unit)
    return Parts(still, _Nothing(), rest, "rest", made)


def named(objective: AbstractLoss, clamps: tuple[Clamped, ...]) -> str:
    """The classes of all losses of a fit."""
    losses = [x for x in (objective, *(clamp.objective for clamp in clamps)) if not isinstance(x, _Nothing)]
    return ", ".join(dict.fromkeys(type(x).__name__.lstrip("_") for x in losses))


def clamped(recording: VoltageClampRecording, model: Any, dt: float | None, solver: Any) -> Clamped:
    """A voltage-clamp recording for a model, by itself."""
    network, electrode = split(model)
    _check_clampable(network)
    return _clamped(recording, None, 1.0, electrode, dt, solver, run_dtype(network))


def _clamped(
    recording: VoltageClampRecording,
    loss: Any,
    share: float,
    electrode: Electrode,
    dt: float | None,
    solver: Any,
    dtype: Any,
) -> Clamped:
    check_SI_of_clamp(recording)
    check_unit(recording, electrode.area, "model=(neuron, hh.Electrode(area=...))")
    if not np.isfinite(recording.current).any():
        raise ValueError("`data.current` of a voltage-clamp recording holds no number at all, only NaN.")
    if electrode.series is not None and electrode.area is None:
        raise ValueError(
            "`series` of the electrode needs currents in pA and the `area` of the membrane (µm²)."
        )
    as_array = lambda x: jnp.asarray(x, dtype)
    ts = recording.ts - recording.ts[0]
    began, current = as_array(recording.ts[0]), as_array(recording.current)
    objective = cast_floats(as_loss(Current() if loss is None else loss), dtype)
    return Clamped(
        as_array(ts),
        began,
        as_array(recording.V),
        current,
        as_array(share),
        cast_floats(objective.made_for(as_array(ts) + began, current[..., None]), dtype),
        cast_floats(as_stepper(solver), dtype),
        None if recording.leak_holding is None else as_array(recording.leak_holding),
        1.0 - recording.compensation,
        int(recording.leak_pulses),
        recording.dt,
        math.ceil(recording.dt / (FINEST if dt is None else dt) - 1e-6),
        recording.name,
        recording.current_unit,
    )


def _check_clampable(network: Network) -> None:
    if network.n != 1 or network.coupling is not None or network.is_noisy:
        raise ValueError(
            "`model` must be one neuron without coupling and noise, where `data` has a recording in voltage "
            f"clamp, got {shown(network)}."
        )


@eqx.filter_jit
def current_of(clamp: Clamped, model: Any) -> Array:
    return clamp.current(model)
