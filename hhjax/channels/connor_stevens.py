"""The currents of walking-leg axons of crabs, with the A current.

J. A. Connor, D. Walter and R. McKown, "Neural repetitive firing: modifications of the
Hodgkin-Huxley axon suggested by experimental results from crustacean axons", Biophys. J. 18 (1977)
81-102, with the constants of P. Dayan and L. F. Abbott, *Theoretical Neuroscience*, MIT Press 2001,
section 6.7.
"""

from typing import ClassVar

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Float

from .._base.math import vtrap
from .._base.parameters import OptionalParameter, param, Parameter
from ._channel import Channel
from ._kinetics import AlphaBeta, InfTau


class ConnorStevensSodium(Channel):
    """Transient sodium current, g·m³h·(V − E) (Dayan and Abbott 2001, p. 197).

    **Fields:** `g`: 120 mS/cm²; `E`: 55 mV.
    """

    g: Parameter = param(120.0, unit="mS/cm²", minimum=0.0)
    E: OptionalParameter = param(55.0, unit="mV", optional=True)

    gates: ClassVar = {"m": 3, "h": 1}

    def rates(self, V: Float[ArrayLike, "*s"]) -> dict[str, AlphaBeta]:
        return {
            "m": AlphaBeta(alpha=0.38 * vtrap(-(V + 29.7), 10), beta=15.2 * jnp.exp(-0.0556 * (V + 54.7))),
            "h": AlphaBeta(alpha=0.266 * jnp.exp(-(V + 48) / 20), beta=3.8 * jax.nn.sigmoid((V + 18) / 10)),
        }


class ConnorStevensPotassium(Channel):
    """Delayed-rectifier potassium current, g·n⁴·(V − E) (Dayan and Abbott 2001, p. 197).

    **Fields:** `g`: 20 mS/cm²; `E`: −72 mV.
    """

    g: Parameter = param(20.0, unit="mS/cm²", minimum=0.0)
    E: OptionalParameter = param(-72.0, unit="mV", optional=True)

    gates: ClassVar = {"n": 4}

    def rates(self, V: Float[ArrayLike, "*s"]) -> dict[str, AlphaBeta]:
        return {"n": AlphaBeta(alpha=0.02 * vtrap(-(V + 45.7), 10), beta=0.25 * jnp.exp(-(V + 55.7) / 80))}


class ACurrent(Channel):
    """Transient potassium current, g·a³b·(V − E) (Dayan and Abbott 2001, p. 197).

    The published a∞ exceeds 1 by up to 1.3 % above 30 mV.

    **Fields:** `g`: 47.7 mS/cm²; `E`: −75 mV.
    """

    g: Parameter = param(47.7, unit="mS/cm²", minimum=0.0)
    E: OptionalParameter = param(-75.0, unit="mV", optional=True)

    gates: ClassVar = {"a": 3, "b": 1}

    def rates(self, V: Float[ArrayLike, "*s"]) -> dict[str, InfTau]:
        a_cubed = 0.0761 * jnp.exp(0.0314 * (V + 94.22)) * jax.nn.sigmoid(-0.0346 * (V + 1.17))
        return {
            "a": InfTau(inf=a_cubed ** (1 / 3), tau=0.3632 + 1.158 * jax.nn.sigmoid(-0.0497 * (V + 55.96))),
            "b": InfTau(
                inf=jax.nn.sigmoid(-0.0688 * (V + 53.3)) ** 4,
                tau=1.24 + 2.678 * jax.nn.sigmoid(-0.0624 * (V + 50)),
            ),
        }
