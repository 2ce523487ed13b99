"""Couplings that follow V itself: graded synapses and gap junctions."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._base.parameters import is_concrete, param, Parameter
from ..connect import as_weights, check_weights, Sparse, sum_over_pre, Weights
from ._coupling import AbstractCoupling


class GradedSynapse(AbstractCoupling):
    r"""Graded synaptic coupling through an activation s of each presynaptic neuron.

    The current into neuron i is $\frac{V_r - V_i}{w}\sum_j E_{ij} s_j$, with
    $ds_j/dt = \alpha\,(1 - s_j)/(1 + e^{-(V_j - V_{1/2})/k}) - \beta s_j$. With the
    default constants this is ds/dt = 5(1 − s)/(1 + e^(−(V + 3)/8)) − s. The form is that
    of X.-J. Wang and G. Buzsáki, J. Neurosci. 16 (1996) 6402-6413.

    **Fields:**

    - `E`: coupling matrix, mS/cm² (with `width` 1), shape (n, n); row i receives,
        column j sends. An array, or [`hh.connect.Sparse`][] weights from about a tenth of
        non-zero entries down.
    - `reversal`: V_r, mV, scalar or one per receiving neuron.
    - `width`: w, dimensionless divisor of the coupling, not zero.
    - `alpha`, `beta`: rates of rise and decay, 1/ms.
    - `half`, `slope`: half-activation potential and slope, mV.
    """

    E: Any = eqx.field(converter=as_weights, metadata={"unit": "mS/cm²"})
    reversal: Parameter = param(20.0, unit="mV")
    width: Parameter = param(1.0, positive=True)
    alpha: Parameter = param(5.0, unit="1/ms", minimum=0.0)
    beta: Parameter = param(1.0, unit="1/ms", positive=True)
    half: Parameter = param(-3.0, unit="mV")
    slope: Parameter = param(8.0, unit="mV", positive=True)

    def linear_form(self, V: Float[Array, " n"], s: Any) -> tuple[Array, Array]:
        rise = self.alpha * jax.nn.sigmoid((V - self.half) / self.slope)
        return rise, rise + self.beta

    def steady_state(self, V: Float[Array, " n"]) -> Array:
        drive, rate = self.linear_form(V, None)
        return drive / rate

    def linear_current(self, V: Float[Array, " n"], s: Array) -> tuple[Array, Array]:
        conductance = sum_over_pre(self.E, s) / self.width
        return conductance * self.reversal, conductance

    def check(self, n: int, pre: int | None = None) -> None:
        shape = (n, n if pre is None else pre)
        if self.E.shape != shape:
            raise ValueError(
                f"`coupling.E` must have shape {'(n, n)' if pre is None else '(post, pre)'} = {shape}, "
                f"row = receiving neuron, got {self.E.shape}."
            )
        entries = self.E.weight if isinstance(self.E, Sparse) else self.E
        if is_concrete(entries) and not np.isfinite(np.asarray(entries)).all():
            raise ValueError("`coupling.E` must be finite, got NaN or infinity.")


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
