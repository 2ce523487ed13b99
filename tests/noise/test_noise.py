"""Noisy runs: injected noise, steppers, convergence, keys, gradients, firing."""

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hhjax as hh

from ..pages.test_benchmarks import load
from .test_channel_noise import TABLE

AXON = hh.squid_axon()
STEPPERS = list(hh.steppers.stochastic_by_name)
FINAL = diffrax.SaveAt(t1=True)


class SlowPotassium(hh.Channel):
    gates = {"p": 1}

    def rates(self, V):
        return {"p": hh.InfTau(inf=jax.nn.sigmoid((V + 35) / 10), tau=50.0 + 0 * V)}


def everything(noise=True, count=300.0, sigma=1.0, g=120.0, tau=3.0, n=2):
    """A network with every kind of noise that has a gradient, or the same without."""
    channels = {**AXON.channels, "na": hh.Sodium(g=g), "m": SlowPotassium(g=0.5, E=-90.0)}
    injected = (
        hh.CurrentNoise(sigma, correlation=[[1.0, 0.3], [0.3, 1.0]]),
        hh.OUCurrent(tau, sigma, mean=0.5),
    )
    if not noise:
        return hh.Network(hh.Neuron(channels), n=n), 0.5
    network = hh.Network(hh.Neuron(channels), n=n, noise=injected)
    for name, model in (("na", "subunit"), ("k", "conductance"), ("m", "ou_conductance")):
        network = hh.with_channel_noise(network, model=model, count={name: count})
    return network, 0.0


DETERMINISTIC = {"euler_maruyama": "euler", "exp_euler_maruyama": "ind_exp_euler"}


@pytest.mark.parametrize("solver", STEPPERS)
def test_no_noise_is_the_deterministic_result_to_the_last_bit(solver):
    """Infinitely many channels and sigma = 0, against a network without noise.

    Operation by operation, from a state on the upstroke. XLA fuses different programs in
    different ways, so compiled runs may differ in their last bits.
    """
    stepper, stimulus, dt = hh.steppers.stochastic_by_name[solver], hh.Constant(10.0), jnp.asarray(0.02)
    plain = hh.Network(AXON, n=2)
    noisy = hh.Network(AXON, n=2, noise=(hh.CurrentNoise(0.0), hh.OUCurrent(tau=3.0, sigma=0.0)))
    for name, model in (("na", "conductance"), ("k", "subunit")):
        noisy = hh.with_channel_noise(noisy, model=model, count={name: jnp.inf})
    y = plain.init(jnp.array([-65.0, -50.0]))
    z = noisy.init(jnp.array([-65.0, -50.0]))
    dW = jnp.ones(hh.brownian_shape(noisy))
    with jax.disable_jit():
        for _ in range(3):
            y = stepper.driven_step(plain, 0.0, dt, y, stimulus, dW[:0], None)
            z = stepper.driven_step(noisy, 0.0, dt, z, stimulus, dW, None)
        if solver in DETERMINISTIC:
            same = hh.steppers.by_name[DETERMINISTIC[solver]]
            x = plain.init(jnp.array([-65.0, -50.0]))
            for _ in range(3):
                x = same.step(plain, jnp.asarray(0.0), dt, x, stimulus, None)
            np.testing.assert_array_equal(x.V, y.V)
    np.testing.assert_array_equal(z.V, y.V)
    for channel, gates in y.gates.items():
        for gate, x in gates.items():
            np.testing.assert_array_equal(z.gates[channel][gate], x)


def test_no_noise_is_the_deterministic_run_to_rounding():
    (silent, _), (plain, extra) = everything(count=jnp.inf, sigma=0.0), everything(noise=False)
    options = dict(t1=20.0, dt=0.02, key=jax.random.key(0), solver="strang_maruyama")
    silent = hh.simulate(silent, stimulus=10.0, **options)
    plain = hh.simulate(plain, stimulus=10.0 + extra, **options)
    assert float(plain.V.max()) > 20
    np.testing.assert_allclose(silent.V, plain.V, rtol=0, atol=1e-9)


def test_strang_maruyama_without_noise_is_of_order_two():
    exact = hh.simulate(AXON, t1=12.0, dt=0.005, stimulus=10.0, solver="rk4", saveat=FINAL).final.V
    options = dict(stimulus=10.0, solver="strang_maruyama", key=jax.random.key(0))
    run = lambda dt: hh.simulate(AXON, t1=1200 * dt, dt=dt, **options)  # 1200 steps of either size
    coarse, fine = (float(jnp.abs(run(dt).V[round(12 / dt)] - exact)[0]) for dt in (0.02, 0.01))
    assert np.log2(coarse / fine) == pytest.approx(2.0, abs=0.1)


