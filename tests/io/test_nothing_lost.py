"""Runs to disk lose nothing of anyone's: full disks, kills, flipped bits, and files of others."""

import errno
import itertools
import os
import shutil
import subprocess
import sys
from pathlib import Path

import diffrax
import jax
import numpy as np
import pytest

import hhjax as hh
from hhjax._io import archives, hdf5_file, npy_folder, zarr_group

from ..run.test_sweep import run_script, Stop
from .test_saved import contents
from .test_store import FORMATS, needs, same, same_run, simulate, sweep

KINDS = {"": npy_folder.NpyArchive, ".zarr": zarr_group.ZarrArchive, ".h5": hdf5_file.Hdf5Archive}
RUN = dict(saveat=diffrax.SaveAt(t0=True, steps=4), reduce=hh.SpikeTimes(3))


@pytest.fixture
def small_disk(tmp_path):
    """A folder with room for 2 MB."""
    path = tmp_path / "disk"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(path)]
    if not sys.platform.startswith("linux") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root may mount a small disk")
    yield path
    subprocess.run(["umount", "-l", str(path)], check=True)


FULL = """
import errno, pathlib, shutil, sys, diffrax, jax, numpy as np, hhjax as hh

disk, other, *names = map(pathlib.Path, sys.argv[1:])
filler = disk / "filler"

def fill():
    with open(filler, "wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            pass

class Fill(diffrax.NoProgressMeter):
    def step(self, state, progress):
        if float(progress) > 0.4 and not filler.exists():
            fill()

def run(folder, **options):
    options = dict(t1=100.0, dt=0.01, stimulus=10.0, chunk=1000) | options
    return hh.simulate_to(folder, hh.squid_axon(), **options)

def sweep(folder, **options):
    over = {"stimulus": np.arange(8.0), "na.g": np.linspace(100.0, 120.0, 20)}
    options = dict(t1=10.0, dt=0.1, saveat=diffrax.SaveAt(steps=1), chunk=12) | options
    return hh.sweep_to(folder, hh.squid_axon(), over=over, **options)

for name in names:
    for write in (run, sweep):
        folder, there = (place / f"{write.__name__}-{name}" for place in (disk, other))
        fill()  # before the first file
        for again in range(2):  # and then on the way
            try:
                write(folder, progress_meter=Fill())
            except OSError as error:
                told = f"`folder` {folder} cannot be written to"
                assert error.errno == errno.ENOSPC and told in str(error), error
            else:
                raise AssertionError("there was room")
            filler.unlink()
        assert 0 < hh.open(folder).count < hh.open(folder).total
        got, wanted = write(folder), write(there)
        jax.tree.map(np.testing.assert_array_equal, (got.ys, got.finite), (wanted.ys, wanted.finite))
    del got
    for path in disk.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
"""


def test_a_full_disk_is_an_error_and_then_the_run_goes_on(small_disk, tmp_path):
    """In a process of its own, which it must not kill."""
    for name in FORMATS:
        needs(name)
    assert run_script(FULL, small_disk, tmp_path, *FORMATS, JAX_ENABLE_X64="1").wait(timeout=300) == 0


def flip(file, place, change):
    with open(file, "r+b") as opened:
        opened.seek(place)
        (byte,) = opened.read(1)
        opened.seek(place)
        opened.write(bytes([byte ^ change]))


def everything(folder):
    """All that `hh.open` tells."""
    with hh.open(folder) as saved:
        found = {name: np.asarray(saved[name]) for name in saved}
        return found | {
            "ts": saved.ts,
            "axes": saved.axes,
            "about": (saved.count, saved.finished, saved.attrs),
        }


def rows_on_disk(folder):
    """Places of bytes of V: files, first bytes and lengths."""
    if folder.suffix == ".zarr":
        return [(x, 0, x.stat().st_size) for x in sorted((folder / "V" / "c").rglob("*")) if x.is_file()]
    if folder.suffix == ".h5":
        with pytest.importorskip("h5py").File(folder) as file:
            chunks = [file["V"].id.get_chunk_info(k) for k in range(file["V"].id.get_num_chunks())]
        return [(folder, chunk.byte_offset, chunk.size) for chunk in chunks]
    return [(folder / "V.npy", 128, (folder / "V.npy").stat().st_size - 128)]


