"""A long run in parts, each of which goes to disk when it is done."""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import diffrax
import equinox as eqx
import jax
import numpy as np

from .._base.host import Progress
from .._base.parameters import is_concrete
from .._io.store import fingerprint, RowsOnDisk
from .._model.neuron import State
from .loop import begin, compiled, conclude
from .run import nbytes, Plan, Result, Run, RunState, steps_done

_PART_BYTES = 64_000_000  # rows of one part


_PARTS = 16  # at least, so that little is lost


def check_chunk(folder: Any, chunk: Any) -> None:
    """Refuse what does not fit a run to disk."""
    if chunk is not None and (isinstance(chunk, bool) or not isinstance(chunk, int) or chunk < 1):
        raise ValueError(f"`chunk` must be a whole number of steps of at least 1, got {chunk!r}.")
    if chunk is not None and folder is None:
        raise ValueError("`chunk` is for a run to disk: give a `folder` as well.")


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
    about: dict[str, Any] = dict(
        ts=ts, n=run.network.n, of_state=isinstance(row, State), attrs=attrs, digest=digest
    )
    rows = RowsOnDisk(folder, row, _parts_of(at), count=length // stride, **about)
    if (state := rows.state()) is None:
        at, row = begin(run, start)
        state = _parts_of(at)
        rows.write(0, jax.tree.map(lambda x: np.asarray(x)[None][: int(plan.initial)], row), state)
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
        rows.write(
            int(np.searchsorted(indices, first, side="right")), jax.tree.map(take, out.ys), _parts_of(at)
        )
        del out  # before the next
        progress.advance(end - first)
    progress.close()
    return dataclasses.replace(conclude(run, at), ys=rows.read())


def _parts_of(state: RunState) -> tuple[Any, Any, Any]:
    return state.i, state.z, state.reduced
