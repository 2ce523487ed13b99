"""Linear operators on V: what flows between points that are joined."""

import abc
import math
from collections.abc import Callable
from typing import ClassVar

import equinox as eqx
import numpy as np
from jaxtyping import Array, Float, Inexact

Solve = Callable[[Array], Array]


class AbstractOperator(eqx.Module):
    """A linear operator L, in 1/ms, so that dV/dt = drive − rate·V − L·V."""

    smooth: ClassVar[bool] = False
    """Whether V hardly differs between points that are joined strongly, as along a cable."""

    @property
    def joined(self) -> np.ndarray | None:
        """Which points are joined to others, `None` for all."""
        return None

    @abc.abstractmethod
    def times(self, V: Float[Array, " n"]) -> Float[Array, " n"]:
        """L·V, in mV/ms."""

    @abc.abstractmethod
    def solve(self, d: Inexact[Array, " n"], b: Inexact[Array, " n"]) -> tuple[Inexact[Array, " n"], Solve]:
        """The x with (d + L)·x = b for d > 0 (1/ms), and the function from another b to its x."""

    @abc.abstractmethod
    def bound(self) -> Float[Array, ""]:
        """No eigenvalue of L is larger, in 1/ms."""


GAMMA = 2 - math.sqrt(2)


ORIGIN = -65.0
"""From where (mV) V is counted in a solve, so that float32 keeps more digits of a V near rest."""


def tr_bdf2(V: Array, drive: Array, rate: Array, L: AbstractOperator, dt: Array) -> Array:
    """V after `dt` (ms) by dV/dt = drive − rate·V − L·V, of which all but V is constant.

    TR-BDF2 with γ = 2 − √2, of order 2 and L-stable; all stages have one matrix (M. E. Hosea
    and L. F. Shampine, Appl. Numer. Math. 20 (1996) 21-37). Two steps where L is not `smooth`.
    """
    if L.smooth:  # in V itself, as along a tree L·V would cost as much as a solution
        h = GAMMA / 2 * dt
        drive, V = drive - rate * ORIGIN, V - ORIGIN
        half, solve = L.solve(1 / h + rate, V / h + drive)
        by_trapezium = 2 * half - V
        weight = 1 / (GAMMA * (2 - GAMMA))
        return ORIGIN + solve((weight * by_trapezium + (1 - weight) * V) / h + drive)
    h = GAMMA / 2 * (dt / 2)
    slope = lambda V: drive - rate * V - L.times(V)  # what is added to V keeps more digits in float32
    half, solve = L.solve(1 / h + rate, slope(V))
    moved = lambda V, half: V + solve(slope(V) + 2 * half / (GAMMA * (2 - GAMMA) * h))  # over γ·dt/2
    V = moved(V, half)
    return moved(V, solve(slope(V)))


def trapezium(V: Array, drive: Array, rate: Array, L: AbstractOperator, dt: Array) -> Array:
    """The same by the trapezium rule, of order 2."""
    h = dt / 2
    drive, V = drive - rate * ORIGIN, V - ORIGIN
    return 2 * L.solve(1 / h + rate, V / h + drive)[0] - V + ORIGIN


def backward_euler(V: Array, drive: Array, rate: Array, L: AbstractOperator, dt: Array) -> Array:
    """The same by backward Euler, of order 1."""
    if not L.smooth:
        return V + L.solve(1 / dt + rate, drive - rate * V - L.times(V))[0]
    return ORIGIN + L.solve(1 / dt + rate, (V - ORIGIN) / dt + (drive - rate * ORIGIN))[0]