@pytest.mark.parametrize("make", [lambda folder: simulate(folder, **RUN), sweep], ids=["run", "sweep"])
@pytest.mark.parametrize("name", FORMATS)
def test_flipped_bits_are_found(tmp_path, name, make):
    """40 of 40 in the rows; in any other byte they are found, or change nothing."""
    needs(name)
    folder = tmp_path / name
    make(folder)
    wanted = everything(folder)
    assert wanted["about"][1]
    draw = np.random.default_rng(0)
    places = [(file, start + k) for file, start, size in rows_on_disk(folder) for k in range(size)]
    for k in draw.choice(len(places), 40, replace=False):
        change = 1 << draw.integers(8)
        flip(*places[k], change)
        with pytest.raises(ValueError, match=f"`folder` {folder} is damaged"):
            everything(folder)
        flip(*places[k], change)
    files = sorted(contents(folder))
    sizes = np.cumsum([file.stat().st_size for file in files])
    for k in draw.choice(sizes[-1], 150, replace=False):
        file = files[i := int(np.searchsorted(sizes, k, side="right"))]
        change = int(draw.integers(1, 256))
        place = int(k - sizes[i] + file.stat().st_size)
        flip(file, place, change)
        try:
            found = everything(folder)
        except ValueError as error:
            assert f"`folder` {folder}" in str(error)
        except (ImportError, FileNotFoundError) as error:
            raise AssertionError(f"{file} at {place}") from error
        else:
            jax.tree.map(
                same,
                {x: found[x] for x in wanted if x != "about"},
                {x: wanted[x] for x in wanted if x != "about"},
            )
            assert found["about"] == wanted["about"], (file, place)
        flip(file, place, change)
    jax.tree.map(same, everything(folder)["V"], wanted["V"])


def cut_in_half(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def a_folder_instead(file):
    file.unlink()
    file.mkdir()


SPOILED = [
    Path.unlink,
    cut_in_half,
    a_folder_instead,
    lambda file: file.write_bytes(bytes(file.stat().st_size)),
    lambda file: file.write_text('{"a": [1, 2'),
]


@pytest.mark.parametrize("name", FORMATS)
def test_a_spoiled_file_is_named(tmp_path, name):
    """Of every array in turn, its first chunk and what tells of it."""
    needs(name)
    simulate(tmp_path / name, **RUN, chunk=10**6)
    with hh.open(tmp_path / name) as saved:
        wanted = {x: np.asarray(saved[x]) for x in saved}
    files = [x.relative_to(tmp_path) for x in contents(tmp_path / name)]
    files = [x for x in files if "c" not in x.parts or set(x.parts[-2:]) <= {"c", "0"}]
    for k, (file, spoil) in enumerate(itertools.product(files, SPOILED)):
        folder = tmp_path / str(k) / name
        copy = shutil.copytree if (tmp_path / name).is_dir() else shutil.copy
        folder.parent.mkdir()
        copy(tmp_path / name, folder)
        spoil(tmp_path / str(k) / file)
        try:
            found = everything(folder)
        except (ValueError, FileNotFoundError) as error:
            assert str(folder) in str(error)
        else:  # such as a part of Zarr's metadata that is kept twice, or a copy of where the run stands
            assert found["about"][:2] == (101, True), (file, spoil)
            jax.tree.map(same, {x: found[x] for x in wanted}, wanted)


def test_a_chunk_that_is_gone_is_an_error(tmp_path):
    pytest.importorskip("zarr")
    simulate(tmp_path / "x.zarr", **RUN)
    saved = hh.open(tmp_path / "x.zarr")
    (tmp_path / "x.zarr" / "V" / "c" / "3" / "0").unlink()
    same(saved["V"][:4], simulate(**RUN).V[:4])
    for part in (slice(None), 13, [1, 14]):
        with pytest.raises(ValueError, match=r"`folder` .*x.zarr is damaged.*V/c/3/0 is missing"):
            saved["V"][part]
    with pytest.raises(ValueError, match="V/c/3/0 is missing"):
        np.asarray(saved["V"])
    (tmp_path / "x.zarr" / "done" / "c" / "3").unlink()
    for look in (hh.open, lambda folder: simulate(folder, **RUN)):
        with pytest.raises(
            ValueError, match="`folder` .*x.zarr is damaged.* rows that were written are gone"
        ):
            look(tmp_path / "x.zarr")


@pytest.mark.parametrize(
    "make", [lambda folder, **more: simulate(folder, **RUN, **more), sweep], ids=["run", "sweep"]
)
@pytest.mark.parametrize("name", FORMATS)
def test_a_chunk_is_written_once(tmp_path, monkeypatch, name, make):
    needs(name)
    kind, written = KINDS[Path(name).suffix], []
    write = kind.write
    monkeypatch.setattr(kind, "write", lambda self, k, arrays: (written.append(k), write(self, k, arrays))[1])
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path / name, progress_meter=Stop())
    half = len(written)
    make(tmp_path / name)
    assert 0 < half < len(written) and written == list(range(len(written)))


