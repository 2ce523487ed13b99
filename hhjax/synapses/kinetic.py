"""Synapses that follow V itself: graded and kinetic ones, and gap junctions. All are smooth.

The kinetic ones: A. Destexhe, Z. F. Mainen and T. J. Sejnowski, "An efficient method for computing
synaptic conductances based on a kinetic model of receptor binding", Neural Comput. 6 (1994) 14-18;
rates as in their chapter "Kinetic models of synaptic transmission", in *Methods in Neuronal
Modeling*, 2nd edition, MIT Press 1998.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._base.parameters import is_concrete, param, Parameter
from .._base.renames import also_called
from ..channels._kinetics import AlphaBeta, InfTau
from ..connect import as_weights, check_weights, Sparse, Weights
from ._coupling import AbstractCoupling
from ._synapse import Kinetics, Synapse


@also_called(E="weights")
class GradedSynapse(Synapse):
    r"""Graded synaptic coupling through an activation s of each presynaptic neuron.

    The current into neuron i is $\frac{V_r - V_i}{w}\sum_j E_{ij} s_j$, with
    $ds_j/dt = \alpha\,(1 - s_j)/(1 + e^{-(V_j - V_{1/2})/k}) - \beta s_j$. With the
    default constants this is ds/dt = 5(1 − s)/(1 + e^(−(V + 3)/8)) − s. The form is that
    of X.-J. Wang and G. Buzsáki, J. Neurosci. 16 (1996) 6402-6413.

    **Fields:**

    - `weights`: the coupling matrix E, mS/cm² (with `width` 1), shape (post, pre); row i receives,
        column j sends. An array, or [`hh.connect.Sparse`][] weights from about a tenth of
        non-zero entries down. May be given, and read, as `E`.
    - `reversal`: V_r, mV, scalar or one per receiving neuron.
    - `width`: w, dimensionless divisor of the coupling, not zero.
    - `alpha`, `beta`: rates of rise and decay, 1/ms.
    - `half`, `slope`: half-activation potential and slope, mV.
    - `pre`, `post`: populations, by name.
    """

    reversal: Parameter = param(20.0, unit="mV", per="post")
    width: Parameter = param(1.0, positive=True, per="post")
    alpha: Parameter = param(5.0, unit="1/ms", minimum=0.0, per="pre")
    beta: Parameter = param(1.0, unit="1/ms", positive=True, per="pre")
    half: Parameter = param(-3.0, unit="mV", per="pre")
    slope: Parameter = param(8.0, unit="mV", positive=True, per="pre")

    @property
    def E(self) -> Any:  # also of what eqx.tree_at puts in their place
        """The `weights`."""
        return self.weights

    def rates(self, V: Float[Array, "*s"]) -> AlphaBeta:
        return AlphaBeta(self.alpha * jax.nn.sigmoid((V - self.half) / self.slope), self.beta)

    def conductance(self, V: Float[Array, " n"], s: Array) -> Float[Array, " n"]:
        return super().conductance(V, s) / self.width


class GapJunction(AbstractCoupling):
    r"""Gap junctions: current $\sum_j W_{ij} (V_j - V_i)$ into neuron i.

    They join neurons of one population, or of the whole network, and have no state of their own.

    They may have any strength with `strang`, `staggered`, `strang4` (then of order 3), `crank_nicolson`,
    `backward_euler`, `ind_exp_euler`, `strang_maruyama` and `exp_euler_maruyama`. These solve for V of
    all neurons together, up to 256 by elimination and more by iteration. Implicit solvers of Diffrax
    work too. The others refuse a dt that is too long.

    **Fields:** `weights`: W, mS/cm², at least 0, shape (n, n), dense or from [`hh.connect`][], as a rule
    symmetric; `pre`, `post`: the population, by name, the same for both.
    """

    weights: Weights = eqx.field(converter=as_weights, metadata={"unit": "mS/cm²"})

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
        values = self.weights.weight if isinstance(self.weights, Sparse) else self.weights
        if is_concrete(values) and (least := np.asarray(values).min()) < 0:
            raise ValueError(f"`coupling.weights` of gap junctions must be at least 0, got {least}.")


class AMPA(Synapse):
    r"""AMPA receptors: current $\sum_j W_{ij} r_j (V_r - V_i)$, $\dot r = \alpha T(V)(1 - r) - \beta r$.

    The transmitter is $T(V) = T_{max}/(1 + e^{-(V - half)/slope})$ (1994, eq. 4). Destexhe, Mainen
    and Sejnowski (1994, 1998).

    **Fields:**

    - `weights`: W, mS/cm² with all receptors open, shape (post, pre), dense or from
        [`hh.connect`][].
    - `reversal`: V_r, mV.
    - `alpha`, `beta`: binding, 1/(mM ms), and unbinding, 1/ms.
    - `T_max`, `half`, `slope`: of the transmitter as a function of V: mM, mV, mV.
    - `pre`, `post`: populations, by name.
    """

    reversal: Parameter = param(0.0, unit="mV", per="post")
    alpha: Parameter = param(1.1, unit="1/(mM ms)", minimum=0.0, per="pre")
    beta: Parameter = param(0.19, unit="1/ms", positive=True, per="pre")
    T_max: Parameter = param(1.0, unit="mM", minimum=0.0, per="pre")
    half: Parameter = param(2.0, unit="mV", per="pre")
    slope: Parameter = param(5.0, unit="mV", positive=True, per="pre")

    def transmitter(self, V: Float[Array, "*s"]) -> Float[Array, "*s"]:
        """Concentration of the transmitter, mM, at a presynaptic V (mV)."""
        return self.T_max * jax.nn.sigmoid((V - self.half) / self.slope)

    def rates(self, V: Float[Array, "*s"]) -> Kinetics | dict[str, Kinetics]:
        return AlphaBeta(self.alpha * self.transmitter(V), self.beta)


class GABAA(AMPA):
    """GABA-A receptors: as [`hh.synapses.AMPA`][], with the rates and the reversal of GABA-A.

    **Fields:** as there; `reversal`: −80 mV; `alpha`: 5 per mM and ms; `beta`: 0.18 per ms.
    """

    reversal: Parameter = param(-80.0, unit="mV", per="post")
    alpha: Parameter = param(5.0, unit="1/(mM ms)", minimum=0.0, per="pre")
    beta: Parameter = param(0.18, unit="1/ms", positive=True, per="pre")


class NMDA(AMPA):
    r"""NMDA receptors: as [`hh.synapses.AMPA`][], times $1/(1 + e^{-0.062 V}[Mg]/3.57)$.

    The block by magnesium is that of C. E. Jahr and C. F. Stevens, J. Neurosci. 10 (1990) 1830-1837.

    **Fields:** as there; `alpha`: 0.072 per mM and ms; `beta`: 0.0066 per ms; `magnesium`: 1 mM
    outside.
    """

    alpha: Parameter = param(0.072, unit="1/(mM ms)", minimum=0.0, per="pre")
    beta: Parameter = param(0.0066, unit="1/ms", positive=True, per="pre")
    magnesium: Parameter = param(1.0, unit="mM", minimum=0.0, per="post")

    def unblocked(self, V: Float[Array, "*s"]) -> Float[Array, "*s"]:
        """The fraction of channels free of magnesium, at a postsynaptic V (mV)."""
        blocking = jnp.exp(jnp.minimum(-0.062 * V, 40.0))  # of which the square is finite in float32
        return 1 / (1 + blocking * self.magnesium / 3.57)


class GABAB(AMPA):
    r"""GABA-B receptors, which open potassium channels by way of a G protein.

    $\dot r = K_1 T(V)(1 - r) - K_2 r$, $\dot g = K_3 r - K_4 g$, current
    $\sum_j W_{ij}\, g_j^4/(g_j^4 + K_d)\,(V_r - V_i)$: A. Destexhe and T. J. Sejnowski, PNAS 92
    (1995) 9515-9519, with the rates of the 1998 chapter. The state is a dict of `r` and `g` (µM).

    **Fields:** as [`hh.synapses.AMPA`][]; `reversal`: −95 mV; `alpha`: K1, 0.09 per mM and ms;
    `beta`: K2, 0.0012 per ms; `K3`: 0.18 µM per ms; `K4`: 0.034 per ms; `K_d`: 100 µM⁴.
    """

    reversal: Parameter = param(-95.0, unit="mV", per="post")
    alpha: Parameter = param(0.09, unit="1/(mM ms)", minimum=0.0, per="pre")
    beta: Parameter = param(0.0012, unit="1/ms", positive=True, per="pre")
    K3: Parameter = param(0.18, unit="µM/ms", minimum=0.0, per="pre")
    K4: Parameter = param(0.034, unit="1/ms", positive=True, per="pre")
    K_d: Parameter = param(100.0, unit="µM⁴", positive=True, per="pre")

    def rates(self, V: Float[Array, "*s"]) -> dict[str, Kinetics]:
        r = AlphaBeta(self.alpha * self.transmitter(V), self.beta)
        return {"r": r, "g": InfTau(self.K3 * r.inf / self.K4, 1 / self.K4)}

    def linear_form(self, V: Float[Array, " pre"], s: Any) -> tuple[Any, Any]:
        drive, rate = super().linear_form(V, s)
        return drive | {"g": self.K3 * s["r"]}, rate

    def open_fraction(self, s: Any) -> Float[Array, " pre"]:
        bound = s["g"] ** 4
        return bound / (bound + self.K_d)
