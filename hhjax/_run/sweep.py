"""Many runs that differ in some values, as batches over all devices."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import diffrax
import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array

from .._base.host import check_meter
from .._base.parameters import Checked
from .._base.renames import GONE, renamed
from .._base.tables import facts, Printed, Table, value
from .._io.labels import (
    array_table,
    dataset,
    label,
    label_axes,
    label_neurons,
    label_saved,
    label_times,
    Labelled,
    run_attrs,
)
from .._io.results import open_points, PointsInMemory
from .._io.store import check_folder, fingerprint
from .._model.cell import places_of
from .._model.network import Model, Network
from .._model.neuron import State
from .axes import coordinates
from .points import lay_out, Points
from .solution import counted


@renamed(backend=GONE)
class Sweep(Printed, Checked):
    """The result of [`hh.sweep`][]. Arrays live in the memory of the host, or on disk.

    **Fields:**

    - `axes`: the values along each axis, by name, in order.
    - `reduced`: the results of `reduce=`, in its structure, each leaf with the axes of the
        sweep in front: shape (a, b, ..., n) for a count, for example.
    - `ts`, `ys`: times (ms) and what was saved at them, shape (a, b, ..., times, n).
    - `finite`: shape (a, b, ..., n), false for a neuron that turned infinite or NaN.
    - `indices`: under `jax.distributed`, the points of this process, which then make up the
        only axis, as indices into the flattened axes; `None` otherwise.
    - `network`: the network, with its values where the sweep does not vary them.
    - `solver`: the type of the solver; `t0`, `t1`, `dt`: of every run, ms.
    - `parameters`: pairs of the name of an axis and the names of the parameters that an
        [`hh.Axis`][] varies along it.
    """

    axes: dict[str, Any]
    reduced: Any
    ts: Any
    ys: Any
    finite: Any
    indices: Any = None
    network: Network | None = None
    solver: str = eqx.field(default="", static=True)
    t0: float = eqx.field(default=0.0, static=True)
    t1: float = eqx.field(default=0.0, static=True)
    dt: float = eqx.field(default=0.0, static=True)
    parameters: tuple[tuple[str, tuple[str, ...]], ...] = eqx.field(default=(), static=True)

    @property
    def V(self) -> Any:
        """Membrane potential, mV, shape (a, b, ..., times, n)."""
        return self.ys.V

    def axis_label(self, name: str) -> str:
        """The name of an axis with its unit, for tables and plots."""
        unit = coordinates(self.network, {name: self.axes[name]}, self.parameters)[name][0][1]
        return f"{name} ({unit or 'no unit'})"

    def _tables(self) -> list[Table]:
        n, rows, sizes = self.finite.shape[-1], [], []
        known = coordinates(self.network, self.axes, self.parameters)
        for name, values in self.axes.items():
            given = values if isinstance(values, list) else [values]
            rows += [(part, value(x), unit) for (part, unit), x in zip(known[name], given)]
            sizes.append(len(given[0]))
        runs = " × ".join(map(str, sizes)) if self.indices is None else str(len(self.indices))
        grid = f"{self.dt:g} ms steps from {self.t0:g} to {self.t1:g} ms"
        said = {"solver": self.solver, "time": grid, "points": runs, "neurons": str(n)}
        arrays = label(self.reduced, (), n)
        if self.ys is not None:
            arrays |= label_saved(self.ys, ("time",), n, of_state=isinstance(self.ys, State))
        return [
            facts("Sweep", said | {"finite": counted(self.finite)}),
            Table(("axis", "values", "unit"), rows, left=(0, 2)),
            array_table(arrays),
        ]

    def to_xarray(self) -> Any:
        """This sweep as an `xarray.Dataset` (needs `pip install 'hhjax[xarray]'`).

        The axes are dimensions by their names, with the values and their units as coordinates;
        parameters that vary together are coordinates of one dimension. See
        `Solution.to_xarray` for the rest.

        **Raises:** `ImportError` that says what to install.
        """
        n, alone = self.finite.shape[-1], self.indices is None
        lead = tuple(self.axes) if alone else ("point",)
        coords = label_neurons(n, {} if self.network is None else places_of(self.network.cells, n))
        if alone:
            coords |= label_axes(self.axes, coordinates(self.network, self.axes, self.parameters))
        else:
            coords["point"] = Labelled(("point",), np.asarray(self.indices), {})
        variables = label(self.reduced, lead, n) | label({"finite": self.finite}, lead, n)
        if self.ys is not None:
            variables |= label_saved(self.ys, (*lead, "time"), n, of_state=isinstance(self.ys, State))
            coords |= label_times(self.ts)
        return dataset(variables, coords, run_attrs(self.solver, self.t0, self.t1, self.dt))


@renamed(backend=GONE, folder="hh.sweep_to(folder, network, ...)")
def sweep(
    network: Model,
    *,
    over: Mapping[Any, Any],
    t1: float,
    dt: float,
    t0: float = 0.0,
    stimulus: Any = 0.0,
    v0: Any = -65.0,
    reduce: Any = None,
    saveat: diffrax.SaveAt | None = None,
    solver: Any = None,
    key: Array | None = None,
    unroll: int = 1,
    chunk: int | None = None,
    progress_meter: diffrax.AbstractProgressMeter = diffrax.NoProgressMeter(),
) -> Sweep:
    """Run a network for every combination of the values in `over`.

    ```python
    result = hh.sweep(
        hh.squid_axon(),
        over={"stimulus": jnp.linspace(0.0, 20.0, 50), "na.g": jnp.linspace(60.0, 180.0, 40)},
        t1=500.0, dt=0.025, reduce=hh.SpikeCount(start=100.0),
    )
    result.reduced  # shape (50, 40, 1)
    ```

    The points run as batches over all JAX devices ([`hh.use_cores`][] makes each CPU core one), in
    chunks that fit into memory. Other values compile nothing again, if their number is the same.
    Under `jax.distributed` each process runs and returns its own part of the points. For gradients,
    use `jax.vmap` of [`hh.simulate`][] instead. For results that are larger than the memory, and sweeps
    that take days, see [`hh.sweep_to`][].

    **Arguments:**

    - `network`, `t1`, `dt`, `t0`, `stimulus`, `v0`, `solver`, `unroll`: as in [`hh.simulate`][].
    - `over`: a dict whose every entry is an axis of the sweep. A key names a parameter:
        `"C"`, `"na.g"`, `"e.na.g"` in the population `e`, `"coupling.weights"`, `"coupling.ampa.tau"`,
        `"noise.sigma"` as for [`hh.get`][], and also `"stimulus"`, `"stimulus.start"` or another field
        of it, and `"v0"`. The value is an array. Its first axis is that of the points, any others are
        those of the parameter: (points, n, n) for `"coupling.weights"`. A tuple of names with a tuple of
        arrays varies them together, such as a list of parameter sets. An [`hh.Axis`][] gives an axis a
        name of your own.
    - `reduce`: what to compute during the run, see [`hh.simulate`][]; by default [`hh.SpikeCount`][].
    - `saveat`: what to save as well, by default nothing.
    - `key`: a `jax.random.key`, for noise and Poisson inputs, which differ from point to point.
    - `chunk`: points in one launch; by default as many as keep it below 256 MB.
    - `progress_meter`: one of diffrax's, told after each chunk.

    **Returns:** a [`hh.Sweep`][]. A point that turned infinite or NaN is flagged in `finite`.

    **Raises:** `ValueError` and `TypeError` for bad input, before compiling.
    """
    check_meter(progress_meter)
    given = dict(stimulus=stimulus, v0=v0, reduce=reduce, saveat=saveat, solver=solver, key=key)
    given |= dict(unroll=unroll, chunk=chunk)
    points = lay_out(network, over, t0, t1, dt, **given)
    store = PointsInMemory(points.one, len(points.mine))
    points.run(store, progress_meter)
    alone = jax.process_count() == 1
    place = lambda x: x.reshape(points.shape + x.shape[1:]) if alone else x
    return _result(points, jax.tree.map(place, store.read()))


def sweep_to(
    folder: str | Path,
    network: Model,
    *,
    over: Mapping[Any, Any],
    t1: float,
    dt: float,
    t0: float = 0.0,
    stimulus: Any = 0.0,
    v0: Any = -65.0,
    reduce: Any = None,
    saveat: diffrax.SaveAt | None = None,
    solver: Any = None,
    key: Array | None = None,
    unroll: int = 1,
    chunk: int | None = None,
    progress_meter: diffrax.AbstractProgressMeter = diffrax.NoProgressMeter(),
) -> Sweep:
    """Run a network for every combination of the values in `over`, as [`hh.sweep`][] does, and write
    the results to disk chunk by chunk.

    If the sweep was killed, the same call goes on from its finished chunks. Under `jax.distributed` each
    process takes whole chunks, and returns its own points.

    **Arguments:**

    - `folder`: where to write: a Zarr group if it ends in `.zarr` (`pip install 'hhjax[zarr]'`), an
        HDF5 file if in `.h5` or `.hdf5` (`'hhjax[hdf5]'`), else a folder with one `.npy` file for each
        array. Axes, times and units are in it, under the names of [`hh.Sweep.to_xarray`][].
    - The others as in [`hh.sweep`][].

    **Returns:** a [`hh.Sweep`][] whose `ys` are arrays on disk: indexing reads the part that you ask for and
    checks it. [`hh.open`][] reads the folder, also before the sweep has ended.

    **Raises:** what [`hh.sweep`][] does; `ImportError` for a package that `folder` needs; `ValueError`
    for a folder that holds another sweep or anything else, that is damaged, or that another process is
    writing; `OSError` for a full disk, after which the same call goes on.
    """
    check_folder(folder)
    check_meter(progress_meter)
    given = dict(stimulus=stimulus, v0=v0, reduce=reduce, saveat=saveat, solver=solver, key=key)
    given |= dict(unroll=unroll, chunk=chunk)
    points = lay_out(network, over, t0, t1, dt, **given)
    place: dict[str, Any] = dict(
        size=points.size,
        axes=points.axes,
        coordinates=coordinates(points.network, points.axes, points.parameters),
        ts=points.ts,
        of_state=isinstance(points.one[0], State),
        attrs=run_attrs(points.solver, points.t0, points.t1, points.dt),
        digest=fingerprint(points.inputs),
    )
    with open_points(folder, points.one, **place) as store:
        points = points._replace(mine=store.mine)
        points.run(store, progress_meter, int(store.mine[0]) if len(store.mine) else 0)
        return _result(points, store.read())


def _result(points: Points, results: tuple[Any, Any, Any]) -> Sweep:
    ys, reduced, finite = results
    it, indices = points, None if jax.process_count() == 1 else points.mine
    about = it.network, it.solver, it.t0, it.t1, it.dt, it.parameters
    return Sweep(it.axes, reduced, it.ts, ys, finite, indices, *about)
