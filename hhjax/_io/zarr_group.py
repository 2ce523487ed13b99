"""Arrays on disk as a Zarr group."""

import importlib
import itertools
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from .archives import AbstractArchive, apart, Layout, lock, OnDisk
from .chunks import chunk_shape, Grid, or_none
from .labels import Labelled

_GROUP = "zarr.json"


class ZarrArchive(AbstractArchive):
    """One Zarr array for each, with the names of its dimensions, as xarray reads them.

    Every chunk ends with its CRC-32C. Zarr replaces a chunk's file as a whole, so that a process may be
    killed at any time.
    """

    package, extra = "zarr", "zarr"

    @staticmethod
    def exists(path: Path) -> bool:
        if path.exists() and not (path / _GROUP).is_file():
            raise ValueError(
                "`folder` must be new, or what hh.simulate_to or hh.sweep_to wrote, and nothing was written: "
                f"got {str(path)!r}, which is no Zarr group."
            )
        return path.exists()

    @staticmethod
    def _make(part: Path, layout: Layout) -> None:
        codecs = importlib.import_module("zarr.codecs")
        options = {"compressors": [codecs.ZstdCodec(), codecs.Crc32cCodec()]}
        with _zarr().config.set({"array.write_empty_chunks": True}):
            group = _zarr().create_group(str(part), attributes=layout.every_attrs, zarr_format=3)
            for name, x in layout.variables.items():
                dtype = np.dtype(x.values.dtype)
                group.create_array(
                    name,
                    shape=x.shape,
                    dtype=dtype,
                    chunks=layout.chunk(name),
                    fill_value=np.nan if dtype.kind == "f" else dtype.type(0),
                    dimension_names=x.dims,
                    attributes=x.attrs,
                    **options,
                )
            if size := layout.resume:
                resume: dict[str, Any] = dict(
                    shape=(2, size), dtype=np.uint8, dimension_names=("copy", "byte")
                )
                group.create_array("resume", chunks=(1, size), **resume, **options)
            for name, x in layout.coords.items():
                chunks = chunk_shape(x.shape, x.values.size)
                group.create_array(
                    name, data=x.values, chunks=chunks, dimension_names=x.dims, attributes=x.attrs, **options
                )
        with warnings.catch_warnings(action="ignore"):  # Zarr 3 has no standard for it yet; xarray wants it
            _zarr().consolidate_metadata(str(part))

    def __init__(self, path: Path):
        self.path, self._lock = path, None
        self._open("r")

    def _open(self, mode: str) -> None:
        with _zarr().config.set({"array.write_empty_chunks": True}):  # what is not there is missing
            group = _zarr().open_group(str(self.path), mode=mode)
            self.attrs, self._arrays = dict(group.attrs), dict(group.arrays())
        self._chunked = set(self.labelled()[0])
        done = self._arrays["done"]
        self.grid = Grid(done.shape, done.chunks)
        self.look()

    def look(self) -> None:
        self.done = self.grid.all_of(lambda box: self._arrays["done"][box])

    def labelled(self) -> tuple[dict[str, Labelled], dict[str, Labelled]]:
        found = {}
        for name, x in self._arrays.items():
            dims = tuple(x.metadata.dimension_names)
            found[name] = Labelled(dims, OnDisk(self, name, x.shape, x.dtype), dict(x.attrs))
        found.pop("resume", None)
        return apart(found, self.attrs)

    def copies(self) -> list[bytes]:
        if "resume" not in self._arrays:
            return []
        read = lambda k: np.asarray(self._arrays["resume"][k]).tobytes()
        return [or_none(lambda: read(k)) or b"damaged" for k in range(2)]

    def begin(self, *, alone: bool = True) -> None:
        self._lock = open(self.path / _GROUP, "r+b")
        lock(self._lock, self.path)
        self._open("r+")

    def write(self, number: int, arrays: dict[str, np.ndarray]) -> None:
        box = self.grid.box(number)
        for name, x in arrays.items():
            self._arrays[name][box] = x.reshape(tuple(part.stop - part.start for part in box) + x.shape[1:])

    def write_copy(self, k: int, copy: bytes) -> None:
        self._arrays["resume"][k] = np.frombuffer(copy, np.uint8)

    def close(self) -> None:
        if self._lock is not None:
            self._lock.close()

    def _take(self, name: str, index: Any) -> Any:
        x, lead = self._arrays[name], len(self.grid.shape)
        for number in self.grid.read_by(index, x.shape, lead) if name in self._chunked else ():
            where = np.unravel_index(number, self.grid.counts)
            inner = [range(-(-size // chunk)) for size, chunk in zip(x.shape[lead:], x.chunks[lead:])]
            for chunk in itertools.product(*([int(k)] for k in where), *inner) if self.done[number] else ():
                key = x.metadata.encode_chunk_key(chunk)
                if not (self.path / name / key).is_file():
                    raise ValueError(f"{name}/{key} is missing.")
        return x[index]


def _zarr() -> Any:
    return importlib.import_module("zarr")
