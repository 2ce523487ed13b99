"""The two scalar functions that every rate and every exponential step is built from."""

import math

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float


def _exprel_series(x: Array) -> Array:
    """Taylor series of `exprel` by Horner's rule, to machine precision for |x| <= 0.5."""
    terms = 15 if x.dtype == jnp.float64 else 8
    total = jnp.full_like(x, 1 / math.factorial(terms + 1))
    for k in range(terms, 0, -1):
        total = total * x + 1 / math.factorial(k)
    return total


def exprel(x: Float[ArrayLike, "..."]) -> Float[Array, "..."]:
    """The relative exponential (eˣ − 1)/x, with exprel(0) = 1.

    Value and derivative are right to a few ulp for every finite x, also near the
    removable singularity, where autodiff of `x / (exp(x) - 1)` is off by orders of
    magnitude in float32. A series is used for |x| <= 0.5; the double `where` keeps the
    branch that is not taken free of NaN, in gradients too.

    **Arguments:** `x`: dimensionless, any shape.

    **Returns:** dimensionless, shape of `x`.
    """
    x = jnp.asarray(x)
    small = jnp.abs(x) <= 0.5
    large_x = jnp.where(small, 1.0, x)
    small_x = jnp.where(small, x, 0.0)
    return jnp.where(small, _exprel_series(small_x), (jnp.exp(large_x) - 1) / large_x)


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

    **Arguments:** `x`: any unit u; `drive`: u/ms; `rate`: 1/ms, not negative; `dt`: ms.

    **Returns:** u, shape of `x`.
    """
    z = rate * dt
    small = z <= 0.1
    safe_rate = jnp.where(small, 1.0, rate)
    decay = jnp.exp(-jnp.where(small, 1.0, z))
    convex = x * decay + (drive / safe_rate) * (1 - decay)
    series = x + dt * _exprel_series(-jnp.where(small, z, 0.0)) * (drive - rate * x)
    return jnp.where(small, series, convex)
