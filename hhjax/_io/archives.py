"""Arrays on disk: a folder of `.npy` files, a Zarr group or an HDF5 file."""

import abc
import importlib
import json
import math
import os
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np

from .labels import Labelled

_MOST_BYTES = 64_000_000  # of one chunk


class Layout(NamedTuple):
    """What is in an archive.

    **Fields:** `variables`: arrays to be written, as shapes and dtypes; `chunks`: the shape in which
    each is stored; `coords`: arrays that are known; `attrs`: of the whole.
    """

    variables: dict[str, Labelled]
    chunks: dict[str, tuple[int, ...]]
    coords: dict[str, Labelled]
    attrs: dict[str, Any]

    @property
    def every_attrs(self) -> dict[str, Any]:
        """The attributes, with `coordinates`, which tells netCDF's readers what is no dimension's own."""
        others = [name for name, x in self.coords.items() if x.dims != (name,)]
        return self.attrs | ({"coordinates": " ".join(others)} if others else {})


class AbstractArchive(abc.ABC):
    """Arrays by name, `arrays`, which take values by index, and the attributes of the whole, `attrs`."""

    package: ClassVar[str | None] = None  # that is needed, and the extra that brings it
    extra: ClassVar[str] = ""
    shared: ClassVar[bool] = False  # whether several processes may write it

    arrays: dict[str, Any]
    attrs: dict[str, Any]

    @staticmethod
    @abc.abstractmethod
    def create(path: Path, layout: Layout) -> None:
        """Make the files, all or nothing."""

    @abc.abstractmethod
    def __init__(self, path: Path, mode: Literal["r", "r+"] = "r+"):
        """Open what `create` made, `mode` "r" for reading alone."""

    @abc.abstractmethod
    def labelled(self) -> tuple[dict[str, Labelled], dict[str, Labelled]]:
        """Variables and coordinates by name, each of which reads what is indexed."""

    @staticmethod
    def exists(path: Path) -> bool:
        """Whether there is something already."""
        return path.exists()

    def begin(self) -> None:
        """Make ready for writing."""

    def flush(self) -> None:
        """Hand everything written over to the operating system."""

    def end(self) -> None:
        """Close for writing; `arrays` are read after."""

    def close(self) -> None:
        """Let go of the files; `arrays` are not read after."""

    def whole(self, name: str) -> np.ndarray:
        """An array in memory."""
        return np.asarray(self.arrays[name][...])


