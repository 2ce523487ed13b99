"""Plots of protocols and of what an analysis finds: families of steps, curves, sensitivities."""

from collections.abc import Sequence
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.container import BarContainer
from matplotlib.lines import Line2D

from .._base.arguments import check_kind
from .._draw import beside, COLOURS, line, new_axes
from .._model.neuron import Neuron
from ..analysis._current_clamp import CurrentClamp
from ..analysis._gating import gate_kinetics, GatingCurve
from ..analysis._sensitivity import Sensitivity
from ..analysis._voltage_clamp import IVCurve, VoltageClamp
from ..channels._channel import Channel


def _family(
    ts: Any, above: Any, below: Any, levels: Any, title: str, ylabels: Sequence[str], axes: Any, style: Any
) -> list[Line2D]:
    """One line for each step above and below, dark to light in the order of the levels."""
    if axes is None:
        _, axes = plt.subplots(
            2, 1, figsize=(7, 4.5), layout="constrained", sharex=True, height_ratios=[3, 1], squeeze=True
        )
    if len(axes) != 2:
        raise ValueError(f"`axes` must be two, for the responses and what was applied, got {len(axes)}.")
    top, bottom = axes
    new_axes(top, "", ylabels[0])
    new_axes(bottom, "Time (ms)", ylabels[1])
    shades = matplotlib.colormaps["viridis"](np.linspace(0.0, 0.9, len(levels)))
    lines = []
    for ax, rows in ((top, above), (bottom, below)):
        for row, level, shade in zip(np.asarray(rows), np.asarray(levels), shades):
            look = {"color": shade, "linewidth": 1.2, "label": f"{level:g}"} | style
            lines += ax.plot(np.asarray(ts), row, **look)
    if len(levels) > 1:
        handles = lines[: len(levels)][::-1]
        beside(top, handles=handles, title=title, fontsize="small")
    return lines


def voltage_clamp(
    clamp: VoltageClamp,
    channel: str | None = None,
    *,
    by: str = "test",
    axes: Sequence[Axes] | None = None,
    **style: Any,
) -> list[Line2D]:
    """Ionic current (µA/cm²) of every step against time (ms), and the command (mV) below.

    **Arguments:** `channel`: whose, by default that of all together; `by`: the epoch whose
    potentials tell the steps apart; `axes`: two, for current and command; `style`: passed on to
    `Axes.plot`.

    **Returns:** the lines of the currents, then those of the commands.
    """
    check_kind("clamp", clamp, VoltageClamp, "an hh.analysis.VoltageClamp")
    what = "Ionic current" if channel is None else f"Current of {channel}"
    ylabels = (f"{what} (µA/cm²)", "V (mV)")
    current, levels = clamp.current(channel), clamp.potential(by)
    return _family(clamp.ts, current, clamp.V, levels, f"{by} (mV)", ylabels, axes, style)


def current_clamp(family: CurrentClamp, *, axes: Sequence[Axes] | None = None, **style: Any) -> list[Line2D]:
    """Membrane potential (mV) of every step against time (ms), and the current (µA/cm²) below.

    **Arguments:** `axes`: two, for V and current; `style`: passed on to `Axes.plot`.

    **Returns:** the lines of V, then those of the currents.
    """
    check_kind("family", family, CurrentClamp, "an hh.analysis.CurrentClamp")
    ts, currents = np.asarray(family.ts), np.asarray(family.currents)
    on = (ts >= family.start) & (ts < family.stop)
    ylabels = ("Membrane potential (mV)", "I (µA/cm²)")
    return _family(ts, family.V, currents[:, None] * on, currents, "I (µA/cm²)", ylabels, axes, style)


