"""Reading the shape of a cell from a file."""

import math
import os
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from .._base.arguments import as_number, as_path, check_choice
from .._base.parameters import check_flag
from ._morphology import Morphology
from ._points import LEAST, Notes, Points, SOMA, TOO_FAR
from ._sections import to_sections

_COLUMNS = ("id", "type", "x", "y", "z", "radius", "parent")
_WHOLE = ("id", "type", "parent")


def load(
    path: str | os.PathLike,
    *,
    max_length: float | None = None,
    d_lambda: float = 0.1,
    resistivity: float = 100.0,
    C: float = 1.0,
    radius: float | None = None,
    root: int | None = None,
    join: bool = False,
    soma: Literal["sphere", "frusta"] | None = None,
    types: Mapping[int, str] | None = None,
) -> Morphology:
    """The shape of a cell from a file: SWC, or ASC and H5 (`pip install 'hhjax[morphology]'`).

    ```python
    shape = hh.cells.load("cell.swc")
    print(shape)  # its regions, and what was found in the file
    cell = hh.Cell(shape, {"soma": hh.squid_axon(), "dend": passive})
    ```

    An SWC file has a point in each line: id, type, x, y, z, radius (µm), id of the parent or -1. It is read
    as NEURON does. A soma of one point, or of three in a line with the middle first, is one compartment
    with the area of a sphere, 4πr². The edge from the soma to the first point of a neurite has neither
    membrane nor resistance, every other edge is a frustum, of the type of the point at its end. Sections
    are unbranched, of one type, and called `soma`, `axon[0]`, `dend[0]`, `apic[0]` and so on, in the order
    of ids. Types beyond 4 are regions of their own, such as `type5`.

    **Arguments:**

    - `path`: the file.
    - `max_length`, `d_lambda`, `resistivity`, `C`: into which compartments it is cut, see
        [`hh.cells.Morphology`][].
    - `radius`: µm, for points where the file has none that is positive.
    - `root`: the id of a point: only the tree with it is read, of a file that has several.
    - `join`: whether the root of every other tree is instead joined to the nearest point of the first, or of
        that with the soma.
    - `soma`: `"sphere"` for one of the radius of the first point, `"frusta"` for an edge between each two of
        its points; by default the number of points decides.
    - `types`: names of regions by number of the type, such as `{5: "dend"}`.

    **Returns:** the [`hh.cells.Morphology`][]. Its `notes` say what was found and mended. There is a warning
    where the cell could be wrong.

    **Raises:** `ValueError`, with line and id, for what is no tree of points with a radius each;
    `ImportError` for ASC and H5 without MorphIO.
    """
    path, types = as_path("path", path), {} if types is None else types
    _check_options(path, radius, root, join, soma, types)
    if not path.is_file():
        raise FileNotFoundError(f"`path` does not exist or is not a file: {path}")
    points = _read(path)
    sections = to_sections(points, radius, root, join, soma, types)
    if doubts := points.notes.doubts:
        warnings.warn(f"{path.name}: {'; '.join(doubts)}.", stacklevel=2)
    cut = {"max_length": max_length, "d_lambda": d_lambda, "resistivity": resistivity, "C": C}
    return Morphology(sections, **cut, notes=points.notes.all)


def _check_options(path: Path, radius: Any, root: Any, join: Any, soma: Any, types: Any) -> None:
    if radius is not None:
        as_number("radius", radius, "µm", least=LEAST, most=TOO_FAR)
    if root is not None and (isinstance(root, bool) or not isinstance(root, (int, np.integer))):
        raise ValueError(f"`root` must be the id of a point of {path.name}, a whole number, got {root!r}.")
    check_flag("join", join)
    if root is not None and join:
        raise ValueError(
            f"`root` keeps one tree and `join` all: give one of them, got {root!r} and {join!r}."
        )
    if soma is not None and path.suffix.lower() != ".swc":
        raise ValueError(f"`soma` is for SWC files, got {soma!r} for {path.name}.")
    if soma is not None:
        check_choice("soma", soma, ("sphere", "frusta"))
    if not isinstance(types, Mapping) or not all(isinstance(k, (int, np.integer)) for k in types):
        raise ValueError(f"`types` must be names of regions by number, such as {{5: 'dend'}}, got {types!r}.")
    for kind, region in types.items():
        if not isinstance(region, str) or not region or set(region) & set(".,[]=()"):
            raise ValueError(f"`types[{kind}]` must be a name without any of . , [ ] = ( ), got {region!r}.")
        if kind == SOMA or region == "soma":
            raise ValueError(f"`types` must leave 1 to the soma, and 'soma' to it, got {kind}: {region!r}.")


def _read(path: Path) -> Points:
    kind = path.suffix.lower()
    if kind == ".swc":
        return read_swc(path)
    if kind in (".asc", ".h5"):
        from ._morphio import read

        return read(path)
    raise ValueError(f"`path` must be a file .swc, .asc or .h5, got {path.name!r}.")


def read_swc(path: Path) -> Points:
    """The points of an SWC file."""
    notes = Notes()
    found, lines, wide = [], [], 0
    for number, line in enumerate(re.split(r"\r\n|\r|\n", _text(path, notes)), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        if len(words) < 7:
            columns = ", ".join(_COLUMNS)
            raise ValueError(f"{path.name}, line {number}: it must have {columns}, got {line!r:.80}.")
        wide += len(words) > 7
        found.append(_row(f"{path.name}, line {number}", words))
        lines.append(number)
    if not found:
        raise ValueError(f"{path.name}: there are no points in the file.")
    if wide:
        notes.add(f"columns after the seventh are left out, in {wide} lines")
    id, kind, x, y, z, radius, parent = map(list, zip(*found))
    xyz = np.array([x, y, z], float).T
    notes.all.insert(0, f"{path.name}: {len(id)} points")
    return Points(path.name, id, lines, kind, parent, xyz, np.array(radius, float), notes)


def _text(path: Path, notes: Notes) -> str:
    content = path.read_bytes()
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        text = content.decode("utf-16", "replace")
    else:  # comments may be in any code; a number in none but ASCII
        text = content.decode("utf-8-sig", "replace")
    body, end, rest = text.partition("\x1a")
    if end and not rest.strip("\x1a\0\r\n\t "):
        notes.add("the file ends with 0x1A, as those of DOS may", doubt=True)
        text = body
    if "\0" in text:
        raise ValueError(f"{path.name} is no text: it holds zero bytes.")
    return text


def _row(where: str, words: list[str]) -> list[Any]:
    row = []
    for name, word in zip(_COLUMNS, words):
        value: Any = math.nan
        try:
            if word.isascii() and "_" not in word:
                value = int(word) if name in _WHOLE and word.lstrip("+-").isdigit() else float(word)
        except ValueError:
            pass
        else:
            if name == "radius" and word.lower().lstrip("+-") == "nan":
                row.append(math.nan)  # for which `radius` may stand in
                continue
        at = f"{where} (id {row[0]})" if row else where
        if not math.isfinite(value):
            raise ValueError(f"{at}: {name} must be a finite number, got {word!r:.40}.")
        if name in _WHOLE:
            if value != int(value):
                raise ValueError(f"{at}: {name} must be a whole number, got {word!r:.40}.")
            value = int(value)
        elif abs(value) > TOO_FAR:
            raise ValueError(f"{at}: {name} must be within ±{TOO_FAR:g} µm, got {word!r:.40}.")
        if name == "id" and value < 0:
            raise ValueError(f"{at}: id must not be negative, got {word!r:.40}.")
        row.append(value)
    return row