@pytest.mark.parametrize("name", FORMATS)
def test_a_run_goes_on_with_other_parts(tmp_path, name):
    """Chunks stay as they were made: of 4 rows, for parts of 30."""
    needs(name)
    with pytest.raises(KeyboardInterrupt):
        simulate(tmp_path / name, **RUN, progress_meter=Stop())
    with pytest.raises(KeyboardInterrupt):
        simulate(tmp_path / name, **RUN, progress_meter=Stop(), chunk=40)
    same_run(simulate(tmp_path / name, **RUN, chunk=80), simulate(**RUN))
    assert hh.open(tmp_path / name).finished
    with pytest.raises(KeyboardInterrupt):
        sweep(tmp_path / f"2{name}", progress_meter=Stop())
    same(sweep(tmp_path / f"2{name}", chunk=5).V, sweep().V)


@pytest.mark.parametrize("name", FORMATS)
def test_a_run_that_saves_nothing_goes_on_too(tmp_path, name):
    needs(name)
    options = dict(saveat=diffrax.SaveAt(steps=40, fn=lambda t, y, args: None), reduce=hh.SpikeTimes(3))
    with pytest.raises(KeyboardInterrupt):
        simulate(tmp_path / name, **options, progress_meter=Stop())
    same_run(simulate(tmp_path / name, **options), simulate(**options))
    assert hh.open(tmp_path / name).finished


