"""A folder of `.npy` files, and one of JSON that says what they are."""

import json
import os
from pathlib import Path

import numpy as np

from ._archive import AbstractArchive, Layout

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

    def __init__(self, path: Path):
        about = json.loads((path / _ABOUT).read_text(encoding="utf-8"))
        self.attrs, self._path, self._names = about["attrs"], path, about["variables"]
        self._open()

    def _open(self) -> None:
        self.arrays = {name: np.load(self._path / f"{name}.npy", mmap_mode="r+") for name in self._names}

    def whole(self, name: str) -> np.ndarray:
        return self.arrays[name]  # which is read where it is looked at

    def flush(self) -> None:
        for array in self.arrays.values():
            array.flush()
        self._open()  # and let go of the memory of what was written
