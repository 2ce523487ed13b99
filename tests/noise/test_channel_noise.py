"""Channel noise: the Markov scheme, its diffusion, statistics at a clamp, boundaries."""

import itertools
import json
from pathlib import Path

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
import scipy.stats

import hhjax as hh
from hhjax._noise.channels import Scheme
from hhjax._noise.jumps import binomial
from hhjax._noise.langevin import ConductanceNoise, OUConductanceNoise

TABLE = json.loads((Path(__file__).parents[1] / "data" / "channel_noise.json").read_text())
CLAMP = TABLE["voltage_clamp"]
VOLTAGES = [float(V) for V in CLAMP]


class ThreeGates(hh.Channel):
    """As a user would write one: two gates with a state, one without."""

    gates = {"a": 2, "b": 1, "d": 1}

    def rates(self, V):
        return {
            "a": hh.AlphaBeta(jnp.exp(V / 40), 0.5 * jnp.exp(-V / 60)),
            "b": hh.InfTau(jax.nn.sigmoid(-V / 10), 3.0 + 0 * V),
            "d": hh.Instantaneous(jax.nn.sigmoid(V / 30)),
        }


CHANNELS = [hh.Sodium(), hh.Potassium(), ThreeGates(g=1.0, E=0.0)]


def kinetics(channel, V):
    drive, rate = channel.linear_form(jnp.asarray(V))
    return {g: (float(drive[g]), float(rate[g] - drive[g])) for g in drive}


def generator(channel, V):
    """The generator of the Markov chain, put together from nothing but the definition."""
    rates = kinetics(channel, V)
    gates = [(g, p) for g, p in channel.gates.items() if g in rates]
    states = list(itertools.product(*(range(p + 1) for _, p in gates)))
    Q = np.zeros((len(states), len(states)))
    for i, state in enumerate(states):
        for axis, (g, p) in enumerate(gates):
            alpha, beta = rates[g]
            for step, rate in ((1, (p - state[axis]) * alpha), (-1, state[axis] * beta)):
                if rate:
                    j = states.index(state[:axis] + (state[axis] + step,) + state[axis + 1 :])
                    Q[i, j], Q[i, i] = rate, Q[i, i] - rate
    return Q, states


def test_the_squid_axons_scheme_has_fourteen_noises():
    scheme = Scheme.of(hh.Sodium())
    assert scheme.names == ["m0h0", "m0h1", "m1h0", "m1h1", "m2h0", "m2h1", "m3h0", "m3h1"]
    network = hh.with_channel_noise(hh.Network(hh.squid_axon(), n=3), model="conductance", count=600)
    assert hh.brownian_shape(network) == (14, 3)
    shielded = hh.with_channel_noise(hh.squid_axon(), model="conductance", count=600, shielding=True)
    assert hh.brownian_shape(hh.Network(shielded)) == (3, 1)
    assert "leak" not in network.neuron.noisy_channels


