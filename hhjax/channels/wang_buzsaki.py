"""Sodium and potassium currents of hippocampal interneurons.

X.-J. Wang and G. Buzsáki, "Gamma oscillation by synaptic inhibition in a hippocampal interneuronal
network model", J. Neurosci. 16 (1996) 6402-6413.
"""

from typing import ClassVar

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from .._base.math import vtrap
from .._base.parameters import OptionalParameter, param, Parameter
from ._channel import Channel
from ._kinetics import AlphaBeta, Instantaneous, Kinetics


class WangBuzsakiSodium(Channel):
    """Transient sodium current, g·m∞³h·(V − E), whose activation follows V at once (p. 6403).

    **Fields:** `g`: 35 mS/cm²; `E`: 55 mV; `phi`: 5, the factor on the rates of h.
    """

    g: Parameter = param(35.0, unit="mS/cm²", minimum=0.0)
    E: OptionalParameter = param(55.0, unit="mV", optional=True)
    phi: Parameter = param(5.0, positive=True)

    gates: ClassVar = {"m": 3, "h": 1}

    def rates(self, V: Float[ArrayLike, "*s"]) -> dict[str, Kinetics]:
        m = AlphaBeta(alpha=0.1 * vtrap(-(V + 35), 10), beta=4 * jnp.exp(-(V + 60) / 18))
        h = AlphaBeta(alpha=0.07 * jnp.exp(-(V + 58) / 20), beta=jax.nn.sigmoid((V + 28) / 10))
        return {"m": Instantaneous(m.inf), "h": h}

    def temperature_factor(self) -> Array | float:
        return self.phi


class WangBuzsakiPotassium(Channel):
    """Delayed-rectifier potassium current, g·n⁴·(V − E) (p. 6403).

    **Fields:** `g`: 9 mS/cm²; `E`: −90 mV; `phi`: 5, the factor on the rates.
    """

    g: Parameter = param(9.0, unit="mS/cm²", minimum=0.0)
    E: OptionalParameter = param(-90.0, unit="mV", optional=True)
    phi: Parameter = param(5.0, positive=True)

    gates: ClassVar = {"n": 4}

    def rates(self, V: Float[ArrayLike, "*s"]) -> dict[str, AlphaBeta]:
        return {"n": AlphaBeta(alpha=0.01 * vtrap(-(V + 34), 10), beta=0.125 * jnp.exp(-(V + 44) / 80))}

    def temperature_factor(self) -> Array | float:
        return self.phi
