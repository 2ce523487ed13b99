"""How a fit is set up: where sweeps and searches begin, and what an electrode reads."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad

import hhjax as hh
from hhjax._fit._free import resolve

QUIET = {"progress_meter": diffrax.NoProgressMeter(), "guide": None}
AXON = hh.squid_axon()
TS = np.arange(0.0, 10.05, 0.1)


def membrane(g=0.2, E=-60.0, C=1.0):
    return hh.Neuron({"leak": hh.Leak(g=g, E=E)}, C=C)


def run_from(y0, current=5.0):
    """V of the axon from a state, every 0.1 ms."""
    saveat = diffrax.SaveAt(t0=True, steps=4, fn=hh.save_V)
    return np.asarray(hh.simulate(AXON, t1=10.0, dt=0.025, stimulus=current, y0=y0, saveat=saveat).V)[:, 0]


def shut(V):
    y = hh.Network(AXON).init(V)
    return y.replace(gates=jax.tree.map(jnp.zeros_like, y.gates))


def test_gates_at_zero_or_given_are_where_a_run_begins():
    """Against `hh.simulate` from the same states, two sweeps from states of their own."""
    states = [shut(-65.0), hh.Network(AXON).init(-50.0)]
    V = np.stack([run_from(y) for y in states])
    data = hh.Recording(TS, np.full((2, TS.size), 5.0), V)
    shown = hh.replay(AXON, data, v0=-65.0, initial="zero")[..., 0]
    np.testing.assert_allclose(shown[0], V[0], atol=1e-9)
    np.testing.assert_allclose(hh.replay(AXON, data, initial=states)[..., 0], V, atol=1e-9)
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *states)
    np.testing.assert_allclose(hh.replay(AXON, data, initial=stacked)[..., 0], V, atol=1e-9)
    one = hh.replay(AXON, data, initial=states[0])[..., 0]
    np.testing.assert_allclose(one, V[[0, 0]], atol=1e-9)


@pytest.mark.parametrize("guide", [None, hh.MultipleShooting(segments=4, penalties=(10.0,), steps=5)])
def test_free_gates_are_found(guide):
    """All of the first state and a conductance, from the trace alone."""
    neuron = hh.Neuron({"k": hh.Potassium(), "leak": hh.Leak()})
    truth = hh.Network(neuron).init(-40.0).replace(gates={"k": {"n": jnp.array([0.9])}, "leak": {}})
    V = hh.replay(neuron, (TS, np.full(TS.size, 5.0), np.zeros(TS.size)), initial=truth)[0, :, 0]
    data = (TS, np.full(TS.size, 5.0), V)
    options = dict(where="k.g", initial="free", **QUIET | {"guide": guide})
    fit = hh.fit(hh.replace(neuron, {"k.g": 30.0}), data, **options)
    found = [fit.values[0], fit.initial.gates["k"]["n"][0, 0], fit.v0[0, 0]]
    np.testing.assert_allclose(found, [36.0, 0.9, -40.0], rtol=1e-4)
    again = hh.replay(fit.model, data, initial=fit.initial)
    np.testing.assert_allclose(again, fit.V, atol=1e-9)


def test_V_at_rest_is_where_nothing_moves():
    """In the current of the first sample and a holding current: V stays; of a membrane E + I/g."""
    holding = np.array([1.0, -2.0])
    data = hh.Recording(TS, np.full((2, TS.size), 2.0), np.full((2, TS.size), -60.0))
    V = hh.replay(AXON, data, v0="rest", holding=holding)[..., 0]
    assert np.ptp(V, axis=1).max() < 1e-8 and V[0, 0] > V[1, 0] + 1.0
    data = hh.Recording(
        TS, np.full((2, TS.size), 2.0), -60 + (2.0 + holding)[:, None] / np.full(TS.size, 0.25)
    )
    fit = hh.fit(membrane(), data, where="leak.g", v0="rest", holding=holding, **QUIET)
    np.testing.assert_allclose(fit.values, 0.25, rtol=1e-6)
    np.testing.assert_allclose(fit.v0[:, 0], -60 + (2.0 + holding) / 0.25, rtol=1e-6)


def test_currents_are_held_where_the_fit_says_so():
    """As an hh.Recording of the same that says it itself."""
    current = np.where(TS >= 5.05, 2.0, 0.0)
    linear, held = (hh.Recording(TS, current, np.full(TS.size, -60.0), held=held) for held in (False, True))
    shown = [hh.replay(membrane(), *it, v0=-60.0, held=x) for it, x in ([[linear], True], [[held], None])]
    np.testing.assert_array_equal(*shown)
    assert np.abs(hh.replay(membrane(), held, v0=-60.0, held=False) - shown[0]).max() > 0.05


def test_random_starts_fill_the_bounds():
    """Uniformly, by the logarithm where both are positive: means and variances, and none at an edge."""
    model = membrane()
    bounds = {"leak.g": (1e-3, 10.0), "leak.E": (-100.0, -40.0)}
    free = resolve(model, ["leak.g", "leak.E", "C"], bounds, None, jnp.float64)
    starts = np.asarray(free.starts(free.values(model), 4001, 0.5, jax.random.key(0)))
    assert (starts[0] == [0.2, -60.0, 1.0]).all()
    g, E, C = starts[1:].T
    for x, low, high in ((np.log(g), np.log(1e-3), np.log(10.0)), (E, -100.0, -40.0), (C, 0.5, 1.5)):
        share = (x - low) / (high - low)
        assert 0.0 < share.min() < 0.01 and 0.99 < share.max() < 1.0
        # Four standard errors of a mean and a variance of 4,000 uniform numbers.
        assert abs(share.mean() - 1 / 2) < 4 / np.sqrt(12 * 4000)
        assert abs(share.var() - 1 / 12) < 4 * np.sqrt(1 / 180 / 4000)


# An electrode on a passive membrane of 1,000 µm², τ = 5 ms: 100 pA are 10 µA/cm², 50 mV in the end.
LATE = 2.0  # ms, when the current begins
STEP = np.where(TS >= LATE - 1e-9, 100.0, 0.0)  # pA
TRUE_V = -60.0 + 50.0 * (1 - np.exp(-np.maximum(TS - LATE, 0.0) / 5.0))


def read(**fields):
    data = hh.Recording(TS, STEP, np.full(TS.size, -60.0), "pA", held=True)
    electrode = hh.Electrode(area=1000.0, **fields)
    return hh.replay((membrane(), electrode), data, v0=-60.0, dt=0.025)[0, :, 0]


def test_a_bridge_and_a_junction_add_to_what_is_read():
    """100 pA across 20 MΩ are 2 mV; a junction potential of 14 mV makes a reading 14 mV too high."""
    np.testing.assert_allclose(read(), TRUE_V, atol=1e-9)
    np.testing.assert_allclose(read(bridge=20.0, junction=14.0), TRUE_V + 0.02 * STEP + 14.0, atol=1e-9)


def test_the_capacitance_of_a_pipette_makes_a_filter():
    """30 MΩ and 10 pF: τ = 0.3 ms. Against the convolution of V + bridge·I with e^(−t/τ)/τ, by quadrature."""
    tau, bridge = 0.3, 20.0
    shown = read(series=30.0, capacitance=10.0, bridge=bridge)
    V = lambda t: -60.0 + (50.0 * (1 - np.exp(-(t - LATE) / 5.0)) + 0.1 * bridge if t > LATE else 0.0)
    for t in (1.0, 2.1, 2.5, 6.0):
        points = [LATE] if t > LATE else None
        exact = quad(
            lambda s: V(s) * np.exp((s - t) / tau) / tau, t - 40 * tau, t, points=points, epsabs=1e-10
        )[0]
        # V counts as linear in a step of 0.025 ms, which it is to 0.025²/8·V'' = 2e-4 mV.
        assert shown[round(t / 0.1)] == pytest.approx(exact, abs=5e-4)


def test_all_of_an_electrode_is_found():
    """Bridge, filter and junction beside a membrane's g and C; E and junction are known as a sum alone."""
    truth = (membrane(), hh.Electrode(area=1000.0, bridge=12.0, series=20.0, capacitance=8.0, junction=10.0))
    seen = np.full(TS.size, -50.0)
    V = hh.replay(truth, hh.Recording(TS, STEP, seen, "pA", held=True), v0="rest", dt=0.05)[..., 0]
    data = hh.Recording(TS, STEP, V, "pA", held=True)
    start = {"leak.g": 0.3, "C": 1.3, "electrode.bridge": 0.0, "electrode.capacitance": 4.0}
    model = hh.replace(truth, start | {"electrode.junction": 0.0})
    fit = hh.fit(model, data, where=[*start, "electrode.junction"], dt=0.05, **QUIET)
    np.testing.assert_allclose(fit.values, [0.2, 1.0, 12.0, 8.0, 10.0], rtol=1e-4)


