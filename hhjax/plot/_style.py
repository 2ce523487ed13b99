"""How every figure here looks."""

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""The palette of M. Okabe and K. Ito (2008), which colour-blind readers can tell apart."""

_STYLES = ("-", "--", ":", "-.")


def look(k: int) -> dict[str, Any]:
    """Colour and line style of line k; none is like another for the first 28."""
    return {"color": COLOURS[k % len(COLOURS)], "linestyle": _STYLES[k // len(COLOURS) % len(_STYLES)]}


def dress(ax: Axes, xlabel: str, ylabel: str) -> Axes:
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


def beside(ax: Axes, **options: Any) -> None:
    """A legend to the right of the axes, where it hides nothing."""
    ax.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.03), **options)
