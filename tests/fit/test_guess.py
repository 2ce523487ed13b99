"""What is guessed of a cell from steps of current, and the model made of it."""

import dataclasses

import diffrax
import jax.numpy as jnp
import numpy as np
import pytest

import hhjax as hh
from hhjax._fit._passive import spikes_of

TS = np.arange(0.0, 300.0, 0.1)
ON, OFF = 50.0, 250.0


def current(levels):
    """Steps of these sizes."""
    return np.where((TS >= ON - 1e-9) & (TS < OFF - 1e-9), np.asarray(levels)[:, None], 0.0)


def passive(levels, rest=-68.0, R=0.4, tau=20.0, bridge=0.012, held=True, noise=0.0):
    """E + R·I·(1 − e^(−t/τ)) and its decay, and the jump with the current, mV; R and bridge in GΩ.

    A current that is linear between samples is half up between two: 0.05 ms earlier.
    """
    up = lambda t: -np.expm1(-np.maximum(t + (0.0 if held else 0.05), 0.0) / tau)
    V = rest + R * np.asarray(levels)[:, None] * (up(TS - ON) - up(TS - OFF)) + bridge * current(levels)
    return V + noise * np.random.default_rng(0).standard_normal(V.shape)


@pytest.mark.parametrize("held", [True, False])
def test_a_passive_cell_is_measured(held):
    """400 MΩ, 20 ms, so 50 pF and 5,000 µm² at 1 µF/cm²; a bridge error of 12 MΩ: to 0.5 %."""
    levels = [-30.0, -20.0, 20.0]
    data = hh.Recording(TS, current(levels), passive(levels, held=held), "pA", held=held)
    found = hh.guess(data, hh.Neuron({"leak": hh.Leak()}))
    values = [found.rest, found.resistance, found.tau, found.capacitance, found.area, found.bridge]
    np.testing.assert_allclose(values, [-68.0, 400.0, 20.0, 50.0, 5000.0, 12.0], rtol=5e-3)
    neuron, electrode = found.model
    # The membrane of which this is the answer: g = 1/(R·area), C = τ/(R·area).
    made = [neuron.channels["leak"].g, neuron.channels["leak"].E, neuron.C, electrode.area, electrode.bridge]
    np.testing.assert_allclose(np.array(made), [0.05, -68.0, 1.0, 5000.0, 12.0], rtol=5e-3)
    shown = str(found)
    for line in ("input resistance", "MΩ    sweeps 0–1", "at 1 µF/cm²", "leak.g     0.3"):
        assert line in shown


def test_noise_and_a_pipette_matter_little():
    """0.3 mV of noise, and a first-order filter of 0.2 ms, which delays V by that: 3 %, the bridge 5 MΩ."""
    levels = [-40.0, -30.0, -20.0, -10.0]
    V, kept = passive(levels, noise=0.3), np.exp(-0.1 / 0.2)
    for k in range(1, TS.size):
        V[:, k] = kept * V[:, k - 1] + (1 - kept) * V[:, k]
    found = hh.guess(hh.Recording(TS, current(levels), V, "pA", held=True), hh.Neuron({"leak": hh.Leak()}))
    values = [found.rest, found.resistance, found.tau, found.capacitance]
    np.testing.assert_allclose(values, [-68.0, 400.0, 20.0, 50.0], rtol=0.03)
    assert found.bridge == pytest.approx(12.0, abs=5.0)


def test_what_is_known_already_is_kept():
    """Area, junction and bridge; with the area, C is 50 pF over it. With C, the area follows."""
    data = hh.Recording(TS, current([-30.0, -20.0]), passive([-30.0, -20.0]) + 10.0, "pA", held=True)
    neuron = hh.Neuron({"leak": hh.Leak(), "k": hh.Potassium(g=0.01)})
    found = hh.guess(data, (neuron, hh.Electrode(area=2500.0, junction=10.0, bridge=12.0)))
    assert found.rest == pytest.approx(-68.0) and found.bridge == 12.0 and found.area == 2500.0
    assert "bridge" not in found.sources and float(found.model[1].junction) == 10.0
    assert float(found.model[0].C) == pytest.approx(2.0, rel=2e-3)
    assert float(hh.get(found.model, "k.g")) == pytest.approx(0.02, rel=2e-3)  # as much per capacitance
    assert hh.guess(data, neuron, C=2.0).area == pytest.approx(2500.0, rel=2e-3)


