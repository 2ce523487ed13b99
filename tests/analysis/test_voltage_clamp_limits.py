"""Voltage clamp of a gate whose time constant vanishes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hhjax as hh


class OneGate(hh.Channel):
    gates = {"p": 1}
    tau: hh.Parameter = hh.param(1.0, unit="ms", positive=True)

    def rates(self, V):
        return {"p": hh.InfTau(jax.nn.sigmoid((V + 40) / 5), self.tau)}


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_a_time_constant_that_underflows_gives_its_limit(dtype):
    of = lambda x: jnp.asarray(x, dtype)

    @jax.jit
    def current(tau, V):
        channel = OneGate(g=of(1.0), E=of(0.0), tau=tau)
        clamp = hh.analysis.voltage_clamp(channel, V, duration=1.0, dt=0.5, holding=of(-80.0))
        return next(iter(clamp.currents.values()))[0, -1]

    # p = p∞, so that I = V·p∞, of which the slope by V is p∞ + V·p∞(1 − p∞)/5, and that by tau 0.
    p = 1 / (1 + np.exp(-2.0))
    for tau in (1e-3, 1e-7, 1e-20, 1e-37, 1e-44):
        value, (by_tau, by_V) = jax.value_and_grad(current, (0, 1))(of(tau), of(-30.0))
        np.testing.assert_allclose(value, -30 * p, rtol=1e-6)
        np.testing.assert_allclose(by_V, p - 30 * p * (1 - p) / 5, rtol=1e-5)
        # Of slopes by drive and by rate that cancel, each as large as the rate.
        np.testing.assert_allclose(by_tau, 0.0, atol=1e-2 if dtype == jnp.float64 else 1.0)
