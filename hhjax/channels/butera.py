"""The persistent sodium current of the pre-Bötzinger complex.

R. J. Butera, J. Rinzel and J. C. Smith, "Models of respiratory rhythm generation in the
pre-Bötzinger complex. I. Bursting pacemaker neurons", J. Neurophysiol. 82 (1999) 382-397.
"""

from typing import ClassVar

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Float

from .._base.parameters import OptionalParameter, param, Parameter
from ._channel import Channel
from ._kinetics import InfTau, Instantaneous, Kinetics


class PersistentSodium(Channel):
    """Persistent sodium current, g·m∞h·(V − E), slowly inactivating (model 1 of the paper).

    **Fields:** `g`: 0.133 mS/cm² (2.8 nS in 21 pF, at 1 µF/cm²); `E`: 50 mV; `tau_max`:
    10,000 ms.
    """

    g: Parameter = param(2.8 / 21, unit="mS/cm²", minimum=0.0)
    E: OptionalParameter = param(50.0, unit="mV", optional=True)
    tau_max: Parameter = param(10_000.0, unit="ms", positive=True)

    gates: ClassVar = {"m": 1, "h": 1}

    def rates(self, V: Float[ArrayLike, "*s"]) -> dict[str, Kinetics]:
        return {
            "m": Instantaneous(jax.nn.sigmoid((V + 40) / 6)),
            "h": InfTau(
                inf=jax.nn.sigmoid(-(V + 48) / 6),
                tau=self.tau_max / jnp.cosh(jnp.clip((V + 48) / 12, -40, 40)),
            ),
        }
