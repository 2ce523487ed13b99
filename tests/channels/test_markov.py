"""Channels whose states turn into each other, and channels in a constant field."""

import functools

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

import hhjax as hh

SODIUM = hh.Sodium()


class EightStates(hh.MarkovChannel):
    """The sodium channel of the squid axon: m_k h_l, of which three m and one h conduct."""

    states = tuple(f"m{k}h{l}" for k in range(4) for l in range(2))
    open = ("m3h1",)

    def transitions(self, V):
        m, h = SODIUM.rates(V)["m"], SODIUM.rates(V)["h"]
        rates = {}
        for k in range(4):
            rates[f"m{k}h0", f"m{k}h1"], rates[f"m{k}h1", f"m{k}h0"] = h.alpha, h.beta
        for l in range(2):
            for k in range(3):
                rates[f"m{k}h{l}", f"m{k + 1}h{l}"] = (3 - k) * m.alpha
                rates[f"m{k + 1}h{l}", f"m{k}h{l}"] = (k + 1) * m.beta
        return rates


class Ring(hh.MarkovChannel):
    """Three states and a current round them: no detailed balance."""

    states = ("a", "b", "c")
    open = ("b", "c")
    fast: hh.Parameter = hh.param(2.0, unit="1/ms", positive=True)

    def transitions(self, V):
        return {("a", "b"): jnp.exp(V / 40), ("b", "c"): self.fast, ("c", "a"): 0.5}


MARKOV = EightStates(g=120.0, E=50.0)
CELL = hh.Neuron({"na": MARKOV, "k": hh.Potassium(), "leak": hh.Leak()})


transitions = eqx.filter_jit(lambda channel, V: channel.transitions(V))
flow = eqx.filter_jit(lambda channel, V, p, dt: channel.flow(V, p, {}, dt))


def matrix_of(channel, V):
    """Q of dp/dt = Q p, written apart from the channel's own methods."""
    Q = np.zeros((len(channel.states),) * 2)
    for (i, j), rate in transitions(channel, V).items():
        i, j = channel.states.index(i), channel.states.index(j)
        Q[j, i] += rate
        Q[i, i] -= rate
    return Q


@pytest.mark.parametrize("channel", [MARKOV, Ring(g=1.0, E=0.0)])
@pytest.mark.parametrize("dt", [0.005, 0.1, 2.0])
def test_the_flow_is_the_exponential_of_the_rates(channel, dt):
    V = np.array([-80.0, -40.0, 20.0])
    p = np.random.default_rng(0).dirichlet(np.ones(len(channel.states)), 3).T
    states = dict(zip(channel.states, map(jnp.asarray, p)))
    moved = flow(channel, jnp.asarray(V), states, jnp.asarray(dt))
    for k, v in enumerate(V):
        exact = scipy.linalg.expm(dt * matrix_of(channel, jnp.asarray(v))) @ p[:, k]
        ours = np.array([np.asarray(moved[name])[k] for name in channel.states])
        np.testing.assert_allclose(ours, exact, atol=2e-3)
        if dt == 0.005:
            np.testing.assert_allclose(ours, exact, atol=1e-10)


@eqx.filter_jit
def through(channel, V, states, dt):
    wave = lambda i: V + 30 * jnp.sin(i.astype(V.dtype))
    step = lambda i, states: channel.flow(wave(i), states, {}, dt)
    return jax.lax.fori_loop(0, 100_000, step, states)


@pytest.mark.parametrize("dt", [0.01, 10.0])
@pytest.mark.parametrize("dtype, tol", [(jnp.float64, 1e-12), (jnp.float32, 1e-5)])
def test_occupancies_add_up_to_one_after_a_hundred_thousand_steps(dt, dtype, tol):
    channel = jax.tree.map(lambda x: x.astype(dtype), MARKOV)
    V = jnp.array([-70.0, 10.0], dtype)
    start = {name: jnp.full(2, 1 / 8, dtype) for name in channel.states}

    total = sum(map(np.asarray, through(channel, V, start, jnp.asarray(dt, dtype)).values()))
    np.testing.assert_allclose(total, 1.0, atol=tol)


