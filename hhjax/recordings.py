"""Reading recordings from files: [`load`][hhjax.recordings.load]."""

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast, Literal

import equinox as eqx
import numpy as np

from ._base.parameters import check_size
from ._base.tables import facts, is_known, Printed, span, Table


def _read_only(x: Any) -> np.ndarray:
    x = np.array(x, dtype=float)
    x.flags.writeable = False
    return x


class Recording(Printed, eqx.Module):
    """Sweeps of a current-clamp recording, sampled evenly at the same times.

    Kept in float64 on the host. Without a unit a current density (µA/cm²) is meant.

    **Fields:**

    - `ts`: sample times from the start of a sweep, ms, shape (times,).
    - `current`: injected current, shape (sweeps, times), or (sweeps, times, n) for one per
        neuron; shape (times,) is one sweep.
    - `V`: membrane potential, mV, shape (sweeps, times), or (sweeps, times, n) for n
        neurons; NaN where missing.
    - `current_unit`: `"pA"` or `"µA/cm²"`.
    - `name`: where it came from.

    **Raises:** `ValueError` for shapes that do not match, uneven times, currents that are
    not finite, infinite V.
    """

    ts: np.ndarray
    current: np.ndarray
    V: np.ndarray
    current_unit: Literal["pA", "µA/cm²"] = eqx.field(default="µA/cm²", static=True)
    name: str = eqx.field(default="", static=True)

    def __init__(self, ts: Any, current: Any, V: Any, current_unit: Any = "µA/cm²", name: str = ""):
        self.ts, current, V = _read_only(ts), _read_only(current), _read_only(V)
        self.current = current[None] if current.ndim == 1 else current
        self.V = V[None] if V.ndim == 1 else V
        self.current_unit, self.name = current_unit, name

    def __check_init__(self) -> None:
        ts, V, current = self.ts, self.V, self.current
        if ts.ndim != 1 or ts.size < 2:
            raise ValueError(f"`ts` must have shape (times,) with at least 2 times, got {ts.shape}.")
        if V.ndim not in (2, 3) or V.shape[1] != ts.size or V.shape[0] < 1:
            raise ValueError(
                f"`V` must have shape (sweeps, {ts.size}) or (sweeps, {ts.size}, n) to match `ts`, "
                f"got {V.shape}."
            )
        fits = current.ndim in (2, 3) and current.shape[:2] == V.shape[:2]
        if not fits or (current.ndim == 3 and current.shape != V.shape):
            raise ValueError(
                f"`current` must have shape {V.shape[:2]}, (sweeps, times), or that of `V`, {V.shape}, "
                f"got {current.shape}."
            )
        if self.current_unit not in ("pA", "µA/cm²"):
            raise ValueError(f"`current_unit` must be 'pA' or 'µA/cm²', got {self.current_unit!r}.")
        step = (ts[-1] - ts[0]) / (ts.size - 1)
        if not np.isfinite(ts).all() or step <= 0 or np.abs(np.diff(ts) - step).max() > 1e-3 * step:
            raise ValueError("`ts` must increase in even steps (ms). Resample the recording first.")
        if not np.isfinite(current).all():
            raise ValueError("`current` must be finite: what was injected has to be known at every sample.")
        if np.isinf(V).any():
            raise ValueError("`V` must be finite or, where it is missing, NaN; got infinity.")

    def __len__(self) -> int:
        return self.V.shape[0]

    def _tables(self) -> list[Table]:
        said = {"name": self.name, "sweeps": str(len(self))}
        said["neurons"] = str(self.V.shape[2]) if self.V.ndim == 3 else ""
        said["samples"] = f"{self.ts.size} each, {span(self.ts, 'ms')}"
        said |= {"current": span(self.current, self.current_unit), "V": span(self.V, "mV")}
        if is_known(self.V) and (missing := np.isnan(self.V).mean()):
            said["missing"] = f"{100 * missing:.3g} % of V"
        return [facts("Recording", said)]

    @property
    def dt(self) -> float:
        """Sampling interval, ms."""
        return float((self.ts[-1] - self.ts[0]) / (self.ts.size - 1))

    def _with(self, ts: Any, current: Any, V: Any) -> "Recording":
        return Recording(ts, current, V, self.current_unit, self.name)

    def __getitem__(self, sweeps: Any) -> "Recording":
        """Some of the sweeps: `recording[3]`, `recording[::2]`, `recording[[0, 5]]`."""
        sweeps = [sweeps] if isinstance(sweeps, (int, np.integer)) else sweeps
        return self._with(self.ts, self.current[sweeps], self.V[sweeps])

    def between(self, start: float, stop: float) -> "Recording":
        """The samples from `start` to `stop` (ms, both included)."""
        inside = (self.ts >= start - 1e-6 * self.dt) & (self.ts <= stop + 1e-6 * self.dt)
        if inside.sum() < 2:
            raise ValueError(
                f"`start` = {start} and `stop` = {stop} ms leave fewer than two samples of "
                f"{self.ts[0]:g} to {self.ts[-1]:g} ms."
            )
        return self._with(self.ts[inside], self.current[:, inside], self.V[:, inside])

    def as_neurons(self) -> "Recording":
        """The sweeps of one neuron as one sweep of as many uncoupled neurons.

        With `hh.Network(neuron, n=len(recording))` a fit can then give every sweep a value of
        its own for what drifts from sweep to sweep, such as the leak, and share the rest.
        """
        if self.V.ndim != 2 or self.current.ndim != 2:
            raise ValueError("`as_neurons` takes sweeps of one neuron; this recording has several already.")
        return self._with(self.ts, self.current.T[None], self.V.T[None])

    def every(self, k: int) -> "Recording":
        """Every k-th sample of V, with a mean of the current around it.

        The weights fall to nothing at the next sample that is kept on either side: a current that is
        linear between samples then carries the same charge as before.
        """
        k = check_size("k", k)
        around = [(0, 0), (k - 1, k - 1)] + [(0, 0)] * (self.current.ndim - 2)
        padded, length = np.pad(self.current, around, mode="edge"), self.ts.size
        current = sum((k - abs(j)) / k**2 * padded[:, k - 1 + j :][:, :length:k] for j in range(1 - k, k))
        return self._with(self.ts[::k], current, self.V[:, ::k])


