"""Sweeps against single runs: axes, chunks, devices, processes, disk."""

import json
import os
import subprocess
import sys
from pathlib import Path

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hhjax as hh
from hhjax._fit._free import resolve
from hhjax._model.names import find, parameters
from hhjax._run.axes import unit_of

AXON = hh.squid_axon()
RUN = dict(t1=30.0, dt=0.05)
CURRENTS, GNA = jnp.array([0.0, 8.0, 16.0]), jnp.array([80.0, 120.0])


def single(I, g, **options):
    neuron = eqx.tree_at(lambda n: n.channels["na"].g, AXON, g)
    return hh.simulate(neuron, stimulus=I, reduce=options.pop("reduce", hh.Mean()), **RUN, **options)


@pytest.mark.parametrize("chunk, unroll", [(None, 1), (1, 1), (4, 3)])
def test_a_grid_equals_single_runs(chunk, unroll):
    every = diffrax.SaveAt(steps=200, fn=hh.save_V)
    over, how = {"stimulus": CURRENTS, "na.g": GNA}, dict(chunk=chunk, unroll=unroll)
    got = hh.sweep(AXON, over=over, reduce=hh.Mean(), saveat=every, **how, **RUN)
    assert list(got.axes) == ["stimulus", "na.g"] and got.reduced.shape == (3, 2, 1)
    assert got.V.shape == (3, 2, 3, 1) and got.finite.all()
    np.testing.assert_allclose(got.ts, [10.0, 20.0, 30.0], rtol=1e-14)
    for i, I in enumerate(CURRENTS):
        for j, g in enumerate(GNA):
            run = single(I, g, saveat=every)
            np.testing.assert_allclose(got.reduced[i, j], run.reduced, rtol=1e-9)
            np.testing.assert_allclose(got.V[i, j], run.V, rtol=1e-8)


def test_lists_of_sets_and_axes_by_function():
    sets = (CURRENTS[:2], GNA)
    together = hh.sweep(AXON, over={("stimulus", "na.g"): sets}, reduce=hh.Mean(), **RUN)
    assert together.reduced.shape == (2, 1)
    np.testing.assert_allclose(together.reduced[1], single(8.0, 120.0).reduced, rtol=1e-9)
    where = lambda point: [point.stimulus.amplitude, point.neuron.channels["na"].g]
    same = hh.sweep(AXON, over={"set": hh.Axis(where, sets)}, reduce=hh.Mean(), **RUN)
    np.testing.assert_allclose(same.reduced, together.reduced, rtol=1e-12)


def test_axes_by_names_of_ones_own(tmp_path):
    pairs = ([36.0, 40.0], [0.3, 0.4])
    over = {
        "I": hh.Axis("stimulus", CURRENTS),
        "gNa": hh.Axis("na.g", GNA),
        "set": hh.Axis(("k.g", "leak.g"), pairs),
        ("ENa", "EK"): hh.Axis(("na.E", "k.E"), ([50.0], [-77.0])),
    }
    run = dict(t1=2.0, dt=0.1, reduce=hh.Mean())
    got = hh.sweep(AXON, over=over, **run)
    assert list(got.axes) == ["I", "gNa", "set", "ENa, EK"]
    plain = hh.sweep(AXON, over={"stimulus": CURRENTS, "na.g": GNA, ("k.g", "leak.g"): pairs}, **run)
    np.testing.assert_array_equal(got.reduced[:, :, :, 0], plain.reduced)
    hh.save(tmp_path / "x.npz", got)
    for sweep in (got, hh.load(tmp_path / "x.npz")):
        assert [sweep.axis_label(name) for name in ("I", "gNa")] == ["I (µA/cm²)", "gNa (mS/cm²)"]
    hh.sweep_to(tmp_path / "x", AXON, over=over, **run)
    assert list(hh.open(tmp_path / "x").axes) == ["I", "gNa", "k.g", "leak.g", "ENa", "EK"]
    kept = json.loads((tmp_path / "x" / "about.json").read_text())
    units = {"I": "µA/cm²", "gNa": "mS/cm²", "k.g": "mS/cm²", "leak.g": "mS/cm²", "ENa": "mV", "EK": "mV"}
    pytest.importorskip("xarray")
    coordinates = got.to_xarray().coords
    for name, unit in units.items():
        assert coordinates[name].attrs["units"] == unit
        assert kept["arrays"][name]["units"] == unit
    assert coordinates["leak.g"].dims == ("set",) and coordinates["EK"].dims == ("ENa, EK",)
    assert hh.sweep(AXON, over={"na.g": GNA}, **run).axis_label("na.g") == "na.g (mS/cm²)"


