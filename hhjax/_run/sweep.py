"""Many runs that differ in some values, as batches over all devices."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array

from .._base.devices import on_gpu
from .._base.host import Progress, Settings
from .._base.parameters import cast_floats, run_dtype
from .._base.random import check_key
from .._base.renames import GONE, renamed
from .._io.labels import (
    dataset,
    label,
    label_axes,
    label_neurons,
    label_saved,
    label_times,
    Labelled,
    run_attrs,
)
from .._io.store import check_folder, fingerprint, open_points, PointsInMemory, PointsOnDisk
from .._model.network import Network
from .._model.neuron import Neuron, State
from ..steppers.solvers import as_stepper, default_solver, solver_name
from .axes import _amplitude, _as_axis, _Named, _put, coordinates, Point, renamed_axes
from .reducers import check_reducers, SpikeCount
from .run import count_steps, make_plan
from .simulate import check_run, simulate

_BLOCK = 2048  # neurons that step together on a CPU: their state stays in the cache of one core


_CHUNK_BYTES = 256_000_000  # results and states of one launch


@renamed(backend=GONE)
class Sweep(eqx.Module):
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

    def to_xarray(self) -> Any:
        """This sweep as an `xarray.Dataset` (needs `pip install 'hhjax[xarray]'`).

        The axes are dimensions by their names, with the values and their units as coordinates;
        parameters that vary together are coordinates of one dimension. See
        `Solution.to_xarray` for the rest.

        **Raises:** `ImportError` that says what to install.
        """
        n, alone = self.finite.shape[-1], self.indices is None
        lead = tuple(self.axes) if alone else ("point",)
        coords = label_neurons(n)
        if alone:
            coords |= label_axes(self.axes, coordinates(self.network, self.axes, self.parameters))
        else:
            coords["point"] = Labelled(("point",), np.asarray(self.indices), {})
        variables = label(self.reduced, lead, n) | label({"finite": self.finite}, lead, n)
        if self.ys is not None:
            variables |= label_saved(self.ys, (*lead, "time"), n, of_state=isinstance(self.ys, State))
            coords |= label_times(self.ts)
        return dataset(variables, coords, run_attrs(self.solver, self.t0, self.t1, self.dt))


class _Job(eqx.Module):
    """What all points of a sweep share: the compiled function depends on its static parts."""

    point: Point
    reduce: Any
    key: Array | None
    wheres: tuple[Callable | _Named, ...] = eqx.field(static=True)
    settings: Settings = eqx.field(static=True)

    def run(self, values: list, index: Array) -> tuple[Any, Any, Array]:
        """One point: what was saved, what was reduced, which neurons are finite."""
        point = _put(self.point, self.wheres, values)
        key = None if self.key is None else jax.random.fold_in(self.key, index)
        run = simulate(
            point.network,
            stimulus=point.stimulus,
            v0=point.v0,
            reduce=self.reduce,
            key=key,
            throw=False,
            **self.settings.options,
        )
        return run.ys, run.reduced, run.finite


def _run_chunk(job: _Job, values: list, index: Array | np.ndarray, blocks: int) -> tuple:
    """All points of one chunk: each device runs its blocks of them one after the other."""
    arrays, static = eqx.partition(job, eqx.is_array)

    def on_device(arrays: Any, rows: tuple) -> tuple:
        job = eqx.combine(arrays, static)
        split = lambda x: x.reshape((blocks, -1) + x.shape[1:])
        out = jax.lax.map(jax.vmap(lambda row: job.run(*row)), jax.tree.map(split, rows))
        return jax.tree.map(lambda x: x.reshape((-1,) + x.shape[2:]), out)

    devices = jax.local_devices()
    if len(devices) == 1:
        return on_device(arrays, (values, index))
    mesh = Mesh(np.array(devices), ("points",))
    rows, same = PartitionSpec("points"), PartitionSpec()
    sharded = jax.shard_map(on_device, mesh=mesh, in_specs=(same, rows), out_specs=rows, check_vma=False)
    return sharded(arrays, (values, index))


_compiled = eqx.filter_jit(_run_chunk)


_known_shapes: dict[Any, Any] = {}


def _shapes(job: _Job, values: list) -> Any:
    """The shapes of one point's results, worked out once for each structure."""
    arrays, static = eqx.partition((job, values), eqx.is_array)
    leaves, structure = jax.tree.flatten(static)
    sizes = tuple((x.shape, x.dtype) for x in jax.tree.leaves(arrays))
    key = (tuple(leaves), structure, sizes, jax.tree.structure(arrays))
    if key not in _known_shapes:
        _known_shapes[key] = eqx.filter_eval_shape(lambda job: job.run(values, jnp.int32(0)), job)
    return _known_shapes[key]


