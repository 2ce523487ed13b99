"""A model on the sweeps of a recording that it was not fitted to, and how well it does there."""

import dataclasses
from typing import Any

import diffrax
import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .._base.arguments import as_host, as_number, check_kind
from .._base.parameters import cast_floats, run_dtype
from .._base.swings import swings_below, warn_of_swings
from .._run.spikes import coincidence_factor, concrete_spike_times, filled
from ..recordings import Recording
from ._protocol import check_model, Protocol, protocol_of, run, split


def replay(
    model: Any,
    data: Any,
    *,
    dt: float | None = None,
    solver: Any = "strang",
    v0: Any = None,
    initial: Any = "rest",
    held: bool | None = None,
    holding: Any = 0.0,
) -> Array:
    """The membrane potential of a free-running model in the current of every sweep.

    **Arguments:** `model`, `data`, `dt`, `solver`, `initial`, `held` and `holding`: see [`hh.fit`][], whose
    `initial` takes the sweeps up where a fit began them; `v0`: initial membrane potential, mV, scalar,
    (sweeps, n) or `"rest"`, by default that of the first sample.

    **Returns:** what the electrode reads at the times of the recording, mV, shape (sweeps, times, n). NaN
    where a run blew up.

    **Raises:** `ValueError` and `TypeError` for a model and data that do not go together.
    """
    network, electrode = split(check_model(model))
    dtype = run_dtype(network)
    drive = {"initial": initial, "held": held, "holding": holding}
    protocol = protocol_of(data, network, electrode, dt, solver, v0, dtype, **drive)
    return _run(protocol, cast_floats(model, dtype))


@eqx.filter_jit
def _run(protocol: Protocol, model: Any) -> Array:
    begin = protocol.start.unknown
    return run(protocol, model, begin, jnp.zeros((), begin.dtype), diffrax.ForwardMode())


@dataclasses.dataclass(frozen=True)
class Score:
    """How near a model's traces are to a recording's; every field of shape (sweeps, n).

    **Fields:** `spikes_data`, `spikes_model`: how many, whole numbers; `coincidence`: the
    coincidence factor Γ, see [`hh.coincidence_factor`][]; `rmse`: root mean squared error of V
    below threshold, mV. Where nothing was recorded all but `spikes_model` are NaN. Of a model that turned
    infinite or NaN `spikes_model` is −1 and the rest but `spikes_data` NaN.
    """

    spikes_data: np.ndarray
    spikes_model: np.ndarray
    coincidence: np.ndarray
    rmse: np.ndarray

    def __str__(self) -> str:
        lines = ["sweep  neuron  spikes (data)  spikes (model)      Γ  RMSE below threshold (mV)"]
        for sweep, neuron in np.ndindex(*self.rmse.shape):
            at = (sweep, neuron)
            lines.append(
                f"{sweep:5}  {neuron:6}  {self.spikes_data[at]:13.0f}  {self.spikes_model[at]:14}  "
                f"{self.coincidence[at]:5.2f}  {self.rmse[at]:25.2f}"
            )
        return "\n".join(lines)


def known_spikes(ts: Any, V: np.ndarray, threshold: float) -> np.ndarray:
    """The times at which a trace crosses the threshold between two samples that are there."""
    at = jnp.asarray(ts)
    trace, known = filled(at, jnp.asarray(V, at.dtype))
    found = np.asarray(concrete_spike_times(at, (trace - threshold)[:, None], None, known[:, None]))
    return found[~np.isnan(found)]


def score(
    V: Any,
    data: Recording,
    *,
    threshold: float = 0.0,
    window: float = 4.0,
    before: float = 2.0,
    after: float = 5.0,
) -> Score:
    """Compare a model's traces, such as those of [`hh.replay`][], with a recording's.

    **Arguments:**

    - `V`: mV, shape (sweeps, times, n) or (sweeps, times).
    - `data`: the recording.
    - `threshold`: of a spike, mV, with a warning where V rises and falls by more than 10 mV below it;
        `window`: within which two spikes coincide, ms.
    - `before`, `after`: what is left out of the error around every spike of either trace,
        ms.

    **Returns:** a [`hh.Score`][]. Missing data (NaN) are left out of the error. A spike whose crossing lies
    in a gap or next to it is not known, and the model's has no match. Where a neuron's sweep has no data at
    all, what needs them is NaN.
    """
    check_kind("data", data, Recording, "an hh.Recording")
    threshold = as_number("threshold", threshold, "mV")
    window = as_number("window", window, "ms", positive=True)
    before, after = (as_number(*x, "ms", least=0.0) for x in (("before", before), ("after", after)))
    ts, target = data.ts, np.asarray(data.V)
    target = target[..., None] if target.ndim == 2 else target
    V = as_host("V", V, "mV", missing=True, finite=False)
    V = V[..., None] if V.ndim == 2 else V
    if V.shape != target.shape:
        raise ValueError(f"`V` must have the shape of `data.V`, {target.shape}, got {V.shape}.")
    for traces, of in ((target, "trace of the data"), (V, "trace of the model")):
        warn_of_swings(swings_below(np.moveaxis(traces, 1, 0), threshold), threshold, of)
    sweeps, _, n = target.shape
    shape = (sweeps, n)
    spikes_model = np.zeros(shape, int)
    spikes_data, gamma, rmse = np.full((3, *shape), np.nan)
    for at in np.ndindex(shape):
        pair = [x[at[0], :, at[1]] for x in (target, V)]
        found = [known_spikes(ts, x, threshold) for x in pair]
        finite, below = np.isfinite(pair[1]).all(), ~np.isnan(pair[0])
        spikes_model[at] = len(found[1]) if finite else -1
        if not below.any():
            continue
        spikes_data[at] = len(found[0])
        if not finite:
            continue
        gamma[at] = coincidence_factor(found[1], found[0], ts[-1] - ts[0], window)
        for time in np.concatenate(found):
            below &= (ts < time - before) | (ts > time + after)
        if below.any():
            rmse[at] = np.sqrt(np.mean((pair[1] - pair[0])[below] ** 2))
    return Score(spikes_data, spikes_model, gamma, rmse)