def chunk_shape(shape: tuple[int, ...], count: int, itemsize: int) -> tuple[int, ...]:
    """The chunks of an array that is written about `count` numbers at a time.

    They hold neighbours in memory's order, and at most 64 MB.
    """
    most = max(1, min(count, _MOST_BYTES // itemsize))
    chunks: list[int] = []
    for size in reversed(shape):
        chunks.insert(0, max(1, min(size, most)))
        most = most // size if 0 < size <= most else 1
    return tuple(chunks)


def rectangles(shape: tuple[int, ...], start: int, stop: int) -> Iterator[tuple]:
    """Indices of the rectangles that make up the places `start` to `stop` of an array, in their order."""
    if start >= stop:
        return
    size = math.prod(shape[1:])
    row, inside = divmod(start, size)
    if inside == 0 and stop - start >= size:
        cut = stop // size * size
        yield (slice(row, stop // size),)
    else:
        cut = min(stop, (row + 1) * size)
        yield from ((row, *rest) for rest in rectangles(shape[1:], inside, cut - row * size))
    yield from rectangles(shape, cut, stop)


def _apart(found: dict[str, Labelled], attrs: dict[str, Any]) -> tuple[dict, dict]:
    """Variables, and coordinates, which are a dimension's own or named in the attributes."""
    others = attrs.get("coordinates", "").split()
    known = {name for name, x in found.items() if x.dims == (name,) or name in others}
    pick = lambda wanted: {name: x for name, x in found.items() if (name in known) is wanted}
    return pick(False), pick(True)


_ABOUT = "about.json"  # which is written last


class NpyArchive(AbstractArchive):
    """One `.npy` file for each array, as memory maps."""

    shared = True

    @staticmethod
    def create(path: Path, layout: Layout) -> None:
        path.mkdir(parents=True, exist_ok=True)
        for name, x in layout.variables.items():
            np.lib.format.open_memmap(path / f"{name}.npy", "w+", np.dtype(x.values.dtype), x.shape)
        for name, x in layout.coords.items():
            np.save(path / f"{name}.npy", x.values)
        arrays = {name: {"dims": x.dims, **x.attrs} for name, x in (layout.variables | layout.coords).items()}
        about = {"attrs": layout.attrs, "variables": list(layout.variables), "arrays": arrays}
        part = path / f"{_ABOUT}.{os.getpid()}"
        part.write_text(json.dumps(about, indent=1, ensure_ascii=False), encoding="utf-8")
        part.replace(path / _ABOUT)

    @staticmethod
    def exists(path: Path) -> bool:
        return (path / _ABOUT).exists()

    def __init__(self, path: Path, mode: Literal["r", "r+"] = "r+"):
        about = json.loads((path / _ABOUT).read_text(encoding="utf-8"))
        self.attrs, self._path = about["attrs"], path
        self._mode: Literal["r", "r+"] = mode
        self._names, self._about = about["variables"], about["arrays"]
        self._open()

    def _open(self) -> None:
        self.arrays = {name: self._load(name) for name in self._names}

    def _load(self, name: str) -> np.ndarray:
        return np.load(self._path / f"{name}.npy", mmap_mode=self._mode)

    def labelled(self) -> tuple[dict[str, Labelled], dict[str, Labelled]]:
        variables, coords = {}, {}
        for name, about in self._about.items():
            attrs = dict(about)
            one = Labelled(tuple(attrs.pop("dims")), self._load(name), attrs)
            (variables if name in self._names else coords)[name] = one
        return variables, coords

    def whole(self, name: str) -> np.ndarray:
        return self.arrays[name]  # which is read where it is looked at

    def flush(self) -> None:
        for array in self.arrays.values():
            array.flush()
        self._open()  # and let go of the memory of what was written


class ZarrArchive(AbstractArchive):
    """One Zarr array for each, with the names of its dimensions, as xarray reads them.

    Zarr replaces a chunk's file as a whole, so that a process may be killed at any time.
    """

    package, extra = "zarr", "zarr"

    @staticmethod
    def create(path: Path, layout: Layout) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(path.name + ".new")
        shutil.rmtree(part, ignore_errors=True)  # of a process that was killed here
        group = _zarr().create_group(str(part), attributes=layout.every_attrs)
        for name, x in layout.variables.items():
            dtype = np.dtype(x.values.dtype)
            group.create_array(
                name,
                shape=x.shape,
                dtype=dtype,
                chunks=layout.chunks[name],
                fill_value=np.nan if dtype.kind == "f" else dtype.type(0),
                dimension_names=x.dims,
                attributes=x.attrs,
            )
        for name, x in layout.coords.items():
            group.create_array(name, data=x.values, dimension_names=x.dims, attributes=x.attrs)
        with warnings.catch_warnings(action="ignore"):  # Zarr 3 has no standard for it yet; xarray wants it
            _zarr().consolidate_metadata(str(part))
        part.replace(path)

    def __init__(self, path: Path, mode: Literal["r", "r+"] = "r+"):
        group = _zarr().open_group(str(path), mode=mode)
        self.attrs, self.arrays = dict(group.attrs), dict(group.arrays())

    def labelled(self) -> tuple[dict[str, Labelled], dict[str, Labelled]]:
        label = lambda x: Labelled(tuple(x.metadata.dimension_names), x, dict(x.attrs))
        return _apart({name: label(x) for name, x in self.arrays.items()}, self.attrs)


def _zarr() -> Any:
    return importlib.import_module("zarr")


_OWN = ("CLASS", "NAME", "DIMENSION_LIST", "REFERENCE_LIST")  # attributes of HDF5 itself


_NO_VARIABLE = "This is a netCDF dimension but not a netCDF variable."  # netCDF's own words


class Hdf5Archive(AbstractArchive):
    """One dataset for each array, with dimension scales, as h5netcdf and xarray read them.

    All chunks get their place in the file when it is made. What is written later moves nothing, so that a
    process may be killed at any time.
    """

    package, extra = "h5py", "hdf5"

    @staticmethod
    def create(path: Path, layout: Layout) -> None:
        h5py = _h5py()
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(path.name + ".new")
        with h5py.File(part, "w") as file:
            file.attrs.update(layout.every_attrs)
            for name, x in layout.variables.items():
                _make_dataset(h5py, file, name, x.shape, np.dtype(x.values.dtype), layout.chunks[name])
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
        part.replace(path)

    def __init__(self, path: Path, mode: Literal["r", "r+"] = "r+"):
        self._path = path
        self._open("r")  # until `begin`: another process may read it as well

    def _open(self, mode: str) -> None:
        self._file = _h5py().File(self._path, mode)
        self.attrs = {key: getattr(x, "item", lambda: x)() for key, x in self._file.attrs.items()}
        self.arrays = {name: x for name, x in self._file.items()}

    def begin(self) -> None:
        self._file.close()
        try:
            self._open("r+")
        except OSError as error:
            raise ValueError(f"`folder` {self._path} is open elsewhere, close it first: {error}") from error

    def labelled(self) -> tuple[dict[str, Labelled], dict[str, Labelled]]:
        found = {}
        for name, x in self.arrays.items():
            dims = tuple(scale[0].name[1:] if len(scale) else name for scale in x.dims)
            attrs = {key: value for key, value in x.attrs.items() if key not in _OWN}
            if not bytes(x.attrs.get("NAME", b"")).startswith(_NO_VARIABLE.encode()):
                found[name] = Labelled(dims, x, attrs)
        return _apart(found, self.attrs)

    def flush(self) -> None:
        self._file.flush()

    def end(self) -> None:
        self._file.close()
        self._open("r")

    def close(self) -> None:
        self._file.close()


def _h5py() -> Any:
    return importlib.import_module("h5py")


def _make_dataset(
    h5py: Any, file: Any, name: str, shape: tuple[int, ...], dtype: np.dtype, chunks: tuple[int, ...]
) -> None:
    """An empty dataset whose chunks have their places, as h5py's own functions do not make it."""
    options = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    options.set_chunk(chunks)
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
