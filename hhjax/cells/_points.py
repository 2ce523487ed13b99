"""From the points of a traced cell to its sections."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from ._morphology import Section

SOMA = 1
REGIONS = {SOMA: "soma", 2: "axon", 3: "dend", 4: "apic"}
TOO_FAR = 1e7
"""No coordinate nor radius is beyond (µm): lengths of a damaged file."""
_LEAST = 1e-6
"""No radius is below (µm)."""
_APART = 1e-9
"""Points at less distance (µm) are at the same place."""
_NEAR = 0.01
"""The tolerance of NEURON for the soma of three points."""


class Notes:
    """What was found in a file: `all` of it, and `doubts`, by which the cell could be wrong."""

    def __init__(self) -> None:
        self.all: list[str] = []
        self.doubts: list[str] = []

    def add(self, text: str, *, doubt: bool = False) -> None:
        self.all.append(text)
        if doubt:
            self.doubts.append(text)


@dataclasses.dataclass
class Points:
    """The points of a traced cell, in the order of their ids.

    **Fields:** `name`: of the file; `id`, `line` (0 for none), `type`, `parent`: of each point, a negative
    parent being none; `xyz`: µm, shape (points, 3); `radius`: µm, shape (points,); `body`: what stands for
    the soma where the file has its outline; `apart`: ids of the points to which no edge leads.
    """

    name: str
    id: list[int]
    line: list[int]
    type: list[int]
    parent: list[int]
    xyz: np.ndarray
    radius: np.ndarray
    notes: Notes
    body: Section | None = None
    apart: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        order = sorted(range(len(self.id)), key=self.id.__getitem__)
        for name in ("id", "line", "type", "parent"):
            setattr(self, name, [getattr(self, name)[k] for k in order])
        self.xyz, self.radius = self.xyz[order], self.radius[order]

    def at(self, k: int) -> str:
        """Where a point stands in the file."""
        line = f"line {self.line[k]} (id {self.id[k]})" if self.line[k] else f"id {self.id[k]}"
        return f"{self.name}, {line}"

    def ids(self, of: Sequence[int]) -> str:
        shown = ", ".join(str(self.id[k]) for k in of[:5])
        return (
            ("id " if len(of) == 1 else "ids ") + shown + (f" and {len(of) - 5} more" if len(of) > 5 else "")
        )


def to_sections(
    points: Points,
    radius: float | None,
    root: int | None,
    join: bool,
    soma: Literal["sphere", "frusta"] | None,
    types: Mapping[int, str],
) -> dict[str, Section]:
    """The sections of a cell, see [`hh.cells.load`][]."""
    tree = _Tree(points, root, join)
    tree.root_at_soma()
    _check_radii(tree, radius)
    return _Sections(tree, soma, types).named()


def _say_regions(points: Points, tree: "_Tree", types: Mapping[int, str]) -> None:
    for kind in sorted({points.type[k] for k in tree.order} - set(REGIONS) - set(types)):
        of = [k for k in tree.order if points.type[k] == kind]
        points.notes.add(f"type {kind} ({points.ids(of)}) is the region 'type{kind}'", doubt=kind < 0)


class _Tree:
    """How the points that are kept hang together.

    **Fields:** `parent`: the number of each point's parent, -1 at the root; `edge`: the type of the edge to
    it; `order`: the points, each after its parent; `kids`: those that hang on each.
    """

    def __init__(self, points: Points, root: int | None, join: bool):
        self.points = points
        where: dict[int, int] = {}
        for k, id in enumerate(points.id):
            if id in where:
                lines = f" (lines {points.line[where[id]]} and {points.line[k]})" if points.line else ""
                raise ValueError(
                    f"{points.name}: id {id} appears twice{lines}. Every point must have its own."
                )
            where[id] = k
        lost = [k for k, p in enumerate(points.parent) if p >= 0 and p not in where]
        self.parent = [where.get(p, -1) if p >= 0 else -1 for p in points.parent]
        self.edge = list(points.type)
        starts = [k for k, p in enumerate(self.parent) if p < 0]
        self._hang(starts)
        trees = {start: self._below(start) for start in starts}
        loose = sorted(set(range(len(points.id))).difference(self.order))
        if root is not None:
            start = next((s for s, tree in trees.items() if where.get(root, -1) in set(tree)), None)
            if start is None:
                why = "in a circle" if root in where else "not in the file"
                raise ValueError(
                    f"{points.name}: `root` must be the id of a point of a tree, got {root!r}, {why}."
                )
            out = len(points.id) - len(trees[start])
            if out:
                points.notes.add(f"{out} points that do not hang on {points.ids([start])} are left out")
            if start in lost:
                points.notes.add(f"id {points.parent[start]}, the parent of the root, is not in the file")
            self.order = trees[start]
        else:
            self._check(starts, lost, loose, join)
            if len(starts) > 1:
                self._join(trees)
        top = self.order[0]
        if top not in lost and points.parent[top] != -1:
            points.notes.add(
                f"the root, {points.ids([top])}, has the parent {points.parent[top]} for -1", doubt=True
            )

    def _hang(self, starts: Sequence[int]) -> None:
        self.kids: list[list[int]] = [[] for _ in self.parent]
        for k, p in enumerate(self.parent):
            if p >= 0:
                self.kids[p].append(k)
        self.order = [k for start in starts for k in self._below(start)]

    def _below(self, start: int) -> list[int]:
        found = [start]
        for k in found:
            found.extend(self.kids[k])
        return found

    def _check(self, starts: list[int], lost: list[int], loose: list[int], join: bool) -> None:
        points = self.points
        keep = f"`root={points.id[starts[0]]}` keeps the tree of that point" if starts else ""
        ways = f"{keep}, `join=True` hangs each other tree on the nearest point." if starts else ""
        if loose:
            k, seen = loose[0], {}
            while k not in seen:
                seen[k] = len(seen)
                k = self.parent[k]
            circle = sorted(list(seen)[seen[k] :])
            raise ValueError(
                f"{points.at(circle[0])}: {points.ids(circle)} form a circle, and no root is above them."
                + (f" {keep}." if keep else "")
            )
        if lost and not join:
            k = lost[0]
            raise ValueError(f"{points.at(k)}: its parent {points.parent[k]} is not in the file. {ways}")
        if len(starts) > 1 and not join:
            raise ValueError(f"{points.at(starts[1])}: more than one root: {points.ids(starts)}. {ways}")

    def _join(self, trees: dict[int, list[int]]) -> None:
        """Hang each tree on the point whose surface is nearest to its root, the nearest tree first."""
        points = self.points
        main = next(
            (s for s, tree in trees.items() if any(points.type[k] == SOMA for k in tree)), next(iter(trees))
        )
        rest = np.array([s for s in trees if s != main])
        gap, to = np.full(rest.size, np.inf), np.zeros(rest.size, int)
        new, left = trees[main], np.ones(rest.size, bool)
        radius = np.where(points.radius > 0, points.radius, 0)
        while left.any():
            far = np.linalg.norm(points.xyz[rest[left], None] - points.xyz[new], axis=2) - radius[new]
            nearest = far.argmin(axis=1)
            least = far[np.arange(nearest.size), nearest]
            nearer = least < gap[left]
            at = np.flatnonzero(left)[nearer]
            gap[at], to[at] = least[nearer], np.array(new)[nearest[nearer]]
            next_one = int(np.where(left, gap, np.inf).argmin())
            start, on = int(rest[next_one]), int(to[next_one])
            self.parent[start], left[next_one], new = on, False, trees[start]
            text = (
                f"{points.ids([start])} is joined to {points.ids([on])}, {max(gap[next_one], 0):.3g} µm away"
            )
            points.notes.add(text, doubt=True)
        self._hang([main])

    def root_at_soma(self) -> None:
        points, is_soma = self.points, lambda k: self.points.type[k] == SOMA
        tops = [k for k in self.order if is_soma(k) and (self.parent[k] < 0 or not is_soma(self.parent[k]))]
        if len(tops) > 1:
            k = tops[1]
            raise ValueError(
                f"{points.at(k)}: the points of the soma (type 1) must hang together, but this one and "
                f"{points.ids(tops[:1])} have others between them. Correct their type."
            )
        if not tops or self.parent[tops[0]] < 0:
            return
        path = [tops[0]]
        while (p := self.parent[path[-1]]) >= 0:
            path.append(p)
        edges = [self.edge[k] for k in path]
        for k, p, edge in zip(path, path[1:], edges):
            self.parent[p], self.edge[p] = k, edge
        self.parent[path[0]] = -1
        points.notes.add(
            f"the soma, {points.ids(tops)}, was put at the root, in place of {points.ids(path[-1:])}"
        )
        kept = set(self.order)
        self.parent = [p if k in kept else -1 for k, p in enumerate(self.parent)]
        self._hang(path[:1])


def _check_radii(tree: _Tree, radius: float | None) -> None:
    """Put `radius` where there is none, and refuse what is left of those."""
    points, r = tree.points, tree.points.radius
    none = [k for k in tree.order if not r[k] >= _LEAST]
    tip = lambda k: r[k] == 0 and tree.parent[k] >= 0 and not tree.kids[k] and points.type[k] != SOMA
    if radius is not None:
        if none:
            r[none] = radius
            points.notes.add(f"{len(none)} points without a radius ({points.ids(none)}) got {radius:g} µm")
        return
    if bad := [k for k in none if not tip(k)]:
        k = min(bad, key=lambda k: (r[k] == 0, k))
        said = "negative radius" if r[k] < 0 else "radius"
        raise ValueError(
            f"{points.at(k)}: {said} {r[k]:g}. It must be at least {_LEAST:g} µm, but for a tip of 0; "
            f"`radius=` gives one to all points without, which are {len(none)} of {len(tree.order)}."
        )
    if none:
        points.notes.add(f"tips of radius 0 end in a cone: {points.ids(none)}", doubt=True)


class _Sections:
    """The unbranched paths of a tree, and where each starts."""

    def __init__(self, tree: _Tree, soma: Literal["sphere", "frusta"] | None, types: Mapping[int, str]):
        self.tree, self.points = tree, tree.points
        names = {**REGIONS, **types}
        self.region = [names.get(t, f"type{t}") for t in tree.edge]
        self.somata = [k for k in tree.order if self.points.type[k] == SOMA]
        self.body = self.points.body or self._sphere(soma)
        _say_regions(self.points, tree, types)
        self._cut()
        self._say_gaps()

    def _sphere(self, soma: Literal["sphere", "frusta"] | None) -> Section | None:
        """The soma as one node, if it is a sphere."""
        points, somata = self.points, self.somata
        if not somata:
            points.notes.add("there is no soma")
            return None
        top, others = somata[0], somata[1:]
        xyz, r = points.xyz[somata], points.radius[somata]
        if not others and soma == "frusta":
            raise ValueError(
                f"{points.at(top)}: `soma` must be 'sphere' for a soma of one point, got 'frusta'."
            )
        round = not others or soma == "sphere"
        fan = len(somata) == 3 and all(self.tree.parent[k] == top and not self.tree.kids[k] for k in others)
        if soma is None and fan and np.ptp(r) <= 1e-6 * r[0]:
            away = np.linalg.norm(xyz[1:] - xyz[0], axis=1)
            across = np.linalg.norm(xyz[1] - xyz[2])
            round = max(abs(away.sum() / (2 * r[0]) - 1), abs(across / (2 * r[0]) - 1)) < _NEAR
            if not round:
                raise ValueError(
                    f"{points.at(others[0])}: in a soma of three points, {points.ids(others)} must be at ± "
                    f"its radius, {r[0]:g} µm, got {away[0]:.6g} and {away[1]:.6g} µm. `soma='sphere'` takes "
                    "it for a sphere of that radius, `soma='frusta'` for two cylinders."
                )
        elif soma is None and fan:
            points.notes.add(f"the soma of three points ({points.ids(somata)}) has several radii", doubt=True)
        if not round and not np.ptp(xyz, axis=0).any():
            points.notes.add(
                f"the soma has no length ({points.ids(somata)}): a sphere is put there", doubt=True
            )
            round = True
        if not round:
            points.notes.add(f"the soma is {len(somata) - 1} frusta")
            return None
        points.notes.add(f"the soma is a sphere of radius {r[0]:g} µm")
        ends = xyz[0] + r[0] * np.array([[-1.0, 0, 0], [1, 0, 0]])
        return Section(2 * r[0], 2 * r[0], n=1, region="soma", points=ends)

    def _cut(self) -> None:
        tree, in_body = self.tree, set(self.somata)
        self.wires = [k for k in tree.order[1:] if tree.parent[k] in in_body and k not in in_body]
        whole = {*self.wires, *(self.somata if self.body else ())}
        forks = [sum(k not in whole for k in kids) for kids in tree.kids]
        # No frustum leads to these.
        loose = {*whole, tree.order[0], *(k for k in tree.order if self.points.id[k] in self.points.apart)}
        self.paths: list[list[int]] = []
        self.of: dict[int, int] = {}  # the path that leads to a point
        for k in tree.order:
            if k in loose:
                continue
            p = tree.parent[k]
            on = self.of.get(p)
            if on is None or forks[p] > 1 or self.region[k] != self.region[p]:
                on = len(self.paths)
                self.paths.append([p])
            self.paths[on].append(k)
            self.of[k] = on
        far = lambda path: np.linalg.norm(np.diff(self.points.xyz[path], axis=0), axis=1)
        self.lengths = [np.where(far(path) < _APART, 0.0, far(path)) for path in self.paths]
        ahead = self._move_rings()
        along = [np.cumsum(lengths).tolist() for lengths in self.lengths]
        # A path and how far along it, or None at the root. What has no length is where it starts.
        self.place: dict[int, tuple[int, float] | None] = {tree.order[0]: None}
        count: dict[int, int] = {}
        for k in tree.order[1:]:
            on = self.of.get(k)
            if on is None:
                self.place[k] = self.place[tree.parent[k]]
                continue
            count[on] = count.get(on, ahead[on] - 1) + 1
            whole = along[on][-1]
            start = self.place[self.paths[on][0]]
            self.place[k] = (on, along[on][count[on]] / whole) if whole else start

    def _move_rings(self) -> list[int]:
        """Put paths that are but a step of radius ahead of those on them; how many points each got."""
        ahead, on_it = [0] * len(self.paths), {}
        for on, path in enumerate(self.paths):
            on_it.setdefault(path[0], on)
        for on, path in enumerate(self.paths):
            child = on_it.get(path[-1])
            if child is not None and not self.lengths[on].any() and np.ptp(self.points.radius[path]) > 0:
                self.paths[child] = path[:-1] + self.paths[child]
                self.lengths[child] = np.concatenate([self.lengths[on], self.lengths[child]])
                ahead[child] = len(path) - 1
        return ahead

    def _say_gaps(self) -> None:
        points, tree = self.points, self.tree
        stubs = [k for k in self.wires if not tree.kids[k]]
        if stubs:
            points.notes.add(
                f"neurites of one point on the soma have no length and are left out: {points.ids(stubs)}",
                doubt=True,
            )
        none = {path[1:][j] for path, h in zip(self.paths, self.lengths) for j in np.flatnonzero(h == 0)}
        if none:
            points.notes.add(f"edges of no length: {points.ids(sorted(none))}")
        if points.body is not None or not self.somata:
            return
        off = {k: self._gap(k) for k in self.wires if tree.kids[k]}
        far = [k for k in off if off[k] > points.radius[self.somata].max()]
        if far:
            most = max(off[k] for k in far)
            points.notes.add(
                f"neurites begin up to {most:.3g} µm off the soma: {points.ids(far)}", doubt=True
            )

    def _gap(self, k: int) -> float:
        """How far the first point of a neurite is from the surface of the soma, µm."""
        on, xyz = self.tree.parent[k], self.points.xyz
        return float(np.linalg.norm(xyz[k] - xyz[on]) - self.points.radius[on])

    def named(self) -> dict[str, Section]:
        points, kept = self.points, [k for k, lengths in enumerate(self.lengths) if lengths.sum() > 0]
        region = lambda k: self.region[self.paths[k][-1]]
        kept.sort(key=lambda k: (region(k) != "soma", self.paths[k][1]))
        if not kept and self.body is None:
            raise ValueError(
                f"{points.name}: no two points are apart, and no soma is a sphere. It is no cell."
            )
        several = sum(region(k) == "soma" for k in kept) > 1
        names, count = {}, {}
        for k in kept:
            number = count[region(k)] = count.get(region(k), -1) + 1
            names[k] = "soma" if region(k) == "soma" and not several else f"{region(k)}[{number}]"
        found = {} if self.body is None else {"soma": self.body}
        at_root = [k for k in kept if self.place[self.paths[k][0]] is None]
        first = None if self.body else at_root[0]
        if first is not None and first != kept[0]:
            kept.remove(first)
            kept.insert(0, first)
        for k in kept:
            path = self.paths[k]
            start = self.place[path[0]]
            parent, at = ("soma", 0.5) if start is None else (names[start[0]], start[1])
            if self.body is None and start is None:
                parent, at = (None, 1.0) if k == first else (names[at_root[0]], 0.0)
            found[names[k]] = Section(
                self.lengths[k],
                2 * points.radius[path],
                parent=parent,
                at=at,
                region=region(k),
                points=points.xyz[path],
            )
        return found


def check_options(name: str, radius: Any, root: Any, join: Any, soma: Any, types: Any) -> None:
    """Refuse what is no option of [`hh.cells.load`][]."""
    number = isinstance(radius, (int, float, np.number)) and not isinstance(radius, bool)
    if radius is not None and not (number and _LEAST <= radius <= TOO_FAR):
        raise ValueError(f"`radius` must be a positive number in µm, got {radius!r}.")
    if root is not None and (isinstance(root, bool) or not isinstance(root, (int, np.integer))):
        raise ValueError(f"`root` must be the id of a point of {name}, a whole number, got {root!r}.")
    if join not in (None, True, False):
        raise ValueError(f"`join` must be True or False, got {join!r}.")
    if root is not None and join:
        raise ValueError(
            f"`root` keeps one tree and `join` all: give one of them, got {root!r} and {join!r}."
        )
    if soma not in (None, "sphere", "frusta"):
        raise ValueError(f"`soma` must be 'sphere' or 'frusta', got {soma!r}.")
    if not isinstance(types, Mapping) or not all(isinstance(k, (int, np.integer)) for k in types):
        raise ValueError(f"`types` must be names of regions by number, such as {{5: 'dend'}}, got {types!r}.")
    for kind, region in types.items():
        if not isinstance(region, str) or not region or set(region) & set(".,[]=()"):
            raise ValueError(f"`types[{kind}]` must be a name without any of . , [ ] = ( ), got {region!r}.")
        if kind == SOMA or region == "soma":
            raise ValueError(f"`types` must leave 1 to the soma, and 'soma' to it, got {kind}: {region!r}.")
