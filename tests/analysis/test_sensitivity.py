"""Sensitivities and Fisher information: reference values, closed forms, and the fits they foretell."""

import diffrax
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pytest

import hhjax as hh
from hhjax import analysis, plot

SQUID = hh.squid_axon()
NAMES = {
    "gNa": "na.g",
    "gK": "k.g",
    "gL": "leak.g",
    "ENa": "na.E",
    "EK": "k.E",
    "EL": "leak.E",
    "C": "C",
    "I": "electrode.offset",
}


def first_four(run):
    return hh.spike_times(run.ts, run.V, max_spikes=4)[0]


def test_spike_times_move_as_the_reference_says(reference):
    """dt_k by gNa, gK, gL, ENa, EK, EL, C and the current, and what is made of it."""
    expected = reference["I10"]["sensitivities"]
    model = (SQUID, hh.Electrode())
    run = dict(t1=48.0, dt=0.01, stimulus=10.0, solver="rk4")
    table = analysis.sensitivity(model, first_four, **run)
    np.testing.assert_allclose(table.feature, reference["I10"]["spike_times_ms"][:4], atol=2e-6)
    for name, ours in NAMES.items():
        np.testing.assert_allclose(table[ours], expected[name]["dt_spike"][:4], rtol=5e-6)
    k = table.names.index("k.E")
    relative = -77 * np.array(expected["EK"]["dt_spike"][:4]) / table.feature
    np.testing.assert_allclose(table.elasticity[k], relative, rtol=5e-6)
    np.testing.assert_allclose(table.per_percent[k], relative * table.feature / 100, rtol=5e-6)
    head, columns, *rows = str(table).splitlines()
    assert head.startswith("feature: 1.901, 16.823") and columns.endswith("derivative [3]")
    row = next(row.split() for row in rows if row.startswith("leak.g"))
    assert row[:4] == ["leak.g", "0.3", "mS/cm²", "-0.53902"]

    bars = plot.sensitivity(table, entry=3, most=3)
    order = np.argsort(-np.abs(table.elasticity[:, 3]))[:3]
    np.testing.assert_array_equal([bar.get_width() for bar in bars], table.elasticity[order, 3])
    ax = bars.patches[0].axes
    assert [t.get_text() for t in ax.get_yticklabels()] == [table.names[i] for i in order]
    with pytest.raises(ValueError, match=r"`entry` must choose one number of a feature of shape \(4,\)"):
        plot.sensitivity(table)
    plt.close("all")


def test_a_feature_of_the_model_itself():
    """The rest of two leaks, (g₁E₁ + g₂E₂)/(g₁ + g₂); neurons have values of their own."""
    leaks = {"a": hh.Leak(g=jnp.array([1.0, 3.0]), E=-60.0), "b": hh.Leak(g=2.0, E=-90.0)}

    def rest(network):
        a, b = network.neuron.channels.values()
        return (a.g * a.E + b.g * b.E) / (a.g + b.g)

    where = lambda network: [network.neuron.channels["a"].g, network.neuron.channels["b"].E]
    table = analysis.sensitivity(hh.Network(hh.Neuron(leaks), n=2), rest, where)
    assert table.names == ("a.g[0]", "a.g[1]", "b.E") and table.units == ("mS/cm²", "mS/cm²", "mV")
    np.testing.assert_allclose(table.feature, [-80.0, -72.0])
    np.testing.assert_allclose(table["a.g[0]"], [2 * 30 / 9, 0.0], rtol=1e-12)
    np.testing.assert_allclose(table["b.E"], [2 / 3, 2 / 5], rtol=1e-12)
    one = analysis.sensitivity(hh.Network(hh.Neuron(leaks), n=2), lambda n: rest(n)[1], where)
    assert str(one).splitlines()[-1].split() == ["b.E", "-90", "mV", "0.4", "0.5"]


def leaky(g=0.1, E=-70.0, C=2.0):
    return hh.Neuron({"leak": hh.Leak(g=g, E=E)}, C=C)


def exact_slopes(I, t=jnp.linspace(0.0, 50.0, 101), v0=-65.0):
    """∂V/∂(g, E, C, v0), from the closed form for a current I from 20 ms on."""

    def V(g, E, C, v0):
        towards = lambda V, end, t: end + (V - end) * jnp.exp(-g * t / C)
        first = towards(v0, E, jnp.minimum(t, 20.0))
        return towards(first, jnp.where(t > 20.0, E + I / g, E), jnp.maximum(t - 20.0, 0.0))

    at = [jnp.array(x) for x in (0.1, -70.0, 2.0, v0)]
    return np.stack(jax.jacfwd(V, argnums=(0, 1, 2, 3))(*at), axis=1)


def pick(neuron):
    return [neuron.channels["leak"].g, neuron.channels["leak"].E, neuron.C]


STEP = hh.Step(1.5, start=20.0)
RUN = dict(noise_sd=0.5, t1=50.0, dt=0.1, every=5)