def test_whole_networks_are_members_of_a_sweep():
    E = jax.random.uniform(jax.random.key(0), (3, 4, 4), maxval=0.3)
    pulse = hh.Step(10.0, 1.0, 20.0)
    network = hh.Network(AXON, n=4, coupling=hh.GradedSynapse(E[0]))
    reducers = {"mean": hh.Mean(), "count": hh.SpikeCount()}
    over = {
        "coupling.weights": E,
        "stimulus.amplitude": jnp.array([5.0, 10.0]),
        "v0": jnp.full((1, 4), -60.0),
    }
    got = hh.sweep(network, over=over, stimulus=pulse, reduce=reducers, **RUN)
    assert got.reduced["count"].shape == (3, 2, 1, 4)
    network = hh.Network(AXON, n=4, coupling=hh.GradedSynapse(E[2]))
    run = hh.simulate(network, stimulus=pulse, v0=-60.0, reduce=reducers, **RUN)
    np.testing.assert_allclose(got.reduced["mean"][2, 1, 0], run.reduced["mean"], rtol=1e-9)
    np.testing.assert_array_equal(got.reduced["count"][2, 1, 0], run.reduced["count"])


def test_couplings_by_name_and_noise():
    synapse = lambda tau: hh.synapses.ExponentialSynapse(jnp.array([[0.0, 0.2], [0.2, 0.0]]), tau=tau)
    network = lambda tau, sigma: hh.Network(
        AXON, n=2, coupling={"a": synapse(tau), "b": synapse(3.0)}, noise=hh.CurrentNoise(sigma)
    )
    over = {"coupling.a.tau": [1.0, 4.0], "noise.sigma": [0.0, 2.0]}
    run = dict(
        stimulus=10.0, v0=jnp.array([-65.0, -50.0]), reduce=hh.Mean(), key=jax.random.key(0), t1=5.0, dt=0.05
    )
    got = hh.sweep(network(9.0, 9.0), over=over, **run)
    run["key"] = jax.random.fold_in(run["key"], 3)  # that of the last point
    want = hh.simulate(network(4.0, 2.0), **run).reduced
    np.testing.assert_allclose(got.reduced[1, 1], want, rtol=1e-9)
    assert unit_of(got.network, "coupling.a.tau") == "ms"
    assert unit_of(got.network, "noise.sigma") == "µA/cm²·√ms"


def test_every_listed_parameter_is_found_and_nothing_else():
    relay = hh.with_channel_noise(hh.thalamic_relay(), model="subunit", count=100)
    coupling = {"a": hh.synapses.AMPA(hh.connect.all_to_all(2, 1), pre="relay", post="axon")}
    noise = (hh.CurrentNoise(1.0), hh.OUCurrent(5.0, 2.0))
    network = hh.Network(
        {"axon": AXON, "relay": relay}, n={"axon": 2, "relay": 1}, coupling=coupling, noise=noise
    )
    known = parameters(network)
    names = {
        "axon.C",
        "relay.ca.tau",
        "relay.na.g",
        "relay.na.count",
        "coupling.a.T_max",
        "noise.1.tau",
    }
    assert names < set(known) and len(set(known)) == len(known)
    held = [x for x in jax.tree.leaves(network) if eqx.is_inexact_array(x)]
    assert {id(find(network, name).value) for name in known} == {id(x) for x in held}
    free = resolve(network, lambda network: network, None, None, jnp.float64)  # a fit's names
    assert {name.partition("[")[0] for name in free.names} == set(known)
    assert unit_of(network, "relay.ca.depth") == "µm" and unit_of(network, "noise.1.tau") == "ms"
    for name in ("axon", "axon.na", "coupling.a", "coupling.a.pre", "noise", "noise.tau", "C", "na.g", ""):
        assert find(network, name) is None


def test_a_point_that_blows_up_is_flagged():
    got = hh.sweep(AXON, over={"stimulus": jnp.array([0.0, 10.0])}, t1=30.0, dt=0.1, solver="rk4")
    assert got.finite[:, 0].tolist() == [True, False]


def counting():
    """The axon, and a list that grows whenever it is traced."""
    traces = []

    class Counting(hh.Leak):
        def linear_current(self, V, states, ions):
            traces.append(V)
            return super().linear_current(V, states, ions)

    neuron = hh.Neuron({**AXON.channels, "leak": Counting()})
    return neuron, traces


