"""Who hears whom, dense or sparse."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ._parameters import as_float_array, is_concrete


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
        return int((self.targets < self.weight.size).sum())

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
    return weights if isinstance(weights, Sparse) else as_float_array(weights)


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
