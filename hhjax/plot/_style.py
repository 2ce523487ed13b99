"""How every figure here looks."""

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""The palette of M. Okabe and K. Ito (2008), which colour-blind readers can tell apart."""


def new_axes(ax: Axes | None, xlabel: str, ylabel: str) -> Axes:
    if ax is None:
        _, ax = plt.subplots(figsize=(7, 3), layout="constrained")
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    ax.spines[["top", "right"]].set_visible(False)
    return ax
