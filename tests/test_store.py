"""Results on disk: sweeps and long runs as `.npy` folders, Zarr groups and HDF5 files."""

import sys

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hhjax as hh
from hhjax._store._archive import chunk_shape, rectangles

AXON = hh.squid_axon()
FORMATS = ["results", "results.zarr", "results.h5"]


class Stop(diffrax.NoProgressMeter):
    """Interrupts what it watches halfway."""

    def step(self, state, progress):
        if float(progress) > 0.5:
            raise KeyboardInterrupt
        return state


def needs(name):
    for suffix, package in {".zarr": "zarr", ".h5": "h5py"}.items():
        if name.endswith(suffix):
            pytest.importorskip(package)


def same(got, wanted):
    np.testing.assert_array_equal(np.asarray(got), np.asarray(wanted))


@pytest.mark.parametrize("shape", [(7,), (3, 4), (2, 3, 5), (1, 4, 1)])
def test_rectangles_cover_each_range_in_order(shape):
    places = np.arange(np.prod(shape)).reshape(shape)
    for start in range(places.size):
        for stop in range(start, places.size + 1):
            found = [places[index].ravel() for index in rectangles(shape, start, stop)]
            assert np.concatenate([[], *found]).tolist() == list(range(start, stop))
            assert len(found) <= 2 * len(shape)


def test_chunks_hold_neighbours():
    assert chunk_shape((100, 30), 7 * 30, 4) == (7, 30)
    assert chunk_shape((10, 40, 3), 20 * 3, 8) == (1, 20, 3)
    assert chunk_shape((10, 10**9), 10**9, 8) == (1, 8_000_000)
    assert chunk_shape((5,), 1, 4) == (1,)


OVER = {
    "stimulus": jnp.array([0.0, 8.0, 16.0]),
    ("na.g", "k.g"): (jnp.array([80.0, 120.0]), jnp.array([30.0, 36.0])),
}
EVERY = diffrax.SaveAt(steps=100, fn=hh.save_V)


def sweep(**options):
    options = dict(t1=30.0, dt=0.05, saveat=EVERY, chunk=2, reduce={"mean": hh.Mean()}) | options
    return hh.sweep(AXON, over=OVER, **options)


@pytest.mark.parametrize("name", FORMATS)
def test_a_killed_sweep_on_disk_goes_on(tmp_path, name):
    needs(name)
    folder = tmp_path / name
    with pytest.raises(KeyboardInterrupt):
        sweep(folder=folder, progress_meter=Stop())
    got, plain = sweep(folder=folder), sweep()
    for result in (got, sweep(folder=folder)):  # the second reads alone
        same(result.V, plain.V)
        same(result.reduced["mean"], plain.reduced["mean"])
        assert result.finite.all() and result.finite.shape == (3, 2, 1)
    assert isinstance(got.V, np.memmap) or not isinstance(got.V, np.ndarray)  # is read where it is indexed
    with pytest.raises(ValueError, match="`folder` .* holds another sweep"):
        sweep(folder=folder, t1=31.0)


def test_a_zarr_group_tells_what_it_holds(tmp_path):
    zarr = pytest.importorskip("zarr")
    sweep(folder=tmp_path / "x.zarr", chunk=4)
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
    sweep(folder=tmp_path / "x.h5", chunk=4)
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
        sweep(folder=tmp_path / name)


def same_run(got, wanted):
    for field in ("ts", "ys", "final", "finite", "reduced"):
        jax.tree.map(same, getattr(got, field), getattr(wanted, field))


def simulate(network=AXON, **options):
    """By default the parts are 120, 120, 120 and 40 steps."""
    options = dict(t1=20.0, dt=0.05, stimulus=10.0, chunk=120 if "folder" in options else None) | options
    return hh.simulate(network, **options)


@pytest.mark.parametrize("name", FORMATS)
def test_a_killed_run_on_disk_goes_on(tmp_path, name):
    needs(name)
    options = dict(
        saveat=diffrax.SaveAt(t0=True, steps=4), reduce={"times": hh.SpikeTimes(3), "mean": hh.Mean()}
    )
    plain = simulate(**options)
    options["folder"] = tmp_path / name
    with pytest.raises(KeyboardInterrupt):
        simulate(progress_meter=Stop(), **options)
    for run in (simulate(**options), simulate(**options)):  # the second reads alone
        assert run.V.shape == (101, 1)
        jax.tree.map(
            same, (run.ts, run.ys, run.final, run.reduced), (plain.ts, plain.ys, plain.final, plain.reduced)
        )
    on = [simulate(y0=half, t1=30.0) for half in (plain, run)]
    same(on[0].V, on[1].V)
