"""Where the results of a sweep or a run to disk go, and what says whether they are the same."""

import contextlib
import functools
import hashlib
import importlib.util
import inspect
import math
import re
import types
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .archives import AbstractArchive, chunk_shape, Hdf5Archive, Layout, NpyArchive, rectangles, ZarrArchive
from .labels import label, label_axes, label_neurons, label_saved, label_times, Labelled

_KINDS: dict[str, type[AbstractArchive]] = {".zarr": ZarrArchive, ".h5": Hdf5Archive, ".hdf5": Hdf5Archive}


def kind_of(folder: Any) -> type[AbstractArchive]:
    """The kind of archive that a path names.

    **Raises:** `TypeError` for what is no path; `ImportError` that says what to install.
    """
    if not isinstance(folder, (str, Path)):
        raise TypeError(f"`folder` must be a path, got {folder!r}.")
    suffix = Path(folder).suffix
    kind = _KINDS.get(suffix.lower(), NpyArchive)
    if kind.package is not None and importlib.util.find_spec(kind.package) is None:
        raise ImportError(
            f"`folder` ending in {suffix} needs {kind.package}: pip install 'hhjax[{kind.extra}]'."
        )
    return kind


def check_folder(folder: Any) -> None:
    """Refuse what cannot be written to.

    **Raises:** `TypeError`; `ImportError` that says what to install; `ValueError` for several processes.
    """
    if not kind_of(folder).shared and jax.process_count() > 1:
        raise ValueError(
            f"`folder` ending in {Path(folder).suffix} is written by one process: under jax.distributed give "
            f"one without an ending, got {str(folder)!r}."
        )


def fingerprint(inputs: Any) -> str:
    """A digest of all that a tree holds: types by their names, static fields, arrays, functions by their code
    and what it refers to outside of them."""
    told = eqx.tree_pformat(inputs, width=1000, short_arrays=True)
    digest = hashlib.sha256(_without_addresses(told))
    for leaf in jax.tree.leaves(inputs):
        for part in _parts(leaf, set()):
            digest.update(part)
    return digest.hexdigest()


def _without_addresses(text: str) -> bytes:
    return re.sub(" at 0x[0-9a-f]+", "", text).encode()


def _parts(x: Any, seen: set[int]) -> Iterator[bytes]:
    """What a fingerprint is made of: the bytes of an array, or the code of a function."""
    if isinstance(x, functools.partial):
        x = x.func, x.args, x.keywords
    leaves = jax.tree.leaves(x)
    if len(leaves) != 1 or leaves[0] is not x:
        for leaf in leaves:
            yield from _parts(leaf, seen)
    elif eqx.is_array_like(x):
        if jnp.issubdtype(jnp.result_type(x), jax.dtypes.prng_key):
            yield str(jax.random.key_impl(x)).encode()
            x = jax.random.key_data(x)
        yield np.asarray(x).tobytes()
    elif isinstance(x, types.CodeType):
        yield x.co_code + repr(x.co_names).encode()
        yield from _parts(x.co_consts, seen)
    elif callable(x) and id(x) not in seen:
        seen.add(id(x))
        fn = inspect.unwrap(x)
        cells = [cell.cell_contents for cell in getattr(fn, "__closure__", None) or ()]
        for part in (getattr(fn, "__code__", ()), getattr(fn, "__defaults__", None), cells):
            yield from _parts(part, seen)
    else:
        x = sorted(map(repr, x)) if isinstance(x, (set, frozenset)) else x
        yield _without_addresses(repr(x))


@contextlib.contextmanager
def as_errors_of(folder: str | Path) -> Iterator[None]:
    """What goes wrong while files are read, as a `ValueError` that names `folder`."""
    try:
        yield
    except BlockingIOError as error:
        raise ValueError(f"`folder` {folder} is being written: wait until the run has ended.") from error
    except (OSError, EOFError, ValueError, TypeError, LookupError, AttributeError) as error:
        raise ValueError(
            f"`folder` {folder} is damaged, or not what hh.simulate_to or hh.sweep_to wrote: {error}"
        ) from error


