"""Curves over a parameter, a time constant or a frequency: firing rates, sweeps, bifurcations, responses."""

from collections.abc import Iterable, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import ListedColormap
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from .._base.arguments import as_host, check_kind
from .._base.parameters import shown
from .._draw import beside, COLOURS, dress, line, new_axes
from .._run.sweep import Sweep
from ..analysis._branches import Branches
from ..analysis._continuation import OrbitBranch
from ..analysis._equilibria import Impedance
from ..analysis._phase import PhaseResponse

_MARKERS = "osD^vP*XhdpH8<>"


def fi_curve(
    currents: Any, rates: Any, *, label: str | None = None, ax: Axes | None = None, **style: Any
) -> list[Line2D]:
    """Firing rate (Hz) against injected current (µA/cm²), with a gap between silence and firing.

    **Returns:** the line, in a list; NaN is where the gap is.
    """
    currents = as_host("currents", currents, "µA/cm²", axes="(steps,)")
    rates = as_host("rates", rates, "Hz", shapes=[currents.shape], missing=True)
    ax = new_axes(ax, "Injected current (µA/cm²)", "Firing rate (Hz)")
    look = {"marker": "o", "markersize": 3, "linewidth": 1.2, "label": label}
    gaps = np.flatnonzero(np.diff(rates > 0)) + 1
    lines = line(ax, np.insert(currents, gaps, np.nan), np.insert(rates, gaps, np.nan), **(look | style))
    if label:
        beside(ax)
    return lines


def sweep(
    result: Sweep,
    values: Any,
    *,
    label: str = "Spikes (no unit)",
    categories: Sequence[str] | None = None,
    ax: Axes | None = None,
    **style: Any,
) -> list[Line2D] | QuadMesh:
    """A quantity of a sweep of one neuron against its one axis, or as colours over its two.

    ```python
    plot.sweep(result, np.where(rates > 0, "fires", "silent"), label="Regime", categories=["silent", "fires"])
    ```

    **Arguments:** `values`: shape of the axes, with or without a last axis of one neuron, such
    as `result.reduced`, or names of categories; `label`: what they are, with their unit; `categories`:
    the names in their order, by default that of the alphabet; `style`: passed on to `Axes.plot` or
    `Axes.pcolormesh`.

    **Returns:** a line in a list, or the mesh of colours.

    **Raises:** `ValueError` for other shapes, for more than two axes, and for axes along which
    several parameters vary or whole arrays.
    """
    check_kind("result", result, Sweep, "an hh.Sweep")
    axes = {name: x if isinstance(x, list) else np.asarray(x) for name, x in result.axes.items()}
    plain = all(isinstance(x, np.ndarray) and x.ndim == 1 for x in axes.values())
    if not 1 <= len(axes) <= 2 or not plain:
        raise ValueError(f"`result` must have one or two axes of numbers, got {', '.join(axes)}.")
    shape = tuple(x.size for x in axes.values())
    values, categories = _numbered(values, categories)
    values = values[..., 0] if values.shape == (*shape, 1) else values
    if values.shape != shape:
        raise ValueError(f"`values` must have shape {shape} or {(*shape, 1)}, got {values.shape}.")
    names = [result.axis_label(name) for name in axes]
    if len(axes) == 1:
        ax = new_axes(ax, names[0], label)
        options = {"marker": "o", "markersize": 3, "linewidth": 0.0 if categories else 1.2} | style
        if categories:
            ax.set_yticks(range(len(categories)), categories)
            ax.set_ylim(-0.5, len(categories) - 0.5)
        return line(ax, *axes.values(), values, **options)
    if ax is None:
        _, ax = plt.subplots(figsize=(6, 4), layout="constrained")
    dress(ax, *names)
    first, second = axes.values()
    look: dict[str, Any] = {"cmap": "viridis", "shading": "nearest"}
    if categories:
        colours = (COLOURS * len(categories))[: len(categories)]
        look |= {"cmap": ListedColormap(colours), "vmin": -0.5, "vmax": len(categories) - 0.5}
    mesh = ax.pcolormesh(first, second, values.T, **(look | style))
    if categories:
        shades = [mesh.cmap(mesh.norm(k)) for k in range(len(categories))]
        patches = [Patch(color=shade, label=name) for shade, name in zip(shades, categories)]
        beside(ax, handles=patches, title=label, alignment="left")
    else:
        ax.figure.colorbar(mesh, ax=ax, label=label)
    return mesh


