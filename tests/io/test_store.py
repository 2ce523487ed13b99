"""Results on disk: sweeps and long runs as `.npy` folders, Zarr groups and HDF5 files."""

import functools
import sys

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hhjax as hh
from hhjax._io.chunks import chunk_shape, Grid
from hhjax._io.store import fingerprint

from ..run.test_sweep import counting, run_script, Stop

AXON = hh.squid_axon()
FORMATS = ["results", "results.zarr", "results.h5"]


def needs(name):
    for suffix, package in {".zarr": "zarr", ".h5": "h5py"}.items():
        if name.endswith(suffix):
            pytest.importorskip(package)


def same(got, wanted):
    np.testing.assert_array_equal(np.asarray(got), np.asarray(wanted))


@pytest.mark.parametrize("shape", [(7,), (3, 4), (2, 3, 5), (1, 4, 1)])
def test_chunks_are_ranges_that_cover_everything_once(shape):
    places = np.arange(np.prod(shape)).reshape(shape)
    for count in range(1, places.size + 2):
        grid = Grid(shape, chunk_shape(shape, count))
        found = [places[grid.box(number)].ravel() for number in range(grid.total)]
        assert np.concatenate(found).tolist() == list(range(places.size))
        for number, x in enumerate(found):
            assert (x[0], x[-1] + 1) == grid.span(number) and len(x) <= count
            assert set(grid.of(x)) == {number}


INDICES = [5, -1, slice(None), slice(3, 9, 4), slice(8, 2, -1), slice(4, 4), ..., (slice(2, 3), 1), (..., 0)]
INDICES += [[0, 11], np.arange(12) % 5 == 1, (None, 3), (np.array([7]), slice(None)), True]


