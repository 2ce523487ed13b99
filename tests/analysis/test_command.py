"""Voltage clamps whose V moves, against scipy's integration of the gates at a tolerance of 1e-11."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

import hhjax as hh

SAMPLES = np.linspace(0.0, 6.0, 61)
COMMANDS = {
    "ramp": hh.Ramp(130.0, 0.5, 4.5) + (-90.0),
    "sine": hh.Sine(40.0, 250.0, offset=-40.0),
    "sampled": hh.Sampled(SAMPLES, -50.0 + 40.0 * np.sin(3.0 * SAMPLES)),
    "function": lambda t: -70.0 + 100.0 * jnp.exp(-((t - 2.0) ** 2) * 8.0),
    "step": hh.Step(70.0, 1.0, 4.0) + (-80.0),
}


class OneGate(hh.Channel):
    """Follows V at once, or nearly so."""

    gates = {"p": 1}
    tau: hh.Parameter = hh.param(1.0, unit="ms", positive=True)

    def rates(self, V):
        return {"p": hh.InfTau(jax.nn.sigmoid((V + 40) / 5), self.tau)}


def integrated(channel, command, holding, ts):
    """The gates at ts, from rest at `holding`."""
    start = channel.steady_state(jnp.asarray(holding))
    names = list(start)

    def slope(t, x):
        drive, rate = channel.linear_form(jnp.asarray(command(t), float), dict(zip(names, x)))
        return [drive[name] - rate[name] * y for name, y in zip(names, x)]

    slope = jax.jit(slope)
    found = solve_ivp(
        lambda t, x: np.asarray(slope(t, x)),
        (0.0, ts[-1]),
        [float(start[name]) for name in names],
        "LSODA",
        ts,
        rtol=1e-11,
        atol=1e-13,
        max_step=0.05,
    )
    return dict(zip(names, found.y))


SODIUM = hh.squid_axon().surroundings({})[0]["na"]


@functools.cache
def of_sodium(name):
    """V and the gates every 0.05 ms."""
    command, ts = COMMANDS[name], np.arange(121) * 0.05
    V = np.array([float(command(jnp.asarray(t))) for t in ts])
    return V, integrated(SODIUM, lambda t: command(jnp.asarray(t)), -80.0, ts)


@pytest.mark.parametrize("dt", [0.05, 0.25])
@pytest.mark.parametrize("name", COMMANDS)
def test_gates_follow_any_command(name, dt):
    clamp = hh.analysis.voltage_clamp(SODIUM, COMMANDS[name], duration=6.0, holding=-80.0, hold=dt, dt=dt)
    every = round(dt / 0.05)
    V, exact = of_sodium(name)
    V, exact = V[::every], {gate: x[::every] for gate, x in exact.items()}
    (gates,) = clamp.gates.values()
    for gate, x in exact.items():
        np.testing.assert_allclose(gates[gate][0, 1:], x, atol=1e-6)
    np.testing.assert_allclose(clamp.V[0, 1:], V, rtol=1e-12)
    np.testing.assert_allclose(clamp.total[0, 1:], 120 * exact["m"] ** 3 * exact["h"] * (V - 50), atol=0.05)


@pytest.mark.parametrize("tau", [1e-9, 1e-3, 0.1])
def test_a_fast_gate_follows_a_ramp(tau):
    """p = p∞ − tau·dp∞/dt but for tau²; of a slower one scipy knows it."""
    channel = OneGate(g=1.0, E=0.0, tau=tau)
    ramp = hh.Ramp(100.0, 0.0, 5.0) + (-90.0)
    clamp = hh.analysis.voltage_clamp(channel, ramp, duration=5.0, holding=-90.0, dt=0.05)
    p = next(iter(clamp.gates.values()))["p"][0, 20:]
    if tau == 0.1:
        np.testing.assert_allclose(
            p, integrated(channel, ramp, -90.0, np.asarray(clamp.ts[20:]) - 1.0)["p"], atol=1e-6
        )
        return
    inf = 1 / (1 + np.exp(-(np.asarray(clamp.V[0, 20:]) + 40) / 5))
    np.testing.assert_allclose(p[1:], (inf - tau * 4.0 * inf * (1 - inf))[1:], atol=2 * tau**2 + 5e-6)


def test_several_commands_at_once_and_the_epochs_about_them():
    ramps = hh.Ramp(jnp.array([50.0, 100.0]), 0.0, 2.0) + (-80.0)
    clamp = hh.analysis.voltage_clamp(
        hh.squid_axon(),
        ramps,
        duration=2.0,
        hold=0.1,
        prepulse=(-70.0, 0.5),
        tail=(lambda t: -60.0 - t, 0.5),
        dt=0.05,
    )
    assert clamp.V.shape == (2, 63)
    np.testing.assert_allclose(clamp.potential("prepulse"), -70.0)
    np.testing.assert_allclose(clamp.V[:, clamp.samples("test")][:, 20], [-55.0, -30.0])
    np.testing.assert_allclose(clamp.V[:, clamp.samples("tail")][:, -1], -60.5)
    alone = hh.analysis.voltage_clamp(
        hh.squid_axon(),
        hh.Ramp(100.0, 0.0, 2.0) + (-80.0),
        duration=2.0,
        hold=0.1,
        prepulse=(-70.0, 0.5),
        tail=(lambda t: -60.0 - t, 0.5),
        dt=0.05,
    )
    np.testing.assert_allclose(clamp.total[1], alone.total[0], rtol=1e-12)


def test_a_markov_channel_follows_the_same_ramp():
    class Two(hh.MarkovChannel):
        states = ("shut", "open")
        open = ("open",)

        def transitions(self, V):
            p = jax.nn.sigmoid((V + 40) / 5)
            return {("shut", "open"): p / 0.5, ("open", "shut"): (1 - p) / 0.5}

    ramp = hh.Ramp(100.0, 0.0, 2.0) + (-90.0)
    clamps = [
        hh.analysis.voltage_clamp(channel, ramp, duration=2.0, holding=-90.0, dt=0.05)
        for channel in (Two(g=1.0, E=0.0), OneGate(g=1.0, E=0.0, tau=0.5))
    ]
    np.testing.assert_allclose(clamps[0].total, clamps[1].total, atol=1e-3)


def test_the_gradient_by_the_slope_of_a_ramp():
    def current(top):
        ramp = hh.Ramp(top, 0.0, 2.0) + (-80.0)
        return hh.analysis.voltage_clamp(hh.squid_axon(), ramp, duration=2.0, dt=0.05).total[0, -1]

    both = jax.jit(jax.value_and_grad(current))
    difference = (both(80.001)[0] - both(79.999)[0]) / 0.002
    np.testing.assert_allclose(both(80.0)[1], difference, rtol=1e-6)


def test_what_a_command_must_be():
    clamp = lambda **given: hh.analysis.voltage_clamp(hh.squid_axon(), **({"test": 0.0} | given))
    with pytest.raises(TypeError, match="`holding` must be a potential"):
        clamp(holding=hh.Ramp(1.0, 0.0, 1.0))
    with pytest.raises(ValueError, match="`tail` must be a potential .* the same for all epochs"):
        clamp(test=jnp.zeros(3), tail=(hh.Ramp(jnp.ones(2), 0.0, 1.0), 1.0))