def test_a_guide_follows_the_membrane_and_not_the_reading():
    """Nudged without end, V is the membrane's own V where bridge and junction are right."""
    model = (membrane(), hh.Electrode(area=1000.0, bridge=40.0, junction=10.0))
    linear = lambda V: hh.Recording(TS, STEP, V, "pA")
    data = linear(hh.replay(model, linear(np.full(TS.size, -50.0)), v0=-60.0)[..., 0])
    model = hh.replace(model, {"leak.g": 0.3})
    fit = hh.fit(model, data, where="leak.g", steps=0, **QUIET | {"guide": hh.Nudging((3.0,), steps=10)})
    # What is left is of V between samples, which the guide takes as linear.
    assert fit.values[0] == pytest.approx(0.2, rel=1e-3)


@pytest.mark.usefixtures("as_users_run_it")
@pytest.mark.parametrize(
    "change, message",
    [
        (dict(v0="here"), "`v0` must be None, 'rest' or numbers in mV, got 'here'"),
        (dict(initial="given"), "`initial` must be 'rest', 'zero', 'free', an hh.State or a list"),
        (dict(initial=shut(-65.0)), r"`initial` must be a state of the model with .* \(1,\) or \(1, 1\)"),
        (dict(initial=[hh.Network(membrane()).init()] * 2), "a list of 1, one for each sweep"),
        (dict(initial=hh.Network(membrane()).init(), v0=-60.0), "`v0` must be left out where"),
        (dict(holding=[1.0, 2.0]), r"`holding` must .* shape \(1,\) or \(1, 1\), got \(2,\)"),
        (dict(held=1), "`held` must be True or False"),
    ],
)  # fmt: skip
def test_a_start_that_makes_no_sense_is_refused(change, message):
    with pytest.raises((ValueError, TypeError), match=message):
        hh.replay(membrane(), (TS, np.zeros(TS.size), np.full(TS.size, -60.0)), **change)


def test_an_electrode_checks_what_goes_together():
    with pytest.raises(ValueError, match="`bridge` needs a current in pA: give the `area`"):
        hh.Electrode(bridge=1.0)
    with pytest.raises(ValueError, match="`capacitance` .* makes a filter with `series`"):
        hh.Electrode(area=1.0, capacitance=1.0)
