"""Arrays on disk as an HDF5 file."""

import importlib
import io
import itertools
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .archives import AbstractArchive, apart, Layout, lock, move, OnDisk, put
from .chunks import Grid
from .labels import Labelled

_OWN = ("CLASS", "NAME", "DIMENSION_LIST", "REFERENCE_LIST")  # attributes of HDF5 itself


_NO_VARIABLE = "This is a netCDF dimension but not a netCDF variable."  # netCDF's own words


class Hdf5Archive(AbstractArchive):
    """One dataset for each array, with dimension scales, as h5netcdf and xarray read them.

    HDF5 lays the file out, with a place for every chunk and checksums of its own (Fletcher-32 of chunks).
    Chunks are then written to their places past HDF5, which does not survive a full disk, nor a process
    that is killed while it writes.
    """

    package, extra = "h5py", "hdf5"

    @staticmethod
    def exists(path: Path) -> bool:
        if path.is_dir():
            raise ValueError(f"`folder` must be new or an HDF5 file, got the folder {str(path)!r}.")
        return path.exists()

    @staticmethod
    def _make(part: Path, layout: Layout) -> None:
        with _Sparse(part, "x+b") as plan, _h5py().File(plan, "w", libver=("v110", "v110")) as file:
            file.attrs.update(layout.every_attrs)
            for name, x in layout.variables.items():
                _make_dataset(file, name, x.shape, np.dtype(x.values.dtype), layout.chunk(name))
            if layout.resume:
                _make_dataset(file, "resume", (2, layout.resume), np.dtype(np.uint8), None)
            for name, x in layout.coords.items():
                file.create_dataset(name, data=x.values)
            everything = layout.variables | layout.coords
            for x in everything.values():
                for dim, size in zip(x.dims, x.shape):
                    _make_scale(file, dim, size)
            for name, x in everything.items():
                file[name].attrs.update(x.attrs)
                for k, dim in enumerate(x.dims):
                    if dim != name:
                        file[name].dims[k].attach_scale(file[dim])
        if plan.error is not None:
            raise plan.error

    @staticmethod
    def _publish(part: Path, path: Path) -> None:
        move(part, path)

    def __init__(self, path: Path):
        self.path = path
        self._raw: io.FileIO | None = None
        self._file = _h5py().File(path, "r")
        self.attrs = {key: getattr(x, "item", lambda: x)() for key, x in self._file.attrs.items()}
        done = self._file["done"]
        self.grid = Grid(done.shape, done.chunks)
        self.look()

    def labelled(self) -> tuple[dict[str, Labelled], dict[str, Labelled]]:
        found = {}
        for name, x in self._file.items():
            dims = tuple(scale[0].name[1:] if len(scale) else name for scale in x.dims)
            attrs = {key: value for key, value in x.attrs.items() if key not in _OWN}
            if not bytes(x.attrs.get("NAME", b"")).startswith(_NO_VARIABLE.encode()) and name != "resume":
                found[name] = Labelled(dims, OnDisk(self, name, x.shape, x.dtype), attrs)
        return apart(found, self.attrs)

    def copies(self) -> list[bytes]:
        if self._raw is not None:
            start, size = self._resume
            return [_get(self._raw, size, start + k * size) for k in range(2)] if size else []
        return [copy.tobytes() for copy in self._file["resume"]] if "resume" in self._file else []

    def begin(self, *, alone: bool = True) -> None:
        self._places: dict[str, _Places] = {}
        self._resume = 0, 0
        for name, x in self._file.items():
            if name == "resume":
                self._resume = x.id.get_offset(), x.shape[1]
            elif x.chunks is not None:
                self._places[name] = it = _Places(x.shape, x.chunks, x.dtype, {})
                x.id.chunk_iter(lambda chunk: it.starts.update({chunk.chunk_offset: chunk.byte_offset}))
        self._file.close()
        self._raw = open(self.path, "r+b", buffering=0)
        lock(self._raw, self.path)
        self.look()

    def look(self) -> None:
        if self._raw is None:
            self.done = self.grid.all_of(lambda box: self._file["done"][box])
        else:
            self.done = np.array([self._is_done(self._raw, number) for number in range(self.grid.total)])

    def _is_done(self, raw: io.FileIO, number: int) -> bool:
        box, it = self.grid.box(number), self._places["done"]
        data = _get(raw, math.prod(it.chunk) + 4, it.starts[tuple(part.start for part in box)])
        chunk = np.frombuffer(data[:-4], bool).reshape(it.chunk)
        return _with_sum(data[:-4]) == data and bool(chunk[tuple(slice(x.stop - x.start) for x in box)].all())

    def write(self, number: int, arrays: dict[str, np.ndarray]) -> None:
        box = self.grid.box(number)
        for name, x in arrays.items():
            it, lead = self._places[name], len(box)
            x = x.reshape(tuple(part.stop - part.start for part in box) + x.shape[1:])
            inner = [range(0, size, chunk) for size, chunk in zip(it.shape[lead:], it.chunk[lead:])]
            for start in itertools.product(*inner):
                cut = tuple(slice(k, k + size) for k, size in zip(start, it.chunk[lead:]))
                part = x[(slice(None),) * lead + cut]
                chunk = np.zeros(it.chunk, it.dtype)
                chunk[tuple(map(slice, part.shape))] = part
                place = it.starts[tuple(x.start for x in box) + start]
                put(self._raw, _with_sum(chunk.tobytes()), place)

    def write_copy(self, k: int, copy: bytes) -> None:
        put(self._raw, copy, self._resume[0] + k * len(copy))

    def close(self) -> None:
        self._file.close()
        if self._raw is not None:
            self._raw.close()

    def _take(self, name: str, index: Any) -> Any:
        return self._file[name][index]