def load(path: str | os.PathLike) -> Recording:
    """The sweeps of a current-clamp recording in a file.

    - `.abf`: Axon Binary Format 1 and 2 (needs `pip install 'hhjax[abf]'`, pyABF): the first
        channel recorded in mV, and the command waveform of the first output in A, nA or pA.
    - `.nwb`: Neurodata Without Borders 2 (needs `pip install 'hhjax[nwb]'`, PyNWB): every
        pair of a `CurrentClampSeries` and a `CurrentClampStimulusSeries`, joined by the
        table of intracellular recordings or, without one, by their sweep numbers.
    - `.csv`: a line of names with units, such as `time (ms), current (pA), sweep 0 (mV)`, and a
        line for each sample. The time comes first, in ms or s; then the current, one for all
        sweeps or one for each, in A, nA, pA or µA/cm² (also written uA/cm2), and V of each
        sweep, in mV or V. An empty cell or `nan` is a missing V. Commas, semicolons or tabs
        between cells; lines that begin with `#` are left out. UTF-8, else Latin-1.

    Current in pA, or µA/cm² where a `.csv` says so, positive inward; V in mV; times in ms from
    the start of a sweep.

    **Returns:** an [`hh.Recording`][].

    **Raises:** `FileNotFoundError`; `ImportError` that says what to install; `ValueError`
    for other formats, for voltage-clamp files, for sweeps that differ in length or sampling and
    for a `.csv` of another layout.
    """
    path = Path(path)
    readers: dict[str, Callable[[Path], Recording]] = {
        ".abf": _load_abf,
        ".nwb": _load_nwb,
        ".csv": _load_csv,
    }
    if path.suffix.lower() not in readers:
        known = ", ".join(readers)
        raise ValueError(
            f"`path` must end in one of {known}, got {path.name!r}. Other data: hh.Recording(ts, current, V)."
        )
    if not path.is_file():
        raise FileNotFoundError(f"`path` does not exist or is not a file: {path}")
    return readers[path.suffix.lower()](path)


