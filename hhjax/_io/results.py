"""Where the results of a sweep, or of a run to disk, go while they are made."""

import abc
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .archives import AbstractArchive, as_errors_of, as_write_errors
from .labels import label, label_axes, label_neurons, label_saved, label_times, Labelled
from .npy_folder import NpyArchive
from .store import lay_out, open_archive, read_archive


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


class _ChunksOnDisk(abc.ABC):
    """Gathers rows or points, and writes each chunk once, when it is whole."""

    def __init__(self, archive: AbstractArchive, names: Sequence[str], shapes: Sequence[Any]):
        """**Arguments:** `names`, `shapes`: of the arrays, and of one row or point of each."""
        self._archive, self._names, self._shapes = archive, names, shapes
        self._held: dict[int, list[np.ndarray]] = {}
        self._begun = False

    def __enter__(self) -> Any:
        if not self._has_ended():
            self._begun = True
            try:
                with as_write_errors(self._archive.path):
                    self._archive.begin(alone=jax.process_index() == 0)
                self._has_ended()  # looks again, now that nobody else writes
            except BaseException:
                self._archive.close()
                raise
        return self

    def __exit__(self, *error: object) -> None:
        if self._begun:
            self._archive.close()

    @abc.abstractmethod
    def _has_ended(self) -> bool:
        """Whether nothing is left to write."""

    def _room(self, number: int) -> list[np.ndarray]:
        """A chunk of each array that is being filled."""
        if number not in self._held:
            start, stop = self._archive.grid.span(number)
            self._held[number] = [np.zeros((stop - start,) + x.shape, x.dtype) for x in self._shapes]
        return self._held[number]

    def _put(self, start: int, stop: int, leaves: Sequence[np.ndarray]) -> None:
        """Take the rows or points from place `start` to `stop`, and write the chunks that they end."""
        grid = self._archive.grid
        for number in range(int(grid.of(start)), int(grid.of(stop - 1)) + 1):
            first, last = grid.span(number)
            begin, end = max(start, first), min(stop, last)
            for whole, part in zip(self._room(number), leaves, strict=True):
                whole[begin - first : end - first] = part[begin - start : end - start]
            if end == last:
                chunk = self._held.pop(number)
                if not self._archive.done[number]:
                    done = {"done": np.ones(last - first, bool)}  # only once everything else is on disk
                    self._archive.write(number, dict(zip(self._names, chunk, strict=True)) | done)
                    self._archive.done[number] = True

    def _reopened(self) -> tuple[AbstractArchive, dict[str, Any]]:
        """The archive for reading, and its arrays."""
        if self._begun:
            self._archive.close()
            self._archive = read_archive(self._archive.path)
            self._begun = False
        return self._archive, {name: x.values for name, x in self._archive.labelled()[0].items()}


class PointsOnDisk(_ChunksOnDisk):
    """Arrays with the axes of the sweep in front, and one that says which points are done.

    **Fields:** `mine`: the points of this process, which holds whole chunks of them.
    """

    def __init__(self, archive: AbstractArchive, one: Any, saved: Sequence[str], others: Sequence[str]):
        super().__init__(archive, [*saved, *others], jax.tree.leaves(one))
        self._structure, self._saved = jax.tree.structure(one), saved
        chunks = np.array_split(np.arange(archive.grid.total), jax.process_count())[jax.process_index()]
        spans = [archive.grid.span(number) for number in chunks.tolist()]
        self.mine = np.arange(spans[0][0], spans[-1][1]) if spans else np.arange(0)

    def _has_ended(self) -> bool:
        return bool(self._archive.done.all())

    def has(self, start: int, stop: int) -> bool:
        grid = self._archive.grid
        return bool(self._archive.done[int(grid.of(start)) : int(grid.of(stop - 1)) + 1].all())

    def write(self, start: int, chunk: Any) -> None:
        with as_write_errors(self._archive.path):
            leaves = jax.tree.leaves(chunk)
            self._put(start, start + len(leaves[0]), leaves)

    def read(self) -> Any:
        archive, arrays = self._reopened()
        if isinstance(archive, NpyArchive) and jax.process_count() > 1:
            start, stop = (int(self.mine[0]), int(self.mine[-1]) + 1) if len(self.mine) else (0, 0)
            arrays = {name: x.values for name, x in archive.portion(start, stop).labelled()[0].items()}
        leaves = [arrays[name] if name in self._saved else np.asarray(arrays[name]) for name in self._names]
        return jax.tree.unflatten(self._structure, leaves)


