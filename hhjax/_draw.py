"""How every figure here looks."""

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""The palette of M. Okabe and K. Ito (2008), which colour-blind readers can tell apart."""


_STYLES = ("-", "--", ":", "-.")


_CYCLE = cycler(linestyle=_STYLES) * cycler(color=COLOURS)


def dress(ax: Axes, xlabel: str, ylabel: str) -> Axes:
    """Labels, and the colours and line styles of lines, of which the first 28 differ, over all calls."""
    if not ax.lines or not getattr(ax, "_hhjax_cycle", False):
        ax.set_prop_cycle(_CYCLE)
        ax._hhjax_cycle = True
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def new_axes(ax: Axes | None, xlabel: str, ylabel: str) -> Axes:
    if ax is None:
        _, ax = plt.subplots(figsize=(7, 3), layout="constrained")
    return dress(ax, xlabel, ylabel)


def new_pair(axes: Sequence[Axes] | None, xlabel: str, ylabels: Sequence[str]) -> tuple[Axes, Axes]:
    """Two axes above each other that share the time, the upper one the larger."""
    if axes is None:
        _, axes = plt.subplots(
            2, 1, figsize=(7, 4.2), layout="constrained", sharex=True, height_ratios=[3, 1.2]
        )
    if len(axes) != 2:
        raise ValueError(f"`axes` must be two, one above the other, got {len(axes)}.")
    above, below = axes
    dress(above, "", ylabels[0]).tick_params(labelbottom=False)
    return above, dress(below, xlabel, ylabels[1])


def line(ax: Axes, x: Any, y: Any, **style: Any) -> list[Line2D]:
    """A line in the next colour and line style of the axes, unless the style names a colour."""
    if {"color", "c"} & set(style) and not {"linestyle", "ls"} & set(style):
        style["linestyle"] = "-"
    return ax.plot(np.asarray(x), np.asarray(y), **style)


def beside(ax: Axes, **options: Any) -> None:
    """A legend of all that has a label, outside the axes, where it hides nothing."""
    at = {"frameon": False, "loc": "upper left", "bbox_to_anchor": (1.0, 1.03)}
    ax.legend(**(at | options))
    if ax.figure.figure.get_layout_engine() is None:  # which would leave no room for it
        ax.figure.figure.set_layout_engine("constrained")


def overlay(
    ts: Any,
    data: Any,
    model: Any,
    titles: Sequence[str],
    *,
    label: str = "Membrane\npotential (mV)",
    axes: Sequence[Axes] | None = None,
    **style: Any,
) -> list[Line2D]:
    """Data under a model, one row for each sweep.

    **Arguments:** `ts`: ms, shape (times,); `data`, `model`: shape (sweeps, times); `titles`: of the
    sweeps; `label`: of data and model, with their unit; `axes`: one for each sweep; `style`: of the model's
    lines, passed on to `Axes.plot`.
    """
    if axes is None:
        size = (7, 1 + 1.8 * len(data))
        _, grid = plt.subplots(len(data), 1, figsize=size, layout="constrained", sharex=True, squeeze=False)
        axes = grid[:, 0]
    lines = []
    look = {"color": COLOURS[1], "linewidth": 1, "label": "fit"} | style
    for row, (recorded, fitted, title, ax) in enumerate(zip(data, model, titles, axes, strict=True)):
        ax = new_axes(ax, "Time (ms)" if row == len(data) - 1 else "", label)
        lines += ax.plot(ts, recorded, color="0.65", linewidth=2, label="data")
        lines += ax.plot(ts, fitted, **look)
        ax.set_title(title, fontsize="medium", loc="left")
    beside(axes[0], loc="lower right", bbox_to_anchor=(1, 1), ncols=2)
    return lines
