"""Plots of how near a model is to a recording."""

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from .._base.arguments import check_kind
from .._draw import COLOURS, dress
from .._fit._score import Score

_PANELS = ("spikes", "z", "explained", "coincidence")
_MOST = 5.0  # z-scores, beyond which the colour is the same

_FLOOR = -1.0  # explained variances and Γ, below which they are drawn on it


def score(result: Score, *, neuron: int = 0, axes: Mapping[str, Axes] | None = None) -> dict[str, Any]:
    """A score at a glance, beside how near the cell's own sweeps are to each other.

    **Arguments:** `result`: of [`hh.score`][]; `neuron`: which; `axes`: a dict of `"spikes"`, `"z"`,
    `"explained"` and `"coincidence"`, by default a new figure.

    **Returns:** a dict of the same names:

    - `"spikes"`: lines, the number of spikes (no unit) of data and model in every sweep.
    - `"z"`: an image of the z-scores (no unit) of features, by feature and sweep, of one colour from 5 on.
        A cross marks a feature that only data or model have; grey, one that neither has.
    - `"explained"`, `"coincidence"`: the explained variance of V below threshold and Γ (no unit) in
        every window; a point for each sweep, what is below −1 at −1, a bar at the median, and the same in
        grey for sweeps that repeat.
    """
    check_kind("result", result, Score, "an hh.Score")
    if result.windows is None or result.z is None:
        raise ValueError("`result` must hold windows and features: score the traces anew with hh.score.")
    if axes is None:
        figure, grid = plt.subplots(2, 2, figsize=(11, 6.4), layout="constrained")
        axes = dict(zip(_PANELS, grid.ravel()))
    if missing := sorted(set(_PANELS) - set(axes)):
        raise ValueError(f"`axes` lacks {', '.join(missing)}.")
    by_window = {
        "explained": ("Explained variance\nbelow threshold", result.explained, result.explained_by_repeats),
        "coincidence": ("Coincidence factor Γ", result.coincidences, result.coincidences_of_repeats),
    }
    return {"spikes": _spikes(result, neuron, axes["spikes"]), "z": _z(result, neuron, axes["z"])} | {
        name: _windows(result.windows, label, ours[..., neuron], theirs[..., neuron], axes[name])
        for name, (label, ours, theirs) in by_window.items()
    }


def _spikes(result: Score, neuron: int, ax: Axes) -> list[Any]:
    dress(ax, "Sweep", "Spikes")
    sweeps = np.arange(len(result.rmse))
    model = np.where(result.spikes_model >= 0, result.spikes_model, np.nan)[:, neuron]
    data = result.spikes_data[:, neuron]
    lines = ax.plot(sweeps, data, color="0.6", marker="s", markersize=5, linewidth=1, label="data")
    lines += ax.plot(sweeps, model, color=COLOURS[1], marker="o", markersize=4, linewidth=1, label="model")
    ax.set_ylim(bottom=min(0.0, ax.get_ylim()[0]))
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.legend(frameon=False, loc="best")
    return lines


def _z(result: Score, neuron: int, ax: Axes) -> Any:
    there = [name for name, x in result.z.items() if not np.isnan(x[:, neuron]).all()]
    rows = np.array([result.z[name][:, neuron] for name in there]).reshape(len(there), -1)
    colours = plt.get_cmap("RdBu_r").with_extremes(bad="0.85")
    shown = np.ma.masked_invalid(rows)
    image = ax.imshow(shown, cmap=colours, vmin=-_MOST, vmax=_MOST, aspect="auto", interpolation="none")
    row, sweep = np.nonzero(np.isinf(rows))
    ax.plot(sweep, row, color="k", marker="x", markersize=5, linestyle="")
    ax.set_yticks(np.arange(len(there)), there, fontsize="small")
    ax.set_xlabel("Sweep")
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.figure.colorbar(image, ax=ax, label="z-score, model − data", extend="both")
    return image


def _windows(windows: np.ndarray, label: str, ours: np.ndarray, theirs: np.ndarray, ax: Axes) -> list[Any]:
    """Points of sweeps and bars at medians."""
    dress(ax, "Window (ms)", label)
    drawn = []
    places = np.arange(len(windows))
    for x, side, colour, name in ((theirs, 0.2, "0.6", "repeats"), (ours, -0.2, COLOURS[1], "model")):
        shown = np.maximum(x, _FLOOR)
        scatter = np.linspace(-0.12, 0.12, x.shape[1]) if x.shape[1] > 1 else np.zeros(1)
        at = places[:, None] + side + scatter
        drawn += ax.plot(
            at.ravel(), shown.ravel(),
            color=colour, marker="o", markersize=3, linestyle="", alpha=0.6, label=name,
        )  # fmt: skip
        filled = [k for k in places if not np.isnan(x[k]).all()]
        middle = [max(np.nanmedian(x[k]), _FLOOR) for k in filled]
        drawn.append(ax.hlines(middle, *(np.array(filled) + side + d for d in (-0.18, 0.18)), color=colour))
    ax.axhline(0.0, color="0.8", linewidth=1, zorder=0)
    ax.set_ylim(_FLOOR - 0.05, 1.05)
    ax.set_xticks(places, [f"{start:g} –\n{stop:g}" for start, stop in windows], fontsize="small")
    ax.legend(frameon=False, loc="lower right", bbox_to_anchor=(1, 1), ncols=2)
    return drawn
