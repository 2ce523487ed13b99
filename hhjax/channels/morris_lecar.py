"""The currents of the barnacle giant muscle fibre.

C. Morris and H. Lecar, "Voltage oscillations in the barnacle giant muscle fiber", Biophys. J. 35
(1981) 193-213, reduced to two variables, with the constants of J. Rinzel and G. B. Ermentrout,
"Analysis of neural excitability and oscillations", in *Methods in Neuronal Modeling*, 2nd edition,
MIT Press 1998.
"""

from typing import ClassVar

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Float

from .._base.parameters import OptionalParameter, param, Parameter
from ._channel import Channel
from ._kinetics import InfTau, Instantaneous


class MorrisLecarCalcium(Channel):
    """Calcium current, g·m∞·(V − E), whose activation follows V at once (1981, eqs. 2 and 9).

    **Fields:** `g`: 4.4 mS/cm²; `E`: 120 mV; `V1`: −1.2 mV, half activation; `V2`: 18 mV, its
    width.
    """

    g: Parameter = param(4.4, unit="mS/cm²", minimum=0.0)
    E: OptionalParameter = param(120.0, unit="mV", optional=True)
    V1: Parameter = param(-1.2, unit="mV")
    V2: Parameter = param(18.0, unit="mV", positive=True)

    gates: ClassVar = {"m": 1}

    def rates(self, V: Float[ArrayLike, "*s"]) -> dict[str, Instantaneous]:
        # (1 + tanh z)/2 of the paper
        return {"m": Instantaneous(jax.nn.sigmoid(2 * (V - self.V1) / self.V2))}


class MorrisLecarPotassium(Channel):
    """Potassium current, g·w·(V − E) (1981, eqs. 2, 10 and 12).

    **Fields:** `g`: 8 mS/cm²; `E`: −84 mV; `V3`: 2 mV, half activation; `V4`: 30 mV, its width;
    `phi`: 0.04 per ms, the rate at V3.
    """

    g: Parameter = param(8.0, unit="mS/cm²", minimum=0.0)
    E: OptionalParameter = param(-84.0, unit="mV", optional=True)
    V3: Parameter = param(2.0, unit="mV")
    V4: Parameter = param(30.0, unit="mV", positive=True)
    phi: Parameter = param(0.04, unit="1/ms", positive=True)

    gates: ClassVar = {"w": 1}

    def rates(self, V: Float[ArrayLike, "*s"]) -> dict[str, InfTau]:
        z = (V - self.V3) / self.V4
        return {"w": InfTau(inf=jax.nn.sigmoid(2 * z), tau=1 / (self.phi * jnp.cosh(z / 2)))}
