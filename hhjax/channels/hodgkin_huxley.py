"""The channels of the squid giant axon.

A. L. Hodgkin and A. F. Huxley, "A quantitative description of membrane current and its
application to conduction and excitation in nerve", J. Physiol. 117 (1952) 500-544. The
paper counts V from rest with the sign turned round; here rest is near −65 mV and
depolarisation is positive, so V_1952 = −(V + 65).
"""

from typing import ClassVar

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from .._base.math import vtrap
from .._base.parameters import OptionalParameter, param, Parameter
from ._channel import Channel
from ._kinetics import AlphaBeta, q10


class Sodium(Channel):
    """Transient sodium current, g·m³h·(V − E) (HH 1952, eqs. 14-16, 20, 21, 23, 24).

    **Fields:** `g`: 120 mS/cm²; `E`: 50 mV; `celsius`: °C, by default the neuron's,
    else 6.3, with Q10 = 3 for all rates (HH 1952, p. 527).
    """

    g: Parameter = param(120.0, unit="mS/cm²", minimum=0.0)
    E: OptionalParameter = param(50.0, unit="mV", optional=True)
    celsius: OptionalParameter = param(None, otherwise=6.3, unit="°C", minimum=-273.15)

    gates: ClassVar = {"m": 3, "h": 1}

    def rates(self, V: Float[ArrayLike, "*s"]) -> dict[str, AlphaBeta]:
        return {
            "m": AlphaBeta(
                alpha=0.1 * vtrap(-(V + 40), 10),
                beta=4 * jnp.exp(-(V + 65) / 18),
            ),
            "h": AlphaBeta(
                alpha=0.07 * jnp.exp(-(V + 65) / 20),
                beta=jax.nn.sigmoid((V + 35) / 10),
            ),
        }

    def temperature_factor(self) -> Array | float:
        return q10(self.celsius, reference=6.3, q10=3.0)


class Potassium(Channel):
    """Delayed-rectifier potassium current, g·n⁴·(V − E) (HH 1952, eqs. 6, 7, 12, 13).

    **Fields:** `g`: 36 mS/cm²; `E`: −77 mV; `celsius`: °C, by default the neuron's,
    else 6.3, with Q10 = 3 for all rates (HH 1952, p. 527).
    """

    g: Parameter = param(36.0, unit="mS/cm²", minimum=0.0)
    E: OptionalParameter = param(-77.0, unit="mV", optional=True)
    celsius: OptionalParameter = param(None, otherwise=6.3, unit="°C", minimum=-273.15)

    gates: ClassVar = {"n": 4}

    def rates(self, V: Float[ArrayLike, "*s"]) -> dict[str, AlphaBeta]:
        return {
            "n": AlphaBeta(
                alpha=0.01 * vtrap(-(V + 55), 10),
                beta=0.125 * jnp.exp(-(V + 65) / 80),
            )
        }

    def temperature_factor(self) -> Array | float:
        return q10(self.celsius, reference=6.3, q10=3.0)


class Leak(Channel):
    """Leak current g·(V − E), without gates (HH 1952, eq. 5 and table 3).

    **Fields:** `g`: 0.3 mS/cm²; `E`: −54.387 mV, which puts the resting potential of
    the squid axon at −65 mV.
    """

    g: Parameter = param(0.3, unit="mS/cm²", minimum=0.0)
    E: OptionalParameter = param(-54.387, unit="mV", optional=True)

    def rates(self, V: Float[ArrayLike, "*s"]) -> dict[str, AlphaBeta]:
        return {}