def open_points(
    folder: str | Path,
    one: tuple[Any, Any, Any],
    *,
    size: int,
    axes: Mapping[str, Any],
    coordinates: Mapping[str, Sequence[tuple[str, str]]],
    ts: np.ndarray,
    of_state: bool,
    attrs: dict[str, Any],
    digest: str,
) -> PointsOnDisk:
    """Room on disk for the results of the points of a sweep.

    **Arguments:** `one`: the shapes of what was saved, what was reduced and what is finite at one
    point; `size`: points in a launch; `axes`, `ts`: as in [`hh.Sweep`][]; `coordinates`: name and
        unit of all that varies along each axis; `of_state`: whether states of the network were saved;
        `attrs`: of the whole.

    **Raises:** `ValueError` if the folder holds results of other inputs than those of `digest`.
    """
    safe = lambda name: name.replace("/", "_")
    axes = {safe(name): values for name, values in axes.items()}
    parts = {safe(name): [(safe(part), unit) for part, unit in x] for name, x in coordinates.items()}
    shape = tuple(len(x[0] if isinstance(x, list) else x) for x in axes.values())
    whole = jax.tree.map(lambda x: jax.ShapeDtypeStruct(shape + x.shape, x.dtype), one)
    saved, reduced, finite = whole
    lead, n = tuple(axes), finite.shape[-1]
    coords = label_neurons(n) | label_axes(axes, parts)
    coords |= label_times(ts) if jax.tree.leaves(saved) else {}
    known = [*coords, "checks", "done", "finite"]
    rows = label_saved(saved, (*lead, "time"), n, of_state=of_state, taken=known)
    others = label(reduced, lead, n, taken=[*known, *rows]) | {
        "finite": Labelled((*lead, "neuron"), finite, {})
    }
    layout = lay_out(folder, rows | others, lead, shape, size, coords, attrs)
    return PointsOnDisk(open_archive(folder, layout, digest, "sweep"), one, list(rows), list(others))


_DIGEST = 32  # bytes of SHA-256


_HEAD = 8 + _DIGEST  # how often was written, and the digest of that and of the state


def last_copy(copies: Sequence[bytes]) -> tuple[int, bytes] | None:
    """How often was written, and where the run stood the last time, `None` if it never was.

    **Raises:** `ValueError` if no copy is what was written.
    """
    found = []
    for copy in copies:
        head, body = copy[:_HEAD], copy[_HEAD:]
        if hashlib.sha256(head[:8] + body).digest() == head[8:]:
            found.append((int.from_bytes(head[:8], "little"), body))
    if not found and all(map(any, copies)):  # where one is empty, the first was being written
        raise ValueError("where the run stands is not what was written.")
    return max(found, default=None)


