"""What was done to the recorded cells, on the grid of the runs, and running a model through it."""

import functools
import math
import warnings
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .._base.arguments import as_host, as_number
from .._base.parameters import cast_floats, check_flag, check_parameters, looks_like_SI, run_dtype, shown
from .._model.cell import Cell
from .._model.network import as_network, Network
from .._model.neuron import Neuron, State
from .._run.simulate import save_V, simulate
from ..losses import AbstractLoss
from ..recordings import Recording
from ..steppers.solvers import as_stepper
from ..stimuli.sampled import Electrode, Sampled, Tabulated
from ._filter import Filter, Reading
from ._start import Start, start_of

FINEST = 0.025  # ms; the default time step is the largest part of a sample that is no longer


class Protocol(eqx.Module):
    """What was done to the cells and what was seen, on the grid of the runs.

    **Fields:**

    - `ts`: times of the samples from the start of a sweep, ms, shape (times,).
    - `target`: mV, shape (sweeps, times, n), NaN where nothing was recorded.
    - `injected`: the recorded current at the samples, shape (sweeps, times) or
        (sweeps, times, n); `held`: whether it holds until the next sample; `seen`: V at the samples,
        missing ones interpolated.
    - `current`: made ready for the grid, as tables with a leading axis of sweeps.
    - `observed`: 1 for a neuron of which anything was recorded, else 0, shape (n,).
    - `start`: how the sweeps begin.
    - `dt`: time step, ms; `stride`: steps from one sample to the next.
    - `began`: when, by the recording's own times, its first sample was taken, ms.
    """

    ts: Array
    target: Array
    injected: Array
    seen: Array
    current: Tabulated
    observed: Array
    start: Start
    dt: float = eqx.field(static=True)
    stride: int = eqx.field(static=True)
    held: bool = eqx.field(static=True)
    solver: Any
    began: Array | float = 0.0

    @property
    def times(self) -> Array:
        """Of the samples, ms, as the recording has them: those of the windows of losses."""
        return self.ts + self.began

    @property
    def steps(self) -> int:
        return (self.ts.shape[0] - 1) * self.stride

    def begin(self, model: Any, unknown: Array) -> State:
        """The first state of every sweep, arrays of shape (sweeps, n); `unknown`: see `Start.unknown`."""
        network, electrode = split(model)
        return jax.vmap(lambda start, x: start.state(network, electrode, x))(self.start, unknown)

    def reading(self, electrode: Electrode, V: Array, injected: Array, current: Tabulated) -> Array:
        """What the electrode reads of the membranes' V in one sweep, mV, shape (times, n).

        **Arguments:** `V`: mV, shape (times, n), or at every step where the electrode lags; `injected`,
        `current`: of the sweep, see the fields.
        """
        V = electrode.lagged(V, current) if electrode.lags else electrode.reading(V, injected)
        return V[:: self.stride] if electrode.lags else V

    def saveat(self, electrode: Electrode, at: int | None = None) -> diffrax.SaveAt:
        """When V is saved for `reading`, all of it or one."""
        save = save_V if at is None else _Save(at)
        return diffrax.SaveAt(t0=True, steps=1 if electrode.lags else self.stride, fn=save)


def make_protocol(
    ts: Array,
    target: Array,
    injected: Array,
    seen: Array,
    start: Start,
    *,
    dt: float,
    stride: int,
    held: bool,
    solver: Any,
    began: Array | float = 0.0,
) -> Protocol:
    """A protocol of samples at `ts` (ms, from 0), its currents made ready for the grid."""
    observed = jnp.asarray(np.isfinite(target).any(axis=(0, 1)), target.dtype)
    means, slopes = _table(ts, injected, stride, held)
    current = Tabulated(means, slopes, dt)
    return Protocol(ts, target, injected, seen, current, observed, start, dt, stride, held, solver, began)


@functools.partial(jax.jit, static_argnums=(2, 3))
def _table(ts: Array, values: Array, stride: int, held: bool) -> tuple[Array, Array]:
    """Means and slopes in every step, with a leading axis of sweeps."""
    steps = (ts.shape[0] - 1) * stride
    edges = jnp.linspace(jnp.zeros_like(ts[0]), ts[-1], steps + 1)
    return jax.vmap(lambda values: Sampled(ts, values, held).table(edges))(values)


def split(model: Any) -> tuple[Network, Electrode]:
    """The network and the electrode of what a user fits."""
    network, electrode = model if isinstance(model, tuple) else (model, None)
    network = as_network(network)
    return network, cast_floats(Electrode(), run_dtype(network)) if electrode is None else electrode


