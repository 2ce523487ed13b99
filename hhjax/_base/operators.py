"""Linear operators on V: what flows between points that are joined."""

import abc
import math
from collections.abc import Callable

import equinox as eqx
from jaxtyping import Array, Float

Solve = Callable[[Array], Array]


class AbstractOperator(eqx.Module):
    """A linear operator L, in 1/ms, so that dV/dt = drive − rate·V − L·V."""

    @abc.abstractmethod
    def times(self, V: Float[Array, " n"]) -> Float[Array, " n"]:
        """L·V, in mV/ms."""

    @abc.abstractmethod
    def solver(self, d: Float[Array, " n"]) -> Solve:
        """The function from b to the x with (d + L)·x = b, for d > 0 (1/ms)."""

    @abc.abstractmethod
    def bound(self) -> Float[Array, ""]:
        """No eigenvalue of L is larger, in 1/ms."""


GAMMA = 2 - math.sqrt(2)


def tr_bdf2(V: Array, drive: Array, rate: Array, L: AbstractOperator, dt: Array) -> Array:
    """V after `dt` (ms) by dV/dt = drive − rate·V − L·V, of which all but V is constant.

    Two steps of TR-BDF2 with γ = 2 − √2, of order 2 and L-stable; all stages have one matrix (M. E. Hosea
    and L. F. Shampine, Appl. Numer. Math. 20 (1996) 21-37).
    """
    h = GAMMA / 2 * (dt / 2)
    solve = L.solver(1 / h + rate)
    for _ in range(2):  # for what is added to V, which float32 keeps more digits of
        slope = drive - rate * V - L.times(V)
        by_trapezium = 2 * solve(slope)  # over γ·dt/2
        V = V + solve(slope + by_trapezium / (GAMMA * (2 - GAMMA) * h))
    return V
