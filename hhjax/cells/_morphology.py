"""The shape of a cell: sections, cut into compartments, and how these are joined."""

import dataclasses
import functools
import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jax.typing import ArrayLike

from .._base.arguments import as_host, as_number, check_kind
from .._base.host import known_are
from .._base.parameters import check_size, shown
from .._base.tables import Printed, Table
from ._axial import Links, order_links


@dataclasses.dataclass(frozen=True, eq=False)
class Section:
    """An unbranched piece of a cell, a cylinder or a row of frusta.

    **Fields:**

    - `length`: µm; for several frusta the length of each.
    - `diameter`: µm; a number for a cylinder, else one for each end of a frustum, in order.
    - `parent`: the section on which it stands, by name; `None` for the one at the root.
    - `at`: where on the parent, from 0 at its start to 1 at its end. Between these it stands on the middle
        of the nearest compartment.
    - `n`: into how many compartments it is cut, of equal length; by default the rule of the
        [`hh.cells.Morphology`][] decides.
    - `region`: the name of its region; by default that of the section, up to a number in brackets.
    - `points`: the places of the ends of the frusta, µm, shape (frusta + 1, 3), for pictures.
    """

    length: Any
    diameter: Any
    parent: str | None = None
    at: Any = 1.0
    n: int | None = None
    region: str | None = None
    points: Any = None

    def __post_init__(self) -> None:
        for name in ("length", "diameter"):
            value = np.atleast_1d(as_host(name, getattr(self, name), "µm"))
            if value.ndim != 1:
                raise ValueError(f"`{name}` must be a number or a row of them (µm), got {value.shape}.")
            object.__setattr__(self, name, value)
        if not (self.length >= 0).all() or not self.length.sum() > 0:
            raise ValueError(f"`length` must be positive (µm), got {self.length}.")
        if self.diameter.size == 1:
            object.__setattr__(self, "diameter", np.full(self.length.size + 1, self.diameter[0]))
        if self.diameter.size != self.length.size + 1:
            raise ValueError(
                f"`diameter` must be one number or {self.length.size + 1}, one for each end of the "
                f"{self.length.size} frusta, got {self.diameter.size}."
            )
        if not (self.diameter[:-1] > 0).all() or self.diameter[-1] < 0:
            raise ValueError(f"`diameter` must be positive (µm), but for a tip, got {self.diameter.min()}.")
        object.__setattr__(self, "at", as_number("at", self.at, least=0.0, most=1.0))
        for name, kind in (("parent", "section"), ("region", "region")):
            if not isinstance(x := getattr(self, name), str | None):
                raise TypeError(f"`{name}` must be the name of a {kind}, got {shown(x)}.")
        if self.n is not None:
            check_size("n", self.n)

    def lambda_100(self, resistivity: Any, C: Any) -> float:
        """How many space constants at 100 Hz it is long, by the rule of NEURON."""
        d = self.diameter
        parts = np.sum(self.length / np.sqrt(d[:-1] + d[1:])) * math.sqrt(2)
        return parts * 1e-5 * math.sqrt(4 * math.pi * 100 * resistivity * C)

    def cut(self, n: int) -> "_Cut":
        """Its n compartments; what a frustum adds to each half of one is integrated exactly."""
        ends = np.concatenate([[0.0], np.cumsum(self.length)])
        halves = np.linspace(0.0, ends[-1], 2 * n + 1)
        stops = np.unique(np.concatenate([ends, halves]))
        apart = np.diff(stops) > 0
        a, b = stops[:-1][apart], stops[1:][apart]
        piece = np.clip(np.searchsorted(ends, (a + b) / 2, side="right") - 1, 0, self.length.size - 1)
        rising = self.length > 0
        slope = np.divide(np.diff(self.diameter), self.length, out=np.zeros(self.length.size), where=rising)
        radius = lambda x: (self.diameter[piece] + slope[piece] * (x - ends[piece])) / 2
        h, r0, r1 = b - a, radius(a), radius(b)
        area = np.pi * (r0 + r1) * np.hypot(h, r1 - r0)
        with np.errstate(divide="ignore"):
            resistance = h / (np.pi * r0 * r1)
        half = np.clip(np.searchsorted(halves, (a + b) / 2, side="right") - 1, 0, 2 * n - 1)
        areas = np.bincount(half, area, 2 * n)
        rings = np.flatnonzero(~rising & (np.diff(self.diameter) != 0))  # frusta of no length
        at = np.clip(np.searchsorted(halves, ends[rings]) - 1, 0, 2 * n - 1)
        np.add.at(areas, at, np.pi / 4 * np.abs(np.diff(self.diameter**2))[rings])
        resistances = np.bincount(half, resistance, 2 * n).reshape(n, 2)
        return _Cut(ends[-1] / n, areas.reshape(n, 2).sum(axis=1), resistances)


