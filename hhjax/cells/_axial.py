"""The currents along a tree of compartments, and the solution of V's equations on it."""

import functools
from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Inexact

from .._base.operators import AbstractOperator, Solve


class Links(NamedTuple):
    """The links of a tree of nodes, ordered so that each comes after all that lie behind its `child`.

    The root is in the middle of the tree and the links furthest from it come first: neighbours in
    this order then seldom wait for each other.

    **Fields:** `child`, `parent`: the nodes that a link joins, shape (links,); `place`: where each
    link was in the list it was made from; `root`: the node that is no child.
    """

    child: np.ndarray
    parent: np.ndarray
    place: np.ndarray
    root: int


def order_links(ends: np.ndarray, nodes: int) -> Links:
    """The links of a tree whose links join the pairs of nodes `ends`, shape (links, 2)."""
    around: list[list[tuple[int, int]]] = [[] for _ in range(nodes)]
    for place, (a, b) in enumerate(ends.tolist()):
        around[a].append((b, place))
        around[b].append((a, place))

    def walk(start: int) -> tuple[list[int], dict[int, tuple[int, int]]]:
        """The nodes by their distance from `start`, and each one's parent and link to it."""
        found, above = [start], {start: (-1, -1)}
        for node in found:
            for other, place in around[node]:
                if other not in above:
                    above[other] = node, place
                    found.append(other)
        return found, above

    far = walk(0)[0][-1]
    nodes_by_distance, above = walk(far)
    path = [nodes_by_distance[-1]]  # the longest there is
    while path[-1] != far:
        path.append(above[path[-1]][0])
    root = path[len(path) // 2]
    nodes_by_distance, above = walk(root)
    child = np.array(nodes_by_distance[:0:-1], np.int32)
    parent, place = (np.array([above[c][k] for c in child.tolist()], np.int32) for k in (0, 1))
    return Links(child, parent, place, root)


class Tree(NamedTuple):
    """A tree of compartments of `count` equal cells, which lie in V from `start` on.

    Of a cell's nodes the first `size` are compartments and the rest branch points without membrane.
    V has the compartment first and then the cell, so that it is a matrix of shape (size, count).

    **Fields:** `links`; `conductance`: of each link, µS, shape (links,); `capacity`: of each
    compartment, nF, shape (size, count).
    """

    links: Links
    conductance: Array
    capacity: Array
    start: int

    @property
    def nodes(self) -> int:
        return len(self.links.child) + 1

    @property
    def part(self) -> slice:
        return slice(self.start, self.start + self.capacity.size)

    def _to_nodes(self, x: Array) -> Array:
        """Currents (nA) into the compartments, shape (n,), as shape (nodes, count)."""
        x = x.reshape(self.capacity.shape)
        return jnp.pad(x, ((0, self.nodes - x.shape[0]), (0, 0)))

    def _from_nodes(self, x: Array) -> Array:
        return x[: self.capacity.shape[0]].reshape(-1)

    def times(self, V: Array) -> Array:
        """L·V, mV/ms."""
        g, (child, parent, _, _) = self.conductance[:, None], self.links
        size = self.capacity.shape[0]
        x = self._to_nodes(V)
        if self.nodes > size:  # a branch point is at the mean of its neighbours
            joint = lambda at: jnp.where((at >= size)[:, None], g, 0.0)
            total = lambda a, b: jnp.zeros_like(x).at[child].add(a).at[parent].add(b)
            ones = jnp.ones_like(x[:1])
            weight = total(joint(child) * ones, joint(parent) * ones)
            mean = total(joint(child) * x[parent], joint(parent) * x[child])
            mean = mean / jnp.where(weight > 0, weight, 1.0)
            x = jnp.where((np.arange(self.nodes) < size)[:, None], x, mean)
        return self._from_nodes(_outflow(g, x, self.links)) / self.capacity.reshape(-1)

    def solve(self, d: Array, b: Array) -> tuple[Array, Solve]:
        """See `AbstractOperator.solve`."""
        capacity = self.capacity.reshape(-1)
        g, leak = self.conductance[:, None], self._to_nodes(capacity * d)
        into = lambda x: leak * x + _outflow(g, x, self.links)
        known = jax.lax.stop_gradient((leak, g))
        solve = functools.partial(jax.lax.custom_linear_solve, into, symmetric=True)
        first = lambda _, b: _solved(*known, b, self.links)
        x, eliminated = solve(self._to_nodes(capacity * b), first, has_aux=True)

        def again(b: Array) -> Array:
            next = lambda _, b: _solved_again(eliminated, known[1], b, self.links)
            return self._from_nodes(solve(self._to_nodes(capacity * b), next))

        return self._from_nodes(x), again

    def bound(self) -> Array:
        out = jnp.zeros((self.nodes, 1), self.conductance.dtype)
        for end in self.links[:2]:
            out = out.at[end].add(self.conductance[:, None])
        return 2 * (out[: self.capacity.shape[0]] / self.capacity).max()


WIDE = 8
"""From so many cells side by side on, a loop over links is faster than to gather all rows at once."""


def _outflow(g: Array, x: Array, links: Links) -> Array:
    """The current that flows out of each node, for potentials x, shape (nodes, count)."""
    out = jnp.zeros_like(x)
    if x.shape[1] < WIDE:
        rows = lambda at: x.at[at].get(mode="promise_in_bounds")
        along = g * (rows(links.child) - rows(links.parent))
        out = out.at[links.child].set(along, mode="promise_in_bounds", unique_indices=True)
        return out.at[links.parent].add(-along, mode="promise_in_bounds")

    def add(out: Array, link: tuple) -> tuple[Array, None]:
        g, child, parent = link
        along = g * (_row(x, child) - _row(x, parent))
        return out.at[child].add(along).at[parent].add(-along), None

    return jax.lax.scan(add, out, (g, links.child, links.parent))[0]


class _Eliminated(NamedTuple):
    """A tree of which every node but the root was eliminated.

    **Fields:** `share`: of the current into the child of a link, what goes on to its parent, shape (links,
    count); `root`: the conductance from the root to ground, µS, shape (1, count).
    """

    share: Array
    root: Array


def _row(x: Array, at: Array | int) -> Array:
    return jax.lax.dynamic_slice_in_dim(x, at, 1)[0]


def _with_row(x: Array, at: Array, row: Array) -> Array:
    return jax.lax.dynamic_update_slice_in_dim(x, row[None], at, 0)


def _solved(leak: Array, g: Array, b: Array, links: Links) -> tuple[Array, _Eliminated]:
    """The potentials at which the currents b (nA) leave through `leak` (µS), and what else was found.

    M. Hines, Int. J. Biomed. Comput. 15 (1984) 69-76, in conductances: what lies behind a link is, to
    ground, in series with it. No number is a difference, so that float32 loses no digit however strong
    the links are.
    """
    count = b.shape[1]

    def to_parent(both: Array, link: tuple) -> tuple[Array, Array]:
        g, child, parent = link
        own = _row(both, child)
        share = g / (own[:count] + g)
        sent = own * jnp.concatenate([share, share])
        return _with_row(both, parent, _row(both, parent) + sent), share

    both = jnp.concatenate([leak, b], axis=1)
    both, share = jax.lax.scan(to_parent, both, (g, links.child, links.parent))
    found = _Eliminated(share, both[links.root, None, :count])
    return _back(found, g, both[:, count:], links), found


def _solved_again(known: _Eliminated, g: Array, b: Array, links: Links) -> Array:
    def to_parent(b: Array, link: tuple) -> tuple[Array, None]:
        share, child, parent = link
        return _with_row(b, parent, _row(b, parent) + _row(b, child) * share), None

    b, _ = jax.lax.scan(to_parent, b, (known.share, links.child, links.parent))
    return _back(known, g, b, links)


def _back(known: _Eliminated, g: Array, b: Array, links: Links) -> Array:
    """From the root back to its children, for the currents b with what came from these."""

    def to_child(x: Array, link: tuple) -> tuple[Array, None]:
        share, resistance, child, parent = link
        return _with_row(x, child, share * (_row(x, parent) + resistance * _row(x, child))), None

    x = b.at[links.root].divide(known.root[0])
    return jax.lax.scan(to_child, x, (known.share, 1 / g, links.child, links.parent), reverse=True)[0]


class Axial(AbstractOperator):
    """What flows along the cells of a network, of which each is a tree of compartments.

    **Fields:** `trees`: the cells of a kind each, which lie in V one after the other, perhaps with points
    between; `n`: the size of V.
    """

    trees: tuple[Tree, ...]
    n: int

    smooth: ClassVar[bool] = True

    @property
    def joined(self) -> np.ndarray | None:
        joined = np.zeros(self.n, bool)
        for tree in self.trees:
            joined[tree.part] = True
        return None if joined.all() else joined

    def times(self, V: Float[Array, " n"]) -> Float[Array, " n"]:
        return self._each([tree.times(V[tree.part]) for tree in self.trees], jnp.zeros_like(V))

    def solve(self, d: Inexact[Array, " n"], b: Inexact[Array, " n"]) -> tuple[Inexact[Array, " n"], Solve]:
        if len(self.trees) == 1 and self.joined is None:
            return self.trees[0].solve(d, b)
        found = [tree.solve(d[tree.part], b[tree.part]) for tree in self.trees]
        again = lambda b: self._each([of(b[t.part]) for t, (_, of) in zip(self.trees, found)], b / d)
        return self._each([x for x, _ in found], b / d), again

    def bound(self) -> Float[Array, ""]:
        return jnp.stack([tree.bound() for tree in self.trees]).max()

    def _each(self, parts: Sequence[Array], rest: Array) -> Array:
        """The vector of a part for each tree, elsewhere `rest`."""
        for tree, part in zip(self.trees, parts):
            rest = rest.at[tree.part].set(part)
        return rest
