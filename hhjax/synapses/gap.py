"""Electrical synapses."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._connectivity import as_weights, check_weights, sum_over_pre, Weights
from .._coupling import AbstractCoupling


class GapJunction(AbstractCoupling):
    r"""Gap junctions: current $\sum_j W_{ij} (V_j - V_i)$ into neuron i.

    They join neurons of one population, or of the whole network, and have no state of their own.

    **Fields:** `weights`: W, mS/cm², shape (n, n), dense or from [`hh.connect`][], by nature
    symmetric; `pre`, `post`: the population, by name, twice the same.
    """

    weights: Weights = eqx.field(converter=as_weights)

    def steady_state(self, V: Float[Array, " n"]) -> None:
        return None

    def linear_form(self, V: Float[Array, " n"], s: Any) -> tuple[None, None]:
        return None, None

    def linear_current(self, V: Float[Array, " n"], s: Any) -> tuple[Array, Array]:
        return sum_over_pre(self.weights, V), sum_over_pre(self.weights, jnp.ones_like(V))

    def check(self, n: int, pre: int | None = None) -> None:
        if self.pre != self.post:
            raise ValueError(
                "`coupling.pre` and `coupling.post` of gap junctions must be the same population, "
                f"got {self.pre!r} and {self.post!r}; without either, `weights` is of all neurons."
            )
        check_weights(self.weights, n, n)

    @property
    def V_is_linear(self) -> bool:
        return False