class _Cut(NamedTuple):
    """The compartments of a section: `length` of each, µm; `area`, µm², shape (n,); `resistance` of each
    half, per resistivity, 1/µm, shape (n, 2)."""

    length: float
    area: np.ndarray
    resistance: np.ndarray


def _region(name: str) -> str:
    return re.sub(r"\[\d+\]$", "", name)


_PLACE = re.compile(r"(?P<section>.+?)(\((?P<along>[^()]*)\))?$")


class Compartments(NamedTuple):
    """The compartments of a cell, of which each field has one value, shape (n,).

    **Fields:** `section`: its name; `region`: that of the section; `along`: the place of the middle on the
    section, 0 to 1; `length`, µm; `diameter`: of the cylinder of the same area, µm; `area`, µm²; `distance`:
    the way from the middle of the root section, µm.
    """

    section: np.ndarray
    region: np.ndarray
    along: np.ndarray
    length: np.ndarray
    diameter: np.ndarray
    area: np.ndarray
    distance: np.ndarray


class Joints(NamedTuple):
    """The tree that compartments and branch points make.

    **Fields:** `links`; `halves`: the resistance of the two halves of each compartment in that of a half of
    its cylinder, shape (n, 2); `of_links`: the numbers, 2·compartment + side, of the two halves that a link
    consists of, shape (links, 2), where 2·n stands for none.
    """

    links: Links
    halves: np.ndarray
    of_links: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False, init=False, repr=False)
