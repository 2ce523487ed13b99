"""What follows a fit: posteriors, profiles, bootstrap, comparison."""

import math

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hhjax as hh
from hhjax._fit import _chains

QUIET = {"progress_meter": diffrax.NoProgressMeter()}
TS = np.linspace(0.0, 20.0, 21)  # ms
SLOPE = 1 - np.exp(-TS / 5)  # of V by E, where V starts at a given potential and τ = 5 ms
V = -60 + 20 * np.exp(-TS / 5) + 0.5 * np.random.default_rng(1).standard_normal(TS.size)
ERROR = V + 40 * np.exp(-TS / 5)  # what is E·SLOPE, but for noise
E = (SLOPE * ERROR).sum() / (SLOPE**2).sum()


def reversal(V=V, **options):
    """E of a membrane, beside which two channels that are shut have any E."""
    channels = {
        name: hh.Leak(g=g, E=E) for name, g, E in [("leak", 0.2, -50.0), ("a", 0.0, 5.0), ("b", 0.0, -40.0)]
    }
    data = (TS, np.zeros(TS.size), V)
    return hh.fit(hh.Neuron(channels), data, v0=-40.0, dt=0.5, guide=None, **options, **QUIET)


@pytest.fixture(scope="module")
def one():
    return reversal(where="leak.E")


def sampled(V, samples):
    fit = reversal(V, where=["leak.E", "a.E", "b.E"], bounds={"b.E": (-80.0, -20.0)})
    return fit.sample(jax.random.key(0), samples=samples, priors={"a.E": ("normal", 10.0, 2.0)}, **QUIET)


def test_a_posterior_is_the_one_in_closed_form():
    """Of E Student's t with N − 1 degrees of freedom, as the variance is unknown; of what the data do not
    touch its prior, normal or uniform within the bounds."""
    posterior = sampled(V, 1000)
    assert posterior.values.shape == (4, 1000, 3) and (posterior.r_hat < 1.02).all()
    nu, rest = TS.size - 1, ((ERROR - E * SLOPE) ** 2).sum()
    sd = math.sqrt(rest / nu / (SLOPE**2).sum() * nu / (nu - 2))
    n = posterior.effective
    assert (n > 500).all()
    mean, spread = np.array([E, 10.0, -50.0]), np.array([sd, 2.0, 60 / math.sqrt(12)])
    assert (np.abs(posterior.mean - mean) < 4 * spread / np.sqrt(n)).all()
    np.testing.assert_allclose(posterior.sd, spread, rtol=0.12)
    low, high = posterior.interval(0.9)[2]
    assert low == pytest.approx(-77, abs=1.5) and high == pytest.approx(-23, abs=1.5)
    np.testing.assert_allclose(
        posterior.derive(lambda n: 2 * n.channels["a"].E), 2 * posterior.values[..., 1]
    )
    data = posterior.to_arviz()
    assert data["posterior"]["a.E"].dims == ("chain", "draw") and data["observed_data"]["V"].shape == (
        1,
        21,
        1,
    )
    np.testing.assert_array_equal(data["posterior"]["a.E"], posterior.values[..., 1])
    assert "R-hat" in str(posterior) and "0 of which diverged" in str(posterior)


def test_intervals_hold_the_truth_as_often_as_they_say():
    """Of 20 data sets, 18 ± 1.3 for intervals of 90 %; benchmarks/posteriors.py has 400."""
    held = 0
    for seed in range(20):
        V = -60 + 20 * np.exp(-TS / 5) + 0.5 * np.random.default_rng(100 + seed).standard_normal(TS.size)
        low, high = sampled(V, 200).interval(0.9)[0]
        held += low < -60 < high
    assert 14 <= held <= 20


def test_slopes_of_the_map_are_those_of_its_values():
    fit = reversal(
        where=["leak.g", "leak.E", "C", "a.E"], bounds={"leak.g": (0.1, 1.0), "a.E": (None, 50.0)}, steps=0
    )
    free, u = fit.problem.free, jnp.array([0.3, -0.7, 1.1, 0.4])
    expected = np.log(np.abs(np.diagonal(jax.jacfwd(free.to_values)(u))))
    np.testing.assert_allclose(free.log_slopes(u), expected, rtol=1e-12)


def test_the_ends_of_a_profile_are_those_in_closed_form(one):
    """The loss is a parabola in E: N·log(1 + (E − Ê)²·Σs²/Σr²) is χ² at the ends."""
    found = one.profile("leak.E", points=40)
    width = math.sqrt(
        (math.exp(3.841459 / TS.size) - 1) * ((ERROR - E * SLOPE) ** 2).sum() / (SLOPE**2).sum()
    )
    np.testing.assert_allclose(found.interval, [E - width, E + width], atol=0.01 * width)
    assert found.limit == pytest.approx(3.841459, rel=1e-6) and found.grid.size == 40


