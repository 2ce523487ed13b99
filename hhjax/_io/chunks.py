"""How the rows of a run, or the points of a sweep, are cut into chunks that are written once."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

MOST_BYTES = 64_000_000  # of one chunk


def chunk_shape(shape: tuple[int, ...], count: int) -> tuple[int, ...]:
    """The chunks of an array of about `count` numbers each, which are neighbours in memory's order."""
    most = max(1, count)
    chunks: list[int] = []
    for size in reversed(shape):
        chunks.insert(0, max(1, min(size, most)))
        most = most // size if 0 < size <= most else 1
    return tuple(chunks)


class Grid(NamedTuple):
    """Rows or points of `shape` in chunks of the shape `chunk`, which hold neighbours in memory's order."""

    shape: tuple[int, ...]
    chunk: tuple[int, ...]

    @property
    def counts(self) -> tuple[int, ...]:
        return tuple(-(-size // chunk) for size, chunk in zip(self.shape, self.chunk))

    @property
    def total(self) -> int:
        return math.prod(self.counts)

    def of(self, places: Any) -> Any:
        """In which chunks places lie, both counted in memory's order."""
        parts = zip(np.unravel_index(places, self.shape), self.chunk)
        return np.ravel_multi_index(tuple(place // chunk for place, chunk in parts), self.counts)

    def box(self, number: int) -> tuple[slice, ...]:
        """The part of an array that a chunk is."""
        first = [int(k) * chunk for k, chunk in zip(np.unravel_index(number, self.counts), self.chunk)]
        it = zip(first, self.chunk, self.shape)
        return tuple(slice(start, min(start + chunk, size)) for start, chunk, size in it)

    def span(self, number: int) -> tuple[int, int]:
        """The first place of a chunk, and the one after the last."""
        box = self.box(number)
        start = int(np.ravel_multi_index(tuple(x.start for x in box), self.shape))
        return start, start + math.prod(x.stop - x.start for x in box)

    def all_of(self, read: Callable[[Any], Any]) -> np.ndarray:
        """Which chunks of an array of truths are true everywhere; what cannot be read is not."""
        whole = or_none(lambda: np.asarray(read(...)))
        one = (lambda box: or_none(lambda: np.asarray(read(box)))) if whole is None else whole.__getitem__
        found = [one(self.box(number)) for number in range(self.total)]
        return np.array([x is not None and bool(x.all()) for x in found])

    def read_by(self, index: Any, shape: tuple[int, ...], lead: int, start: int = 0) -> list[int]:
        """The chunks that an index into an array reads, at least.

        **Arguments:** `shape`: of the array; `lead`: how many of its axes are rows or points; `start`: the
        place of the first of them.

        **Raises:** `IndexError` for an index that does not fit, in NumPy's words.
        """
        np.broadcast_to(False, shape)[index]  # for its error
        first = index[0] if isinstance(index, tuple) and index else index
        if lead == 1 and isinstance(first, (int, np.integer, slice)) and not isinstance(first, bool):
            rows = range(start, start + shape[0])
            found = rows[first] if isinstance(first, slice) else [rows[first]]
            size = self.chunk[0]
            return list(range(min(found) // size, max(found) // size + 1)) if found else []
        every = np.arange(start, start + math.prod(shape[:lead]))
        every = every.reshape(shape[:lead] + (1,) * (len(shape) - lead))
        places = np.broadcast_to(every, shape)[index]
        places = np.asarray(places)[tuple(slice(None if step else 1) for step in np.asarray(places).strides)]
        return np.unique(self.of(places.ravel())).tolist()


def or_none(read: Callable[[], Any]) -> Any:
    """What is read, `None` where it is damaged."""
    try:
        return read()
    except Exception:  # of many kinds, as h5py and Zarr raise them
        return None
