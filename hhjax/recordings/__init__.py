"""Reading recordings from files: [`load`][hhjax.recordings.load]."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .._base.arguments import as_path, check_choice
from . import _abf, _csv, _nwb
from ._features import FeatureTable as FeatureTable
from ._recording import Recording as Recording
from ._voltage_clamp import VoltageClampRecording as VoltageClampRecording


def load(path: str | os.PathLike, *, clamp: str | None = None) -> Any:
    """The sweeps of a recording in a file, in current clamp or voltage clamp.

    - `.abf`: Axon Binary Format 1 and 2 (needs `pip install 'hhjax[abf]'`, pyABF): the first
        channel recorded in mV, and the command of an output in pA: the one that plays a waveform, of the same
        number as the channel if there are several. A waveform file is looked for where the recording says and
        beside it. If the command is only a holding level although the responses differ, the current was
        not recorded. You are warned, and [`hh.fit`][] refuses the recording until you make one
        with the current, `hh.Recording(ts, current, V, "pA", held=True)`. In voltage clamp the first
        channel in pA and a command in mV, with the P/n leak subtraction of the header.
    - `.nwb`: Neurodata Without Borders 2 (needs `pip install 'hhjax[nwb]'`, PyNWB): every
        `CurrentClampSeries` with its `CurrentClampStimulusSeries`, paired by the table of intracellular
        recordings (rows may be ranges of a long series), else by sweep number and electrode, else by
        electrode and time. Each has its own clock; a stimulus on another one is averaged over the
        intervals of the response, with a warning. A bias current is added. An `IZeroClampSeries` is read
        where there is nothing else. A `VoltageClampSeries` with its `VoltageClampStimulusSeries` likewise,
        where there is none of current clamp or `clamp` asks for them. Other series are passed over.
    - `.csv`: a line of names with units, such as `time (ms), current (pA), sweep 0 (mV)`, `t/ms` or
        `V_mV`, in any order, and a line for each sample: one time, the current, one for all sweeps or
        one for each, or a current density in µA/cm² (also written uA/cm2), and V of each
        sweep. An empty cell or `nan` is a missing V. Commas, semicolons or tabs
        between cells, which may be quoted; decimal points or commas; lines that begin with `#` are left out.
        UTF-8 or UTF-16, else Latin-1. Times may be rounded in their last digit.

    Current in pA, or µA/cm² where a `.csv` says so, positive inward; V in mV; times in ms from
    the start of a sweep. The currents of `.abf` and `.nwb` are held between samples, those of `.csv` are
    linear.
    Sweeps whose currents or voltages are cut short lose as much of their ends, with a warning.

    **Arguments:**

    - `path`: of the file.
    - `clamp`: `"current"` or `"voltage"`, for a file that has both; by default the one whose command plays,
        else current clamp.

    **Returns:** an [`hh.Recording`][], or an [`hh.VoltageClampRecording`][] whose command is taken for the
    whole potential and whose current is positive outward.

    **Raises:** `FileNotFoundError`; `ImportError` that says what to install; `ValueError` that
    names the file for other formats, damaged files, uneven times, sweeps that differ in
    length or sampling, currents that are missing or may be one of several, and a `.csv` of another layout.
    """
    path = as_path("path", path)
    if clamp is not None:
        check_choice("clamp", clamp, ("current", "voltage"))
    readers: dict[str, Callable[[Path, str | None], Any]] = {
        ".abf": _abf.read,
        ".nwb": _nwb.read,
        ".csv": _csv.read,
    }
    if path.suffix.lower() not in readers:
        known = ", ".join(readers)
        raise ValueError(
            f"`path` must end in one of {known}, got {path.name!r}. Other data: hh.Recording(ts, current, V)."
        )
    if not path.is_file():
        raise FileNotFoundError(f"`path` does not exist or is not a file: {path}")
    with path.open("rb"):  # a file that may not be read is not a damaged one
        pass
    try:
        return readers[path.suffix.lower()](path, clamp)
    except ImportError:
        raise
    except Exception as error:  # the libraries raise whatever a damaged file leads them to
        if isinstance(error, ValueError) and str(error).startswith(path.name):
            raise
        said = str(error) or type(error).__name__
        raise ValueError(f"{path.name} cannot be read as a recording: {said}") from error
