"""The channels with free kinetics, and the cells that are made of them."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hhjax as hh
from hhjax._fit._free import resolve
from hhjax._model.names import leaves

V = np.linspace(-100.0, 40.0, 29)
at = jnp.asarray(V)


@pytest.mark.parametrize("skew", [0.0, 0.3, 1.0])
def test_two_opposed_rates_with_a_floor(skew):
    """α' = K·e^(γu), β' = K·e^(−(1−γ)u), τ = τ₀ + 1/(α' + β'), as Borg-Graham has it."""
    channel = hh.channels.BoltzmannM(p_half=-35.0, p_slope=10.0, p_tau=50.0, p_tau_min=4.0, p_skew=skew)
    found = channel.rates(at)["p"]
    opening = np.exp(skew * (V + 35) / 10) / 100
    closing = np.exp(-(1 - skew) * (V + 35) / 10) / 100
    np.testing.assert_allclose(found.inf, opening / (opening + closing), rtol=1e-12)
    np.testing.assert_allclose(found.tau, 4 + 1 / (opening + closing), rtol=1e-12)
    at_half = channel.rates(jnp.asarray(-35.0))["p"]
    assert float(at_half.inf) == 0.5
    assert float(at_half.tau) == pytest.approx(54.0, rel=1e-14)


def test_kinetics_of_a_recorded_fast_spiking_cell():
    """The set holds the kinetics, and their values, that were fitted in benchmarks/recording.py."""
    expit = lambda x: 1 / (1 + np.exp(-x))
    na = hh.channels.BoltzmannSlowSodium(
        **dict(g=12.1, E=76.82, m_half=-19.37, m_slope=7.99, m_tau=0.0, m_tau_min=0.06082),
        **dict(h_half=-18.65, h_slope=-6.571, h_tau=59.83 / 2, h_tau_min=0.1081, h_skew=0.0),
        **dict(s_half=-35.52, s_slope=-3.761, s_tau_min=70.35),
    )
    k = hh.channels.BoltzmannKv3(
        g=15.24, E=-52.07, n_half=30.6, n_slope=22.45, n_tau=2.777 / 2, n_tau_min=0.2233, n_skew=1.0
    )
    hcn = hh.channels.BoltzmannH(g=0.0116, E=-60.13, r_half=-59.2, r_slope=-2.677, r_tau=0.0, r_tau_min=125.7)
    m, h, s = na.rates(at).values()
    np.testing.assert_allclose(m.tau, 0.06082, rtol=1e-12)
    np.testing.assert_allclose(h.tau, 0.1081 + 59.83 * expit((-18.65 - V) / 6.571), rtol=1e-12)
    np.testing.assert_allclose(s.inf, expit((-35.52 - V) / 3.761), rtol=1e-12)
    np.testing.assert_allclose(s.tau, 70.35, rtol=1e-12)
    n = k.rates(at)["n"]
    np.testing.assert_allclose(n.tau, 0.2233 + 2.777 * (1 - expit((V - 30.6) / 22.45)), rtol=1e-12)
    r = hcn.rates(at)["r"]
    np.testing.assert_allclose(r.inf, expit((V + 59.2) / -2.677), rtol=1e-12)


def test_limits_are_those_of_a_fit():
    kinds = {k: v for k, v in vars(hh.channels).items() if k.startswith("Boltzmann") and v.gates}
    assert len(kinds) == 7
    neuron = hh.Neuron({name: kind() for name, kind in kinds.items()})
    fields = ("half", "slope", "tau_min")
    names = [f"{name}.{gate}_{field}" for name in kinds for gate in kinds[name].gates for field in fields]
    names += [f"{name}.g" for name in kinds]
    free = resolve(neuron, names, {names[-1]: (None, 700.0)}, None, jnp.float64)
    assert bool((jnp.isfinite(free.low) & jnp.isfinite(free.high)).all())
    values = free.values(neuron)
    assert bool(((values > free.low) & (values < free.high)).all())
    slopes = np.array([name.endswith("slope") for name in free.names])
    assert bool((free.low * free.high > 0)[slopes].all())  # a fit turns no gate round
    assert (float(free.low[-1]), float(free.high[-1])) == (0.0, 700.0)


@pytest.mark.usefixtures("as_users_run_it")
def test_values_beyond_the_limits_are_refused():
    with pytest.raises(ValueError, match="`h_slope` must be at most -1.5 mV, got 6.0 mV"):
        hh.channels.BoltzmannSodium(h_slope=6.0)
    with pytest.raises(ValueError, match="`p_skew` must be at most 1.0, got 2.0"):
        hh.channels.BoltzmannM(p_skew=2.0)


def half_width(ts, V, spike):
    """Of a spike, at half its height above where V begins to rise by 20 mV/ms; ms, linear between samples."""
    begin, end = np.searchsorted(ts, [spike - 3.0, spike + 5.0])
    ts, V = ts[begin:end], V[begin:end]
    top = np.argmax(V)
    rise = np.flatnonzero(np.gradient(V, ts)[:top] < 20.0)[-1] + 1
    half = (V[rise] + V[top]) / 2
    up = np.interp(half, V[rise : top + 1], ts[rise : top + 1])
    after = top + np.argmax(V[top:] < half)
    return np.interp(-half, -V[after - 1 : after + 1], ts[after - 1 : after + 1]) - up


def fired(neuron, current, rest):
    """Half-width of the first spike, and its rate at first, after 200 ms and in the end, in 400 ms.

    Without current it rests, and with less it fires less.
    """
    run = hh.simulate(
        hh.Network(neuron, n=3),
        t1=400.0,
        dt=0.02,
        stimulus=jnp.array([0.0, 3.0, current]),
        v0=rest,
        saveat=diffrax.SaveAt(t0=True, steps=1, fn=hh.save_V),
    )
    V = np.asarray(run.V)
    np.testing.assert_allclose(V[:, 0], rest, atol=0.01)
    _, fewer, spikes = run.spike_times()
    assert 5 < len(fewer) < len(spikes)
    rates = 1000 / np.diff(spikes)
    width = half_width(np.asarray(run.ts), V[:, 2], spikes[0])
    return width, rates[0], np.interp(200.0, spikes[1:], rates), rates[-1]


def test_a_fast_spiking_cell():
    """0.32 ms (McCormick et al. 1985); hardly any accommodation, 15 ± 15 % (Cauli et al. 1997, table 1)."""
    width, first, later, last = fired(hh.fast_spiking(), 15.0, -70.19)
    assert width == pytest.approx(0.32, abs=0.03)
    assert last == pytest.approx(270.0, abs=5.0)
    assert abs(1 - later / first) < 0.15


def test_a_regular_spiking_cell():
    """0.80 ms (McCormick et al. 1985); accommodation of 66 ± 7 % (pyramidal, Cauli et al. 1997, table 1)."""
    width, first, later, last = fired(hh.regular_spiking(), 4.0, -73.84)
    assert width == pytest.approx(0.80, abs=0.04)
    assert first == pytest.approx(130.0, abs=3.0)
    assert 1 - later / first == pytest.approx(0.66, abs=0.1)
    assert last == pytest.approx(33.0, abs=2.0)


def test_an_adapting_cell():
    """Its channels are those of the regular-spiking cell and two slow processes, which lower its spikes."""
    regular, adapting = hh.regular_spiking(), hh.adapting()
    for leaf in leaves(regular):
        assert float(hh.get(adapting, leaf.name)) == float(leaf.value)
    lower = []
    for neuron in (regular, adapting):
        V = np.asarray(hh.simulate(neuron, t1=1000.0, dt=0.025, stimulus=8.0).V[:, 0])
        lower.append(V[:4000].max() - V[-4000:].max())  # by mV, in 100 ms at first and in the end
    assert 0.0 < lower[0] < 1.0 and lower[1] == pytest.approx(2.6, abs=0.3)


def test_derivatives_by_kinetics_at_the_half_voltage():
    """Where u = 0, at which |u| and the like have none."""
    names = ["x.p_half", "x.p_slope", "x.p_tau", "x.p_tau_min", "x.p_skew"]
    neuron = hh.Neuron({"x": hh.channels.BoltzmannM(), "leak": hh.Leak()})
    values = jnp.stack([hh.get(neuron, name) for name in names])

    def kinetics(values):
        changed = hh.replace(neuron, dict(zip(names, values)))
        found = changed.channels["x"].rates(jnp.asarray(-35.0))["p"]
        return jnp.stack([found.inf, found.tau])

    slopes = jax.jacfwd(kinetics)(values)
    # inf: −1/(4·slope), 0, …; tau: (2·skew − 1)·tau/(2·slope), 0, 1, 1, 0 at u = 0.
    expected = [[-1 / 40, 0, 0, 0, 0], [0.5 * 230 / 20, 0, 1, 1, 0]]
    np.testing.assert_allclose(slopes, expected, atol=1e-12)
