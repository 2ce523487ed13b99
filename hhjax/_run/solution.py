"""What a run returns."""

from typing import Any

import equinox as eqx
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float

from .._base.parameters import Checked, shown
from .._base.renames import GONE, renamed
from .._base.swings import in_silence, SWING, swings_below, warn_of_swings
from .._base.tables import facts, is_known, Printed, span, Table
from .._io.labels import array_table, dataset, label, label_neurons, label_saved, label_times, Labelled
from .._model.cell import places_of
from .._model.network import as_network, Network
from .._model.neuron import State
from .currents import Currents, currents_of
from .spikes import spikes_and_swings


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


@renamed(backend=GONE)
class Solution(Printed, Checked):
    """The result of a run of n neurons.

    **Fields:**

    - `ts`: times of what was saved, ms, shape (times,).
    - `ys`: what was saved, each leaf with a leading axis of times; by default a `State`
        that holds V alone. Of [`hh.simulate_to`][] these arrays are on disk.
    - `final`: the whole state at the end of the run.
    - `finite`: shape (n,), false for a neuron whose final state is infinite or NaN.
    - `reduced`: the results of `reduce=`, in its structure.
    - `progress`: where the run stopped; give the solution as `y0` to go on from there.
    """

    __slots__ = ("_again",)  # see `remember`: no field, and not in `__dict__`, which makes the pytree

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

    def spike_times(self, threshold: ArrayLike = 0.0) -> list[np.ndarray]:
        """Upward crossings of `threshold` (mV), as one array of times (ms) per neuron.

        You are warned where V rises and falls by more than 10 mV below the threshold, and for a cell if no
        compartment of it fires. For use outside
        `jit`; [`hh.spike_times`][] works inside.
        """
        times, swings = spikes_and_swings(self.ts, self.V, threshold)
        times = np.asarray(times)
        if swings is not None:
            warn_of_swings(in_silence(swings, ~np.isnan(times[:, 0]), self._cells()), threshold)
        return [row[~np.isnan(row)] for row in times]

    def _tables(self) -> list[Table]:
        run, n = self.progress, self.finite.shape[-1]
        said = {"solver": "" if run is None else run.solver}
        if run is not None:
            shorter = "" if run.whole else ", the last one shorter"
            said["steps"] = f"{run.steps} of {run.dt:g} ms from {run.t0:g} ms on{shorter}"
        from_to = f", {span(self.ts, 'ms')}" if is_known(self.ts) else ""
        said["saved at"] = f"{np.shape(self.ts)[-1]} times{from_to}"
        said |= {"neurons": str(n), "spikes": self._spikes(), "finite": counted(self.finite)}
        arrays = {"ts": Labelled(("time",), self.ts, {"units": "ms"})}
        arrays |= label_saved(self.ys, ("time",), n, of_state=isinstance(self.ys, State))
        arrays |= label({"reduced": self.reduced}, (), n)
        return [facts("Solution", said), array_table(arrays)]

    def _spikes(self) -> str:
        """How often V in memory crosses 0 mV upward, and how often in a second."""
        V: Any = getattr(self.ys, "V", None)
        if isinstance(V, np.memmap) or not is_known(V) or np.ndim(V) != 2 or len(V) < 2:
            return ""
        V, ts = np.asarray(V), np.asarray(self.ts, float)
        counts = ((V[:-1] < 0) & (V[1:] >= 0)).sum(axis=0)
        few = ", ".join(map(str, counts)) if counts.size <= 10 else f"{span(counts)} of a neuron"
        rate = 1000 * counts.mean() / (ts[-1] - ts[0])
        missed = int(in_silence(swings_below(V, 0.0), counts, self._cells()).sum())
        told = f"; V of {missed} rises and falls by more than {SWING:g} mV below" * (missed > 0)
        return f"{few} upward through 0 mV, {rate:.4g} Hz{' on average' * (counts.size > 1)}{told}"

    def currents(self, network: Any = None, stimulus: Any = None) -> Currents:
        """All ionic and synaptic currents, that of the stimulus included, at the times `ts`.

        ```python
        run = hh.simulate(hh.squid_axon(), t1=20.0, dt=0.025, stimulus=10.0)
        run.currents()["na"]  # µA/cm², shape (times, 1)
        ```

        Unless the whole state was saved, the run is made again, noise included. Inside `jit`, `vmap` and
        `grad` it works on what [`hh.simulate`][] returned there.

        **Arguments:** `network`, `stimulus`: what the run was given, for a solution that came out of a
        file, `jit`, `vmap` or [`hh.reference`][] and no longer knows it. It must hold the whole state.

        **Returns:** an [`hh.Currents`][], which is a mapping from names to arrays.

        **Raises:** `ValueError` for a solution that does not know what was run, and for a `network`
        whose whole state it does not hold.
        """
        return currents_of(self, network, stimulus)

    def __getstate__(self) -> dict[str, Any]:
        return dict(vars(self))  # without what `remember` keeps: functions may not be pickled

    def _places(self, network: Any = None) -> dict[str, np.ndarray]:
        """Where compartments are, see `places_of`, as far as the network is known."""
        if network is None:
            network = self._again[0].network if hasattr(self, "_again") else None
        n = self.finite.shape[-1]
        if (of := as_network(network)) is not None and not (isinstance(of, Network) and of.n == n):
            raise ValueError(f"`network` must be what was run, of n = {n}, got {shown(network)}.")
        return {} if of is None else places_of(of.cells, n)

    def _cells(self) -> np.ndarray | None:
        return self._places().get("cell")

    def to_xarray(self, network: Any = None) -> Any:
        """This run as an `xarray.Dataset` (needs `pip install 'hhjax[xarray]'`).

        What was saved has the dimensions `time` (ms) and, where it is one value for each neuron,
        `neuron`; names are joined with `_`, as in `na_m`, results of `reduce=` begin with
        `reduced`. Units are in `attrs["units"]` where they are known, `"1"` for gates. Compartments have
        the coordinates `section`, `along` it (0 to 1), `distance` (µm) from the middle of the root section
        and `cell`, a number; points have the last alone.

        **Arguments:** `network`: what was run, for a solution that came out of a file or `jit` and no longer
        knows its places.

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
        coords = label_times(self.ts) | label_neurons(n, self._places(network))
        return dataset(variables, coords, about)


def counted(finite: Any) -> str:
    """How many runs, or neurons of one, are finite."""
    if not is_known(finite):
        return ""
    finite = np.asarray(finite)
    return "all" if finite.all() else f"{finite.sum()} of {finite.size}"