@pytest.mark.parametrize("name", ["results", "results.h5"])
def test_a_kill_within_a_write_spoils_nothing(tmp_path, monkeypatch, name):
    """Half of what is written arrives, of each twentieth write; Zarr replaces whole files."""
    needs(name)
    module, put = (hdf5_file if name.endswith("h5") else npy_folder), archives.put
    wanted = simulate(tmp_path / "whole", **RUN)
    for last in itertools.count(0, 20):
        count = itertools.count()

        def killed(file, data, start):
            if next(count) == last:
                put(file, bytes(data)[: len(bytes(data)) // 2], start)
                raise KeyboardInterrupt
            put(file, data, start)

        folder = tmp_path / str(last) / name
        monkeypatch.setattr(module, "put", killed)
        try:
            simulate(folder, **RUN)
        except KeyboardInterrupt:
            monkeypatch.setattr(module, "put", put)
            there = hh.open(folder)
            same(there["V"][: there.count], wanted.V[: there.count])
            there.close()
            same_run(simulate(folder, **RUN), wanted)
        else:
            break
    assert last > 80


SCRIPT = """
import os, sys, hhjax as hh
from hhjax._io import hdf5_file, npy_folder, zarr_group

for kind in (hdf5_file.Hdf5Archive, npy_folder.NpyArchive, zarr_group.ZarrArchive):
    kind._publish = lambda part, path: os._exit(9)
for folder in sys.argv[1:]:
    child = os.fork()  # what is imported serves all; JAX has not started
    if child == 0:
        hh.simulate_to(folder, hh.squid_axon(), t1=1.0, dt=0.1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes cannot fork here")
def test_a_run_that_is_killed_at_once_begins_anew(tmp_path):
    (tmp_path / "there").mkdir()
    folders = [tmp_path / name for name in (*FORMATS, "there")]
    for folder in folders:
        needs(folder.name)
    assert run_script(SCRIPT, *folders).wait(timeout=120) == 0
    for folder in folders:
        assert folder.exists() == (folder.name == "there")
        assert simulate(folder).V.shape == (401, 1) and hh.open(folder).finished


def make_foreign(path, what):
    if what == "folder":
        path.mkdir()
        (path / "notes.txt").write_text("mine")
    elif what == "empty":
        path.mkdir()
    elif what == "about":
        path.mkdir()
        (path / "about.json").write_text('{"mine": 1}')
        (path / "V.npy").write_text("mine")
    else:
        path.write_text("mine")


FOREIGN = [
    ("x", "folder", "which holds other files"),
    ("x", "about", "is damaged, or not what"),
    ("x", "file", "the file"),
]
FOREIGN += [
    ("x.zarr", "empty", "no Zarr group"),
    ("x.zarr", "folder", "no Zarr group"),
    ("x.zarr", "file", "no Zarr"),
]
FOREIGN += [
    ("x.h5", "file", "is damaged, or not what"),
    ("x.h5", "folder", "the folder"),
    ("x.h5", "empty", "the folder"),
]


@pytest.mark.parametrize("name, what, told", FOREIGN)
def test_files_of_others_are_not_touched(tmp_path, monkeypatch, name, what, told):
    needs(name)
    make_foreign(tmp_path / name, what)
    before = contents(tmp_path)
    for write in (simulate, sweep):
        with pytest.raises(ValueError, match=f"`folder` .*{told}"):
            write(tmp_path / name)
    assert contents(tmp_path) == before
    monkeypatch.chdir(tmp_path)
    for empty in ("", " "):
        with pytest.raises(ValueError, match="`folder` must name a folder or a file, got"):
            simulate(empty)
    if what != "empty":
        with pytest.raises(
            ValueError, match=r"`folder` must be new, empty.*got '.', which holds other files"
        ):
            simulate(".")
    assert contents(tmp_path) == before


@pytest.mark.parametrize("name", FORMATS)
def test_a_folder_that_is_being_written_is_refused(tmp_path, name):
    needs(name)
    refused = []

    class Other(diffrax.NoProgressMeter):
        def step(self, state, progress):
            if progress < 1:
                with pytest.raises(ValueError, match="`folder` .* is being written"):
                    simulate(tmp_path / name, **RUN)
                refused.append(True)

    run = simulate(tmp_path / name, **RUN, progress_meter=Other())
    assert refused
    same_run(simulate(tmp_path / name, **RUN), run)


@pytest.mark.parametrize("name", FORMATS)
def test_a_finished_folder_that_is_read_only_is_read(small_disk, name):
    needs(name)
    wanted = simulate(small_disk / name, **RUN)
    with pytest.raises(KeyboardInterrupt):
        simulate(small_disk / f"half{name}", **RUN, progress_meter=Stop())
    values = np.asarray(wanted.V)
    del wanted
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with hh.open(small_disk / name) as saved:
        same(saved["V"], values)
    same(simulate(small_disk / name, **RUN).V, values)
    with pytest.raises(OSError, match="`folder` .* cannot be written to") as error:
        simulate(small_disk / f"half{name}", **RUN)
    assert error.value.errno == errno.EROFS


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OSError, match="`folder` .*file/x cannot be written to"):
        simulate(tmp_path / "file" / "x")
    assert os.listdir(tmp_path) == ["file"]