@pytest.mark.parametrize("index", INDICES, ids=str)
def test_the_chunks_that_an_index_reads(index):
    """Twelve rows in chunks of five, and the same as points of two axes, against the numbers themselves."""
    rows = np.broadcast_to(np.arange(12)[:, None], (12, 2))
    wanted = sorted({k // 5 for k in np.ravel(rows[index])})
    assert Grid((12,), (5,)).read_by(index, (12, 2), 1) == wanted
    later = sorted({(k + 4) // 5 for k in np.ravel(rows[index])})
    assert Grid((20,), (5,)).read_by(index, (12, 2), 1, 4) == later
    points = np.broadcast_to(np.arange(144).reshape(12, 12, 1), (12, 12, 2))
    wanted = sorted({k // 50 for k in np.ravel(points[index])}) if not isinstance(index, bool) else [0, 1, 2]
    assert Grid((144,), (50,)).read_by(index, (12, 12, 2), 2) == wanted


def test_chunks_hold_neighbours():
    assert chunk_shape((100, 30), 7 * 30) == (7, 30)
    assert chunk_shape((10, 40, 3), 20 * 3) == (1, 20, 3)
    assert chunk_shape((5,), 1) == (1,)


OVER = {
    "stimulus": jnp.array([0.0, 8.0, 16.0]),
    ("na.g", "k.g"): (jnp.array([80.0, 120.0]), jnp.array([30.0, 36.0])),
}
EVERY = diffrax.SaveAt(steps=100, fn=hh.save_V)


def sweep(*folder, **options):
    options = dict(t1=30.0, dt=0.05, saveat=EVERY, chunk=2, reduce={"mean": hh.Mean()}) | options
    return (hh.sweep_to if folder else hh.sweep)(*folder, AXON, over=OVER, **options)


@pytest.mark.parametrize("name", FORMATS)
def test_a_killed_sweep_on_disk_goes_on(tmp_path, name):
    needs(name)
    folder = tmp_path / name
    with pytest.raises(KeyboardInterrupt):
        sweep(folder, progress_meter=Stop())
    got, plain = sweep(folder), sweep()
    for result in (got, sweep(folder)):  # the second reads alone
        same(result.V, plain.V)
        same(result.reduced["mean"], plain.reduced["mean"])
        assert result.finite.all() and result.finite.shape == (3, 2, 1)
    assert isinstance(got.V, np.memmap) or not isinstance(got.V, np.ndarray)  # is read where it is indexed
    with pytest.raises(ValueError, match="`folder` .* holds another sweep"):
        sweep(folder, t1=31.0)


def test_a_zarr_group_tells_what_it_holds(tmp_path):
    zarr = pytest.importorskip("zarr")
    result = sweep(tmp_path / "x.zarr", chunk=4)
    hh.save(tmp_path / "x.npz", result)
    same(hh.load(tmp_path / "x.npz").V, result.V)
    group = zarr.open_group(tmp_path / "x.zarr", mode="r")
    assert group["V"].metadata.dimension_names == ("stimulus", "na.g, k.g", "time", "neuron")
    assert group["V"].chunks == (2, 2, 6, 1) and group["V"].attrs["units"] == "mV"
    assert group["k.g"].metadata.dimension_names == ("na.g, k.g",) and group["k.g"].attrs["units"] == "mS/cm²"
    assert group["done"][...].all() and group.attrs["solver"] == "Strang"
    xarray = pytest.importorskip("xarray")
    data = xarray.open_zarr(tmp_path / "x.zarr", chunks=None)
    same(data["time"], 5.0 * np.arange(1, 7))
    assert set(data.coords) == {"time", "neuron", "stimulus", "na.g", "k.g"}
    assert data["V"].sel(stimulus=8.0).dims == ("na.g, k.g", "time", "neuron")
    assert data["mean"].shape == (3, 2, 1)


def test_an_hdf5_file_tells_what_it_holds(tmp_path):
    h5py = pytest.importorskip("h5py")
    sweep(tmp_path / "x.h5", chunk=4)
    file = h5py.File(tmp_path / "x.h5")
    dims = file["V"].dims
    assert [dims[k][0].name for k in range(4)] == ["/stimulus", "/na.g, k.g", "/time", "/neuron"]
    assert file["V"].chunks == (2, 2, 6, 1) and file["V"].attrs["units"] == "mV"
    assert file["k.g"].dims[0][0].name == "/na.g, k.g" and file["k.g"].attrs["units"] == "mS/cm²"
    same(dims[0][0], [0.0, 8.0, 16.0])


@pytest.mark.usefixtures("as_users_run_it")
@pytest.mark.parametrize("name, package, extra", [("x.zarr", "zarr", "zarr"), ("x.hdf5", "h5py", "hdf5")])
def test_a_missing_package_is_named(tmp_path, monkeypatch, name, package, extra):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=rf"needs {package}: pip install 'hhjax\[{extra}\]'"):
        sweep(tmp_path / name)


def same_run(got, wanted):
    for field in ("ts", "ys", "final", "finite", "reduced"):
        jax.tree.map(same, getattr(got, field), getattr(wanted, field))


def simulate(*folder, network=AXON, **options):
    """By default the parts are 120, 120, 120 and 40 steps."""
    options = dict(t1=20.0, dt=0.05, stimulus=10.0) | ({"chunk": 120} if folder else {}) | options
    return (hh.simulate_to if folder else hh.simulate)(*folder, network, **options)


@pytest.mark.parametrize("name", FORMATS)
def test_a_killed_run_on_disk_goes_on(tmp_path, name):
    needs(name)
    options = dict(
        saveat=diffrax.SaveAt(t0=True, steps=4), reduce={"times": hh.SpikeTimes(3), "mean": hh.Mean()}
    )
    plain = simulate(**options)
    folder = tmp_path / name
    with pytest.raises(KeyboardInterrupt):
        simulate(folder, progress_meter=Stop(), **options)
    for run in (simulate(folder, **options), simulate(folder, **options)):  # the second reads alone
        assert run.V.shape == (101, 1) and "(101, 1)" in str(run)
        jax.tree.map(
            same, (run.ts, run.ys, run.final, run.reduced), (plain.ts, plain.ys, plain.final, plain.reduced)
        )
    on = [simulate(y0=half, t1=30.0) for half in (plain, run)]
    same(on[0].V, on[1].V)


DELAYED = hh.synapses.ExponentialSynapse(jnp.full((3, 3), 0.2), tau=5.0, reversal=0.0, delay=1.5)
NOISY = hh.Network(AXON, n=3, coupling=DELAYED, noise=hh.OUCurrent(2.0, 5.0))


def test_parts_equal_the_whole_with_noise_delays_and_uneven_times(tmp_path):
    """The last step is shorter than the others."""
    ts = np.arange(0.0, 21.0, 0.37)
    options = dict(dt=0.03, key=jax.random.key(1), stimulus=hh.Sampled(ts, 10 + 8 * np.sin(ts / 2)))
    options |= dict(t1=10.0, saveat=diffrax.SaveAt(t1=True, ts=[3.3, 4.2, 6.0]))
    options["network"] = NOISY
    plain = simulate(**options)
    run = simulate(tmp_path / "whole", **options, chunk=50)
    with pytest.raises(KeyboardInterrupt):
        simulate(tmp_path / "killed", **options, chunk=50, progress_meter=Stop())
    same_run(simulate(tmp_path / "killed", **options, chunk=50), run)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-9), run.ys, plain.ys)
    assert len(run.ts) == 4 and np.load(tmp_path / "whole" / "V.npy").shape == (4, 3)
    assert run.progress.steps == plain.progress.steps and not run.progress.whole


def test_parts_compile_once(tmp_path):
    neuron, traces = counting()
    counts = []
    for k, t1 in enumerate([6.4, 64.0, 128.0]):  # one part, ten and twenty
        simulate(tmp_path / str(k), network=neuron, t1=t1, chunk=128)
        counts.append(len(traces))
    # Shapes are worked out for each run, before anything is compiled.
    assert counts[2] - counts[1] == counts[1] - counts[0] < counts[0] / 2


def test_a_run_that_blows_up_says_when(tmp_path):
    options = dict(t1=50.0, dt=0.1, stimulus=10.0, solver="rk4", saveat=diffrax.SaveAt(steps=20))
    with pytest.raises(hh.NonFiniteError) as whole:
        simulate(**options)
    for _ in range(2):
        with pytest.raises(hh.NonFiniteError) as parts:
            simulate(tmp_path, **options, chunk=20)
        assert str(parts.value) == str(whole.value)


SCRIPT = """
import os, sys, diffrax, hhjax as hh

class Kill(diffrax.NoProgressMeter):
    def step(self, state, progress):
        if float(progress) > 0.5:
            os._exit(9)

run = dict(t1=100.0, dt=0.05, stimulus=10.0, chunk=200, saveat=diffrax.SaveAt(steps=4))
hh.simulate_to(sys.argv[1], hh.squid_axon(), **run, progress_meter=Kill())
"""


def test_an_hdf5_file_survives_the_process(tmp_path):
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "x.h5"
    assert run_script(SCRIPT, path, JAX_ENABLE_X64="1").wait(timeout=120) == 9
    with h5py.File(path) as file:
        assert 0.0 != file["V"][250, 0] and file["V"][-1, 0] == 0.0  # has begun, and not ended
    options = dict(t1=100.0, chunk=200, saveat=diffrax.SaveAt(steps=4))
    same_run(*(simulate(folder, **options) for folder in (path, tmp_path / "whole")))


@pytest.mark.usefixtures("as_users_run_it")
def test_bad_runs_to_disk_are_refused(tmp_path):
    with pytest.raises(ValueError, match="`chunk` must be a whole number of at least 1, got 0"):
        simulate(tmp_path, chunk=0)
    with pytest.raises(TypeError, match="`folder` must be a path, got 3"):
        simulate(3)


def test_folder_and_chunk_went_to_functions_of_their_own():
    with pytest.raises(TypeError, match=r"`folder` of hh.simulate is now `hh.simulate_to\(folder"):
        simulate(folder="x")
    with pytest.raises(TypeError, match=r"`chunk` of hh.simulate is now `hh.simulate_to\(folder"):
        simulate(chunk=5)
    with pytest.raises(TypeError, match=r"`folder` of hh.sweep is now `hh.sweep_to\(folder"):
        sweep(folder="x")


def test_a_run_to_disk_is_no_part_of_a_jitted_function(tmp_path):
    with pytest.raises(ValueError, match="`folder` is written as the run goes on"):
        jax.jit(lambda I: simulate(tmp_path, stimulus=I).V)(1.0)


def test_another_run_is_refused(tmp_path):
    options = dict(saveat=diffrax.SaveAt(t0=True, steps=4))
    simulate(tmp_path, **options)
    for other in (dict(stimulus=11.0), dict(t1=30.0), dict(solver="ind_exp_euler"), dict(reduce=hh.Mean())):
        with pytest.raises(ValueError, match="`folder` .* holds another run: give a new one, or delete it"):
            simulate(tmp_path, **(options | other))


def gate(name):
    return hh.Mean(lambda t, y, args: y.gates["na"][name])


def test_what_a_folder_tells_apart():
    """Equal inputs made anew have the same digest; each other one has one of its own."""
    scaled = lambda k, t: k * t
    make = lambda: [
        hh.Ramp(20.0, 2.0, 8.0),
        hh.Step(20.0, 2.0, 8.0),
        jax.random.key(0),
        hh.fast_key(0),
        jax.random.key(1),
        gate("m"),
        gate("h"),
        hh.Mean(lambda t, y, args: y.V + 1.0),
        hh.Mean(lambda t, y, args: y.V - 1.0),
        functools.partial(scaled, 1.0),
        functools.partial(scaled, 2.0),
        hh.synapses.NMDA([[1.0]], pre="a"),
        hh.synapses.NMDA([[1.0]], pre="b"),
    ]
    first, second = ([fingerprint(x) for x in make()] for _ in range(2))
    assert first == second and len(set(first)) == len(first)


def test_another_sweep_is_refused(tmp_path):
    def run(channel="na", **options):
        axis = hh.Axis(lambda point: point.network.neuron.channels[channel].g, jnp.array([30.0, 40.0]))
        options = dict(t1=1.0, dt=0.1, reduce=hh.Mean()) | options
        return hh.sweep_to(tmp_path, AXON, over={"g": axis}, **options).reduced

    run()
    for other in (dict(channel="k"), dict(reduce=gate("m")), dict(stimulus=hh.Ramp(1.0, 0.0, 1.0))):
        with pytest.raises(ValueError, match="holds another sweep"):
            run(**other)
