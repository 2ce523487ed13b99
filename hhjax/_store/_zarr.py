"""A Zarr group in a folder."""

import importlib
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from ._archive import AbstractArchive, Layout


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

    def __init__(self, path: Path):
        group = _zarr().open_group(str(path), mode="r+")
        self.attrs, self.arrays = dict(group.attrs), dict(group.arrays())


def _zarr() -> Any:
    return importlib.import_module("zarr")
