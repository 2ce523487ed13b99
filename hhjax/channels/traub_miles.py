"""Sodium and potassium currents of hippocampal pyramidal cells, after Traub and Miles.

R. D. Traub and R. Miles, *Neuronal Networks of the Hippocampus*, Cambridge University Press 1991,
in the form of R. Brette et al., J. Comput. Neurosci. 23 (2007) 349-398, appendix B: V is counted
from a threshold VT, which moves all rates along the voltage axis.
"""

from typing import ClassVar

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Float

from .._base.math import vtrap
from .._base.parameters import OptionalParameter, param, Parameter
from ._channel import Channel
from ._kinetics import AlphaBeta


class TraubMilesSodium(Channel):
    """Transient sodium current, g·m³h·(V − E) (Brette et al. 2007, appendix B).

    **Fields:** `g`: 100 mS/cm²; `E`: 50 mV; `VT`: −63 mV, which adjusts the threshold.
    """

    g: Parameter = param(100.0, unit="mS/cm²", minimum=0.0)
    E: OptionalParameter = param(50.0, unit="mV", optional=True)
    VT: Parameter = param(-63.0, unit="mV")

    gates: ClassVar = {"m": 3, "h": 1}

    def rates(self, V: Float[ArrayLike, "*s"]) -> dict[str, AlphaBeta]:
        v = V - self.VT
        return {
            "m": AlphaBeta(alpha=0.32 * vtrap(13 - v, 4), beta=0.28 * vtrap(v - 40, 5)),
            "h": AlphaBeta(alpha=0.128 * jnp.exp((17 - v) / 18), beta=4 * jax.nn.sigmoid((v - 40) / 5)),
        }


class TraubMilesPotassium(Channel):
    """Delayed-rectifier potassium current, g·n⁴·(V − E) (Brette et al. 2007, appendix B).

    **Fields:** `g`: 30 mS/cm²; `E`: −90 mV; `VT`: −63 mV, which adjusts the threshold.
    """

    g: Parameter = param(30.0, unit="mS/cm²", minimum=0.0)
    E: OptionalParameter = param(-90.0, unit="mV", optional=True)
    VT: Parameter = param(-63.0, unit="mV")

    gates: ClassVar = {"n": 4}

    def rates(self, V: Float[ArrayLike, "*s"]) -> dict[str, AlphaBeta]:
        v = V - self.VT
        return {"n": AlphaBeta(alpha=0.032 * vtrap(15 - v, 5), beta=0.5 * jnp.exp((10 - v) / 40))}