def test_other_values_compile_nothing_anew():
    neuron, traces = counting()
    run = lambda I, g: hh.sweep(neuron, over={"stimulus": I, "leak.g": g}, chunk=2, t1=2.0, dt=0.1)
    run(CURRENTS, GNA)
    count = len(traces)
    run(CURRENTS + 1, GNA[::-1])
    # Shapes are worked out anew, before compiling; the compiled loop is the same.
    assert len(traces) - count < count / 2


class Stop(diffrax.NoProgressMeter):
    """Interrupts what it watches halfway."""

    def step(self, state, progress):
        if float(progress) > 0.5:
            raise KeyboardInterrupt
        return state


def test_a_killed_sweep_goes_on_from_its_finished_chunks(tmp_path):
    every = diffrax.SaveAt(steps=300, fn=hh.save_V)
    options = dict(over={"stimulus": CURRENTS, "na.g": GNA}, chunk=2, saveat=every)
    run = lambda **more: hh.sweep_to(tmp_path, AXON, **(options | RUN | more))
    with pytest.raises(KeyboardInterrupt):
        run(progress_meter=Stop())
    done = np.load(tmp_path / "done.npy")
    assert 0 < done.sum() < 6
    got, plain = run(), hh.sweep(AXON, **options, **RUN)
    np.testing.assert_array_equal(got.V, plain.V)
    np.testing.assert_array_equal(got.reduced, plain.reduced)
    with pytest.raises(ValueError, match="holds another sweep"):
        run(t1=31.0)


def run_script(script, *arguments, **environment):
    env = os.environ | {"PYTHONPATH": str(Path(hh.__file__).parents[1])} | environment
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)], env=env, stdout=subprocess.PIPE, text=True
    )


SWEEP = """
import sys, numpy as np, jax, jax.numpy as jnp, hhjax as hh
{start}
over = {{"stimulus": jnp.linspace(0.0, 16.0, 7), "na.g": jnp.array([80.0, 120.0, 150.0])}}
got = hh.sweep(hh.squid_axon(), over=over, t1=30.0, dt=0.05, reduce=hh.Mean())
{end}
"""


ROWS = """
from jax.sharding import NamedSharding, PartitionSpec
rows = NamedSharding(jax.make_mesh((2,), ("rows",)), PartitionSpec("rows", None))
E = jax.device_put(jnp.arange(16.0).reshape(4, 4) / 50, rows)
network = hh.Network(hh.squid_axon(), n=4, coupling=hh.GradedSynapse(E))
run = hh.simulate(network, t1=30.0, dt=0.05, stimulus=10.0)
assert {part.data.shape for part in run.final.V.addressable_shards} == {(2,)}
np.savez(sys.argv[1], mean=got.reduced, V=run.V)
"""


TOGETHER = """
import pathlib, diffrax
saved = dict(saveat=diffrax.SaveAt(steps=200, fn=hh.save_V), reduce={"mean": hh.Mean()}, chunk=4)
folder = pathlib.Path(sys.argv[1]).parent / "together"
both = hh.sweep_to(folder, hh.squid_axon(), over=over, t1=30.0, dt=0.05, **saved)
assert both.V[-1].shape == (3, 1)
np.savez(sys.argv[1], mean=both.reduced["mean"], indices=got.indices, V=both.V)
assert len(both.indices) == len(both.V) and 8 <= len(both.indices) <= 13
"""


def test_sharded_over_cores_and_over_processes(tmp_path):
    """One process with two devices, and two processes with one each, against this process."""
    cores = SWEEP.format(start="assert hh.use_cores(2) and jax.device_count() == 2", end=ROWS)
    processes = SWEEP.format(
        start="jax.distributed.initialize('localhost:' + sys.argv[2], 2, int(sys.argv[3]))",
        end="np.savez(sys.argv[1], mean=got.reduced, indices=got.indices)" + TOGETHER,
    )
    import socket

    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    jobs = [run_script(cores, tmp_path / "cores.npz")]
    jobs += [run_script(processes, tmp_path / f"{k}.npz", port, k) for k in range(2)]
    single = jax.tree.map(lambda x: x.astype(jnp.float32), AXON)
    over = {"stimulus": jnp.linspace(0.0, 16.0, 7), "na.g": jnp.array([80.0, 120.0, 150.0])}
    here = hh.sweep(single, over=over, t1=30.0, dt=0.05, reduce=hh.Mean()).reduced
    assert [job.wait(timeout=120) for job in jobs] == [0, 0, 0]
    on_cores = np.load(tmp_path / "cores.npz")
    np.testing.assert_allclose(on_cores["mean"], here, rtol=2e-4)
    coupled = hh.Network(AXON, n=4, coupling=hh.GradedSynapse(jnp.arange(16.0).reshape(4, 4) / 50))
    network = jax.tree.map(lambda x: x.astype(jnp.float32), coupled)
    run = hh.simulate(network, t1=30.0, dt=0.05, stimulus=10.0)
    np.testing.assert_allclose(on_cores["V"], run.V, atol=0.05)
    parts = [np.load(tmp_path / f"{k}.npz") for k in range(2)]
    indices = np.concatenate([part["indices"] for part in parts])
    assert indices.tolist() == list(range(21)) and all(len(part["indices"]) < 12 for part in parts)
    both = np.concatenate([part["mean"] for part in parts]).reshape(here.shape)
    np.testing.assert_allclose(both, here, rtol=2e-4)
    written = hh.open(tmp_path / "together")
    assert written.finished and written.count == 21
    np.testing.assert_array_equal(
        written["mean"][...].reshape(21, 1), np.concatenate([p["mean"] for p in parts])
    )
    np.testing.assert_array_equal(
        np.concatenate([p["V"] for p in parts]), written["V"][...].reshape(21, 3, 1)
    )


