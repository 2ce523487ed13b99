"""Arrays on disk in chunks: what a folder of `.npy` files, a Zarr group and an HDF5 file have in common."""

import abc
import contextlib
import hashlib
import json
import math
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np

from .chunks import chunk_shape, Grid, MOST_BYTES
from .labels import Labelled

try:
    import fcntl
except ImportError:  # Windows
    fcntl: Any = None


class Layout(NamedTuple):
    """What is in an archive.

    **Fields:** `variables`: arrays to be written, as shapes and dtypes, of which the last is `done`;
    `grid`: the chunks of their leading axes; `coords`: arrays that are known; `attrs`: of the whole;
    `resume`: bytes of a copy of where a run stands, 0 for a sweep.
    """

    variables: dict[str, Labelled]
    grid: Grid
    coords: dict[str, Labelled]
    attrs: dict[str, Any]
    resume: int = 0

    @property
    def every_attrs(self) -> dict[str, Any]:
        """The attributes, with `coordinates`, which tells netCDF's readers what is no dimension's own."""
        others = [name for name, x in self.coords.items() if x.dims != (name,)]
        about = {"contents": contents(self.variables, self.coords, self.attrs)}
        return self.attrs | about | ({"coordinates": " ".join(others)} if others else {})

    def chunk(self, name: str) -> tuple[int, ...]:
        """The shape in which an array is stored: a chunk of its leading axes, cut where that is too big."""
        x, lead = self.variables[name], self.grid.chunk
        most = MOST_BYTES // (math.prod(lead) * np.dtype(x.values.dtype).itemsize)
        return lead + chunk_shape(x.shape[len(lead) :], most)


def contents(variables: dict[str, Labelled], coords: dict[str, Labelled], attrs: dict[str, Any]) -> str:
    """A digest of all that is told of arrays, and of the coordinates themselves."""
    told: list[Any] = [{key: x for key, x in attrs.items() if key not in ("contents", "coordinates")}]
    for found in (variables, coords):
        for name, x in sorted(found.items()):
            told.append([name, x.dims, x.shape, np.dtype(x.values.dtype).str, x.attrs])
    digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode())
    for _, x in sorted(coords.items()):
        digest.update(np.asarray(x.values[...]).tobytes())
    return digest.hexdigest()


class AbstractArchive(abc.ABC):
    """Arrays by name whose chunks are written once, in any order, and checked whenever they are read.

    **Fields:** `path`; `attrs`: of the whole; `grid`: the chunks of the leading axes; `done`: which of
    them are written.
    """

    package: ClassVar[str | None] = None  # that is needed, and the extra that brings it
    extra: ClassVar[str] = ""
    shared: ClassVar[bool] = False  # whether several processes may write it

    path: Path
    attrs: dict[str, Any]
    grid: Grid
    done: np.ndarray

    @staticmethod
    @abc.abstractmethod
    def exists(path: Path) -> bool:
        """Whether there is an archive already.

        **Raises:** `ValueError` for files of others in its place.
        """

    @classmethod
    def create(cls, path: Path, layout: Layout) -> None:
        """Make the files under a temporary name, and rename them when they are whole."""
        path.parent.mkdir(parents=True, exist_ok=True)
        name = f"{secrets.token_hex(4)}.new"
        part = path / name if path.is_dir() else path.with_name(f"{path.name}.{name}")
        try:
            cls._make(part, layout)
            cls._publish(part, path)
        except OSError:
            if not cls.exists(path):  # else another process was faster
                raise
        finally:
            shutil.rmtree(part) if part.is_dir() else part.unlink(missing_ok=True)

    @staticmethod
    @abc.abstractmethod
    def _make(part: Path, layout: Layout) -> None:
        """Make all files, with nothing written."""

    @staticmethod
    def _publish(part: Path, path: Path) -> None:
        part.rename(path)

    @abc.abstractmethod
    def __init__(self, path: Path):
        """Open for reading what `create` made."""

    @abc.abstractmethod
    def labelled(self) -> tuple[dict[str, Labelled], dict[str, Labelled]]:
        """Variables, as `OnDisk`, and coordinates by name."""

    @abc.abstractmethod
    def copies(self) -> list[bytes]:
        """The two copies of where a run stands, as far as they can be read; none of a sweep."""

    @abc.abstractmethod
    def look(self) -> None:
        """Read `done` as it is now."""

    @abc.abstractmethod
    def begin(self, *, alone: bool = True) -> None:
        """Make ready for writing, with `done` as it is now; with `alone` lock out other processes."""

    @abc.abstractmethod
    def write(self, number: int, arrays: dict[str, np.ndarray]) -> None:
        """Write a chunk of all arrays, in their order, flat along the leading axes."""

    @abc.abstractmethod
    def write_copy(self, k: int, copy: bytes) -> None:
        """Write one of the copies of where a run stands."""

    @abc.abstractmethod
    def close(self) -> None:
        """Let go of the files."""

    @abc.abstractmethod
    def _take(self, name: str, index: Any) -> Any:
        """What an index reads.

        **Raises:** anything, where a chunk is damaged or missing.
        """

    def read(self, x: "OnDisk", index: Any) -> np.ndarray:
        """What an index reads of an array, checked.

        **Raises:** `IndexError`, and `ValueError` if it is damaged.
        """
        np.broadcast_to(False, x.shape)[index]  # for NumPy's error
        with as_errors_of(self.path):
            if _is_plain(index):
                return np.array(self._take(x.name, index))[()]
            return np.asarray(self._take(x.name, ...))[index]  # which h5py and Zarr refuse


