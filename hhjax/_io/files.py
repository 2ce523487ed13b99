"""Anything made of modules and arrays in one file, and back."""

import contextlib
import datetime
import json
import math
import os
import platform
import stat
import sys
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from importlib import metadata
from typing import Any, BinaryIO, NoReturn

import jax
import numpy as np

from .._base.arguments import as_path
from .._base.parameters import check_size
from .tree import Misfit, Reader, Writer

_FORMAT, _VERSION = "hhjax", 1


_HEADER = "header.json"


_OWN = ("saved", "versions")


_FIRST = b"PK\x03\x04"
"""What a zip file starts with, unless something stands before it."""


_ARRAYS_AT_LEAST, _HEADER_AT_LEAST = 2**28, 2**24
"""What a file may take in memory in any case, bytes."""


def save(path: str | os.PathLike, thing: Any, **notes: Any) -> None:
    """Keep a solution, a fit, a sweep, a network or anything made of such in one file.

    ```python
    hh.save("run.npz", run, network=network, stimulus=10.0, remark="control")
    run = hh.load("run.npz")
    hh.load_notes("run.npz")["network"]
    ```

    The file is an `.npz`: `numpy.load` opens its arrays under names such as `ys.V`, and
    `header.json` in it says the rest in plain text. A solution has the name of its solver
    and dt, a fit and a sweep also the model. Add what else you want to keep as notes.

    **Arguments:**

    - `path`: ends in `.npz`. An older file of that name is replaced once the new one is whole; a link
        stays a link.
    - `thing`: a module, array, number, string, `None`, key, or a list, tuple, dict (by strings),
        named tuple or dataclass of such. Functions and classes of your own are kept by name:
        define them at the top level of a module, and give them to [`hh.load`][] as `allow`.
    - `notes`: more of the same, by name.

    **Raises:** `TypeError` that names what cannot be kept, such as a masked array or what an earlier
    `hh.load` did not take; `ValueError` for another suffix and
    for notes named `saved` or `versions`, which every file has; `FileNotFoundError` for a folder
    that does not exist.
    """
    path = as_path("path", path)
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
        "checked": True,
        "thing": writer.write(thing),
        "notes": {name: writer.write(x, ("notes", name)) for name, x in notes.items()},
    }
    path = path.resolve() if path.is_symlink() else path
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


def load(path: str | os.PathLike, *, allow: Sequence[Any] = (), limit: int | None = None) -> Any:
    """What [`hh.save`][] kept, identical to the last bit.

    Safe for files from strangers: nothing in them is run and nothing is imported. A file may hold numbers,
    arrays, objects of hhjax's own classes and hhjax's functions that compute, such as
    [`hh.squid_axon`][] and `hh.features.peak`: see *What a file may hold* in the documentation. Objects
    are checked as when they are constructed. In place of anything else the result has a placeholder,
    which prints what it was and raises `ValueError` when it is used.

    **Arguments:**

    - `path`: the file.
    - `allow`: classes and functions that the file may name besides: your own, those of other packages,
        and classes that have moved since.
    - `limit`: the most memory that the arrays may take, in bytes, by default the size of the file and
        256 MB at least. What hh.save writes is not compressed and takes no more.

    **Returns:** the thing, with float64 arrays also where `jax_enable_x64` is off.

    **Raises:** `FileNotFoundError`; `ValueError` that names the file for other kinds of files, damaged
    files, files of newer versions and values that no object can have.
    """
    with _opened(path, allow, limit) as (header, reader):
        return reader.read(header["thing"])


def load_notes(
    path: str | os.PathLike, *, allow: Sequence[Any] = (), limit: int | None = None
) -> dict[str, Any]:
    """The notes that [`hh.save`][] kept with a thing, by name.

    **Arguments:** as those of [`hh.load`][].

    **Returns:** the notes, and besides `saved`, the time in UTC, and `versions`, a dict of those
    of Python and of packages.
    """
    with _opened(path, allow, limit) as (header, reader):
        notes = {name: reader.read(x, ("notes", name)) for name, x in header["notes"].items()}
        return notes | {name: header[name] for name in _OWN}


class _Foreign(Exception):
    """No file of `hh.save` at all."""


