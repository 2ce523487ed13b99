import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hhjax as hh

VOLTAGES = [-200.0, -100.0, -65.0, -55.0001, -55.0, -54.9999, -40.0001, -40.0, -39.9999, 0.0, 50.0, 200.0]


def all_rates(V):
    """alpha_m, beta_m, alpha_h, beta_h, alpha_n, beta_n of the squid axon."""
    na, k = hh.Sodium().rates(V), hh.Potassium().rates(V)
    return jnp.stack([r for g in (na["m"], na["h"], k["n"]) for r in (g.alpha, g.beta)])


def test_rates_match_the_reference_table(reference):
    for V, expected in reference["rates_table"].items():
        np.testing.assert_allclose(all_rates(jnp.asarray(float(V))), expected, rtol=1e-10)


def test_gates_at_minus_65_and_rest_state(reference):
    network = hh.Network(hh.squid_axon())
    at_65 = network.init(-65.0)
    for channel, gate in (("na", "m"), ("na", "h"), ("k", "n")):
        expected = reference["gates_at_-65"][gate]
        np.testing.assert_allclose(at_65.gates[channel][gate], expected, rtol=1e-10)
    rest = network.init(reference["rest"]["V"])
    np.testing.assert_allclose(rest.gates["na"]["m"], reference["rest"]["m"], rtol=1e-10)
    slope = hh.vector_field(0.0, rest, (network, 0.0))
    assert all(float(jnp.abs(x).max()) < 1e-12 for x in jax.tree.leaves(slope))


