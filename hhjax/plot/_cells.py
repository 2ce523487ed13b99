"""Cells: their shape, and V along it."""

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, QuadMesh
from matplotlib.lines import Line2D

from .._base.arguments import check_kind
from .._draw import beside, COLOURS, dress, line, new_axes
from .._model.cell import Cell
from .._run.solution import Solution
from ..cells import Morphology
from ._traces import check_solution


def morphology(
    cell: Cell | Morphology,
    values: Any = None,
    *,
    label: str = "V (mV)",
    colorbar: bool = True,
    legend: bool = True,
    ax: Axes | None = None,
    **style: Any,
) -> LineCollection:
    """The compartments of a cell, as wide as they are, in the plane of x and y of the file it is from.

    A cell without places is drawn as a tree, with the way from the root to the right.

    **Arguments:** `values`: a number for each compartment, shown by colour, such as a row of `run.V`; by
    default regions have colours; `label`: what the values are; `legend`: whether to name the regions;
    `style`: passed on to `LineCollection`.

    **Returns:** the lines, one for each compartment.

    **Raises:** `ValueError` for values that are not one for each compartment.
    """
    shape = cell.morphology if isinstance(cell, Cell) else cell
    rows = _rows(shape)
    ends = _ends(shape, rows)
    if ax is None:
        _, ax = plt.subplots(figsize=(5, 4.5), layout="constrained")
    for name, section in shape.sections.items():
        if rows is not None and section.parent is not None:
            x = float(shape.distance(name, 0.0))
            ax.plot([x, x], [rows[section.parent], rows[name]], color="0.6", linewidth=0.8, zorder=0)
    width = 0.8 + 5 * shape.compartments.diameter / shape.compartments.diameter.max()
    look: dict[str, Any] = {"linewidths": width, "capstyle": "round" if values is None else "butt"}
    if values is None:
        colours = dict(zip(shape.regions, COLOURS * len(shape.regions)))
        look["colors"] = [colours[region] for region in shape.compartments.region]
    lines = LineCollection(list(ends), **(look | style))
    ax.add_collection(lines)
    if values is not None:
        values = np.asarray(values, float)
        if values.shape != (shape.n,):
            raise ValueError(
                f"`values` must have shape ({shape.n},), a compartment each, got {values.shape}."
            )
        lines.set_array(values)
        if colorbar:
            ax.figure.colorbar(lines, ax=ax, label=label, shrink=0.8)
    elif legend:
        for region, colour in colours.items():
            ax.plot([], [], color=colour, linewidth=3, label=region)
        beside(ax)
    ax.autoscale()
    if rows is None:
        dress(ax, "x (µm)", "y (µm)").set_aspect("equal", adjustable="datalim")
    else:
        dress(ax, "Distance from the root (µm)", "").set_yticks([])
        ax.spines["left"].set_visible(False)
    return lines


def along(
    run: Solution, cell: Cell, to: str | int, *, colorbar: bool = True, ax: Axes | None = None, **style: Any
) -> QuadMesh:
    """V (colour, mV) on the way from the root of a cell to a place, over time.

    **Arguments:** `run`: of that cell alone, with V saved at every time; `to`: the place, see
    [`hh.cells.Morphology`][]; `style`: passed on to `Axes.pcolormesh`.
    """
    shape = cell.morphology
    way = shape.way(to)
    V = _check_V(run, shape)
    if ax is None:
        _, ax = plt.subplots(figsize=(7, 3), layout="constrained")
    of = shape.compartments
    distance = of.length[way[0]] / 2 + np.append(0.0, np.cumsum(np.abs(np.diff(of.distance[way]))))
    image = ax.pcolormesh(np.asarray(run.ts), distance, V[:, way].T, **({"shading": "nearest"} | style))
    dress(ax, "Time (ms)", "Distance (µm)")
    if colorbar:
        ax.figure.colorbar(image, ax=ax, label="V (mV)")
    return image


def places(
    run: Solution,
    cell: Cell,
    places: Sequence[str | int],
    *,
    axes: Sequence[Axes] | None = None,
    **style: Any,
) -> list[Line2D]:
    """V (mV) at places of a cell against time (ms), and beside it the cell with these places.

    **Arguments:** `run`: of that cell alone, with V saved at every time; `places`: see
    [`hh.cells.Morphology`][]; `axes`: two, for V and the cell; `style`: of the traces, passed on to
    `Axes.plot`.

    **Returns:** the traces, one for each place.
    """
    shape = check_kind("cell", cell, Cell, "an hh.Cell").morphology
    names = [places] if isinstance(places, str | int) else list(places)
    at = [shape.index(place) for place in names]
    V = _check_V(run, shape)
    if axes is None:
        _, axes = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained", width_ratios=[2, 1])
    if len(axes) != 2:
        raise ValueError(f"`axes` must be two, for V and the cell, got {len(axes)}.")
    left, right = new_axes(axes[0], "Time (ms)", "Membrane potential (mV)"), axes[1]
    morphology(shape, legend=False, colors="0.75", ax=right)
    middles = _ends(shape, _rows(shape)).mean(axis=1)
    lines = []
    for name, i in zip(names, at):
        lines += line(left, run.ts, V[:, i], **({"linewidth": 1.2, "label": str(name)} | style))
        colour = lines[-1].get_color()
        right.plot(*middles[i], "o", color=colour, markersize=7, markeredgecolor="w", label=str(name))
    beside(right)
    return lines


def _check_V(run: Solution, shape: Morphology) -> np.ndarray:
    V = np.asarray(check_solution(run, "run").V)
    if V.ndim != 2 or V.shape[1] != shape.n:
        raise ValueError(f"`run` must have V of shape (times, {shape.n}), got {V.shape}.")
    return V


def _ends(shape: Morphology, rows: dict[str, float] | None) -> np.ndarray:
    """Both ends of every compartment in the plane, shape (n, 2, 2); by `rows`, or places for `None`."""
    found = []
    for name in (name for names in shape.by_region.values() for name in names):
        section, along = shape.sections[name], np.linspace(0, 1, shape.sizes[name] + 1)
        if rows is None:
            at = np.append(0.0, np.cumsum(section.length)) / section.length.sum()
            points = np.asarray(section.points, float)
            xy = np.stack([np.interp(along, at, points[:, k]) for k in (0, 1)], axis=1)
        else:
            xy = np.stack([shape.distance(name, along), np.full(along.size, rows[name])], axis=1)
        found.append(np.stack([xy[:-1], xy[1:]], axis=1))
    return np.concatenate(found)


def _rows(shape: Morphology) -> dict[str, float] | None:
    """The height at which each section is drawn: a tip has a row, others are between what they carry.

    `None` for a shape with places of its own.
    """
    if all(x.points is not None for x in shape.sections.values()):
        return None
    children: dict[str, list[str]] = {}
    order = shape.from_root
    for name in order:
        if (parent := shape.sections[name].parent) is not None:
            children.setdefault(parent, []).append(name)
    rows: dict[str, float] = {}
    stack, tips = [order[0]], 0
    while stack:
        name = stack.pop()
        if name not in children:
            rows[name] = float(-tips)
            tips += 1
        stack.extend(reversed(children.get(name, [])))
    for name in reversed(order):
        if name in children:
            rows[name] = float(np.mean([rows[child] for child in children[name]]))
    return rows
