"""The currents of a run: their names and signs, and that they are those of V's equation."""

import functools
import pickle
import re

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hhjax as hh

S = hh.synapses
AXON = hh.squid_axon()
WHOLE = diffrax.SaveAt(t0=True, steps=True)
STEP = hh.Step(10.0, 1.0, 4.0)
KEY = jax.random.key(0)


def every_synapse():
    """Two populations with a coupling of every kind, a concentration that moves, and three noises."""
    rng = np.random.default_rng(0)
    weights = lambda post, pre: jnp.asarray(rng.uniform(0.02, 0.1, (post, pre)))
    coupling = {
        "ampa": S.AMPA(weights(2, 3), pre="e", post="i"),
        "nmda": S.NMDA(weights(2, 3), pre="e", post="i"),
        "gabaa": S.GABAA(weights(3, 2), pre="i", post="e"),
        "gabab": S.GABAB(weights(3, 2), pre="i", post="e"),
        "graded": hh.GradedSynapse(weights(5, 5)),
        "gap": S.GapJunction(weights(3, 3), pre="e", post="e"),
        "late": S.ExponentialSynapse(weights(5, 3), pre="e", delay=0.3),
        "double": S.DoubleExponentialSynapse(weights(3, 2), pre="i", post="e"),
        "drive": S.AlphaSynapse(weights(5, 1), input=S.SpikeTrains([[0.5, 2.0]])),
    }
    noise = (
        hh.CurrentNoise(0.5),
        hh.OUCurrent(3.0, 1.0),
        hh.OUConductance(3.0, 0.1, 0.05, jnp.linspace(-80.0, 0.0, 5)),
    )
    relay = hh.thalamic_relay()
    few = {name: relay.channels[name] for name in ("na", "t", "leak")}
    neurons = {"e": hh.Neuron(few, ions=relay.ions, celsius=36.0), "i": hh.wang_buzsaki()}
    return hh.Network(neurons, n={"e": 3, "i": 2}, coupling=coupling, noise=noise)


def passive():
    """Passive membranes with a synapse that waits, one that is driven, and noise."""
    weights = jnp.array([[0.0, 0.2], [0.1, 0.0]])
    coupling = {
        "late": S.ExponentialSynapse(weights, delay=0.3, threshold=-60.0),
        "drive": S.AlphaSynapse(weights[:, :1], input=S.SpikeTrains([[0.5, 2.0]])),
    }
    return hh.Network(hh.Neuron({"leak": hh.Leak()}), n=2, coupling=coupling, noise=hh.OUCurrent(3.0, 1.0))


def patch(model):
    """So few channels that their noise is held back, and an unnamed coupling."""
    neuron = hh.with_channel_noise(AXON, model=model, count={"na": 8, "k": 4})
    return hh.Network(neuron, n=2, coupling=S.GapJunction([[0.0, 0.1], [0.1, 0.0]]))


CLAMP = hh.Clamp(hh.Sine(20.0, 100.0), jnp.array([0.0, 0.3, 1.0, 0.0, 0.2])) + STEP
CASES = {
    "axon": (hh.Network(AXON), STEP, None),
    "synapses": (every_synapse(), CLAMP, KEY),
    "relay": (hh.Network(hh.thalamic_relay(), n=2), hh.Clamp(-50.0, 0.1) + 1.0, None),
    "patch": (patch("conductance"), hh.Clamp(-60.0, 0.5) + STEP, KEY),
    "passive": (passive(), STEP, KEY),
}


def options(name):
    _, stimulus, key = CASES[name]
    return dict(t1=6.0, dt=0.05, stimulus=stimulus, key=key)


@functools.cache
def whole(name):
    """A run that saved the whole state."""
    return hh.simulate(CASES[name][0], **options(name), saveat=WHOLE)


def close(found, wanted):
    assert set(found) == set(wanted)
    for name, x in wanted.items():
        np.testing.assert_allclose(found[name], x, rtol=1e-9, atol=1e-9, err_msg=name)


def over_all(network, found):
    """All currents but that of the stimulus, each over all neurons."""
    for name in set(found) - {"stimulus"}:
        total = np.zeros_like(found["stimulus"])
        total[:, network.ranges.get(name.split(".")[0], slice(None))] = found[name]
        yield total


@eqx.filter_jit
def change_of_V(network, stimulus, run):
    return jax.vmap(lambda t, y: hh.vector_field(t, y, (network, stimulus)).V)(run.ts, run.ys)


@pytest.mark.parametrize("name", CASES)
def test_they_add_up_to_the_change_of_V(name):
    (network, stimulus, _), run = CASES[name], whole(name)
    slope = np.asarray(change_of_V(network, stimulus, run))
    found = {name: np.asarray(x) for name, x in run.currents().items()}
    others = list(over_all(network, found))
    largest = np.max([abs(x) for x in others], axis=0)
    wanted, total = slope * np.asarray(network.capacitance), found["stimulus"] - sum(others)
    # relative, but for what cancels to nothing
    assert (abs(total - wanted) <= 1e-9 * abs(wanted) + 1e-13 * largest).all()


