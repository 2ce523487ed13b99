"""What models and results print."""

from pathlib import Path

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hhjax as hh

from .test_sweep import Stop

AXON = hh.squid_axon()
RUN = dict(t1=20.0, dt=0.05, stimulus=10.0)
EVERY = diffrax.SaveAt(steps=50, fn=hh.save_V)


def rows(thing):
    """The cells of what is printed, by the first of each line."""
    lines = [line.strip().split("  ") for line in str(thing).split("\n")]
    return {cells[0]: tuple(x.strip() for x in cells[1:] if x.strip()) for cells in lines}


def test_a_neuron_prints_its_parameters():
    """The values of Hodgkin and Huxley (1952), at rest at −65 mV."""
    found = rows(AXON)
    assert found["na.g"] == ("120", "mS/cm²") and found["k.E"] == ("-77", "mV")
    assert found["leak.E"] == ("-54.387", "mV") and found["C"] == ("1", "µF/cm²")
    assert found["celsius"] == ("6.3", "°C") and found["parameter"] == ("value", "unit")
    assert str(AXON).startswith("Neuron: k (Potassium), leak (Leak), na (Sodium)\n")
    assert repr(AXON).startswith("Neuron(\n  channels={")  # equinox's
    drawn = eqx.tree_at(lambda n: n.C, AXON, jnp.array([1.0, 0.9, 1.3]))
    assert rows(drawn)["C"] == ("0.9 … 1.3 (3)", "µF/cm²")


def test_every_name_is_one_of_a_sweep():
    names = list(rows(hh.pospischil_ib()))[2:]
    assert len(names) > 8
    sweep = hh.sweep(hh.pospischil_ib(), over={x: jnp.array([1.0]) for x in names}, t1=0.1, dt=0.1)
    assert list(sweep.axes) == names


SYNAPSES = {
    "ampa": hh.synapses.ExponentialSynapse([[0.0, 0.2, 0.0], [0.1, 0.3, 0.0]], 5.0, 0.0, pre="e", post="i"),
    "<gap>": hh.synapses.GapJunction(hh.connect.ring(3, weight=0.01), pre="e", post="e"),
    "drive": hh.synapses.AlphaSynapse(
        hh.connect.one_to_one(5, 0.02), input=hh.synapses.Poisson(5, rate=200.0, key=jax.random.key(0))
    ),
}
NETWORK = hh.Network(
    {"e": AXON, "i": hh.wang_buzsaki()}, n={"e": 3, "i": 2}, coupling=SYNAPSES, noise=hh.CurrentNoise(1.5)
)


def test_a_network_prints_what_it_is_made_of():
    found = rows(NETWORK)
    assert found["neurons"] == ("5",) and found["e"] == ("3",) and found["i"] == ("2",)
    assert found["couplings"] == ("3",)
    assert found["ampa"] == ("ExponentialSynapse, e → i, 3 connections",)
    assert found["<gap>"] == ("GapJunction, e → e, 6 connections",)  # both ways around a ring of 3
    assert found["drive"] == ("AlphaSynapse, Poisson → all, 5 connections",)
    assert found["noise"] == ("CurrentNoise",)
    assert found["noise.sigma"] == ("1.5", "µA/cm²·√ms")
    assert found["coupling.ampa.tau"] == ("5", "ms") and found["i.na.g"] == ("35", "mS/cm²")
    assert found["coupling.ampa.weights"][0] == "shape (2, 3)"
    html = NETWORK._repr_html_()
    assert "&lt;gap&gt;" in html and "<gap>" not in html and html.count("<table>") == 2
    assert "e.na.g" in str(NETWORK.neuron) and rows(NETWORK.neuron)["i"] == ("2",)
    noisy = hh.with_channel_noise(hh.Network(AXON), model="subunit", count={"na": 100})
    assert rows(noisy)["channel noise"] == ("na",)


def test_shapes_stand_for_values_that_are_not_known():
    told = []

    @jax.jit
    def run(network):
        told.append(network)
        told.append(hh.simulate(network, **RUN, key=jax.random.key(0)))
        return told.append([str(x) for x in told]) or 0

    run(NETWORK)
    abstract = eqx.filter_eval_shape(lambda: NETWORK)
    traced, run_shown = told[-1]
    for shown in (traced, str(abstract)):
        assert "coupling.ampa.tau" in shown and "shape (2, 3)" in shown and "120" not in shown
        assert "ExponentialSynapse, e → i, weights of shape (2, 3)" in shown
    assert "(401, 5)" in run_shown and "spikes" not in run_shown and "finite" not in run_shown
    assert "<table>" in abstract._repr_html_()


def test_a_run_prints_what_came_of_it():
    cells = hh.Network(AXON, n=2)
    run = hh.simulate(cells, **RUN | {"stimulus": jnp.array([0.0, 10.0])}, reduce=None)
    found = rows(run)
    assert found["solver"] == ("Strang",) and found["steps"] == ("400 of 0.05 ms from 0 ms on",)
    assert found["saved at"] == ("401 times, 0 … 20 ms",)
    assert found["V"] == ("(401, 2)", "mV") and found["finite"] == ("all",) and found["neurons"] == ("2",)
    counts = [len(times) for times in run.spike_times()]
    assert counts[0] == 0 < counts[1]
    assert found["spikes"] == (f"0, {counts[1]} upward through 0 mV, {25 * counts[1]:g} Hz on average",)
    saveat = diffrax.SaveAt(steps=100)
    many = hh.simulate(hh.Network(AXON, n=300), **RUN | {"t1": 20.02}, reduce={"x": hh.Mean()}, saveat=saveat)
    found = rows(many)
    assert found["steps"] == ("401 of 0.05 ms from 0 ms on, the last one shorter",)
    assert found["reduced_x"] == ("(300,)",) and found["na_m"] == ("(4, 300)", "1")
    assert len(str(many)) < 800 and len(many._repr_html_()) < 4000


