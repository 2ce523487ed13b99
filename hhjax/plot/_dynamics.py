"""Plots of models as dynamical systems."""

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from .._draw import COLOURS, new_axes
from ..analysis._branches import Branches
from ..analysis._continuation import OrbitBranch
from ..analysis._impedance import Impedance
from ..analysis._phase import PhaseResponse


def _where(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """`values` with NaN where not in the mask or next to it, so that the parts of a line meet."""
    near = mask | np.append(mask[1:], False) | np.insert(mask[:-1], 0, False)
    return np.where(near, values, np.nan)


def bifurcation(
    branches: Branches,
    orbits: OrbitBranch | Sequence[OrbitBranch] = (),
    *,
    neuron: int = 0,
    legend: bool = True,
    ax: Axes | None = None,
    **style: Any,
) -> list[Line2D]:
    """Bifurcation diagram: V (mV) of equilibria and extremes of V on orbits against current (µA/cm²).

    Solid lines are stable, dashed ones unstable; folds and Hopf points are marked.

    **Arguments:** `branches`: from [`hh.analysis.branches`][]; `orbits`: one or several from
    [`hh.analysis.continue_orbit`][]; `neuron`: whose V on the orbits; `legend`: whether to show it;
    `style`: of all lines, passed on to `Axes.plot`.
    """
    ax = new_axes(ax, "Injected current (µA/cm²)", "Membrane potential (mV)")
    lines = []

    def draw(current: Any, V: Any, stable: Any, colour: str, label: str | None) -> None:
        current, V, stable = (np.asarray(x) for x in (current, V, stable))
        for mask, dash, kind in ((stable, "-", "stable"), (~stable, "--", "unstable")):
            if mask.any():
                name = label and f"{kind} {label}"
                # The solid line ends where stability does; the dashed one reaches up to it.
                values = np.where(mask, V, np.nan) if kind == "stable" else _where(V, mask)
                look = {"color": colour, "linewidth": 1.5, "linestyle": dash, "label": name} | style
                lines.extend(ax.plot(current, values, **look))

    draw(branches.current, branches.V, branches.stable, COLOURS[6], "equilibrium")
    for k, orbit in enumerate([orbits] if isinstance(orbits, OrbitBranch) else orbits):
        top, bottom = orbit.V_max[:, neuron], orbit.V_min[:, neuron]
        draw(orbit.current, top, orbit.stable, COLOURS[0], None if k else "orbit, extremes of V")
        draw(orbit.current, bottom, orbit.stable, COLOURS[0], None)
    dots = {"linestyle": "", "markersize": 6, "zorder": 3}
    marks = (("fold", "s", COLOURS[4]), ("hopf", "o", COLOURS[1]))
    for name, marker, colour in marks:
        current, V = getattr(branches, f"{name}_current"), getattr(branches, f"{name}_V")
        if current.size:
            label = {"fold": "fold", "hopf": "Hopf point"}[name]
            lines += ax.plot(current, V, marker=marker, color=colour, label=label, **dots)
    if legend:
        ax.legend(frameon=False, fontsize="small", loc="center left", bbox_to_anchor=(1.0, 0.5))
    return lines


def prc(response: PhaseResponse, *, neuron: int = 0, ax: Axes | None = None, **style: Any) -> list[Line2D]:
    """Phase response: the advance (ms/mV) by a kick of V against its time after the peak of V (ms).

    **Arguments:** `response`: from [`hh.analysis.phase_response`][]; `neuron`: which is kicked;
    `style`: passed on to `Axes.plot`.
    """
    ax = new_axes(ax, "Time of the kick after the peak (ms)", "Advance (ms/mV)")
    ax.axhline(0.0, color="0.7", linewidth=0.8)
    look = {"color": COLOURS[0], "linewidth": 1.5} | style
    lines = ax.plot(np.asarray(response.ts), np.asarray(response.V)[:, neuron], **look)
    ax.set_xlim(0.0, float(response.period))
    return lines


def impedance(
    response: Impedance, *, neuron: int = 0, axes: Sequence[Axes] | None = None, **style: Any
) -> list[Line2D]:
    """Input impedance: magnitude (kΩ·cm²) and phase (degrees) against frequency (Hz).

    **Arguments:** `response`: from [`hh.analysis.impedance`][]; `neuron`: whose; `axes`: two, for
    magnitude and phase; `style`: passed on to `Axes.plot`.
    """
    if axes is None:
        _, axes = plt.subplots(2, 1, figsize=(7, 4.5), layout="constrained", sharex=True)
    upper, lower = axes
    upper = new_axes(upper, "", "Impedance (kΩ·cm²)")
    lower = new_axes(lower, "Frequency (Hz)", "Phase (degrees)")
    f, Z = np.asarray(response.frequencies), np.asarray(response.input)[:, neuron]
    look = {"color": COLOURS[0], "linewidth": 1.5} | style
    lines = upper.plot(f, np.abs(Z), **look) + lower.plot(f, np.degrees(np.unwrap(np.angle(Z))), **look)
    peak = float(response.resonance[neuron])
    inside = f[0] < peak < f[-1]
    for ax in (upper, lower):
        ax.set_xscale("log")
        if inside:
            ax.axvline(peak, color="0.7", linewidth=0.8, linestyle=":", zorder=0)
    if inside:
        upper.set_title(f"resonance at {peak:.1f} Hz", fontsize="medium", loc="left")
    lower.axhline(0.0, color="0.7", linewidth=0.8, zorder=0)
    return lines
