"""What a run returns."""

from typing import Any

import equinox as eqx
import numpy as np
from jaxtyping import Array, Bool, Float

from .._io.labels import dataset, label, label_neurons, label_saved, label_times
from .._model.neuron import State
from .spikes import spike_times


class NonFiniteError(FloatingPointError):
    """A run that turned infinite or NaN.

    **Attributes:** `time`: when it began, ms; `neuron`: the index of the neuron.
    """

    def __init__(self, message: str, time: float, neuron: int):
        super().__init__(message)
        self.time, self.neuron = time, neuron


class Progress(eqx.Module):
    """Where a run stands on its grid, for another to go on from to the last bit.

    **Fields:** `z`: the solver's own state; `solver`: its type; `t0`, `dt`: of the grid, ms;
    `steps`: how many were done; `whole`: whether the last was as long as the others.
    """

    z: Any
    solver: str = eqx.field(static=True)
    t0: float = eqx.field(static=True)
    dt: float = eqx.field(static=True)
    steps: int = eqx.field(static=True)
    whole: bool = eqx.field(static=True)


class Solution(eqx.Module):
    """The result of a run of n neurons.

    **Fields:**

    - `ts`: times of what was saved, ms, shape (times,).
    - `ys`: what was saved, each leaf with a leading axis of times; by default a `State`
        that holds V alone. Of [`hh.simulate_to`][] these arrays are on disk.
    - `final`: the whole state at the end of the run.
    - `finite`: shape (n,), false for a neuron whose final state is infinite or NaN.
    - `reduced`: the results of `reduce=`, in its structure.
    - `progress`: where the run stands; give the solution as `y0` to go on from there.
    """

    ts: Float[Array, "..."]
    ys: Any
    final: State
    finite: Bool[Array, "..."]
    reduced: Any = None
    progress: Progress | None = None

    @property
    def V(self) -> Any:
        """Membrane potential, mV, an array of shape (times, n)."""
        if not isinstance(self.ys, State):
            raise AttributeError(
                "V was not saved under its name: `saveat.fn` returned "
                f"{type(self.ys).__name__}, which is in `ys`."
            )
        return self.ys.V

    def spike_times(self, threshold: float = 0.0) -> list[np.ndarray]:
        """Upward crossings of `threshold` (mV), as one array of times (ms) per neuron.

        For use outside `jit`; [`hh.spike_times`][] works inside.
        """
        times = np.asarray(spike_times(self.ts, self.V, threshold))
        return [row[~np.isnan(row)] for row in times]

    def to_xarray(self) -> Any:
        """This run as an `xarray.Dataset` (needs `pip install 'hhjax[xarray]'`).

        What was saved has the dimensions `time` (ms) and, where it is one value for each neuron,
        `neuron`; names are joined with `_`, as in `na_m`, results of `reduce=` begin with
        `reduced`. Units are in `attrs["units"]` where they are known, `"1"` for gates.

        **Raises:** `ImportError` that says what to install; `ValueError` for a batch of runs.
        """
        n = self.finite.shape[-1]
        if np.ndim(self.ts) != 1:
            raise ValueError(
                "`to_xarray` takes one run; of a vmapped one take out each: "
                "jax.tree.map(lambda x: x[i], run)."
            )
        variables = label_saved(self.ys, ("time",), n, of_state=isinstance(self.ys, State))
        variables |= label({"reduced": self.reduced}, (), n)
        variables |= label({"finite": self.finite}, (), n)
        run = self.progress
        about = {} if run is None else {"solver": run.solver, "dt": run.dt, "dt_units": "ms"}
        return dataset(variables, label_times(self.ts) | label_neurons(n), about)
