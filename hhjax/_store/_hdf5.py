"""An HDF5 file."""

import importlib
from pathlib import Path
from typing import Any

import numpy as np

from ._archive import AbstractArchive, Layout

_NO_VARIABLE = "This is a netCDF dimension but not a netCDF variable.{:10d}"  # netCDF's own words


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

    def __init__(self, path: Path):
        self._path = path
        self._open("r")

    def _open(self, mode: str) -> None:
        self._file = _h5py().File(self._path, mode)
        self.attrs = dict(self._file.attrs)
        self.arrays = {name: x for name, x in self._file.items()}

    def begin(self) -> None:
        self._file.close()
        self._open("r+")

    def flush(self) -> None:
        self._file.flush()

    def end(self) -> None:
        self._file.close()
        self._open("r")


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
        file[dim].make_scale(_NO_VARIABLE.format(size))
    elif not file[dim].is_scale:
        file[dim].make_scale(dim)