def _load_abf(path: Path) -> Recording:
    try:
        import pyabf
    except ImportError as error:
        raise ImportError("Reading .abf needs pyABF: pip install 'hhjax[abf]'.") from error
    abf = cast(Any, pyabf.ABF(str(path)))
    voltage = [k for k, unit in enumerate(abf.adcUnits) if unit == "mV"]
    command = [k for k, unit in enumerate(abf.dacUnits) if unit in _IN_PA]
    if not voltage or not command:
        raise ValueError(
            f"{path.name} is no current-clamp recording: it needs an input in mV and a command in pA, got "
            f"inputs in {', '.join(abf.adcUnits)} and commands in {', '.join(abf.dacUnits)}."
        )
    scale = _IN_PA[abf.dacUnits[command[0]]]
    sweeps = []
    for sweep in range(abf.sweepCount):
        # The command belongs to the output of the same number as the channel that is set.
        abf.setSweep(sweep, channel=voltage[0])
        V = np.array(abf.sweepY, float)
        if command[0] < abf.channelCount:
            abf.setSweep(sweep, channel=command[0])
        sweeps.append((np.array(abf.sweepC, float) * scale, V))
    return _recording(path, 1000.0 / abf.dataRate, sweeps)


_IN_PA = {"pA": 1.0, "nA": 1e3, "A": 1e12}


def _load_nwb(path: Path) -> Recording:
    try:
        from pynwb import NWBHDF5IO
    except ImportError as error:
        raise ImportError("Reading .nwb needs PyNWB: pip install 'hhjax[nwb]'.") from error
    with cast(Any, NWBHDF5IO)(str(path), "r", load_namespaces=True) as io:
        pairs = _nwb_pairs(io.read())
        if not pairs:
            raise ValueError(
                f"{path.name} has no current-clamp sweeps: it needs CurrentClampSeries with their "
                "CurrentClampStimulusSeries."
            )
        intervals = [_nwb_interval(response) for _, response in pairs]
        if np.ptp(intervals) > 1e-9 * intervals[0]:
            raise ValueError(
                f"{path.name} has sweeps with different sampling intervals: {set(intervals)} ms."
            )
        sweeps = [(_nwb_values(stimulus, 1e12), _nwb_values(response, 1e3)) for stimulus, response in pairs]
    return _recording(path, intervals[0], sweeps)


def _nwb_pairs(file: Any) -> list[tuple[Any, Any]]:
    """(stimulus, response) of every current-clamp sweep, in order."""
    from pynwb.icephys import CurrentClampSeries, CurrentClampStimulusSeries

    if file.intracellular_recordings is not None:
        table = file.intracellular_recordings.to_dataframe()
        rows = zip(table[("stimuli", "stimulus")], table[("responses", "response")])
        pairs = [(stimulus.timeseries, response.timeseries) for stimulus, response in rows]
    else:
        stimuli = {series.sweep_number: series for series in file.stimulus.values()}
        responses = sorted(
            file.acquisition.values(), key=lambda series: getattr(series, "sweep_number", 0) or 0
        )
        pairs = [(stimuli.get(getattr(series, "sweep_number", None)), series) for series in responses]
    wanted = (CurrentClampStimulusSeries, CurrentClampSeries)
    return [pair for pair in pairs if all(isinstance(x, kind) for x, kind in zip(pair, wanted))]