class Morphology(Printed):
    """The compartments of a cell, and the tree that they make.

    ```python
    hh.cells.Morphology({
        "soma": hh.cells.Section(20, 20),
        "dend[0]": hh.cells.Section(300, [3, 1], parent="soma", at=0.5),
    })
    ```

    A place is written as in NEURON: `"dend[0](0.25)"` is a quarter of the way along, `"dend[0]"` its
    middle. The compartments are numbered along each section, the sections in their order, but those of
    one region together.

    **Arguments:**

    - `sections`: [`hh.cells.Section`][]s by name, of which each stands on another, but for one.
    - `max_length`: the longest compartment, µm, where a section says no `n`.
    - `d_lambda`: where neither is given: the longest compartment in space constants at 100 Hz, for which
        `resistivity` (Ω·cm) and `C` (µF/cm²) count. The numbers of compartments are then odd (M. L. Hines
        and N. T. Carnevale, Neuroscientist 7 (2001) 123-135).
    - `notes`: what was found when it was read.

    **Fields:** `sections`; `sizes`: the number of compartments of each; `notes`.

    **Raises:** `ValueError` for sections that make no tree.
    """

    sections: dict[str, Section]
    sizes: dict[str, int]
    notes: tuple[str, ...] = ()

    def __init__(
        self,
        sections: Mapping[str, Section],
        *,
        max_length: ArrayLike | None = None,
        d_lambda: ArrayLike = 0.1,
        resistivity: ArrayLike = 100.0,
        C: ArrayLike = 1.0,
        notes: Sequence[str] = (),
    ):
        check_kind("sections", sections, Mapping, "a dict of hh.cells.Section objects by name")
        _from_root(dict(sections))
        sizes = _sizes(dict(sections), max_length, d_lambda, resistivity, C)
        for name, x in (("sections", dict(sections)), ("sizes", sizes), ("notes", tuple(notes))):
            object.__setattr__(self, name, x)

    @functools.cached_property
    def by_region(self) -> dict[str, list[str]]:
        """The sections by region, in the order of compartments."""
        found: dict[str, list[str]] = {}
        for name, section in self.sections.items():
            found.setdefault(section.region or _region(name), []).append(name)
        return found

    @functools.cached_property
    def from_root(self) -> list[str]:
        """The names of sections, each after the one that it stands on."""
        return _from_root(self.sections)

    @property
    def n(self) -> int:
        """How many compartments there are."""
        return sum(self.sizes.values())

    @property
    def regions(self) -> dict[str, int]:
        """The number of compartments of each region."""
        return {region: sum(self.sizes[name] for name in names) for region, names in self.by_region.items()}

    @functools.cached_property
    def _cuts(self) -> dict[str, _Cut]:
        return {k: self.sections[k].cut(self.sizes[k]) for names in self.by_region.values() for k in names}

    @functools.cached_property
    def _first(self) -> dict[str, int]:
        """The first compartment of each section."""
        sizes = [self.sizes[name] for name in self._cuts]
        return dict(zip(self._cuts, np.cumsum([0, *sizes]).tolist()))

    @functools.cached_property
    def compartments(self) -> Compartments:
        middles = lambda name: (np.arange(self.sizes[name]) + 0.5) / self.sizes[name]
        each = lambda of: np.concatenate([np.broadcast_to(of(k), (self.sizes[k],)) for k in self._cuts])
        length, area = each(lambda name: self._cuts[name].length), each(lambda name: self._cuts[name].area)
        return Compartments(
            each(np.asarray),
            np.repeat(list(self.regions), list(self.regions.values())),
            each(middles),
            length,
            area / (np.pi * length),
            area,
            each(lambda name: self.distance(name, middles(name))),
        )

    @functools.cached_property
    def _starts(self) -> dict[str, float]:
        """The way from the middle of the root section to the start of each other one, µm."""
        found: dict[str, float] = {}
        for name in self.from_root:
            if (parent := self.sections[name].parent) is not None:
                length, at = self.sections[parent].length.sum(), self.sections[name].at
                found[name] = found[parent] + at * length if parent in found else abs(at - 0.5) * length
        return found

    def distance(self, name: str, along: Any) -> np.ndarray:
        """The way (µm) from the middle of the root section to places on a section, from 0 to 1 along it."""
        length = self.sections[name].length.sum()
        is_root = name not in self._starts
        return np.asarray(abs(along - 0.5) * length if is_root else self._starts[name] + along * length)

    @functools.cached_property
    def joints(self) -> Joints:
        none = 2 * self.n
        ends, halves = [], []
        joints: dict[tuple[str, int], list[int]] = {}  # the halves that meet at the end of a section
        starts: dict[str, int | tuple[str, int]] = {}  # the node or the joint that a section stands on

        def link(half: int, other: int, node: int | None = None) -> None:
            ends.append((half // 2, other // 2 if node is None else node))
            halves.append((half, other if node is None else none))

        for name in self.from_root:
            section, first, last = self.sections[name], self._first[name], self._last(name)
            if section.parent is None:
                starts[name] = (name, 0)
            elif 0 < section.at < 1:
                starts[name] = self._nearest(section.parent, section.at)
            else:
                starts[name] = (section.parent, 1) if section.at else starts[section.parent]
            start = starts[name]
            if isinstance(start, int):
                link(2 * first, none, start)
            else:
                joints.setdefault(start, []).append(2 * first)
            joints[name, 1] = [2 * last + 1]
            for c in range(first, last):
                link(2 * c + 1, 2 * c + 2)
        nodes = self.n
        for members in joints.values():
            if len(members) == 2:
                link(*members)
            elif len(members) > 2:
                for half in members:
                    link(half, none, nodes)
                nodes += 1
        links = order_links(np.array(ends, int).reshape(-1, 2), nodes)
        resistance = np.concatenate([cut.resistance for cut in self._cuts.values()])
        of_cylinder = self.compartments.length / 2 / (np.pi * self.compartments.diameter**2 / 4)
        return Joints(
            links, resistance / of_cylinder[:, None], np.array(halves, int).reshape(-1, 2)[links.place]
        )

    def _last(self, name: str) -> int:
        return self._first[name] + self.sizes[name] - 1

    def _nearest(self, name: str, along: float) -> int:
        size = self.sizes[name]
        return self._first[name] + min(int(along * size), size - 1)

    def way(self, to: "str | int") -> np.ndarray:
        """The numbers of the compartments from the root to a place, in order."""
        above = dict(zip(self.joints.links.child.tolist(), self.joints.links.parent.tolist()))

        def to_top(node: int) -> list[int]:
            found = [node]
            while found[-1] in above:
                found.append(above[found[-1]])
            return found

        root = self._first[self.from_root[0]]
        down, up = to_top(self.index(to)), to_top(root)
        met = next(node for node in up if node in set(down))
        nodes = [*up[: up.index(met)], *down[: down.index(met) + 1][::-1]]
        return np.array([node for node in nodes if node < self.n])

    def index(self, place: "str | int") -> int:
        """The number of the compartment at a place, such as `"dend[0](0.25)"`, or that number itself.

        **Raises:** `ValueError` for a place that is none, with the sections that are.
        """
        if isinstance(place, (int, np.integer)) and not isinstance(place, bool):
            if not -self.n <= place < self.n:
                raise ValueError(f"`place` must be a number from 0 to {self.n - 1}, got {place}.")
            return int(place) % self.n
        if not isinstance(place, str):
            raise TypeError(f"`place` must be such as 'dend(0.5)' or a compartment's number, got {place!r}.")
        name, along = place, 0.5
        if name not in self.sections and (found := _PLACE.match(place)):
            name, given = found["section"], found["along"]
            try:
                along = 0.5 if given is None else float(given)
            except ValueError:
                along = math.nan
        if name not in self.sections:
            known = known_are(name, list(self.sections))
            raise ValueError(f"`place` must be on a section, got {place!r}.{known}")
        if not 0 <= along <= 1:
            raise ValueError(f"`place` must be from 0 to 1 along a section, got {place!r}.")
        return self._nearest(name, along)

    @functools.cached_property
    def _digest(self) -> bytes:
        told = hashlib.sha256(repr((self.sizes, self.regions)).encode())
        for x in (*self.compartments[3:], *self.joints.links[:3], *self.joints[1:]):
            told.update(np.ascontiguousarray(x).tobytes())
        return told.digest()

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Morphology) and self._digest == other._digest)

    def __hash__(self) -> int:
        return hash(self._digest)

    def __repr__(self) -> str:
        return f"<Morphology of {len(self.sections)} sections, {self.n} compartments>"

    def _tables(self) -> list[Table]:
        rows = []
        for region, n in self.regions.items():
            at, of = self.compartments.region == region, self.compartments
            numbers = (of.length[at].sum(), of.area[at].sum(), of.distance[at].max())
            rows.append((region, str(len(self.by_region[region])), str(n), *(f"{x:.6g}" for x in numbers)))
        headers = ("region", "sections", "compartments", "length (µm)", "area (µm²)", "farthest (µm)")
        return [Table(headers, rows, f"Morphology: {self.n} compartments", self.notes)]


