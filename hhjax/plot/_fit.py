"""Plots of fits."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from .._base.arguments import check_kind
from .._draw import COLOURS, dress
from .._fit._result import Fit


def fit(
    result: Fit,
    *,
    sweeps: Sequence[int] | None = None,
    neuron: int = 0,
    clamp: int | None = None,
    axes: Sequence[Axes] | None = None,
    **style: Any,
) -> list[Line2D]:
    """Data and fitted model: membrane potential (mV) against time (ms), one row for each sweep.

    **Arguments:** `sweeps`: which, by default the first four; `neuron`: which; `clamp`: the number of a
    voltage-clamp recording, whose currents are drawn instead (by default where there is nothing else);
    `axes`: one for each sweep; `style`: of the model's lines, passed on to `Axes.plot`.
    """
    check_kind("result", result, Fit, "an hh.Fit")
    return result.plot(sweeps=sweeps, neuron=neuron, clamp=clamp, axes=axes, **style)


_FEW = 8  # parameters, up to which there is room for numbers
_PANELS = ("loss", "estimates", "correlation")


def fit_report(
    result: Fit,
    *,
    sweeps: Sequence[int] | None = None,
    neuron: int = 0,
    axes: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """A fit at a glance: the data with the fit, how it got there, and how sure it is.

    **Arguments:** `sweeps`, `neuron`: of the data, by default the first two sweeps, see
    [`fit`][hhjax.plot.fit]; `axes`: a dict of `"data"`, one for each sweep, `"loss"`,
    `"estimates"` and `"correlation"`; by default a new figure.

    **Returns:** a dict of the same names:

    - `"data"`: lines of data and fit, alternating.
    - `"loss"`: a line, the loss (no unit) at every iteration, guided stages included.
    - `"estimates"`: an error bar container of the change of each parameter from its start, in %
        of that, with standard errors; none is drawn for one that started from 0.
    - `"correlation"`: an image of the correlations of the estimates.
    """
    check_kind("result", result, Fit, "an hh.Fit")
    data = result.clamps[0].data if result.holds_currents_alone else result.data
    sweeps = range(min(len(data), 2)) if sweeps is None else sweeps
    axes = _report_axes(len(sweeps), len(result.names)) if axes is None else axes
    if missing := sorted({"data", *_PANELS} - set(axes)):
        raise ValueError(f"`axes` lacks {', '.join(missing)}.")
    return {
        "data": fit(result, sweeps=sweeps, neuron=neuron, axes=axes["data"]),
        "loss": _loss(result, axes["loss"]),
        "estimates": _estimates(result, axes["estimates"]),
        "correlation": _correlation(result, axes["correlation"]),
    }


def _report_axes(sweeps: int, parameters: int) -> dict[str, Any]:
    low = max(3.0, 1.0 + (0.35 if parameters <= _FEW else 0.2) * parameters)
    figure = plt.figure(figsize=(11, 1.7 * sweeps + low), layout="constrained")
    grid = figure.add_gridspec(
        sweeps + 1, 3, height_ratios=[1.7] * sweeps + [low], width_ratios=[1, 1.5, 1.3]
    )
    data = [figure.add_subplot(grid[0, :])]
    data += [figure.add_subplot(grid[row, :], sharex=data[0]) for row in range(1, sweeps)]
    for ax in data[:-1]:
        ax.tick_params(labelbottom=False)
    return {"data": data} | {name: figure.add_subplot(grid[-1, k]) for k, name in enumerate(_PANELS)}


def _loss(result: Fit, ax: Axes) -> list[Line2D]:
    dress(ax, "Iteration", "Loss (no unit)")
    history = np.asarray(result.history, float)
    lines = ax.plot(np.arange(history.size), history, color=COLOURS[0], linewidth=1.2, marker=".")
    ax.set_yscale("log") if (history[np.isfinite(history)] > 0).all() and history.size else None
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.set_title(f"{result.reason}", fontsize="medium", loc="left")
    return lines


def _estimates(result: Fit, ax: Axes) -> Any:
    dress(ax, "Change from the start (%)", "")
    values, errors = np.asarray(result.values, float), np.asarray(result.standard_errors, float)
    best = int(np.argmin(result.starts.loss))
    start = np.asarray(result.starts.before, float)[best]
    scale = np.where(start != 0, np.abs(start), np.nan)
    rows = np.arange(values.size)
    bars = np.where(np.isfinite(errors), errors, np.nan)
    change, bars = 100 * (values - start) / scale, 100 * bars / scale
    drawn = ax.errorbar(
        change, rows, xerr=bars,
        color=COLOURS[1], marker="o", markersize=5, linestyle="", capsize=4,
    )  # fmt: skip
    ax.axvline(0.0, color="0.7", linewidth=1, zorder=0)
    # Very long bars leave the axes, so that the others can be seen.
    most = 3 * max(10.0, np.nanmax(np.abs(change), initial=0.0))
    shown = np.minimum(np.nan_to_num(bars), most)
    ends = np.concatenate([[0.0], np.nan_to_num(change) - shown, np.nan_to_num(change) + shown])
    margin = 0.08 * max(np.ptp(ends), 1.0)
    ax.set_xlim(ends.min() - margin, ends.max() + margin)
    between = "\n" if values.size <= _FEW else "  "
    told = lambda error: "" if np.isnan(errors).all() else f" ± {error:.2g}" if np.isfinite(error) else " ± ?"
    labels = [
        f"{name}{between}{value:.5g}{told(error)} {unit}"
        for name, value, error, unit in zip(result.names, values, errors, result.units)
    ]
    ax.set_yticks(rows, labels, fontsize="small")
    ax.set_ylim(values.size - 0.5, -0.5)
    known = " ± standard errors" if np.isfinite(errors).any() else ""
    ax.set_title(f"estimates{known}", fontsize="medium", loc="left")
    return drawn


def _correlation(result: Fit, ax: Axes) -> Any:
    matrix = np.ma.masked_invalid(np.asarray(result.correlation, float))
    colours = plt.get_cmap("RdBu_r").with_extremes(bad="0.85")
    image = ax.imshow(matrix, cmap=colours, vmin=-1.0, vmax=1.0)
    rows = np.arange(len(result.names))
    size = "small" if rows.size <= _FEW else 90 / rows.size
    upright = {"rotation": 45 if rows.size <= _FEW else 90, "ha": "right", "rotation_mode": "anchor"}
    ax.set_xticks(rows, result.names, fontsize=size, **upright)
    if rows.size > _FEW:
        plt.setp(ax.get_xticklabels(), va="center")
    ax.set_yticks(rows, result.names, fontsize=size)
    if rows.size <= _FEW:
        for i, j in np.ndindex(matrix.shape):
            value = matrix[i, j]
            text = "?" if value is np.ma.masked else f"{value:.2f}"
            dark = value is not np.ma.masked and abs(value) > 0.6
            ax.text(j, i, text, ha="center", va="center", fontsize="small", color="w" if dark else "k")
    ax.figure.colorbar(image, ax=ax, label="Correlation (no unit)", shrink=0.8 if rows.size <= _FEW else 0.4)
    title = "no standard errors" if matrix.mask.all() else "how estimates go together"
    ax.set_title(title, fontsize="medium", loc="left")
    return image
