"""Which archive a path stands for, and whether it holds what is wanted."""

import functools
import hashlib
import importlib.util
import inspect
import re
import types
from collections.abc import Iterator
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


def fingerprint(inputs: Any) -> str:
    """A digest of all that a tree holds: types by their names, static fields, arrays, functions by their code
    and what it refers to outside of them."""
    told = eqx.tree_pformat(inputs, width=1000, short_arrays=True)
    digest = hashlib.sha256(_without_addresses(told))
    for leaf in jax.tree.leaves(inputs):
        for part in _parts(leaf, set()):
            digest.update(part)
    return digest.hexdigest()


def _without_addresses(text: str) -> bytes:
    return re.sub(" at 0x[0-9a-f]+", "", text).encode()


def _parts(x: Any, seen: set[int]) -> Iterator[bytes]:
    """What a fingerprint is made of: the bytes of an array, or the code of a function."""
    if isinstance(x, functools.partial):
        x = x.func, x.args, x.keywords
    leaves = jax.tree.leaves(x)
    if len(leaves) != 1 or leaves[0] is not x:
        for leaf in leaves:
            yield from _parts(leaf, seen)
    elif eqx.is_array_like(x):
        if jnp.issubdtype(jnp.result_type(x), jax.dtypes.prng_key):
            yield str(jax.random.key_impl(x)).encode()
            x = jax.random.key_data(x)
        yield np.asarray(x).tobytes()
    elif isinstance(x, types.CodeType):
        yield x.co_code + repr(x.co_names).encode()
        yield from _parts(x.co_consts, seen)
    elif callable(x) and id(x) not in seen:
        seen.add(id(x))
        fn = inspect.unwrap(x)
        cells = [cell.cell_contents for cell in getattr(fn, "__closure__", None) or ()]
        for part in (getattr(fn, "__code__", ()), getattr(fn, "__defaults__", None), cells):
            yield from _parts(part, seen)
    else:
        x = sorted(map(repr, x)) if isinstance(x, (set, frozenset)) else x
        yield _without_addresses(repr(x))


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
