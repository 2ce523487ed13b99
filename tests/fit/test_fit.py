"""Fits: estimates, their errors, and the pieces that they are made of."""

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import hhjax as hh
from hhjax._fit._free import resolve
from hhjax._fit._guide import stages
from hhjax._fit._problem import Shooting
from hhjax._fit._protocol import protocol_of, split

QUIET = {"progress_meter": diffrax.NoProgressMeter()}
AXON = hh.squid_axon()


def membrane(g=0.3, E=-60.0, C=1.0):
    return hh.Neuron({"leak": hh.Leak(g=g, E=E)}, C=C)


def eight(neuron, electrode):
    na, k, leak = (neuron.channels[name] for name in ("na", "k", "leak"))
    free = {"gNa": na.g, "gK": k.g, "gL": leak.g, "ENa": na.E, "EK": k.E, "EL": leak.E}
    return free | {"C": neuron.C, "offset": electrode.offset}


def fluctuating(rng, ts, mean, sd, tau=5.0):
    kept = np.exp(-(ts[1] - ts[0]) / tau)
    I = np.zeros(ts.size)
    for i in range(1, ts.size):
        I[i] = kept * I[i - 1] + sd * np.sqrt(1 - kept**2) * rng.standard_normal()
    return mean + I


def observed(network, ts, I, rng, noise, dt):
    saveat = diffrax.SaveAt(t0=True, steps=round((ts[1] - ts[0]) / dt), fn=hh.save_V)
    V = np.asarray(hh.simulate(network, t1=ts[-1], dt=dt, stimulus=hh.Sampled(ts, I), saveat=saveat).V)
    return V + noise * rng.standard_normal(V.shape)


@pytest.mark.parametrize("guide", [None, hh.MultipleShooting(segments=5, steps=3)])
def test_a_held_current_is_injected_as_it_was(guide):
    """A passive membrane in a step sampled every 0.5 ms: exact V = E + I/g·(1 − exp(−g·t/C))."""
    ts = np.arange(0.0, 20.0, 0.5)
    current = np.where(ts >= 5.0, 2.0, 0.0)
    V = -60.0 + 2.0 / 0.2 * (1 - np.exp(-0.2 * np.maximum(ts - 5.0, 0.0)))
    data = hh.Recording(ts, current, V, held=True)
    np.testing.assert_allclose(hh.replay(membrane(0.2, -60.0), data)[0, :, 0], V, atol=1e-9)
    linear = hh.replay(membrane(0.2, -60.0), hh.Recording(ts, current, V))[0, :, 0]
    assert np.abs(linear - V).max() > 0.3
    found = hh.fit(membrane(0.3, -60.0), data, where="leak.g", v0=-60.0, guide=guide, **QUIET)
    np.testing.assert_allclose(found.values, 0.2, rtol=1e-6)


def test_eight_parameters_of_a_spiking_axon_are_recovered():
    """From starts within 50 % of the truth; gL·EL + offset is all that is known of EL and the offset."""
    rng, ts, dt = np.random.default_rng(3), np.arange(1001) * 0.1, 0.05
    I = fluctuating(rng, ts, 8.0, 8.0)
    data = hh.Recording(ts, I, observed(hh.Network(AXON), ts, I, rng, 1.0, dt)[:, 0])
    truth = {"gNa": 120.0, "gK": 36.0, "gL": 0.3, "ENa": 50.0, "EK": -77.0, "C": 1.0}
    model = (AXON, hh.Electrode())
    fit = hh.fit(model, data, where=eight, starts=8, key=jax.random.key(0), dt=dt, **QUIET)
    assert (fit.starts.loss < 1.001 * fit.loss).all()
    assert fit.loss == pytest.approx(1.0, abs=4 * np.sqrt(2 / 1001))  # χ² over its degrees of freedom
    for name, value in truth.items():
        estimate, error = fit.derive(lambda *model: eight(*model)[name])
        assert abs(estimate - value) < 3 * error < 0.1 * abs(value), name
    values, errors = dict(zip(eight(*model), fit.values)), dict(zip(eight(*model), fit.standard_errors))
    assert errors["EL"] == errors["offset"] == np.inf and "not identifiable" in fit.summary()
    assert errors["gK"] == pytest.approx(fit.derive(lambda n, e: n.channels["k"].g)[1])
    leak, error = fit.derive(lambda n, e: n.channels["leak"].g * n.channels["leak"].E + e.offset)
    assert abs(leak - 0.3 * -54.387) < 3 * error < 2.0
    assert values["gL"] * values["EL"] + values["offset"] == pytest.approx(leak)