@pytest.mark.parametrize("name", ["axon", "passive"])
def test_where_V_alone_was_saved_the_run_is_made_again(name):
    run = hh.simulate(CASES[name][0], **options(name))
    assert run.ys.gates == {}
    close(run.currents(), whole(name).currents())


def test_what_is_held_back_of_channel_noise_is_held_back_here():
    network, run = CASES["patch"][0], whole("patch")
    free = network.neuron.channels["na"].current(run.V, run.ys.gates["na"])
    held = np.asarray(run.currents()["na"])
    assert (abs(held) <= abs(free) + 1e-9).all() and (abs(held) < 0.9 * abs(free)).any()


def test_channels_that_jump_have_currents_too():
    noisy = hh.with_channel_noise(AXON, model="tau_leap", count={"k": 4})
    run = hh.simulate(noisy, t1=6.0, dt=0.05, stimulus=STEP, key=KEY, saveat=WHOLE)
    opened = run.ys.gates["k"]["n4"] / 4  # of four channels
    assert (opened > 0).any()
    np.testing.assert_allclose(run.currents()["k"], 36 * opened * (run.V + 77), rtol=1e-9, atol=1e-9)


def test_currents_of_an_axon_by_hand():
    run = whole("axon")
    V, gates, found = run.V, run.ys.gates, run.currents()
    assert list(found) == ["k", "leak", "na", "stimulus"] and found.ts is run.ts
    np.testing.assert_allclose(found["na"], 120 * gates["na"]["m"] ** 3 * gates["na"]["h"] * (V - 50))
    np.testing.assert_allclose(found["k"], 36 * gates["k"]["n"] ** 4 * (V + 77))
    np.testing.assert_allclose(found["leak"], 0.3 * (V + 54.387), atol=1e-12)
    np.testing.assert_array_equal(found["stimulus"][:, 0], jax.vmap(STEP)(run.ts))


def test_currents_of_a_network_by_hand():
    network, run = CASES["synapses"][0], whole("synapses")
    found, V, y = run.currents(), np.asarray(run.V), run.ys
    relay = sorted(network.neuron.neurons["e"].channels)
    names = [*(f"e.{name}" for name in relay), "i.k", "i.leak", "i.na"]
    names += sorted(f"coupling.{name}" for name in network.coupling.parts)
    assert list(found) == [*names, "noise.1", "noise.2", "stimulus"]
    assert found["e.na"].shape == (121, 3) and found["i.na"].shape == (121, 2)
    parts = network.coupling.parts
    W = np.asarray(parts["gap"].weights)
    gap = [sum(W[i, j] * (V[:, i] - V[:, j]) for j in range(3)) for i in range(3)]
    np.testing.assert_allclose(found["coupling.gap"][:, :3], np.stack(gap, axis=1), atol=1e-12)
    assert (found["coupling.gap"][:, 3:] == 0).all() and (found["coupling.ampa"][:, :3] == 0).all()
    ampa = np.asarray(y.s["ampa"]) @ np.asarray(parts["ampa"].weights).T * V[:, 3:]
    np.testing.assert_allclose(found["coupling.ampa"][:, 3:], ampa, atol=1e-12)
    np.testing.assert_allclose(found["noise.1"], -y.noise[1])
    g = np.maximum(np.asarray(y.noise[2]), 0.0)
    np.testing.assert_allclose(found["noise.2"], g * (V - np.linspace(-80.0, 0.0, 5)), atol=1e-12)
    command = np.asarray(jax.vmap(hh.Sine(20.0, 100.0))(run.ts))[:, None]
    clamped = np.array([0.0, 0.3, 1.0, 0.0, 0.2]) * (command - V)
    injected = clamped + np.asarray(jax.vmap(STEP)(run.ts))[:, None]
    np.testing.assert_allclose(found["stimulus"], injected, atol=1e-12)


@pytest.mark.parametrize(
    "saveat, rows",
    [
        (diffrax.SaveAt(t0=True, steps=7, t1=True, fn=hh.save_V), [*range(0, 120, 7), 120]),
        (diffrax.SaveAt(ts=jnp.array([0.5, 2.0, 2.1])), [10, 40, 42]),
        (diffrax.SaveAt(t1=True), [120]),
        (diffrax.SaveAt(t1=True, fn=lambda t, y, args: y.replace(V=2 * y.V)), [120]),
        (diffrax.SaveAt(steps=40, fn=lambda t, y, args: t), [40, 80, 120]),
    ],
)
def test_they_are_at_the_times_that_were_saved(saveat, rows):
    run = hh.simulate(AXON, **options("axon"), saveat=saveat)
    found, rows = run.currents(), np.array(rows)
    np.testing.assert_array_equal(found.ts, run.ts)
    close(found, {name: x[rows] for name, x in whole("axon").currents().items()})