def iv_curve(
    curve: IVCurve, *, label: str | None = None, ax: Axes | None = None, **style: Any
) -> list[Line2D]:
    """Peak and steady current (µA/cm²) against test potential (mV).

    **Arguments:** `label`: whose current, put before "peak" and "steady"; `style`: passed on to
    `Axes.plot`.

    **Returns:** the lines of the peak and of the steady current.
    """
    check_kind("curve", curve, IVCurve, "an hh.analysis.IVCurve")
    ax = new_axes(ax, "Test potential (mV)", "Ionic current (µA/cm²)")
    ax.axhline(0.0, color="0.8", linewidth=0.8, zorder=0)
    lines = []
    for marker, name, values in zip("os", ("peak", "steady"), (curve.peak, curve.steady)):
        look = {"marker": marker, "markersize": 4, "linewidth": 1.2}
        look["label"] = name if label is None else f"{label}, {name}"
        lines += line(ax, curve.V, values, **(look | style))
    beside(ax)
    return lines


def activation(
    neuron: Neuron | Channel | dict[str, GatingCurve],
    V: Any = None,
    channel: str | None = None,
    *,
    axes: Sequence[Axes] | None = None,
    **style: Any,
) -> list[Line2D]:
    """Steady states of a channel's gates, and their time constants (ms), against V (mV).

    **Arguments:** `neuron`: an [`hh.Neuron`][] with `channel` by name, or an [`hh.Channel`][] alone; or
    measured curves by name, as from [`hh.analysis.activation_curve`][], for one panel without time
    constants; `V`: mV, by default −100 to 50; `axes`: two (one for measured curves); `style`: passed on
    to `Axes.plot`.

    **Returns:** the lines of the steady states, then those of the time constants.
    """
    measured = isinstance(neuron, dict)
    panels = 1 if measured else 2
    if axes is None:
        _, grid = plt.subplots(1, panels, figsize=(3.5 * panels, 3), layout="constrained", squeeze=False)
        axes = grid[0]
    if len(axes) != panels:
        raise ValueError(f"`axes` must be {panels}, got {len(axes)}.")
    V = np.linspace(-100.0, 50.0, 301) if V is None else np.asarray(V, float)
    new_axes(axes[0], "Membrane potential (mV)", "Relative peak conductance" if measured else "Steady state")
    axes[0].set_ylim(-0.03, 1.03)
    lines = []
    if measured:
        for name, curve in neuron.items():
            look = {"marker": "o", "markersize": 4, "linewidth": 1.2, "label": name}
            lines += line(axes[0], curve.V, curve.relative, **(look | style))
    else:
        curves = gate_kinetics(neuron, V, channel)
        new_axes(axes[1], "Membrane potential (mV)", "Time constant (ms)")
        for ax, part in zip(axes, ("inf", "tau")):
            for gate, curve in curves.items():
                lines += line(ax, V, getattr(curve, part), **({"linewidth": 1.5, "label": gate} | style))
        axes[1].set_ylim(bottom=0.0)
    beside(axes[0], fontsize="small", ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return lines


def sensitivity(
    table: Sensitivity,
    *,
    entry: Any = (),
    relative: bool = True,
    most: int = 15,
    ax: Axes | None = None,
    **style: Any,
) -> BarContainer:
    """How much each parameter moves a feature, as bars from the most to the least.

    **Arguments:** `entry`: the index of the number to show, of a feature that has several;
    `relative`: whether in percent of the feature, or in its unit, for 1 % more of the parameter;
    `most`: how many parameters at most; `style`: passed on to `Axes.barh`.
    """
    check_kind("table", table, Sensitivity, "an hh.analysis.Sensitivity")
    entry = entry if isinstance(entry, tuple) else (entry,)
    values = np.asarray(table.elasticity if relative else table.per_percent)[(slice(None), *entry)]
    if values.ndim != 1:
        raise ValueError(
            f"`entry` must choose one number of a feature of shape {table.feature.shape}, got {entry}."
        )
    order = np.argsort(-np.abs(values), kind="stable")[:most]
    if ax is None:
        _, ax = plt.subplots(figsize=(5, 1.0 + 0.28 * len(order)), layout="constrained")
    unit = "%" if relative else "unit of the feature"
    new_axes(ax, f"Change of the feature for 1 % more ({unit})", "")
    colours = [COLOURS[0] if value >= 0 else COLOURS[1] for value in values[order]]
    look = {"color": colours, "height": 0.7} | style
    bars = ax.barh([table.names[k] for k in order], values[order], **look)
    ax.axvline(0.0, color="0.3", linewidth=0.8)
    ax.invert_yaxis()
    return bars