def test_a_run_that_is_not_finite_says_so():
    cells = hh.Network(AXON, n=2)
    run = hh.simulate(cells, t1=20.0, dt=0.5, stimulus=jnp.array([0.0, 1e4]), solver="euler", throw=False)
    assert rows(run)["finite"] == (f"{int(run.finite.sum())} of 2",) != ("2 of 2",)


def test_batches_of_runs_and_references_print():
    batch = jax.vmap(lambda I: hh.simulate(AXON, **RUN | {"stimulus": I}))(jnp.array([0.0, 5.0, 10.0]))
    assert rows(batch)["V"] == ("(3, 401, 1)", "mV") and rows(batch)["saved at"][0].startswith("401 times")
    assert "solver" not in rows(hh.reference(AXON, t1=1.0, dt=0.1))


def test_a_sweep_prints_its_axes_and_results():
    over = {"stimulus": jnp.linspace(0.0, 20.0, 3), ("na.g", "k.g"): ([120.0, 90.0], [36.0, 40.0])}
    sweep = hh.sweep(AXON, over=over, t1=5.0, dt=0.05, reduce={"count": hh.SpikeCount()}, saveat=EVERY)
    found = rows(sweep)
    assert found["stimulus"] == ("0 … 20 (3)", "µA/cm²") and found["k.g"] == ("36 … 40 (2)", "mS/cm²")
    assert found["points"] == ("3 × 2",) and found["time"] == ("0.05 ms steps from 0 to 5 ms",)
    assert found["count"] == ("(3, 2, 1)",) and found["V"] == ("(3, 2, 2, 1)", "mV")
    assert found["finite"] == ("all",) and sweep._repr_html_().count("<table>") == 3
    str(eqx.filter_eval_shape(lambda: sweep))


def test_a_recording_prints_its_ranges():
    V = np.array([[-65.0, np.nan, 20.0, -70.0], [-65.0, -60.0, np.nan, -65.0]])
    recording = hh.Recording(np.arange(4) * 0.1, np.array([[0.0, 5.0, 5.0, 0.0]] * 2), V, "pA", "<cell>")
    found = rows(recording)
    assert found["name"] == ("<cell>",) and found["sweeps"] == ("2",)
    assert found["samples"] == ("4 each, 0 … 0.3 ms",) and found["missing"] == ("25 % of V",)
    assert found["current"] == ("0 … 5 pA",) and found["V"] == ("-70 … 20 mV",)
    held = hh.Recording(recording.ts, recording.current, V, held=True)
    assert rows(held)["current"] == ("0 … 5 µA/cm², held between samples",)
    unknown = hh.Recording(recording.ts, recording.current, V, current_known=False)
    assert rows(unknown)["current"] == ("not in the file",)
    assert "<cell>" not in recording._repr_html_() and "&lt;cell&gt;" in recording._repr_html_()


def test_a_fit_prints_its_summary():
    """V relaxes to −60 + 1/0.2 = −55 mV, but for a noise of 0.1 mV."""
    ts = np.arange(0.0, 20.0, 0.5)
    membrane = hh.Neuron({"<L>": hh.Leak(g=0.2, E=-60.0)})
    V = np.asarray(hh.simulate(membrane, t1=ts[-1], dt=0.5, stimulus=1.0).V)[:, 0]
    data = ts, np.ones(ts.size), V + 0.1 * np.cos(np.arange(40) ** 2)
    where = lambda n: [n.channels["<L>"].g]
    quiet = diffrax.NoProgressMeter()
    fit = hh.fit(membrane, data, where=where, dt=0.5, guide=None, progress_meter=quiet)
    found = rows(fit)["<L>.g"]
    assert found == (f"{fit.values[0]:.6g}", f"{fit.standard_errors[0]:.2g}", "mS/cm²")
    assert abs(float(found[0]) - 0.2) < 3 * float(found[1]) < 0.02
    assert str(fit) == fit.summary() and fit.summary().endswith(f"iterations: {fit.reason}")
    shown = fit._repr_html_()
    assert "&lt;L&gt;.g" in shown and "<L>" not in shown and fit.reason in shown


def test_what_is_on_disk_prints(tmp_path):
    hh.simulate_to(tmp_path / "x", AXON, **RUN)
    saved = hh.open(tmp_path / "x")
    assert str(saved).startswith(f"run in {tmp_path / 'x'}\n")
    assert rows(saved)["rows"] == ("401 of 401",) and rows(saved)["V"] == ("(401, 1)", "mV")
    assert saved._repr_html_().count("<table>") == 2 and repr(saved).startswith("Saved(folder=")
    options = dict(over={"na.g": jnp.array([90.0, 100.0, 120.0])}, t1=1.0, dt=0.1, chunk=1)
    with pytest.raises(KeyboardInterrupt):  # after 2 of 3
        hh.sweep_to(tmp_path / "y", AXON, **options, progress_meter=Stop())
    assert rows(hh.open(tmp_path / "y"))["points"] == ("2 of 3, not finished",)
    hh.sweep_to(tmp_path / "y", AXON, **options)
    found = rows(hh.open(tmp_path / "y"))
    assert found["na.g"] == ("90 … 120 (3)", "mS/cm²") and found["points"] == ("3 of 3",)


def test_a_page_shows_what_is_printed():
    page = Path(__file__).parents[2] / "docs" / "start.md"
    assert f"print(neuron)\n```\n\n```text\n{AXON}\n```" in page.read_text()
