"""Named arrays on disk that are written piece by piece, whatever the format of the file."""

import abc
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np

from .._labels import Labelled

_MOST_BYTES = 64_000_000  # of one chunk


class Layout(NamedTuple):
    """What is in an archive.

    **Fields:** `variables`: arrays to be written, as shapes and dtypes; `chunks`: the shape in which
    each is stored; `coords`: arrays that are known; `attrs`: of the whole.
    """

    variables: dict[str, Labelled]
    chunks: dict[str, tuple[int, ...]]
    coords: dict[str, Labelled]
    attrs: dict[str, Any]

    @property
    def every_attrs(self) -> dict[str, Any]:
        """The attributes, with `coordinates`, which tells netCDF's readers what is no dimension's own."""
        others = [name for name, x in self.coords.items() if x.dims != (name,)]
        return self.attrs | ({"coordinates": " ".join(others)} if others else {})


class AbstractArchive(abc.ABC):
    """Arrays by name, `arrays`, which take values by index, and the attributes of the whole, `attrs`."""

    package: ClassVar[str | None] = None  # that is needed, and the extra that brings it
    extra: ClassVar[str] = ""
    shared: ClassVar[bool] = False  # whether several processes may write it

    arrays: dict[str, Any]
    attrs: dict[str, Any]

    @staticmethod
    @abc.abstractmethod
    def create(path: Path, layout: Layout) -> None:
        """Make the files, all or nothing."""

    @abc.abstractmethod
    def __init__(self, path: Path):
        """Open what `create` made."""

    @staticmethod
    def exists(path: Path) -> bool:
        """Whether there is something already."""
        return path.exists()

    def begin(self) -> None:
        """Make ready for writing."""

    def flush(self) -> None:
        """Hand everything written over to the operating system."""

    def end(self) -> None:
        """Close for writing; `arrays` are read after."""

    def whole(self, name: str) -> np.ndarray:
        """An array in memory."""
        return np.asarray(self.arrays[name][...])


def chunk_shape(shape: tuple[int, ...], count: int, itemsize: int) -> tuple[int, ...]:
    """The chunks of an array that is written about `count` numbers at a time.

    They hold neighbours in memory's order, and at most 64 MB.
    """
    most = max(1, min(count, _MOST_BYTES // itemsize))
    chunks: list[int] = []
    for size in reversed(shape):
        chunks.insert(0, max(1, min(size, most)))
        most = most // size if 0 < size <= most else 1
    return tuple(chunks)


def rectangles(shape: tuple[int, ...], start: int, stop: int) -> Iterator[tuple]:
    """Indices of the rectangles that make up the places `start` to `stop` of an array, in their order."""
    if start >= stop:
        return
    size = math.prod(shape[1:])
    row, inside = divmod(start, size)
    if inside == 0 and stop - start >= size:
        cut = stop // size * size
        yield (slice(row, stop // size),)
    else:
        cut = min(stop, (row + 1) * size)
        yield from ((row, *rest) for rest in rectangles(shape[1:], inside, cut - row * size))
    yield from rectangles(shape, cut, stop)
