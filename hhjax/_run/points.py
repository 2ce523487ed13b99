"""The points of a sweep: which there are, and how they run as batches over all devices."""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array

from .._base.devices import on_gpu
from .._base.host import Progress, Settings
from .._base.parameters import cast_floats, check_parameters, check_size, run_dtype, warn_of_SI
from .._base.random import check_key
from .._io.results import PointsInMemory, PointsOnDisk
from .._model.cell import places_of
from .._model.network import Network
from ..steppers.solvers import as_stepper, default_solver, solver_name
from .axes import _amplitude, _as_axis, _Named, _put, check_once, Point, renamed_axes, unit_of
from .reducers import check_reducers, missed, SpikeCount, warn_of_watched, watched
from .run import count_steps, make_plan
from .simulate import check_run, simulate

_BLOCK = 2048  # neurons that step together on a CPU: their state stays in the cache of one core


_CHUNK_BYTES = 256_000_000  # results and states of one launch


class _Job(eqx.Module):
    """What all points of a sweep share: the compiled function depends on its static parts."""

    point: Point
    reduce: Any
    key: Array | None
    wheres: tuple[Callable | _Named, ...] = eqx.field(static=True)
    settings: Settings = eqx.field(static=True)

    def run(self, values: list, index: Array) -> tuple[tuple[Any, Any, Array], Any]:
        """One point: what was saved, what was reduced, which neurons are finite; and what was seen besides,
        see `watched`."""
        point = _put(self.point, self.wheres, values)
        key = None if self.key is None else jax.random.fold_in(self.key, index)
        run = simulate(
            point.network,
            stimulus=point.stimulus,
            v0=point.v0,
            reduce=watched(self.reduce),
            key=key,
            throw=False,
            **self.settings.options,
        )
        reduced, found = run.reduced
        return (run.ys, reduced, run.finite), found


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
        _known_shapes[key] = eqx.filter_eval_shape(lambda job: job.run(values, jnp.int32(0))[0], job)
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


class Points(NamedTuple):
    """The points of a sweep, checked and laid out.

    **Fields:** `job`: what they share; `inputs`: all that their results depend on; `arrays`: the values
    of each axis, and `axes`: by name, as they are shown; `parameters`: as in [`hh.Sweep`][]; `mine`:
    those of this process, as indices into the flattened axes; `one`: the shapes of one point's results;
    `size`, `blocks`: of a launch; `solver`: its type; `ts`, `t0`, `t1`, `dt`: ms.
    """

    job: _Job
    inputs: Any
    arrays: list[list[np.ndarray]]
    axes: dict[str, Any]
    parameters: tuple[tuple[str, tuple[str, ...]], ...]
    mine: np.ndarray
    one: tuple[Any, Any, Any]
    size: int
    blocks: int
    solver: str
    ts: np.ndarray
    t0: float
    t1: float
    dt: float

    @property
    def network(self) -> Network:
        return self.job.point.network

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(len(arrays[0]) for arrays in self.arrays)

    def take(self, flat: np.ndarray) -> list:
        """The values at some of the points."""
        places = zip(np.unravel_index(flat, self.shape), self.arrays)
        return [[x[i] for x in arrays] for i, arrays in places]

    def run(
        self, store: PointsInMemory | PointsOnDisk, meter: diffrax.AbstractProgressMeter, offset: int = 0
    ) -> None:
        """Run all points that are not in the store, in which they begin at `offset`."""
        mine = self.mine
        progress = Progress(meter, len(mine))
        seen = []
        watch, cells = watched(self.job.reduce), places_of(self.network.cells, self.network.n).get("cell")
        for start in range(0, len(mine), self.size):
            flat = mine[start : start + self.size]
            if not store.has(offset + start, offset + start + len(flat)):
                padded = np.concatenate([flat, np.repeat(flat[-1:], self.size - len(flat))])
                out = _compiled(self.job, self.take(padded), padded.astype(np.int32), self.blocks)
                out, found = jax.tree.map(lambda x: np.asarray(x)[: len(flat)], out)
                store.write(offset + start, out)
                seen.append([x.any(axis=-1) for x in missed(watch, (out[1], found), cells)])
            progress.advance(len(flat))
        progress.close()
        found = [np.concatenate(x) for x in zip(*seen)]
        warn_of_watched(watch[1], found, "run")


