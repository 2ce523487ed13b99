"""Explicit Runge-Kutta methods."""

from typing import ClassVar

import jax

from .._network import vector_field
from ._base import AbstractStepper


class _AbstractRungeKutta(AbstractStepper):
    """An explicit Runge-Kutta method by its Butcher tableau.

    `a[i]` holds the weights of the slopes so far in stage i + 1, `b` those of the step;
    c is the row sums of a.
    """

    a: ClassVar[tuple[tuple[float, ...], ...]] = ()
    b: ClassVar[tuple[float, ...]]

    def step(self, network, t, dt, z, stimulus, key):
        slopes = [vector_field(t, z, (network, stimulus))]
        for row in self.a:
            stage = _advance(z, dt, row, slopes)
            slopes.append(vector_field(t + sum(row) * dt, stage, (network, stimulus)))
        return _advance(z, dt, self.b, slopes)


def _advance(y, dt, weights, slopes):
    return jax.tree.map(lambda x, *ks: x + dt * sum(w * k for w, k in zip(weights, ks) if w), y, *slopes)


class Euler(_AbstractRungeKutta):
    """Forward Euler, `"euler"`. Order 1. Bounded for the squid axon up to dt = 0.07 ms."""

    order: ClassVar[int] = 1
    b: ClassVar = (1.0,)


class Heun(_AbstractRungeKutta):
    """Heun's method (explicit trapezium rule), `"heun"`. Order 2.

    Bounded for the squid axon up to dt = 0.06 ms.
    """

    order: ClassVar[int] = 2
    a: ClassVar = ((1.0,),)
    b: ClassVar = (0.5, 0.5)


class Midpoint(_AbstractRungeKutta):
    """The explicit midpoint method, `"midpoint"`. Order 2.

    Bounded for the squid axon up to dt = 0.06 ms.
    """

    order: ClassVar[int] = 2
    a: ClassVar = ((0.5,),)
    b: ClassVar = (0.0, 1.0)


class RK4(_AbstractRungeKutta):
    """The classical Runge-Kutta method, `"rk4"`. Order 4.

    Bounded for the squid axon up to dt = 0.09 ms: at 0.1 ms it blows up on the first
    spike, because the sodium conductance there relaxes V in under 1/30 ms.
    """

    order: ClassVar[int] = 4
    a: ClassVar = ((0.5,), (0.0, 0.5), (0.0, 0.0, 1.0))
    b: ClassVar = (1 / 6, 1 / 3, 1 / 3, 1 / 6)
