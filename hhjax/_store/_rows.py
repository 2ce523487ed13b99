"""The rows of a long run, and where it stands."""

import hashlib
import math
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._labels import label_neurons, label_saved, label_times, Labelled
from ._archive import chunk_shape, Layout
from ._open import open_archive

_DIGEST = 32  # bytes of SHA-256
_HEAD = 8 + _DIGEST  # how often was written, and the digest of that and of the state


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
        found = []
        for copy in self._archive.whole("resume"):
            head, body = copy[:_HEAD].tobytes(), copy[_HEAD:].tobytes()
            if hashlib.sha256(head[:8] + body).digest() == head[8:]:
                found.append((int.from_bytes(head[:8], "little"), body))
        if not found:
            return None
        self._written, body = max(found)
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