def open_archive(folder: str | Path, layout: Layout, digest: str, what: str) -> AbstractArchive:
    """The archive at `folder`, new or with what was written before.

    **Raises:** `ValueError` if it holds results of other inputs than those of `digest`.
    """
    path, kind = Path(folder), kind_of(folder)
    if not kind.exists(path):
        kind.create(path, layout._replace(attrs=layout.attrs | {"fingerprint": digest}))
    with as_errors_of(folder):
        archive = kind(path)
    if archive.attrs.get("fingerprint") != digest:
        raise ValueError(f"`folder` {folder} holds another {what}: give a new one, or delete it.")
    return archive


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


_DIGEST = 32  # bytes of SHA-256


_HEAD = 8 + _DIGEST  # how often was written, and the digest of that and of the state


def last_copy(resume: np.ndarray) -> tuple[int, bytes] | None:
    """How often was written, and where the run stood the last time, `None` if it never was."""
    found = []
    for copy in resume:
        head, body = copy[:_HEAD].tobytes(), copy[_HEAD:].tobytes()
        if hashlib.sha256(head[:8] + body).digest() == head[8:]:
            found.append((int.from_bytes(head[:8], "little"), body))
    return max(found, default=None)


class RowsOnDisk:
    """What a run saves at its times, and two copies of where it stands, which are written in turn.

    A copy that was being written when the process was killed does not match its digest.
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
        attrs: dict[str, Any],
        digest: str,
    ):
        """**Arguments:** `row`, `state`: the shapes of what is saved at a time and of where the run
        stands; `ts`: times of the rows, ms; `n`: how many neurons there are; `of_state`: whether the
            rows are states of the network; `count`: how many are written at a time.

        **Raises:** `ValueError` if the folder holds results of other inputs than those of `digest`.
        """
        whole = jax.tree.map(lambda x: jax.ShapeDtypeStruct((len(ts),) + x.shape, x.dtype), row)
        coords = label_neurons(n) | label_times(ts)
        saved = label_saved(whole, ("time",), n, of_state=of_state, taken=[*coords, "resume"])
        self._state, self._structure, self._names = state, jax.tree.structure(row), list(saved)
        size = _HEAD + sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state))
        about = {"long_name": "where the run stands, for hhjax to go on from"}
        resume = Labelled(("copy", "byte"), jax.ShapeDtypeStruct((2, size), np.uint8), about)
        chunks = {"resume": chunk_shape((2, size), size, 1)}
        for name, x in saved.items():
            # An eighth of what is written at a time: little is written twice if that ends within a chunk.
            numbers = -(-count // 8) * math.prod(x.shape[1:])
            chunks[name] = chunk_shape(x.shape, numbers, np.dtype(x.values.dtype).itemsize)
        layout = Layout(saved | {"resume": resume}, chunks, coords, attrs)
        self._archive = open_archive(folder, layout, digest, "run")
        self._written = 0
        self._begun = False

    def state(self) -> Any:
        """Where the run stood when it was last written, `None` if it never was."""
        if (copy := last_copy(self._archive.whole("resume"))) is None:
            return None
        self._written, body = copy
        start = 0

        def take(x: Any) -> Any:
            nonlocal start
            part = np.frombuffer(body, x.dtype, x.size, start).reshape(x.shape)
            start += part.nbytes
            return jnp.asarray(part)

        return jax.tree.map(take, self._state)

    def write(self, start: int, rows: Any, state: Any) -> None:
        """Write rows from number `start` on, and then where the run stands after them."""
        if not self._begun:
            self._archive.begin()
            self._begun = True
        for name, x in zip(self._names, jax.tree.leaves(rows), strict=True):
            if len(x):
                self._archive.arrays[name][start : start + len(x)] = x
        self._archive.flush()
        self._written += 1
        count = self._written.to_bytes(8, "little")
        body = b"".join(np.asarray(x).tobytes() for x in jax.tree.leaves(state))
        copy = count + hashlib.sha256(count + body).digest() + body
        self._archive.arrays["resume"][self._written % 2] = np.frombuffer(copy, np.uint8)
        self._archive.flush()

    def read(self) -> Any:
        """All rows, as arrays that read what is indexed."""
        self._archive.end()
        return jax.tree.unflatten(self._structure, [self._archive.arrays[name] for name in self._names])
