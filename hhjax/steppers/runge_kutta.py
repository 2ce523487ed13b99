"""Explicit Runge-Kutta methods."""

from typing import ClassVar

import jax
import jax.numpy as jnp

from .._model.network import vector_field
from ._base import AbstractStepper


class _AbstractRungeKutta(AbstractStepper):
    """An explicit Runge-Kutta method of which each stage starts from the slope of the one before.

    Of its Butcher tableau, `c` holds the times of the stages, as fractions of the step, and `b` their
    weights. The first entry of `c` is 0.
    """

    c: ClassVar[tuple[float, ...]]
    b: ClassVar[tuple[float, ...]]

    def step(self, network, t, dt, z, stimulus, key):
        def stage(carry: tuple, at: tuple) -> tuple[tuple, None]:
            (slope, moved), (c, b) = carry, at
            y = jax.tree.map(lambda x, k: x + c * k, z, slope)
            slope = vector_field(t + c, y, (network, stimulus))
            return (slope, jax.tree.map(lambda x, k: x + b * k, moved, slope)), None

        # A loop, so that XLA computes each stage once and not again for each later one.
        stages = (dt * jnp.asarray(x, dt.dtype) for x in (self.c, self.b))
        (_, moved), _ = jax.lax.scan(stage, (jax.tree.map(jnp.zeros_like, z), z), tuple(stages))
        return moved


class Euler(_AbstractRungeKutta):
    """Forward Euler, `"euler"`. Order 1. Bounded for the squid axon up to dt = 0.07 ms."""

    order: ClassVar[int] = 1
    c: ClassVar = (0.0,)
    b: ClassVar = (1.0,)


class Heun(_AbstractRungeKutta):
    """Heun's method (explicit trapezium rule), `"heun"`. Order 2.

    Bounded for the squid axon up to dt = 0.06 ms.
    """

    order: ClassVar[int] = 2
    c: ClassVar = (0.0, 1.0)
    b: ClassVar = (0.5, 0.5)


class Midpoint(_AbstractRungeKutta):
    """The explicit midpoint method, `"midpoint"`. Order 2.

    Bounded for the squid axon up to dt = 0.06 ms.
    """

    order: ClassVar[int] = 2
    c: ClassVar = (0.0, 0.5)
    b: ClassVar = (0.0, 1.0)


class RK4(_AbstractRungeKutta):
    """The classical Runge-Kutta method, `"rk4"`. Order 4.

    Bounded for the squid axon up to dt = 0.09 ms: at 0.1 ms it blows up on the first
    spike, because the sodium conductance there relaxes V in under 1/30 ms.
    """

    order: ClassVar[int] = 4
    c: ClassVar = (0.0, 0.5, 0.5, 1.0)
    b: ClassVar = (1 / 6, 1 / 3, 1 / 3, 1 / 6)
