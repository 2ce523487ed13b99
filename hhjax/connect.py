"""Builders of connectivity. The same key gives the same connections, on every machine.

All but `all_to_all` return [`hh.connect.Sparse`][] weights; `.dense()` makes a matrix of them,
row = receiving neuron. Weights are in mS/cm².
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ._base.arguments import as_array, as_host, as_number, as_whole, check_function, check_memory
from ._base.parameters import check_flag, check_size, is_concrete, shown
from ._base.random import check_key


class Sparse(eqx.Module):
    """Weights of the connections that exist, in a table with a row for each receiving neuron.

    Made by the builders in [`hh.connect`][]. Rows are padded with weights of 0 up to the largest
    number of connections that a neuron receives. Differentiable in `weight`.

    **Fields:**

    - `pre`: the sending neurons, shape (post, most).
    - `weight`: mS/cm², shape (post, most).
    - `targets`: where in `weight` the connections that a neuron sends are, counted row by row,
        shape (pre, most sent), padded with post·most.
    """

    pre: Int[Array, "post most"]
    weight: Float[Array, "post most"]
    targets: Int[Array, "pre sent"]

    @property
    def shape(self) -> tuple[int, int]:
        """(post, pre), as of the dense matrix."""
        return self.weight.shape[0], self.targets.shape[0]

    @property
    def count(self) -> int:
        """How many connections there are."""
        return int((np.asarray(self.targets) < self.weight.size).sum())

    @jax.jit
    def dense(self) -> Float[Array, "post pre"]:
        """The matrix of weights, row = receiving neuron."""
        rows = jnp.arange(self.shape[0])[:, None]
        return jnp.zeros(self.shape, self.weight.dtype).at[rows, self.pre].add(self.weight)

    def sum_over_pre(self, x: Float[Array, " pre"]) -> Float[Array, " post"]:
        """Σⱼ Wᵢⱼ xⱼ."""
        return (self.weight * x[self.pre]).sum(axis=1)

    def sum_over_few(self, x: Float[Array, " pre"]) -> Float[Array, " post"]:
        """Σⱼ Wᵢⱼ xⱼ where most xⱼ are 0, as most neurons do not spike within a step."""
        post, pre = self.shape
        room = max(16, pre // 64)
        if room >= pre:
            return self.sum_over_pre(x)

        def few(x: Array) -> Array:
            (who,) = jnp.nonzero(x, size=room, fill_value=pre)
            at = self.targets.at[who].get(mode="fill", fill_value=self.weight.size)
            weight = self.weight.ravel().at[at].get(mode="fill", fill_value=0.0)
            sent = x.at[who].get(mode="fill", fill_value=0.0)[:, None] * weight
            return jnp.zeros(post, x.dtype).at[at // self.weight.shape[1]].add(sent, mode="drop")

        return jax.lax.cond((x != 0).sum() <= room, few, lambda x: self.sum_over_pre(x), x)


Weights = Float[Array, "post pre"] | Sparse


def as_weights(weights: Any) -> Any:
    """A dense matrix, row = receiving neuron, or a [`hh.connect.Sparse`][] one."""
    if isinstance(weights, Sparse):
        return weights
    return as_array(
        "weights", weights, "mS/cm²", axes="(post, pre)", missing=True, finite=False
    )  # see `check_weights`


def sum_over_pre(weights: Any, x: Array) -> Array:
    """Σⱼ Wᵢⱼ xⱼ."""
    if isinstance(weights, Sparse):
        return weights.sum_over_pre(x)
    return jnp.matmul(weights, x, precision="highest")


def sum_over_few(weights: Any, x: Array) -> Array:
    """Σⱼ Wᵢⱼ xⱼ where most xⱼ are 0."""
    return weights.sum_over_few(x) if isinstance(weights, Sparse) else sum_over_pre(weights, x)


def check_weights(weights: Any, post: int, pre: int) -> None:
    """Refuse weights of another shape than (post, pre), or that are not finite."""
    if weights.shape != (post, pre):
        raise ValueError(
            f"`coupling.weights` must have shape (post, pre) = ({post}, {pre}), row = receiving neuron, "
            f"got {weights.shape}."
        )
    values = weights.weight if isinstance(weights, Sparse) else weights
    if is_concrete(values) and not np.isfinite(np.asarray(values)).all():
        raise ValueError("`coupling.weights` must be finite, got NaN or infinity.")


def _generator(key: Array) -> np.random.Generator:
    check_key("key", key, needed=True)
    return np.random.default_rng(np.asarray(jax.random.key_data(key)).ravel())


def from_pairs(post: Any, pre: Any, weight: Any, shape: tuple[int, int]) -> Sparse:
    """Connections given one by one.

    **Arguments:** `post`, `pre`: the receiving and the sending neuron of each; `weight`: mS/cm²,
    a number or one for each; `shape`: (post, pre), the numbers of neurons.
    """
    if not isinstance(shape, (tuple, list)) or len(shape) != 2:
        raise TypeError(f"`shape` must be a pair (post, pre) of numbers of neurons, got {shown(shape)}.")
    n_post, n_pre = (check_size("shape", n) for n in shape)
    post = np.array(as_whole("post", post, 0, n_post - 1), int)
    pre = np.array(as_whole("pre", pre, 0, n_pre - 1), int)
    if post.shape != pre.shape:
        raise ValueError(f"`post` and `pre` must be of one length, got {post.size} and {pre.size}.")
    weight = np.asarray(as_array("weight", weight, "mS/cm²", shapes=[(), post.shape]))
    weight = np.broadcast_to(weight, post.shape)
    order = np.lexsort((pre, post))
    post, pre, weight = post[order], pre[order], weight[order]
    row, most = _slots(post, n_post)
    table_pre, table_weight = np.zeros((n_post, most), int), np.zeros((n_post, most), weight.dtype)
    table_pre[post, row], table_weight[post, row] = pre, weight
    by_pre = np.argsort(pre, kind="stable")
    slot, sent = _slots(pre[by_pre], n_pre)
    targets = np.full((n_pre, sent), n_post * most, int)
    targets[pre[by_pre], slot] = (post * most + row)[by_pre]
    whole = lambda x: jnp.asarray(x, jnp.int32)
    return Sparse(whole(table_pre), jnp.asarray(table_weight), whole(targets))


def from_dense(weights: Any) -> Sparse:
    """The connections of a matrix, row = receiving neuron, that are not 0.

    **Arguments:** `weights`: mS/cm², shape (post, pre).
    """
    weights = np.asarray(as_host("weights", weights, "mS/cm²", axes="(post, pre)"))
    post, pre = np.nonzero(weights)
    return from_pairs(post, pre, weights[post, pre], weights.shape)


def _slots(sorted_ends: np.ndarray, n: int) -> tuple[np.ndarray, int]:
    """The number of each connection among those of its neuron, and the most of any (at least 1)."""
    counts = np.bincount(sorted_ends, minlength=n)
    start = np.cumsum(counts) - counts
    return np.arange(sorted_ends.size) - np.repeat(start, counts), max(int(counts.max()), 1)


def all_to_all(post: int, pre: int, weight: Any = 1.0, *, autapses: bool = True) -> Float[Array, "p q"]:
    """Every one of `pre` neurons to every one of `post`, as a dense matrix.

    **Arguments:** `post`, `pre`: numbers of neurons; `weight`: mS/cm²; `autapses`: whether
    neuron i connects to neuron i, if both are the same population.
    """
    post, pre = check_size("post", post), check_size("pre", pre)
    if not check_flag("autapses", autapses) and post != pre:
        raise ValueError(f"`autapses=False` takes one population, got post={post} and pre={pre}.")
    check_memory("post` and `pre", post * pre, "weights")
    weights = jnp.full((post, pre), as_array("weight", weight, "mS/cm²", shapes=[()]))
    return weights if autapses else weights * (1 - jnp.eye(post, pre, dtype=weights.dtype))


def one_to_one(n: int, weight: Any = 1.0) -> Sparse:
    """Neuron i of one population to neuron i of another, both of `n` neurons.

    **Arguments:** `weight`: mS/cm², a number or one for each.
    """
    each = np.arange(check_size("n", n))
    return from_pairs(each, each, weight, (n, n))


def random(
    key: Array,
    post: int,
    pre: int,
    *,
    p: float | None = None,
    indegree: int | None = None,
    weight: Any = 1.0,
    autapses: bool = True,
) -> Sparse:
    """Random connections: each with probability `p`, or `indegree` to every neuron.

    **Arguments:**

    - `key`: a `jax.random.key`.
    - `post`, `pre`: numbers of receiving and sending neurons.
    - `p`: probability of each connection, in [0, 1]; or
    - `indegree`: how many different neurons each neuron hears.
    - `weight`: mS/cm².
    - `autapses`: whether neuron i may connect to neuron i, if both are the same population.
    """
    post, pre = check_size("post", post), check_size("pre", pre)
    if (p is None) == (indegree is None):
        raise ValueError(f"Give one of `p` and `indegree`, got p={p!r} and indegree={indegree!r}.")
    p = None if p is None else as_number("p", p, least=0.0, most=1.0)
    if not check_flag("autapses", autapses) and post != pre:
        raise ValueError(f"`autapses=False` takes one population, got post={post} and pre={pre}.")
    choices = pre if autapses else pre - 1
    indegree = None if indegree is None else check_size("indegree", indegree, 0, choices)
    rng = _generator(key)
    counts = np.full(post, indegree) if p is None else rng.binomial(choices, p, post)
    heard = [rng.choice(choices, count, replace=False, shuffle=False) for count in counts]
    to, of = np.repeat(np.arange(post), counts), np.concatenate(heard)
    if not autapses:
        of = of + (of >= to)
    return from_pairs(to, of, weight, (post, pre))


def ring(n: int, neighbours: int = 1, weight: Any = 1.0) -> Sparse:
    """Each of `n` neurons on a ring hears its `neighbours` nearest on either side.

    **Arguments:** `n`: at least 3; `neighbours`: at most (n − 1)/2; `weight`: mS/cm².
    """
    n, neighbours = check_size("n", n, 3), check_size("neighbours", neighbours)
    if neighbours > (n - 1) // 2:
        raise ValueError(
            f"`neighbours` must be at most (n − 1)/2 = {(n - 1) // 2} for n={n}, got {neighbours}."
        )
    steps = np.concatenate([np.arange(-neighbours, 0), np.arange(1, neighbours + 1)])
    to = np.repeat(np.arange(n), steps.size)
    return from_pairs(to, (to + np.tile(steps, n)) % n, weight, (n, n))


def by_distance(
    key: Array,
    post: Any,
    pre: Any,
    probability: Callable[[np.ndarray], Any],
    *,
    weight: Any = 1.0,
    autapses: bool = False,
) -> Sparse:
    """Random connections whose probability depends on the distance.

    **Arguments:**

    - `key`: a `jax.random.key`.
    - `post`, `pre`: positions of the receiving and sending neurons, shape (neurons, space), in
        any unit.
    - `probability`: a function of the distance, such as `lambda d: np.exp(-d / 100)`.
    - `weight`: mS/cm², a number or a function of the distance.
    - `autapses`: whether neurons at distance 0 may connect.
    """
    post, pre = (
        np.asarray(as_host(x, at, axes="(neurons, space)")) for x, at in (("post", post), ("pre", pre))
    )
    check_function("probability", probability, "the distance")
    check_flag("autapses", autapses)
    if post.ndim != 2 or pre.ndim != 2 or post.shape[1] != pre.shape[1]:
        raise ValueError(
            f"`post` and `pre` must have shape (neurons, space), got {post.shape} and {pre.shape}."
        )
    rng = _generator(key)
    to, of, away = [], [], []
    for i, at in enumerate(post):
        distance = np.sqrt(((pre - at) ** 2).sum(axis=1))
        chance = as_host("probability", 1.0 * np.asarray(probability(distance)), shapes=[(), distance.shape])
        if np.max(chance, initial=0.0) > 1 or np.min(chance, initial=0.0) < 0:
            raise ValueError(f"`probability` must be between 0 and 1, got {shown(chance)}.")
        chosen = rng.random(distance.size) < np.asarray(chance)
        (j,) = np.nonzero(chosen & (autapses | (distance > 0)))
        to.append(np.full(j.size, i))
        of.append(j)
        away.append(distance[j])
    to, of, away = (np.concatenate(x) for x in (to, of, away))
    weight = weight(away) if callable(weight) else weight
    return from_pairs(to, of, weight, (post.shape[0], pre.shape[0]))
