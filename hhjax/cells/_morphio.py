"""Reading ASC and H5 files by MorphIO."""

import re
from pathlib import Path
from typing import Any

import numpy as np

from ._morphology import Section
from ._points import Notes, Points, SOMA, TOO_FAR


def read(path: Path) -> Points:
    """The points of a file, with ids in the order of its sections, the soma being 0."""
    try:
        import morphio  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ImportError(
            f"Reading {path.suffix.lower()} needs MorphIO: pip install 'hhjax[morphology]'."
        ) from error
    path.open("rb").close()  # says plainly that it is not there
    said: Any = morphio.WarningHandlerCollector()
    try:
        cell = morphio.Morphology(str(path), warning_handler=said)
    except Exception as error:  # damaged files bring out many kinds
        raise ValueError(f"{path.name} is not read by MorphIO: {_plain(str(error), path)}.") from error
    notes, body = Notes(), None
    types, parents, xyz, radius, apart = [], [], [], [], []

    def add(kind: int, parent: int, at: Any, r: float) -> int:
        types.append(kind)
        parents.append(parent)
        xyz.append(at)
        radius.append(r)
        return len(types) - 1

    outline = np.asarray(cell.soma.points, float)
    if len(outline):
        add(SOMA, -1, outline.mean(axis=0), float(np.mean(cell.soma.diameters)) / 2)
    if len(outline) > 1:
        body = _from_outline(path.name, outline)
        xyz[0], radius[0] = body.points.mean(axis=0), float(body.diameter.max()) / 2
        notes.add(f"the soma is {body.length.size} frusta through its outline of {len(outline)} points")
    last: dict[int, int] = {}  # point of each section
    for section in cell.iter():
        on = (len(outline) > 0) - 1 if section.is_root else last[section.parent.id]
        points, radii = np.asarray(section.points, float), np.asarray(section.diameters, float) / 2
        for k, (at, r) in enumerate(zip(points, radii)):
            if k == 0 and not section.is_root and np.array_equal(at, xyz[on]):
                if r == radius[on]:
                    continue
                apart.append(len(types))  # a section begins with its own radius, without a ring
            on = add(int(section.type), on, at, r)
        last[section.id] = on
    for warning in said.get_all():
        notes.add(f"MorphIO: {_plain(warning.warning.msg(), path)}", doubt=True)
    if not types:
        raise ValueError(f"{path.name}: there are no points in the file.")
    notes.all.insert(0, f"{path.name}: {len(types)} points")
    where, r, ids = np.array(xyz), np.array(radius), list(range(len(types)))
    if not (np.abs(where) <= TOO_FAR).all() or not (np.abs(r) <= TOO_FAR).all():
        raise ValueError(f"{path.name}: coordinates and radii must be within ±{TOO_FAR:g} µm.")
    return Points(path.name, ids, [0] * len(ids), types, parents, where, r, notes, body, frozenset(apart))


def _plain(text: str, path: Path) -> str:
    """What MorphIO says, in a line without colours and folders."""
    return " ".join(re.sub(r"\x1b\[[\d;]*m", "", text).replace(str(path), path.name).split()).rstrip(".")


def _from_outline(name: str, outline: np.ndarray) -> Section:
    """Frusta along the longer axis of an outline, as wide as it is, as NEURON makes 20 of them."""
    flat = np.diff(outline[:, :2], axis=0)
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(flat, axis=1))])
    if not along[-1] > 0:
        raise ValueError(
            f"{name}: the outline of the soma must have an area, got {len(outline)} points in one place."
        )
    even = np.linspace(0.0, along[-1], 101)
    outline = np.stack([np.interp(even, along, x) for x in outline.T], axis=1)
    middle = outline.mean(axis=0)
    _, axes = np.linalg.eigh((outline - middle).T @ (outline - middle))
    major, minor = axes[:, 2], axes[:, 1] * [1, 1, 0]
    major = major * np.sign(major[np.abs(major).argmax()])
    across = np.linalg.norm(minor)
    if across < 1e-6:
        raise ValueError(f"{name}: the outline of the soma must lie in the plane of x and y.")
    x, y = (outline - middle) @ major, (outline - middle) @ (minor / across)
    turned = np.roll(np.arange(x.size), -int(x.argmax()))
    least = int(x[turned].argmin())
    sides = []
    for side in (turned[:least][::-1], turned[least:]):
        before = np.maximum.accumulate(np.concatenate([[-np.inf], x[side][:-1]]))
        rising = side[x[side] > before]
        sides.append((x[rising], y[rising]))
    places = np.sort(np.concatenate([x for x, _ in sides]))
    if places.size < 4 or not places[-2] > places[1]:
        raise ValueError(f"{name}: the outline of the soma must have an area.")
    stops = np.linspace(places[1], places[-2], 21)
    width = np.abs(np.subtract(*(np.interp(stops, *side) for side in sides)))
    width[[0, -1]] = (width[[0, -1]] + width[[1, -2]]) / 2  # no end without a width
    if not (width > 0).all():
        raise ValueError(f"{name}: the outline of the soma must have an area.")
    return Section(np.diff(stops), width, region="soma", points=middle + stops[:, None] * major)
