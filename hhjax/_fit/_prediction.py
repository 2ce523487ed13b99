"""The one-step prediction error of a cell with noise, as a likelihood."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ..losses import Prediction
from ._clamp import Clamped
from ._free import Free
from ._look import Noise
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
    objective: Prediction
    clamps: tuple[Clamped, ...] = ()

    @property
    def extra(self) -> Array:
        target = self.protocol.target
        return jnp.zeros(target.shape[2] if self.objective.process is None else 0, target.dtype)  # K of ½

    @property
    def sampling(self) -> float:
        """Time from one sample to the next, ms."""
        return self.protocol.dt * self.protocol.stride

    def gain(self, u: Array) -> Array:
        """The share K, shape (n,)."""
        if self.objective.process is None:
            return jax.nn.sigmoid(u[u.size - self.extra.size :])
        given, _ = self.objective.steady(self.sampling)
        return jnp.broadcast_to(given.astype(u.dtype), self.protocol.target.shape[2:])

    def noise(self, u: Array) -> Noise:
        """The noise of which this is the steady filter: K²·S per sample in the cell and (1 − K)·S of a
        reading, S the variance of the errors."""
        errors = np.asarray(_predicted(self, u)) - np.asarray(self.protocol.target)
        S, K = np.nanmean(errors[:, 1:] ** 2, axis=(0, 1)), np.asarray(self.gain(u))
        return Noise(K * np.sqrt(S / self.sampling), np.sqrt((1 - K) * S))


@eqx.filter_jit
def _predicted(problem: Predicting, u: Array) -> Array:
    return run(problem.protocol, *problem.unpack(u), jnp.zeros((), u.dtype), gain=problem.gain(u))