def _sizes(points: int, n: int, bytes_per_point: int, chunk: int | None) -> tuple[int, int]:
    """Points in a chunk, the same for all, and blocks of them on each device."""
    devices = jax.local_device_count()
    if chunk is None:
        chunk = max(_CHUNK_BYTES // bytes_per_point, devices)
    each = math.ceil(min(chunk, points) / devices)
    # As few blocks and chunks as will do, but filled evenly, so that little is padded.
    blocks = 1 if on_gpu() else math.ceil(each / max(1, _BLOCK // n))
    block = math.ceil(each / blocks)
    chunks = math.ceil(points / (blocks * block * devices))
    blocks = math.ceil(points / (chunks * block * devices))
    return blocks * block * devices, blocks


@renamed(backend=GONE)
def sweep(
    network: Network | Neuron,
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
    chunk: int | None = None,
    folder: str | Path | None = None,
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

    The points run as batches, shared out over all JAX devices ([`hh.use_cores`][] makes one of
    each CPU core) and cut in chunks that fit into memory. As many other values compile
    nothing anew. Under `jax.distributed` each process runs and returns its own part
    of the points. For gradients, `jax.vmap` [`hh.simulate`][] instead.

    **Arguments:**

    - `network`, `t1`, `dt`, `t0`, `stimulus`, `v0`, `solver`: as in [`hh.simulate`][].
    - `over`: a dict whose every entry is an axis of the sweep. A key names a parameter:
        `"stimulus"`, `"stimulus.amplitude"` or any other field, `"v0"`, `"C"`,
        `"channel.parameter"` such as `"na.g"`, `"ion.parameter"`, all of these of the neuron with
        `"population."` in front where there are several; `"coupling.parameter"`, or
        `"coupling.name.parameter"` of couplings with names; `"noise.parameter"`, or
        `"noise.0.parameter"` of the first of several, as for [`hh.get`][]. The value is an array,
        whose further axes, if any, are those of the parameter: (points, n, n) for
        `"coupling.weights"`. A tuple of names with a tuple of arrays varies them together, as for a
        list of parameter sets or a random draw. Any other name goes with an [`hh.Axis`][].
    - `reduce`: what to gather, see [`hh.simulate`][]; by default [`hh.SpikeCount`][].
    - `saveat`: what to save besides, by default nothing.
    - `key`: a `jax.random.key`, for noise, which differs from point to point.
    - `chunk`: points in one launch; by default as many as keep it below 256 MB.
    - `folder`: where to keep the result on disk, written chunk by chunk: a Zarr group if it ends
        in `.zarr` (`pip install 'hhjax[zarr]'`), an HDF5 file if in `.h5` or `.hdf5` (`'hhjax[hdf5]'`),
        else a folder with one `.npy` file for each array. Axes, times and units are in it, under the
        names of [`hh.Sweep.to_xarray`][]. A sweep that was killed goes on from its finished chunks if
        called again with the same arguments. What was saved is returned as Zarr arrays, HDF5 datasets
        or memory maps, which read what is indexed.
    - `progress_meter`: one of diffrax's, told after each chunk.

    **Returns:** a [`hh.Sweep`][]. A point that turned infinite or NaN is flagged in `finite`.

    **Raises:** `ValueError` and `TypeError` for bad input, `ImportError` for a package that `folder`
    needs, before compiling.
    """
    network, stimulus, v0, t0, t1, dt = check_run(network, stimulus, t0, t1, dt, None, v0)
    check_folder(folder)
    dtype = run_dtype(network)
    reduce = SpikeCount() if reduce is None else reduce
    check_reducers(reduce)
    check_key("key", key)
    if not isinstance(over, Mapping) or not over:
        raise TypeError(f"`over` must be a dict with an entry for each axis of the sweep, got {over!r}.")
    if chunk is not None and (isinstance(chunk, bool) or not isinstance(chunk, int) or chunk < 1):
        raise ValueError(f"`chunk` must be a whole number of points of at least 1, got {chunk!r}.")
    axes = [_as_axis(name, values, dtype) for name, values in over.items()]
    wheres = tuple(where for _, where, _, _ in axes)
    # A stimulus of which the whole is replaced is a constant one.
    point = Point(network, stimulus, v0)
    wheres = tuple(_Named(_amplitude(w.names, stimulus)) if isinstance(w, _Named) else w for w in wheres)
    shape = tuple(len(arrays[0]) for _, _, arrays, _ in axes)
    for extreme in (np.argmin, np.argmax):
        _check_point(point, wheres, [[x[_where(extreme, x)] for x in arrays] for _, _, arrays, _ in axes])

    saveat = diffrax.SaveAt(t1=True, fn=_save_nothing) if saveat is None else saveat
    settings = dict(t0=t0, t1=t1, dt=dt, saveat=saveat) | ({} if solver is None else {"solver": solver})
    job = _Job(point, cast_floats(reduce, dtype), key, wheres, Settings(**settings))
    points = math.prod(shape)
    mine = np.array_split(np.arange(points), jax.process_count())[jax.process_index()]
    take = lambda flat: [
        [x[i] for x in arrays] for i, (_, _, arrays, _) in zip(np.unravel_index(flat, shape), axes)
    ]
    first = jax.tree.map(lambda x: jnp.asarray(x[0]), take(np.array([0])))
    one = _shapes(job, first)
    held = [x for x in jax.tree.leaves((one, network)) if hasattr(x, "dtype")]
    nbytes = sum(x.size * x.dtype.itemsize for x in held) + 80 * network.n  # the state
    size, blocks = _sizes(len(mine), network.n, 4 * nbytes, chunk)

    shown = {label: values for label, _, _, values in axes}
    parameters = renamed_axes(over)
    chosen = default_solver(network.is_noisy) if solver is None else solver
    name = solver_name(as_stepper(chosen, network.is_noisy))
    ts = _times(saveat, t0, t1, dt, dtype)
    store: PointsInMemory | PointsOnDisk = PointsInMemory(one, len(mine))
    if folder is not None:
        digest = fingerprint((job, wheres, settings, list(over), [x for _, _, x, _ in axes]))
        about = run_attrs(name, t0, t1, dt)
        store = open_points(
            folder,
            one,
            size=size,
            axes=shown,
            coordinates=coordinates(network, shown, parameters),
            ts=ts,
            of_state=isinstance(one[0], State),
            attrs=about,
            digest=digest,
        )
    offset = int(mine[0]) if folder is not None and len(mine) else 0
    progress = Progress(progress_meter, len(mine))
    for start in range(0, len(mine), size):
        flat = mine[start : start + size]
        if not store.has(offset + start, offset + start + len(flat)):
            padded = np.concatenate([flat, np.repeat(flat[-1:], size - len(flat))])
            out = _compiled(job, take(padded), padded.astype(np.int32), blocks)
            store.write(offset + start, jax.tree.map(lambda x: np.asarray(x)[: len(flat)], out))
        progress.advance(len(flat))
    progress.close()

    alone = jax.process_count() == 1

    def place(x: Any) -> Any:
        if alone:
            return x if folder is not None else x.reshape(shape + x.shape[1:])
        return x.reshape((points,) + x.shape[len(shape) :])[mine] if folder is not None else x

    ys, reduced, finite = jax.tree.map(place, store.read())
    indices = None if alone else mine
    return Sweep(shown, reduced, ts, ys, finite, indices, network, name, t0, t1, dt, parameters)


def _where(extreme: Callable, x: np.ndarray) -> int:
    """The index along the first axis of the least or greatest value; NaN is both."""
    return int(np.unravel_index(extreme(x), x.shape)[0])


def _check_point(point: Point, wheres: tuple, values: list) -> None:
    new = _put(point, wheres, jax.tree.map(jnp.asarray, values))
    check_run(new.network, new.stimulus, 0.0, 1.0, 1.0, None, new.v0)


def _save_nothing(t: Any, y: Any, args: Any) -> None:
    return None


def _times(saveat: diffrax.SaveAt, t0: float, t1: float, dt: float, dtype: Any) -> np.ndarray:
    """The times (ms) of what was saved, from the plan alone."""
    steps, _ = count_steps(t0, t1, dt)
    _, indices = make_plan(saveat, t0, t1, dt, steps)
    return np.where(indices == steps, t1, t0 + indices * dt).astype(dtype)