def _is_plain(index: Any) -> bool:
    """Whether there are only whole numbers and slices that go forward."""
    for x in index if isinstance(index, tuple) else (index,):
        forward = isinstance(x, slice) and (x.step is None or x.step > 0)
        if not (forward or x is Ellipsis or (isinstance(x, (int, np.integer)) and not isinstance(x, bool))):
            return False
    return True


class OnDisk:
    """An array on disk, which reads what is indexed, and checks what it reads.

    **Fields:** `name`, `shape`, `dtype`.
    """

    def __init__(self, archive: AbstractArchive, name: str, shape: tuple[int, ...], dtype: Any):
        self._archive, self.name, self.shape, self.dtype = archive, name, tuple(shape), np.dtype(dtype)

    ndim = property(lambda self: len(self.shape))
    size = property(lambda self: math.prod(self.shape))
    nbytes = property(lambda self: self.size * self.dtype.itemsize)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> Any:
        return self._archive.read(self, index)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[...], dtype)

    def __repr__(self) -> str:
        return f"OnDisk({self.name!r} in {str(self._archive.path)!r}, shape={self.shape}, dtype={self.dtype})"


class DamagedError(ValueError):
    """That of a folder, which names it."""


@contextlib.contextmanager
def as_errors_of(folder: str | Path) -> Iterator[None]:
    """What goes wrong while files are read, as a `ValueError` that names `folder`."""
    try:
        yield
    except BlockingIOError as error:
        raise ValueError(f"`folder` {folder} is being written: wait until the run has ended.") from error
    except (DamagedError, MemoryError):
        raise
    except Exception as error:  # whatever the packages make of damaged files
        raise DamagedError(
            f"`folder` {folder} is damaged, or not what hh.simulate_to or hh.sweep_to wrote: {error} "
            "Give a new one, or delete it to begin anew."
        ) from error


@contextlib.contextmanager
def as_write_errors(folder: str | Path) -> Iterator[None]:
    """A full disk and its like, as an `OSError` that names `folder`."""
    try:
        yield
    except OSError as error:
        raise OSError(
            error.errno,
            f"`folder` {folder} cannot be written to: {error.strerror or error}. What was written stays: the "
            "same call goes on from there",
        ) from error


def lock(file: Any, folder: Path) -> None:
    """Lock out other processes until a file is closed, where the file system can.

    **Raises:** `ValueError` if one is there already.
    """
    try:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise ValueError(
            f"`folder` {folder} is being written by another process, or is open elsewhere: wait until that "
            "has ended, close it first, or give another one."
        ) from error
    except OSError:
        pass


def put(file: Any, data: Any, start: int) -> None:
    """Write bytes to an unbuffered file from `start` on."""
    left = memoryview(data)
    left = left.cast("B") if left.nbytes else b""
    file.seek(start)
    while left:
        left = left[file.write(left) :]


def move(part: Path, path: Path) -> None:
    """Rename a file, but never onto another one."""
    try:
        os.link(part, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        part.rename(path)


def apart(found: dict[str, Labelled], attrs: dict[str, Any]) -> tuple[dict, dict]:
    """Variables, and coordinates, which are a dimension's own or named in the attributes."""
    others = attrs.get("coordinates", "").split()
    known = {name for name, x in found.items() if x.dims == (name,) or name in others}
    pick = lambda wanted: {name: x for name, x in found.items() if (name in known) is wanted}
    return pick(False), pick(True)