def relaxing(E=-60.0, noise=0.0, count=201):
    """V of a membrane with τ = 5 ms that starts 20 mV above E = −60 mV."""
    ts = np.linspace(0.0, 20.0, count)
    V = E + 20 * np.exp(-ts / 5) + noise * np.random.default_rng(1).standard_normal(count)
    return ts, V


def test_standard_error_of_one_parameter_is_the_textbooks():
    """dV/dE = 1 − exp(−t/τ), so σ_E = s/√Σ(1 − exp(−t/τ))², and E is a weighted mean."""
    ts, V = relaxing(noise=0.5)
    neuron = membrane(g=0.2, E=-50.0)
    fit = hh.fit(neuron, (ts, np.zeros(201), V), where=lambda n: n.channels["leak"].E, v0=-40.0, **QUIET)
    slope = 1 - np.exp(-ts / 5)
    E = (slope * (V + 40 * np.exp(-ts / 5))).sum() / (slope**2).sum()
    residuals = V + 40 * np.exp(-ts / 5) - E * slope
    error = np.sqrt((residuals**2).sum() / 200 / (slope**2).sum())
    assert fit.values[0] == pytest.approx(E, rel=1e-7)
    assert fit.standard_errors[0] == pytest.approx(error, rel=1e-5)
    assert fit.loss == pytest.approx((residuals**2).mean(), rel=1e-6)
    assert isinstance(fit.model, hh.Neuron) and fit.reason == "converged"


def test_nothing_is_compiled_twice(caplog, capsys):
    """All stages of a fit share one program, as do fits that differ in their numbers alone."""

    guide = hh.Nudging((3.0, 1.0), steps=3)

    def compiled(ts, V):
        caplog.clear()
        with jax.log_compiles():
            hh.fit(membrane(), (ts, np.zeros(201), V), where=lambda n: n.C, guide=guide, steps=3)
        return [r.getMessage() for r in caplog.records if r.getMessage().startswith("Finished XLA")]

    assert sum("jit(_lm_step)" in message for message in compiled(*relaxing())) == 1
    again = compiled(*relaxing(E=-61.0))
    assert len(again) <= 2, again  # the progress meter's beginning and end
    assert capsys.readouterr().out.endswith("100.00%\n")


def test_the_initial_potential_is_free_unless_given():
    """The first sample is off by 5 mV, and left out of the loss: a fit that starts there goes wrong."""
    ts, V = relaxing()
    V[0] += 5.0
    where = lambda n: {"E": n.channels["leak"].E, "g": n.channels["leak"].g}
    data = (ts, np.zeros(201), V)
    options = dict(where=where, loss=hh.losses.Trace(start=0.05), **QUIET)
    free = hh.fit(membrane(g=0.3, E=-50.0), data, **options)
    np.testing.assert_allclose(free.values, [-60.0, 0.2], rtol=1e-5)
    assert float(free.v0[0, 0]) == pytest.approx(-40.0, abs=1e-3)
    held = hh.fit(membrane(g=0.3, E=-50.0), data, v0=V[0], **options)
    assert abs(held.values[1] - 0.2) > 0.01


def test_optax_and_levenberg_marquardt_agree():
    ts, V = relaxing()
    guide = hh.MultipleShooting(segments=4, steps=8)
    where = lambda n: [n.channels["leak"].E, n.channels["leak"].g]
    options = dict(where=where, v0=-40.0, dt=0.1, guide=guide, **QUIET)
    neuron, data = membrane(g=0.25, E=-55.0), (ts, np.zeros(201), V)
    late = np.where(ts < 2.0, 1.0, 2.0)[None, :, None]  # mV, with a value for each sample
    lm = hh.fit(neuron, data, loss=hh.losses.Trace(sd=late), **options)
    adam = hh.fit(neuron, data, method=optax.adam(0.05), steps=300, **options)
    np.testing.assert_allclose(lm.values, [-60.0, 0.2], rtol=1e-5)
    np.testing.assert_allclose(adam.values, lm.values, rtol=1e-3)
    assert adam.history.size <= 300 + 3 * 8 and lm.runs < adam.runs


def problem_of(guide):
    rng, ts = np.random.default_rng(0), np.arange(61) * 0.5
    I = np.stack([fluctuating(rng, ts, 8.0, 5.0) for _ in range(2)])
    V = -60 + 10 * rng.standard_normal((2, 61))
    V[1, 7] = np.nan
    model = (AXON, hh.Electrode())
    protocol = protocol_of(hh.Recording(ts, I, V), *split(model), 0.25, "strang", None, jnp.float64)
    free = resolve(model, lambda n, e: [n.channels["na"], n.C, e.offset], None, None, jnp.float64)
    problem = Shooting(model, free, protocol, hh.losses.Trace(sd=2.0))
    guided, u, _ = stages(guide, problem, free.to_unknowns(free.values(model))[None])
    return guided, u[0]