def test_the_steady_state_is_where_nothing_moves_and_that_of_the_gates():
    @eqx.filter_jit
    def at_rest(channel, V):
        p = channel.steady_state(V)
        return p, *channel.linear_form(V, p), channel.current(V, p)

    V = jnp.linspace(-100.0, 50.0, 7)
    p, drive, rate, current = jax.tree.map(np.asarray, at_rest(MARKOV, V))
    for name in p:
        np.testing.assert_allclose(drive[name], rate[name] * p[name], atol=1e-12)
    x, _, _, of_gates = jax.tree.map(np.asarray, at_rest(SODIUM, V))
    np.testing.assert_allclose(p["m3h1"], x["m"] ** 3 * x["h"], rtol=1e-8)
    np.testing.assert_allclose(current, of_gates, rtol=1e-8, atol=1e-12)
    p = at_rest(Ring(g=1.0, E=0.0), V)[0]
    exact = [scipy.linalg.null_space(matrix_of(Ring(g=1.0, E=0.0), v))[:, 0] for v in V]
    np.testing.assert_allclose(np.stack([p[k] for k in "abc"]), np.array([q / q.sum() for q in exact]).T)


BOTH = {"states": CELL, "gates": hh.squid_axon()}


@functools.cache
def fine(name):
    """V of 20 ms with rk4 at 0.005 ms."""
    return hh.simulate(BOTH[name], t1=20.0, dt=0.005, stimulus=10.0, solver="rk4").V[:, 0]


def test_eight_states_give_the_current_of_the_gates():
    """From matched occupancies the scheme stays a product of m and h, so V is the same."""
    assert float(jnp.abs(fine("states") - fine("gates")).max()) < 1e-5
    assert float(fine("states").max()) > 30.0


def test_order_two_with_strang_and_exp_euler():
    exact = fine("states")[1600]  # at 8 ms
    for solver in ("strang", "exp_euler"):
        # 800 steps of either size
        V = [
            hh.simulate(CELL, t1=800 * dt, dt=dt, stimulus=10.0, solver=solver).V[round(8 / dt), 0]
            for dt in (0.02, 0.01)
        ]
        errors = [abs(float(x - exact)) for x in V]
        assert errors[0] / errors[1] == pytest.approx(4.0, rel=0.15), solver


@pytest.mark.parametrize("solver", [*hh.steppers.by_name])
def test_every_solver_takes_it(solver):
    cell = hh.Neuron({"r": Ring(g=0.05, E=-90.0), "leak": hh.Leak()})
    exact = hh.reference(cell, t1=2.0, stimulus=5.0).V[-1]
    run = hh.simulate(cell, t1=2.0, dt=0.01, stimulus=5.0, solver=solver)
    assert float(jnp.abs(run.V[-1] - exact)[0]) < 0.06, solver
    total = sum(run.final.gates["r"].values())
    np.testing.assert_allclose(total, 1.0, atol=1e-12)


@pytest.mark.parametrize("model", ["conductance", "tau_leap", "exact"])
def test_noise_of_a_markov_channel(model):
    """Many neurons held at one potential: mean and variance of the open fraction, those of a binomial."""
    n, count = 1000, 100
    cell = hh.Neuron({"r": Ring(g=0.5, E=-90.0)}, C=1e9)
    noisy = hh.Network(hh.with_channel_noise(cell, model=model, count=count), n=n)
    at = diffrax.SaveAt(t1=True)
    run = hh.simulate(noisy, t1=10.0, dt=0.25, key=jax.random.key(1), v0=-20.0, saveat=at)
    channel = noisy.neuron.channels["r"]
    opened = channel.open_fraction(run.final.V, run.final.gates["r"])
    rest = Ring(g=0.5, E=-90.0).steady_state(jnp.asarray(-20.0))
    p = float(rest["b"] + rest["c"])
    assert float(opened.mean()) == pytest.approx(p, abs=4 * np.sqrt(p * (1 - p) / count / n))
    assert float(opened.var()) == pytest.approx(p * (1 - p) / count, rel=4 * np.sqrt(2 / n))
    total = sum(channel.occupancies(run.final.V, run.final.gates["r"]).values())
    np.testing.assert_allclose(total, 1.0, atol=1e-9)