def test_runs_that_go_on_and_runs_that_are_reduced():
    network, given = hh.Network(AXON, noise=hh.OUCurrent(3.0, 1.0)), options("patch")
    wanted = hh.simulate(network, **given, saveat=WHOLE).currents()
    first = hh.simulate(network, **given | {"t1": 3.0}, reduce=hh.SpikeCount())
    second = hh.simulate(network, **given, y0=first)
    assert first.ts.shape == (1,) and second.ts[0] == 3.0
    close(first.currents(), {name: x[60:61] for name, x in wanted.items()})
    close(second.currents(), {name: x[60:] for name, x in wanted.items()})


def test_they_have_the_float_type_of_the_run():
    axon = jax.tree.map(lambda x: x.astype(jnp.float32), AXON)
    found = hh.simulate(axon, t1=6.0, dt=0.05, stimulus=STEP).currents()
    assert {x.dtype for x in found.values()} == {jnp.dtype("float32")}


def test_a_solution_that_forgot_its_run(tmp_path, as_users_run_it):
    run = whole("axon")
    structure = jax.tree.structure(run)
    hh.save(tmp_path / "run.npz", run)
    copies = {
        "map": jax.tree.map(lambda x: x, run),
        "file": hh.load(tmp_path / "run.npz"),
        "pickle": pickle.loads(pickle.dumps(run)),
        "jit": jax.jit(lambda: hh.simulate(AXON, **options("axon"), saveat=WHOLE))(),
    }
    for copy in copies.values():
        assert jax.tree.structure(copy) == structure
        with pytest.raises(ValueError, match=r"does not know .* run\.currents\(network, stimulus\)"):
            copy.currents()
        close(copy.currents(AXON, STEP), run.currents())
    only_V = jax.tree.map(lambda x: x, hh.simulate(AXON, **options("axon")))
    with pytest.raises(ValueError, match="`network` goes with a solution of it that holds the whole state"):
        only_V.currents(AXON, STEP)
    with pytest.raises(ValueError, match="`stimulus` is missing"):
        run.currents(AXON)
    with pytest.raises(ValueError, match="`network` is missing"):
        run.currents(stimulus=STEP)
    with pytest.raises(TypeError, match="`network` must be an hh.Network or hh.Neuron, got 3"):
        run.currents(3, STEP)
    with pytest.raises(ValueError, match=r"`stimulus` must give a scalar or shape \(1,\)"):
        run.currents(AXON, lambda t: jnp.ones(2))


def test_a_function_as_stimulus_keeps_no_solution_from_being_pickled():
    run = hh.simulate(AXON, t1=6.0, dt=0.05, stimulus=lambda t: 10.0)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(run)).V, run.V)


def test_they_are_differentiated_and_batched_where_the_run_is():
    def mean_leak(E):
        neuron = hh.replace(AXON, {"leak.E": E})
        return hh.simulate(neuron, t1=6.0, dt=0.05, stimulus=STEP).currents()["leak"].mean()

    E, h = -54.387, 1e-4
    means, slopes = jax.vmap(jax.value_and_grad(mean_leak))(E + h * jnp.arange(-1.0, 2.0))
    assert slopes[1] == pytest.approx(float(means[2] - means[0]) / (2 * h), rel=1e-5)


def test_a_sweep_saves_them():
    saveat = diffrax.SaveAt(t0=True, steps=True, fn=hh.save_currents)
    over = {"stimulus.amplitude": jnp.array([0.0, 10.0])}
    swept = hh.sweep(AXON, over=over, t1=6.0, dt=0.05, stimulus=STEP, saveat=saveat)
    close({name: x[1] for name, x in swept.ys.items()}, whole("axon").currents())


def test_runs_to_disk_have_them_too(tmp_path):
    for kind, saveat in {"V": None, "whole": WHOLE}.items():
        run = hh.simulate_to(tmp_path / kind, AXON, **options("axon"), saveat=saveat)
        close(run.currents(), whole("axon").currents())


def test_what_is_shown_of_them(as_users_run_it):
    found = whole("axon").currents()
    lines = [re.split(" {2,}", line) for line in str(found).splitlines()]
    assert lines[1] == ["times", "121 from 0 … 6 ms"]
    assert lines[-1] == ["stimulus", "(121, 1)", "0 … 10", "µA/cm²"]
    with pytest.raises(KeyError, match="'nap' is no current. Did you mean 'na'[?] Known are k, leak, na"):
        found["nap"]
    assert "nap" not in found and found.unit == "µA/cm²"


def test_they_are_labelled():
    pytest.importorskip("xarray")
    found = whole("synapses").currents()
    data = found.to_xarray()
    assert set(data.data_vars) == set(found) and {x.attrs["units"] for x in data.values()} == {"µA/cm²"}
    assert data["i.na"].dims == ("time", "neuron_i") and data["noise.1"].dims == ("time", "neuron")
    np.testing.assert_array_equal(data.neuron_i, [3, 4])
    np.testing.assert_array_equal(data["coupling.gap"].sel(neuron=2), found["coupling.gap"][:, 2])
    run = lambda I: hh.simulate(AXON, t1=6.0, dt=0.05, stimulus=I, saveat=WHOLE)
    batch = jax.vmap(lambda I: run(I).currents())(jnp.ones(2))
    with pytest.raises(ValueError, match=r"of one run, got `ts` of shape \(2, 121\)"):
        batch.to_xarray()