def _get(file: io.FileIO, size: int, start: int) -> bytes:
    file.seek(start)
    return file.read(size)


class _Places(NamedTuple):
    """Where the chunks of an array are in the file."""

    shape: tuple[int, ...]
    chunk: tuple[int, ...]
    dtype: np.dtype
    starts: dict[tuple[int, ...], int]


class _Sparse(io.FileIO):
    """A new file in which zeros stay holes, so that a layout takes little room.

    HDF5 does not survive an error: what goes wrong is kept in `error` for afterwards.
    """

    error: OSError | None = None

    def write(self, data: Any) -> int:
        start = self.tell()
        data = np.frombuffer(data, np.uint8)
        try:
            if data.any():
                super().write(data)
        except OSError as error:
            self.error = error
        self.seek(start + data.size)
        return data.size


def _with_sum(data: bytes) -> bytes:
    """A chunk as HDF5's filter fletcher32 stores it: with the sums of its big-endian words at the end."""
    words = np.frombuffer(data + b"\0" * (len(data) % 2), ">u2")
    size = 2**14  # of a row, for sums that fit into 64 bits
    rows = np.pad(words, (-len(words) % size, 0)).reshape(-1, size).astype(np.int64)
    once, each = rows.sum(1), rows @ np.arange(size, 0, -1)
    later = size * np.arange(len(rows))[::-1]
    sums = once.sum(), (each + once % 65535 * (later % 65535)).sum()
    low, high = (int(x) % 65535 or 65535 * words.any() for x in sums)
    return data + int(high << 16 | low).to_bytes(4, "little")


def _h5py() -> Any:
    return importlib.import_module("h5py")


def _make_dataset(
    file: Any, name: str, shape: tuple[int, ...], dtype: np.dtype, chunks: tuple[int, ...] | None
) -> None:
    """An empty dataset that has its places, as h5py's own functions do not make it."""
    h5py = _h5py()
    options = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    if chunks is not None:
        options.set_chunk(chunks)
        options.set_fletcher32()
    options.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    options.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    kind, space = h5py.h5t.py_create(dtype, logical=True), h5py.h5s.create_simple(shape)
    h5py.h5d.create(file.id, name.encode(), kind, space, dcpl=options)


def _make_scale(file: Any, dim: str, size: int) -> None:
    if dim not in file:
        file.create_dataset(dim, (size,), ">f4")
        file[dim].make_scale(f"{_NO_VARIABLE}{size:10d}")
    elif not file[dim].is_scale:
        file[dim].make_scale(dim)
