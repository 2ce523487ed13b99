"""Channels whose current follows the concentrations at both sides of the membrane."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from .._base.arguments import check_kind
from .._base.math import exprel
from .._base.parameters import param, Parameter
from ._channel import AbstractGatedChannel, ion_of, NO_IONS, States
from ._ion import FARADAY, Ions


class GHKChannel(AbstractGatedChannel):
    r"""A population of channels with a permeability, in a constant field.

    With $u = zFV/RT$ the current is
    $I = P z F u\,\frac{c_{in} - c_{out} e^{-u}}{1 - e^{-u}} \prod_x x^{p_x}$ in µA/cm²
    (D. E. Goldman, J. Gen. Physiol. 27 (1943) 37-60; A. L. Hodgkin and B. Katz, J. Physiol. 108 (1949)
    37-77). State `gates` and `rates` as for a [`hh.Channel`][]; the concentrations are those of the
    neuron's ion:

    ```python
    class HighThreshold(hh.GHKChannel):
        gates = {"m": 2}

        def rates(self, V):
            return {"m": hh.InfTau(jax.nn.sigmoid((V + 10) / 6), 1.0)}

    calcium = HighThreshold(P=1e-4, ion="ca")
    neuron = hh.Neuron({"ca_l": calcium, "leak": hh.Leak()}, ions={"ca": hh.calcium()})
    ```

    **Fields:** `P`: permeability with all channels open, cm/s, scalar or one per neuron; `ion`: the
    name of the ion.
    """

    P: Parameter = param(unit="cm/s", minimum=0.0)
    ion: str = eqx.field(static=True, default="ca")

    def _check_made(self) -> None:
        check_kind(f"{type(self).__name__}.ion", self.ion, str, "the name of an ion, such as 'ca'")
        super()._check_made()

    @property
    def carries(self) -> str:
        return self.ion

    @property
    def conductance_depends_on_V(self) -> bool:
        return True

    def current(self, V: Float[ArrayLike, "*s"], states: States, ions: Ions = NO_IONS) -> Array:
        """The ionic current in µA/cm², outward positive."""
        ion = ion_of(self, self.ion, ions)
        u = V / ion.thermal
        # u/(1 − e^(−u)) and u/(eᵘ − 1), without their singularity at 0; mM · cm/s · C/mol = µA/cm².
        flux = ion.inside / exprel(-u) - ion.outside / exprel(u)
        return self.P * ion.valence * FARADAY * flux * self.open_fraction(V, states, ions)

    def linear_current(
        self, V: Float[ArrayLike, "*s"], states: States, ions: Ions = NO_IONS
    ) -> tuple[Array, Array]:
        at = lambda V: self.current(V, states, ions)
        V = jnp.asarray(V)
        current, conductance = jax.jvp(at, (V,), (jnp.ones_like(V),))
        return conductance * V - current, conductance
