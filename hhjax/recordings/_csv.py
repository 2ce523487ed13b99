"""Recordings in tables of text."""

import csv
import io
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ._recording import IN_MV, IN_PA, is_even, Recording

_TIME = {"ms": 1.0, "msec": 1.0, "s": 1e3, "sec": 1e3, "µs": 1e-3}
_UNITS = {"time": _TIME, "current": {**IN_PA, "µA/cm²": 1.0}, "V": IN_MV}
# A single letter is a unit only in brackets, behind a slash or behind one of these names: `cell A` is no
# current.
_LETTERS = {"s": "t|time", "A": "i|current|command", "V": "v|vm|voltage|potential|sweep"}


def read(path: Path, clamp: str | None = None) -> Recording:
    if clamp == "voltage":
        raise ValueError(
            f"{path.name} is read as current clamp. Make an hh.VoltageClampRecording(ts, V, current) of it."
        )
    lines = [(k, line) for k, line in _lines(path) if line.strip() and not line.lstrip('"').startswith("#")]
    head = lines[0][1] if lines else ""
    outside = re.sub(r'"[^"]*"', "", head)
    delimiter = next((d for d in "\t;" if d in outside), ",")
    names = _cells(head, delimiter)
    while names and not names[-1]:  # separators at the end of the line
        names.pop()
    columns = [_column(name) for name in names]
    at = {kind: [k for k, column in enumerate(columns) if column.kind == kind] for kind in (*_UNITS, "")}
    sweeps, currents = len(at["V"]), len(at["current"])
    if at[""] or len(at["time"]) != 1 or not sweeps or currents not in {1, sweeps}:
        raise ValueError(
            f"{path.name} must begin with names and units of its columns, such as 'time (ms), current (pA), "
            f"sweep 0 (mV)', one current for all sweeps or one for each, got {head.strip()!r}."
        )
    densities = {columns[k].unit == "µA/cm²" for k in at["current"]}
    if len(densities) > 1:
        units = sorted({columns[k].unit for k in at["current"]})
        raise ValueError(f"{path.name} has currents in different units: {', '.join(units)}.")
    rows = [_row(path, k, line, delimiter, len(columns)) for k, line in lines[1:]]
    _check_decimals(path, rows)
    cells = np.array([[float(cell.replace(",", ".")) for cell in row] for row in rows])
    values = cells.reshape(-1, len(columns)) * [_UNITS[kind][unit] for kind, unit in columns]
    time = at["time"][0]
    last = [re.split("[.,]", row[time])[1:] for row in rows]
    decimals = max((len(digits[0]) for digits in last if digits), default=0)
    exponents = any("e" in row[time].lower() for row in rows)
    rounding = 0.0 if exponents else 10.0**-decimals * _TIME[columns[time].unit]
    ts = values[:, time]
    if is_even(ts, rounding):
        ts = np.linspace(ts[0], ts[-1], ts.size)
    current, V = values[:, at["current"]].T, values[:, at["V"]].T
    unit = "µA/cm²" if densities == {True} else "pA"
    return Recording(ts, np.broadcast_to(current, V.shape), V, unit, path.name)


def _lines(path: Path) -> list[tuple[int, str]]:
    """The lines of a text and their numbers, from 1."""
    content = path.read_bytes()
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        text = content.decode("utf-16")
    elif content[:1] == b"\0":
        text = content.decode("utf-16-be")
    elif content[1:2] == b"\0":
        text = content.decode("utf-16-le")
    else:
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError:  # as older programs write µ and ²
            text = content.decode("latin-1")
    if "\0" in text:
        raise ValueError(f"{path.name} is no text: it holds zero bytes.")
    return list(enumerate(io.StringIO(text, newline=None), 1))


class _Column(NamedTuple):
    kind: str
    unit: str


def _column(name: str) -> _Column:
    """What a column holds and its unit, from its name: `V (mV)`, `V [mV]`, `V/mV`, `V_mV`, `V mV`."""
    name = re.sub(r"(?<![A-Za-z])[uμ](?=[AVs])", "µ", name)
    name = re.sub(r"[\s/_·*]*cm\^?(⁻²|-2|²|2)", "/cm²", name)
    for kind, known in _UNITS.items():
        for unit in sorted(known, key=len, reverse=True):
            end = re.escape(unit)
            if re.search(rf"[(\[]\s*{end}\s*[)\]]", name) or re.search(rf"\w\s*/\s*{end}$", name):
                return _Column(kind, unit)
            before = rf"(?i:{_LETTERS[unit]})[\s_]*\d*" if unit in _LETTERS else r".*\w"
            if re.fullmatch(rf"{before}[\s_]+{end}", name):
                return _Column(kind, unit)
    return _Column("", "")


def _cells(line: str, delimiter: str) -> list[str]:
    return [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter, skipinitialspace=True))]


def _row(path: Path, number: int, line: str, delimiter: str, columns: int) -> list[str]:
    """The cells of a line, which are numbers or `nan`."""
    row = _cells(line, delimiter)
    while len(row) > columns and not row[-1]:
        row.pop()
    if len(row) != columns:
        raise ValueError(f"{path.name}, line {number}, must have {columns} cells, got {len(row)}.")
    row = [cell or "nan" for cell in row]
    try:
        [float(cell.replace(",", ".")) for cell in row]
    except ValueError:
        raise ValueError(f"{path.name}, line {number}, holds what is no number: {line.strip()!r}.") from None
    return row


def _check_decimals(path: Path, rows: list[list[str]]) -> None:
    """Refuse points and commas in one file: one of them may group thousands."""
    marks = {mark for row in rows for cell in row for mark in ".," if mark in cell}
    if len(marks) > 1:
        raise ValueError(f"{path.name} has numbers with points and with commas; write decimals one way.")
