"""The one-step prediction error of a cell with noise, as a likelihood."""

from typing import Any

import diffrax
import jax
import jax.numpy as jnp
from jaxtyping import Array

from ..losses import AbstractLoss
from ._clamp import Clamped
from ._free import Free
from ._problem import Shooting
from ._protocol import Protocol, run


class Predicting(Shooting):
    r"""Each sample is predicted from those before it.

    At every sample V takes over a share K of what it differs by from the data: the Kalman filter of V in its
    steady state, in innovation form (L. Ljung, *System Identification*, 2nd ed. 1999, section 7.4). At the
    truth the errors are white, whatever spikes the noise has made. K, an unknown besides the parameters for
    each neuron, tells noise in the cell (K near 1) from noise in the reading (K near 0).
    """

    model: Any
    free: Free
    protocol: Protocol
    objective: AbstractLoss
    clamps: tuple[Clamped, ...] = ()

    @property
    def extra(self) -> Array:
        return jnp.zeros(self.protocol.v0.shape[1], self.protocol.v0.dtype)  # K of ½

    def gain(self, u: Array) -> Array:
        """The share K, shape (n,)."""
        return jax.nn.sigmoid(u[u.size - self.extra.size :])

    def traces(self, u: Array, v0: Array, strength: Array, adjoint: diffrax.AbstractAdjoint) -> Array:
        return run(self.protocol, self.unpack(u)[0], v0, strength, adjoint, gain=self.gain(u)).V
