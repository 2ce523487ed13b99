"""The points of a traced cell, and how they hang together."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from ._morphology import Section

SOMA = 1
TOO_FAR = 1e7
"""No coordinate nor radius is beyond (µm): lengths of a damaged file."""
LEAST = 1e-6
"""No radius is below (µm)."""


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


class PointTree:
    """How the points that are kept hang together.

    **Fields:** `parent`: the number of each point's parent, -1 at the root; `edge`: the type of the edge to
    it; `order`: the points, each after its parent; `kids`: those that hang on each.
    """

    def __init__(self, points: Points, root: int | None, join: bool):
        self.points = points
        where: dict[int, int] = {}
        for k, id in enumerate(points.id):
            if id in where:
                lines = f"lines {points.line[where[id]]} and {points.line[k]}"
                raise ValueError(f"{points.name}: id {id} appears twice ({lines}); each must be another.")
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
            what = "form a circle" if len(circle) > 1 else "is its own parent"
            raise ValueError(
                f"{points.at(circle[0])}: {points.ids(circle)} {what}.{f' {keep}.' if keep else ''}"
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
            away = f"{max(gap[next_one], 0):.3g} µm away"
            points.notes.add(f"{points.ids([start])} is joined to {points.ids([on])}, {away}", doubt=True)
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


def check_radii(tree: PointTree, radius: float | None) -> None:
    """Put `radius` where there is none, and refuse what is left of those."""
    points, r = tree.points, tree.points.radius
    none = [k for k in tree.order if not r[k] >= LEAST]
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
            f"{points.at(k)}: {said} {r[k]:g}. It must be at least {LEAST:g} µm, but for a tip of 0; "
            f"`radius=` gives one to all points without, which are {len(none)} of {len(tree.order)}."
        )
    if none:
        points.notes.add(f"tips of radius 0 end in a cone: {points.ids(none)}", doubt=True)
