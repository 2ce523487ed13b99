"""Equilibria of one neuron over a range of current: all branches, folds and Hopf points."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Complex, Float

from .._base.arguments import as_range
from .._base.host import number, table
from ._steady import as_grid, as_one_neuron, crossings, steady_curve, SteadyCurve
from ._system import System


class Branches(eqx.Module):
    """The equilibria of one neuron over a range of current, as one curve.

    The curve runs through all branches in the order of V, which determines the current. Where it
    leaves the range and comes back, a row of NaN keeps the parts apart.

    **Fields:**

    - `V`: mV, shape (points,), increasing; `current`: µA/cm², the same shape.
    - `eigenvalues`: of the Jacobian, 1/ms, shape (points, state variables), the one with the
        greatest real part first.
    - `fold_current`, `fold_V`: the saddle-nodes, where two branches meet: µA/cm² and mV, shape
        (folds,).
    - `hopf_current`, `hopf_V`, `hopf_frequency`: the Hopf points, where a pair of eigenvalues
        crosses the imaginary axis: µA/cm², mV and Hz, shape (Hopf points,).
    """

    V: Float[Array, " points"]
    current: Float[Array, " points"]
    eigenvalues: Complex[Array, "points N"]
    fold_current: Float[Array, " folds"]
    fold_V: Float[Array, " folds"]
    hopf_current: Float[Array, " hopfs"]
    hopf_V: Float[Array, " hopfs"]
    hopf_frequency: Float[Array, " hopfs"]

    @property
    def stable(self) -> Bool[Array, " points"]:
        """Whether each equilibrium is stable, shape (points,)."""
        return self.eigenvalues[:, 0].real < 0

    def __str__(self) -> str:
        rows = [["fold", I, V, np.nan] for I, V in zip(self.fold_current, self.fold_V)]
        rows += [["Hopf", *x] for x in zip(self.hopf_current, self.hopf_V, self.hopf_frequency)]
        if not rows:
            return "no fold and no Hopf point"
        shown = [[kind, *(number(float(x), 9) for x in numbers)] for kind, *numbers in rows]
        return table(["point", "current (µA/cm²)", "V (mV)", "frequency (Hz)"], shown)


def branches(
    network: Any,
    currents: tuple[float, float],
    *,
    V: tuple[float, float] = (-120.0, 60.0),
    points: int = 1001,
) -> Branches:
    """All equilibria of one neuron between two currents, with its folds and Hopf points.

    Every V is an equilibrium at one current, that of the steady-state I-V curve. At a fold the slope of
    this curve changes sign. At a Hopf point the product of all sums of two eigenvalues changes sign. Both
    are refined to the last digits. For another parameter than the current, or for many neurons, see
    [`hh.analysis.equilibrium`][].

    ```python
    print(hh.analysis.branches(hh.squid_axon(), (0.0, 200.0)))
    ```

    **Arguments:** `network`: an [`hh.Neuron`][]; `currents`: the lowest and highest, µA/cm²; `V`:
    where to look, mV; `points`: on the curve: two special points closer in V than the spacing may
    be missed.

    **Returns:** an [`hh.analysis.Branches`][].

    **Raises:** `ValueError` if there is no equilibrium in the range.
    """
    low, high = as_range("currents", currents, "µA/cm²")
    system = as_one_neuron(network, 0.0)
    grid = as_grid(V, points, system.current.dtype)
    for _ in range(2):  # the second time on the part of the curve that lies within the range
        curve = steady_curve(system, grid)
        inside = (curve.current >= low) & (curve.current <= high)
        # A crossing between two points counts too: the curve may be steep.
        below, above = np.asarray(curve.current < low), np.asarray(curve.current > high)
        passed = (below[:-1] & above[1:]) | (above[:-1] & below[1:])
        (kept,) = np.nonzero(np.asarray(inside) | np.append(passed, False) | np.insert(passed, 0, False))
        if kept.size == 0:
            raise ValueError(
                f"No equilibrium between {low:g} and {high:g} µA/cm² and {V[0]:g} and {V[1]:g} mV: widen `V`."
            )
        ends = float(grid[max(kept[0] - 1, 0)]), float(grid[min(kept[-1] + 1, points - 1)])
        grid = as_grid(ends, points, system.current.dtype)
    return _within(system, curve, low, high)


def _within(system: System, curve: SteadyCurve, low: float, high: float) -> Branches:
    """The part of a curve between two currents, with its special points."""
    inside = lambda current: (current >= low) & (current <= high)
    kept = np.asarray(inside(curve.current))
    gap = ~kept & np.insert(kept[:-1], 0, False)  # the first point outside
    last = np.nonzero(kept)[0][-1]
    rows = np.nonzero(kept | (gap & (np.arange(kept.size) < last)))[0]
    blank = lambda x: jnp.asarray(np.where(kept[rows].reshape(-1, *[1] * (x.ndim - 1)), x[rows], np.nan))
    folds, hopfs = [], []
    for fine, i in crossings(system, curve, lambda curve: np.asarray(curve.slope)):
        folds.append([fine.current[i], fine.V[i]])
    for fine, i in crossings(system, curve, _crossing) if curve.eigenvalues.shape[1] > 1 else ():
        hopfs.append([fine.current[i], fine.V[i], _frequency(np.asarray(fine.eigenvalues[i]))])
    there = lambda rows: [row for row in rows if inside(row[0]) and not np.isnan(row[-1])]
    columns = lambda rows, count: jnp.asarray(np.array(there(rows), curve.V.dtype).reshape(-1, count).T)
    special = *columns(folds, 2), *columns(hopfs, 3)
    return Branches(blank(curve.V), blank(curve.current), blank(curve.eigenvalues), *special)


def _pairs(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The sums of all pairs of eigenvalues, (..., pairs), and the smaller imaginary part of each."""
    i, j = np.triu_indices(values.shape[-1], k=1)
    size = np.abs(np.imag(values))
    return values[..., i] + values[..., j], np.minimum(size[..., i], size[..., j])


def _crossing(curve: SteadyCurve) -> np.ndarray:
    """The sign of the product of all sums of two eigenvalues, which is real."""
    sums, _ = _pairs(np.asarray(curve.eigenvalues))
    size = np.abs(sums)
    return np.prod(sums / np.where(size > 0, size, 1.0), axis=-1).real


def _frequency(values: np.ndarray) -> float:
    """Hz of the pair on the imaginary axis; NaN if the two are real, as at a neutral saddle."""
    sums, imaginary = _pairs(values)
    at = np.argmin(np.abs(sums))
    return 1000 * imaginary[at] / (2 * np.pi) if imaginary[at] > 10 * np.abs(sums[at]) else np.nan
