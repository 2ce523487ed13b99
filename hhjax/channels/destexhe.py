"""Currents of thalamic relay and reticular cells.

A. Destexhe, T. Bal, D. A. McCormick and T. J. Sejnowski, "Ionic mechanisms underlying synchronized
oscillations and propagating waves in a model of ferret thalamic slices", J. Neurophysiol. 76 (1996)
2049-2070 (ModelDB 3343). The T current of relay cells is [`hh.channels.TCalcium`][].
"""

from typing import ClassVar

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from .._base.parameters import OptionalParameter, param, Parameter
from .._base.renames import renamed
from ._channel import Channel
from ._kinetics import AlphaBeta, InfTau, q10
from .hodgkin_huxley import Leak


class ReticularTCalcium(Channel):
    """Low-threshold calcium current of reticular cells, g·m²h·(V − E).

    After J. R. Huguenard and D. A. Prince, J. Neurosci. 12 (1992) 3804-3817; A. Destexhe et al.,
    J. Neurosci. 16 (1996) 169-185.

    **Fields:** `g`: 3 mS/cm²; `E`: 120 mV where no ion sets it; `shift`: 2 mV, by which V counts as
    higher; `celsius`: °C, by default the neuron's, else 36, with Q10 = 2.5 from 24 °C.
    """

    g: Parameter = param(3.0, unit="mS/cm²", minimum=0.0)
    E: OptionalParameter = param(None, otherwise=120.0, unit="mV")
    shift: Parameter = param(2.0, unit="mV")
    celsius: OptionalParameter = param(None, otherwise=36.0, unit="°C", minimum=-273.15)

    gates: ClassVar = {"m": 2, "h": 1}

    def rates(self, V: Float[ArrayLike, "*s"]) -> dict[str, InfTau]:
        v = V + self.shift
        return {
            "m": InfTau(
                inf=jax.nn.sigmoid((v + 50) / 7.4),
                tau=3 + 1 / (jnp.exp((v + 25) / 10) + jnp.exp(-(v + 100) / 15)),
            ),
            "h": InfTau(
                inf=jax.nn.sigmoid(-(v + 78) / 5),
                tau=85 + 1 / (jnp.exp(jnp.minimum((v + 46) / 4, 40.0)) + jnp.exp(-(v + 405) / 50)),
            ),
        }

    def temperature_factor(self) -> Array | float:
        return q10(self.celsius, reference=24.0, q10=2.5)


class HCurrent(Channel):
    """Hyperpolarisation-activated mixed cation current, g·h·(V − E).

    After J. R. Huguenard and D. A. McCormick, J. Neurophysiol. 68 (1992) 1373-1383, in the form of
    the 1996 model but without the binding of calcium.

    **Fields:** `g`: 0.02 mS/cm²; `E`: −40 mV; `celsius`: °C, by default the neuron's, else 36,
    with Q10 = 3.
    """

    g: Parameter = param(0.02, unit="mS/cm²", minimum=0.0)
    E: OptionalParameter = param(-40.0, unit="mV", optional=True)
    celsius: OptionalParameter = param(None, otherwise=36.0, unit="°C", minimum=-273.15)

    gates: ClassVar = {"h": 1}

    def rates(self, V: Float[ArrayLike, "*s"]) -> dict[str, InfTau]:
        tau = 20 + 1000 / (jnp.exp((V + 71.5) / 14.2) + jnp.exp(-(V + 89) / 11.6))
        return {"h": InfTau(inf=jax.nn.sigmoid(-(V + 75) / 5.5), tau=tau)}

    def temperature_factor(self) -> Array | float:
        return q10(self.celsius, reference=36.0, q10=3.0)


@renamed(calcium="inside, of the neuron's hh.Ion")
class CalciumActivatedPotassium(Channel):
    """Slow calcium-activated potassium current (AHP), g·m²·(V − E), with dm/dt = αc²(1 − m) − βm.

    A. Destexhe, D. Contreras, T. J. Sejnowski and M. Steriade, J. Neurophysiol. 72 (1994) 803-818.
    The concentration c is that of the neuron's ion `ca`, see [`hh.calcium`][].

    **Fields:** `g`: 10 mS/cm²; `E`: −95 mV; `beta`: 0.03 per ms; `half`: 0.025 mM, the
    concentration at which α·c² = β; `celsius`: °C, by default the neuron's, else 36, with Q10 = 3 from
    22 °C.
    """

    g: Parameter = param(10.0, unit="mS/cm²", minimum=0.0)
    E: OptionalParameter = param(-95.0, unit="mV", optional=True)
    beta: Parameter = param(0.03, unit="1/ms", positive=True)
    half: Parameter = param(0.025, unit="mM", positive=True)
    celsius: OptionalParameter = param(None, otherwise=36.0, unit="°C", minimum=-273.15)

    gates: ClassVar = {"m": 2}
    senses: ClassVar = ("ca",)

    def rates(self, V: Float[ArrayLike, "*s"], ca: ArrayLike) -> dict[str, AlphaBeta]:
        opening = self.beta * (jnp.asarray(ca) / self.half) ** 2
        return {"m": AlphaBeta(*jnp.broadcast_arrays(opening, self.beta))}

    def temperature_factor(self) -> Array | float:
        return q10(self.celsius, reference=22.0, q10=3.0)


class PotassiumLeak(Leak):
    """Potassium leak current, g·(V − E), without gates.

    **Fields:** `g`: 0.004/0.29 mS/cm²; `E`: −100 mV.
    """

    g: Parameter = param(0.004 / 0.29, unit="mS/cm²", minimum=0.0)
    E: OptionalParameter = param(-100.0, unit="mV", optional=True)
