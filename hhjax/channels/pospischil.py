"""The slow potassium and the calcium currents of cortical and thalamic cells.

M. Pospischil et al., "Minimal Hodgkin-Huxley type models for different classes of cortical and
thalamic neurons", Biol. Cybern. 99 (2008) 427-441, with the time constant of the T current as in
the authors' own files (ModelDB 123623).
"""

from typing import ClassVar

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from .._base.math import vtrap
from .._base.parameters import OptionalParameter, param, Parameter
from ._channel import Channel
from ._kinetics import AlphaBeta, InfTau, Instantaneous, Kinetics, q10


class MCurrent(Channel):
    """Slow, non-inactivating potassium current, g·p·(V − E) (section 2.2.2).

    After W. M. Yamada, C. Koch and P. R. Adams, in *Methods in Neuronal Modeling*, MIT Press
    1989.

    **Fields:** `g`: 0.07 mS/cm²; `E`: −100 mV; `tau_max`: 1000 ms.
    """

    g: Parameter = param(0.07, unit="mS/cm²", minimum=0.0)
    E: OptionalParameter = param(-100.0, unit="mV", optional=True)
    tau_max: Parameter = param(1000.0, unit="ms", positive=True)

    gates: ClassVar = {"p": 1}

    def rates(self, V: Float[ArrayLike, "*s"]) -> dict[str, InfTau]:
        tau = self.tau_max / (3.3 * jnp.exp((V + 35) / 20) + jnp.exp(-(V + 35) / 20))
        return {"p": InfTau(inf=jax.nn.sigmoid((V + 35) / 10), tau=tau)}


class LCalcium(Channel):
    """High-threshold, L-type calcium current, g·q²r·(V − E) (section 2.2.3).

    After I. Reuveni et al., J. Neurosci. 13 (1993) 4609-4621.

    **Fields:** `g`: 0.17 mS/cm²; `E`: 120 mV where no ion sets it.
    """

    g: Parameter = param(0.17, unit="mS/cm²", minimum=0.0)
    E: OptionalParameter = param(None, otherwise=120.0, unit="mV")

    gates: ClassVar = {"q": 2, "r": 1}

    def rates(self, V: Float[ArrayLike, "*s"]) -> dict[str, AlphaBeta]:
        return {
            "q": AlphaBeta(alpha=0.055 * vtrap(-(V + 27), 3.8), beta=0.94 * jnp.exp(-(V + 75) / 17)),
            "r": AlphaBeta(
                alpha=0.000457 * jnp.exp(-(V + 13) / 50), beta=0.0065 * jax.nn.sigmoid((V + 15) / 28)
            ),
        }


class TCalcium(Channel):
    """Low-threshold, T-type calcium current, g·s∞²u·(V − E) (section 2.2.3).

    Of thalamic relay cells, after J. R. Huguenard and D. A. McCormick, J. Neurophysiol. 68
    (1992) 1373-1383, with the time constant of A. Destexhe et al., J. Neurophysiol. 76 (1996)
    2049-2070.

    **Fields:** `g`: 0.4 mS/cm²; `E`: 120 mV where no ion sets it; `shift`: 2 mV, by which V counts as
    higher, for the calcium outside; `celsius`: °C, by default the neuron's, else 36, with Q10 = 3 from
    24 °C for u.
    """

    g: Parameter = param(0.4, unit="mS/cm²", minimum=0.0)
    E: OptionalParameter = param(None, otherwise=120.0, unit="mV")
    shift: Parameter = param(2.0, unit="mV")
    celsius: OptionalParameter = param(None, otherwise=36.0, unit="°C", minimum=-273.15)

    gates: ClassVar = {"s": 2, "u": 1}

    def rates(self, V: Float[ArrayLike, "*s"]) -> dict[str, Kinetics]:
        v = V + self.shift
        # A sigmoid for 1/(1 + eˣ), which overflows float32 at 200 mV. Beyond e⁸⁰ the product is nothing.
        rise = jnp.exp(jnp.minimum((v + 113.2) / 5, 80.0))
        tau = 30.8 + (211.4 + rise) * jax.nn.sigmoid(-(v + 84) / 3.2)
        return {
            "s": Instantaneous(jax.nn.sigmoid((v + 57) / 6.2)),
            "u": InfTau(inf=jax.nn.sigmoid(-(v + 81) / 4), tau=tau),
        }

    def temperature_factor(self) -> Array | float:
        return q10(self.celsius, reference=24.0, q10=3.0)