@pytest.mark.filterwarnings("ignore:1 of 122 samples")
@pytest.mark.parametrize(
    "guide", [None, hh.MultipleShooting(segments=3)], ids=["one shot", "multiple shooting"]
)
def test_jacobians_are_those_of_the_residuals(guide):
    """The sparse Jacobian, and the few rows it shrinks to, give the same normal equations."""
    problem, u = problem_of(guide)
    strength = jnp.asarray(2.0 if guide else 0.3)
    residuals = lambda u: problem.residuals(u, strength, diffrax.ForwardMode())
    r, J = eqx.filter_jit(lambda u: (residuals(u), jax.jacfwd(residuals)(u)))(u)
    assert u.size == (4 + 2 if guide is None else 4 + 6 * 4) and problem.directions < u.size
    small_r, small_J = eqx.filter_jit(problem.compressed)(u, strength)
    assert small_J.shape == (u.size + 1, u.size)
    np.testing.assert_allclose(small_J.T @ small_J, J.T @ J, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(small_J.T @ small_r, J.T @ r, rtol=1e-8, atol=1e-10)
    assert float((small_r**2).sum()) == pytest.approx(float(problem.loss(u, strength)), rel=1e-10)


def test_couplings_of_a_network_are_recovered():
    """The off-diagonal entries of E, the only free ones."""
    rng, ts, dt = np.random.default_rng(5), np.arange(401) * 0.1, 0.05
    E = np.array([[0.0, 0.2], [0.1, 0.0]])
    build = lambda E: hh.Network(AXON, n=2, coupling=hh.GradedSynapse(E))
    I = np.stack([fluctuating(rng, ts, 8.0, 6.0) for _ in range(2)], axis=-1)
    V = observed(build(E), ts, I, rng, 0.5, dt)
    fit = hh.fit(
        build([[0.0, 0.02], [0.02, 0.0]]),
        hh.Recording(ts, I[None], V[None]),
        where=lambda network: network.coupling.weights,
        mask=~np.eye(2, dtype=bool),
        dt=dt,
        **QUIET,
    )
    assert fit.names == ("coupling.weights[0,1]", "coupling.weights[1,0]")
    assert (np.abs(fit.values - [0.2, 0.1]) < 3 * fit.standard_errors).all()
    assert (fit.standard_errors < 0.01).all()
    assert float(fit.model.coupling.weights[0, 0]) == 0.0


def test_sweeps_as_neurons_share_what_they_should():
    """Two sweeps, one leak reversal each, one conductance for both."""
    (ts, first), (_, second) = relaxing(), relaxing(E=-70.0)
    recording = hh.Recording(ts, np.zeros((2, 201)), np.stack([first, second])).as_neurons()
    network = hh.Network(membrane(g=0.3, E=jnp.array([-65.0, -65.0])), n=2)
    where = lambda n: n.neuron.channels["leak"]
    fit = hh.fit(network, recording, where=where, **QUIET)
    assert fit.names == ("leak.g", "leak.E[0]", "leak.E[1]")
    np.testing.assert_allclose(fit.values, [0.2, -60.0, -70.0], rtol=1e-5)


def test_a_start_that_blows_up_costs_itself_alone():
    ts, V = relaxing(count=21)
    data = (ts, np.zeros(21), V)
    where = lambda n: n.channels["leak"].g
    starts = np.array([[0.25], [50.0]])  # forward Euler at dt = 1 ms is stable up to g/C = 2
    options = dict(where=where, v0=-40.0, dt=1.0, solver="euler", guide=None, **QUIET)
    fit = hh.fit(membrane(E=-60.0), data, starts=starts, steps=20, **options)
    assert fit.starts.reasons[1] == "blew up" and np.isfinite(fit.loss)
    with pytest.raises(FloatingPointError, match="Every start blew up"):
        hh.fit(membrane(g=50.0, E=-60.0), data, steps=2, **options)


def test_float32_models_stay_float32():
    ts, V = relaxing()
    neuron = jax.tree.map(lambda x: x.astype(jnp.float32), membrane(g=0.3, E=-50.0))
    fit = hh.fit(neuron, (ts, np.zeros(201), V), where=lambda n: n.channels["leak"], dt=0.1, **QUIET)
    assert fit.model.channels["leak"].g.dtype == jnp.float32
    np.testing.assert_allclose(fit.values, [0.2, -60.0], rtol=1e-3)


def test_steps_zero_scores_the_model_as_it_is():
    ts, V = relaxing()
    neuron, data = membrane(g=0.2, E=-61.0), hh.Recording(ts, np.zeros(201), V)
    fit = hh.fit(neuron, data, where=lambda n: n.C, guide=None, steps=0, v0=-40.0, **QUIET)
    exact = (1 - np.exp(-ts / 5)) ** 2  # V is off by −1·(1 − e^(−t/τ))
    assert fit.values[0] == 1.0 and fit.loss == pytest.approx(exact.mean(), rel=1e-6)
    np.testing.assert_allclose(hh.replay(neuron, data, v0=-40.0), fit.V, rtol=1e-12)


DATA = (np.arange(5.0), np.zeros(5), np.full(5, -60.0))
WITH_AREA = (membrane(), hh.Electrode(area=1000.0))


@pytest.mark.usefixtures("as_users_run_it")
def test_currents_have_the_unit_that_the_electrode_takes():
    """Of a step of 1 µA/cm² a membrane of g = 0.2 mS/cm² and τ = 5 ms sees 5·(1 − e^(−t/τ)) mV."""
    ts, _, V = DATA
    neuron, exact = membrane(g=0.2, E=-60.0), -60.0 + 5 * (1 - np.exp(-ts / 5))
    shown = lambda electrode, current, *unit: hh.replay(
        neuron if electrode is None else (neuron, electrode), (ts, np.full(5, current), V, *unit)
    )[0, :, 0]
    offset, area = hh.Electrode(offset=0.4), hh.Electrode(area=1000.0)
    for electrode, current in ((None, 1.0), (offset, 0.6), (area, 10.0)):  # 10 pA on 1000 µm²
        np.testing.assert_allclose(shown(electrode, current), exact, rtol=1e-9)
    np.testing.assert_allclose(shown(area, 10.0, "pA"), exact, rtol=1e-9)
    with pytest.raises(ValueError, match=r"in µA/cm² already: .* hh.Electrode\(area=...\)\), or give"):
        shown(area, 1.0, "µA/cm²")


@pytest.mark.parametrize(
    "change, error, message",
    [
        (dict(model=3.0), TypeError, "`model` must be an hh.Neuron, hh.Cell or hh.Network"),
        (dict(where=lambda n: n.channels["na"].g), ValueError, "`where` asks for something the model"),
        (dict(where=lambda n: [n.C, n.C]), ValueError, "`where` returns the same parameter twice: C"),
        (dict(where=lambda n: 3.0), ValueError, "`where` must return parameters of the model"),
        (dict(bounds=(2.0, 3.0)), ValueError, r"`bounds` exclude a start: C starts at 1, .* \(2, 3\) µF/cm²"),
        (dict(bounds=(3.0, 2.0)), ValueError, r"`bounds` of C must be \(low, high\)"),
        (dict(bounds={"x": (0, 1)}), ValueError, "`bounds` names"),
        (dict(mask=[True, False]), ValueError, "`mask`"),
        (dict(method="bfgs"), ValueError, "`method` must be 'lm' or an optax optimiser"),
        (dict(guide="nudge"), ValueError, "`guide` must be 'auto', None"),
        (dict(guide=hh.MultipleShooting(segments=9)), ValueError, "more than the 4 sampling intervals"),
        (dict(steps=-1), ValueError, "`steps` must be a whole number of at least 0, got -1"),
        (dict(starts=3), ValueError, "`key` is missing"),
        (dict(starts=np.ones((2, 2))), ValueError, r"`starts` must .* shape \(starts, 1\)"),
        (dict(dt=0.3), ValueError, "`dt` must be a whole fraction of the sampling interval of `data`, 1 ms"),
        (dict(v0=np.nan), ValueError, "`v0` must be finite in mV, got nan"),
        (dict(loss=1.0), TypeError, "`loss` must be a loss such as hh.losses.Trace"),
        (dict(data=(DATA[0], DATA[1], np.full(5, np.nan))), ValueError, "no number at all"),
        (dict(data=hh.Recording(*DATA, "pA")), ValueError, "`data` has currents in pA"),
        (dict(model=WITH_AREA, data=hh.Recording(*DATA)), ValueError, "`data` has currents in µA/cm²"),
        (dict(data=(DATA[0], DATA[1], np.zeros((1, 5, 2)))), ValueError, r"`data.V` holds 2 neuron\(s\)"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(as_users_run_it, change, error, message):
    call = dict(model=membrane(), data=DATA, where=lambda n: n.C, **QUIET) | change
    with pytest.raises(error, match=message):
        hh.fit(call.pop("model"), call.pop("data"), **call)


@pytest.mark.parametrize("make", [lambda: hh.Nudging(rates=()), lambda: hh.MultipleShooting(segments=1)])
def test_guides_check_themselves(make):
    with pytest.raises(ValueError, match="must (be|have)"):
        make()
