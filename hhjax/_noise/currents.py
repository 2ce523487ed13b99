"""Noise that is injected: white and coloured currents, and a fluctuating conductance."""

import abc
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._base.arguments import as_array
from .._base.math import exprel, relax
from .._base.parameters import Checked, is_concrete, param, Parameter, shown


def _mixing(correlation: Any) -> Any:
    """A matrix L with L·Lᵀ = correlation, by eigenvalues, so that rank may be missing."""
    if correlation is None:
        return None
    correlation = as_array("correlation", correlation)
    if correlation.ndim != 2 or correlation.shape[0] != correlation.shape[1]:
        raise ValueError(f"`correlation` must have shape (n, n), got {correlation.shape}.")
    if is_concrete(correlation):
        matrix = np.asarray(correlation)
        if not (np.isfinite(matrix).all() and np.allclose(matrix, matrix.T, atol=1e-6)):
            raise ValueError(f"`correlation` must be finite and symmetric, got {shown(matrix)}.")
        if not np.allclose(np.diag(matrix), 1.0, atol=1e-6):
            raise ValueError("`correlation` must have ones on its diagonal; scale the noise by `sigma`.")
        if np.linalg.eigvalsh(matrix).min() < -1e-5:
            raise ValueError("`correlation` must have no negative eigenvalue.")
    values, vectors = jnp.linalg.eigh(correlation)
    return vectors * jnp.sqrt(jnp.maximum(values, 0.0))[None, :]


class AbstractNoise(Checked):
    """Noise that reaches the membrane as a current, one Brownian motion per neuron.

    **Fields:** `mixing`: a matrix L (n, n) that turns independent Brownian motions into
    those of the neurons, `None` for independent ones.
    """

    mixing: eqx.AbstractVar[Any]

    @property
    def correlation(self) -> Array | None:
        """The correlation of the neurons' Brownian motions, shape (n, n)."""
        return None if self.mixing is None else self.mixing @ self.mixing.T

    def mix(self, dW: Float[Array, " n"]) -> Array:
        """Independent increments as those of the neurons, √ms."""
        return dW if self.mixing is None else jnp.matmul(self.mixing, dW, precision="highest")

    @abc.abstractmethod
    def steady_state(self, n: int, dtype: Any) -> Any:
        """The mean of the noise's own state, shape (n,); `None` for white noise."""

    @abc.abstractmethod
    def linear_form(self, x: Any) -> tuple[Any, Any]:
        """(drive, rate) of the noise's own state."""

    @abc.abstractmethod
    def linear_current(self, x: Any) -> tuple[Array | float, Array | float]:
        """(drive µA/cm², conductance mS/cm²): the inward current drive − conductance·V."""

    def white(self, dW: Float[Array, " n"]) -> Array:
        """The charge that white noise injects, µA·ms/cm², shape (n,)."""
        return jnp.zeros_like(dW)

    def diffusion(self, x: Any, dW: Float[Array, " n"]) -> Any:
        """The change of the noise's own state by Brownian increments, Itô."""
        return None

    def move(self, x: Any, dt: Array, dW: Float[Array, " n"]) -> Any:
        """The noise's own state after `dt` (ms), exactly."""
        return None

    def check(self, n: int) -> None:
        """Refuse a correlation that does not fit a network of n neurons."""
        if self.mixing is not None and self.mixing.shape != (n, n):
            raise ValueError(f"`correlation` must have shape ({n}, {n}), got {self.mixing.shape}.")


class CurrentNoise(AbstractNoise):
    r"""White current noise: $C\,dV = (\dots)\,dt + \sigma\,dW$.

    Additive, so that Itô and Stratonovich agree.

    **Fields:**

    - `sigma`: µA/cm²·√ms, scalar or shape (n,). A patch at rest with time constant τ and
        conductance g fluctuates by σ/√(2gC) mV.
    - `correlation`: of the noise of different neurons, shape (n, n), ones on the
        diagonal; independent by default.
    """

    sigma: Parameter = param(unit="µA/cm²·√ms", minimum=0.0)
    mixing: Float[Array, "n n"] | None = None

    def __init__(self, sigma: Any, correlation: Any = None):
        self.sigma = sigma
        self.mixing = _mixing(correlation)

    def steady_state(self, n, dtype):
        return None

    def linear_form(self, x):
        return None, None

    def linear_current(self, x):
        return 0.0, 0.0

    def white(self, dW):
        return self.sigma * self.mix(dW)


