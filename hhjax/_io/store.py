"""What lies at a folder: the kind of archive, whose it is, and what says whether its inputs were the same."""

import functools
import hashlib
import importlib.util
import inspect
import math
import re
import time
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .archives import AbstractArchive, as_errors_of, as_write_errors, contents, Layout
from .chunks import chunk_shape, Grid, MOST_BYTES
from .hdf5_file import Hdf5Archive
from .labels import Labelled
from .npy_folder import NpyArchive
from .zarr_group import ZarrArchive

_KINDS: dict[str, type[AbstractArchive]] = {".zarr": ZarrArchive, ".h5": Hdf5Archive, ".hdf5": Hdf5Archive}


def kind_of(folder: Any) -> type[AbstractArchive]:
    """The kind of archive that a path names.

    **Raises:** `TypeError` and `ValueError` for what is no path; `ImportError` that says what to install.
    """
    if not isinstance(folder, (str, Path)):
        raise TypeError(f"`folder` must be a path, got {folder!r}.")
    if isinstance(folder, str) and not folder.strip():
        raise ValueError(f"`folder` must name a folder or a file, got {folder!r}.")
    suffix = Path(folder).suffix
    kind = _KINDS.get(suffix.lower(), NpyArchive)
    if kind.package is not None and importlib.util.find_spec(kind.package) is None:
        raise ImportError(
            f"`folder` ending in {suffix} needs {kind.package}: pip install 'hhjax[{kind.extra}]'."
        )
    return kind


def check_folder(folder: Any) -> None:
    """Refuse what cannot be written to.

    **Raises:** `TypeError`; `ImportError` that says what to install; `ValueError` for several processes, and
    for files of others in its place.
    """
    kind = kind_of(folder)
    if not kind.shared and jax.process_count() > 1:
        raise ValueError(
            f"`folder` ending in {Path(folder).suffix} is written by one process: under jax.distributed give "
            f"one without an ending, got {str(folder)!r}."
        )
    kind.exists(Path(folder))


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


def read_archive(path: Path) -> AbstractArchive:
    """What is at `path`, for reading.

    **Raises:** `ValueError` if it is damaged.
    """
    with as_errors_of(path):
        archive = kind_of(path)(path)
        if archive.attrs.get("contents") != contents(*archive.labelled(), archive.attrs):
            raise ValueError("what it tells of its arrays, or their coordinates, is not what was written.")
    return archive


def open_archive(folder: str | Path, layout: Layout, digest: str, what: str) -> AbstractArchive:
    """The archive at `folder`, new or with what was written before.

    **Raises:** `ValueError` if it holds results of other inputs than those of `digest`.
    """
    path, kind = Path(folder), kind_of(folder)
    with as_write_errors(folder):
        if not kind.exists(path) and jax.process_index() == 0:
            kind.create(path, layout._replace(attrs=layout.attrs | {"fingerprint": digest}))
    while not kind.exists(path):  # the first process of the job makes it
        time.sleep(0.05)
    archive = read_archive(path)
    if archive.attrs.get("fingerprint") != digest:
        raise ValueError(f"`folder` {folder} holds another {what}: give a new one, or delete it.")
    return archive


def lay_out(
    folder: str | Path,
    variables: dict[str, Labelled],
    lead: tuple[str, ...],
    shape: tuple[int, ...],
    count: int,
    coords: dict[str, Labelled],
    attrs: dict[str, Any],
) -> Layout:
    """The layout of arrays whose leading axes are those of a sweep, or time, of `shape`, with about `count`
    points or rows in a chunk."""
    about = {"long_name": "whether it has been written"}
    variables = variables | {"done": Labelled(lead, jax.ShapeDtypeStruct(shape, bool), about)}
    each = lambda x: math.prod(x.shape[len(shape) :]) * np.dtype(x.values.dtype).itemsize
    most = min(count, MOST_BYTES // sum(map(each, variables.values())))
    places = (math.prod(shape),) if kind_of(folder).shared else shape  # in one row, to be shared out
    return Layout(variables, Grid(places, chunk_shape(places, most)), coords, attrs)
