"""Synapses whose time constants are nearly equal, or far apart: values and derivatives.

The numbers are those of the closed forms, in decimals of 60 digits.
"""

import decimal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hhjax as hh
from hhjax._base.parameters import cast_floats

S = hh.synapses
TAUS = [(5.0, 5.0), (4.9999999, 5.0), (4.999999, 5.0), (4.9995, 5.0), (4.9, 5.0), (0.5, 5.0), (0.2, 200.0)]


def kernel(t, rise, decay):
    """The double exponential with a peak of 1, at t (ms)."""
    ratio = rise / decay
    peak = decay * (ratio ** (ratio / (1 - ratio)) - ratio ** (1 / (1 - ratio)))
    return ((-t / decay).exp() - (-t / rise).exp()) * decay / peak


def exact(t, rise, decay):
    """The kernel and its derivatives by both time constants."""
    with decimal.localcontext(prec=60):
        t, rise, decay, h = (decimal.Decimal(x) for x in (t, rise, decay, "1e-15"))
        rise = rise - h / 3 if rise == decay else rise  # the limit, but for 1e-15
        slope = lambda up, down: (kernel(t, *up) - kernel(t, *down)) / (2 * h)
        by_rise = slope((rise + h, decay), (rise - h, decay))
        by_decay = slope((rise, decay + h), (rise, decay - h))
        return [float(x) for x in (kernel(t, rise, decay), by_rise, by_decay)]


@pytest.mark.parametrize("dtype, rtol", [(jnp.float32, 5e-6), (jnp.float64, 1e-12)])
def test_a_double_exponential_is_right_up_to_equal_time_constants(dtype, rtol):
    one, t = jnp.ones((1, 1), dtype), jnp.asarray(3.25, dtype)

    def conductance(rise, decay):
        synapse = S.DoubleExponentialSynapse(one, rise, decay, jnp.zeros((), dtype))
        g = synapse.opened(synapse.closed(jnp.zeros(1, dtype)), one[0])
        s = {"g": g}
        for _ in range(2):
            s = synapse.flow(jnp.zeros(1, dtype), s, t / 2, s)
        return synapse.conductance(s["g"])[0]

    both = jax.jit(jax.value_and_grad(conductance, (0, 1)))
    for taus in TAUS:
        rise, decay = (jnp.asarray(x, dtype) for x in taus)
        value, slopes = both(rise, decay)
        wanted = exact(float(t), float(rise), float(decay))
        np.testing.assert_allclose([value, *slopes], wanted, rtol=rtol, atol=rtol * 0.05, err_msg=str(taus))


@pytest.mark.parametrize("solver", ["strang", "exp_euler", "rk4"])
def test_the_gradient_of_V_in_single_precision_is_that_in_double(solver):
    source = S.SpikeTrains([[1.0, 1.5]])
    synapse = S.DoubleExponentialSynapse(jnp.array([[0.3]]), input=source)
    network = hh.Network(hh.Neuron({"leak": hh.Leak(g=0.1, E=-65.0)}), coupling=synapse)

    def final(taus):
        given = cast_floats(network, taus[0].dtype)
        given = eqx.tree_at(lambda n: (n.coupling.tau_rise, n.coupling.tau_decay), given, taus)
        run = hh.simulate(given, t1=8.0, dt=0.05, solver=solver)
        assert run.V.dtype == taus[0].dtype
        return run.V[-1, 0]

    both = jax.jit(jax.value_and_grad(final))
    for rise in (4.9995, 5.0):
        taus = tuple(jnp.asarray(x, jnp.float32) for x in (rise, 5.0))
        found = both(taus)
        wanted = both(tuple(x.astype(jnp.float64) for x in taus))
        np.testing.assert_allclose(found[0], wanted[0], rtol=1e-5)
        np.testing.assert_allclose(found[1], wanted[1], rtol=2e-4)


@pytest.mark.parametrize("solver", ["strang", "exp_euler", "heun"])
def test_equal_time_constants_are_the_alpha_function(solver):
    def run(kind, *taus):
        synapse = kind(jnp.array([[0.3]]), *taus, input=S.SpikeTrains([[1.0, 1.5]]))
        network = hh.Network(hh.Neuron({"leak": hh.Leak(g=0.1, E=-65.0)}), coupling=synapse)
        return hh.simulate(network, t1=8.0, dt=0.05, solver=solver).V

    both = run(S.DoubleExponentialSynapse, 3.0, 3.0), run(S.AlphaSynapse, 3.0)
    np.testing.assert_allclose(*both, rtol=1e-13)
    assert np.ptp(both[0]) > 20
