"""Recordings in NWB files, in the layouts that the documentation of PyNWB shows."""

from datetime import datetime, timezone

import numpy as np
import pytest

import hhjax as hh

pytestmark = pytest.mark.filterwarnings("error:x.nwb")

RATE = 2000.0  # Hz
TS = np.arange(8) * 0.5
CURRENT = np.arange(24.0).reshape(3, 8) + 1  # pA
V = -60.0 - np.arange(24.0).reshape(3, 8)  # mV


class Writer:
    """A file of series in volts and ampere, as NWB has them."""

    def __init__(self):
        from pynwb import NWBFile

        start = datetime(2026, 1, 1, tzinfo=timezone.utc)
        self.file = NWBFile(session_description="test", identifier="1", session_start_time=start)
        device = self.file.create_device(name="amplifier", description="none")
        self.electrodes = [
            self.file.create_icephys_electrode(name=f"electrode{k}", description="patch", device=device)
            for k in range(2)
        ]

    def series(self, kind, name, data, electrode=0, **how):
        from pynwb import icephys

        scale = 1e-12 if kind in ("CurrentClampStimulus", "VoltageClamp") else 1e-3
        how = ({} if "timestamps" in how else {"rate": RATE}) | how
        make = getattr(icephys, kind + "Series")
        return make(name=name, data=data, conversion=scale, electrode=self.electrodes[electrode], **how)

    def response(self, name, data, *, add=True, kind="CurrentClamp", **how):
        made = self.series(kind, name, data, **how)
        if add:
            self.file.add_acquisition(made)
        return made

    def stimulus(self, name, data, *, add=True, kind="CurrentClampStimulus", **how):
        made = self.series(kind, name, data, **how)
        if add:
            self.file.add_stimulus(made)
        return made

    def sweeps(self, how):
        """Three sweeps; `how(k)` says what else their series have."""
        for k in range(3):
            self.stimulus(f"stimulus{k}", CURRENT[k], **how(k))
        for k in (2, 0, 1):
            self.response(f"response{k}", V[k], **how(k))

    def row(self, stimulus=None, response=None, electrode=0, **ranges):
        return self.file.add_intracellular_recording(
            electrode=self.electrodes[electrode], stimulus=stimulus, response=response, **ranges
        )


@pytest.fixture
def load(tmp_path):
    """What hhjax reads in a file that a function fills."""
    pytest.importorskip("pynwb")

    def load(fill, **how):
        from pynwb import NWBHDF5IO

        writer = Writer()
        fill(writer)
        with NWBHDF5IO(str(tmp_path / "x.nwb"), "w") as io:
            io.write(writer.file)
        return hh.recordings.load(tmp_path / "x.nwb", **how)

    return load


def check(recording, current=CURRENT, voltage=V, dt=0.5):
    np.testing.assert_allclose(recording.current, current, rtol=1e-9)
    np.testing.assert_allclose(recording.V, voltage, rtol=1e-9)
    np.testing.assert_allclose(recording.ts, dt * np.arange(np.shape(voltage)[1]), rtol=1e-9)
    assert recording.current_unit == "pA" and recording.name == "x.nwb"
    assert recording.held and recording.current_known


def test_a_table_pairs_stimuli_and_responses(load):
    """The tables of the tutorial on intracellular electrophysiology, with a voltage clamp among them."""

    def fill(w):
        rows = [
            w.row(w.stimulus(f"s{k}", CURRENT[k], add=False), w.response(f"r{k}", V[k], add=False))
            for k in (2, 0, 1)
        ]
        rows.append(
            w.row(
                w.stimulus("vs", V[0], add=False, kind="VoltageClampStimulus"),
                w.response("vr", CURRENT[0], add=False, kind="VoltageClamp"),
            )
        )
        both = [w.file.add_icephys_simultaneous_recording(recordings=[row]) for row in rows]
        order = w.file.add_icephys_sequential_recording(simultaneous_recordings=both, stimulus_type="square")
        run = w.file.add_icephys_repetition(sequential_recordings=[order])
        w.file.add_icephys_experimental_condition(repetitions=[run])

    check(load(fill), CURRENT[[2, 0, 1]], V[[2, 0, 1]])


