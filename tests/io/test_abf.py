"""Recordings in Axon files: version 1 written here, version 2 in the real recording where it is there."""

import struct
from pathlib import Path

import numpy as np
import pytest

import hhjax as hh

pytest.importorskip("pyabf")
pytestmark = pytest.mark.filterwarnings("error:x.abf")

SHARED = Path(__file__).parents[2] / "shared" / "recordings" / "17o05028_ic_steps.abf"
V = -60.0 - 5 * np.arange(2.0)[:, None] * np.ones(640)  # the sweeps differ
SAME = V[[0, 0]]


def write(
    path, V=SAME, unit="mV", command="pA", holding=0.0, epochs=(), long=True, source=None, file="", **at
):
    """ABF 1.8 at 10 kHz; `epochs` of the first output: type, level, its increment, samples, their increment.

    `at`: what else is packed where, `h1440=3` a short of 3 at 1440.
    """
    from pyabf.abfWriter import writeABF1

    V = V if long else np.tile(V, 5)  # of short files pyABF reads the data as header too
    writeABF1(V, str(path), sampleRateHz=10_000, units=unit)
    content = path.read_bytes()
    if long:
        content = content[:2048] + bytes(4096) + content[2048:]
    content = bytearray(content)
    pack = lambda kind, offset, *values: struct.pack_into("<" + kind, content, offset, *values)
    pack("4f", 1394, holding, 0.0, 0.0, 0.0)
    for k in range(4):
        pack("8s", 1346 + 8 * k, command.ljust(8).encode("latin-1") if k == 0 else b"mV      ")
    if long:
        source = source or (1 if epochs else 0)
        pack("f", 4, 1.8)
        pack("i", 40, 12)
        pack("hxxh", 2296, bool(source), source)
        pack("f", 2708, 2.0)  # the scale of a waveform file, and its offset
        pack("f", 2716, 10.0)
        pack("256s", 2736, file.encode())
        for k, (kind, level, more, samples, longer) in enumerate(epochs):
            for what, offset, size in ((kind, 2308, 2), (level, 2348, 4), (more, 2428, 4)):
                pack("h" if size == 2 else "f", offset + size * k, what)
            pack("i", 2508 + 4 * k, samples)
            pack("i", 2588 + 4 * k, longer)
    for name, value in at.items():
        pack(name[0], int(name[1:]), value)
    path.write_bytes(content)
    return path


@pytest.fixture
def path(tmp_path):
    return tmp_path / "x.abf"


def test_a_step_on_a_holding_level(path):
    """The command is at the holding level for 1/64 of the sweep, 10 samples, before the first epoch."""
    recording = hh.recordings.load(write(path, V, holding=-7.0, epochs=[(1, 20.0, 5.0, 100, 50)]))
    expected = np.full((2, 640), -7.0)
    expected[0, 10:110], expected[1, 10:160] = 20.0, 25.0
    np.testing.assert_array_equal(recording.current, expected)
    np.testing.assert_allclose(recording.V, V, atol=4e-3)  # 16 bits
    assert recording.dt == pytest.approx(0.1) and recording.held and recording.current_known


@pytest.mark.parametrize("unit, scale", [("nA", 1e3), ("A", 1e12), ("µA", 1e6), ("uA", 1e6)])
def test_units_of_the_command(path, unit, scale):
    recording = hh.recordings.load(write(path, command=unit, holding=2.0))
    np.testing.assert_allclose(recording.current, 2.0 * scale)


def test_of_several_channels_in_mv_the_first_is_read(path):
    """Two channels, interleaved; the interval in the header is from one to the next."""
    both = np.stack([np.linspace(-60, -50, 640), np.full(640, -80.0)])
    write(path, both.T.reshape(1, -1), h120=2, h412=1)
    with pytest.warns(UserWarning, match="x.abf: of the 2 channels in mV, .* the first is read"):
        recording = hh.recordings.load(path)
    np.testing.assert_allclose(recording.V, both[:1], atol=4e-3)
    assert recording.dt == pytest.approx(0.2)


def test_the_rate_may_be_no_whole_number_of_hertz(path):
    assert hh.recordings.load(write(path, f122=30.0)).dt == pytest.approx(0.03, rel=1e-9)


