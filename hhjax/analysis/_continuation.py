"""A periodic orbit followed through a range of current, around folds and into Hopf points."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Complex, Float

from .._base.arguments import as_number, as_range
from .._base.parameters import check_size
from ._orbit import as_loop, by_modulus, check_orbit, is_stable, periodic_orbit, PeriodicOrbit
from ._shooting import along_current, close, Closed, count_pieces, Loop, scales
from ._system import System

_MOST = 400  # points in one direction


_LEAST_STEP, _GREATEST_STEP = 1e-3, 0.7  # of the scaled arc length


_OFF = 0.03  # of the multiplier that is 1, where steps are too few for the orbit


_FLAT = 0.3  # mV: an orbit that moves less has reached its Hopf point


class OrbitBranch(eqx.Module):
    """Periodic orbits over a range of current, in the order in which they were met.

    **Fields:**

    - `network`: whose orbits they are; `steps`, `neuron`: as in [`hh.analysis.periodic_orbit`][].
    - `current`: µA/cm², shape (points,); `period`: ms, shape (points,).
    - `V_max`, `V_min`: extremes of V, mV, shape (points, n).
    - `multipliers`: Floquet multipliers, shape (points, state variables).
    - `states`: along each orbit at even times, as vectors, shape (points, pieces, state variables).
    - `fold_current`, `fold_period`: the folds of limit cycles, where a stable and an unstable orbit
        or two unstable ones meet: µA/cm² and ms, shape (folds,).
    """

    network: Any
    current: Float[Array, " points"]
    period: Float[Array, " points"]
    V_max: Float[Array, "points n"]
    V_min: Float[Array, "points n"]
    multipliers: Complex[Array, "points N"]
    states: Float[Array, "points pieces N"]
    fold_current: Float[Array, " folds"]
    fold_period: Float[Array, " folds"]
    steps: int = eqx.field(static=True)
    neuron: int = eqx.field(static=True)

    @property
    def stable(self) -> Bool[Array, " points"]:
        """Whether each orbit is stable, shape (points,)."""
        return is_stable(self.multipliers)

    @property
    def frequency(self) -> Float[Array, " points"]:
        """Hz, shape (points,)."""
        return 1000 / self.period

    def orbit(self, point: int) -> PeriodicOrbit:
        """The whole orbit at a point of the branch."""
        guess = Loop(self.states[point], self.period[point], jnp.zeros_like(self.period[point]))
        current = self.current[point]
        return periodic_orbit(self.network, current, guess, steps=self.steps, neuron=self.neuron)


class _Point(eqx.Module):
    """One orbit on the branch: `z` is a raveled loop in units of the scales."""

    z: Array
    tangent: Array
    multipliers: Array
    V_max: Array
    V_min: Array
    at_peak: Array
    good: Array

    def swing(self, neuron: int) -> float:
        return float(self.V_max[neuron] - self.V_min[neuron])


def continue_orbit(
    orbit: PeriodicOrbit,
    currents: tuple[float, float],
    *,
    steps: int = 1000,
    max_period: float | None = None,
) -> OrbitBranch:
    """Follow a periodic orbit, stable or not, over a range of current.

    By pseudo-arclength continuation (H. B. Keller, in *Applications of Bifurcation Theory*, Academic
    Press 1977, 359-384), which goes around folds, in both directions from `orbit`. It ends where the
    current leaves the range, the orbit shrinks into a Hopf point, the period exceeds `max_period`
    (near a homoclinic orbit), or `steps` are too few (the multiplier that should be 1 is not). Folds
    are located to the accuracy of the orbits.

    **Arguments:** `orbit`: from [`hh.analysis.periodic_orbit`][], in a current that all neurons
    share; `currents`: the lowest and highest, µA/cm²; `steps`: of the Runge-Kutta method in a
    period; `max_period`: ms, by default 20 times that of `orbit`.

    **Returns:** an [`hh.analysis.OrbitBranch`][].

    **Raises:** `ValueError` if the orbit lies outside the range or cannot be followed at all.
    """
    check_orbit(orbit)
    low, high = as_range("currents", currents, "µA/cm²")
    check_size("steps", steps)
    if orbit.current.size != 1:
        raise ValueError(f"`orbit` must be in one current for all neurons, got shape {orbit.current.shape}.")
    if not low <= float(orbit.current.reshape(())) <= high:
        raise ValueError(f"`currents` must enclose that of the orbit, {orbit.current}, got {currents}.")
    usual = 20 * float(orbit.period)
    max_period = usual if max_period is None else as_number("max_period", max_period, "ms", positive=True)
    branch = _Follower(orbit, low, high, steps, max_period)
    start = branch.correct(branch.z0, along_current(branch.scale))
    if not start.good:
        raise ValueError(f"`orbit` was not found again with steps={steps}: take more.")
    down, folds_down = branch.follow(eqx.tree_at(lambda p: p.tangent, start, -start.tangent))
    up, folds_up = branch.follow(start)
    points, folds = down[::-1] + [start] + up, folds_down[::-1] + folds_up
    stack = lambda get: jnp.stack([get(p) for p in points])
    z = stack(lambda p: p.z) * branch.scale[None, :]
    folded = jnp.stack([p.z * branch.scale for p in folds]) if folds else jnp.zeros((0, z.shape[1]), z.dtype)
    return OrbitBranch(
        orbit.network,
        current=branch.system.current + z[:, -1],
        period=z[:, -2],
        V_max=stack(lambda p: p.V_max),
        V_min=stack(lambda p: p.V_min),
        multipliers=stack(lambda p: p.multipliers),
        states=z[:, :-2].reshape(len(points), -1, branch.system.size),
        fold_current=branch.system.current + folded[:, -1],
        fold_period=folded[:, -2],
        steps=branch.steps,
        neuron=orbit.neuron,
    )


class _Follower:
    """The walk along the branch, step by step."""

    def __init__(self, orbit: PeriodicOrbit, low: float, high: float, steps: int, max_period: float):
        self.neuron, self.low, self.high, self.max_period = orbit.neuron, low, high, max_period
        self.system = System(orbit.network, orbit.current.reshape(()))
        pieces = self.pieces = count_pieces(self.system.size)
        self.steps = pieces * -(-steps // pieces)
        loop = as_loop(self.system, orbit, pieces)
        # A step of arc length 1 goes that far in each direction alone.
        self.scale = scales(self.system, loop, jnp.asarray(0.05 * (high - low)))
        self.scale = self.scale.at[:-2].multiply(pieces**0.5)
        self.z0 = loop.ravel() / self.scale

    def correct(self, z: Array, tangent: Array) -> _Point:
        """The orbit nearest to a guess in the plane across the tangent."""
        guess = Loop.unravel(z * self.scale, self.pieces)
        closed = close(self.system, guess, self.scale, tangent, jnp.int32(8), self.steps, self.neuron)
        return _described(closed, self.scale, self.neuron)

    def current(self, point: _Point) -> float:
        return float(self.system.current + point.z[-1] * self.scale[-1])

    def follow(self, point: _Point) -> tuple[list[_Point], list[_Point]]:
        """The points beyond this one in the direction of its tangent, and the folds among them."""
        points, folds, size = [], [], 0.1
        while len(points) < _MOST and size > _LEAST_STEP:
            size = min(size, _GREATEST_STEP, max(point.swing(self.neuron) / 30, 0.01))
            new = self.correct(point.z + size * point.tangent, point.tangent)
            # Beyond a Hopf point the same orbits come again, from trough to trough.
            if not new.good or (new.tangent @ point.tangent) < 0.8:
                size /= 2
                continue
            if float(jnp.abs(new.multipliers - 1).min()) > _OFF:
                break
            if not new.at_peak or new.swing(self.neuron) < _FLAT:
                break
            if not self.low <= self.current(new) <= self.high:
                end = self.at_current(point, new)
                points += [end] if end.good else []
                break
            if new.tangent[-1] * point.tangent[-1] < 0:
                folds.append(self.fold(point, size))
            points.append(new)
            point, size = new, 1.4 * size
            if point.z[-2] * self.scale[-2] > self.max_period:
                break
        return points, folds

    def at_current(self, inside: _Point, outside: _Point) -> _Point:
        """The point at the end of the range."""
        end = self.low if self.current(outside) < self.low else self.high
        part = (end - self.current(inside)) / (self.current(outside) - self.current(inside))
        z = inside.z + part * (outside.z - inside.z)
        return self.correct(z, along_current(self.scale))

    def fold(self, point: _Point, size: float) -> _Point:
        """Where the current turns, within `size` of arc length from a point, by regula falsi."""
        best = self.correct(point.z + size * point.tangent, point.tangent)
        low, high = (0.0, float(point.tangent[-1])), (size, float(best.tangent[-1]))
        for _ in range(20):
            at = low[0] - low[1] * (high[0] - low[0]) / (high[1] - low[1])
            best = self.correct(point.z + at * point.tangent, point.tangent)
            slope = float(best.tangent[-1])
            if abs(slope) < 1e-7:
                break
            if slope * low[1] > 0:  # the other end weighs half, so that both move (Illinois)
                low, high = (at, slope), (high[0], high[1] / 2)
            else:
                low, high = (low[0], low[1] / 2), (at, slope)
        return best


@eqx.filter_jit
def _described(closed: Closed, scale: Array, neuron: int) -> _Point:
    V = closed.ys.V
    top, bottom = V.max(axis=0), V.min(axis=0)
    return _Point(
        closed.loop.ravel() / scale,
        closed.tangent,
        by_modulus(jnp.linalg.eigvals(closed.monodromy)),
        top,
        bottom,
        at_peak=V[0, neuron] > (top[neuron] + bottom[neuron]) / 2,
        good=closed.good,
    )
