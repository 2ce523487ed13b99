"""Which archive a path stands for, and whether it holds what is wanted."""

import hashlib
import importlib.util
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ._archive import AbstractArchive, Layout
from ._hdf5 import Hdf5Archive
from ._npy import NpyArchive
from ._zarr import ZarrArchive

_KINDS: dict[str, type[AbstractArchive]] = {".zarr": ZarrArchive, ".h5": Hdf5Archive, ".hdf5": Hdf5Archive}


def check_folder(folder: Any) -> None:
    """Refuse what names no archive, or one whose package is not there.

    **Raises:** `TypeError`; `ImportError` that says what to install; `ValueError` for several processes.
    """
    if folder is None:
        return
    if not isinstance(folder, (str, Path)):
        raise TypeError(f"`folder` must be a path, got {folder!r}.")
    kind = _kind(folder)
    suffix = Path(folder).suffix
    if kind.package is not None and importlib.util.find_spec(kind.package) is None:
        raise ImportError(
            f"`folder` ending in {suffix} needs {kind.package}: pip install 'hhjax[{kind.extra}]'."
        )
    if jax.process_count() > 1 and not kind.shared:
        raise ValueError(
            f"`folder` ending in {suffix} is written by one process: under jax.distributed give one without "
            f"an ending, got {str(folder)!r}."
        )


def _kind(folder: str | Path) -> type[AbstractArchive]:
    return _KINDS.get(Path(folder).suffix.lower(), NpyArchive)


def fingerprint(what: str, inputs: Any) -> str:
    """A digest of all arrays in `inputs` and of `what`, which tells the rest."""
    digest = hashlib.sha256(what.encode())
    for x in jax.tree.leaves(inputs):
        if eqx.is_array_like(x):
            x = jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x
            digest.update(np.asarray(x).tobytes())
    return digest.hexdigest()


def open_archive(folder: str | Path, layout: Layout, digest: str, what: str) -> AbstractArchive:
    """The archive at `folder`, new or with what was written before.

    **Raises:** `ValueError` if it holds results of other inputs than those of `digest`.
    """
    path, kind = Path(folder), _kind(folder)
    if not kind.exists(path):
        kind.create(path, layout._replace(attrs=layout.attrs | {"fingerprint": digest}))
    archive = kind(path)
    if archive.attrs.get("fingerprint") != digest:
        raise ValueError(f"`folder` {folder} holds another {what}: give a new one, or delete it.")
    return archive