def test_the_others_follow_along_a_profile():
    """g and C are known by their ratio alone, and so each by itself not at all."""
    fit = reversal(where=["leak.g", "C"], bounds={"leak.g": (0.05, 0.8), "C": (0.001, 100.0)})
    found = fit.profile("leak.g", points=6)
    ratio = found.values[:, 1] / found.values[:, 0]
    np.testing.assert_allclose(ratio, ratio[0], rtol=2e-3)
    assert (found.deviance < 1e-3).all() and found.interval == (-np.inf, np.inf)


def test_a_bootstrap_finds_the_textbooks_standard_error(one):
    drawn = one.bootstrap(jax.random.key(0), n=400)
    np.testing.assert_allclose(drawn.standard_errors, one.standard_errors, rtol=4 / math.sqrt(2 * 400))
    assert drawn.values.mean() == pytest.approx(E, abs=4 * one.standard_errors[0] / 20)


def test_criteria_are_those_of_the_normal_density(one):
    r = ERROR - E * SLOPE
    variance = (r**2).mean()
    log = sum(-0.5 * math.log(2 * math.pi * variance) - x**2 / (2 * variance) for x in r)
    assert one.aic == pytest.approx(2 * 2 - 2 * log, rel=1e-6)
    assert one.bic == pytest.approx(2 * math.log(21) - 2 * log, rel=1e-6)
    wrong = reversal(where="leak.E", steps=0)
    table = hh.compare({"start": wrong, "fitted": one})
    assert table.names == ("fitted", "start") and table.weights.sum() == pytest.approx(1.0)
    assert table.aic[1] - table.aic[0] == pytest.approx(wrong.aic - one.aic) and wrong.aic > one.aic
    assert "ΔAIC" in str(table)


def test_effective_samples_of_an_autoregression():
    """AR(1) with correlation ρ from one to the next: n·(1 − ρ)/(1 + ρ)."""
    rng, rho = np.random.default_rng(0), 0.6
    x = rng.standard_normal((4, 5000))
    for k in range(1, 5000):
        x[:, k] = rho * x[:, k - 1] + math.sqrt(1 - rho**2) * x[:, k]
    assert _chains.bulk(x) == pytest.approx(20_000 * 0.4 / 1.6, rel=0.1)
    assert 1.0 <= _chains.r_hat(x) < 1.01
    # Chains whose means differ by a: R-hat² is 1 + the variance of the means, before ranks are taken.
    apart = rng.standard_normal((2, 5000)) + np.array([[0.0], [1.0]])
    assert _chains.r_hat(apart) == pytest.approx(math.sqrt(1 + 1 / 3 / 1.0), rel=0.1)
    assert _chains.r_hat(np.concatenate([apart[:1], 3 * apart[:1]])) > 1.1  # of the same mean


def test_diagnostics_are_those_of_arviz():
    """Of arviz-stats 0.8.0, rhat and ess by "bulk" and "tail" with prob=(0.05, 0.95); a chain is off."""
    x = np.random.default_rng(0).standard_normal((4, 1000))
    for k in range(1, 1000):
        x[:, k] += 0.8 * x[:, k - 1]
    x[2] += 0.7
    assert _chains.r_hat(x) == pytest.approx(1.0201403453754643, rel=1e-12)
    assert _chains.bulk(x) == pytest.approx(402.90433002460065, rel=1e-10)
    assert _chains.tail(x) == pytest.approx(735.0417873311465, rel=2e-3)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda fit: fit.sample(None), "`key` must be a key .* got None"),
        (
            lambda fit: fit.sample(jax.random.key(0), priors={"na.g": ("normal", 0.0, 1.0)}),
            "names 'na.g'.*leak.E",
        ),
        (
            lambda fit: fit.sample(jax.random.key(0), priors={"leak.E": ("cauchy", 0.0, 1.0)}),
            "got \\('cauchy'",
        ),
        (lambda fit: fit.sample(jax.random.key(0), chains=0), "`chains` .* got 0"),
        (lambda fit: fit.profile("C"), "`name` must be a free parameter, got 'C'. Known are leak.E"),
        (lambda fit: fit.bootstrap(jax.random.key(0), n=1), "`n` .* got 1"),
        (lambda fit: hh.compare([fit]), "two fits at least, got 1"),
        (lambda fit: hh.compare([fit, 3]), "hh.Fit alone, got 3"),
    ],
)
@pytest.mark.usefixtures("as_users_run_it")
def test_wrong_arguments_are_refused(one, call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call(one)


def test_a_fit_without_its_problem_says_so(one, tmp_path):
    """One whose loss is a function of no name, in a file."""
    odd = reversal(where="leak.E", loss=lambda ts, V, target: V - target)
    with pytest.warns(UserWarning, match="`problem` is left out of the file"):
        hh.save(tmp_path / "fit.npz", odd)
    got = hh.load(tmp_path / "fit.npz")
    assert str(got) == str(odd)
    with pytest.raises(ValueError, match="`sample` needs the problem that was fitted"):
        got.sample(jax.random.key(0))
    hh.save(tmp_path / "whole.npz", one)
    assert (
        hh.load(tmp_path / "whole.npz").profile("leak.E", points=40).interval
        == one.profile("leak.E", points=40).interval
    )