PASSIVE = hh.Neuron({"leak": hh.Leak(g=0.5, E=-60.0)}, C=2.0)


@pytest.mark.parametrize("solver", STEPPERS)
def test_variance_of_a_passive_membrane(solver):
    """σ²/(2gC), times 1/(1 − g·dt/2C) for Euler-Maruyama; dt is 3/4 of the time constant."""
    n, dt = 40_000, 3.0
    network = hh.Network(PASSIVE, n=n, noise=hh.CurrentNoise(2.0))
    run = hh.simulate(network, t1=60.0, dt=dt, v0=-60.0, solver=solver, key=jax.random.key(1), saveat=FINAL)
    expected = 2.0**2 / (2 * 0.5 * 2.0)
    if solver == "euler_maruyama":
        expected /= 1 - 0.5 * dt / (2 * 2.0)
    V = run.final.V + 60
    assert float((V**2).mean()) == pytest.approx(expected, rel=4 * np.sqrt(2 / n))
    assert abs(float(V.mean())) < 4 * np.sqrt(expected / n)


def test_coloured_noise_and_its_correlation_across_neurons():
    rho, pairs = 0.6, 4000
    correlation = [[1.0, rho], [rho, 1.0]]
    noise = hh.OUCurrent(tau=4.0, sigma=jnp.array([1.0, 2.0]), mean=-3.0, correlation=correlation)
    network = hh.Network(PASSIVE, n=2, noise=(noise, hh.CurrentNoise(1.0)))
    np.testing.assert_allclose(noise.correlation, correlation, atol=1e-12)
    save = diffrax.SaveAt(ts=jnp.array([40.0, 44.0]), fn=lambda t, y, args: y.noise[0])
    runs = jax.vmap(lambda key: hh.simulate(network, t1=44.0, dt=4.0, key=key, saveat=save).ys)(
        jax.random.split(jax.random.key(3), pairs)
    )
    x = np.asarray(runs).transpose(1, 0, 2)
    assert network.init().noise[1] is None and float(network.init().noise[0][0]) == -3.0
    np.testing.assert_allclose(x.mean(axis=(0, 1)), -3.0, atol=4 * 2 / np.sqrt(pairs))
    x = (x + 3.0) / np.array([1.0, 2.0])
    tolerance = 4 * np.sqrt(2 / pairs)
    assert (x**2).mean() == pytest.approx(1.0, abs=tolerance)
    assert (x[0] * x[1]).mean() == pytest.approx(np.exp(-1), abs=tolerance)  # a lag of tau
    assert (x[:, :, 0] * x[:, :, 1]).mean() == pytest.approx(rho, abs=tolerance)


def test_a_fluctuating_conductance_is_a_conductance():
    """With sigma = 0 it is a leak; where it is negative nothing flows."""
    noise = hh.OUConductance(tau=5.0, sigma=0.0, mean=0.5, reversal=-40.0)
    key = jax.random.key(0)
    run = hh.simulate(hh.Network(PASSIVE, noise=noise), t1=200.0, dt=1.0, key=key, saveat=FINAL)
    assert float(run.final.V[0]) == pytest.approx(-50.0, abs=1e-9)
    noise = hh.OUConductance(tau=5.0, sigma=0.0, mean=-0.5, reversal=-40.0)
    run = hh.simulate(hh.Network(PASSIVE, noise=noise), t1=200.0, dt=1.0, key=key, saveat=FINAL)
    assert float(run.final.V[0]) == pytest.approx(-60.0, abs=1e-9)


