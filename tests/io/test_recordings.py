"""Recordings: the container, and reading files."""

from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest

import hhjax as hh

SHARED = Path(__file__).parents[2] / "shared" / "recordings" / "17o05028_ic_steps.abf"
TS = np.arange(6) * 0.5
CURRENT = np.arange(12.0).reshape(2, 6)
V = -60.0 - np.arange(12.0).reshape(2, 6)


def test_parts_of_a_recording():
    recording = hh.Recording(TS, CURRENT, V, "pA", "mine")
    assert len(recording) == 2 and recording.dt == 0.5
    np.testing.assert_array_equal(recording[1].V, V[1:])
    np.testing.assert_array_equal(recording.between(1.0, 2.0).ts, [1.0, 1.5, 2.0])
    half = recording.every(2)
    np.testing.assert_array_equal(half.V, V[:, ::2])
    np.testing.assert_allclose(half.current[0], [0.25, 2.0, 4.0])  # weights 1/4, 1/2, 1/4; held at the ends
    neurons = recording.as_neurons()
    assert neurons.V.shape == neurons.current.shape == (1, 6, 2) and neurons.current_unit == "pA"
    np.testing.assert_array_equal(neurons.V[0, :, 1], V[1])
    with pytest.raises(ValueError):
        recording.V[0, 0] = 0.0


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((TS, CURRENT, V[:, :-1]), r"`V` must have shape \(sweeps, 6\)"),
        ((TS, CURRENT[:1], V), r"`current` must have shape \(2, 6\)"),
        ((TS**2, CURRENT, V), "`ts` must increase in even steps"),
        ((TS, CURRENT * np.nan, V), "`current` must be finite"),
        ((TS, CURRENT, np.full(V.shape, np.inf)), "`V` must be finite or, where it is missing, NaN"),
        ((TS, CURRENT, V, "nA"), "`current_unit` must be 'pA' or 'µA/cm²', got 'nA'"),
        ((TS[:1], CURRENT, V), "`ts` must have shape"),
    ],
)  # fmt: skip
def test_a_recording_that_does_not_fit_is_refused(as_users_run_it, arguments, message):
    with pytest.raises(ValueError, match=message):
        hh.Recording(*arguments)


def test_the_real_recording():
    """16 sweeps of 3 s at 20 kHz in steps of 10 pA, as pyABF's own header has it."""
    if not SHARED.exists():
        pytest.skip("the recording is not in the checkout's neighbour shared/")
    recording = hh.recordings.load(SHARED)
    assert recording.V.shape == recording.current.shape == (16, 60_000)
    assert recording.dt == pytest.approx(0.05) and recording.current_unit == "pA"
    # The first command runs from 146.8 to 646.8 ms, at −50 to 100 pA in steps of 10.
    np.testing.assert_array_equal(recording.current[:, 3000], np.arange(-50, 101, 10))
    assert recording.current[15, 2900] == 0.0 and recording.current[15, 12_940] == 0.0
    assert -115 < recording.V.min() < -110 and 35 < recording.V.max() < 45


def write_nwb(path, table):
    """Two sweeps at 2 kHz, V in volts and the current in ampere, as NWB has them."""
    from pynwb import NWBFile, NWBHDF5IO
    from pynwb.icephys import CurrentClampSeries, CurrentClampStimulusSeries

    start = datetime(2026, 1, 1, tzinfo=timezone.utc)
    file = NWBFile(session_description="test", identifier="1", session_start_time=start)
    device = file.create_device(name="amplifier", description="none")
    electrode = file.create_icephys_electrode(name="electrode", description="patch", device=device)
    for sweep in (1, 0):  # written in the wrong order
        common = dict(rate=2000.0, electrode=electrode, gain=1.0, sweep_number=np.uint64(sweep))
        response = CurrentClampSeries(name=f"response{sweep}", data=V[sweep] / 1e3, **common)
        stimulus = CurrentClampStimulusSeries(
            name=f"stimulus{sweep}", data=CURRENT[sweep], conversion=1e-12, **common
        )
        if table:
            file.add_intracellular_recording(electrode=electrode, stimulus=stimulus, response=response)
        else:
            file.add_acquisition(response)
            file.add_stimulus(stimulus)
    with NWBHDF5IO(str(path), "w") as io:
        io.write(file)


