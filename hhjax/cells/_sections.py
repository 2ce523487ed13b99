"""From the points of a traced cell to its sections."""

from collections.abc import Mapping
from typing import Literal

import numpy as np

from ._morphology import Section
from ._points import check_radii, Points, PointTree, SOMA

REGIONS = {SOMA: "soma", 2: "axon", 3: "dend", 4: "apic"}
_APART = 1e-9
"""Points at less distance (µm) are at the same place."""
_NEAR = 0.01
"""The tolerance of NEURON for the soma of three points."""


def to_sections(
    points: Points,
    radius: float | None,
    root: int | None,
    join: bool,
    soma: Literal["sphere", "frusta"] | None,
    types: Mapping[int, str],
) -> dict[str, Section]:
    """The sections of a cell, see [`hh.cells.load`][]."""
    tree = PointTree(points, root, join)
    tree.root_at_soma()
    check_radii(tree, radius)
    return _Sections(tree, soma, types).named()


class _Sections:
    """The unbranched paths of a tree, and where each starts."""

    def __init__(self, tree: PointTree, soma: Literal["sphere", "frusta"] | None, types: Mapping[int, str]):
        self.tree, self.points = tree, tree.points
        names = {**REGIONS, **types}
        self.region = [names.get(t, f"type{t}") for t in tree.edge]
        self.somata = [k for k in tree.order if self.points.type[k] == SOMA]
        self.body = self.points.body or self._sphere(soma)
        self._cut()
        self._say_regions(types)
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
        is_sphere = not others or soma == "sphere"
        fan = len(somata) == 3 and all(self.tree.parent[k] == top and not self.tree.kids[k] for k in others)
        if soma is None and fan and np.ptp(r) <= 1e-6 * r[0]:
            away = np.linalg.norm(xyz[1:] - xyz[0], axis=1)
            across = np.linalg.norm(xyz[1] - xyz[2])
            is_sphere = max(abs(away.sum() / (2 * r[0]) - 1), abs(across / (2 * r[0]) - 1)) < _NEAR
            if not is_sphere:
                raise ValueError(
                    f"{points.at(others[0])}: in a soma of three points, {points.ids(others)} must be at ± "
                    f"its radius, {r[0]:g} µm, got {away[0]:.6g} and {away[1]:.6g} µm. `soma='sphere'` takes "
                    "it for a sphere of that radius, `soma='frusta'` for two cylinders."
                )
        elif soma is None and fan:
            points.notes.add(f"the soma of three points ({points.ids(somata)}) has several radii", doubt=True)
        if not is_sphere and not np.ptp(xyz, axis=0).any():
            points.notes.add(
                f"the soma has no length ({points.ids(somata)}): a sphere is put there", doubt=True
            )
            is_sphere = True
        if not is_sphere:
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

    def _say_regions(self, types: Mapping[int, str]) -> None:
        for kind in sorted({self.tree.edge[k] for k in self.of} - set(REGIONS) - set(types)):
            ids = self.points.ids(sorted(k for k in self.tree.order if self.tree.edge[k] == kind))
            self.points.notes.add(f"type {kind} ({ids}) is the region 'type{kind}'", doubt=kind < 0)

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
