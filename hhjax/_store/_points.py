"""The results of the points of a sweep."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from .._labels import label, label_axes, label_neurons, label_saved, label_times, Labelled
from ._archive import AbstractArchive, chunk_shape, Layout, rectangles
from ._open import open_archive


class PointsInMemory:
    """Arrays in the memory of the host."""

    def __init__(self, one: Any, points: int):
        self.arrays = jax.tree.map(lambda x: np.empty((points,) + x.shape, x.dtype), one)

    def has(self, start: int, stop: int) -> bool:
        return False

    def write(self, start: int, chunk: Any) -> None:
        write = lambda whole, part: whole.__setitem__(slice(start, start + len(part)), part)
        jax.tree.map(write, self.arrays, chunk)

    def read(self) -> Any:
        return self.arrays


class PointsOnDisk:
    """Arrays with the axes of the sweep in front, and one that says which points are done."""

    def __init__(self, archive: AbstractArchive, structure: Any, saved: Sequence[str], others: Sequence[str]):
        self._archive, self._structure = archive, structure
        self._saved, self._others = saved, others
        self._done = np.array(archive.whole("done"))
        if not self._done.all():
            archive.begin()

    def has(self, start: int, stop: int) -> bool:
        return bool(self._done.reshape(-1)[start:stop].all())

    def write(self, start: int, chunk: Any) -> None:
        leaves = jax.tree.leaves(chunk)
        count = len(leaves[0])
        for name, part in zip([*self._saved, *self._others], leaves, strict=True):
            self._put(name, start, part)
        self._archive.flush()
        self._done.reshape(-1)[start : start + count] = True
        self._put("done", start, np.ones(count, bool))  # only once everything else is on disk
        self._archive.flush()

    def _put(self, name: str, start: int, part: np.ndarray) -> None:
        shape, begin = self._done.shape, 0
        for index in rectangles(shape, start, start + len(part)):
            block = (index[-1].stop - index[-1].start,) + shape[len(index) :]
            stop = begin + math.prod(block)
            self._archive.arrays[name][index] = part[begin:stop].reshape(block + part.shape[1:])
            begin = stop

    def read(self) -> Any:
        self._archive.end()
        saved = [self._archive.arrays[name] for name in self._saved]
        others = [self._archive.whole(name) for name in self._others]
        return jax.tree.unflatten(self._structure, saved + others)


def open_points(
    folder: str | Path,
    one: tuple[Any, Any, Any],
    *,
    size: int,
    axes: Mapping[str, Any],
    unit_of: Callable[[str], str],
    ts: np.ndarray,
    of_state: bool,
    attrs: dict[str, Any],
    digest: str,
) -> PointsOnDisk:
    """Room on disk for the results of the points of a sweep.

    **Arguments:** `one`: the shapes of what was saved, what was reduced and what is finite at one
    point; `size`: points in a launch; `axes`, `ts`: as in [`hh.Sweep`][]; `unit_of`: gives the
        unit of a parameter by its name; `of_state`: whether states of the network were saved;
        `attrs`: of the whole.

    **Raises:** `ValueError` if the folder holds results of other inputs than those of `digest`.
    """
    axes = {name.replace("/", "_"): values for name, values in axes.items()}
    shape = tuple(len(x[0] if isinstance(x, list) else x) for x in axes.values())
    whole = jax.tree.map(lambda x: jax.ShapeDtypeStruct(shape + x.shape, x.dtype), one)
    saved, reduced, finite = whole
    lead, n = tuple(axes), finite.shape[-1]
    coords = label_neurons(n) | label_axes(axes, unit_of)
    coords |= label_times(ts) if jax.tree.leaves(saved) else {}
    known = [*coords, "done", "finite"]
    rows = label_saved(saved, (*lead, "time"), n, of_state=of_state, taken=known)
    others = label(reduced, lead, n, taken=[*known, *rows]) | {
        "finite": Labelled((*lead, "neuron"), finite, {})
    }
    done = Labelled(lead, jax.ShapeDtypeStruct(shape, bool), {"long_name": "whether the point has been run"})
    variables = rows | others | {"done": done}
    chunks = {}
    for name, x in variables.items():
        count = size * math.prod(x.shape[len(shape) :])
        chunks[name] = chunk_shape(x.shape, count, np.dtype(x.values.dtype).itemsize)
    archive = open_archive(folder, Layout(variables, chunks, coords, attrs), digest, "sweep")
    return PointsOnDisk(archive, jax.tree.structure(one), list(rows), list(others))