def test_a_squid_axon_of_eight_states_fires_by_itself_as_often_as_one_of_gates():
    """Spontaneous spikes of the exact chains of 600 sodium channels; the rates of the two agree."""
    counts = {}
    for name, cell in BOTH.items():
        noisy = hh.with_channel_noise(cell, model="conductance", count={"na": 600})
        run = hh.simulate(
            hh.Network(noisy, n=100),
            t1=200.0,
            dt=0.04,
            key=jax.random.key(2),
            reduce=hh.SpikeCount(start=20.0),
        )
        counts[name] = np.asarray(run.reduced)
    mean = {name: x.mean() for name, x in counts.items()}
    error = np.sqrt(sum(x.var() / x.size for x in counts.values()))
    assert mean["gates"] > 1.0
    assert abs(mean["states"] - mean["gates"]) < 4 * error


@pytest.mark.usefixtures("as_users_run_it")
def test_what_is_no_scheme_is_refused():
    class Unknown(Ring):
        def transitions(self, V):
            return {("a", "d"): 1.0}

    class Closed(Ring):
        open = ("d",)

    with pytest.raises(ValueError, match=r"`Unknown.transitions` must .* got \('a', 'd'\)"):
        Unknown(g=1.0, E=0.0)
    with pytest.raises(ValueError, match=r"`Closed.open` must be a tuple of some of .* got \('d',\)"):
        Closed(g=1.0, E=0.0)

    class NoWayBack(Ring):
        def transitions(self, V):
            return {("a", "b"): 1.0}

    class Twice(Ring):
        open = ("b", "b")

    with pytest.raises(ValueError, match=r"`NoWayBack.transitions` must lead .* \[\['b'\], \['c'\]\]"):
        NoWayBack(g=1.0, E=0.0)
    with pytest.raises(ValueError, match=r"`Twice.open` must be a tuple of some of .* got \('b', 'b'\)"):
        Twice(g=1.0, E=0.0)
    with pytest.raises(ValueError, match="`model` for channel 'na'.* got 'subunit'"):
        hh.with_channel_noise(CELL, model="subunit", count=100)


def test_a_markov_channel_is_differentiated_and_swept():
    cell = hh.Neuron({"r": Ring(g=0.5, E=-90.0), "leak": hh.Leak()})
    end = lambda fast: hh.simulate(hh.replace(cell, {"r.fast": fast}), t1=5.0, dt=0.05, stimulus=5.0).final.V[
        0
    ]
    x, step, both = jnp.asarray(2.0), 1e-5, jax.jit(jax.value_and_grad(end))
    central = (both(x + step)[0] - both(x - step)[0]) / (2 * step)
    assert float(both(x)[1]) == pytest.approx(float(central), rel=1e-6)
    sweep = hh.sweep(
        cell, over={"r.fast": [1.0, 2.0]}, t1=5.0, dt=0.05, stimulus=5.0, saveat=diffrax.SaveAt(t1=True)
    )
    assert float(sweep.V[1, 0, 0]) == pytest.approx(float(both(x)[0]), rel=1e-11)


def test_the_analyses_see_what_they_see_of_gates():
    """The same eigenvalues of the resting state, and more of the scheme's own."""
    (gates,), (states,) = (hh.analysis.equilibria(cell, 10.0) for cell in (hh.squid_axon(), CELL))
    assert float(states.state.V[0]) == pytest.approx(float(gates.state.V[0]), abs=1e-8)
    for value in gates.eigenvalues:
        assert float(jnp.abs(states.eigenvalues - value).min()) < 1e-8
    assert int((states.eigenvalues.real > 0).sum()) == int((gates.eigenvalues.real > 0).sum()) == 2
    test = jnp.array([-40.0, 0.0])
    clamps = [hh.analysis.voltage_clamp(cell, test, duration=5.0) for cell in (hh.squid_axon(), CELL)]
    np.testing.assert_allclose(clamps[0].currents["na"], clamps[1].currents["na"], atol=1e-5)


