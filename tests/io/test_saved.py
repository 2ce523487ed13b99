"""`hh.open`: what a run or a sweep wrote, read without running it."""

import json

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hhjax as hh

from ..run.test_sweep import Stop
from .test_store import AXON, EVERY, FORMATS, needs, OVER, same

RUN = dict(t1=20.0, dt=0.05, stimulus=10.0, saveat=diffrax.SaveAt(t0=True, steps=4))
SWEEP = dict(over=OVER, t1=30.0, dt=0.05, saveat=EVERY, chunk=2, reduce={"mean": hh.Mean()})


def kill(write, *arguments, **options):
    with pytest.raises(KeyboardInterrupt):
        write(*arguments, **options, progress_meter=Stop())


def contents(path):
    """Every file below `path`, and when it was last written."""
    files = [path] if path.is_file() else [x for x in path.rglob("*") if x.is_file()]
    return {x: (x.read_bytes(), x.stat().st_mtime_ns) for x in files}


@pytest.mark.parametrize("name", FORMATS)
def test_a_run_is_opened_before_and_after_its_end(tmp_path, name):
    """Parts of 120 steps of 0.05 ms, killed after the second: 12 ms of 20, a row each 0.2 ms. That makes 61
    rows, in chunks of 4."""
    needs(name)
    plain = hh.simulate(AXON, **RUN)
    kill(hh.simulate_to, tmp_path / name, AXON, **RUN, chunk=120)
    before = contents(tmp_path / name)
    with hh.open(tmp_path / name) as half:
        assert (half.kind, half.count, half.total, half.finished) == ("run", 60, 101, False)
        same(half["V"][:60], plain.V[:60])
        same(half.ts, plain.ts)
        assert half.axes == {}
        xarray = pytest.importorskip("xarray")
        xarray.testing.assert_equal(half.to_xarray(), plain.to_xarray().isel(time=slice(60))[list(half)])
    assert "not finished" in str(half) and "(101, 1)" in str(half)  # when it is closed, too
    assert contents(tmp_path / name) == before
    hh.simulate_to(tmp_path / name, AXON, **RUN, chunk=120)
    whole = hh.open(str(tmp_path / name))
    assert (whole.count, whole.total, whole.finished) == (101, 101, True)
    assert set(whole) == {"V", "na_m", "na_h", "k_n"} and len(whole) == 4 and "resume" not in whole
    for field, values in {"V": plain.V, "na_h": plain.ys.gates["na"]["h"]}.items():
        same(whole[field], values)
    assert whole.units == {"V": "mV", "na_m": "1", "na_h": "1", "k_n": "1", "time": "ms"}
    assert whole.attrs == {"solver": "Strang", "t0": 0.0, "t1": 20.0, "dt": 0.05, "dt_units": "ms"}
    assert not isinstance(whole["V"], np.ndarray)  # reads what is indexed
    for index in (5, (slice(3, 90, 7), 0), ..., [7, 3], np.arange(101) % 2 == 0, slice(None, None, -1)):
        same(whole["V"][index], np.asarray(plain.V)[index])
    same(jnp.diff(jnp.asarray(whole["V"]), axis=0), jnp.diff(plain.V, axis=0))
    for index in (101, (0, 1), "V"):
        with pytest.raises(IndexError):
            whole["V"][index]


@pytest.mark.parametrize("name", FORMATS)
def test_a_sweep_is_opened_before_and_after_its_end(tmp_path, name):
    """Launches of 2 of the 6 points, killed after the second."""
    needs(name)
    plain = hh.sweep(AXON, **SWEEP)
    kill(hh.sweep_to, tmp_path / name, AXON, **SWEEP)
    with hh.open(tmp_path / name) as half:
        assert (half.kind, half.count, half.total, half.finished) == ("sweep", 4, 6, False)
        same(half["done"], [[True, True], [True, True], [False, False]])
        same(half["V"][:2], plain.V[:2])
    hh.sweep_to(tmp_path / name, AXON, **SWEEP)
    whole = hh.open(tmp_path / name)
    assert (whole.count, whole.finished) == (6, True)
    same(whole["V"], plain.V)
    same(whole["mean"], plain.reduced["mean"])
    same(whole.ts, plain.ts)
    assert list(whole.axes) == ["stimulus", "na.g", "k.g"]
    for got, wanted in zip(whole.axes.values(), ([0.0, 8.0, 16.0], [80.0, 120.0], [30.0, 36.0])):
        same(got, wanted)
    assert whole.units["stimulus"] == "µA/cm²" and whole.units["k.g"] == "mS/cm²"
    xarray = pytest.importorskip("xarray")
    xarray.testing.assert_equal(whole.to_xarray().drop_vars("done"), plain.to_xarray())


def test_a_sweep_without_traces_has_no_times(tmp_path):
    hh.sweep_to(tmp_path, AXON, over={"stimulus": jnp.array([0.0, 8.0])}, t1=1.0, dt=0.1)
    saved = hh.open(tmp_path)
    assert saved.ts is None and saved["reduced"].shape == (2, 1)


