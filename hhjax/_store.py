"""Where the chunks of a sweep go: into memory, or into files that outlive the process."""

import hashlib
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np


class _Memory:
    """Arrays in the memory of the host."""

    def __init__(self, one: Any, points: int):
        self.arrays = jax.tree.map(lambda x: np.empty((points,) + x.shape, x.dtype), one)

    def has(self, where: np.ndarray) -> bool:
        return False

    def write(self, where: np.ndarray, chunk: Any) -> None:
        jax.tree.map(lambda whole, part: whole.__setitem__(where, part), self.arrays, chunk)

    def read(self) -> Any:
        return self.arrays


class _Folder:
    """One `.npy` file for each array, and one that says which points are done."""

    def __init__(self, folder: Path, one: Any, points: int, fingerprint: str):
        folder.mkdir(parents=True, exist_ok=True)
        mark = folder / "fingerprint.txt"
        if mark.exists() and mark.read_text() != fingerprint:
            raise ValueError(f"`folder` {folder} holds another sweep: give a new one, or delete it.")
        new = not mark.exists()

        def file(name: str, shape: tuple[int, ...], dtype: Any) -> np.memmap:
            mode = "w+" if new else "r+"
            return np.lib.format.open_memmap(folder / f"{name}.npy", mode, np.dtype(dtype), shape)

        self.done = file("done", (points,), bool)
        paths, structure = jax.tree_util.tree_flatten_with_path(one)
        names = [jax.tree_util.keystr(p).strip(".[]'").replace("']['", "_") for p, _ in paths]
        safe = ["".join(c if c.isalnum() else "_" for c in name) for name in names]
        arrays = [
            file(f"{i}_{name}", (points,) + x.shape, x.dtype)
            for i, (name, (_, x)) in enumerate(zip(safe, paths))
        ]
        self.arrays = jax.tree.unflatten(structure, arrays)
        mark.write_text(fingerprint)

    def has(self, where: np.ndarray) -> bool:
        return bool(self.done[where].all())

    def write(self, where: np.ndarray, chunk: Any) -> None:
        jax.tree.map(lambda whole, part: whole.__setitem__(where, part), self.arrays, chunk)
        for whole in jax.tree.leaves(self.arrays):
            whole.flush()
        self.done[where] = True  # only once everything else is on disk
        self.done.flush()

    def read(self) -> Any:
        return self.arrays


def open_store(
    folder: str | Path | None, one: Any, points: int, inputs: Any, settings: str
) -> _Memory | _Folder:
    """Room for `points` results of the shapes of `one`, on disk if there is a `folder`.

    **Raises:** `ValueError` if the folder holds results of other `inputs`.
    """
    if folder is None:
        return _Memory(one, points)
    digest = hashlib.sha256(f"{points} {jax.tree.structure(one)} {settings}".encode())
    for x in jax.tree.leaves(inputs):
        if eqx.is_array_like(x):
            digest.update(np.asarray(x).tobytes())
    return _Folder(Path(folder), one, points, digest.hexdigest())