@pytest.mark.parametrize("long", [True, False], ids=["1.8", "before 1.6"])
def test_a_holding_level_alone_is_no_current_of_sweeps_that_differ(path, long):
    write(path, V, holding=-7.0, long=long)
    with pytest.warns(UserWarning, match="x.abf: the current that was injected is not in .* level of -7 pA"):
        recording = hh.recordings.load(path)
    assert not recording.current_known and (recording.current == -7.0).all()
    assert "not in the file" in str(recording)
    model = (hh.Neuron({"leak": hh.Leak()}), hh.Electrode(area=2000.0))
    for part in (recording, recording[0], recording.between(1.0, 9.0), recording.every(2)):
        with pytest.raises(
            ValueError, match="^`data` must hold the current that was injected, and x.abf does"
        ):
            hh.fit(model, part, where="leak.g")
    with pytest.raises(ValueError, match="`data` must hold the current"):
        hh.replay(model, recording)
    given = hh.Recording(recording.ts, np.zeros(recording.V.shape), recording.V, "pA", held=True)
    assert hh.replay(model, given).shape == (*recording.V.shape, 1)


def test_a_holding_level_is_the_current_of_sweeps_that_agree(path):
    noise = 0.2 * np.random.default_rng(0).standard_normal(V.shape)
    recording = hh.recordings.load(write(path, SAME + noise, holding=-7.0))
    assert recording.current_known and (recording.current == -7.0).all()


@pytest.mark.parametrize(
    "how, message",
    [
        ({"long": False, "h1438": 1}, "too old to read the command"),
        ({"h3360": 1}, "a user list changes the command"),
    ],
)
def test_commands_that_pyabf_does_not_read_are_not_known(path, how, message):
    with pytest.warns(UserWarning, match=f"x.abf: the current .* {message}"):
        assert not hh.recordings.load(write(path, **how)).current_known


def test_a_command_from_a_waveform_file(path):
    """One beside the recording, under the name that the header has with the folder of another machine."""
    played = np.stack([np.arange(640.0), -np.arange(640.0)])
    write(path, V, source=2, file=r"C:\protocols\wave.atf")
    with pytest.raises(
        ValueError, match=r"^x.abf takes its command from the file .*wave.atf', which is not there"
    ):
        hh.recordings.load(path)
    rows = "".join(f"{k / 1e4:.4f}\t{a}\t{b}\n" for k, (a, b) in enumerate(played.T))
    head = 'ATF\t1.0\n1\t3\n"Signals="\t"IN 0"\t"IN 0"\n"Time (s)"\t"Trace #1 (pA)"\t"Trace #2 (pA)"\n'
    beside = path.with_name("wave.atf")
    beside.write_text(head + rows)
    np.testing.assert_allclose(hh.recordings.load(path).current, 10 + 2 * played)
    write(path, V, source=2, file="wave.atf", i2724=2)  # the second of its sweeps for all
    np.testing.assert_allclose(hh.recordings.load(path).current, 10 + 2 * played[[1, 1]])
    write(path, V[[0, 1, 0]], source=2, file="wave.atf")
    with pytest.raises(ValueError, match="^x.abf has 3 sweeps, but 'wave.atf', .* has 2"):
        hh.recordings.load(path)
    beside.write_text("no such thing")
    with pytest.raises(ValueError, match="^x.abf takes its command from 'wave.atf', which is damaged"):
        hh.recordings.load(path)