@pytest.mark.parametrize("table", [True, False], ids=["table", "sweep numbers"])
@pytest.mark.filterwarnings("ignore")
def test_nwb_files(tmp_path, table):
    write_nwb(tmp_path / "x.nwb", table)
    recording = hh.recordings.load(tmp_path / "x.nwb")
    order = [1, 0] if table else [0, 1]
    np.testing.assert_allclose(recording.V, V[order], rtol=1e-12)
    np.testing.assert_allclose(recording.current, CURRENT[order], rtol=1e-12)
    np.testing.assert_allclose(recording.ts, TS, rtol=1e-12)
    assert recording.current_unit == "pA" and recording.name == "x.nwb"


def test_abf_files_without_a_command_in_ampere_are_refused(tmp_path):
    from pyabf.abfWriter import writeABF1

    writeABF1(np.zeros((2, 2000)), str(tmp_path / "x.abf"), sampleRateHz=2000, units="mV")
    with pytest.raises(ValueError, match="x.abf is no current-clamp recording: it needs an input in mV"):
        hh.recordings.load(tmp_path / "x.abf")


def test_other_files_are_refused(tmp_path):
    with pytest.raises(ValueError, match="`path` must end in one of .abf, .nwb, .csv, got 'x.txt'"):
        hh.recordings.load("x.txt")
    with pytest.raises(FileNotFoundError, match="`path` does not exist"):
        hh.recordings.load(tmp_path / "x.abf")


def test_csv_files(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("# cell 3\ntime (ms),current (pA),a (mV),b (mV)\n0,1,-60,-70\n0.5,2,,-71\n1,3,-62,nan\n")
    recording = hh.recordings.load(path)
    np.testing.assert_array_equal(recording.ts, [0.0, 0.5, 1.0])
    np.testing.assert_array_equal(recording.current, [[1, 2, 3], [1, 2, 3]])
    np.testing.assert_array_equal(recording.V, [[-60, np.nan, -62], [-70, -71, np.nan]])
    assert recording.current_unit == "pA" and recording.name == "x.csv"
    # Seconds, a current density for each sweep, volts, and numbers as a German program writes them.
    path.write_text(
        "\ufefft (s);I0 (uA/cm2);I1 (µA/cm^2);V0 (V);V1 (mV)\n0;1,5;2;-0,06;-70\n0,001;1;2;-0,07;-71\n"
    )
    recording = hh.recordings.load(path)
    np.testing.assert_allclose(recording.ts, [0.0, 1.0])
    np.testing.assert_allclose(recording.current, [[1.5, 1.0], [2.0, 2.0]])
    np.testing.assert_allclose(recording.V, [[-60, -70], [-70, -71]])
    assert recording.current_unit == "µA/cm²"
    path.write_bytes("t (ms),I (µA/cm²),V (mV)\r\n0,1,-60\r\n1,2,-61\r\n".encode("latin-1"))
    recording = hh.recordings.load(path)
    assert recording.current_unit == "µA/cm²" and recording.V.tolist() == [[-60.0, -61.0]]
    path.write_text("time [ms]\tI [nA]\tV [mV]\n0\t0.1\t-60\n1\t0.2\t-60\n")
    np.testing.assert_allclose(hh.recordings.load(path).current, [[100.0, 200.0]])


@pytest.mark.parametrize(
    "text, message",
    [
        ("0,1,-60\n1,1,-60\n", "x.csv must begin with names and units of its columns, .* got '0,1,-60'"),
        ("", "x.csv must begin with names"),
        ("time (ms),V (mV),I (pA)\n0,1,2\n", "x.csv must begin with names"),
        ("time (ms),I (pA),J (pA),V (mV)\n0,1,2,3\n", "one current for all sweeps or one for each"),
        ("time (ms),I (pA),J (nA),V (mV),W (mV)\n", "currents in different units: nA, pA"),
        ("time (ms),I (pA),V (mV)\n0,1,-60\n1,x,-60\n", "x.csv, line 3, holds what is no number: '1,x,-60'"),
        ("s,pA,V\n0,1,-60\n", "x.csv must begin with names"),
        ("time (ms),I (pA),V (mV)\n0,1,-60\n1,-60\n", "x.csv, line 3, must have 3 cells, got 2"),
        ("time (ms),I (pA),V (mV)\n0,1,-60\n", "`ts` must have shape"),
        ("time (ms),I (pA),V (mV)\n0,,-60\n1,2,-60\n", "`current` must be finite"),
    ],
)  # fmt: skip
def test_csv_files_of_another_layout_are_refused(tmp_path, text, message):
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        hh.recordings.load(tmp_path / "x.csv")
