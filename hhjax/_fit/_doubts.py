"""What speaks against a fit."""

from typing import Any

import numpy as np

from ._free import Free
from ._score import known_spikes

PLAUSIBLE = {"mS/cm²": (0.0, 1000.0), "mV": (-200.0, 200.0), "µF/cm²": (0.1, 10.0), "ms": (1e-3, 1e5)}
"""What parameters of a unit are in any cell."""

_AT_BOUND = 1e-3  # of the way between two bounds, or from one to where it started, that is left to it


def doubts(free: Free, values: np.ndarray, errors: np.ndarray, ts: Any, V: Any, data: Any) -> list[str]:
    """A line for each thing that speaks against a fit; see [`hh.Fit`][]."""
    low, high, start = (np.asarray(x, float) for x in (free.low, free.high, free.reference))
    found = _spikes(np.asarray(ts), np.asarray(V), np.asarray(data))
    for name, unit, value, error, least, most, first in zip(
        free.names, free.units, values, errors, low, high, start
    ):
        both = np.isfinite(least) and np.isfinite(most)
        span = most - least if both else np.abs(first - (least if np.isfinite(least) else most))
        # Conductances reach from 0 over decades: near 0 is what is far below the start.
        near = [(least, min(span, first) if least == 0 else span), (most, span)]
        for bound, size in near:
            if np.isfinite(bound) and abs(value - bound) < _AT_BOUND * size:
                found.append(f"{name} is at its bound of {bound:g} {unit}".rstrip())
        if both and np.isfinite(error) and error > most - least:
            found.append(f"{name} has a standard error of {error:.2g} {unit}, wider than its bounds")
        least, most = PLAUSIBLE.get(unit, (-np.inf, np.inf))
        if not least <= value <= most:
            found.append(f"{name} = {value:.3g} {unit} is in no cell: {least:g} to {most:g} {unit} would be")
    return found


def _spikes(ts: np.ndarray, V: np.ndarray, data: np.ndarray) -> list[str]:
    """Where the free-running model fires otherwise than the data do."""
    found = []
    for neuron in range(data.shape[2]):
        ours, theirs = (
            sum(len(known_spikes(ts, x[sweep, :, neuron], 0.0)) for sweep in range(len(x))) for x in (V, data)
        )
        if abs(ours - theirs) > 0.2 * theirs:
            which = f" of neuron {neuron}" * (data.shape[2] > 1)
            found.append(f"spikes{which}: {ours} in the free-running model, {theirs} in the data")
    return found