@pytest.mark.parametrize("V", VOLTAGES)
def test_float32_rates_and_derivatives_match_float64(V):
    exact, exact_slope = all_rates(jnp.asarray(V)), jax.jacfwd(all_rates)(jnp.asarray(V))
    V32 = jnp.asarray(V, jnp.float32)
    channels32 = jax.tree.map(lambda x: x.astype(jnp.float32), (hh.Sodium(), hh.Potassium()))
    assert channels32[0].rates(V32)["m"].alpha.dtype == jnp.float32
    # V itself is rounded by up to 1e-5 mV, which moves a rate by 1e-6 of itself at most.
    np.testing.assert_allclose(all_rates(V32), exact, rtol=5e-6)
    np.testing.assert_allclose(jax.jacfwd(all_rates)(V32), exact_slope, rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(jax.jacrev(all_rates)(V32), exact_slope, rtol=1e-5, atol=1e-9)


def test_derivatives_at_the_removable_singularities():
    # d/dV of x/(1 - exp(-x)) at x = 0 is 1/2; alpha_m has x = (V + 40)/10, alpha_n 0.1 of that.
    slope = jax.jacfwd(all_rates)
    assert float(slope(-40.0)[0]) == pytest.approx(0.05, rel=1e-12)
    assert float(slope(-55.0)[4]) == pytest.approx(0.005, rel=1e-12)


def test_the_field_is_the_papers(reference):
    """The linear form gives g m³h (V − E) and alpha (1 − x) − beta x at random states."""
    rng = np.random.default_rng(1)
    n = 50
    E = rng.uniform(0, 1, (n, n))
    network = hh.Network(hh.squid_axon(), n=n, coupling=hh.GradedSynapse(E, reversal=20.0, width=2.0))
    V, I = rng.uniform(-100, 60, n), rng.uniform(-5, 20, n)
    m, h, k, s = rng.uniform(0, 1, (4, n))
    gates = {"na": {"m": m, "h": h}, "k": {"n": k}, "leak": {}}
    y = hh.State(*jax.tree.map(jnp.asarray, (V, gates, s)))
    slope = hh.vector_field(0.0, y, (network, jnp.asarray(I)))

    am = 0.1 * (V + 40) / (1 - np.exp(-(V + 40) / 10))
    bm = 4 * np.exp(-(V + 65) / 18)
    ah, bh = 0.07 * np.exp(-(V + 65) / 20), 1 / (1 + np.exp(-(V + 35) / 10))
    an, bn = 0.01 * (V + 55) / (1 - np.exp(-(V + 55) / 10)), 0.125 * np.exp(-(V + 65) / 80)
    dV = I - 120 * m**3 * h * (V - 50) - 36 * k**4 * (V + 77) - 0.3 * (V + 54.387)
    dV += (20.0 - V) / 2.0 * (E @ s)
    np.testing.assert_allclose(slope.V, dV, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(slope.gates["na"]["m"], am * (1 - m) - bm * m, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(slope.gates["na"]["h"], ah * (1 - h) - bh * h, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(slope.gates["k"]["n"], an * (1 - k) - bn * k, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(slope.s, 5 * (1 - s) / (1 + np.exp(-(V + 3) / 8)) - s, rtol=1e-10, atol=1e-12)


def test_drive_and_rate_are_free_of_their_own_variable():
    network = hh.Network(hh.squid_axon(), n=3, coupling=hh.GradedSynapse(jnp.ones((3, 3)) - jnp.eye(3)))
    y = network.init(jnp.array([-70.0, -50.0, 10.0]))
    form = lambda y: network.linear_form(0.0, y, 5.0)
    leaves, structure = jax.tree.flatten(y)
    for k in range(len(leaves)):
        tangent = [jnp.zeros_like(x) for x in leaves]
        tangent[k] = jnp.array([1.0, 0.0, 0.0])
        _, (drive, rate) = jax.jvp(form, (y,), (jax.tree.unflatten(structure, tangent),))
        assert float(jax.tree.leaves(drive)[k][0]) == 0.0
        assert float(jax.tree.leaves(rate)[k][0]) == 0.0


def test_q10_speeds_up_rates_and_nothing_else():
    cold, warm = hh.Network(hh.squid_axon()), hh.Network(hh.squid_axon(celsius=16.3))
    y = cold.init(-50.0)
    y = eqx.tree_at(lambda y: y.gates["na"]["m"], y, jnp.array([0.9]))
    slow, fast = (hh.vector_field(0.0, y, (n, 0.0)) for n in (cold, warm))
    np.testing.assert_allclose(fast.gates["na"]["m"], 3 * slow.gates["na"]["m"], rtol=1e-14)
    np.testing.assert_allclose(fast.V, slow.V, rtol=0)


class SlowPotassium(hh.Channel):
    """The M-current of Yamada, Koch and Adams (1989), as a user would write it."""

    gates = {"p": 1}

    def rates(self, V):
        tau = 1000 / (3.3 * jnp.exp((V + 35) / 20) + jnp.exp(-(V + 35) / 20))
        return {"p": hh.InfTau(inf=jax.nn.sigmoid((V + 35) / 10), tau=tau)}


class FastSodium(hh.Channel):
    """A sodium current whose activation follows V at once."""

    g: jax.Array = hh.param(35.0)
    E: jax.Array = hh.param(55.0)
    gates = {"m": 3, "h": 1}

    def rates(self, V):
        full = hh.Sodium().rates(V)
        return {"m": hh.Instantaneous(full["m"].inf), "h": full["h"]}


@pytest.mark.parametrize("solver", list(hh.steppers.by_name))
def test_a_users_channels_run_under_every_solver(solver):
    channels = {
        "na": FastSodium(),
        "k": hh.Potassium(),
        "leak": hh.Leak(),
        "m": SlowPotassium(g=0.5, E=-90.0),
    }
    network = hh.Network(hh.Neuron(channels), n=2)
    y0 = network.init()
    assert set(y0.gates["na"]) == {"h"} and set(y0.gates["m"]) == {"p"}
    steady = network.init(-60.0)
    assert float(jnp.abs(hh.vector_field(0.0, steady, (network, 0.0)).gates["m"]["p"]).max()) < 1e-15
    exact = hh.reference(network, t1=20.0, stimulus=2.0).final.V
    order = hh.steppers.by_name[solver].order
    run = lambda dt: hh.simulate(network, t1=2000 * dt, dt=dt, stimulus=2.0, solver=solver)
    coarse, fine = (run(dt).V[round(20 / dt)] for dt in (0.02, 0.01))  # 2000 steps of either size
    error, finer = abs(float((coarse - exact)[0])), abs(float((fine - exact)[0]))
    assert error < 0.5
    assert finer < error / 2 ** (order - 0.3) or finer < 1e-8


@pytest.mark.usefixtures("as_users_run_it")
@pytest.mark.parametrize(
    "body, message",
    [
        ({"gates": {"m": 0.5}, "rates": lambda self, V: {}}, "whole exponent"),
        ({"gates": {"m": 1}, "rates": lambda self, V: {"n": hh.InfTau(V, V)}}, "one entry for each"),
        ({"gates": {"m": 1}, "rates": lambda self, V: {"m": (V, V)}}, "hh.AlphaBeta"),
    ],
)
def test_a_badly_written_channel_is_refused(body, message):
    kind = type("Broken", (hh.Channel,), body)
    with pytest.raises((TypeError, ValueError), match=message):
        kind(g=1.0, E=0.0)