def on_one_path(network, dts, stepper, t1=4.0):
    """V at t1 (ms) for several dt on the same Brownian path, by our steppers' own `advance`."""
    finest = min(dts)
    steps = round(t1 / finest)
    k, n = hh.brownian_shape(network)
    dW = np.sqrt(finest) * np.asarray(jax.random.normal(jax.random.key(11), (steps, k, n)))
    stimulus = hh.Constant(10.0)

    @jax.jit
    def run(dt, count, increments):
        move = lambda i, y: stepper.driven_step(network, 0.0, dt, y, stimulus, increments[i], None)
        return jax.lax.fori_loop(0, count, move, network.init()).V

    def of(dt):
        group = round(dt / finest)
        increments = np.zeros_like(dW)  # of one shape, for one compilation
        increments[: steps // group] = dW.reshape(steps // group, group, k, n).sum(axis=1)
        return np.asarray(run(dt, steps // group, increments))

    return {dt: of(dt) for dt in dts}


@pytest.mark.parametrize(
    "kind, solver",
    [("current", solver) for solver in STEPPERS]
    + [("conductance", "euler_maruyama"), ("conductance", "strang_maruyama")],
)
def test_strong_and_weak_order(kind, solver):
    """Errors of 400 neurons at dt = 0.02 and 0.01 ms against dt = 0.00125 ms, on one path each.

    Strong: the mean |error|; weak: the mean error, which common paths make precise. The
    orders have 95 % confidence intervals from resampling the neurons. The fine path has an
    error too, so for order q errors scale as h^q − h0^q.
    """
    network = hh.Network(AXON, n=400, noise=hh.CurrentNoise(2.0))
    if kind == "conductance":
        network = hh.with_channel_noise(hh.Network(AXON, n=400), model="conductance", count={"k": 180})
    dts = (0.02, 0.01, 0.00125)
    V = on_one_path(network, dts, hh.steppers.stochastic_by_name[solver])
    coarse, fine = V[0.02] - V[0.00125], V[0.01] - V[0.00125]
    resampled = np.random.default_rng(0).integers(0, 400, (1000, 400))
    expected = lambda q: np.log2((0.02**q - 0.00125**q) / (0.01**q - 0.00125**q))
    interval = lambda a, b: np.quantile(
        np.log2(a[resampled].mean(axis=1) / b[resampled].mean(axis=1)), [0.025, 0.975]
    )
    low, high = interval(np.abs(coarse), np.abs(fine))
    if solver == "strang_maruyama":  # what is left of order 1 is small beside that of order 2
        assert expected(1) - 0.15 < high and low < expected(2)
        assert np.abs(fine).mean() < 0.15
    else:
        assert low - 0.15 < expected(1) < high + 0.15
        assert 0.2 < np.abs(fine).mean()
    if kind == "current":
        low, high = interval(coarse * np.sign(coarse.mean()), fine * np.sign(coarse.mean()))
        order = 2 if solver == "strang_maruyama" else 1
        assert low - 0.15 < expected(order) < high + 0.15
    if kind == "current" and solver == "euler_maruyama":
        table = TABLE["additive_current_noise"]["em_strong_order_V_at_4ms_I10_sig2"]
        of_table = table["mean_abs_err"][0] * (0.01 - 0.00125) / 0.01
        assert np.abs(fine).mean() == pytest.approx(of_table, rel=0.1)


def test_steppers_converge_on_one_virtual_brownian_tree():
    network = hh.Network(AXON, n=50, noise=hh.CurrentNoise(2.0))
    path = diffrax.VirtualBrownianTree(
        0.0, 2.0, tol=2.0**-10, shape=hh.brownian_shape(network), key=jax.random.key(5)
    )
    terms = diffrax.MultiTerm(diffrax.ODETerm(hh.vector_field), diffrax.ControlTerm(hh.diffusion, path))

    @eqx.filter_jit
    def solve(solver, dt):
        return diffrax.diffeqsolve(
            terms, solver, 0.0, 2.0, dt, network.init(), args=(network, 10.0), max_steps=1000
        ).ys.V[0]

    strang, theirs = hh.as_diffrax("strang_maruyama"), diffrax.Euler()
    gap = lambda dt: float(jnp.abs(solve(strang, jnp.asarray(dt)) - solve(theirs, jnp.asarray(dt))).mean())
    assert np.log2(gap(2.0**-6) / gap(2.0**-8)) == pytest.approx(2.0, abs=0.3)


def test_diffrax_sde_solvers_in_our_loop():
    network = hh.Network(PASSIVE, n=3, noise=hh.CurrentNoise(2.0))
    options = dict(t1=5.0, dt=0.5, stimulus=10.0, key=jax.random.key(0), saveat=FINAL)
    ours = hh.simulate(network, solver="euler_maruyama", **options).final.V
    for solver in (diffrax.Euler(), diffrax.EulerHeun()):
        np.testing.assert_allclose(hh.simulate(network, solver=solver, **options).final.V, ours, rtol=1e-9)
    heun = hh.simulate(network, solver=diffrax.Heun(), **options).final.V
    assert 0 < float(jnp.abs(heun - ours).max()) < 2
    noisy = hh.with_channel_noise(AXON, model="subunit", count=600)
    with pytest.raises(ValueError, match="EulerHeun converges to Stratonovich's solution"):
        hh.simulate(noisy, solver=diffrax.EulerHeun(), **options)
    with pytest.raises(ValueError, match="ItoMilstein needs more than the increments"):
        hh.simulate(network, solver=diffrax.ItoMilstein(), **options)


def test_noise_depends_on_the_key_alone_however_a_batch_is_split():
    network = hh.Network(PASSIVE, n=2, noise=hh.CurrentNoise(2.0))
    for key in (jax.random.key(0), hh.fast_key(0)):
        run = lambda key: hh.simulate(network, t1=5.0, dt=0.02, stimulus=10.0, key=key, saveat=FINAL).final.V
        keys = jax.random.split(key, 5)
        together = jax.vmap(run)(keys)
        np.testing.assert_array_equal(together[2], run(keys[2]))
        np.testing.assert_array_equal(together[3:], jax.vmap(run)(keys[3:]))
        assert len(np.unique(together)) == 10


def test_cheap_keys_give_independent_normal_numbers():
    keys = jax.random.split(hh.fast_key(12), 2000)
    x = np.asarray(jax.vmap(lambda key: jax.random.normal(key, (200,)))(keys))
    size = x.size
    assert abs(x.mean()) < 4 / np.sqrt(size) and abs((x**2).mean() - 1) < 4 * np.sqrt(2 / size)
    assert abs((x**4).mean() - 3) < 4 * np.sqrt(96 / size)
    for a, b in ((x[1:], x[:-1]), (x[:, 1:], x[:, :-1])):
        assert abs((a * b).mean()) < 4 / np.sqrt(a.size)
        assert abs(((a**2 - 1) * (b**2 - 1)).mean()) < 4 * 2 / np.sqrt(a.size)
    raw = np.asarray(jax.random.key_data(keys)).astype(np.uint64)
    assert len(np.unique(raw[:, 0] << np.uint64(32) | raw[:, 1])) == 2000
    assert hh.fast_key(1) != hh.fast_key(2)
    folded = {int(jax.random.bits(jax.random.fold_in(hh.fast_key(1), i))) for i in range(100)}
    assert len(folded) == 100


def test_pathwise_gradients_agree_with_finite_differences_on_common_random_numbers():
    """The mean V of a patch with every Langevin model and every injected noise."""

    def mean_V(p):
        network, _ = everything(count=p["count"], sigma=p["sigma"], g=p["g"], tau=p["tau"])
        run = hh.simulate(network, t1=3.0, dt=0.02, stimulus=p["I"], key=jax.random.key(2))
        return run.V.mean()

    p = {"count": 300.0, "sigma": 1.0, "g": 120.0, "tau": 3.0, "I": 10.0}
    p = {k: jnp.asarray(x) for k, x in p.items()}
    value_and_slopes = jax.jit(jax.value_and_grad(mean_V))
    slopes = value_and_slopes(p)[1]
    forward = lambda p: value_and_slopes(p)[0]
    for name, x in p.items():
        step = 1e-5 * x
        difference = (forward({**p, name: x + step}) - forward({**p, name: x - step})) / (2 * step)
        assert abs(float(difference)) > 1e-7
        assert float(slopes[name]) == pytest.approx(float(difference), rel=1e-4)


@pytest.mark.usefixtures("as_users_run_it")
@pytest.mark.parametrize("model", ["tau_leap", "exact"])
def test_a_gradient_through_counted_channels_raises(model):
    def final_V(I):
        noisy = hh.with_channel_noise(AXON, model=model, count=50)
        return hh.simulate(noisy, t1=0.4, dt=0.1, stimulus=I, key=jax.random.key(0)).final.V[0]

    for derivative in (jax.grad, jax.jacfwd):
        with pytest.raises(TypeError, match=f"model='{model}' has no gradient"):
            derivative(final_V)(10.0)


@pytest.mark.usefixtures("as_users_run_it")
def test_what_cannot_be_run_is_refused():
    noisy = hh.Network(AXON, noise=hh.CurrentNoise(1.0))
    with pytest.raises(ValueError, match="`key` is missing"):
        hh.simulate(noisy, t1=1.0, dt=0.1)
    with pytest.raises(ValueError, match="`network` is noisy and solver 'strang' is deterministic"):
        hh.simulate(noisy, t1=1.0, dt=0.1, solver="strang", key=jax.random.key(0))
    with pytest.raises(ValueError, match="`network` is noisy: a reference run is deterministic"):
        hh.reference(noisy, t1=1.0)
    exact = hh.with_channel_noise(AXON, model="exact", count=5)
    options = dict(t1=1.0, dt=0.1, key=jax.random.key(0))
    with pytest.raises(ValueError, match="need solver='strang_maruyama'"):
        hh.simulate(exact, solver="exp_euler_maruyama", **options)
    for solver in ("euler_maruyama", diffrax.Euler()):
        with pytest.raises(ValueError, match="moves by jumps"):
            hh.simulate(exact, solver=solver, **options)
    with pytest.raises(TypeError, match="`noise` must be a noise such as hh.CurrentNoise"):
        hh.Network(AXON, noise=3.0)
    with pytest.raises(ValueError, match=r"`correlation` must have shape \(2, 2\), got \(3, 3\)"):
        hh.Network(AXON, n=2, noise=hh.CurrentNoise(1.0, correlation=np.eye(3)))
    with pytest.raises(ValueError, match="must have no negative eigenvalue"):
        hh.CurrentNoise(1.0, correlation=[[1.0, 2.0], [2.0, 1.0]])
    with pytest.raises(ValueError, match="sigma` must be at least 0"):
        hh.Network(AXON, noise=hh.CurrentNoise(-1.0))


@pytest.fixture
def rate(monkeypatch):
    """Firing rate, its standard error over neurons, and the CV of the intervals, float32."""
    module = load("firing.py", monkeypatch)

    def of(network, t1, dt, stimulus=0.0, key=5):
        network = jax.tree.map(lambda x: x.astype(jnp.float32), network)
        rates, isi = module["fire"](network, t1, dt, stimulus, key)
        return rates.mean(), module["standard_error"](rates), module["variability"](isi)

    return of


@pytest.mark.parametrize(
    "model, neurons, dt, expected",
    [
        ("conductance", 120, 0.02, TABLE["exact_markov"]["NNa600_I0"]),
        ("ou_conductance", 120, 0.02, TABLE["approximations"]["linaro_OU_7plus4_NNa600_I0_dt0.01"]),
        ("subunit", 120, 0.02, TABLE["approximations"]["gate_identity_fox97_NNa600_I0_dt0.01"]),
        ("tau_leap", 30, 0.04, TABLE["exact_markov"]["NNa600_I0"]),
        ("exact", 12, 0.05, TABLE["exact_markov"]["NNa600_I0"]),
    ],
)
def test_spontaneous_firing(rate, model, neurons, dt, expected):
    """Within 3 combined standard errors of the table (600 sodium, 180 potassium channels)."""
    noisy = hh.with_channel_noise(hh.Network(AXON, n=neurons), model=model, count={"na": 600.0, "k": 180.0})
    got, error, cv = rate(noisy, 500.0, dt)
    assert abs(got - expected["rate_Hz"]) < 3 * np.hypot(error, expected["rate_se_Hz"])
    intervals = got * neurons * 0.4
    assert abs(cv - expected["cv_isi"]) < 3 * np.hypot(cv / np.sqrt(intervals), expected["cv_se"]) + 0.02


def test_firing_under_current_noise(rate):
    network = hh.Network(AXON, n=150, noise=hh.CurrentNoise(2.0))
    expected = TABLE["additive_current_noise"]["I10_sig2_dt0.0025"]
    got, error, cv = rate(network, 1000.0, 0.02, stimulus=10.0)
    assert abs(got - expected["rate_Hz"]) < 3 * np.hypot(error, expected["rate_se_Hz"])
    assert cv == pytest.approx(expected["cv_isi"], abs=3 * expected["cv_se"] + 0.01)


def test_a_longer_run_begins_with_the_noise_of_a_shorter_one():
    network = hh.Network(PASSIVE, n=2, noise=hh.CurrentNoise(2.0))
    for key in (jax.random.key(0), hh.fast_key(0)):
        short, long = (hh.simulate(network, t1=t1, dt=0.1, key=key).V for t1 in (1.0, 2.0))
        np.testing.assert_array_equal(long[:11], short)
