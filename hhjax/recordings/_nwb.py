"""Recordings in Neurodata Without Borders 2."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast, NamedTuple

import numpy as np

from ._recording import assemble, check_lengths, few, is_even, note, Recording
from ._voltage_clamp import assemble_clamp, VoltageClampRecording

_PA, _MV = 1e12, 1e3  # of ampere and volt


class _Range(NamedTuple):
    """Samples of a series: from `first` on, `count` of them."""

    series: Any
    first: int
    count: int

    @property
    def label(self) -> str:
        return f"{self.series.name!r}"


class _Clock(NamedTuple):
    """When samples were taken: from `start` every `step`, ms."""

    start: float
    step: float


class _Sweep(NamedTuple):
    command: np.ndarray  # pA or, in voltage clamp, mV
    response: np.ndarray
    step: float
    length: int  # of the response, before it was cut


class _Mode(NamedTuple):
    """What an amplifier clamps, the series that go with it, and how many pA or mV their unit is."""

    name: str
    response: Any
    stimulus: Any
    of_response: float
    of_stimulus: float


def _modes(clamp: str | None) -> list[_Mode]:
    """In the order in which they are looked for."""
    from pynwb import icephys

    known = [
        _Mode("current", icephys.CurrentClampSeries, icephys.CurrentClampStimulusSeries, _MV, _PA),
        _Mode("voltage", icephys.VoltageClampSeries, icephys.VoltageClampStimulusSeries, _PA, _MV),
    ]
    return [mode for mode in known if clamp in (None, mode.name)]


class _Notes:
    """What was done to the sweeps, said once for all of them."""

    def __init__(self) -> None:
        self.alone, self.resampled, self.moved, self.cut = [], [], [], []

    def say(self, path: Path) -> None:
        for what, names in (
            ("there is no stimulus, so these responses are passed over", self.alone),
            ("the stimulus was averaged between samples, since its clock is another, for", self.resampled),
            ("stimulus and response, of which one has no starting time, begin together for", self.moved),
            ("stimulus and response were cut to what both have for", self.cut),
        ):
            if names:
                more = f" and {len(names) - 5} more" if len(names) > 5 else ""
                note(path, f"{what}: {', '.join(names[:5])}{more}.")


def read(path: Path, clamp: str | None = None) -> Recording | VoltageClampRecording:
    try:
        from pynwb import NWBHDF5IO
    except ImportError as error:
        raise ImportError("Reading .nwb needs PyNWB: pip install 'hhjax[nwb]'.") from error
    with cast(Any, NWBHDF5IO)(str(path), "r", load_namespaces=True) as io:
        file = io.read()
        for mode in _modes(clamp):
            notes = _Notes()
            if pairs := list(_pairs(file, mode, notes)):
                break
        else:
            wanted = "CurrentClampSeries with their CurrentClampStimulusSeries"
            other = wanted.replace("Current", "Voltage")
            wanted = {None: f"{wanted} or {other}", "current": wanted, "voltage": other}[clamp]
            kind = "clamp" if clamp is None else f"{clamp}-clamp"
            raise ValueError(f"{path.name} has no {kind} sweeps: it needs {wanted}.")
        sweeps = [_sweep(stimulus, response, mode, notes) for stimulus, response in pairs]
        responses = [response.series for _, response in pairs]
    steps = [sweep.step for sweep in sweeps]
    if np.ptp(steps) > 1e-6 * steps[0]:
        raise ValueError(
            f"{path.name} has sweeps with different sampling intervals: {sorted(set(steps))} ms."
        )
    check_lengths(path, [sweep.length for sweep in sweeps])
    notes.say(path)
    _say_electrodes(path, responses)
    both = [(sweep.command, sweep.response) for sweep in sweeps]
    if mode.name == "voltage":
        return assemble_clamp(path, steps[0], both)
    _say_bias(path, responses)
    return assemble(path, steps[0], both)


# Which stimulus belongs to which response


def _pairs(file: Any, mode: _Mode, notes: _Notes) -> Iterator[tuple[_Range | None, _Range]]:
    """(stimulus, response) of every sweep in this mode, in order."""
    from pynwb.icephys import IZeroClampSeries

    seen, found, silent = set(), [], []
    if file.intracellular_recordings is not None:
        table = file.intracellular_recordings.to_dataframe()
        for stimulus, response in zip(table[("stimuli", "stimulus")], table[("responses", "response")]):
            of = response.timeseries
            seen.add(id(of))
            if isinstance(of, IZeroClampSeries) and mode.name == "current":
                silent.append((None, _range(response)))
            elif isinstance(of, mode.response):
                if isinstance(stimulus.timeseries, mode.stimulus):
                    found.append((_range(stimulus), _range(response)))
                else:
                    notes.alone.append(f"{of.name!r}")
    stimuli = [x for x in file.stimulus.values() if isinstance(x, mode.stimulus)]
    others = [x for x in file.acquisition.values() if isinstance(x, mode.response) and id(x) not in seen]
    taken: list[tuple[Any, Any]] = []
    for response in sorted(others, key=lambda x: (_number(x) or 0, _begin(x), x.name)):
        if isinstance(response, IZeroClampSeries):
            silent.append((None, _whole(response)))
        elif (stimulus := _stimulus(response, stimuli)) is None:
            notes.alone.append(f"{response.name!r}")
        else:
            for of, other in taken:
                if of is stimulus and _overlap(response, other) > 0:
                    raise ValueError(
                        f"the stimulus {stimulus.name!r} may belong to {other.name!r} or {response.name!r}: "
                        f"they have its electrode and the same time. {_TELL}"
                    )
            taken.append((stimulus, response))
            found.append((_whole(stimulus), _whole(response)))
    return iter(found or silent)


def _stimulus(response: Any, stimuli: list[Any]) -> Any:
    """The stimulus of a response that no table names: by sweep number, else by time."""
    mine = [x for x in stimuli if x.electrode is response.electrode]
    if _number(response) is not None and any(_number(x) is not None for x in mine):
        mine = [x for x in mine if _number(x) == _number(response)]
        if len(mine) == 1:
            return mine[0]
    begin = _begin(response)
    together = [x for x in mine if _overlap(x, response) > 0.5 * (_end(response) - begin)]
    if len(together) > 1:
        nearest = min(abs(_begin(x) - begin) for x in together)
        step = _clock(_whole(response)).step
        together = [x for x in together if abs(_begin(x) - begin) < nearest + step / 2]
    if len(together) > 1:
        names = ", ".join(repr(x.name) for x in together)
        raise ValueError(
            f"the stimulus of {response.name!r} may be any of {names}: they have its electrode and its time. "
            + _TELL
        )
    return together[0] if together else None


_TELL = "Give them sweep numbers, starting times or a table of intracellular recordings."


def _overlap(one: Any, other: Any) -> float:
    """For how long two series were sampled at once, ms; not above 0 where they were not."""
    return min(_end(one), _end(other)) - max(_begin(one), _begin(other))


def _number(series: Any) -> int | None:
    number = getattr(series, "sweep_number", None)
    return None if number is None else int(number)


def _whole(series: Any) -> _Range:
    return _Range(series, 0, len(series.data))


def _range(reference: Any) -> _Range:
    """The samples that a row of a table names."""
    first, count, series = int(reference[0]), int(reference[1]), reference.timeseries
    if first < 0 or count < 1 or first + count > len(series.data):
        raise ValueError(
            f"its table names {count} samples from {first} on of {series.name!r}, which has "
            f"{len(series.data)}."
        )
    return _Range(series, first, count)


# Times and values of samples


def _begin(series: Any) -> float:
    """Time of the first sample, ms."""
    if series.rate is None:
        return 1e3 * float(series.timestamps[0])
    return 1e3 * float(series.starting_time or 0.0)


def _end(series: Any) -> float:
    """Time of the end of the last sample, ms."""
    return _begin(series) + len(series.data) * _clock(_whole(series)).step


def _clock(of: _Range) -> _Clock:
    series = of.series
    if series.rate is not None:
        if not (np.isfinite(series.rate) and series.rate > 0 and np.isfinite(series.starting_time or 0.0)):
            raise ValueError(f"{of.label} has a rate of {series.rate} Hz from {series.starting_time} s on.")
        step = 1e3 / float(series.rate)
        return _Clock(_begin(series) + of.first * step, step)
    if len(series.timestamps) != len(series.data):
        raise ValueError(
            f"{of.label} has {len(series.data)} samples and {len(series.timestamps)} time stamps."
        )
    ts = 1e3 * np.asarray(series.timestamps[of.first : of.first + of.count], float)
    if not is_even(ts):
        raise ValueError(f"{of.label} has uneven time stamps: resample it and make an hh.Recording of it.")
    return _Clock(float(ts[0]), float((ts[-1] - ts[0]) / (ts.size - 1)))


def _values(of: _Range, scale: float) -> np.ndarray:
    series = of.series
    raw = np.asarray(series.data[of.first : of.first + of.count], float)
    if raw.ndim == 2 and raw.shape[1] == 1:
        raw = raw[:, 0]
    if raw.ndim != 1:
        raise ValueError(f"{of.label} must have one value for each time, got shape {raw.shape}.")
    return (raw * series.conversion + series.offset) * scale


def _bias(response: Any) -> float:
    """The current of the amplifier besides the stimulus, pA."""
    bias = response.bias_current
    return _PA * float(bias) if bias is not None and np.isfinite(bias) else 0.0


def _sweep(stimulus: _Range | None, response: _Range, mode: _Mode, notes: _Notes) -> _Sweep:
    """Stimulus and response of a sweep on the clock of the response, as far as both go."""
    measured, at = _values(response, mode.of_response), _clock(response)
    if stimulus is None:
        return _Sweep(np.zeros(measured.size), measured, at.step, measured.size)
    command = _values(stimulus, mode.of_stimulus)
    known = np.isfinite(command)
    length = int(known.nonzero()[0].max(initial=-1)) + 1  # acquisition that was stopped leaves NaN
    if not length or not known[:length].all():
        raise ValueError(f"{stimulus.label} must be finite but for its end, got NaN among its values.")
    start, step = _clock(stimulus)
    apart = at.start >= start + command.size * step or start >= at.start + measured.size * at.step
    if apart and 0 in (_begin(stimulus.series), _begin(response.series)):
        notes.moved.append(response.label)
        start = at.start
    inside, command = _on(at, measured.size, start, step, command[:length])
    if 2 * inside.sum() < measured.size:
        raise ValueError(
            f"{stimulus.label} from {start:g} ms on covers {inside.sum()} of the {measured.size} samples of "
            f"{response.label} from {at.start:g} ms on."
        )
    shift = _shifted(at, measured.size, start, step)
    if shift is None:
        notes.resampled.append(response.label)
    together = shift == 0 and abs(known.size - measured.size) <= few(measured.size)
    if not inside.all() or (together and known.size != measured.size):
        notes.cut.append(response.label)
    bias = _bias(response.series) if mode.name == "current" else 0.0
    return _Sweep(command + bias, measured[inside], at.step, measured.size)


def _shifted(at: _Clock, size: int, start: float, step: float) -> int | None:
    """By how many samples one clock is ahead of the other, if it is by whole ones throughout."""
    shift = (at.start - start) / at.step
    same = abs(at.step - step) * size <= 0.05 * step and abs(shift - round(shift)) <= 0.05
    return round(shift) if same else None


def _on(
    at: _Clock, size: int, start: float, step: float, current: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Which of the samples of a response a held current covers, and its mean from each to the next."""
    shift = _shifted(at, size, start, step)
    if shift is not None:
        k = np.arange(size) + shift
        inside = (k >= 0) & (k < current.size)
        return inside, current[k[inside]]
    ts = at.start - start + at.step * np.arange(size)
    edges = step * np.arange(current.size + 1)
    inside = (ts >= -1e-3 * step) & (ts < edges[-1] - 1e-3 * step)
    charge = np.concatenate([[0.0], np.cumsum(current) * step])
    low = np.clip(ts[inside], 0.0, edges[-1])
    high = np.clip(ts[inside] + at.step, 0.0, edges[-1])
    return inside, np.diff(np.interp([low, high], edges, charge), axis=0)[0] / (high - low)


# What a user has to know


def _say_bias(path: Path, responses: list[Any]) -> None:
    biases = [_bias(response) for response in responses]
    if any(biases):
        each = sorted({round(bias, 3) for bias in biases})
        span = f"{each[0]:g}" + f" to {each[-1]:g}" * (len(each) > 1)
        note(path, f"a bias current of {span} pA was added to the stimulus.")


def _say_electrodes(path: Path, responses: list[Any]) -> None:
    sweeps: dict[str, list[str]] = {}
    for k, response in enumerate(responses):
        sweeps.setdefault(response.electrode.name, []).append(str(k))
    if len(sweeps) > 1:
        each = "; ".join(f"{name!r}: {', '.join(numbers)}" for name, numbers in sweeps.items())
        note(path, f"the sweeps come from {len(sweeps)} electrodes, {each}. Take those of one cell.")