# Constant field


class Calcium(hh.GHKChannel):
    gates = {"m": 2}

    def rates(self, V):
        return {"m": hh.InfTau(jax.nn.sigmoid((V + 20) / 6), jnp.full_like(V, 1.0))}


def test_the_current_of_goldman_hodgkin_and_katz():
    ions = {"ca": hh.calcium(celsius=20.0)}
    V = jnp.array([-80.0, -1e-9, 0.0, 30.0])
    gates = {"m": jnp.ones(4)}
    channel = Calcium(P=1e-4, ion="ca")
    u = 2 * 96485.33212 * np.asarray(V) * 1e-3 / (8.314462618 * 293.15)
    with np.errstate(invalid="ignore"):
        exact = 1e-4 * 2 * 96485.33212 * u * (2.4e-4 - 2.0 * np.exp(-u)) / (1 - np.exp(-u))
    exact[1:3] = 1e-4 * 2 * 96485.33212 * (2.4e-4 - 2.0)  # its limit at u = 0
    np.testing.assert_allclose(channel.current(V, gates, ions), exact, rtol=1e-6)
    drive, conductance = channel.linear_current(V, gates, ions)
    slope = jax.vmap(jax.grad(lambda v: channel.current(v, {"m": jnp.ones(())}, ions)))(V)
    np.testing.assert_allclose(conductance, slope, rtol=1e-12)
    np.testing.assert_allclose(conductance * V - drive, channel.current(V, gates, ions), rtol=1e-9)
    # No current where the ion's Nernst potential is.
    E = 8.314462618 * 293.15 / (2 * 96485.33212) * 1e3 * np.log(2 / 2.4e-4)
    assert abs(float(channel.current(jnp.asarray(E), {"m": jnp.ones(())}, ions))) < 1e-9


def test_what_asks_for_a_conductance_or_a_gate_refuses_other_channels():
    cell = hh.Neuron({"l": Calcium(P=1e-4), "r": Ring(g=1.0, E=0.0)}, ions={"ca": hh.calcium()})
    with pytest.raises(TypeError, match="`channel` must be Ohmic"):
        hh.analysis.activation_curve(cell, jnp.array([0.0]), "l")
    with pytest.raises(ValueError, match="Known are l.m|must be one of.*'l.m'|l.m"):
        hh.plot.phase_plane(cell, "r.a")
    with pytest.raises(ValueError, match="Calcium needs the ion 'ca'"):
        Calcium(P=1e-4).current(jnp.array([0.0]), {"m": jnp.ones(1)})


def test_a_constant_field_channel_fills_its_ion_and_keeps_the_order():
    cell = hh.Neuron({"l": Calcium(P=5e-4), "leak": hh.Leak(g=0.1, E=-60.0)}, ions={"ca": hh.calcium()})
    exact = hh.reference(cell, t1=10.0, stimulus=3.0, v0=-70.0).final
    assert float(exact.concentrations["ca"][0]) > 2.45e-4
    for solver in ("strang", "exp_euler"):
        # 200 steps of either size
        run = lambda dt: hh.simulate(cell, t1=200 * dt, dt=dt, stimulus=3.0, v0=-70.0, solver=solver)
        errors = [abs(float((run(dt).V[round(10 / dt)] - exact.V)[0])) for dt in (0.1, 0.05)]
        assert errors[0] / errors[1] > 3.4, solver
    with pytest.raises(ValueError, match="`Neuron.ions` must have 'ca'"):
        hh.Neuron({"l": Calcium(P=2e-5)})
