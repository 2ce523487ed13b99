"""Calcium pools: a concentration beneath the membrane that channels fill and sense."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._base.parameters import param, Parameter

_FARADAY = 96485.33212  # C/mol


_GAS = 8.31446261815324  # J/(mol K)


def _names(names: Any) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)


class CalciumPool(eqx.Module):
    r"""Calcium in a shell beneath the membrane, filled by inward current, emptied in first order.

    $dc/dt = -I_{Ca}/(2Fd) - (c - c_0)/\tau$, with $I_{Ca}$ the sum of the currents of the channels
    `carriers` where it is inward, else 0 (A. Destexhe, T. J. Sejnowski and M. Steriade, Biophys. J.
    65 (1993) 1538-1552; A. Destexhe et al., J. Neurophysiol. 76 (1996) 2049-2070):

    ```python
    hh.Neuron(channels, pools={"ca": hh.CalciumPool("t")})  # channels has a "t"
    ```

    In a state the concentration is `gates["ca"]["c"]`. With the Nernst potential the current
    depends on c, so that the drive of c is not quite free of c itself.

    **Fields:**

    - `carriers`: the name of the channel, or names of channels, that carry calcium.
    - `depth`: d of the shell, µm.
    - `tau`: time constant of removal, ms.
    - `rest`: c_0, mM, to which c decays.
    - `outside`: concentration outside, mM.
    - `celsius`: temperature in the Nernst potential, °C.
    - `nernst`: whether the carriers' reversal potential E follows the concentration.
    """

    carriers: tuple[str, ...] = eqx.field(converter=_names, static=True)
    depth: Parameter = param(1.0, unit="µm", positive=True)
    tau: Parameter = param(5.0, unit="ms", positive=True)
    rest: Parameter = param(2.4e-4, unit="mM", positive=True)
    outside: Parameter = param(2.0, unit="mM", positive=True)
    celsius: Parameter = param(36.0, unit="°C")
    nernst: bool = eqx.field(default=True, static=True)

    def reversal(self, c: Float[Array, "*s"]) -> Float[Array, "*s"]:
        """The Nernst potential of calcium, in mV, at a concentration of `c` (mM) inside."""
        thermal = 1000 * _GAS * (self.celsius + 273.15) / (2 * _FARADAY)
        return thermal * jnp.log(self.outside / c)

    def linear_form(self, inward: Float[Array, "*s"]) -> tuple[Array, Array]:
        """(drive in mM/ms, rate in 1/ms) of the concentration, for an inward current in µA/cm²."""
        influx = 10 / (2 * _FARADAY * self.depth) * jnp.maximum(inward, 0.0)
        return influx + self.rest / self.tau, 1 / self.tau

    def steady_state(self, inward: Float[Array, "*s"]) -> Float[Array, "*s"]:
        """The concentration (mM) that an inward current (µA/cm²) would keep."""
        drive, rate = self.linear_form(inward)
        return drive / rate
