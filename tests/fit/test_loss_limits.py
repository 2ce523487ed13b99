"""Losses where a formula has a limit."""

import jax
import jax.numpy as jnp
import pytest

import hhjax as hh


@pytest.mark.parametrize("of", [lambda w: hh.losses.Trace(weights=w), lambda w: w * hh.losses.Trace()])
def test_the_derivative_by_a_weight_of_zero(of):
    # The loss is weight·(mean square of 1), so that its derivative is 1.
    ts, V = jnp.arange(5.0), jnp.ones((1, 5, 1))
    loss = lambda w: (of(w)(ts, V, 0 * V) ** 2).sum()
    assert float(loss(jnp.asarray(0.0))) < 1e-30
    assert float(jax.grad(loss)(jnp.asarray(0.0))) == pytest.approx(1.0, rel=1e-12)
