"""Reading what a run or a sweep wrote to disk: [`hh.open`][]."""

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from .._base.tables import facts, Printed, Table, value
from .archives import AbstractArchive, as_errors_of
from .labels import array_table, dataset, Labelled
from .results import last_copy, rows_in_chunks, step_of
from .store import kind_of, read_archive


@dataclasses.dataclass(frozen=True, eq=False)
class Saved(Printed, Mapping[str, Any]):
    """What [`hh.simulate_to`][] or [`hh.sweep_to`][] wrote, as [`hh.open`][] found it.

    A mapping from names to arrays on disk. `saved["V"][-1000:]` reads these rows, `np.asarray(saved["V"])`
    all, and both check them: a damaged or missing part is a `ValueError`. The names are those of
    `to_xarray()`; `print(saved)` shows them. What has not been written yet is NaN or 0.

    **Fields:**

    - `folder`: where it lies.
    - `kind`: `"run"` or `"sweep"`.
    - `ts`: times of what was saved, ms, shape (times,); `None` for a sweep that saved nothing.
    - `axes`: the values along the axes of a sweep, by name; those that vary together have one length.
    - `units`: of the arrays, axes and times by name, where they are known.
    - `attrs`: the type of the solver, `t0`, `t1` and `dt` in ms.
    - `count`, `total`: how many rows of a run, or points of a sweep, are there in whole chunks, and how
        many there will be. The rows are the first ones; `saved["done"]` says which points.
    - `finished`: whether the run or the sweep came to its end.
    """

    folder: Path
    kind: Literal["run", "sweep"]
    count: int
    total: int
    finished: bool
    attrs: dict[str, Any]
    _variables: dict[str, Labelled] = dataclasses.field(repr=False)
    _coords: dict[str, Labelled] = dataclasses.field(repr=False)
    _archive: AbstractArchive = dataclasses.field(repr=False)
    _arrays: Table = dataclasses.field(repr=False)  # which is shown of a closed file, too

    def __getitem__(self, name: str) -> Any:
        return self._variables[name].values

    def __iter__(self) -> Iterator[str]:
        return iter(self._variables)

    def __len__(self) -> int:
        return len(self._variables)

    @property
    def ts(self) -> np.ndarray | None:
        return self._coords["time"].values if "time" in self._coords else None

    @property
    def axes(self) -> dict[str, np.ndarray]:
        lead = self._variables["done"].dims if self.kind == "sweep" else ()
        found = {}
        for dim in lead:  # which is made of the names of what varies along it, or has one of its own
            along = {name: x.values for name, x in self._coords.items() if x.dims == (dim,)}
            found |= dict(sorted(along.items(), key=lambda it: f", {dim},".find(f", {it[0]},")))
        return found

    @property
    def units(self) -> dict[str, str]:
        everything = self._variables | self._coords
        return {name: x.attrs["units"] for name, x in everything.items() if "units" in x.attrs}

    def _tables(self) -> list[Table]:
        run, about = self.kind == "run", self.attrs
        said = {"solver": about["solver"]}
        said["time"] = f"{about['dt']:g} ms steps from {about['t0']:g} to {about['t1']:g} ms"
        there = f"{self.count} of {self.total}" + ("" if self.finished else ", not finished")
        axes = [(name, value(x), self.units.get(name, "")) for name, x in self.axes.items()]
        return [
            facts(f"{self.kind} in {self.folder}", said | {"rows" if run else "points": there}),
            Table(("axis", "values", "unit"), axes, left=(0, 2)),
            self._arrays,
        ]

    def to_xarray(self) -> Any:
        """What is there, as an `xarray.Dataset` in memory (needs `pip install 'hhjax[xarray]'`).

        Of a run the rows that were written; of a sweep all points, `done` or not.

        **Raises:** `ImportError` that says what to install.
        """

        def cut(x: Labelled) -> Labelled:
            rows = self.kind == "run" and x.dims[0] == "time"
            return Labelled(x.dims, x.values[: self.count] if rows else x.values[...], x.attrs)

        variables, coords = ({name: cut(x) for name, x in y.items()} for y in (self._variables, self._coords))
        return dataset(variables, coords, self.attrs)

    def close(self) -> None:
        """Let go of an HDF5 file, which a run can write to only while nothing has it open."""
        self._archive.close()

    def __enter__(self) -> "Saved":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def open(folder: str | Path) -> Saved:
    """Look at what [`hh.simulate_to`][] or [`hh.sweep_to`][] wrote, without running anything.

    ```python
    saved = hh.open("trace.zarr")
    saved.count, saved.finished, saved["V"][-1], saved.units["V"]
    ```

    Nothing is written, so the folder may be read-only. A Zarr group and a `.npy` folder can be read while
    they are written: call `open` again to see what is new. An HDF5 file can be read once the run has
    ended or was killed; close it before the run goes on.

    **Arguments:** `folder`: as it was given to them.

    **Returns:** an [`hh.Saved`][].

    **Raises:** `FileNotFoundError`; `ValueError` for a folder that they did not write, or that is damaged;
    `ImportError` for a package that it needs.
    """
    kind, path = kind_of(folder), Path(folder)
    if not path.exists():
        raise FileNotFoundError(f"`folder` does not exist: {path}")
    try:
        there = kind.exists(path)
    except ValueError:
        there = False
    if not there:
        hint = " hh.load reads the files of hh.save." if path.suffix == ".npz" else ""
        raise ValueError(
            f"`folder` must be what hh.simulate_to or hh.sweep_to wrote, got {str(folder)!r}.{hint}"
        )
    archive = read_archive(path)
    with as_errors_of(folder):
        return _read(path, archive)


def _read(path: Path, archive: AbstractArchive) -> Saved:
    variables, coords = archive.labelled()
    coords = {name: x._replace(values=np.asarray(x.values[...])) for name, x in coords.items()}
    attrs = {name: archive.attrs[name] for name in ("solver", "t0", "t1", "dt", "dt_units")}
    if not (copies := archive.copies()):
        spans = [archive.grid.span(int(number)) for number in np.flatnonzero(archive.done)]
        count, total = sum(stop - start for start, stop in spans), variables["done"].values.size
        how_far = count, total, count == total
        return Saved(path, "sweep", *how_far, attrs, variables, coords, archive, array_table(variables))
    variables.pop("done")
    step = step_of(last_copy(copies))
    t0, t1, dt, ts = attrs["t0"], attrs["t1"], attrs["dt"], np.asarray(coords["time"].values, float)
    # No part ends one step before the end of the run, so the last step may be very short.
    count = 0 if step < 0 else int(np.searchsorted(ts, t0 + (step + 0.5) * dt))
    finished = step >= 0 and t0 + step * dt > t1 - 1e-3 * dt
    how_far = rows_in_chunks(archive, count), ts.size, finished
    return Saved(path, "run", *how_far, attrs, variables, coords, archive, array_table(variables))