def test_voltage_clamp(load):
    """Commands in volts and currents in ampere, beside a sweep in current clamp."""

    def fill(w, other=True):
        for k in range(3):
            w.stimulus(f"vs{k}", V[k], kind="VoltageClampStimulus", sweep_number=k)
            w.response(f"vr{k}", CURRENT[k], kind="VoltageClamp", sweep_number=k)
        if other:
            w.stimulus("s", CURRENT[0], sweep_number=7)
            w.response("r", V[0], sweep_number=7)

    for recording in (load(lambda w: fill(w, False)), load(fill, clamp="voltage")):
        assert isinstance(recording, hh.VoltageClampRecording)
        np.testing.assert_allclose(recording.V, V, rtol=1e-9)
        np.testing.assert_allclose(recording.current, CURRENT, rtol=1e-9)
        assert recording.current_unit == "pA" and recording.dt == pytest.approx(0.5)
    check(load(fill), CURRENT[:1], V[:1])
    with pytest.raises(ValueError, match="x.nwb has no current-clamp sweeps: it needs CurrentClampSeries"):
        load(lambda w: fill(w, False), clamp="current")


def test_rows_of_a_table_may_be_ranges_of_a_long_series(load):
    def fill(w):
        stimulus = w.stimulus("s", np.concatenate([np.full(3, 77.0), CURRENT.ravel()]), starting_time=1.0)
        response = w.response("r", V.ravel(), starting_time=1.0 + 3 / RATE)
        for k in range(3):
            at = {"stimulus_start_index": 8 * k + 3, "stimulus_index_count": 8}
            w.row(stimulus, response, response_start_index=8 * k, response_index_count=8, **at)

    check(load(fill))


def test_ranges_of_one_series_begin_when_their_first_sample_does(load):
    """The response of each row begins two samples after its stimulus."""

    def fill(w):
        stimulus, response = w.stimulus("s", CURRENT.ravel()), w.response("r", V.ravel())
        for k in range(2):
            at = {"stimulus_start_index": 8 * k, "stimulus_index_count": 10}
            w.row(stimulus, response, response_start_index=8 * k + 2, response_index_count=8, **at)

    flat = np.stack([np.arange(2, 10), np.arange(10, 18)])
    check(load(fill), CURRENT.ravel()[flat], V.ravel()[flat])


def test_a_table_may_use_a_stimulus_again(load):
    def fill(w):
        stimulus, response = w.stimulus("s", CURRENT[0]), w.response("r", V.ravel())
        for k in range(3):
            at = {"stimulus_start_index": 0, "stimulus_index_count": 8}
            w.row(stimulus, response, response_start_index=8 * k, response_index_count=8, **at)

    with pytest.warns(UserWarning, match="x.nwb: stimulus and response, of which one has no starting time"):
        check(load(fill), CURRENT[[0, 0, 0]])


def test_a_response_without_a_stimulus_is_passed_over_by_name(load):
    def fill(w):
        w.row(w.stimulus("s", CURRENT[0]), w.response("r", V[0]))
        w.row(None, w.response("lone", V[1]))
        w.response("single", V[2], electrode=1)

    with pytest.warns(UserWarning, match="x.nwb: there is no stimulus.*: 'lone', 'single'"):
        check(load(fill), CURRENT[:1], V[:1])


def test_sweep_numbers_pair_what_no_table_names(load):
    check(load(lambda w: w.sweeps(lambda k: {"sweep_number": np.uint64(k)})))


@pytest.mark.parametrize("gap", [0.0, 0.7], ids=["at once", "later"])
def test_without_sweep_numbers_the_times_pair(load, gap):
    """As PyNWB writes by default."""
    check(load(lambda w: w.sweeps(lambda k: {"starting_time": 3.1 + k * (8 / RATE + gap)})))


def test_each_electrode_has_its_own_stimulus(load):
    def fill(w):
        for k in range(2):
            w.response(f"r{k}", V[k], electrode=k, sweep_number=np.uint64(0))
            w.stimulus(f"s{k}", CURRENT[k], electrode=k, sweep_number=np.uint64(0))

    with pytest.warns(UserWarning, match="2 electrodes, 'electrode0': 0; 'electrode1': 1"):
        check(load(fill), CURRENT[:2], V[:2])


@pytest.mark.parametrize("numbers", [{}, {"sweep_number": np.uint64(4)}], ids=["no numbers", "one number"])
def test_stimuli_that_cannot_be_told_apart_are_refused(load, numbers):
    with pytest.raises(
        ValueError, match="^x.nwb .*the stimulus of 'response0' may be any of 'stimulus0', 'st"
    ):
        load(lambda w: w.sweeps(lambda k: numbers))


