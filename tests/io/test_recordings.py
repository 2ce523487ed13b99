"""Recordings: the container, and reading files."""

import numpy as np
import pytest

import hhjax as hh

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
    held = hh.Recording(TS, CURRENT, V, held=True, current_known=False)
    np.testing.assert_array_equal(held.every(2).current[0], [0.5, 2.5, 4.5])  # from each sample to the next
    np.testing.assert_array_equal(held.every(4).current[0], [1.5, 4.75])  # the last value holds on
    for part in (held[0], held.between(1.0, 2.0), held.every(2), held.as_neurons()):
        assert part.held and not part.current_known


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
        ((TS, CURRENT, V, "pA", "x", "yes"), "`held` must be True or False, got 'yes'"),
        ((TS, CURRENT, V, "pA", "x", True, None), "`current_known` must be True or False, got None"),
    ],
)  # fmt: skip
def test_a_recording_that_does_not_fit_is_refused(as_users_run_it, arguments, message):
    with pytest.raises(ValueError, match=message):
        hh.Recording(*arguments)


def test_other_files_are_refused(tmp_path):
    with pytest.raises(ValueError, match="`path` must end in one of .abf, .nwb, .csv, got 'x.txt'"):
        hh.recordings.load("x.txt")
    with pytest.raises(FileNotFoundError, match="`path` does not exist"):
        hh.recordings.load(tmp_path / "x.abf")


@pytest.mark.parametrize("suffix", [".abf", ".nwb", ".csv"])
@pytest.mark.parametrize(
    "content", [b"", b"\0" * 99, b"no such thing", bytes(range(256)) * 9, b"\xff\xfe\x00"]
)
def test_damaged_files_are_refused_by_name(tmp_path, suffix, content):
    path = tmp_path / f"x{suffix}"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"^x{suffix} "):
        hh.recordings.load(path)


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


ROWS = [[0.0, 0.5, 1.0], [10.0, 20.0, 30.0], [-60.5, -61.0, -62.25]]  # ms, pA, mV


@pytest.mark.parametrize(
    "head, factors",
    [
        ("time_ms,current_pA,voltage_mV", (1, 1, 1)),
        ("t [s];Vm [mV];I [pA]", (1e-3, 1, 1)),
        ("V/V,t/ms,I/nA", (1, 1e-3, 1e-3)),
        ("Time (msec)\tCommand (A)\tsweep A (mV)", (1, 1e-12, 1)),
        ("t_s\tI_A\tV_V", (1e-3, 1e-12, 1e-3)),
        ("t / ms,I uA,Vm mV", (1, 1e-6, 1)),
        ("t (µs),I (mA),V [uV]", (1e3, 1e-9, 1e3)),
        ('"time [ms]","I [pA]","V [mV]"', (1, 1, 1)),
    ],
)
def test_names_and_units_of_csv_columns(tmp_path, head, factors):
    delimiter = next((d for d in "\t;" if d in head), ",")
    order = {"V": 2, "s": 2, "v": 2, "t": 0, "T": 0, "c": 1, "C": 1, "I": 1}
    columns = [order[name.strip('" ')[0]] for name in head.split(delimiter)]
    lines = [delimiter.join(repr(ROWS[k][row] * factors[k]) for k in columns) for row in range(3)]
    (tmp_path / "x.csv").write_text("\n".join([head, *lines]))
    recording = hh.recordings.load(tmp_path / "x.csv")
    for found, expected in zip((recording.ts, recording.current[0], recording.V[0]), ROWS):
        np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert recording.current_unit == "pA" and not recording.held


@pytest.mark.parametrize("unit", ["µA/cm²", "uA/cm2", "μA/cm^2", "uA cm-2", "µA·cm⁻²", "uA_cm2"])
def test_current_densities_in_csv_files(tmp_path, unit):
    (tmp_path / "x.csv").write_text(f"t (ms),current_{unit},V (mV)\n0,1,-60\n1,2,-61\n", encoding="utf-8")
    assert hh.recordings.load(tmp_path / "x.csv").current_unit == "µA/cm²"
    (tmp_path / "x.csv").write_text(f"t (ms),I ({unit}),V (mV)\n0,1,-60\n1,2,-61\n", encoding="utf-8")
    assert hh.recordings.load(tmp_path / "x.csv").current_unit == "µA/cm²"


GERMAN = "t [ms];I [pA];V [mV]\n0,0;10,0;-60,5\n0,5;20,0;-61,0\n1,0;30,0;-62,25\n"


@pytest.mark.parametrize(
    "text",
    [
        GERMAN,
        GERMAN.replace(";", "\t"),
        GERMAN.replace("\n", ";\n"),
        GERMAN.replace("\n", ";;\r\n"),
        GERMAN.replace("25\n", "25;\n"),
        GERMAN.replace("\n", "\r"),
        '"t [ms]","I [pA]","V [mV]",\n"0,0","10,0","-60,5",\n"0,5","20,0","-61,0",\n"1,0","30,0","-62,25",\n',
        "# of a cell, patched\n\n" + GERMAN.replace(",", ".").replace(";", " , "),
        '"# of a cell"\n' + GERMAN,
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "latin-1"])
def test_separators_decimals_and_encodings_of_csv_files(tmp_path, text, encoding):
    (tmp_path / "x.csv").write_bytes(text.encode(encoding))
    recording = hh.recordings.load(tmp_path / "x.csv")
    for found, expected in zip((recording.ts, recording.current[0], recording.V[0]), ROWS):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("unit, scale", [("ms", 1.0), ("s", 1e-3)])
