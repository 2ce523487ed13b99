"""A long run in parts, each of which goes to disk when it is done."""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import diffrax
import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array

from .._base.host import check_meter, Progress
from .._base.parameters import check_flag, check_size, is_concrete
from .._io.results import RowsOnDisk
from .._io.store import check_folder, fingerprint
from .._model.network import Model
from .._model.neuron import State
from .loop import begin, compiled, conclude
from .non_finite import raise_non_finite
from .run import nbytes, Plan, Result, Run, RunState, steps_done
from .simulate import prepare
from .solution import Solution

_PART_BYTES = 64_000_000  # rows of one part


_PARTS = 16  # at least, so that little is lost


def simulate_to(
    folder: str | Path,
    network: Model,
    *,
    t1: float,
    dt: float,
    t0: float = 0.0,
    stimulus: Any = 0.0,
    solver: Any = None,
    y0: State | Solution | None = None,
    v0: Any = -65.0,
    saveat: diffrax.SaveAt | None = None,
    reduce: Any = None,
    chunk: int | None = None,
    progress_meter: diffrax.AbstractProgressMeter = diffrax.NoProgressMeter(),
    key: Array | None = None,
    unroll: int = 1,
    throw: bool = True,
) -> Solution:
    """Run a network as [`hh.simulate`][] does, and write what is saved to disk as the run goes on.

    The run is made in parts, each from the exact state in which the last one ended, and needs the memory of
    one part. If it was killed, the same call goes on from the last finished part, with the same result
    to the last bit. A run in memory may differ from it in the last digit, where XLA compiles the
    loops in different ways. Not inside `jit`, `vmap` or `grad`.

    **Arguments:**

    - `folder`: where to write: a Zarr group if it ends in `.zarr` (`pip install 'hhjax[zarr]'`), an
        HDF5 file if in `.h5` or `.hdf5` (`'hhjax[hdf5]'`), else a folder with one `.npy` file for each
        array, with times and units, under the names of [`hh.Solution.to_xarray`][].
    - `chunk`: steps in a part, rounded up to whole rows of `saveat`, at least two. By default 64 MB
        of rows, and at most a 16th of the run.
    - The others as in [`hh.simulate`][].

    **Returns:** a [`hh.Solution`][] whose `ys` are arrays on disk: indexing reads the part that you ask for
    and checks it. [`hh.open`][] reads the folder, also before the run has ended.

    **Raises:** what [`hh.simulate`][] does; `ImportError` for a package that `folder` needs;
    `ValueError` for a folder that holds another run or anything else, that is damaged, or that another
    process is writing; `OSError` for a full disk, after which the same call goes on.
    """
    check_folder(folder)
    check_meter(progress_meter)
    check_flag("throw", throw)
    if chunk is not None:
        check_size("chunk", chunk)
    given = dict(stimulus=stimulus, solver=solver, y0=y0, v0=v0, saveat=saveat, reduce=reduce)
    it = prepare(network, t0, t1, dt, **given, key=key, unroll=unroll)
    fail = functools.partial(raise_non_finite, hint=it.hint, integrate=compiled) if throw else None
    done = int(steps_done(it.start))
    place: dict[str, Any] = dict(folder=folder, chunk=chunk, indices=it.indices - done, ts=it.ts)
    out = integrate_to_disk(it.run, it.start, progress_meter, **place, attrs=it.attrs, fail=fail)
    return it.solution(out)


def _parts(steps: int, done: int, stride: int, length: int) -> Iterator[tuple[int, int]]:
    """The first and the last step of each part, of `length` steps, after `done` steps.

    None has one row alone if it can be helped: XLA compiles a loop of one into its
    surroundings, where it may round differently.
    """
    while done < steps:
        end = min(done + length, steps)
        end = steps if 0 < steps - end <= stride else end
        yield done, end
        done = end


def _length(row: Any, steps: int, stride: int, chunk: int | None) -> int:
    """Steps in a part: a multiple of `stride`, and more than one row."""
    if chunk is None:
        chunk = min(_PART_BYTES // (nbytes(row) + 16 * stride) * stride, steps // _PARTS)  # keys, stimulus
    return -(-max(chunk, stride + 1) // stride) * stride


def _rows(indices: np.ndarray, steps: int, length: int) -> int:
    """Rows in a part of `length` steps, on average."""
    return max(1, len(indices) * length // steps)


def integrate_to_disk(
    run: Run,
    start: Any,
    meter: diffrax.AbstractProgressMeter,
    *,
    folder: str | Path,
    chunk: int | None,
    indices: np.ndarray,
    ts: np.ndarray,
    attrs: dict[str, Any],
    fail: Callable[[Run, Any], None] | None,
) -> Result:
    """What `integrate` does, in parts, with what was saved on disk.

    **Arguments:** `indices`: numbers of the steps that are saved, from the beginning of the run on;
    `ts`: their times, ms; `attrs`: of the file; `fail`: called for a part that turned infinite or NaN,
    and where it began, or `None`.

    **Raises:** `ValueError` inside `jit` and the like, and if the folder holds another run.
    """
    if not all(is_concrete(x) for x in jax.tree.leaves((run, start))):
        raise ValueError(
            "`folder` is written as the run goes on, which is not possible in jit, vmap or grad."
        )
    plan, done = run.plan, int(steps_done(start))
    digest = fingerprint((run, start, indices))
    at, row = eqx.filter_eval_shape(begin, run, start)
    stride = 1 if plan.stride == plan.steps else plan.stride  # no rows on the way
    length = _length(row, plan.steps, stride, chunk)
    about: dict[str, Any] = dict(ts=ts, n=run.network.n, of_state=isinstance(row, State), attrs=attrs)
    about |= dict(count=_rows(indices, plan.steps, length), steps=done + np.append(indices, plan.steps))
    with RowsOnDisk(folder, row, _parts_of(at), **about, digest=digest) as rows:
        if (state := rows.state()) is None:
            at, row = begin(run, start)
            state = _parts_of(at)
            rows.write(0, int(plan.initial), jax.tree.map(lambda x: np.asarray(x)[None], row), state)
        at = RunState(np.asarray(state[0]), *state[1:])

        progress = Progress(meter, plan.steps, int(at.i) - done)
        for first, end in _parts(plan.steps, int(at.i) - done, stride, length):
            every, last = min(plan.stride, end - first), plan.last and end == plan.steps
            part = dataclasses.replace(run, plan=Plan(end - first, every, initial=False, last=last))
            out = compiled(part, at, diffrax.DirectAdjoint(), diffrax.NoProgressMeter())
            if fail is not None and not out.finite.all():
                fail(part, RunState(at.i, at.z))
            at = out.end
            made = np.append(np.arange(first + every, end + 1, every), [end] * last)
            kept = np.isin(made, indices)
            take = lambda x: np.asarray(x) if kept.all() else np.asarray(x)[kept]
            place = int(np.searchsorted(indices, first, side="right"))
            rows.write(place, place + int(kept.sum()), jax.tree.map(take, out.ys), _parts_of(at))
            del out  # before the next
            progress.advance(end - first)
        progress.close()
        ys = rows.read()
    return dataclasses.replace(conclude(run, at), ys=ys)


def _parts_of(state: RunState) -> tuple[Any, Any, Any]:
    return state.i, state.z, state.reduced