def test_responses_that_cannot_be_told_apart_are_refused(load):
    def fill(w):
        w.stimulus("s", CURRENT[0])
        w.response("a", V[0])
        w.response("b", V[1])

    with pytest.raises(ValueError, match="the stimulus 's' may belong to 'a' or 'b'"):
        load(fill)


def test_a_long_stimulus_serves_every_response_within(load):
    def fill(w):
        w.stimulus("s", CURRENT.ravel(), starting_time=2.0)
        for k in range(3):
            w.response(f"r{k}", V[k], starting_time=2.0 + 8 * k / RATE)

    check(load(fill))


@pytest.mark.parametrize("stamped", ["both", "stimulus", "response"])
def test_even_time_stamps_are_a_rate(load, stamped):
    ts = 5.0 + TS / 1e3

    def fill(w):
        how = lambda who: {"timestamps": ts} if stamped in ("both", who) else {"starting_time": 5.0}
        w.stimulus("s", CURRENT[0], **how("stimulus"))
        w.response("r", V[0], **how("response"))

    check(load(fill), CURRENT[:1], V[:1])


def test_time_stamps_may_be_those_of_another_series(load):
    def fill(w):
        response = w.response("r", V[0], timestamps=5.0 + TS / 1e3)
        w.stimulus("s", CURRENT[0], timestamps=response)

    check(load(fill), CURRENT[:1], V[:1])


@pytest.mark.parametrize("ts", [[0, 0.1, 0.2, 0.7, 0.8, 0.9, 1.0, 1.1], [0, 1, 2, 3, 3, 4, 5, 6]])
def test_uneven_time_stamps_are_refused(load, ts):
    def fill(w):
        w.stimulus("s", CURRENT[0], timestamps=np.array(ts) / 1e3)
        w.response("r", V[0], timestamps=np.array(ts) / 1e3)

    with pytest.raises(ValueError, match="^x.nwb .*'[rs]' has uneven time stamps"):
        load(fill)


def test_a_gap_between_ranges_is_none_within_them(load):
    ts = np.concatenate([TS, 100 + TS, 200 + TS]) / 1e3

    def fill(w):
        stimulus = w.stimulus("s", CURRENT.ravel(), timestamps=ts)
        response = w.response("r", V.ravel(), timestamps=ts)
        for k in range(3):
            at = {"stimulus_start_index": 8 * k, "stimulus_index_count": 8}
            w.row(stimulus, response, response_start_index=8 * k, response_index_count=8, **at)

    check(load(fill))


def test_a_slower_stimulus_is_held(load):
    """At half the rate: each value for two samples of the response."""

    def fill(w):
        w.stimulus("s", CURRENT[0, :4], rate=RATE / 2, starting_time=7.0)
        w.response("r", V[0], starting_time=7.0)

    with pytest.warns(UserWarning, match="x.nwb: the stimulus was averaged between samples.*: 'r'"):
        check(load(fill), [np.repeat(CURRENT[0, :4], 2)], V[:1])


def test_a_faster_stimulus_keeps_its_charge(load):
    """At three times the rate, and half a sample late: means of the halves that lie in each interval."""
    fine = np.arange(1.0, 28.0) ** 2

    def fill(w):
        w.stimulus("s", fine, rate=3 * RATE, starting_time=7.0)
        w.response("r", V[0], starting_time=7.0 + 0.5 / RATE)

    halves = np.repeat(fine, 2)[3:]  # sixths of a sample, from the first of the response on
    with pytest.warns(UserWarning, match="averaged"):
        check(load(fill), [halves[:48].reshape(8, 6).mean(axis=1)], V[:1])


def test_starting_times_that_differ_by_whole_samples_shift(load):
    def fill(w):
        w.stimulus("s", np.concatenate([[55.0, 66.0], CURRENT[0]]), starting_time=7.0)
        w.response("r", V[0], starting_time=7.0 + 2 / RATE)

    check(load(fill), CURRENT[:1], V[:1])


def test_a_stimulus_that_begins_late_cuts_the_response(load):
    def fill(w):
        w.stimulus("s", CURRENT[0], starting_time=7.0 + 2 / RATE)
        w.response("r", V[0], starting_time=7.0)

    with pytest.warns(UserWarning, match="cut to what both have for: 'r'"):
        check(load(fill), CURRENT[:1, :6], V[:1, 2:])


