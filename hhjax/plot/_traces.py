"""Plots of runs and fits."""

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from .._fit import Fit
from .._solution import Solution
from ._style import COLOURS, new_axes


def traces(
    solution: Solution,
    *,
    neurons: Sequence[int] | None = None,
    labels: Sequence[str] | None = None,
    legend: bool = True,
    ax: Axes | None = None,
    **style: Any,
) -> list[Line2D]:
    """Membrane potential (mV) against time (ms), one line per neuron.

    **Arguments:** `neurons`: which, by default the first seven; `labels`: one for each;
    `legend`: whether to show them; `style`: passed on to `Axes.plot`.
    """
    ax = new_axes(ax, "Time (ms)", "Membrane potential (mV)")
    V = np.asarray(solution.V)
    neurons = range(min(V.shape[1], len(COLOURS))) if neurons is None else neurons
    labels = labels or ([f"neuron {i}" for i in neurons] if len(neurons) > 1 else [None])
    lines = []
    for k, (i, label) in enumerate(zip(neurons, labels, strict=True)):
        look = {"color": COLOURS[k % len(COLOURS)], "linewidth": 1.2, "label": label} | style
        lines += ax.plot(np.asarray(solution.ts), V[:, i], **look)
    if legend and any(labels):
        ax.legend(frameon=False, loc="upper right")
    return lines


def raster(
    solution: Solution, *, threshold: float = 0.0, ax: Axes | None = None, **style: Any
) -> list[Line2D]:
    """Spikes (crossings of `threshold`, mV) of every neuron against time (ms)."""
    ax = new_axes(ax, "Time (ms)", "Neuron")
    times = solution.spike_times(threshold)
    neurons = np.repeat(np.arange(len(times)), [len(t) for t in times])
    size = float(np.clip(200 / len(times), 2, 12))
    look = {"color": COLOURS[0], "linestyle": "", "marker": "|", "markersize": size} | style
    lines = ax.plot(np.concatenate(times), neurons, **look)
    ax.set_xlim(float(solution.ts[0]), float(solution.ts[-1]))
    ax.set_ylim(-0.7, len(times) - 0.3)
    ax.yaxis.get_major_locator().set_params(integer=True)
    return lines


def fi_curve(
    currents: Any, rates: Any, *, label: str | None = None, ax: Axes | None = None, **style: Any
) -> list[Line2D]:
    """Firing rate (Hz) against injected current (µA/cm²)."""
    ax = new_axes(ax, "Injected current (µA/cm²)", "Firing rate (Hz)")
    look = {"color": COLOURS[0], "marker": "o", "markersize": 3, "linewidth": 1.2, "label": label}
    lines = ax.plot(np.asarray(currents), np.asarray(rates), **(look | style))
    if label:
        ax.legend(frameon=False)
    return lines


def fit(
    result: Fit,
    *,
    sweeps: Sequence[int] | None = None,
    neuron: int = 0,
    axes: Sequence[Axes] | None = None,
    **style: Any,
) -> list[Line2D]:
    """Data and fitted model: membrane potential (mV) against time (ms), one row for each sweep.

    **Arguments:** `sweeps`: which, by default the first four; `neuron`: which; `axes`: one for
    each sweep; `style`: of the model's lines, passed on to `Axes.plot`.
    """
    data = np.asarray(result.data)
    sweeps = range(min(len(data), 4)) if sweeps is None else sweeps
    if axes is None:
        size = (7, 1 + 1.8 * len(sweeps))
        _, grid = plt.subplots(len(sweeps), 1, figsize=size, layout="constrained", sharex=True, squeeze=False)
        axes = grid[:, 0]
    lines = []
    for row, (sweep, ax) in enumerate(zip(sweeps, axes, strict=True)):
        last = row == len(sweeps) - 1
        ax = new_axes(ax, "Time (ms)" if last else "", "Membrane\npotential (mV)")
        lines += ax.plot(result.ts, data[sweep, :, neuron], color="0.65", linewidth=2, label="data")
        look = {"color": COLOURS[1], "linewidth": 1, "label": "fit"} | style
        lines += ax.plot(result.ts, np.asarray(result.V)[sweep, :, neuron], **look)
        ax.set_title(
            f"sweep {sweep}, RMSE {result.rmse()[sweep, neuron]:.2f} mV", fontsize="medium", loc="left"
        )
    axes[0].legend(frameon=False, loc="lower right", bbox_to_anchor=(1, 1), ncols=2)
    return lines
