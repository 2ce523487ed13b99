"""What a recording's sweeps are like, feature by feature."""

import dataclasses
from typing import Any

import jax
import numpy as np

from .._base.arguments import as_number
from .._base.host import number
from .._base.swings import swings_below, warn_of_swings
from .._base.tables import Printed, Table
from .._base.windows import takes_samples
from ..features._extract import FEATURES
from ..features._reference import measure


@dataclasses.dataclass(frozen=True)
class FeatureTable(Printed):
    """Features of the response to a step, by sweep; see [`hh.features.extract`][] for what they are.

    `table["half_width"]` is an array of shape (sweeps, n).

    **Fields:**

    - `values`: a dict by name, each of shape (sweeps, n), NaN where a sweep has none.
    - `units`: a dict by name.
    - `start`, `stop`: the step, ms.
    - `amplitude`: by how much the current changes at `start`, shape (sweeps, n), in `current_unit`.
    """

    values: dict[str, np.ndarray]
    units: dict[str, str]
    start: float
    stop: float
    amplitude: np.ndarray
    current_unit: str

    def __getitem__(self, name: str) -> np.ndarray:
        return self.values[name]

    def _tables(self) -> list[Table]:
        there = [name for name, x in self.values.items() if np.isfinite(x).any()]
        missing = [name for name in self.values if name not in there]
        sweeps, n = self.amplitude.shape
        of = ("sweep", "neuron") if n > 1 else ("sweep",)
        headers = [*of, "step", *(FEATURES[name].short for name in there)]
        rows = [[""] * len(of) + [self.current_unit, *(self.units[name] for name in there)]]
        for at in np.ndindex(sweeps, n):
            cells = [number(float(self.values[name][at]), 4) for name in there]
            rows.append([*map(str, at[: len(of)]), number(float(self.amplitude[at]), 4), *cells])
        title = f"Features of the step from {self.start:g} to {self.stop:g} ms"
        if not np.isfinite(self.start):
            title = "Features of the sweeps, whose current has no step"
        notes = [f"not in these sweeps: {', '.join(missing)}"] if missing else []
        return [Table(headers, rows, title, notes, left=(), most=200)]


def features_of(recording: Any, start: Any, stop: Any, threshold: Any) -> FeatureTable:
    """See `Recording.features`."""
    as_end = lambda name, x: None if x is None else as_number(name, x, "ms", finite=False)
    start, stop = as_end("start", start), as_end("stop", stop)
    threshold = as_number("threshold", threshold, "mV")
    V = recording.V if recording.V.ndim == 3 else recording.V[..., None]
    current = recording.current if recording.current_known else None
    with jax.enable_x64(True):
        found = measure(recording.ts, V, current, start, stop, threshold)
    inside = takes_samples(recording.ts, found.start, found.stop)
    warn_of_swings(swings_below(np.moveaxis(V[:, inside], 1, 0), threshold), threshold, "trace")
    units = {name: about.unit for name, about in FEATURES.items()}
    if recording.current_unit != "pA":
        units["input_resistance"] = "Ω·cm²"
    return FeatureTable(found.values, units, found.start, found.stop, found.amplitude, recording.current_unit)