@pytest.mark.parametrize("digits", [2, 3, 6])
@pytest.mark.parametrize("cut", [round, lambda t, digits: np.floor(t * 10**digits) / 10**digits])
def test_times_rounded_in_their_last_digit_are_even(tmp_path, unit, scale, digits, cut):
    """Sampling at 30 kHz."""
    exact = 250.0 + np.arange(3001) / 30
    digits += 3 * (unit == "s")
    rows = "".join(f"{cut(t * scale, digits):.{digits}f},1,-60\n" for t in exact)
    (tmp_path / "x.csv").write_text(f"t ({unit}),I (pA),V (mV)\n{rows}")
    np.testing.assert_allclose(hh.recordings.load(tmp_path / "x.csv").ts, exact, atol=10.0**-digits / scale)


@pytest.mark.parametrize(
    "ts",
    ["0.0 0.1 0.2 0.7 0.8", "0 1 2 4 5", "0.0 0.1 0.1 0.2 0.3", "0.0 0.5 1.1 1.5", "0.03 0.07 0.1 0.17 0.2"],
)
def test_uneven_times_are_refused(tmp_path, ts):
    (tmp_path / "x.csv").write_text("t (ms),I (pA),V (mV)\n" + "".join(f"{t},1,-60\n" for t in ts.split()))
    with pytest.raises(ValueError, match="^x.csv .*`ts` must increase in even steps"):
        hh.recordings.load(tmp_path / "x.csv")


@pytest.mark.parametrize(
    "text, message",
    [
        ("0,1,-60\n1,1,-60\n", "x.csv must begin with names and units of its columns, .* got '0,1,-60'"),
        ("", "x.csv must begin with names"),
        ("time (ms),V (mV),cell A\n0,1,2\n", "x.csv must begin with names"),
        ("time (ms),time (s),I (pA),V (mV)\n0,0,1,2\n", "x.csv must begin with names"),
        ("time (ms),I (pA)\n0,1\n", "x.csv must begin with names"),
        ("t (ms);I (pA);V (mV)\n0,5;1.5;-60\n", "x.csv has numbers with points and with commas"),
        ("t (ms);I (pA);V (mV)\n0;1.234,5;-60\n", "x.csv, line 2, holds what is no number"),
        ("t (ms),I (pA),V (mV)\n0,1,-60\n1,1,-60,7\n", "x.csv, line 3, must have 3 cells, got 4"),
        ("t (ms),I (pA),V (mV)\nnan,1,-60\n1,1,-60\n", "`ts` must increase"),
        ("time (ms),I (pA),J (pA),V (mV)\n0,1,2,3\n", "one current for all sweeps or one for each"),
        ("time (ms),I (pA),J (uA/cm2),V (mV),W (mV)\n", "currents in different units: pA, µA/cm²"),
        ("time (ms),I (pA),V (mV)\n0,1,-60\n1,x,-60\n", "x.csv, line 3, holds what is no number: '1,x,-60'"),
        ("s,pA,V\n0,1,-60\n", "x.csv must begin with names"),
        ("time (ms),I (pA),V (mV)\n0,1,-60\n1,-60\n", "x.csv, line 3, must have 3 cells, got 2"),
        ("time (ms),I (pA),V (mV)\n0,1,-60\n", "`ts` must have shape"),
        ("time (ms),I (pA),V (mV)\n0,,-60\n1,2,-60\n", "`current` must be finite"),
    ],
)  # fmt: skip
def test_csv_files_of_another_layout_are_refused(tmp_path, text, message):
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(ValueError, match="^x.csv(?s:.*)" + message.removeprefix("x.csv")):
        hh.recordings.load(tmp_path / "x.csv")


def test_features_of_a_recording():
    """Steps of −20, 0 and 20 pA from 10 to 20 ms, the last with a spike at 15 ms."""
    ts = np.arange(0, 30.0, 0.05)
    during = (ts >= 10) & (ts < 20)
    current = during * np.array([[-20.0], [0.0], [20.0]])
    V = -65 + 0.1 * np.roll(current, 1, axis=1)  # the sample at a change is still the one before
    V[2] += 100 * np.exp(-(((ts - 15) / 0.5) ** 2) / 2)
    recording = hh.Recording(ts, current, V, "pA", held=True)
    features = recording.features()
    assert (features.start, features.stop) == (pytest.approx(10.0), pytest.approx(20.0))
    np.testing.assert_allclose(features.amplitude[:, 0], [-20, 0, 20])
    np.testing.assert_array_equal(features["count"][:, 0], [0, 0, 1])
    np.testing.assert_allclose(features["input_resistance"][:, 0], [100.0, np.nan, np.nan], rtol=1e-9)
    np.testing.assert_allclose(features["latency"][:, 0], [np.nan, np.nan, 5.0], atol=1e-6)
    lines = str(features).splitlines()
    assert lines[1].split()[:4] == ["sweep", "step", "count", "rate"] and lines[2].split()[0] == "pA"
    assert lines[5].split()[:3] == ["2", "20", "1"]
    assert "not in these sweeps: adaptation" in lines[-1]
    early = recording.features(start=12.0, stop=14.0)
    assert early["count"].sum() == 0 and np.isnan(early["input_resistance"]).all()
    none = hh.Recording(ts, 0 * current, V).features()
    assert np.isnan(none["rest"]).all() and none["count"][2, 0] == 1
    # 0.1 mV for 1 µA/cm² are 100 Ω·cm².
    density = hh.Recording(ts, current, V, held=True).features()
    assert density["input_resistance"][0, 0] == pytest.approx(100.0) and "Ω·cm²" in str(density)
    with pytest.raises(ValueError, match="`start` = 40 and `stop` = 50 ms of a step must hold samples"):
        recording.features(start=40.0, stop=50.0)
