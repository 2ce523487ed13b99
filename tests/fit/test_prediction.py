"""The one-step prediction error: cells with noise, and what a fit says of itself."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

import hhjax as hh
from hhjax._fit._doubts import doubts
from hhjax._fit._free import resolve
from hhjax._fit._look import noise_of

QUIET = {"progress_meter": diffrax.NoProgressMeter()}


def walk(process, reading, dt=0.1, count=20_000):
    """A random walk of `process` mV/√ms, read with an error of `reading` mV."""
    rng = np.random.default_rng(0)
    steps = process * np.sqrt(dt) * rng.standard_normal((1, count, 1))
    return np.cumsum(steps, axis=1) + reading * rng.standard_normal((1, count, 1))


@pytest.mark.parametrize("process, reading", [(1.0, 0.2), (0.3, 0.0), (0.0, 0.5)])
def test_noise_is_told_from_the_data(process, reading):
    noise, sure = noise_of(walk(process, reading) + 5 * np.sin(np.arange(20_000) / 300)[None, :, None], 0.1)
    if process:
        assert sure.all()
        np.testing.assert_allclose(noise.process, process, rtol=0.05)
    else:
        assert not sure.any()
    np.testing.assert_allclose(noise.reading, reading, atol=0.02)


def passive(count=4000, dt=0.1):
    """A membrane of g = 0.2, E = −60, C = 1 with white noise of 0.5 µA/cm²·√ms, read with 0.1 mV: exact."""
    rng, kept = np.random.default_rng(2), np.exp(-0.2 * dt)
    sd = 0.5 * np.sqrt((1 - kept**2) / 0.4)
    current = np.where(np.arange(count) * dt % 40 < 20, 0.0, 1.0)
    V = np.empty(count)
    V[0] = -60.0
    for i in range(1, count):
        end = -60.0 + current[i - 1] / 0.2
        V[i] = end + (V[i - 1] - end) * kept + sd * rng.standard_normal()
    return np.arange(count) * dt, current, V + 0.1 * rng.standard_normal(count)


def exact(x, current, V, dt=0.1):
    """Minus twice the log-likelihood of g, E, C, log process, log reading by a scalar Kalman filter."""
    g, E, C = x[:3]
    process, reading = np.exp(x[3:])
    kept = np.exp(-g / C * dt)
    q, r = process**2 * (1 - kept**2) / (2 * g / C), reading**2
    mean, variance, total = V[0], 1.0, 0.0
    for i in range(1, len(V)):
        K = variance / (variance + r)
        mean, variance = mean + K * (V[i - 1] - mean), (1 - K) * variance
        end = E + current[i - 1] / g
        mean, variance = end + (mean - end) * kept, variance * kept**2 + q
        total += np.log(variance + r) + (V[i] - mean) ** 2 / (variance + r)
    return total


def test_of_a_passive_membrane_it_is_the_likelihood_of_the_kalman_filter():
    """Estimates, their errors and the noise are those of maximum likelihood, by another filter."""
    ts, current, V = passive()
    neuron = hh.Neuron({"leak": hh.Leak(g=0.3, E=-55.0)}, C=1.5)
    data = hh.Recording(ts, current, V, held=True)
    fit = hh.fit(neuron, data, where=["leak.g", "leak.E", "C"], dt=0.1, v0=V[0], **QUIET)
    assert fit.objective == "Prediction" and "noise of the cell" in fit.why
    start = [0.2, -60.0, 1.0, np.log(0.5), np.log(0.1)]
    best = scipy.optimize.minimize(exact, start, (current, V), method="L-BFGS-B")
    steps = np.diag([2e-3, 0.05, 0.01, 0.02, 0.02])
    H = np.array([[exact(best.x + a + b, current, V) - exact(best.x + a - b, current, V)
        - exact(best.x - a + b, current, V) + exact(best.x - a - b, current, V) for b in steps]
        for a in steps]) / 4  # fmt: skip
    errors = np.sqrt(2 * np.diag(np.linalg.inv(H))) * np.diag(steps)
    np.testing.assert_allclose(fit.standard_errors, errors[:3], rtol=0.1)
    assert (np.abs(fit.values - best.x[:3]) < 0.15 * errors[:3]).all()
    np.testing.assert_allclose(fit.noise.process, np.exp(best.x[3]), rtol=0.05)
    np.testing.assert_allclose(fit.noise.reading, np.exp(best.x[4]), rtol=0.05)
    given = hh.losses.Prediction(process=0.5, reading=0.1)
    told = hh.fit(neuron, data, where=["leak.g", "leak.E", "C"], loss=given, dt=0.1, v0=V[0], **QUIET)
    assert told.loss == pytest.approx(1.0, abs=4 * np.sqrt(2 / len(ts)))  # χ² over its degrees of freedom
    assert (np.abs(told.values - best.x[:3]) < 0.3 * errors[:3]).all()


def test_a_spiking_cell_with_noise_is_recovered():
    """Which the default for data without noise is not: its spikes come when the noise says."""
    truth, names = hh.neurons.pospischil_fs(), ["na.g", "k.g", "leak.g", "C"]
    noisy = hh.Network(truth, noise=hh.CurrentNoise(1.0))
    run = hh.simulate(
        noisy, t1=150.0, dt=0.025, stimulus=3.0, key=jax.random.key(1), solver="strang_maruyama"
    )
    data = hh.Recording(run.ts, np.full((1, run.ts.size), 3.0), run.V[None, :, 0])
    start = hh.replace(truth, {"na.g": 40.0, "k.g": 15.0})
    fit = hh.fit(start, data, where=names, steps=30, **QUIET)
    assert fit.objective == "Prediction"
    true = np.array([float(hh.get(truth, name)) for name in names])
    assert (np.abs(fit.values - true) < 3 * fit.standard_errors).all()
    assert (fit.standard_errors < 0.1 * true).all()
    np.testing.assert_allclose(fit.noise.process, 1.0, rtol=0.03)  # σ/C
    assert "noise in the cell" in str(fit)


def test_sweeps_that_differ_in_the_same_current_show_noise():
    """Too few samples to see it otherwise; sweeps of other currents may differ as they like."""
    ts = np.linspace(0.0, 20.0, 101)
    V = np.stack([-60 + 2 * np.sin(ts / 3), -60 + 2 * np.sin(ts / 4)])
    neuron = hh.Neuron({"leak": hh.Leak(g=0.2, E=-60.0)})
    for current, objective in (([1.0, 1.0], "Prediction"), ([1.0, 2.0], "Trace")):
        data = hh.Recording(ts, np.outer(current, 1.0 * (ts > 5)), V)
        fit = hh.fit(neuron, data, where="leak.E", steps=0, guide=None, **QUIET)
        assert fit.objective == objective


def test_data_without_noise_are_compared_as_traces():
    ts = np.linspace(0.0, 20.0, 201)
    V = -60 + 20 * np.exp(-ts / 5) + 0.5 * np.random.default_rng(1).standard_normal(201)
    neuron = hh.Neuron({"leak": hh.Leak(g=0.2, E=-50.0)})
    fit = hh.fit(neuron, (ts, 0 * ts, V), where="leak.E", v0=-40.0, **QUIET)
    assert fit.objective == "Trace" and "no noise" in str(fit) and fit.noise is None


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_what_is_identifiable_does_not_depend_on_the_float_type(dtype):
    """A step of current shows g and C; before it, of a current and an offset, the sum."""
    ts = np.arange(0.0, 60.0, 0.1)
    current = np.where(ts < 10, 0.0, 2.0)
    rng = np.random.default_rng(0)
    tau = 1.0 / 0.2
    V = -60 + np.where(ts < 10, 0.0, 10 * (1 - np.exp(-(ts - 10) / tau))) + 0.1 * rng.standard_normal(ts.size)
    channels = {"leak": hh.Leak(g=0.1, E=-60.0), "other": hh.Leak(g=0.1, E=-60.0)}
    neuron = jax.tree.map(lambda x: jnp.asarray(x, dtype), hh.Neuron(channels))
    fit = hh.fit(neuron, hh.Recording(ts, current, V, held=True), where=["leak.g", "other.g", "C"], **QUIET)
    assert fit.undetermined == ("leak.g", "other.g")
    assert fit.standard_errors[2] == pytest.approx(0.005, rel=0.5)
    total, error = fit.derive(lambda neuron: neuron.channels["leak"].g + neuron.channels["other"].g)
    assert abs(total - 0.2) < 3 * error < 0.003


def test_what_is_known_of_parameters_that_are_not_is_said():
    """A membrane that is let go shows τ = C/g alone."""
    ts = np.linspace(0.0, 20.0, 201)
    V = -60 + 20 * np.exp(-ts / 5) + 0.1 * np.random.default_rng(1).standard_normal(201)
    neuron = hh.Neuron({"leak": hh.Leak(g=0.3, E=-60.0)})
    fit = hh.fit(neuron, (ts, 0 * ts, V), where=["leak.g", "C"], v0=-40.0, **QUIET)
    assert fit.undetermined == ("leak.g", "C")
    (line,) = [line for line in str(fit).splitlines() if line.startswith("known: ")]
    assert line.startswith("known: leak.g/C = 0.2") and "·" not in line


def test_a_fit_says_what_speaks_against_it():
    """No conductance of sodium within these bounds fires as the data do."""
    run = hh.simulate(hh.squid_axon(), t1=40.0, dt=0.05, stimulus=10.0)
    data = (run.ts, np.full(run.ts.size, 10.0), run.V[:, 0])
    start = hh.replace(hh.squid_axon(), {"na.g": 10.0})
    with pytest.warns(
        UserWarning, match=r"in doubt: spikes: 1 in .*, 3 in the data; na\.g is at its bound of 20"
    ):
        fit = hh.fit(start, data, where="na.g", bounds=(5.0, 20.0), dt=0.05, steps=20, **QUIET)
    assert any(line.startswith("in doubt: ") for line in str(fit).splitlines())
    assert not hh.fit(hh.squid_axon(), data, where="na.g", dt=0.05, steps=2, **QUIET).doubts


@pytest.mark.parametrize(
    "value, bounds, said",
    [(0.05, (0.0, 1000.0), False), (1e-5, (0.0, 1000.0), True), (1e-5, None, True),
        (10.5, (10.0, 1000.0), True), (999.9, (0.0, 1000.0), True), (20.0, (10.0, 1000.0), False)],
)  # fmt: skip
def test_what_is_at_a_bound(value, bounds, said):
    """From a start of 11 mS/cm²."""
    model = hh.Neuron({"leak": hh.Leak(g=11.0, E=-60.0)})
    free = resolve(model, "leak.g", bounds, None, float)
    still = np.zeros((1, 3, 1))
    found = doubts(free, np.array([value]), np.array([0.1]), np.arange(3.0), still - 60, still - 60)
    assert any("is at its bound" in doubt for doubt in found) == said


def test_noise_is_given_whole():
    with pytest.raises(ValueError, match="`process` and `reading` must be given both or neither"):
        hh.losses.Prediction(process=1.0)


def test_a_prediction_stands_alone():
    """In a sum it would be compared without the filter that makes it one."""
    loss = hh.losses.Prediction() + 0.1 * hh.losses.SpikeTimes()
    ts = np.arange(0.0, 10.0, 0.1)
    with pytest.raises(ValueError, match="`loss` must be hh.losses.Prediction alone"):
        hh.fit(hh.squid_axon(), (ts, 0 * ts, 0 * ts - 65), where="na.g", loss=loss, **QUIET)