_MOST = 1_000_000
"""No more compartments are made by rule: a wrong length makes millions."""


def _sizes(
    sections: dict[str, Section], max_length: Any, d_lambda: Any, resistivity: Any, C: Any
) -> dict[str, int]:
    """Into how many compartments each section is cut."""
    d_lambda, C = (as_number(*it, positive=True) for it in (("d_lambda", d_lambda), ("C", C, "µF/cm²")))
    resistivity = as_number("resistivity", resistivity, "Ω·cm", positive=True)
    if max_length is not None:
        max_length = as_number("max_length", max_length, "µm", positive=True)

    def size(section: Section) -> int:
        if section.n is not None:
            return section.n
        if max_length is not None:
            return max(1, math.ceil(min(section.length.sum() / max_length - 1e-9, 2 * _MOST)))
        return int((min(section.lambda_100(resistivity, C) / d_lambda, 2 * _MOST) + 0.9) / 2) * 2 + 1

    sizes = {name: size(section) for name, section in sections.items()}
    by_rule = {name: n for name, n in sizes.items() if sections[name].n is None}
    if sum(by_rule.values()) > _MOST:
        rule = "d_lambda" if max_length is None else "max_length"
        most = max(by_rule, key=by_rule.__getitem__)
        raise ValueError(
            f"`{rule}` must make {_MOST:,} compartments at most, got more: {most!r} is "
            f"{sections[most].length.sum():.6g} µm long."
        )
    return sizes


def _from_root(sections: dict[str, Section]) -> list[str]:
    """The names of sections, each after the one that it stands on."""
    for name, section in sections.items():
        if not isinstance(section, Section):
            raise TypeError(f"`sections[{name!r}]` must be an hh.cells.Section, got {section!r}.")
        if section.parent is not None and section.parent not in sections:
            known = known_are(section.parent, list(sections))
            raise ValueError(f"`sections[{name!r}].parent` must be a section, got {section.parent!r}.{known}")
    roots = [name for name, section in sections.items() if section.parent is None]
    if len(roots) != 1:
        raise ValueError(f"`sections` must have one without a parent, at the root, got {roots}.")
    on: dict[str, list[str]] = {}
    for name, section in sections.items():
        on.setdefault(section.parent or "", []).append(name)
    found = roots
    for name in found:
        found.extend(on.get(name, ()))
    if len(found) < len(sections):
        rest = [name for name in sections if name not in found]
        raise ValueError(f"`sections` must hang together: {rest[:5]} stand on each other in a circle.")
    return found
