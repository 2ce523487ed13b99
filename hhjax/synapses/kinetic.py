"""Synapses that follow V itself: graded and kinetic ones, and gap junctions. All are smooth.

The kinetic ones: A. Destexhe, Z. F. Mainen and T. J. Sejnowski, "An efficient method for computing
synaptic conductances based on a kinetic model of receptor binding", Neural Comput. 6 (1994) 14-18;
rates as in their chapter "Kinetic models of synaptic transmission", in *Methods in Neuronal
Modeling*, 2nd edition, MIT Press 1998.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

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

    aliases: ClassVar[Mapping[str, str]] = {"E": "weights"}

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
        return jnp.zeros_like(V), jnp.zeros_like(V)

    def junctions(self, n: int) -> list[tuple[slice, Weights]]:
        return [(slice(0, n), self.weights)]

    def check(self, n: int, pre: int | None = None) -> None:
        if self.pre != self.post:
            raise ValueError(
                "`coupling.pre` and `coupling.post` of gap junctions must be the same population, "
                f"got {self.pre!r} and {self.post!r}; without either, `weights` is of all neurons."
            )
        check_weights(self.weights, n, n)


class _AbstractKinetic(AbstractCoupling):
    """Receptors that bind the transmitter T(V) = T_max/(1 + e^(−(V − half)/slope)) (1994, eq. 4)."""

    weights: eqx.AbstractVar[Weights]
    reversal: eqx.AbstractVar[Parameter]
    alpha: eqx.AbstractVar[Parameter]
    beta: eqx.AbstractVar[Parameter]
    T_max: eqx.AbstractVar[Parameter]
    half: eqx.AbstractVar[Parameter]
    slope: eqx.AbstractVar[Parameter]

    def transmitter(self, V: Float[Array, " pre"]) -> Float[Array, " pre"]:
        """Concentration of the transmitter, mM, at a presynaptic V (mV)."""
        return self.T_max * jax.nn.sigmoid((V - self.half) / self.slope)

    def linear_form(self, V: Float[Array, " pre"], s: Any) -> tuple[Any, Any]:
        bind = self.alpha * self.transmitter(V)
        return bind, bind + self.beta

    def steady_state(self, V: Float[Array, " pre"]) -> Any:
        drive, rate = self.linear_form(V, None)
        return drive / rate

    def linear_current(self, V: Float[Array, " n"], s: Any) -> tuple[Array, Array]:
        conductance = sum_over_pre(self.weights, s)
        return conductance * self.reversal, conductance

    def check(self, n: int, pre: int | None = None) -> None:
        check_weights(self.weights, n, n if pre is None else pre)


class AMPA(_AbstractKinetic):
    r"""AMPA receptors: current $\sum_j W_{ij} r_j (V_r - V_i)$, $\dot r = \alpha T(V)(1 - r) - \beta r$.

    Destexhe, Mainen and Sejnowski (1994, 1998).

    **Fields:**

    - `weights`: W, mS/cm² with all receptors open, shape (post, pre), dense or from
        [`hh.connect`][].
    - `reversal`: V_r, mV.
    - `alpha`, `beta`: binding, 1/(mM ms), and unbinding, 1/ms.
    - `T_max`, `half`, `slope`: of the transmitter as a function of V: mM, mV, mV.
    - `pre`, `post`: populations, by name.
    """

    weights: Weights = eqx.field(converter=as_weights)
    reversal: Parameter = param(0.0, unit="mV")
    alpha: Parameter = param(1.1, unit="1/(mM ms)", minimum=0.0)
    beta: Parameter = param(0.19, unit="1/ms", positive=True)
    T_max: Parameter = param(1.0, unit="mM", minimum=0.0)
    half: Parameter = param(2.0, unit="mV")
    slope: Parameter = param(5.0, unit="mV", positive=True)


class GABAA(AMPA):
    """GABA-A receptors: as [`hh.synapses.AMPA`][], with the rates and the reversal of GABA-A.

    **Fields:** as there; `reversal`: −80 mV; `alpha`: 5 per mM and ms; `beta`: 0.18 per ms.
    """

    reversal: Parameter = param(-80.0, unit="mV")
    alpha: Parameter = param(5.0, unit="1/(mM ms)", minimum=0.0)
    beta: Parameter = param(0.18, unit="1/ms", positive=True)


class NMDA(AMPA):
    r"""NMDA receptors: as [`hh.synapses.AMPA`][], times $1/(1 + e^{-0.062 V}[Mg]/3.57)$.

    The block by magnesium is that of C. E. Jahr and C. F. Stevens, J. Neurosci. 10 (1990) 1830-1837.

    **Fields:** as there; `alpha`: 0.072 per mM and ms; `beta`: 0.0066 per ms; `magnesium`: 1 mM
    outside.
    """

    alpha: Parameter = param(0.072, unit="1/(mM ms)", minimum=0.0)
    beta: Parameter = param(0.0066, unit="1/ms", positive=True)
    magnesium: Parameter = param(1.0, unit="mM", minimum=0.0)

    def unblocked(self, V: Float[Array, "*s"]) -> Float[Array, "*s"]:
        """The fraction of channels free of magnesium, at a postsynaptic V (mV)."""
        return 1 / (1 + jnp.exp(-0.062 * V) * self.magnesium / 3.57)

    def linear_current(self, V: Float[Array, " n"], s: Any) -> tuple[Array, Array]:
        conductance = sum_over_pre(self.weights, s) * self.unblocked(V)
        return conductance * self.reversal, conductance

    @property
    def V_is_linear(self) -> bool:
        return False


class GABAB(_AbstractKinetic):
    r"""GABA-B receptors, which open potassium channels by way of a G protein.

    $\dot r = K_1 T(V)(1 - r) - K_2 r$, $\dot g = K_3 r - K_4 g$, current
    $\sum_j W_{ij}\, g_j^4/(g_j^4 + K_d)\,(V_r - V_i)$: A. Destexhe and T. J. Sejnowski, PNAS 92
    (1995) 9515-9519, with the rates of the 1998 chapter. The state is a dict of `r` and `g` (µM).

    **Fields:** as [`hh.synapses.AMPA`][]; `reversal`: −95 mV; `alpha`: K1, 0.09 per mM and ms;
    `beta`: K2, 0.0012 per ms; `K3`: 0.18 µM per ms; `K4`: 0.034 per ms; `K_d`: 100 µM⁴.
    """

    weights: Weights = eqx.field(converter=as_weights)
    reversal: Parameter = param(-95.0, unit="mV")
    alpha: Parameter = param(0.09, unit="1/(mM ms)", minimum=0.0)
    beta: Parameter = param(0.0012, unit="1/ms", positive=True)
    T_max: Parameter = param(1.0, unit="mM", minimum=0.0)
    half: Parameter = param(2.0, unit="mV")
    slope: Parameter = param(5.0, unit="mV", positive=True)
    K3: Parameter = param(0.18, unit="µM/ms", minimum=0.0)
    K4: Parameter = param(0.034, unit="1/ms", positive=True)
    K_d: Parameter = param(100.0, unit="µM⁴", positive=True)

    def linear_form(self, V: Float[Array, " pre"], s: Any) -> tuple[Any, Any]:
        bind = self.alpha * self.transmitter(V)
        return {"r": bind, "g": self.K3 * s["r"]}, {"r": bind + self.beta, "g": self.K4}

    def steady_state(self, V: Float[Array, " pre"]) -> Any:
        bind = self.alpha * self.transmitter(V)
        r = bind / (bind + self.beta)
        return {"r": r, "g": self.K3 * r / self.K4}

    def linear_current(self, V: Float[Array, " n"], s: Any) -> tuple[Array, Array]:
        bound = s["g"] ** 4
        conductance = sum_over_pre(self.weights, bound / (bound + self.K_d))
        return conductance * self.reversal, conductance

    @property
    def states_are_independent(self) -> bool:
        return False