@pytest.mark.parametrize(
    "how, message",
    [
        ({"command": ""}, "got inputs in mV and commands in no unit, mV"),
        ({"unit": ""}, "got inputs in no unit and commands in pA, mV"),
        ({"epochs": [(9, 1.0, 0.0, 100, 0)]}, "command that pyABF does not read, in sweep 0"),
        ({"source": 7}, "command of an unknown kind, 7"),
        ({"h100": 2}, "_nDataFormat=2 is invalid"),
        ({"i10": 10**9}, "its header speaks of 1000000000 samples"),
        ({"i16": -1}, "its header speaks of 1280 samples in -1 sweeps"),
        ({"i48": 10**9}, "its header speaks of"),
        ({"h120": 0}, ""),
        ({"i252": 0}, ""),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning:pyabf")
def test_what_cannot_be_read_is_refused(path, how, message):
    with pytest.raises(ValueError, match=f"^x.abf .*{message}"):
        hh.recordings.load(write(path, **how))


def test_damaged_files_are_refused_by_name(path):
    content = write(path).read_bytes()
    for damaged in (b"", b"ABF ", b"no such thing", content[:3000], content[:-800], b"ABF2" + content[4:]):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="^x.abf cannot be read as a recording"):
            hh.recordings.load(path)


def test_voltage_clamp(path):
    """A current in pA under steps of the command in mV, of which the second is 20 mV higher."""
    write(path, V, unit="pA", command="mV", holding=-80.0, epochs=[(1, -40.0, 20.0, 100, 0)])
    recording = hh.recordings.load(path)
    assert isinstance(recording, hh.VoltageClampRecording) and recording.current_unit == "pA"
    np.testing.assert_allclose(recording.current, V, atol=0.01)
    np.testing.assert_array_equal(recording.V[:, 0], -80.0)
    np.testing.assert_array_equal(recording.V[:, 640 // 64 + 50], [-40.0, -20.0])
    assert recording.dt == pytest.approx(0.1) and recording.leak_pulses == 0
    with pytest.raises(
        ValueError, match="^x.abf is no current-clamp recording: .* inputs in pA and commands in mV"
    ):
        hh.recordings.load(path, clamp="current")
    write(path, V, unit="pA", command="mV", holding=-80.0)  # of synaptic currents: nothing is missing
    np.testing.assert_array_equal(hh.recordings.load(path).V, np.full(V.shape, -80.0))
    write(path, V, unit="pA", command="mV", h3360=1)
    with pytest.raises(ValueError, match="^x.abf does not hold the command: a user list"):
        hh.recordings.load(path)


def shared():
    if not SHARED.exists():
        pytest.skip("the recording is not in the checkout's neighbour shared/")
    return bytearray(SHARED.read_bytes())


def test_the_real_recording():
    """16 sweeps of 3 s at 20 kHz in steps of 10 pA, as pyABF's own header has it."""
    shared()
    recording = hh.recordings.load(SHARED)
    assert recording.V.shape == recording.current.shape == (16, 60_000)
    assert recording.dt == pytest.approx(0.05) and recording.current_unit == "pA"
    assert recording.held and recording.current_known
    # The first command runs from 146.8 to 646.8 ms, at −50 to 100 pA in steps of 10.
    np.testing.assert_array_equal(recording.current[:, 3000], np.arange(-50, 101, 10))
    assert recording.current[15, 2900] == 0.0 and recording.current[15, 12_940] == 0.0
    assert -115 < recording.V.min() < -110 and 35 < recording.V.max() < 45


def test_the_real_recording_without_its_command(path):
    """As if the current had come from another program: the output, 1536 bytes into the file, is off."""
    content = shared()
    struct.pack_into("<f", content, 1536 + 12, -20.0)
    struct.pack_into("<h", content, 1536 + 40, 0)
    path.write_bytes(content)
    with pytest.warns(UserWarning, match="x.abf: the current that was injected is not in the file"):
        recording = hh.recordings.load(path)
    assert not recording.current_known and (recording.current == -20.0).all()
    struct.pack_into("<hh", content, 1536 + 40, 1, 2)
    path.write_bytes(content)
    with pytest.raises(ValueError, match="^x.abf takes its command from the file '', which is not there"):
        hh.recordings.load(path)


def test_the_real_recording_damaged(path):
    content = shared()
    for damaged in (content[:700], content[:100_000], content[:8] + bytes(500) + content[508:]):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="^x.abf cannot be read"):
            hh.recordings.load(path)


def test_the_real_recording_as_if_in_voltage_clamp(path):
    """With the units of input and command exchanged, and a P/4 leak subtraction in the header."""
    content = shared()
    strings = content.index(b"\0mV\0"), content.index(b"\0pA\0")
    for at, unit in zip(strings, (b"\0pA\0", b"\0mV\0")):
        content[at : at + 4] = unit
    struct.pack_into("<hhf", content, 1536 + 92, 1, -1, -90.0)
    struct.pack_into("<h", content, 1536 + 104, 4)
    path.write_bytes(content)
    with pytest.warns(UserWarning, match="x.abf: the header says that a P/-4 leak subtraction from -90 mV"):
        recording = hh.recordings.load(path)
    assert isinstance(recording, hh.VoltageClampRecording)
    assert (recording.leak_pulses, recording.leak_holding) == (-4, -90.0)
    np.testing.assert_array_equal(recording.V[:, 3000], np.arange(-50, 101, 10))
