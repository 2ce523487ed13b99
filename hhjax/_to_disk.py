"""A long run in parts, each of which goes to disk when it is done."""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ._integrate import begin, conclude, integrate
from ._loop import cut_up
from ._parameters import is_concrete
from ._plan import Plan
from ._progress import Progress
from ._steps import Outcome, Stand, Steps, steps_done
from ._store import fingerprint, RowsOnDisk

_PART_BYTES = 64_000_000  # rows of one part
_PARTS = 16  # at least, so that little is lost


def check_chunk(folder: Any, chunk: Any, backend: str) -> None:
    """Refuse what does not fit a run to disk."""
    if chunk is not None and (isinstance(chunk, bool) or not isinstance(chunk, int) or chunk < 1):
        raise ValueError(f"`chunk` must be a whole number of steps of at least 1, got {chunk!r}.")
    if chunk is not None and folder is None:
        raise ValueError("`chunk` is for a run to disk: give a `folder` as well.")
    if folder is not None and backend == "fused":
        raise ValueError("`backend='fused'` is not for a run to disk, whose parts are scanned.")


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


def _length(row: Any, steps: int, stride: int, unit: int, chunk: int | None) -> int:
    """Steps in a part, a multiple of `unit` and more than one row."""
    if chunk is None:
        nbytes = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(row)) + 16 * stride  # keys, stimulus
        chunk = min(_PART_BYTES // nbytes * stride, steps // _PARTS)
    return -(-max(chunk, stride + 1) // unit) * unit


def integrate_to_disk(
    run: tuple,
    plan: Plan,
    save: Any,
    reduce: Any,
    adjoint: diffrax.AbstractAdjoint,
    meter: diffrax.AbstractProgressMeter,
    *,
    folder: str | Path,
    chunk: int | None,
    indices: np.ndarray,
    ts: np.ndarray,
    attrs: dict[str, Any],
    fail: Callable[[tuple, int, int], None] | None,
) -> Outcome:
    """What `integrate` does, in parts, with what was saved on disk.

    **Arguments:** `run`: the first arguments of `integrate`; `indices`: numbers of the steps that
    are saved, from the beginning of the run on; `ts`: their times, ms; `attrs`: of the file; `fail`:
    called for a part that turned infinite or NaN, with its `run`, its number of steps and that of
    those before, or `None`.

    **Raises:** `ValueError` inside `jit` and the like, and if the folder holds another run.
    """
    if not all(is_concrete(x) for x in jax.tree.leaves(run)):
        raise ValueError(
            "`folder` is written as the run goes on, which is not possible in jit, vmap or grad."
        )
    network, stimulus, y0, v0, *grid, key, stepper = run  # t0, t1, dt, last_dt, total
    done = steps_done(y0)
    steps = Steps(network, stimulus, stimulus, stepper, save, reduce, *map(jnp.asarray, grid))
    digest = fingerprint((run, save, reduce, indices))

    one, row = eqx.filter_eval_shape(begin, steps, y0, v0)
    cuts = cut_up(plan, adjoint, one.z, row)
    stride, unit = plan.stride, cuts.rows * plan.stride
    if stride == plan.steps:  # no rows on the way
        stride, unit = 1, cuts.steps if cuts.segment else 1
    length = _length(row, plan.steps, stride, unit, chunk)
    shapes = (one.i, one.z, one.gathered)
    rows = RowsOnDisk(folder, row, shapes, ts, network.n, length // stride, attrs, digest)
    if (state := rows.state()) is None:
        at, row = begin(steps, y0, v0)
        state = at.i, at.z, at.gathered
        rows.write(0, jax.tree.map(lambda x: np.asarray(x)[None][: int(plan.initial)], row), state)
    at = Stand(np.asarray(state[0]), *state[1:])

    out, progress = None, Progress(meter, plan.steps, int(at.i - done))
    for first, end in _parts(plan.steps, int(at.i - done), stride, length):
        every, last = min(plan.stride, end - first), plan.last and end == plan.steps
        part = Plan(end - first, every, initial=False, last=last, cuts=cuts)
        here = network, stimulus, at, v0, *grid, key, stepper
        out = integrate(*here, part, save, reduce, adjoint, diffrax.NoProgressMeter(), "scan")
        if fail is not None and not out.finite.all():
            afresh = dataclasses.replace(at, gathered=None)
            fail((network, stimulus, afresh, *here[3:]), end - first, int(at.i))
        at = Stand(np.int32(done + end), out.z, out.gathered)
        made = np.append(np.arange(first + every, end + 1, every), [end] * last)
        kept = np.isin(made, indices)
        take = lambda x: np.asarray(x) if kept.all() else np.asarray(x)[kept]
        start = int(np.searchsorted(indices, first, side="right"))
        rows.write(start, jax.tree.map(take, out.ys), (at.i, at.z, at.gathered))
        out = dataclasses.replace(out, ys=None)  # before the next
        progress.advance(end - first)
    progress.close()
    out = conclude(steps, at) if out is None else out
    return dataclasses.replace(out, ys=rows.read())
