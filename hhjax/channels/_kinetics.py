"""The kinetics of one gate, in the forms in which papers give them."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array

from .._base.parameters import as_real


class AlphaBeta(NamedTuple):
    """Kinetics of one gate by its opening and closing rates: dx/dt = α(1 − x) − βx.

    `alpha`, `beta`: 1/ms, the shape of V.
    """

    alpha: Array
    beta: Array

    @property
    def inf(self) -> Array:
        """Steady state α/(α + β)."""
        return self.alpha / (self.alpha + self.beta)

    @property
    def tau(self) -> Array:
        """Time constant 1/(α + β), in ms."""
        return 1 / (self.alpha + self.beta)

    def linear_form(self, factor: Array | float) -> tuple[Array, Array]:
        """(drive, rate) of dx/dt = drive − rate·x, both sped up by `factor`."""
        return factor * self.alpha, factor * (self.alpha + self.beta)


class InfTau(NamedTuple):
    """Kinetics of one gate by its steady state and time constant: dx/dt = (inf − x)/tau.

    `inf`: in [0, 1]; `tau`: ms; both the shape of V.
    """

    inf: Array
    tau: Array

    @property
    def alpha(self) -> Array:
        """Opening rate inf/tau, in 1/ms."""
        return self.inf * self._rate

    @property
    def beta(self) -> Array:
        """Closing rate (1 − inf)/tau, in 1/ms."""
        return (1 - self.inf) * self._rate

    @property
    def _rate(self) -> Array:
        # What is faster is at `inf` as well; its 1/tau, and more so the square of that, may overflow.
        return 1 / jnp.where(jnp.abs(self.tau) < 1e-6, 1e-6, self.tau)

    def linear_form(self, factor: Array | float) -> tuple[Array, Array]:
        """(drive, rate) of dx/dt = drive − rate·x, both sped up by `factor`."""
        rate = factor * self._rate
        return self.inf * rate, rate


class Instantaneous(NamedTuple):
    """A gate without a state of its own: x = inf(V) at every moment.

    `inf`: in [0, 1], the shape of V.
    """

    inf: Array


Kinetics = AlphaBeta | InfTau | Instantaneous


def q10(celsius: Array | float, reference: float, q10: float = 3.0) -> Array | float:
    """The factor q10^((celsius − reference)/10) by which warmth speeds a rate up.

    **Arguments:** `celsius`, `reference`: °C; `q10`: dimensionless, the factor for 10 °C.

    **Returns:** dimensionless.
    """
    for name, x in (("celsius", celsius), ("reference", reference), ("q10", q10)):
        as_real(name, x)
    return q10 ** ((celsius - reference) / 10)