def test_use_cores_warns_when_it_comes_too_late():
    jax.devices()
    with pytest.warns(UserWarning, match="came too late"):
        assert hh.use_cores(2) is False


BAD = [
    ({}, TypeError, "`over` must be a dict with an entry"),
    (
        {"na.x": GNA},
        ValueError,
        "`over` names 'na.x', which is no parameter. Did you mean 'na.*Known are k.g,",
    ),
    (
        {"coupling.a.tau": GNA},
        ValueError,
        "Known are .* C, celsius, stimulus.amplitude, v0. For anything else give hh.Axis",
    ),
    ({"na.g": -GNA}, ValueError, r"channels\['na'\].g` must be at least 0"),
    ({"stimulus": 3.0}, ValueError, r"`over\['stimulus'\]` must hold values along a first axis"),
    ({("na.g", "k.g"): (GNA,)}, ValueError, "must hold 2 arrays of values, got 1"),
    ({"pair": hh.Axis(("na.g", "k.g"), (GNA,))}, ValueError, "must hold 2 arrays of values, got 1"),
    ({"gNa": hh.Axis("na.x", GNA)}, ValueError, "`over` names 'na.x', which is no parameter. Did you mean"),
    ({3: GNA}, TypeError, "`over` must name a parameter, such as 'na.g', got 3"),
    ({"na.g": jnp.array([1.0, jnp.nan])}, ValueError, "NaN"),
]


@pytest.mark.usefixtures("as_users_run_it")
@pytest.mark.parametrize("over, error, message", BAD)
def test_bad_axes_are_refused_before_compiling(over, error, message):
    with pytest.raises(error, match=message):
        hh.sweep(AXON, over=over, **RUN)


@pytest.mark.usefixtures("as_users_run_it")
@pytest.mark.parametrize("where", [3.0, (), ("na.g", 1)])
def test_an_axis_is_a_name_or_a_function(where):
    with pytest.raises(TypeError, match="`where` must be the name of a parameter, .*, got"):
        hh.Axis(where, GNA)


def test_sparse_coupling_equals_dense():
    rng = np.random.default_rng(0)
    E = np.where(rng.random((12, 12)) < 0.2, rng.random((12, 12)), 0.0)
    sparse = hh.connect.from_dense(E)
    np.testing.assert_array_equal(sparse.dense(), E)
    network = lambda E: hh.Network(AXON, n=12, coupling=hh.GradedSynapse(E))
    run = lambda E: hh.simulate(network(E), t1=20.0, dt=0.1, stimulus=10.0).V
    np.testing.assert_allclose(run(sparse), run(jnp.asarray(E)), rtol=1e-8)
    current = lambda E: network(E).coupling.linear_current(jnp.zeros(12), jnp.arange(12.0))[0] ** 2
    slope = jax.grad(lambda weight: current(eqx.tree_at(lambda m: m.weight, sparse, weight)).sum())
    dense = jax.grad(lambda E: current(E).sum())(jnp.asarray(E))
    there = np.take_along_axis(np.asarray(dense), np.asarray(sparse.pre), axis=1)
    np.testing.assert_allclose(slope(sparse.weight), there, rtol=1e-12)


@pytest.mark.usefixtures("as_users_run_it")
def test_a_sparse_coupling_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"`coupling.weights` must have shape \(post, pre\) = \(3, 3\)"):
        hh.Network(AXON, n=3, coupling=hh.GradedSynapse(hh.connect.from_dense(np.eye(2))))
    with pytest.raises(ValueError, match=r"`weights` must have shape \(post, pre\), got \(2,\)"):
        hh.connect.from_dense(np.ones(2))