def test_a_stimulus_of_another_time_is_refused(load):
    def fill(w):
        w.row(w.stimulus("s", CURRENT[0], starting_time=9.0), w.response("r", V[0], starting_time=7.0))

    with pytest.raises(
        ValueError, match="'s' from 9000 ms on covers 0 of the 8 samples of 'r' from 7000 ms on"
    ):
        load(fill)


def test_what_was_stopped_early_is_cut_for_all_sweeps(load):
    """A stimulus that ends in NaN, and a response a sample short."""

    def fill(w):
        number = lambda k: {"sweep_number": np.uint64(k)}
        stimuli, responses = list(CURRENT.copy()), list(V)
        stimuli[0][6:] = np.nan
        responses[1] = V[1, :7]
        for k in range(3):
            w.stimulus(f"s{k}", stimuli[k], **number(k))
            w.response(f"r{k}", responses[k], **number(k))

    with pytest.warns(UserWarning) as warned:
        check(load(fill), CURRENT[:, :6], V[:, :6])
    said = [str(x.message) for x in warned if "x.nwb" in str(x.message)]
    assert any("cut to what both have for: 'r0', 'r1'" in x for x in said)
    assert any("cut to the 6 samples that all have" in x for x in said)


def test_missing_samples_within_a_stimulus_are_refused_and_those_of_v_kept(load):
    stimulus, response = CURRENT[0].copy(), V[0].copy()
    response[[3, 7]] = np.nan

    def fill(w):
        w.stimulus("s", stimulus)
        w.response("r", response)

    check(load(fill), CURRENT[:1], response[None])
    stimulus[3] = np.nan
    with pytest.raises(ValueError, match="^x.nwb .*'s' must be finite but for its end"):
        load(fill)


def test_a_bias_current_is_added(load):
    def fill(w):
        w.stimulus("s", CURRENT[0])
        w.response("r", V[0], bias_current=-12e-12)

    with pytest.warns(UserWarning, match="x.nwb: a bias current of -12 pA was added to the stimulus"):
        check(load(fill), CURRENT[:1] - 12, V[:1])


def test_offset_and_conversion_are_those_of_each_series(load):
    def fill(w):
        w.stimulus("s", CURRENT[0], offset=3e-12)
        w.response("r", V[0], offset=-0.01)

    check(load(fill), CURRENT[:1] + 3, V[:1] - 10)


def test_other_series_are_passed_over(load):
    from pynwb import TimeSeries

    def fill(w):
        w.sweeps(lambda k: {"sweep_number": np.uint64(k)})
        w.file.add_acquisition(TimeSeries(name="temperature", data=np.ones(5), unit="°C", rate=1.0))
        w.file.add_stimulus(TimeSeries(name="light", data=np.ones(5), unit="W", timestamps=np.arange(5.0)))
        w.response("rest", V[0, :3], kind="IZeroClamp")
        w.response("vr", CURRENT[0], kind="VoltageClamp", sweep_number=np.uint64(0))
        w.stimulus("vs", V[0], kind="VoltageClampStimulus", sweep_number=np.uint64(0))

    check(load(fill))


def test_a_file_of_rest_alone_has_no_current(load):
    check(load(lambda w: w.response("rest", V[0], kind="IZeroClamp")), np.zeros((1, 8)), V[:1])


def test_sweeps_that_do_not_go_together_are_refused(load):
    def fill(longer, rate):
        def fill(w):
            for k, (length, how) in enumerate([(8, {}), (8 + longer, {"rate": rate})]):
                both = {"sweep_number": np.uint64(k)} | how
                w.stimulus(f"s{k}", np.ones(length), **both)
                w.response(f"r{k}", np.ones(length), **both)

        return fill

    with pytest.raises(ValueError, match=r"x.nwb has sweeps of different lengths, \[8, 16\] samples"):
        load(fill(8, RATE))
    with pytest.raises(
        ValueError, match=r"x.nwb has sweeps with different sampling intervals: \[0.5, 1.0\] ms"
    ):
        load(fill(0, RATE / 2))
    with pytest.raises(
        ValueError, match="x.nwb has no clamp sweeps: .* CurrentClampSeries .* or VoltageClamp"
    ):
        load(lambda w: w.response("vr", CURRENT[0], kind="VoltageClamp"))
