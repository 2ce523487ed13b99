"""The two scalar functions that every rate and every exponential step is built from.

Both have a removable singularity, and both state their derivative themselves: the one that
autodiff makes of a quotient loses its digits there, and costs more everywhere.
"""

import math

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

_SMALL = 0.5  # below, series are used


def _horner(coefficients: list[float], x: Array) -> Array:
    total = jnp.full_like(x, coefficients[-1])
    for c in coefficients[-2::-1]:
        total = total * x + c
    return total


def _exprel_series(x: Array) -> Array:
    """exprel for |x| <= 0.5: Σ xᵏ/(k + 1)!, to machine precision."""
    terms = 16 if x.dtype == jnp.float64 else 9
    return _horner([1 / math.factorial(k + 1) for k in range(terms)], x)


def _exprel_slope_series(x: Array) -> Array:
    """The derivative of exprel for |x| <= 0.5: Σ (k + 1) xᵏ/(k + 2)!."""
    terms = 16 if x.dtype == jnp.float64 else 9
    return _horner([(k + 1) / math.factorial(k + 2) for k in range(terms)], x)


def exprel(x: Float[ArrayLike, "..."]) -> Float[Array, "..."]:
    """The relative exponential (eˣ − 1)/x, with exprel(0) = 1.

    Value and derivative are right to a few ulp as long as eˣ is finite (x < 88 in float32),
    also near the removable singularity, where autodiff of `x / (exp(x) - 1)` is off by orders of
    magnitude in float32.

    **Arguments:** `x`: dimensionless, any shape.

    **Returns:** dimensionless, shape of `x`.
    """
    return _exprel(jnp.asarray(x))


@jax.custom_jvp
def _exprel(x: Array) -> Array:
    small = jnp.abs(x) <= _SMALL
    large = jnp.where(small, 1.0, x)
    return jnp.where(small, _exprel_series(x), (jnp.exp(x) - 1) / large)


@_exprel.defjvp
def _exprel_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    (x,), (dx,) = primals, tangents
    value = _exprel(x)
    small = jnp.abs(x) <= _SMALL
    # The double `where` keeps the branch that is not taken free of NaN and infinity, so
    # that this derivative can itself be differentiated.
    large, little = jnp.where(small, 1.0, x), jnp.where(small, x, 0.0)
    slope = jnp.where(small, _exprel_slope_series(little), (jnp.exp(large) - _exprel(large)) / large)
    return value, slope * dx


def relax(
    x: Float[Array, "*s"],
    drive: Float[Array, "*s"],
    rate: Float[Array, "*s"],
    dt: Float[Array, ""],
) -> Float[Array, "*s"]:
    """The exact solution after `dt` of dx/dt = drive − rate·x, both held constant.

    x(dt) = x·e^(−rate·dt) + (drive/rate)·(1 − e^(−rate·dt)), which for rate → 0 becomes
    x + dt·drive. A gate with 0 <= drive <= rate that starts in [0, 1] stays there to the
    last bit, because a convex combination is used wherever rounding could push it out.

    **Arguments:** `x`: any unit u; `drive`: u/ms; `rate`: 1/ms; `dt`: ms.

    **Returns:** u, shape of `x`.
    """
    return _relax(x, drive, rate, dt)


@jax.custom_jvp
def _relax(x: Array, drive: Array, rate: Array, dt: Array) -> Array:
    z = rate * dt
    small = jnp.abs(z) <= _SMALL
    decay = jnp.exp(-z)
    convex = x * decay + drive / jnp.where(small, 1.0, rate) * (1 - decay)
    return jnp.where(small, x + dt * _exprel_series(-z) * (drive - rate * x), convex)


@_relax.defjvp
def _relax_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    (x, drive, rate, dt), (dx, d_drive, d_rate, d_dt) = primals, tangents
    value = _relax(x, drive, rate, dt)
    # x(dt) = x·decay + drive·weight, with weight = dt·exprel(−rate·dt).
    z = rate * dt
    small = jnp.abs(z) <= _SMALL
    decay = jnp.exp(-z)
    large, little = jnp.where(small, 1.0, rate), jnp.where(small, z, 0.0)
    weight = jnp.where(small, dt * _exprel_series(-little), (1 - decay) / large)
    by_rate = jnp.where(small, -(dt**2) * _exprel_slope_series(-little), (dt * decay - weight) / large)
    slope = decay * dx + weight * d_drive + (drive * by_rate - dt * decay * x) * d_rate
    return value, slope + (drive - rate * value) * d_dt