def test_information_on_a_passive_membrane():
    """In closed form, over one sweep, over two, and with v0 to be estimated as well."""
    info = analysis.fisher_information(leaky(), STEP, where=pick, **RUN)
    J = exact_slopes(1.5)
    F = J[:, :3].T @ J[:, :3] / 0.25
    assert info.names == ("leak.g", "leak.E", "C")
    np.testing.assert_allclose(info.matrix, F, rtol=1e-8)
    np.testing.assert_allclose(info.root.T @ info.root, F, rtol=1e-8)
    covariance = np.linalg.inv(F)
    sd = np.sqrt(np.diag(covariance))
    np.testing.assert_allclose(info.standard_errors, sd, rtol=1e-6)
    np.testing.assert_allclose(info.correlation, covariance / np.outer(sd, sd), atol=1e-6)
    size = np.array([0.1, 70.0, 2.0])
    eigenvalues, vectors = info.eigen()
    again = vectors @ np.diag(eigenvalues) @ vectors.T
    np.testing.assert_allclose(again, F * np.outer(size, size), rtol=1e-6)
    assert (np.diff(eigenvalues) < 0).all() and info.unidentifiable.shape == (0, 3)

    both = analysis.fisher_information(leaky(), [STEP, hh.Step(-1.0, start=20.0)], where=pick, **RUN)
    other = exact_slopes(-1.0)[:, :3]
    np.testing.assert_allclose(both.matrix, F + other.T @ other / 0.25, rtol=1e-8)

    unknown = analysis.fisher_information(leaky(), STEP, where=pick, free_v0=True, **RUN)
    covariance = np.linalg.inv(J.T @ J / 0.25)[:3, :3]
    np.testing.assert_allclose(unknown.standard_errors, np.sqrt(np.diag(covariance)), rtol=1e-6)


def test_a_protocol_can_be_optimised():
    """The slope of log det F by the amplitude of the stimulus."""

    def merit(I):
        info = analysis.fisher_information(leaky(), hh.Step(I, start=20.0), where=pick, **RUN)
        return jnp.linalg.slogdet(info.matrix)[1]

    def exact(I):
        J = exact_slopes(I)[:, :3]
        return np.linalg.slogdet(J.T @ J / 0.25)[1]

    slopes = jax.jit(jax.vmap(jax.jacfwd(merit)))(jnp.array([1.0, 2.0]))
    expected = [(exact(I + 1e-4) - exact(I - 1e-4)) / 2e-4 for I in (1.0, 2.0)]
    np.testing.assert_allclose(slopes, expected, rtol=1e-5)


def test_what_a_protocol_cannot_tell_apart():
    """Of E and an offset of the current, g·E + offset alone counts."""
    model = (leaky(), hh.Electrode())
    where = lambda neuron, electrode: [*pick(neuron), electrode.offset]
    info = analysis.fisher_information(model, STEP, where=where, **RUN)
    errors = info.standard_errors
    assert np.isinf(errors[[1, 3]]).all() and np.isfinite(errors[[0, 2]]).all()
    (row,) = info.unidentifiable
    # 1 % of the offset's scale of 1 µA/cm²
    np.testing.assert_allclose(row * np.sign(row[3]), [0.0, -0.1, 0.0, 0.01], atol=1e-8)
    assert np.isfinite(info.uncertainty.errors(np.array([[0.0, 0.1, 0.0, 1.0]]))).all()
    lines = str(info).splitlines()
    assert "no V shows: leak.E" in lines[-1] and "with electrode.offset" in lines[-1]
    # A current that never changes shows V∞ and τ, two numbers for g, E and C.
    still = analysis.fisher_information(leaky(), 1.5, where=pick, **RUN)
    assert np.isinf(still.standard_errors).all() and still.unidentifiable.shape == (1, 3)


def test_fits_are_as_good_as_foretold():
    """The standard errors of a fit to the same data, up to its estimate of the noise."""
    ts = np.arange(0.0, 50.1, 0.5)
    stimulus = hh.Sampled(ts, np.where(ts < 20, 0.0, 1.5))
    saveat = diffrax.SaveAt(t0=True, steps=20, fn=hh.save_V)
    clean = np.asarray(hh.simulate(leaky(), t1=50.0, dt=0.025, stimulus=stimulus, saveat=saveat).V[:, 0])
    V = clean + 0.2 * np.random.default_rng(1).standard_normal(ts.size)
    V[0] = clean[0]  # where a fit starts
    quiet = dict(guide=None, steps=0, progress_meter=diffrax.NoProgressMeter())
    fit = hh.fit(leaky(), (ts, stimulus.values, V), where=pick, **quiet)
    told = dict(noise_sd=0.2, t1=50.0, every=20, free_v0=True)
    info = analysis.fisher_information(leaky(), stimulus, where=pick, **told)
    assert info.names == fit.names
    noise = np.sqrt(((V - clean) ** 2).sum() / (ts.size - 4))  # three parameters and v0
    np.testing.assert_allclose(fit.standard_errors * 0.2 / noise, info.standard_errors, rtol=1e-6)
    np.testing.assert_allclose(fit.correlation, info.correlation, atol=1e-6)


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda: analysis.sensitivity(SQUID, 3.0), TypeError, "`feature` must be a function"),
        (lambda: analysis.sensitivity(SQUID, lambda n: n), TypeError, "`feature` must return one floating"),
        (lambda: analysis.sensitivity(SQUID, lambda n: n.C, lambda n: n.D), ValueError, "`where` asks for"),
        (lambda: analysis.fisher_information(SQUID, 1.0, t1=1.0, every=0), ValueError, "`every` must be"),
        (lambda: analysis.fisher_information(SQUID, [], t1=1.0), ValueError, "at least one sweep"),
        (lambda: analysis.fisher_information(SQUID, 1.0, t1=1.0, noise_sd=0.0), ValueError, "positive"),
    ],
)
def test_what_makes_no_sense_is_refused(as_users_run_it, call, error, message):
    with pytest.raises(error, match=message):
        call()
