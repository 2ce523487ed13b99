"""Current clamp: families of current steps, and what is read off them."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int

from .. import features
from .._base.arguments import as_array, as_number
from .._base.host import number, table
from .._base.parameters import cast_floats, is_concrete, run_dtype
from .._base.swings import swings_below, warn_of_swings
from .._base.windows import takes_samples
from .._model.network import Network
from .._model.neuron import Neuron
from .._run.simulate import simulate
from .._run.spikes import firing_rate, isi, KeptSpikes, read, spikes_within
from ..stimuli.shapes import Step
from ._steady import resting_potential
from ._system import one_neuron

_SHORTEST = 2.0  # ms from spike to spike: how many times a step keeps room for


class CurrentClamp(eqx.Module):
    """Responses to a family of current steps, see [`hh.analysis.current_clamp`][].

    Every feature has shape (steps,), and is NaN where a step does not show it.

    **Fields:**

    - `ts`: ms, shape (times,); `V`: mV, shape (steps, times).
    - `currents`: of the steps, µA/cm²; `start`, `stop`: of all steps, ms.
    - `rest`: mean V in the last 10 ms before the step, mV.
    - `steady`: mean V in the last tenth of the step, mV.
    - `input_resistance`: (steady − rest)/current, kΩ·cm², of steps without a spike.
    - `time_constant`: from the onset to 1 − 1/e of the way to the greatest deflection, ms, of steps
        without a spike. That of a membrane without active currents is C/g.
    - `sag`: (extreme − steady)/(extreme − rest) of steps without a spike, with the V of the
        greatest deflection: 0 without a sag, 1 if V comes back to rest.
    - `spike_times`: within the step, from its onset, ms, shape (steps, most), padded with NaN.
    - `spike_count`: within the step, whole numbers.
    - `latency`: from the onset to the first spike, ms.
    - `rate`: reciprocal of the mean interspike interval in the step, Hz; 0 with fewer than two spikes.
    - `adaptation`: mean of (ISIₖ₊₁ − ISIₖ)/(ISIₖ₊₁ + ISIₖ), positive where intervals lengthen, of
        steps with three spikes or more.
    """

    ts: Float[Array, " times"]
    V: Float[Array, "steps times"]
    currents: Float[Array, " steps"]
    rest: Float[Array, " steps"]
    steady: Float[Array, " steps"]
    input_resistance: Float[Array, " steps"]
    time_constant: Float[Array, " steps"]
    sag: Float[Array, " steps"]
    spike_times: Float[Array, "steps most"]
    spike_count: Int[Array, " steps"]
    latency: Float[Array, " steps"]
    rate: Float[Array, " steps"]
    adaptation: Float[Array, " steps"]
    start: float = eqx.field(static=True)
    stop: float = eqx.field(static=True)

    @property
    def rheobase(self) -> Float[Array, ""]:
        """The lowest current of the family with a spike, µA/cm², NaN if none."""
        lowest = jnp.where(self.spike_count > 0, self.currents, jnp.inf).min()
        return jnp.where(jnp.isfinite(lowest), lowest, jnp.nan)

    def __str__(self) -> str:
        columns = {
            "current (µA/cm²)": self.currents,
            "rest (mV)": self.rest,
            "steady (mV)": self.steady,
            "R (kΩ·cm²)": self.input_resistance,
            "τ (ms)": self.time_constant,
            "sag": self.sag,
            "spikes": self.spike_count,
            "latency (ms)": self.latency,
            "rate (Hz)": self.rate,
            "adaptation": self.adaptation,
        }
        rows = zip(*([number(float(x)) for x in np.asarray(column)] for column in columns.values()))
        return table(list(columns), [list(row) for row in rows])


@eqx.filter_jit
def _features(
    ts: Array, V: Array, currents: Array, threshold: Array, start: float, stop: float, room: int
) -> dict[str, Array]:
    # Features look along the times, the last axis but one.
    rest = features.rest(ts, V, stop=start)
    steady = features.mean(ts, V, start=stop - 0.1 * (stop - start), stop=stop)
    inside = takes_samples(ts, start, stop)[:, None]
    away = jnp.where(inside, jnp.abs(V - rest[None]), -1.0)
    extreme = jnp.take_along_axis(V, jnp.argmax(away, axis=0)[None], axis=0)[0]
    kept = spikes_within(ts, V - threshold, start, stop, room)
    times, count = kept.times - start, kept.count
    quiet = (count == 0) & (currents != 0)
    measured = lambda x: jnp.where(quiet, x, jnp.nan)
    over = lambda x, y: x / jnp.where(quiet, y, 1.0)
    deflection = over(V - rest[None], (extreme - rest)[None]) - (1 - np.exp(-1))
    rise = spikes_within(ts, deflection, start, stop, 1).times[:, 0] - start
    intervals = isi(times)
    change = (intervals[:, 1:] - intervals[:, :-1]) / (intervals[:, 1:] + intervals[:, :-1])
    changes = ~jnp.isnan(change)
    number = jnp.maximum(changes.sum(axis=1), 1).astype(V.dtype)
    mean_change = jnp.where(changes, change, 0.0).sum(axis=1) / number
    return dict(
        rest=rest,
        steady=steady,
        input_resistance=measured(over(steady - rest, currents)),
        time_constant=measured(rise),
        sag=measured(over(extreme - steady, extreme - rest)),
        spike_times=times,
        spike_count=count,
        latency=times[:, 0],
        rate=firing_rate(KeptSpikes(times, count)),
        adaptation=jnp.where(changes.any(axis=1) & (count <= room), mean_change, jnp.nan),
    )


def check_currents(currents: Any, dtype: Any, least: int = 1) -> Array:
    """Currents as an array of shape (steps,)."""
    currents = as_array("currents", currents, "µA/cm²", dtype, warn=True)
    if currents.ndim != 1 or currents.size < least:
        raise ValueError(
            f"`currents` must have shape (steps,) with at least {least}, in µA/cm², "
            f"got shape {currents.shape}."
        )
    return currents


def check_duration(name: str, value: Any, minimum: float = 0.0) -> float:
    number = as_number(name, value, "ms")
    if not number > minimum:
        raise ValueError(f"`{name}` must be longer than {minimum:g} ms, got {value!r}.")
    return number


def start_potential(neuron: Neuron, v0: Any, dtype: Any) -> Array:
    """The potential to start from, mV: that of rest unless it is given."""
    if v0 is not None:
        return as_array("v0", v0, "mV", dtype, shapes=[()], warn=True)
    v0 = resting_potential(neuron)
    if is_concrete(v0) and np.isnan(v0):
        raise ValueError("`neuron` has no resting potential without current; give `v0` (mV).")
    return v0


def current_clamp(
    neuron: Neuron,
    currents: Any,
    *,
    duration: float = 500.0,
    before: float = 50.0,
    after: float = 50.0,
    dt: float = 0.025,
    solver: Any = None,
    v0: ArrayLike | None = None,
    threshold: ArrayLike = 0.0,
) -> CurrentClamp:
    """A family of current steps as one batch, with the features of each step.

    ```python
    family = hh.analysis.current_clamp(hh.pospischil_rs(), jnp.arange(-1.0, 2.1, 0.5))
    print(family)
    ```

    Works under `jit`, `vmap` and `grad`.

    **Arguments:**

    - `neuron`: an [`hh.Neuron`][].
    - `currents`: of the steps, µA/cm², shape (steps,).
    - `duration`: of the steps, ms; `before`, `after`: for how long the cell is watched before
        and after, ms, `before` for at least 10 ms.
    - `dt`, `solver`: see [`hh.simulate`][].
    - `v0`: initial V, mV; by default the resting potential.
    - `threshold`: of a spike, mV. Outside `jit` you are warned of steps in which V rises and falls by more
        than 10 mV below it.

    **Returns:** an [`hh.analysis.CurrentClamp`][].

    **Raises:** `ValueError` and `TypeError` for bad input, `hh.NonFiniteError` for a run that
    blows up.
    """
    neuron = one_neuron(neuron)
    dtype = run_dtype(neuron)
    neuron = cast_floats(neuron, dtype)
    currents = check_currents(currents, dtype)
    before, after = check_duration("before", before, 10.0 - 1e-9), check_duration("after", after, -1e-9)
    duration = check_duration("duration", duration)
    threshold = as_array("threshold", threshold, "mV", dtype, shapes=[()])
    network = Network(neuron, n=currents.size)
    stimulus = Step(currents, before, before + duration)
    run = simulate(
        network,
        t1=before + duration + after,
        dt=dt,
        stimulus=stimulus,
        solver=solver,
        v0=start_potential(neuron, v0, dtype),
    )
    room = max(int(duration / _SHORTEST), 3)
    found = _features(run.ts, run.V, currents, threshold, before, before + duration, room)
    if is_concrete(run.V) and is_concrete(threshold):
        read(KeptSpikes(found["spike_times"], found["spike_count"]))
        inside = np.asarray(takes_samples(run.ts, before, before + duration))
        warn_of_swings(swings_below(run.V[inside], threshold), threshold, "step")
    return CurrentClamp(
        ts=run.ts, V=run.V.T, currents=currents, start=before, stop=before + duration, **found
    )
