"""The currents along a tree of compartments, and the solution of V's equations on it."""

from collections.abc import Callable, Sequence
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

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
            joint = lambda at: (at >= size)[:, None]
            total = lambda a, b: jnp.zeros_like(x).at[child].add(a).at[parent].add(b)
            weight = total(g * joint(child), g * joint(parent))
            mean = total(g * joint(child) * x[parent], g * joint(parent) * x[child])
            x = jnp.where(jnp.arange(self.nodes)[:, None] < size, x, mean / jnp.where(weight > 0, weight, 1.0))
        return self._from_nodes(_outflow(g, x, self.links)) / self.capacity.reshape(-1)

    def solver(self, d: Array) -> Solve:
        g = self.conductance[:, None]
        leak = self._to_nodes(self.capacity.reshape(-1) * d)
        into = lambda x: leak * x + _outflow(g, x, self.links)
        known = _eliminated(*jax.lax.stop_gradient((leak, g)), self.links)

        def solve(b: Array) -> Array:
            b = self._to_nodes(self.capacity.reshape(-1) * b)
            found = lambda _, b: _substituted(known, b, self.links)
            return self._from_nodes(jax.lax.custom_linear_solve(into, b, found, symmetric=True))

        return solve

    def bound(self) -> Array:
        out = jnp.zeros((self.nodes, 1), self.conductance.dtype)
        for end in self.links[:2]:
            out = out.at[end].add(self.conductance[:, None])
        return 2 * (out[: self.capacity.shape[0]] / self.capacity).max()


def _outflow(g: Array, x: Array, links: Links) -> Array:
    """The current that flows out of each node, for potentials x, shape (nodes, count)."""
    along = g * (x[links.child] - x[links.parent])
    return jnp.zeros_like(x).at[links.child].add(along).at[links.parent].add(-along)


class _Eliminated(NamedTuple):
    """A tree of which every node but the root was eliminated, shapes (nodes, count).

    **Fields:** `share`: of the current into a node, what its parent gets; `pivot`: the inverse of the
    conductance from a node to ground and parent.
    """

    share: Array
    pivot: Array


def _eliminated(leak: Array, g: Array, links: Links) -> _Eliminated:
    """M. Hines, Int. J. Biomed. Comput. 15 (1984) 69-76, in conductances.

    What lies behind a link to ground is its conductance in series with that of the link: no number is
    a difference, so that float32 loses no digit however strong the links are.
    """
    child, parent = jnp.asarray(links.child), jnp.asarray(links.parent)
    row = lambda x, at: jax.lax.dynamic_slice_in_dim(x, at, 1)

    def add_child(k: Array, leak: Array) -> Array:
        own, link = row(leak, child[k]), row(g, k)
        behind = own * (link / (own + link))
        return jax.lax.dynamic_update_slice_in_dim(leak, row(leak, parent[k]) + behind, parent[k], 0)

    leak = jax.lax.fori_loop(0, len(links.child), add_child, leak)
    to_parent = jnp.zeros((leak.shape[0], 1), leak.dtype).at[links.child].set(g, unique_indices=True)
    pivot = 1 / (leak + to_parent)
    return _Eliminated(to_parent * pivot, pivot)


def _substituted(known: _Eliminated, b: Array, links: Links) -> Array:
    child, parent = jnp.asarray(links.child), jnp.asarray(links.parent)
    share, last = known.share, len(links.child) - 1
    row = lambda x, at: jax.lax.dynamic_slice_in_dim(x, at, 1)
    put = jax.lax.dynamic_update_slice_in_dim

    def to_parent(k: Array, b: Array) -> Array:
        sent = row(b, child[k]) * row(share, child[k])
        return put(b, row(b, parent[k]) + sent, parent[k], 0)

    def to_child(k: Array, x: Array) -> Array:
        at, above = child[last - k], parent[last - k]
        return put(x, row(x, at) + row(share, at) * row(x, above), at, 0)

    b = jax.lax.fori_loop(0, last + 1, to_parent, b)
    return jax.lax.fori_loop(0, last + 1, to_child, b * known.pivot)


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
        return self._each(V, [tree.times for tree in self.trees], jnp.zeros_like(V))

    def solver(self, d: Float[Array, " n"]) -> Solve:
        solves = [tree.solver(d[tree.part]) for tree in self.trees]
        return lambda b: self._each(b, solves, b / d)

    def bound(self) -> Float[Array, ""]:
        return jnp.stack([tree.bound() for tree in self.trees]).max()

    def _each(self, x: Array, of: Sequence[Callable[[Array], Array]], rest: Array) -> Array:
        """The vector of what each tree's function makes of its part of x, elsewhere `rest`."""
        if len(of) == 1 and self.joined is None:
            return of[0](x)
        for tree, function in zip(self.trees, of):
            rest = rest.at[tree.part].set(function(x[tree.part]))
        return rest
