"""The scalar functions that every rate and every exponential step is built from.

All have a removable singularity, and all state their derivative themselves: the one that
autodiff makes of a quotient loses its digits there, and costs more everywhere.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from .parameters import as_real

_SMALL = 0.5  # below, the derivatives are series


_TINY = 1.2345e-18  # added to what is divided by, in case it is 0: of others it is lost, and x² is normal


# For a function that is used many times: traced once for each shape and type.
_traced_once = functools.partial(jax.jit, inline=True)


class _Format(NamedTuple):
    """What the exponential needs to know of a float type."""

    integer: type
    mantissa: int  # bits
    bias: int
    lowest: float  # e^x is normal from here
    highest: float  # up to here
    ln2: tuple[float, float]  # the sum; the first has few bits, so that k·ln2 is exact
    series: list[float]  # of (e^r − 1 − r − r²/2)/r³ for |r| <= ln(2)/2


_FORMATS = {
    # The polynomial of degree 3 with the least greatest error, 1.4e-8 of e^r − 1.
    np.dtype("float32"): _Format(
        np.int32,
        23,
        127,
        -87.0,
        88.0,
        (0.693359375, -2.12194440e-4),
        [0.16666547820275776, 0.04166685566761905, 0.008366164304629815, 0.0013898256859988906],
    ),
    np.dtype("float64"): _Format(
        np.int64,
        52,
        1023,
        -708.0,
        709.0,
        (6.93147180369123816490e-01, 1.90821492927058770002e-10),
        [1 / math.factorial(k) for k in range(3, 14)],
    ),
}


def horner(coefficients: list[float], x: Array) -> Array:
    """Σ coefficients[k]·xᵏ."""
    total = jnp.full_like(x, coefficients[-1])
    for c in coefficients[-2::-1]:
        total = total * x + c
    return total


@jax.custom_jvp
@_traced_once
def _exponential(x: Array) -> tuple[Array, Array, Array]:
    """e^x − 1 − x, e^x − 1 and e^x from one polynomial and without a branch, the last two to 1.5 ulp.

    x = k·ln 2 + r with |r| <= ln(2)/2, so that e^x − 1 = 2^k (e^r − 1 − r) + 2^k r + 2^k − 1. The first
    is right to a few ulp of e^x − 1, and where k = 0, that is near 0, of itself.
    """
    if x.dtype not in _FORMATS:
        curved, less_one, value = _exponential(x.astype(jnp.float32))
        return curved.astype(x.dtype), less_one.astype(x.dtype), value.astype(x.dtype)
    form = _FORMATS[x.dtype]
    within = jnp.where(x < form.lowest, form.lowest, x)  # in this order NaN stays NaN
    within = jnp.where(within > form.highest, form.highest, within)
    # Adding 1.5·2^mantissa rounds to a whole number, which then stands in the last bits.
    magic = np.asarray(1.5 * 2.0**form.mantissa, x.dtype)
    bits = jax.lax.bitcast_convert_type(within * (1 / math.log(2)) + magic, form.integer)
    k = bits - magic.view(form.integer)
    high, low = form.ln2
    r = within - k.astype(x.dtype) * high
    r = r - k.astype(x.dtype) * low
    power = jax.lax.bitcast_convert_type((k + form.bias) << form.mantissa, x.dtype)
    curved = power * ((r * r) * (horner(form.series, r) * r + 0.5))
    straight = power * r + (power - 1)
    return curved + (straight - x), curved + straight, curved + (power * r + power)


@_exponential.defjvp
@_traced_once
def _exponential_jvp(primals: tuple, tangents: tuple) -> tuple[tuple, tuple]:
    values = _, less_one, value = _exponential(*primals)
    by_one, by_value = less_one * tangents[0], value * tangents[0]
    return values, (by_one, by_value, by_value)


_BERNOULLI = [
    1 / 12,
    -1 / 720,
    1 / 30240,
    -1 / 1209600,
    1 / 47900160,
    -691 / 1307674368000,
    1 / 74724249600,
    -3617 / 10670622842880000,
]


def _log_slope(x: Array) -> Array:
    """(ln exprel)' = 1/2 + coth(x/2)/2 − 1/x for |x| <= 0.5: 1/2 + Σ B₂ₖ x²ᵏ⁻¹/(2k)!.

    B₂ₖ are the Bernoulli numbers: M. Abramowitz and I. A. Stegun (1964), 4.5.67.
    """
    terms = len(_BERNOULLI) if x.dtype == jnp.float64 else 3
    return horner(_BERNOULLI[:terms], x * x) * x + 0.5


def _near_and_far(x: Array) -> tuple[Array, Array, Array]:
    """Whether x is so small that a derivative is a series, x for that, and x for the rest.

    The double `where` keeps the branch that is not taken free of NaN and infinity, so
    that a derivative can itself be differentiated.
    """
    small = jnp.abs(x) <= _SMALL
    return small, jnp.where(small, x, 0.0), jnp.where(small, 1.0, x)


def _differentiated_as(same: Callable[[Array], Array]) -> Callable:
    """For a function with the values of `same`, but in a form whose derivatives lose their digits."""

    def wrap(quick: Callable[[Array], Array]) -> Callable[[Array], Array]:
        function = jax.custom_jvp(quick)
        function.defjvp(functools.partial(jax.jvp, same))
        return function

    return wrap


def exprel(x: Float[ArrayLike, "..."]) -> Float[Array, "..."]:
    """The relative exponential (eˣ − 1)/x, with exprel(0) = 1.

    Value and derivative are right to a few ulp as long as eˣ is finite (x < 88 in float32),
    also near the removable singularity, where autodiff of `x / (exp(x) - 1)` is off by orders of
    magnitude in float32.

    **Arguments:** `x`: dimensionless, any shape.

    **Returns:** dimensionless, shape of `x`.
    """
    return _exprel(as_real("x", x))


@jax.custom_jvp
@_traced_once
def _exprel(x: Array) -> Array:
    x = x + _TINY
    return _exponential(x)[1] / x


def _exprel_slope_again(x: Array) -> Array:
    value, (small, little, large) = _exprel(x), _near_and_far(x)
    return jnp.where(small, value * _log_slope(little), _exponential(x)[2] - value) / large


@_differentiated_as(_exprel_slope_again)
@_traced_once
def _exprel_slope(x: Array) -> Array:
    x = x + _TINY
    curved, less_one, _ = _exponential(x)
    return (less_one - curved / x) / x  # which loses as many digits as x has before its point


@_exprel.defjvp
@_traced_once
def _exprel_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    return _exprel(*primals), _exprel_slope(*primals) * tangents[0]


def vtrap(x: Float[ArrayLike, "*s"], y: ArrayLike) -> Float[Array, "*s"]:
    """The rate function x/(e^(x/y) − 1), with vtrap(0, y) = y; as `vtrap` in NEURON's `hh.mod`.

    Value and derivative are right also near x = 0, as those of [`hh.exprel`][], of which this is
    the reciprocal: vtrap(x, y) = y/exprel(x/y).

    **Arguments:** `x`: mV, any shape; `y`: mV, scalar, not 0.

    **Returns:** mV, shape of `x`.
    """
    y = as_real("y", y)
    return _bernoulli(as_real("x", x) / y) * y


@jax.custom_jvp
@_traced_once
def _bernoulli(x: Array) -> Array:
    """x/(eˣ − 1), whose Taylor series has the Bernoulli numbers."""
    x = x + _TINY
    return x / _exponential(x)[1]


def _bernoulli_slope_again(x: Array) -> Array:
    value, (small, little, large) = _bernoulli(x), _near_and_far(x)
    return value * jnp.where(small, -_log_slope(little), 1 - x - value) / large


@_differentiated_as(_bernoulli_slope_again)
@_traced_once
def _bernoulli_slope(x: Array) -> Array:
    x = x + _TINY
    curved, less_one, _ = _exponential(x)
    return (curved / less_one - x) / less_one


@_bernoulli.defjvp
@_traced_once
def _bernoulli_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    return _bernoulli(*primals), _bernoulli_slope(*primals) * tangents[0]


def relax(
    x: Float[Array, "*s"],
    drive: Float[Array, "*s"],
    rate: Float[Array, "*s"],
    dt: Float[Array, "*#s"],
) -> Float[Array, "*s"]:
    """The exact solution after `dt` of dx/dt = drive − rate·x, both held constant.

    x(dt) = x·e^(−rate·dt) + (drive/rate)·(1 − e^(−rate·dt)), which for rate → 0 becomes
    x + dt·drive. A gate with 0 <= drive <= rate that starts in [0, 1] stays there to the
    last bit, because a convex combination is used wherever rounding could push it out.

    **Arguments:** `x`: any unit u; `drive`: u/ms; `rate`: 1/ms; `dt`: ms, one or of
    the shape of x.

    **Returns:** u, shape of `x`.
    """
    return _relax(x, drive, rate, dt)


def relax_by(x: Array, form: tuple[Array, Array], dt: Array) -> Array:
    """`relax` by a (drive, rate) of which each has the shape of x, or fewer axes."""
    drive, rate = (jnp.broadcast_to(part, x.shape) for part in form)
    return relax(x, drive, rate, dt)


@jax.custom_jvp
@_traced_once
def _relax(x: Array, drive: Array, rate: Array, dt: Array) -> Array:
    rate = rate + _TINY
    return x + _exponential(-rate * dt)[1] * (x - drive / rate)


@functools.partial(_relax.defjvp, symbolic_zeros=True)
def _relax_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Any]:
    value, slopes = _relax_slopes(*primals)
    moving = [slope * dx for slope, dx in zip(slopes, tangents) if not isinstance(dx, SymbolicZero)]
    return value, functools.reduce(jnp.add, moving)


@_traced_once
def _relax_slopes(x: Array, drive: Array, rate: Array, dt: Array) -> tuple[Array, tuple]:
    """x(dt), and its slopes by x, drive, rate and dt.

    x(dt) = x·decay + drive·weight, with weight = dt·exprel(−rate·dt).
    """
    z, flow = rate * -dt, drive - rate * x
    ratio = _exprel(z)
    decay, weight = 1 + z * ratio, dt * ratio
    by_rate = -dt * (drive * (dt * _exprel_slope(z)) + decay * x)
    return x + weight * flow, (decay, weight, by_rate, flow * decay)


def after_ramp(rate: Float[Array, "*s"], dt: Float[Array, "*#s"]) -> Float[Array, "*s"]:
    """What a drive that rises evenly from −1/2 to 1/2 within `dt` adds to x, over dt: φ2(z) − φ1(z)/2.

    As φ1(z) − φ1'(z) = φ2(z), z = −rate·dt, of which φ1 is `exprel`.
    """
    z = rate * -dt
    return _exprel(z) / 2 - _exprel_slope(z)


def once(x: Any) -> Any:
    """The same arrays, each of which XLA then works out once, however often it is used (from JAX 0.11 on)."""
    return jax.lax.optimization_barrier(x)
