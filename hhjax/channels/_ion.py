"""Ions: their concentrations at both sides of the membrane, and what currents do to them."""

from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._base.parameters import check_flag, Checked, OptionalParameter, param, Parameter, settle, shown
from .._base.renames import renamed

FARADAY = 96485.33212
"""C/mol."""


GAS = 8.31446261815324
"""J/(mol K)."""


def _names(names: Any) -> tuple[str, ...]:
    return tuple(names) if isinstance(names, (tuple, list, set)) else (names,)


def _whole(x: Any) -> Any:
    return int(x) if isinstance(x, np.integer) else x


class Ion(Checked):
    r"""An ion, whose concentration its channels follow and, with a `depth`, change.

    The reversal potential of its carriers is that of Nernst, $E = \frac{RT}{zF}\ln\frac{c_{out}}{c}$.
    In a shell of depth d beneath the membrane $dc/dt = -I/(zFd) - (c - c_0)/\tau$, with I the sum of
    the currents of its carriers (A. Destexhe, T. J. Sejnowski and M. Steriade, Biophys. J. 65 (1993)
    1538-1552):

    ```python
    potassium = hh.Ion("kdr", valence=1, inside=140.0, outside=4.0, depth=0.1, tau=100.0)
    channels = {"kdr": hh.Potassium(E=None), "leak": hh.Leak()}
    neuron = hh.Neuron(channels, ions={"k": potassium}, celsius=6.3)
    ```

    Its concentration in a state is `concentrations["k"]`. With the Nernst potential the current
    depends on c, and the equation of c is then not linear in c. [`hh.calcium`][] is the ion that most
    models have.

    **Fields:**

    - `carriers`: the names of the channels that carry it. A [`hh.GHKChannel`][] names its ion itself.
    - `valence`: z, not 0.
    - `inside`: c_0, mM, to which c decays.
    - `outside`: c_out, mM, constant.
    - `depth`: d of the shell, µm; `None` for a concentration that stays.
    - `tau`: time constant of removal, ms; infinite for none.
    - `celsius`: °C; by default the neuron's, else 36.
    - `nernst`: whether it sets the reversal potential E of its carriers, which then have none of their own.
    - `enters_only`: whether only inward flow of the ion changes its concentration, as in models of calcium.
    """

    carriers: tuple[str, ...] = eqx.field(converter=_names, static=True, default=())
    valence: int = eqx.field(converter=_whole, static=True, kw_only=True)
    inside: Parameter = param(unit="mM", positive=True, kw_only=True)
    outside: Parameter = param(unit="mM", positive=True, kw_only=True)
    depth: OptionalParameter = param(None, unit="µm", positive=True, kw_only=True)
    tau: Parameter = param(jnp.inf, unit="ms", positive=True, kw_only=True)
    celsius: OptionalParameter = param(None, otherwise=36.0, unit="°C", minimum=-273.15, kw_only=True)
    nernst: bool = eqx.field(default=True, static=True, kw_only=True)
    enters_only: bool = eqx.field(default=False, static=True, kw_only=True)

    def _check_made(self) -> None:
        for name in ("nernst", "enters_only"):
            check_flag(f"Ion.{name}", getattr(self, name))
        if odd := [name for name in self.carriers if not isinstance(name, str)]:
            raise TypeError(f"`Ion.carriers` must be names of channels, got {shown(odd[0])}.")
        if isinstance(self.valence, bool) or not isinstance(self.valence, int) or self.valence == 0:
            raise ValueError(f"`Ion.valence` must be a whole number, not 0, got {self.valence!r}.")
        if len(set(self.carriers)) < len(self.carriers):
            raise ValueError(f"`Ion.carriers` must be different names, got {list(self.carriers)}.")

    @property
    def moves(self) -> bool:
        """Whether currents change the concentration inside."""
        return self.depth is not None

    @property
    def thermal(self) -> Array | float:
        """RT/(zF), mV."""
        return 1000 * GAS * (settle(self).celsius + 273.15) / (self.valence * FARADAY)

    @property
    def E(self) -> Float[Array, "*s"]:
        """The Nernst potential, mV."""
        return self.thermal * jnp.log(self.outside / self.inside)

    def linear_form(self, current: Float[Array, "*s"], c: Float[Array, "*s"]) -> tuple[Array, Array]:
        """(drive in mM/ms, rate in 1/ms) of the concentration c (mM), for an outward current in µA/cm².

        What leaves is part of the rate, so that c stays above 0.
        """
        assert self.depth is not None
        flux = -10 / (self.valence * FARADAY * self.depth) * current
        drive, rate = jnp.maximum(flux, 0.0) + self.inside / self.tau, 1 / self.tau
        return drive, rate if self.enters_only else rate + jnp.maximum(-flux, 0.0) / c


Ions = Mapping[str, Ion]
"""Ions by name, each with `inside` as it is at the moment."""


@renamed(rest="inside")
def calcium(carriers: Any = (), **fields: Any) -> Ion:
    """Calcium, which its channels let in and a pump in first order brings out.

    As in A. Destexhe et al., J. Neurophysiol. 76 (1996) 2049-2070:

    ```python
    hh.Neuron(channels, ions={"ca": hh.calcium("t")})  # channels has a "t" with E=None
    ```

    **Arguments:** `carriers`: see [`hh.Ion`][]; `fields`: other values of its fields than these:
    `valence` 2, `inside` 2.4e-4 mM, `outside` 2 mM, `depth` 1 µm, `tau` 5 ms, `enters_only` true.
    """
    usual: dict[str, Any] = dict(valence=2, inside=2.4e-4, outside=2.0, depth=1.0, tau=5.0, enters_only=True)
    return Ion(carriers, **(usual | fields))