def place_of(network: Network, electrode: Electrode) -> int | None:
    """Which V the electrode reads, the only one; `None` where it reads all."""
    if electrode.at is None:
        return None
    found = network.index(electrode.at)
    if found.stop - found.start != 1:
        raise ValueError(
            f"`electrode.at` must be a place of one cell, got {electrode.at!r} of {found.stop - found.start}."
        )
    return found.start


class _Save(eqx.Module):
    """Saves one V."""

    at: int = eqx.field(static=True)

    def __call__(self, t: Any, y: State, args: Any) -> State:
        saved = save_V(t, y, args)
        return saved.replace(V=saved.V[self.at : self.at + 1])


def run(
    protocol: Protocol,
    model: Any,
    unknown: Array,
    strength: Array,
    adjoint: diffrax.AbstractAdjoint = diffrax.ForwardMode(),
    *,
    gain: Array | None = None,
    save: Any = None,
) -> Any:
    """All sweeps from where they begin, drawn to the data at the rate `strength` (1/ms) or by a `gain`.

    **Arguments:** `unknown`: what of their beginnings a fit looks for, see `Start.unknown`; `gain`: the share
    of what V differs by from the data that it takes over at every sample, (n,); `save`: what is
    saved of the state at every sample in place of what the electrode reads of V.

    **Returns:** what was saved, (sweeps, times, …).
    """
    network, electrode = split(model)
    if gain is None:
        gain = -jnp.expm1(-strength * protocol.dt * protocol.stride) * protocol.observed
    solver, at = Filter(protocol.solver, gain), place_of(network, electrode)

    def sweep(current: Tabulated, target: Array, injected: Array, y0: State) -> Any:
        seen = electrode.membrane(target, injected)
        if at is not None:
            seen = jnp.full((len(seen), network.n), jnp.nan, seen.dtype).at[:, at].set(seen[:, 0])
        saveat = diffrax.SaveAt(t0=True, steps=protocol.stride, fn=save)
        ys = simulate(
            network,
            t1=protocol.steps * protocol.dt,
            dt=protocol.dt,
            stimulus=Reading(electrode.stimulus(current), seen, protocol.stride),
            y0=y0,
            saveat=protocol.saveat(electrode, at) if save is None else saveat,
            solver=solver,
            adjoint=adjoint,
            throw=False,
        ).ys
        return protocol.reading(electrode, ys.V, injected, current) if save is None else ys

    y0 = protocol.begin(model, unknown)
    return jax.vmap(sweep)(protocol.current, protocol.target, protocol.injected, y0)


def check_model(model: Any) -> Any:
    """Refuse what is no model, or one whose parameters make no sense."""
    parts = model if isinstance(model, tuple) else (model,)
    fits = len(parts) in (1, 2) and isinstance(parts[0], Neuron | Network | Cell)
    if not fits or (len(parts) == 2 and not isinstance(parts[1], Electrode)):
        raise TypeError(
            "`model` must be an hh.Neuron, hh.Cell or hh.Network, or a pair of one and an hh.Electrode, got "
            f"{shown(model)}."
        )
    network, electrode = split(model)
    network.check()
    check_parameters(electrode, "electrode", network.n)
    return model


def check_loss(loss: AbstractLoss, protocol: Protocol) -> None:
    """Refuse a loss that makes no residuals of the traces."""
    try:
        out = eqx.filter_eval_shape(loss, protocol.ts, protocol.target, protocol.target)
    except (TypeError, ValueError) as error:
        raise type(error)(
            f"`loss` cannot be worked out for traces of shape {protocol.target.shape}: {error}"
        ) from error
    if not (hasattr(out, "dtype") and jnp.issubdtype(out.dtype, jnp.floating)):
        raise TypeError(f"`loss` must return an array of residuals, got {shown(out)}.")


def check_unit(recording: Any, area: Any, where: str) -> None:
    """Refuse currents in pA without a membrane `area` and those in µA/cm² with one, given by `where`."""
    if recording.current_unit == "pA" and area is None:
        raise ValueError(f"`data` has currents in pA: give the membrane's area in µm² by {where}.")
    if recording.current_unit != "pA" and area is not None:
        raise ValueError(
            f"`data` has currents in {recording.current_unit} already: leave out the membrane's area, "
            f"{where}, or give currents in pA and say so, as in hh.Recording(..., current_unit='pA')."
        )


def _as_recording(data: Any, electrode: Electrode) -> Recording:
    """The data that a user gives; bare arrays have the unit that the electrode takes."""
    if isinstance(data, Recording):
        return data
    if not isinstance(data, (tuple, list)) or not 3 <= len(data) <= 4:
        raise TypeError(f"`data` must be an hh.Recording, or its ts, current and V, got {shown(data)}.")
    ts, current, V, *more = data
    density = electrode.area is None and electrode.at is None
    return Recording(ts, current, V, *(more or ["µA/cm²" if density else "pA"]))