class RowsOnDisk(_ChunksOnDisk):
    """What a run saves at its times, and two copies of where it stands, which are written in turn.

    The rows of a chunk that is not whole yet are part of where it stands. A copy that was being written
    when the process was killed does not match its digest.
    """

    def __init__(
        self,
        folder: str | Path,
        row: Any,
        state: Any,
        *,
        ts: np.ndarray,
        n: int,
        of_state: bool,
        count: int,
        steps: np.ndarray,
        attrs: dict[str, Any],
        digest: str,
    ):
        """**Arguments:** `row`, `state`: the shapes of what is saved at a time and of where the run
        stands; `ts`: times of the rows, ms; `n`: how many neurons there are; `of_state`: whether the
            rows are states of the network; `count`: about how many are written at a time; `steps`: at
            which they are saved, and the last step of the run, counted from the start of its grid.

        **Raises:** `ValueError` if the folder holds results of other inputs than those of `digest`.
        """
        whole = jax.tree.map(lambda x: jax.ShapeDtypeStruct((len(ts),) + x.shape, x.dtype), row)
        coords = label_neurons(n) | label_times(ts)
        taken = [*coords, "checks", "done", "resume"]
        saved = label_saved(whole, ("time",), n, of_state=of_state, taken=taken)
        # Chunks are an eighth of a part: an unfinished chunk is written twice.
        layout = lay_out(folder, saved, ("time",), (len(ts),), -(-count // 8), coords, attrs)
        nbytes = lambda tree: sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree))
        size = lambda grid: _HEAD + nbytes(state) + grid.chunk[0] * nbytes(row)
        archive = open_archive(folder, layout._replace(resume=size(layout.grid)), digest, "run")
        super().__init__(archive, list(saved), jax.tree.leaves(row))
        self._size = size(archive.grid)  # of the chunks that it was made with
        self._state, self._structure, self._steps = state, jax.tree.structure(row), steps
        self._last: tuple[int, bytes] | None = None

    def _has_ended(self) -> bool:
        with as_errors_of(self._archive.path):
            self._last = last_copy(self._archive.copies())
        return step_of(self._last) == int(self._steps[-1])

    def state(self) -> Any:
        """Where the run stood when it was last written, `None` if it never was.

        **Raises:** `ValueError` if rows are gone that were written before.
        """
        if (last := self._last) is None:
            return None
        start = 0

        def take(x: Any) -> np.ndarray:
            nonlocal start
            part = np.frombuffer(last[1], x.dtype, x.size, start).reshape(x.shape)
            start += part.nbytes
            return part

        state = jax.tree.map(lambda x: jnp.asarray(take(x)), self._state)
        count = int(np.searchsorted(self._steps[:-1], step_of(last), side="right"))
        with as_errors_of(self._archive.path):
            whole = rows_in_chunks(self._archive, count)
        if whole < count:
            for x in self._room(int(self._archive.grid.of(whole))):
                x[:] = take(x)
        return state

    def write(self, start: int, stop: int, rows: Any, state: Any) -> None:
        """Write the rows from number `start` to `stop`, and then where the run stands after them."""
        with as_write_errors(self._archive.path):
            if start < stop:
                self._put(start, stop, jax.tree.leaves(rows))
            held = [x for number in self._held for x in self._room(number)]
            body = b"".join(np.asarray(x).tobytes() for x in [*jax.tree.leaves(state), *held])
            self._write_copy(body.ljust(self._size - _HEAD, b"\0"))

    def _write_copy(self, body: bytes) -> None:
        written = 1 if self._last is None else self._last[0] + 1
        count = written.to_bytes(8, "little")
        self._archive.write_copy(written % 2, count + hashlib.sha256(count + body).digest() + body)
        self._last = written, body

    def read(self) -> Any:
        """All rows, as arrays that read what is indexed."""
        if self._begun and self._last is not None:
            with as_write_errors(self._archive.path):
                self._write_copy(self._last[1])  # twice, for a run that has ended to be known as such
        _, arrays = self._reopened()
        return jax.tree.unflatten(self._structure, [arrays[name] for name in self._names])


def step_of(copy: tuple[int, bytes] | None) -> int:
    """The step at which a run stood, counted from the start of its grid, -1 for none."""
    return -1 if copy is None else int(np.frombuffer(copy[1], np.int32, 1)[0])


def rows_in_chunks(archive: AbstractArchive, count: int) -> int:
    """How many of the first `count` rows lie in whole chunks.

    **Raises:** `ValueError` if one of these is not there.
    """
    (total,), (chunk,) = archive.grid
    whole = count if count == total else count // chunk * chunk
    archive.look()
    if not archive.done[: -(-whole // chunk)].all():
        raise ValueError("rows that were written are gone.")
    return whole
