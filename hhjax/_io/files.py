"""Anything made of modules and arrays in one file, and back."""

import contextlib
import datetime
import json
import os
import platform
import zipfile
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import numpy as np

from .tree import read, Writer

_FORMAT, _VERSION = "hhjax", 1


_HEADER = "header.json"


_OWN = ("saved", "versions")


def save(path: str | os.PathLike, thing: Any, **notes: Any) -> None:
    """Keep a solution, a fit, a sweep, a network or anything made of such in one file.

    ```python
    hh.save("run.npz", run, network=network, stimulus=10.0, remark="control")
    run = hh.load("run.npz")
    hh.load_notes("run.npz")["network"]
    ```

    The file is an `.npz`: `numpy.load` opens its arrays under names such as `ys.V`, and
    `header.json` in it tells the rest in plain text. A solution carries the name of its solver
    and dt, a fit and a sweep the model as well; add what else you will want to know as notes.

    **Arguments:**

    - `path`: ends in `.npz`; an older file of that name is replaced once the new one is whole.
    - `thing`: a module, array, number, string, `None`, key, or a list, tuple, dict (by strings),
        named tuple or dataclass of such. Functions and classes of your own are kept by name:
        define them at the top level of a module.
    - `notes`: more of the same, by name.

    **Raises:** `TypeError` that names what cannot be kept; `ValueError` for another suffix and
    for notes named `saved` or `versions`, which every file has; `FileNotFoundError` for a folder
    that does not exist.
    """
    path = Path(path)
    if path.suffix != ".npz":
        raise ValueError(f"`path` must end in .npz, got {path.name!r}.")
    if not path.absolute().parent.is_dir():
        raise FileNotFoundError(f"`path` is in a folder that does not exist: {path.parent}")
    if taken := set(notes) & set(_OWN):
        raise ValueError(f"`notes` may not be named {', '.join(map(repr, sorted(taken)))}.")
    writer = Writer()
    header = {
        "format": _FORMAT,
        "version": _VERSION,
        "saved": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "versions": _versions(),
        "thing": writer.write(thing),
        "notes": {name: writer.write(x, ("notes", name)) for name, x in notes.items()},
    }
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with zipfile.ZipFile(unfinished, "w") as file:
            file.writestr(_HEADER, json.dumps(header, indent=1, ensure_ascii=False, allow_nan=False))
            for name, values in writer.arrays.items():
                with file.open(f"{name}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, values, allow_pickle=False)
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def load(path: str | os.PathLike, *, allow: Sequence[Any] = ()) -> Any:
    """What [`hh.save`][] kept, identical to the last bit.

    Safe for files of strangers: nothing in them is run, and no module is imported because they
    say so, but for those of hhjax, jax, equinox, diffrax, optimistix, lineax and optax. Equinox
    modules of your own, such as channels, are found in the modules that you have imported.

    **Arguments:**

    - `path`: the file.
    - `allow`: classes and functions to take where the file names one like it: your own
        functions, and classes that have moved since.

    **Returns:** the thing, with float64 arrays also where `jax_enable_x64` is off.

    **Raises:** `FileNotFoundError`; `ValueError` for other files, damaged ones, those of newer
    versions, and classes that are missing, refused or have other fields than the file.
    """
    with _opened(path) as (header, array):
        return read(header["thing"], array, allow)


def load_notes(path: str | os.PathLike, *, allow: Sequence[Any] = ()) -> dict[str, Any]:
    """The notes that [`hh.save`][] kept with a thing, by name.

    **Arguments:** as those of [`hh.load`][].

    **Returns:** the notes, and besides `saved`, the time in UTC, and `versions`, a dict of those
    of Python and of packages.
    """
    with _opened(path) as (header, array):
        notes = {name: read(x, array, allow, ("notes", name)) for name, x in header["notes"].items()}
        return notes | {name: header[name] for name in _OWN}


@contextlib.contextmanager
def _opened(path: str | os.PathLike) -> Iterator[tuple[dict, Any]]:
    """The header of a file, and a function from names to arrays."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"`path` does not exist or is not a file: {path}")
    try:
        with zipfile.ZipFile(path) as file:
            header = json.loads(file.read(_HEADER))
            if header["format"] != _FORMAT:
                raise KeyError("format")
    except (zipfile.BadZipFile, KeyError, TypeError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"`path` must be a file of hh.save, which {path.name} is not.") from error
    if header["version"] > _VERSION:
        raise ValueError(
            f"{path.name} is from hhjax {header['versions']['hhjax']}: install that or a newer one."
        )
    with zipfile.ZipFile(path) as file, jax.enable_x64(True):

        def array(name: str) -> np.ndarray:
            with file.open(f"{name}.npy") as member:
                return np.lib.format.read_array(member, allow_pickle=False)

        try:
            yield header, array
        except (KeyError, zipfile.BadZipFile) as error:
            raise ValueError(f"{path.name} is damaged: {' '.join(map(str, error.args))}") from error


def _versions() -> dict[str, str]:
    from .._version import __version__

    packages = ("jax", "jaxlib", "equinox", "diffrax", "optimistix", "optax", "numpy")
    known = {"hhjax": __version__, "python": platform.python_version()}
    return known | {name: metadata.version(name) for name in packages}