def test_densities_need_no_area():
    """20 kΩ·cm² and 26 ms: 1.3 µF/cm², a leak of 0.05 mS/cm²."""
    V = passive([-0.5, -0.25], R=20.0, tau=26.0, bridge=0.0)
    found = hh.guess(hh.Recording(TS, current([-0.5, -0.25]), V, held=True), hh.Neuron({"leak": hh.Leak()}))
    assert found.area is None and found.bridge is None and found.model[1].area is None
    values = [found.resistance, found.capacitance, *(float(hh.get(found.model, x)) for x in ("C", "leak.g"))]
    np.testing.assert_allclose(values, [20.0, 1.3, 1.3, 0.05], rtol=2e-3)
    assert found.units["resistance"] == "kΩ·cm²" and "area" not in str(found)


def test_a_model_is_found_again_from_its_own_recording():
    """Of a regular-spiking cell from another leak and VT: g to 5 %, E to 0.2 mV, the area to 5 %, VT to 1 mV.

    And the model found rests and answers the small steps as the cell does.
    """
    truth = (hh.pospischil_rs(), hh.Electrode(area=2000.0))
    I = current([-15.0, -10.0, 60.0])
    seen = np.full(I.shape, -70.0)
    V = hh.replay(truth, hh.Recording(TS, I, seen, "pA", held=True), v0="rest", dt=0.05)[..., 0]
    data = hh.Recording(TS, I, V, "pA", held=True)
    off = {"leak.g": 0.3, "leak.E": -55.0, "na.VT": -62.0, "k.VT": -62.0}
    found = hh.guess(data, hh.replace(truth[0], off))
    made = [float(hh.get(found.model, name)) for name in ("leak.g", "electrode.area", "na.g")]
    np.testing.assert_allclose(made, [0.1, 2000.0, 50.0], rtol=0.05)
    assert float(hh.get(found.model, "leak.E")) == pytest.approx(-70.0, abs=0.2)
    assert float(hh.get(found.model, "na.VT")) == pytest.approx(-55.0, abs=1.0)
    assert float(hh.get(found.model, "k.VT")) == pytest.approx(float(hh.get(found.model, "na.VT")))
    assert abs(found.bridge) < 1.0 and found.threshold > -50.0 and not found.notes
    again = hh.replay(found.model, data, v0="rest", dt=0.05)[:2, ..., 0]
    assert np.abs(again - V[:2]).max() < 0.05 * np.ptp(V[:2])


def test_kinetics_of_spikes_are_scaled_by_their_width():
    """Of a cell whose fast gates take twice as long: they, and not the M current's gate, to 25 %.

    Half-widths are those of `hh.features.extract`, to a sample and the height at which a spike begins.
    """
    model, area = hh.regular_spiking(), 5000.0
    fast = ["na.m_tau", "na.m_tau_min", "na.h_tau", "na.h_tau_min", "kv3.n_tau", "kv3.n_tau_min"]
    cell = hh.replace(model, {name: 2 * hh.get(model, name) for name in fast})
    I = current([-6.0, -4.0, 150.0])
    V = hh.replay((cell, hh.Electrode(area)), hh.Recording(TS, I, 0 * I - 70.0, "pA", held=True), v0="rest")
    data = hh.Recording(TS, I, np.asarray(V[..., 0]), "pA", held=True)
    found = hh.guess(data, model)
    width = data.features().values["half_width"][-1, 0]
    assert found.width == pytest.approx(width, abs=0.15) and width > 1.2
    ratios = [float(hh.get(found.model, name) / hh.get(model, name)) for name in fast]
    np.testing.assert_allclose(ratios, 2.0, rtol=0.25)
    np.testing.assert_allclose(ratios, ratios[0], rtol=1e-5)
    assert float(hh.get(found.model, "m.p_tau")) == float(model.channels["m"].p_tau)
    assert "spike half-width" in str(found)


@pytest.mark.parametrize("size", [10.0, 30.0])
def test_widths_at_high_rates_are_of_one_spike(size):
    """A fast-spiking cell at 100 to 250 Hz, whose half-width `hh.features.extract` says too."""
    run = hh.simulate(hh.pospischil_fs(), t1=200.0, dt=0.025, stimulus=size)
    (found,) = spikes_of(np.asarray(run.V).T, 0.025)
    assert len(run.spike_times()[0]) > 15
    width = float(hh.features.extract(run.ts, run.V)["half_width"][0])
    assert found.width == pytest.approx(width, abs=0.05) and width < 0.8