@pytest.mark.parametrize("channel", CHANNELS, ids=lambda c: type(c).__name__)
def test_transition_probabilities_are_those_of_the_generator(channel):
    V, dt = -20.0, 0.37
    Q, states = generator(channel, V)
    drive, rate = channel.linear_form(jnp.asarray(V))
    scheme = Scheme.of(channel)
    T = scheme.transitions(drive, rate, jnp.asarray(dt))
    product = np.array(
        [
            [np.prod([T[g][i[a]][j[a]] for a, (g, _) in enumerate(scheme.gates)]) for j in states]
            for i in states
        ]
    )
    np.testing.assert_allclose(product, scipy.linalg.expm(Q * dt), rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("channel", CHANNELS, ids=lambda c: type(c).__name__)
def test_the_diffusion_balances_the_multinomial_covariance(channel):
    """A·C + C·Aᵀ + G·Gᵀ = 0 at a clamp, with C that of independent channels."""
    V, N = jnp.array([-20.0]), 50.0
    noisy = ConductanceNoise(channel, N)
    scheme, rest = noisy.scheme, noisy.steady_state(V)
    names = scheme.names[1:]
    Q, _ = generator(channel, V[0])
    p = np.array([x[0] for x in scheme.product(channel.steady_state(V))])
    np.testing.assert_allclose(p @ Q, 0, atol=1e-12)

    def occupancies(deviations):
        gates = {**rest, **{name: d[None] for name, d in zip(names, deviations)}}
        return jnp.concatenate(list(noisy.occupancies(V, gates).values()))

    def drift(deviations):
        gates = {**rest, **{name: d[None] for name, d in zip(names, deviations)}}
        drive, rate = noisy.linear_form(V, gates)
        return jnp.concatenate([drive[k] - rate[k] * gates[k] for k in names])

    def noise(dW):
        change = noisy.diffusion(V, rest, {}, dW[:, None])
        return jnp.concatenate([change[k] for k in names])

    jacobian = lambda f: lambda x: np.asarray(jax.jit(jax.jacobian(f))(x))
    zero = jnp.zeros(len(names))
    to_states, A = jacobian(occupancies)(zero), jacobian(drift)(zero)
    np.testing.assert_allclose(to_states @ A, Q.T @ to_states, atol=1e-10)
    G = to_states @ jacobian(noise)(jnp.zeros(noisy.sources))
    C = (np.diag(p) - np.outer(p, p)) / N
    np.testing.assert_allclose(Q.T @ C + C @ Q + G @ G.T, 0, atol=1e-12)


@pytest.mark.parametrize("V", CLAMP)
def test_ornstein_uhlenbeck_modes_add_up_to_the_tables_autocovariance(V):
    t = {"N_var_Na": 0.0, "N_acov_Na_0p1ms": 0.1, "N_acov_Na_1ms": 1.0}
    t |= {"N_var_K": 0.0, "N_acov_K_1ms": 1.0, "N_acov_K_5ms": 5.0}
    for name, lag in t.items():
        noisy = OUConductanceNoise(hh.Sodium() if "Na" in name else hh.Potassium(), 1.0)
        drive, rate = noisy.channel.linear_form(jnp.asarray(float(V)))
        modes = zip(noisy._variances(drive, rate), noisy._rates(rate))
        assert float(sum(v * np.exp(-a * lag) for v, a in modes)) == pytest.approx(CLAMP[V][name], rel=1e-8)


def test_binomial_quantiles():
    n, p, u = (x.ravel() for x in np.meshgrid([0.0, 1, 7, 60, 600], [0, 1e-4, 0.01, 0.3, 0.99, 1], range(40)))
    u = (u + 0.37) / 40
    k = np.asarray(binomial(*map(jnp.asarray, (u, n, p))))
    assert (k == np.round(k)).all() and (k >= 0).all() and (k <= n).all()
    exact = np.where(p > 0.5, n - scipy.stats.binom.ppf(u, n, 1 - p), scipy.stats.binom.ppf(u, n, p))
    inverted = n * np.minimum(p, 1 - p) < 10
    np.testing.assert_array_equal(k[inverted], exact[inverted])
    assert np.abs(k - exact)[~inverted].max() <= 1
    assert np.abs(k - exact)[~inverted].mean() < 0.1


PER_VOLTAGE, STEPS = 250, 600
SAVED = jnp.array([300, 500, 580, 598, 600]) / STEPS


def open_and_state(t, y, args):
    noisy = args[0].neuron.noisy_channels
    return {k: c.open_fraction(y.V, y.gates[k]) for k, c in noisy.items()}, y


def run(model, dt, v0, C, counts):
    """One compilation per model serves every test below."""
    neuron = hh.Neuron(hh.squid_axon().channels, C=C)
    network = hh.with_channel_noise(hh.Network(neuron, n=len(v0)), model=model, count=counts)
    saveat = diffrax.SaveAt(ts=SAVED * (STEPS * dt), fn=open_and_state)
    key = jax.random.key(7)
    return hh.simulate(network, t1=STEPS * dt, dt=dt, v0=v0, key=key, saveat=saveat, throw=False)


MODELS = ["conductance", "ou_conductance", "tau_leap", "exact"]


@pytest.mark.parametrize("model", MODELS)
def test_open_fractions_at_a_voltage_clamp(model):
    """Mean p, variance p(1 − p)/N and autocovariance within 4 standard errors."""
    v0 = jnp.repeat(jnp.array(VOLTAGES), PER_VOLTAGE)
    number = {"na": 40, "k": 30} if model == "exact" else {"na": 120, "k": 60}  # for speed
    counts = {name: jnp.full(v0.shape, float(N)) for name, N in number.items()}
    fractions, _ = run(model, 0.05, v0, 1e12, counts).ys
    for name, N in number.items():
        label = {"na": "Na", "k": "K"}[name]
        x = np.asarray(fractions[name]).reshape(len(SAVED), len(VOLTAGES), PER_VOLTAGE)
        for i, V in enumerate(CLAMP):
            p, variance = CLAMP[V]["p_" + label], CLAMP[V]["N_var_" + label] / N
            apart = x[[0, 1, 2, 4], i] - p  # correlated by less than 0.2
            sem = np.sqrt(variance / apart.size * 1.2)
            assert abs(apart.mean()) < 4 * sem
            counted = model in ("tau_leap", "exact")
            error = lambda c1, size: 4 * np.sqrt(product_variance(p, c1, N, counted) / size)
            assert abs((apart**2).mean() - variance) < error(p * (1 - p), apart.size / 1.2)
            first, lag = (x[3, i], "0p1ms") if name == "na" else (x[2, i], "1ms")
            products = (first - p) * (x[4, i] - p)
            c1 = CLAMP[V][f"N_acov_{label}_{lag}"]
            assert abs(products.mean() - c1 / N) < error(c1, products.size)


def product_variance(p, c1, N, counted):
    """The variance of a·b for the deviations a, b of the open fraction at two times.

    `c1`: their covariance for one channel. Counted channels are not normal variables: their
    fourth cumulant, which is that of one channel over N³, is large where openings are rare.
    """
    both = c1 + p**2
    fourth = both * (1 - p) ** 4 + 2 * (p - both) * (p * (1 - p)) ** 2 + (1 - 2 * p + both) * p**4
    cumulant = fourth - (p * (1 - p)) ** 2 - 2 * c1**2
    return counted * cumulant / N**3 + ((p * (1 - p)) ** 2 + c1**2) / N**2


@pytest.mark.parametrize("model", MODELS)
def test_boundaries_at_any_time_step_voltage_and_count(model):
    """Down to one channel nothing is NaN, V stays within bounds, counts are conserved."""
    v0 = jnp.tile(jnp.linspace(-120.0, 80.0, PER_VOLTAGE), len(VOLTAGES))
    number = jnp.repeat(jnp.array([1.0, 20.0, 600.0]), PER_VOLTAGE)
    dts = {"exact": [0.01], "tau_leap": [0.01, 1.0]}
    for dt in dts.get(model, [0.01, 0.1, 1.0, 3.0]):
        solution = run(model, dt, v0, 1.0, {"na": number, "k": number})
        assert bool(solution.finite.all())
        _, y = solution.ys
        assert float(jnp.abs(y.V).max()) < 300
        if model in ("tau_leap", "exact"):
            for gates in (y.gates["na"], y.gates["k"]):
                counts = np.stack(list(gates.values()))
                assert (counts == np.round(counts)).all() and counts.min() >= 0
                np.testing.assert_array_equal(counts.sum(axis=0), np.broadcast_to(number, counts.shape[1:]))
        else:
            for x in (y.gates["na"]["m"], y.gates["na"]["h"], y.gates["k"]["n"]):
                assert float(x.min()) >= 0 and float(x.max()) <= 1


def test_subunit_noise_has_too_little_variance_and_no_nan():
    V = jnp.array([-65.0])
    network = hh.with_channel_noise(hh.Network(hh.squid_axon(), n=600), model="subunit", count=600)
    number = jnp.repeat(jnp.array([1.0, 20.0, 600.0]), 200)
    network = eqx.tree_at(
        lambda net: [c.count for c in net.neuron.noisy_channels.values()], network, [number] * 2
    )
    for dt in (0.01, 0.1, 1.0, 3.0):
        run = hh.simulate(network, t1=200 * dt, dt=dt, v0=jnp.linspace(-120, 80, 600), key=jax.random.key(0))
        assert bool(run.finite.all()) and float(jnp.abs(run.V).max()) < 300
    # To first order in 1/N the open fraction's variance is that of independent gates.
    noisy = network.neuron.channels["na"]
    rest, (_, rate) = noisy.steady_state(V), noisy.channel.linear_form(V)
    m, h = float(rest["m"][0]), float(rest["h"][0])
    slopes = {"m": 3 * m**2 * h, "h": m**3}
    change = noisy.diffusion(
        V, {k: jnp.broadcast_to(x, (600,)) for k, x in rest.items()}, {}, jnp.ones((2, 600))
    )
    variance = sum(float(change[g][-1]) ** 2 / (2 * float(rate[g][0])) * slopes[g] ** 2 for g in ("m", "h"))
    ratio = variance / (CLAMP["-65.0"]["N_var_Na"] / 600)
    assert ratio == pytest.approx(CLAMP["-65.0"]["gate_identity_over_exact_Na"], rel=1e-6)


def test_counts_from_density_and_area():
    area = jnp.array([10.0, 33.3])
    density = {"na": 60, "k": 18}
    exact, langevin = (
        hh.with_channel_noise(hh.Network(hh.squid_axon(), n=2), model=m, density=density, area=area)
        for m in ("exact", "conductance")
    )
    np.testing.assert_array_equal(exact.neuron.channels["na"].count, [600, 1998])
    np.testing.assert_array_equal(exact.neuron.channels["k"].count, [180, 599])
    assert float(langevin.neuron.channels["k"].count[1]) == pytest.approx(599.4)
    start = exact.init(-65.0).gates["na"]
    np.testing.assert_array_equal(sum(start.values()), [600, 1998])
    assert isinstance(exact.neuron.channels["leak"], hh.Leak)


@pytest.mark.usefixtures("as_users_run_it")
@pytest.mark.parametrize(
    "options, message",
    [
        (dict(model="conductances", count=1), "`model` must be one of 'subunit'"),
        (dict(model="exact"), "Give either `count`, or `density`"),
        (dict(model="exact", count=5, density=3, area=1), "Give either `count`, or `density`"),
        (dict(model="exact", count={"nap": 5}), r"`count` names \['nap'\], but the channels with gates are"),
        (dict(model="exact", count=5.5), "must be whole and at least 1, got 5.5"),
        (dict(model="tau_leap", count=jnp.inf), "must be whole"),
        (dict(model="conductance", count=0.0), "`.*count` must be positive"),
        (dict(model="conductance", count=jnp.ones(3)), r"has shape \(3,\), which does not fit n=2"),
        (dict(model="conductance", density=60, area=-1.0), "`area` must be positive"),
        (dict(model="exact", count=5, shielding=True), "`shielding` is an option of model='conductance'"),
    ],
)
def test_bad_channel_noise_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        hh.with_channel_noise(hh.Network(hh.squid_axon(), n=2), **options)


def test_noise_on_noise_is_refused():
    noisy = hh.with_channel_noise(hh.squid_axon(), model="subunit", count={"na": 5})
    with pytest.raises(ValueError, match="has noise on channel 'na' already"):
        hh.with_channel_noise(noisy, model="exact", count=5)
