"""The current of a clamp that holds V within a small part of a step."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hhjax as hh
from hhjax._base.math import after_ramp
from hhjax._base.parameters import cast_floats

SECOND_ORDER = ["strang", "staggered", "crank_nicolson", "strang4", "exp_euler", "strang_maruyama"]
FIRST_ORDER = ["ind_exp_euler", "backward_euler", "exp_euler_maruyama"]
EVERY = diffrax.SaveAt(steps=4, fn=hh.save_currents)


@pytest.mark.parametrize("solver, rtol", [(s, 1e-8) for s in SECOND_ORDER] + [(s, 2e-3) for s in FIRST_ORDER])
def test_the_current_of_a_ramp_on_a_passive_membrane(solver, rtol):
    """In the end V = a + b·t with b = g·slope/(g + g_L), and the current is C·b + g_L·(V − E)."""
    g = np.array([20.0, 1e3, 1e6])
    network = hh.Network(hh.Neuron({"L": hh.Leak(g=0.3, E=-60.0)}, C=2.0), n=3)
    clamp = hh.Clamp(hh.Ramp(100.0, 0.0, 10.0) + (-80.0), g)
    run = hh.simulate(
        network,
        t1=6.0,
        dt=0.025,
        v0=-80.0,
        stimulus=clamp,
        solver=solver,
        saveat=EVERY,
        key=jax.random.key(0),
    )
    late = np.asarray(run.ts) > 3.0  # C/g is at most 0.1 ms
    b = g * 10.0 / (g + 0.3)
    a = (g * -80.0 + 0.3 * -60.0 - 2.0 * b) / (g + 0.3)
    exact = (2.0 * b + 0.3 * (a + b * np.asarray(run.ts)[:, None] + 60.0))[late]
    off = np.abs(np.asarray(run.ys["stimulus"])[late] - exact)
    assert (off <= rtol * exact + 1e-13 * g).all()


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize(
    "solver, within", [(s, 0.01) for s in SECOND_ORDER] + [(s, 0.16) for s in FIRST_ORDER]
)
def test_the_current_of_a_step_is_that_of_an_ideal_clamp(solver, within, dtype):
    network = cast_floats(hh.Network(hh.squid_axon()), dtype)
    clamp = cast_floats(hh.Clamp(hh.Step(80.0, start=1.0) + (-80.0), 1e4), dtype)
    run = hh.simulate(
        network,
        t1=6.0,
        dt=0.025,
        v0=-80.0,
        stimulus=clamp,
        solver=solver,
        saveat=EVERY,
        key=jax.random.key(0),
    )
    # V is off by current/g, at most 0.2 mV.
    ideal = hh.analysis.voltage_clamp(hh.squid_axon(), 0.0, duration=5.0, dt=0.1)
    assert run.ys["stimulus"].dtype == dtype
    found, wanted = np.asarray(run.ys["stimulus"][10:, 0]), np.asarray(ideal.total[0, 11:])
    worst = np.abs(found - wanted).max() / np.abs(wanted).max()
    assert worst < within + 0.002, worst


@pytest.mark.parametrize("solver", ["strang", "exp_euler"])
def test_the_order_with_a_moving_clamp_is_2_however_strong(solver):
    """Against the same at a sixteenth of the step; a quarter of dt, a sixteenth of the error."""

    def current(g, dt):
        clamp = hh.Clamp(hh.Sine(30.0, 200.0) + (-40.0), g)
        steps = round(0.4 / dt)
        save = diffrax.SaveAt(steps=steps, fn=hh.save_currents)
        run = hh.simulate(
            hh.squid_axon(), t1=4.0, dt=dt, v0=-40.0, stimulus=clamp, solver=solver, saveat=save
        )
        return run.ys["stimulus"][2:, 0]

    for g in (1.0, 100.0):
        coarse, middle, fine = (current(g, dt) for dt in (0.04, 0.01, 0.0025))
        ratio = jnp.abs(coarse - fine).max() / jnp.abs(middle - fine).max()
        assert 10 < ratio < 30, (g, ratio)


def test_what_a_rising_drive_adds():
    # The exact solution of dx/dt = s − 1/2 − z·x over [0, 1] from 0, where z is not small.
    z = np.array([0.3, 2.0, 50.0, 1e4])
    exact = (1 / z - 1 / z**2 * -np.expm1(-z)) + 0.5 * np.expm1(-z) / z
    np.testing.assert_allclose(after_ramp(jnp.asarray(z), jnp.ones(())), exact, rtol=1e-12)
    # For small z it is z/12.
    np.testing.assert_allclose(
        after_ramp(jnp.asarray([0.0, 1e-4]), jnp.ones(())), [0.0, 1e-4 / 12], atol=1e-9
    )