def test_rows_are_counted_on_the_grid_of_the_run(tmp_path):
    """A run that goes on from another, to times of its own, with a last step of 0.02 of dt, in float32."""
    small = jax.tree.map(lambda x: x.astype(np.float32), AXON)
    begun = hh.simulate(small, t1=5.0, dt=0.1, stimulus=10.0)
    options = dict(
        y0=begun, t1=10.002, dt=0.1, stimulus=10.0, saveat=diffrax.SaveAt(t1=True, ts=[6, 7, 8, 9])
    )
    kill(hh.simulate_to, tmp_path, small, **options, chunk=10)  # after 9 ms, in parts of 2 ms
    assert (hh.open(tmp_path).count, hh.open(tmp_path).total) == (4, 5) and not hh.open(tmp_path).finished
    hh.simulate_to(tmp_path, small, **options, chunk=10)
    saved = hh.open(tmp_path)
    assert saved.count == 5 and saved.finished and saved["V"].dtype == np.float32
    # Rows end before the run does.
    kill(
        hh.simulate_to, tmp_path / "b", AXON, t1=10.0, dt=0.1, saveat=diffrax.SaveAt(ts=[1.0, 2.0]), chunk=20
    )
    saved = hh.open(tmp_path / "b")
    assert (saved.count, saved.total, saved.finished) == (2, 2, False)


def test_nothing_is_written(tmp_path):
    hh.simulate_to(tmp_path / "x", AXON, **RUN)
    with pytest.raises(TypeError, match="does not support item assignment"):
        hh.open(tmp_path / "x")["V"][0] = 1.0


def test_an_open_hdf5_file_is_closed_before_the_run_goes_on(tmp_path):
    pytest.importorskip("h5py")
    path = tmp_path / "x.h5"
    kill(hh.simulate_to, path, AXON, **RUN, chunk=120)
    with hh.open(path):
        with pytest.raises(
            ValueError, match=r"`folder` .*x.h5 is being written .* or is open elsewhere: .*, close it first"
        ):
            hh.simulate_to(path, AXON, **RUN, chunk=120)
    assert hh.simulate_to(path, AXON, **RUN, chunk=120).V.shape == (101, 1)


def test_what_is_not_there_or_not_ours_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="`folder` does not exist: .*nowhere"):
        hh.open(tmp_path / "nowhere")
    (tmp_path / "file").write_text("notes")
    (tmp_path / "empty").mkdir()
    hh.save(tmp_path / "x.npz", AXON)
    for name, hint in {"file": "$", "empty": "$", "x.npz": r" hh.load reads the files of hh.save.$"}.items():
        with pytest.raises(ValueError, match=f"`folder` must be what .* wrote, got '.*{name}'.{hint}"):
            hh.open(tmp_path / name)


@pytest.mark.usefixtures("as_users_run_it")
def test_what_is_no_path_is_refused():
    with pytest.raises(TypeError, match="`folder` must be a path, got 3"):
        hh.open(3)


def test_damaged_folders_are_named(tmp_path):
    hh.simulate_to(tmp_path, AXON, **RUN)
    about = json.loads((tmp_path / "about.json").read_text())
    for text in ("{", "[]", json.dumps(about | {"arrays": []}), json.dumps(about | {"attrs": {}})):
        (tmp_path / "about.json").write_text(text)
        with pytest.raises(ValueError, match=f"`folder` {tmp_path} is damaged"):
            hh.open(tmp_path)
    (tmp_path / "about.json").write_text("{")
    with pytest.raises(ValueError, match=f"`folder` {tmp_path} is damaged"):
        hh.simulate_to(tmp_path, AXON, **RUN)
    (tmp_path / "about.json").write_text(json.dumps(about))
    whole = (tmp_path / "V.npy").read_bytes()
    (tmp_path / "V.npy").write_bytes(whole[:-8])
    with pytest.raises(ValueError, match=f"`folder` {tmp_path} is damaged"):
        hh.open(tmp_path)
    (tmp_path / "V.npy").unlink()
    with pytest.raises(ValueError, match=f"`folder` {tmp_path} is damaged"):
        hh.open(tmp_path)


@pytest.mark.parametrize("name", ["x.zarr", "x.h5"])
def test_files_of_others_are_named(tmp_path, name):
    needs(name)
    path = tmp_path / name
    path.mkdir() if name.endswith("zarr") else path.write_text("no HDF5 file")
    with pytest.raises(ValueError, match="`folder` (must be|.* is damaged, or not) what"):
        hh.open(path)
    if name.endswith("zarr"):
        pytest.importorskip("zarr").create_group(str(path), overwrite=True)
    else:
        pytest.importorskip("h5py").File(path, "w").close()
    with pytest.raises(ValueError, match=f"`folder` {path} is damaged, or not what"):
        hh.open(path)