def lay_out(
    network: Any,
    over: Any,
    t0: Any,
    t1: Any,
    dt: Any,
    *,
    stimulus: Any,
    v0: Any,
    reduce: Any,
    saveat: Any,
    solver: Any,
    key: Any,
    unroll: Any,
    chunk: Any,
) -> Points:
    """Refuse what [`hh.sweep`][] cannot run, and lay out what it can."""
    network, stimulus, v0, t0, t1, dt = check_run(network, stimulus, t0, t1, dt, None, v0)
    dtype = run_dtype(network)
    reduce = SpikeCount() if reduce is None else reduce
    check_reducers(reduce)
    check_key("key", key)
    check_parameters(reduce, "reduce", network.n)
    if not isinstance(over, Mapping) or not over:
        raise TypeError(f"`over` must be a dict with an entry for each axis of the sweep, got {over!r}.")
    check_size("unroll", unroll)
    if chunk is not None:
        check_size("chunk", chunk)
    axes = [_as_axis(name, values, dtype) for name, values in over.items()]
    wheres = tuple(where for _, where, _, _ in axes)
    # A stimulus of which the whole is replaced is a constant one.
    point = Point(network, stimulus, v0)
    wheres = tuple(_Named(_amplitude(w.names, stimulus)) if isinstance(w, _Named) else w for w in wheres)
    check_once(point, wheres)
    for _, where, arrays, _ in axes:
        if isinstance(where, _Named):
            for name, x in zip(where.names, arrays):
                warn_of_SI(x, f"over[{name!r}]", unit_of(network, name))
    shape = tuple(len(arrays[0]) for _, _, arrays, _ in axes)
    for extreme in (np.argmin, np.argmax):
        _check_point(point, wheres, [[x[_where(extreme, x)] for x in arrays] for _, _, arrays, _ in axes])

    saveat = diffrax.SaveAt(t1=True, fn=_save_nothing) if saveat is None else saveat
    settings = dict(t0=t0, t1=t1, dt=dt, saveat=saveat) | ({} if solver is None else {"solver": solver})
    settings |= {} if unroll == 1 else {"unroll": int(unroll)}
    job = _Job(point, cast_floats(reduce, dtype), key, wheres, Settings(**settings))
    mine = np.array_split(np.arange(math.prod(shape)), jax.process_count())[jax.process_index()]
    values = [arrays for _, _, arrays, _ in axes]
    one = _shapes(job, [[jnp.asarray(x[0]) for x in arrays] for arrays in values])
    held = [x for x in jax.tree.leaves((one, network)) if hasattr(x, "dtype")]
    nbytes = sum(x.size * x.dtype.itemsize for x in held) + 80 * network.n  # the state
    size, blocks = _sizes(len(mine), network.n, 4 * nbytes, chunk)

    shown = {label: shown for label, _, _, shown in axes}
    chosen = default_solver(network.is_noisy) if solver is None else solver
    name = solver_name(as_stepper(chosen, network.is_noisy))
    ts = _times(saveat, t0, t1, dt, dtype)
    inputs = (job, wheres, settings, list(over), values)
    parameters = renamed_axes(over)
    return Points(job, inputs, values, shown, parameters, mine, one, size, blocks, name, ts, t0, t1, dt)


def _where(extreme: Callable, x: np.ndarray) -> int:
    """The index along the first axis of the least or greatest value; NaN is both."""
    return int(np.unravel_index(extreme(x), x.shape)[0])


def _check_point(point: Point, wheres: tuple, values: list) -> None:
    new = _put(point, wheres, jax.tree.map(jnp.asarray, values))
    try:
        check_run(new.network, new.stimulus, 0.0, 1.0, 1.0, None, new.v0)
    except (TypeError, ValueError) as error:
        raise type(error)(f"`over` has a value that cannot be run: {error}") from None


def _save_nothing(t: Any, y: Any, args: Any) -> None:
    return None


def _times(saveat: diffrax.SaveAt, t0: float, t1: float, dt: float, dtype: Any) -> np.ndarray:
    """The times (ms) of what was saved, from the plan alone."""
    steps, _ = count_steps(t0, t1, dt)
    _, indices = make_plan(saveat, t0, t1, dt, steps)
    return np.where(indices == steps, t1, t0 + indices * dt).astype(dtype)