def _numbered(values: Any, categories: Sequence[str] | None) -> tuple[np.ndarray, list[str]]:
    """Numbers, and the names of what is counted from 0 if these are categories."""
    names = np.asarray(values)
    if not (names.size and all(isinstance(x, str) for x in names.ravel())):
        if categories is not None:
            raise ValueError(f"`values` must be names where there are `categories`, got {shown(values)}.")
        return as_host("values", values, missing=True, finite=False), []
    known = sorted(set(names.ravel().tolist())) if categories is None else list(categories)
    if strangers := set(names.ravel().tolist()) - set(known):
        raise ValueError(f"`values` must be among the categories {known}, got {sorted(map(str, strangers))}.")
    order = {name: float(k) for k, name in enumerate(known)}
    return np.vectorize(order.__getitem__, otypes=[float])(names), known


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
        options = {"marker": _MARKERS[k % len(_MARKERS)], "markersize": 5, "linewidth": 1.2, "label": name}
        at = np.array(sorted(points)).reshape(-1, 2).T
        lines += line(ax, *at, **(options | style))
    ax.set(xscale="log", yscale="log")
    ax.grid(which="major", color="0.92")
    ax.set_axisbelow(True)
    beside(ax)
    return lines


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
    check_kind("branches", branches, Branches, "an hh.analysis.Branches")
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
        beside(ax, fontsize="small")
    return lines


def prc(response: PhaseResponse, *, neuron: int = 0, ax: Axes | None = None, **style: Any) -> list[Line2D]:
    """Phase response: the advance (ms/mV) by a kick of V against its time after the peak of V (ms).

    **Arguments:** `response`: from [`hh.analysis.phase_response`][]; `neuron`: which is kicked;
    `style`: passed on to `Axes.plot`.
    """
    check_kind("response", response, PhaseResponse, "an hh.analysis.PhaseResponse")
    ax = new_axes(ax, "Time of the kick after the peak (ms)", "Advance (ms/mV)")
    ax.axhline(0.0, color="0.7", linewidth=0.8)
    look = {"linewidth": 1.5} | style
    lines = line(ax, response.ts, np.asarray(response.V)[:, neuron], **look)
    ax.set_xlim(0.0, float(response.period))
    return lines


def impedance(
    response: Impedance, *, neuron: int = 0, axes: Sequence[Axes] | None = None, **style: Any
) -> list[Line2D]:
    """Input impedance: magnitude (kΩ·cm²) and phase (degrees) against frequency (Hz).

    **Arguments:** `response`: from [`hh.analysis.impedance`][]; `neuron`: whose; `axes`: two, for
    magnitude and phase; `style`: passed on to `Axes.plot`.
    """
    check_kind("response", response, Impedance, "an hh.analysis.Impedance")
    if axes is None:
        _, axes = plt.subplots(2, 1, figsize=(7, 4.5), layout="constrained", sharex=True)
    upper, lower = axes
    upper = new_axes(upper, "", "Impedance (kΩ·cm²)")
    lower = new_axes(lower, "Frequency (Hz)", "Phase (degrees)")
    f, Z = np.asarray(response.frequencies), np.asarray(response.input)[:, neuron]
    look = {"linewidth": 1.5} | style
    lines = line(upper, f, np.abs(Z), **look) + line(lower, f, np.degrees(np.unwrap(np.angle(Z))), **look)
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