class _OrnsteinUhlenbeck(AbstractNoise):
    tau: eqx.AbstractVar[Parameter]
    sigma: eqx.AbstractVar[Parameter]
    mean: eqx.AbstractVar[Parameter]

    def steady_state(self, n, dtype):
        return jnp.broadcast_to(jnp.asarray(self.mean, dtype), (n,))

    def linear_form(self, x):
        return jnp.broadcast_to(self.mean / self.tau, x.shape), jnp.broadcast_to(1 / self.tau, x.shape)

    def diffusion(self, x, dW):
        return self.sigma * jnp.sqrt(2 / self.tau) * self.mix(dW)

    def move(self, x, dt, dW):
        drive, rate = self.linear_form(x)
        gained = self.sigma * jnp.sqrt(2 / self.tau * exprel(-2 * dt / self.tau)) * self.mix(dW)
        return relax(x, drive, rate, dt) + gained


class OUCurrent(_OrnsteinUhlenbeck):
    r"""A coloured current: $d\eta = (\mu - \eta)/\tau\,dt + \sigma\sqrt{2/\tau}\,dW$.

    G. E. Uhlenbeck and L. S. Ornstein, Phys. Rev. 36 (1930) 823-841. It starts at its
    mean. Additive, so that Itô and Stratonovich agree.

    **Fields:**

    - `tau`: correlation time, ms.
    - `sigma`: standard deviation in the long run, µA/cm².
    - `mean`: µA/cm²; each a scalar or shape (n,).
    - `correlation`: of different neurons, shape (n, n); independent by default.
    """

    tau: Parameter = param(unit="ms", positive=True)
    sigma: Parameter = param(unit="µA/cm²", minimum=0.0)
    mean: Parameter = param(unit="µA/cm²")
    mixing: Float[Array, "n n"] | None = None

    def __init__(self, tau: Any, sigma: Any, mean: Any = 0.0, correlation: Any = None):
        self.tau, self.sigma, self.mean = tau, sigma, mean
        self.mixing = _mixing(correlation)

    def linear_current(self, x):
        return x, 0.0


class OUConductance(_OrnsteinUhlenbeck):
    r"""A fluctuating synaptic conductance, $I = g(t)\,(E - V)$, with g an OU process.

    The point-conductance model of A. Destexhe, M. Rudolph, J.-M. Fellous and T. J.
    Sejnowski, Neuroscience 107 (2001) 13-24. g starts at its mean; where it is negative
    no current flows. Additive, so that Itô and Stratonovich agree.

    **Fields:**

    - `tau`: correlation time, ms.
    - `sigma`: standard deviation of g in the long run, mS/cm².
    - `mean`: mean of g, mS/cm².
    - `reversal`: E, mV; each a scalar or shape (n,).
    - `correlation`: of different neurons, shape (n, n); independent by default.
    """

    tau: Parameter = param(unit="ms", positive=True)
    sigma: Parameter = param(unit="mS/cm²", minimum=0.0)
    mean: Parameter = param(unit="mS/cm²")
    reversal: Parameter = param(unit="mV")
    mixing: Float[Array, "n n"] | None = None

    def __init__(self, tau: Any, sigma: Any, mean: Any, reversal: Any, correlation: Any = None):
        self.tau, self.sigma, self.mean, self.reversal = tau, sigma, mean, reversal
        self.mixing = _mixing(correlation)

    def linear_current(self, x):
        g = jnp.maximum(x, 0.0)
        return g * self.reversal, g
