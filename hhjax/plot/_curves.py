"""Curves and maps over parameters."""

from collections.abc import Iterable
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.lines import Line2D

from .._draw import beside, COLOURS, dress, look, new_axes
from .._model.names import with_unit
from .._run.sweep import Sweep

_MARKERS = "osD^vP*XhdpH8<>"


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


def sweep(
    result: Sweep, values: Any, *, label: str = "Spikes (no unit)", ax: Axes | None = None, **style: Any
) -> list[Line2D] | QuadMesh:
    """A quantity of a sweep of one neuron against its one axis, or as colours over its two.

    **Arguments:** `values`: shape of the axes, with or without a last axis of one neuron, such
    as `result.reduced`; `label`: what they are, with their unit; `style`: passed on to
    `Axes.plot` or `Axes.pcolormesh`.

    **Returns:** a line in a list, or the mesh of colours.

    **Raises:** `ValueError` for other shapes, for more than two axes, and for axes along which
    several parameters vary or whole arrays.
    """
    axes = {name: x if isinstance(x, list) else np.asarray(x) for name, x in result.axes.items()}
    plain = all(isinstance(x, np.ndarray) and x.ndim == 1 for x in axes.values())
    if not 1 <= len(axes) <= 2 or not plain:
        raise ValueError(f"`result` must have one or two axes of numbers, got {', '.join(axes)}.")
    shape = tuple(x.size for x in axes.values())
    values = np.asarray(values)
    values = values[..., 0] if values.shape == (*shape, 1) else values
    if values.shape != shape:
        raise ValueError(f"`values` must have shape {shape} or {(*shape, 1)}, got {values.shape}.")
    names = [with_unit(result.network, name) for name in axes]
    if len(axes) == 1:
        ax = new_axes(ax, names[0], label)
        options = {"color": COLOURS[0], "marker": "o", "markersize": 3, "linewidth": 1.2} | style
        return ax.plot(*axes.values(), values, **options)
    if ax is None:
        _, ax = plt.subplots(figsize=(6, 4), layout="constrained")
    dress(ax, *names)
    first, second = axes.values()
    mesh = ax.pcolormesh(first, second, values.T, **({"cmap": "viridis", "shading": "nearest"} | style))
    ax.figure.colorbar(mesh, ax=ax, label=label)
    return mesh


def work_precision(
    results: Iterable[tuple[str, float, float]],
    *,
    cost: str = "Run time (ms)",
    error: str = "Error of the last spike (ms)",
    ax: Axes | None = None,
    **style: Any,
) -> list[Line2D]:
    """Error against cost of integrators, both logarithmic: lower and further left is better.

    **Arguments:** `results`: rows of (integrator, cost, error), in any order; rows without a
    finite error, of runs that blew up, are left out; `cost`, `error`: what the numbers are, with
    their units; `style`: passed on to `Axes.plot`.

    **Returns:** a line for each integrator, in the order in which they come, along rising cost.
    """
    rows: dict[str, list[tuple[float, float]]] = {}
    for name, work, off in results:
        rows.setdefault(str(name), [])
        if np.isfinite(work) and np.isfinite(off) and work > 0:
            rows[str(name)].append((float(work), abs(float(off))))
    if not any(rows.values()):
        raise ValueError("`results` must have at least one row of (integrator, cost > 0, finite error).")
    if ax is None:
        _, ax = plt.subplots(figsize=(6.5, 4), layout="constrained")
    dress(ax, cost, error)
    lines = []
    for k, (name, points) in enumerate(rows.items()):
        options = look(k) | {"marker": _MARKERS[k % len(_MARKERS)], "markersize": 5, "linewidth": 1.2}
        at = np.array(sorted(points)).reshape(-1, 2).T
        lines += ax.plot(*at, **(options | {"label": name} | style))
    ax.set(xscale="log", yscale="log")
    ax.grid(which="major", color="0.92")
    ax.set_axisbelow(True)
    beside(ax)
    return lines
