import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hhjax import exprel, vtrap
from hhjax._base.math import _exponential, relax


def exact_exprel(x):
    """exprel and its derivative in float64, by expm1 or, near 0, by their Taylor series."""
    x = np.asarray(x, np.float64)
    near = np.abs(x) < 1e-2
    safe = np.where(near, 1.0, x)
    value = np.where(near, 1 + x / 2 + x**2 / 6 + x**3 / 24 + x**4 / 120, np.expm1(safe) / safe)
    series = 0.5 + x / 3 + x**2 / 8 + x**3 / 30 + x**4 / 144
    slope = np.where(near, series, (np.exp(safe) - np.expm1(safe) / safe) / safe)
    return value, slope


@pytest.mark.parametrize("dtype, value_tol, slope_tol", [("float32", 5e-7, 3e-6), ("float64", 2e-15, 1e-11)])
def test_exprel_value_and_derivative(dtype, value_tol, slope_tol):
    x = np.concatenate([np.linspace(-30, 30, 4001), [0.0, 1e-7, -1e-7, 1e-4, 0.5, -0.5, 0.50001, 1e-30]])
    x = x.astype(dtype)
    value, slope = exact_exprel(x)
    np.testing.assert_allclose(exprel(jnp.asarray(x)), value, rtol=value_tol)
    np.testing.assert_allclose(jax.vmap(jax.grad(exprel))(jnp.asarray(x)), slope, rtol=slope_tol)


@pytest.mark.parametrize("dtype, value_tol, slope_tol", [("float32", 5e-7, 5e-6), ("float64", 2e-15, 1e-11)])
def test_vtrap_value_and_derivative(dtype, value_tol, slope_tol):
    x = np.concatenate([np.linspace(-240, 240, 4001), [0.0, 1e-7, -1e-7, 1e-4, 4.0, -4.0, 4.0001, 1e-30]])
    x = x.astype(dtype)
    exprel, slope = exact_exprel(np.asarray(x, np.float64) / 8)
    np.testing.assert_allclose(vtrap(jnp.asarray(x), 8), 8 / exprel, rtol=value_tol)
    got = jax.vmap(jax.grad(lambda x: vtrap(x, 8)))(jnp.asarray(x))
    np.testing.assert_allclose(got, -slope / exprel**2, rtol=slope_tol)


def test_second_derivative_of_vtrap():
    """B₂ = 1/6, and (x(eˣ + 1) − 2(eˣ − 1))·eˣ/(eˣ − 1)³ at x = 2."""
    second = jax.grad(jax.grad(lambda x: vtrap(x, 1)))
    assert float(second(0.0)) == pytest.approx(1 / 6, rel=1e-12)
    e = np.e**2
    assert float(second(2.0)) == pytest.approx((2 * (e + 1) - 2 * (e - 1)) * e / (e - 1) ** 3, rel=1e-12)


@pytest.mark.parametrize("x, exact", [(0.0, 1 / 3), (2.0, (np.e**2 * 2 - 2) / 8)])
def test_second_derivative_of_exprel(x, exact):
    # (eˣ(x² − 2x + 2) − 2)/x³, and its limit.
    assert float(jax.grad(jax.grad(exprel))(x)) == pytest.approx(exact, rel=1e-12)


@pytest.mark.parametrize("rate", [0.0, 1e-9, 1e-3, 4.99, 5.01, 20.0, 1e4, -0.1, -30.0])
def test_relax_is_the_exact_flow_and_so_are_its_derivatives(rate):
    x, drive, dt = 0.3, 0.7, 0.1

    def exact(rate):  # the solution as a Taylor series of exprel, or in closed form
        z = -rate * dt
        return x * np.exp(z) + dt * drive * (exact_exprel(z)[0])

    got, slope = jax.value_and_grad(relax, argnums=2)(*map(jnp.asarray, (x, drive, rate, dt)))
    assert float(got) == pytest.approx(exact(rate), rel=1e-14)
    z = -rate * dt
    exact_slope = -dt * x * np.exp(z) - dt**2 * drive * exact_exprel(z)[1]
    assert float(slope) == pytest.approx(exact_slope, rel=1e-9, abs=1e-18)
    by_dt = jax.grad(relax, argnums=3)(*map(jnp.asarray, (x, drive, rate, dt)))
    flow = drive - rate * x  # of which e^z is taken, right to an ulp of 1
    assert float(by_dt) == pytest.approx(flow * np.exp(z), rel=1e-9, abs=1e-16 * (1 + abs(flow)))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_relax_keeps_a_gate_in_the_unit_interval(dtype):
    rng = np.random.default_rng(0)
    alpha, beta = jnp.asarray(10 ** rng.uniform(-9, 5, (2, 200_000)), dtype)
    x = rng.choice([0.0, 1.0, 1 - 1e-7, 0.5, 1e-30], 200_000)
    x = jnp.asarray(x, dtype)
    for dt in (1e-3, 0.05, 1.0, 3.0):
        new = np.asarray(relax(x, alpha, alpha + beta, jnp.asarray(dt, dtype)))
        assert new.min() >= 0 and new.max() <= 1


@pytest.mark.parametrize("dtype, widest", [("float32", 87.0), ("float64", 708.0)])
def test_the_exponential_to_two_units_in_the_last_place(dtype, widest):
    x = [np.linspace(-widest, widest, 100_001), 10.0 ** -np.arange(0.0, 30.0), [0.0]]
    x = np.concatenate(x).astype(dtype)
    wide = x.astype(np.longdouble)
    curved, less_one, value = (np.asarray(y) for y in jax.jit(_exponential)(jnp.asarray(x)))
    for got, exact in ((less_one, np.expm1(wide)), (value, np.exp(wide))):
        assert (np.abs(got - exact) <= 2 * np.spacing(np.abs(exact).astype(dtype))).all()
    near = (np.abs(wide) < 1) & (np.abs(wide) > 1e-18)  # below, float32 has no normal x²
    series = wide**2 * sum(wide**k / math.factorial(k + 2) for k in range(25))
    np.testing.assert_allclose(curved[near], series[near].astype(float), rtol=4 * np.finfo(dtype).eps)
    size = np.maximum(np.abs(np.expm1(wide)), np.abs(wide)).astype(dtype)
    far = np.abs(wide) >= 1
    assert (np.abs(curved - (np.expm1(wide) - wide)) <= 2 * np.spacing(size))[far].all()
    _, less_one, value = _exponential(jnp.asarray([-1e30, -np.inf, 1e30, np.nan], dtype))
    assert less_one[:2].tolist() == [-1.0, -1.0] and value[2] > 1e38 and np.isnan(value[3])


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_derivatives_far_from_zero(dtype):
    """Beyond −40, where exprel is −1/x and x/(eˣ − 1) is −x, one loses as many digits as x has."""
    x = jnp.asarray([-1e6, -1e4, -300.0, -87.0, -45.0], dtype)
    slope = lambda f: np.asarray(jax.vmap(jax.grad(f))(x), float)
    most = 2 * float(jnp.finfo(dtype).eps) * np.abs(np.asarray(x, float))
    assert (np.abs(slope(exprel) * np.asarray(x, float) ** 2 - 1) <= most).all()
    assert (np.abs(slope(lambda x: vtrap(x, 1.0)) + 1) <= most).all()
    one = jnp.ones((), dtype)
    found = jax.grad(relax, 3)(0 * one, one, one, 30 * one)  # e^(−rate·dt)
    np.testing.assert_allclose(found, np.exp(-30.0), atol=2 * float(jnp.finfo(dtype).eps))