def _nwb_interval(series: Any) -> float:
    """Sampling interval, ms."""
    if series.rate is not None:
        return 1000.0 / series.rate
    return 1000.0 * float(np.mean(np.diff(series.timestamps[:])))


def _nwb_values(series: Any, scale: float) -> np.ndarray:
    return (np.array(series.data[:], float) * series.conversion + series.offset) * scale


_CSV_UNITS = {
    "time": {"ms": 1.0, "s": 1e3},
    "current": {**_IN_PA, "µA/cm²": 1.0},
    "V": {"mV": 1.0, "V": 1e3},
}


def _load_csv(path: Path) -> Recording:
    content = path.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:  # as older programs write µ and ²
        text = content.decode("latin-1")
    rows = enumerate(io.StringIO(text, newline=""), 1)
    lines = [(k, line) for k, line in rows if line.strip() and not line.startswith("#")]
    head = lines[0][1] if lines else ""
    delimiter = next((d for d in "\t;" if d in head), ",")
    kinds = [_csv_kind(cell) for cell in head.split(delimiter)]
    order = [kind for kind, _ in kinds]
    sweeps, currents = order.count("V"), order.count("current")
    if (
        order != ["time"] + ["current"] * currents + ["V"] * sweeps
        or currents not in {1, sweeps}
        or not sweeps
    ):
        raise ValueError(
            f"{path.name} must begin with names and units of its columns, such as 'time (ms), current (pA), "
            f"sweep 0 (mV)', one current for all sweeps or one for each, got {head.strip()!r}."
        )
    units = {unit for kind, unit in kinds if kind == "current"}
    if len(units) > 1:
        raise ValueError(f"{path.name} has currents in different units: {', '.join(sorted(units))}.")
    cells = np.array([_csv_row(path, k, line, delimiter, len(kinds)) for k, line in lines[1:]])
    values = cells.reshape(-1, len(kinds)) * [_CSV_UNITS[kind][unit] for kind, unit in kinds]
    current, V = values[:, 1 : 1 + currents].T, values[:, 1 + currents :].T
    unit = "µA/cm²" if units == {"µA/cm²"} else "pA"
    return Recording(values[:, 0], np.broadcast_to(current, V.shape), V, unit, path.name)


def _csv_kind(cell: str) -> tuple[str, str]:
    """What a column holds and its unit, from its name."""
    _, there, unit = cell.replace("[", "(").replace("]", ")").rpartition("(")
    unit = unit.partition(")")[0].strip() if there else ""
    for written, meant in (("u", "µ"), ("μ", "µ"), ("cm2", "cm²"), ("cm^2", "cm²")):
        unit = unit.replace(written, meant)
    return next(((kind, unit) for kind, known in _CSV_UNITS.items() if unit in known), ("", unit))


def _csv_row(path: Path, number: int, line: str, delimiter: str, columns: int) -> list[float]:
    cells = [cell.strip() or "nan" for cell in line.split(delimiter)]
    try:
        row = [float(cell.replace(",", ".") if delimiter == ";" else cell) for cell in cells]
    except ValueError:
        raise ValueError(f"{path.name}, line {number}, holds what is no number: {line.strip()!r}.") from None
    if len(row) != columns:
        raise ValueError(f"{path.name}, line {number}, must have {columns} cells, got {len(row)}.")
    return row


def _recording(path: Path, interval: float, sweeps: list[tuple[np.ndarray, np.ndarray]]) -> Recording:
    lengths = {x.size for sweep in sweeps for x in sweep}
    if len(lengths) > 1:
        raise ValueError(
            f"{path.name} has sweeps of different lengths, {sorted(lengths)} samples: load them by "
            "themselves and make an hh.Recording of each."
        )
    current, V = (np.stack(x) for x in zip(*sweeps))
    return Recording(interval * np.arange(V.shape[1]), current, V, "pA", path.name)
