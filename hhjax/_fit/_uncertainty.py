"""What residuals and their slopes say of parameters."""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np


@dataclasses.dataclass(frozen=True)
class Uncertainty:
    """What the residuals at the optimum say of the parameters.

    **Fields:** `covariance`: shape (P, P), in the directions that the data determine;
    `unknown`: the directions that they do not, orthonormal rows, shape (k, P), in units of
    `scale`; `scale`: what counts as a large change of each parameter, (P,).
    """

    covariance: np.ndarray
    unknown: np.ndarray
    scale: np.ndarray

    @property
    def standard_errors(self) -> np.ndarray:
        """Of each parameter, shape (P,); infinite where the data do not determine it."""
        return self.errors(np.eye(self.scale.size))

    @property
    def correlation(self) -> np.ndarray:
        """Of the estimates, shape (P, P); NaN for parameters that the data do not determine."""
        errors = self.standard_errors
        errors[np.isinf(errors)] = np.nan
        return self.covariance / np.outer(errors, errors)

    def errors(self, slopes: np.ndarray) -> np.ndarray:
        """Standard errors of linear combinations of the parameters, one for each row of slopes."""
        errors = np.sqrt(np.maximum(np.einsum("ij,jk,ik->i", slopes, self.covariance, slopes), 0.0))
        scaled = slopes * self.scale
        size = np.linalg.norm(scaled, axis=1)
        along = np.abs(scaled @ self.unknown.T).max(axis=1, initial=0.0)
        return np.where(along > _ALONG * size, np.inf, errors)


_ALONG = 1e-3  # a quantity with more of its slope along an unknown direction is not determined


def no_uncertainty(P: int) -> Uncertainty:
    """Where no Jacobian was made."""
    return Uncertainty(np.full((P, P), np.nan), np.zeros((0, P)), np.ones(P))


def uncertainty(r: Any, J: Any, count: int, slopes: Any) -> Uncertainty:
    """From compressed residuals and their Jacobian by U unknowns, of which P are parameters.

    **Arguments:** `count`: how many residuals there were; `slopes`: the derivative of each
    parameter by its unknown, shape (P,).
    """
    eps = float(jnp.finfo(J.dtype).eps)
    residuals, J, slopes = (np.asarray(x, float) for x in (r, J, slopes))
    U, P = J.shape[1], slopes.size
    size = np.linalg.norm(J, axis=0)
    # Columns of length one first: parameters differ in size by many orders.
    scale = np.where(size > 0, size, 1.0)
    _, singular, right = np.linalg.svd(J / scale, full_matrices=True)
    singular = np.pad(singular, (0, U - singular.size))
    seen = (singular > 1e3 * eps * singular[0]) & (count > U) & (singular[0] > 0)
    own = right[:, :P] * slopes / scale[:P]  # parameter changes along each singular direction
    inverse = own[seen].T / singular[seen]
    covariance = (residuals @ residuals) / max(count - U, 1) * inverse @ inverse.T
    # A parameter without any effect has a column of zeros, whose own scale says nothing.
    unit = np.abs(slopes) / scale[:P]
    unit = np.where(unit > 0, unit, 1.0)
    unknown = own[~seen] / unit
    length = np.linalg.norm(unknown, axis=1)
    unknown = unknown[length > 1e-6] / length[length > 1e-6, None]
    return Uncertainty(covariance, unknown, unit)