def test_a_model_that_cannot_rest_there_loses_conductance():
    """The squid axon's channels have a time constant of 1 ms at −60 mV, too fast for a cell of 20 ms."""
    data = hh.Recording(TS, current([-30.0, -20.0]), passive([-30.0, -20.0], rest=-60.0), "pA", held=True)
    found = hh.guess(data, hh.squid_axon())
    assert "are left: with more the model would not rest at -60 mV" in str(found)
    ratio = [
        float(hh.get(found.model, name)) / float(hh.get(hh.squid_axon(), name)) for name in ("na.g", "k.g")
    ]
    assert ratio[0] == pytest.approx(ratio[1]) and 0.0 < ratio[0] < 0.5
    y = hh.Network(found.model[0]).init(found.rest)
    slope = hh.vector_field(0.0, y, (hh.Network(found.model[0]), lambda t: jnp.zeros(())))
    assert abs(float(slope.V[0])) < 1e-6  # mV/ms


def test_slow_channels_go_before_those_that_make_spikes():
    """1 mS/cm² of M current, 18 % of it open at −50 mV, draws more than a leak of 0.05 mS/cm² can give."""
    channels = {"na": hh.channels.TraubMilesSodium(VT=-40.0), "k": hh.channels.TraubMilesPotassium(VT=-40.0)}
    neuron = hh.Neuron({**channels, "m": hh.channels.MCurrent(g=1.0), "leak": hh.Leak()})
    data = hh.Recording(TS, current([-30.0, -20.0]), passive([-30.0, -20.0], rest=-50.0), "pA", held=True)
    found = hh.guess(data, neuron)
    assert "of m.g only" in str(found) and 0.0 < float(hh.get(found.model, "m.g")) < 0.5
    assert -11.0 < float(hh.get(found.model, "leak.E")) <= -10.0  # as far as a leak may reverse
    np.testing.assert_allclose(
        [float(hh.get(found.model, x)) for x in ("na.g", "k.g")], [100.0, 30.0], rtol=5e-3
    )


def firing(levels):
    """Spikes, of 80 mV and 2 ms, every 20 ms."""
    return passive(levels) + 80.0 * (TS % 20.0 > 18.0)


DOT = hh.Cell({"soma": hh.cells.Section(20.0, 20.0)}, hh.squid_axon())


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(current=np.zeros((1, TS.size))), "must have steps of current, got 0 all along"),
        (dict(current=np.sin(TS / 9)[None]), "between levels that last 10 ms or more, got none: give leak"),
        (dict(V=firing([-20.0])), "without a spike before or after them, got 2 steps, none of them so"),
        (dict(model=hh.Neuron({"k": hh.Potassium()})), "must have a leak, hh.Leak, .* got channels k"),
        (dict(model=(hh.squid_axon(), hh.Electrode(area=1.0)), C=1.0), "`C` follows from the recording"),
        (dict(unit="µA/cm²", model=(hh.squid_axon(), hh.Electrode(area=1.0))), "currents in pA for an area"),
        (dict(model=hh.Network(hh.Neuron({"leak": hh.Leak(g=[0.1, 0.2])}), n=2)), "one kind of neuron"),
        (dict(model=(DOT, hh.Electrode(at="soma"))), "`model` must be a point neuron"),
        (dict(C=-1.0), "`C` must be a positive finite number in µF/cm²"),
    ],
)  # fmt: skip
def test_what_cannot_be_guessed_is_said(as_users_run_it, change, message):
    given = (
        dict(current=current([-20.0]), V=passive([-20.0]), unit="pA", model=hh.squid_axon(), C=None) | change
    )
    data = hh.Recording(TS, given["current"], given["V"], given["unit"])
    with pytest.raises(ValueError, match=message):
        hh.guess(data, given["model"], C=given["C"])


def test_a_guess_is_a_start_of_a_fit():
    data = hh.Recording(TS, current([-30.0, -20.0]), passive([-30.0, -20.0]), "pA", held=True)
    found = hh.guess(data, hh.Neuron({"leak": hh.Leak()}))
    names = ["leak.g", "leak.E", "electrode.area", "electrode.bridge"]
    quiet = diffrax.NoProgressMeter()
    fit = hh.fit(found.model, data, where=names, guide=None, progress_meter=quiet, dt=0.1)
    np.testing.assert_allclose(fit.values, [0.05, -68.0, 5000.0, 12.0], rtol=1e-3)
    assert dataclasses.is_dataclass(found) and fit.loss < 1e-4
