"""Arrays on disk as a folder of `.npy` files."""

import copy
import json
import math
import re
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from .archives import AbstractArchive, Layout, lock, move, OnDisk, put
from .chunks import Grid
from .labels import Labelled

_ABOUT, _CHECKS, _RESUME = "about.json", "checks.npy", "resume.npy"


class NpyArchive(AbstractArchive):
    """One `.npy` file for each array, `about.json`, which is made last, and `checks.npy`.

    That has a row for each chunk, once it is written: the CRC-32 of the chunk of each array, and that of
    the row. Points are counted flat, so that processes may share them out as they like.
    """

    shared = True

    @staticmethod
    def exists(path: Path) -> bool:
        if path.exists() and not path.is_dir():
            raise ValueError(f"`folder` must be new or a folder, got the file {str(path)!r}.")
        if (path / _ABOUT).exists():
            return True
        if path.is_dir() and any(not re.fullmatch("[0-9a-f]{8}.new", x.name) for x in path.iterdir()):
            raise ValueError(
                f"`folder` must be new, empty, or what hh.simulate_to or hh.sweep_to wrote, and nothing was "
                f"written to it: got {str(path)!r}, which holds other files."
            )
        return False

    @staticmethod
    def _make(part: Path, layout: Layout) -> None:
        part.mkdir()
        empty = lambda name, dtype, shape: np.lib.format.open_memmap(part / name, "w+", dtype, shape)
        for name, x in layout.variables.items():
            empty(f"{name}.npy", np.dtype(x.values.dtype), x.shape)
        empty(_CHECKS, np.dtype(np.uint32), (layout.grid.total, len(layout.variables) + 1))
        if layout.resume:
            empty(_RESUME, np.dtype(np.uint8), (2, layout.resume))
        for name, x in layout.coords.items():
            np.save(part / f"{name}.npy", x.values)
        arrays = {name: {"dims": x.dims, **x.attrs} for name, x in (layout.variables | layout.coords).items()}
        about = {
            "attrs": layout.every_attrs,
            "chunk": layout.grid.chunk[0],
            "variables": list(layout.variables),
            "arrays": arrays,
        }
        text = json.dumps(about, indent=1, ensure_ascii=False)
        (part / _ABOUT).write_text(text, encoding="utf-8")

    @staticmethod
    def _publish(part: Path, path: Path) -> None:
        if not path.is_dir():
            part.rename(path)
            return
        for file in sorted(part.iterdir(), key=lambda file: file.name == _ABOUT):
            move(file, path / file.name)

    def __init__(self, path: Path):
        about = json.loads((path / _ABOUT).read_text(encoding="utf-8"))
        self.path, self.attrs = path, about["attrs"]
        self._names, self._about = about["variables"], about["arrays"]
        self._maps = {name: self._map(name) for name in self._names}
        self._shown, self._start, self._lock = self._maps, 0, None
        shape = self._maps["done"].shape
        self._lead, self.grid = len(shape), Grid((math.prod(shape),), (int(about["chunk"]),))
        self.look()

    def _map(self, name: str) -> np.ndarray:
        return np.load(self.path / f"{name}.npy", mmap_mode="r")

    def look(self) -> None:
        self._checks = np.load(self.path / _CHECKS)
        if self._checks.shape != (self.grid.total, len(self._names) + 1):
            raise ValueError(f"{_CHECKS} has another shape.")
        self.done = np.array([row.any() and self._is_whole(k) for k, row in enumerate(self._checks)])

    def _is_whole(self, number: int) -> bool:
        row = self._checks[number]
        return bool(row[-1] == _check(row[:-1], number))

    def portion(self, start: int, stop: int) -> "NpyArchive":
        """The same with some of the points alone, in one row."""
        one = copy.copy(self)
        inner = lambda x: x.reshape((self.grid.shape[0],) + x.shape[self._lead :])[start:stop]
        one._shown, one._lead, one._start = {name: inner(x) for name, x in self._maps.items()}, 1, start
        return one

    def labelled(self) -> tuple[dict[str, Labelled], dict[str, Labelled]]:
        variables, coords = {}, {}
        for name, about in self._about.items():
            attrs = dict(about)
            dims = tuple(attrs.pop("dims"))
            if name in self._shown:
                x = self._shown[name]
                variables[name] = Labelled(dims, OnDisk(self, name, x.shape, x.dtype), attrs)
            else:
                coords[name] = Labelled(dims, np.array(self._map(name)), attrs)
        return variables, coords

    def copies(self) -> list[bytes]:
        path = self.path / _RESUME
        return [copy.tobytes() for copy in np.load(path)] if path.exists() else []

    def begin(self, *, alone: bool = True) -> None:
        if alone:
            self._lock = open(self.path / _ABOUT, "r+b")
            lock(self._lock, self.path)
        self.look()

    def write(self, number: int, arrays: dict[str, np.ndarray]) -> None:
        start, _ = self.grid.span(number)
        row = []
        for name, x in arrays.items():
            x = np.ascontiguousarray(x, self._maps[name].dtype)
            self._put(name, x.reshape(-1).view(np.uint8).data, start * x[:1].nbytes)
            row.append(_crc32(x))
        row = np.array(row, np.uint32)
        row = np.append(row, np.uint32(_check(row, number)))
        self._put("checks", row.data, number * row.nbytes)

    def write_copy(self, k: int, copy: bytes) -> None:
        self._put("resume", copy, k * len(copy))

    def _put(self, name: str, data: Any, start: int) -> None:
        with open(self.path / f"{name}.npy", "r+b", buffering=0) as file:
            np.lib.format.read_magic(file)
            np.lib.format.read_array_header_1_0(file)
            put(file, data, file.tell() + start)

    def close(self) -> None:
        if self._lock is not None:
            self._lock.close()

    def _take(self, name: str, index: Any) -> Any:
        x, whole = self._shown[name], self._maps[name].reshape(-1)
        each = whole.size // max(1, self.grid.shape[0])
        for number in self.grid.read_by(index, x.shape, self._lead, self._start):
            start, stop = self.grid.span(number)
            check = _crc32(whole[start * each : stop * each])
            row = self._checks[number]
            if row.any() and not (self._is_whole(number) and row[self._names.index(name)] == check):
                raise ValueError(f"{name}.npy is not what was written.")
        return x[index]


def _crc32(x: np.ndarray, start: int = 0) -> int:
    return zlib.crc32(x.reshape(-1).view(np.uint8).data, start)


def _check(row: np.ndarray, number: int) -> int:
    return _crc32(row, number)