class _Members:
    """What is in the zip file. Reads no more of it than allowed."""

    def __init__(self, raw: BinaryIO, file: zipfile.ZipFile, limit: int | None) -> None:
        size = os.fstat(raw.fileno()).st_size
        self.file = file
        self.left = max(size, _ARRAYS_AT_LEAST) if limit is None else limit
        self.left_for_header = max(size, _HEADER_AT_LEAST) if limit is None else limit
        if _HEADER not in file.namelist():
            raise _Foreign
        if len(set(file.namelist())) < len(file.namelist()):
            raise Misfit("two of its members have one name.")
        for member in file.infolist():
            _check_member(member)

    def header(self) -> dict[str, Any]:
        member = self.file.getinfo(_HEADER)
        if member.file_size > self.left_for_header:
            raise Misfit(f"the header takes {member.file_size} bytes. {_RAISE}")
        content = self.file.read(member)
        try:
            header = json.loads(content, parse_constant=_refuse_constant)
        except (UnicodeDecodeError, json.JSONDecodeError) as error:
            raise _Foreign from error
        if not isinstance(header, dict) or header.get("format") != _FORMAT:
            raise _Foreign
        _check_header(header)
        return header

    def array(self, name: str) -> np.ndarray:
        """The array of that name, once its shape is known to be that of so many bytes."""
        member = self.file.getinfo(f"{name}.npy")
        self.left -= member.file_size
        if self.left < 0:
            raise Misfit(f"the arrays take {-self.left} bytes more than they may. {_RAISE}")
        with self.file.open(member) as content:
            major, _ = np.lib.format.read_magic(content)
            read = {1: np.lib.format.read_array_header_1_0, 2: np.lib.format.read_array_header_2_0}[major]
            shape, _, dtype = read(content)
            count = math.prod(shape)
            if dtype.kind not in "biufcSUMm" or (count > 1 and not dtype.itemsize):
                raise Misfit(f"`{name}` must be an array of numbers, strings or times, got {dtype}.")
            size = count * dtype.itemsize
            if min(shape, default=0) < 0 or content.tell() + size != member.file_size:
                raise Misfit(f"`{name}` takes {member.file_size} bytes, which does not fit shape {shape}.")
        with self.file.open(member) as content:
            values = np.lib.format.read_array(content, allow_pickle=False)
            content.read(1)  # at the end the checksum is compared
        highest = {"b": 1, "U": sys.maxunicode}.get(dtype.kind)
        if highest is not None and values.size and dtype.itemsize:
            numbers = np.ascontiguousarray(values).view(
                np.uint8 if dtype.kind == "b" else f"{dtype.byteorder}u4"
            )
            if numbers.max() > highest:
                raise Misfit(f"`{name}` holds {numbers.max()}, which is no {dtype}.")
        return values


_RAISE = "If you trust the file, give hh.load a higher `limit`."


def _refuse_constant(name: str) -> NoReturn:
    raise Misfit(f"the header holds {name}.")


def _check_member(member: zipfile.ZipInfo) -> None:
    name = member.filename.removesuffix(".npy")
    if member.filename != _HEADER and not all(c.isalnum() or c in "_-.~" for c in name):
        raise Misfit(f"a member has the name {member.filename!r:.80}.")
    if member.flag_bits & 1:
        raise Misfit(f"{member.filename} is encrypted.")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise Misfit(f"{member.filename} is compressed in a way that is not read, {member.compress_type}.")
    if stat.S_ISLNK(member.external_attr >> 16):
        raise Misfit(f"{member.filename} is a link.")


def _check_header(header: dict[str, Any]) -> None:
    """Refuse newer versions, and what `save` does not write."""
    version, versions = header["version"], header["versions"]
    if type(versions) is not dict or "hhjax" not in versions or {*map(type, versions.values())} != {str}:
        raise Misfit(f"`versions` must be a dict of strings with that of hhjax, got {versions!r:.80}.")
    if type(version) is not int or version < 1:
        raise Misfit(f"`version` must be a whole number, got {version!r:.80}.")
    if version > _VERSION:
        raise Misfit(f"it is from hhjax {versions['hhjax']:.20}: install that or a newer one.")
    if type(header["saved"]) is not str or type(header["notes"]) is not dict or "thing" not in header:
        raise Misfit("`saved` must be a time, `notes` a dict, and `thing` be there.")


@contextlib.contextmanager
def _opened(
    path: str | os.PathLike, allow: Sequence[Any], limit: int | None
) -> Iterator[tuple[dict[str, Any], Reader]]:
    """The header of a file, and what reads the things in it. What is wrong with them is a `ValueError`."""
    path = as_path("path", path)
    if limit is not None:
        check_size("limit", limit)
    if not isinstance(allow, Iterable) or not all(callable(x) for x in allow):
        raise TypeError(f"`allow` must be a list of classes and functions, got {allow!r}.")
    if not path.is_file():
        raise FileNotFoundError(f"`path` does not exist or is not a file: {path}")
    with open(path, "rb") as raw:
        try:
            with _zip_file(raw) as file, jax.enable_x64(True):
                members = _Members(raw, file, limit)
                header = members.header()
                yield header, Reader(path.name, members.array, allow, header.get("checked") is True)
        except _Foreign as error:
            raise ValueError(f"`path` must be a file of hh.save, which {path.name} is not.") from error
        except Misfit as error:
            raise ValueError(f"{path.name}: {_plain(str(error))}") from error
        except Exception as error:  # the bytes of a stranger can raise anything
            told = " ".join(map(str, error.args)) or type(error).__name__
            raise ValueError(f"{path.name} is damaged: {_plain(told)}") from error


def _plain(text: str) -> str:
    """On one line, without what moves the cursor of a terminal, and no more than can be read."""
    return "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))[:500]


def _zip_file(raw: BinaryIO) -> zipfile.ZipFile:
    try:
        if raw.read(len(_FIRST)) != _FIRST:
            raise _Foreign
        return zipfile.ZipFile(raw)
    except zipfile.BadZipFile as error:
        raise _Foreign from error


def _versions() -> dict[str, str]:
    from .._version import __version__

    packages = ("jax", "jaxlib", "equinox", "diffrax", "optimistix", "optax", "numpy")
    known = {"hhjax": __version__, "python": platform.python_version()}
    return known | {name: metadata.version(name) for name in packages}