def check_SI(recording: Recording) -> None:
    """Refuse values that are far too small for their units, as they are in volts and amperes."""
    for name, x, unit in (("V", recording.V, "mV"), ("current", recording.current, recording.current_unit)):
        if si := looks_like_SI(x, unit):
            raise ValueError(
                f"`data.{name}` must be in {unit}, and its values look like {si}: "
                f"{np.nanmin(x):.3g} to {np.nanmax(x):.3g}. Give a recording in {unit}."
            )


def protocol_of(
    data: Any,
    network: Network,
    electrode: Electrode,
    dt: Any,
    solver: Any,
    v0: Any,
    dtype: Any,
    *,
    initial: Any = "rest",
    held: Any = None,
    holding: Any = 0.0,
) -> Protocol:
    """The protocol of a recording or its arguments, refused where it does not fit the model."""
    recording = _as_recording(data, electrode)
    if not recording.current_known:
        raise ValueError(
            f"`data` must hold the current that was injected, and {recording.name} does not. Give it: "
            f"hh.Recording(data.ts, current, data.V, {recording.current_unit!r}, held=True)."
        )
    check_SI(recording)
    if (at := place_of(network, electrode)) is None:
        check_unit(recording, electrode.area, "model=(neuron, hh.Electrode(area=...))")
    elif recording.current_unit != "pA":
        raise ValueError(
            f"`data` must have currents in pA for an electrode at {electrode.at!r}, got "
            f"{recording.current_unit}."
        )
    ts = np.asarray(recording.ts, float)
    began, ts = jnp.asarray(ts[0], dtype), ts - ts[0]
    V = np.asarray(recording.V, float)
    V = V[..., None] if V.ndim == 2 else V
    n = network.n if at is None else 1
    if V.shape[-1] != n:
        way = ", or say where it was recorded: model=(cell, hh.Electrode(at='soma'))" if network.cells else ""
        raise ValueError(
            f"`data.V` holds {V.shape[-1]} neuron(s) and `model` {n}: give V of shape "
            f"(sweeps, times, {n}){way}."
        )
    missing = np.isnan(V)
    if missing.all():
        raise ValueError("`data.V` holds no number at all, only NaN.")
    if missing.any():
        warnings.warn(
            f"{missing.sum()} of {missing.size} samples of `data.V` are NaN and are left out of the fit.",
            stacklevel=3,
        )
    sampling = float(ts[-1] / (len(ts) - 1))
    dt = None if dt is None else as_number("dt", dt, "ms", positive=True)
    stride = math.ceil(sampling / FINEST - 1e-6) if dt is None else round(sampling / dt)
    if stride < 1 or (dt is not None and abs(stride * dt - sampling) > 1e-6 * sampling):
        raise ValueError(
            f"`dt` must be a whole fraction of the sampling interval of `data`, {sampling:g} ms, "
            f"got {dt!r} ms."
        )
    if held is not None:
        check_flag("held", held)
    ts, V, current, seen = (
        jnp.asarray(x, dtype) for x in (ts, V, _injected(recording, holding, n), _filled(ts, V))
    )
    start = start_of(v0, initial, electrode.membrane(seen, current)[:, 0], current[:, 0], network)
    solver = cast_floats(as_stepper(solver), dtype)
    grid = {"dt": sampling / stride, "stride": stride, "solver": solver}
    grid["held"] = recording.held if held is None else held
    return make_protocol(ts, V, current, seen, start, **grid, began=began)


def _injected(recording: Recording, holding: Any, n: int) -> np.ndarray:
    """The current of a recording and a constant one besides, for each sweep."""
    current = np.asarray(recording.current, float)
    sweeps = len(current)
    holding = as_host("holding", holding, recording.current_unit, shapes=[(), (sweeps,), (sweeps, n)])
    if holding.ndim == 2 and current.ndim == 2:
        current = current[..., None]
    return current + (holding if holding.ndim == 0 else holding.reshape((sweeps, 1, -1)[: current.ndim]))


def _filled(ts: np.ndarray, V: np.ndarray) -> np.ndarray:
    """V with missing samples interpolated in time; −65 mV for a neuron never seen."""
    V = V.copy()
    for sweep in range(V.shape[0]):
        for neuron in range(V.shape[2]):
            trace = V[sweep, :, neuron]
            known = ~np.isnan(trace)
            trace[~known] = np.interp(ts[~known], ts[known], trace[known]) if known.any() else -65.0
    return V
