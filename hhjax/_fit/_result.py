"""What a fit returns."""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array


@dataclasses.dataclass(frozen=True)
class Starts:
    """Every start of a fit: `before` and `after`, free parameters of shape (starts, P);
    `loss` of the free-running model, shape (starts,); `reasons` why each stopped."""

    before: np.ndarray
    after: np.ndarray
    loss: np.ndarray
    reasons: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Fit:
    """The result of [`hh.fit`][].

    **Fields:**

    - `model`: the fitted model, of the type that came in.
    - `names`, `units`, `values`: the free parameters, P of them, `values` of shape (P,).
    - `standard_errors`: shape (P,), in the units of the parameters, from the Jacobian J of
        the residuals at the optimum: the covariance is s²(JᵀJ)⁻¹ with s² the residual
        variance. Right if the residuals are independent; residuals of a model that is
        wrong are not, and the true errors are then larger. Infinite for parameters that
        the data cannot tell apart, such as a leak reversal and a current offset.
    - `correlation`: of the estimates, shape (P, P).
    - `loss`: of the free-running model at the end: the mean squared residual in units of
        the loss's `sd`.
    - `history`: loss at every iteration of the best start, guided stages included.
    - `reason`: why the best start stopped.
    - `starts`: all starts.
    - `runs`: how many forward runs the whole fit came to, each sweep's run counted once
        per start: a Jacobian counts one for the run and one for each unknown, a gradient
        three.
    - `ts`: ms, from the start of a sweep; `V` of the free-running fitted model and `data`,
        mV, shape (sweeps, times, n).
    """

    model: Any
    names: tuple[str, ...]
    units: tuple[str, ...]
    values: np.ndarray
    standard_errors: np.ndarray
    correlation: np.ndarray
    loss: float
    history: np.ndarray
    reason: str
    starts: Starts
    runs: int
    ts: Array
    V: Array
    data: Array

    def summary(self) -> str:
        """The estimates as a table, and how the fit ended."""
        wide = max(9, *(len(name) for name in self.names))
        head = f"{'parameter':<{wide}}  {'estimate':>12}  {'std. error':>12}  unit"
        rows = [
            f"{name:<{wide}}  {value:>12.6g}  {error:>12.2g}  {unit}"
            for name, value, error, unit in zip(self.names, self.values, self.standard_errors, self.units)
        ]
        unknown = [name for name, error in zip(self.names, self.standard_errors) if np.isinf(error)]
        if unknown:
            rows.append(f"not identifiable from these data: {', '.join(unknown)}")
        best = f"loss {self.loss:.6g} after {len(self.history)} iterations: {self.reason}"
        count = len(self.starts.reasons)
        if count > 1:
            near = int((self.starts.loss <= 1.01 * self.loss).sum())
            best += f"; {near} of {count} starts reached it within 1 %"
        return "\n".join([head, *rows, best])

    def __str__(self) -> str:
        return self.summary()

    def rmse(self) -> np.ndarray:
        """Root mean squared error of V, mV, shape (sweeps, n), of the samples there are."""
        error = np.where(np.isnan(self.data), np.nan, np.asarray(self.V) - self.data)
        return np.sqrt(np.nanmean(error**2, axis=1))

    def plot(self, **options: Any) -> Any:
        """Data against fit; see [`hh.plot.fit`][]."""
        from .. import plot

        return plot.fit(self, **options)


def errors_and_correlation(r: Array, J: Array, count: int, slopes: Array) -> tuple[np.ndarray, np.ndarray]:
    """Standard errors and correlation of parameters, from compressed residuals and Jacobian.

    **Arguments:** `count`: how many residuals there were; `slopes`: the derivative of each
    parameter by its unknown.
    """
    eps = float(jnp.finfo(J.dtype).eps)
    r, J, slopes = (np.asarray(x, float) for x in (r, J, slopes))
    P = J.shape[1]
    size = np.linalg.norm(J, axis=0)
    nothing = np.full(P, np.inf), np.full((P, P), np.nan)
    if count <= P or not size.any():
        return nothing
    # Columns of length one first: parameters differ in size by many orders.
    scale = np.where(size > 0, size, 1.0)
    _, singular, right = np.linalg.svd(J / scale, full_matrices=False)
    seen = singular > 1e3 * eps * singular[0]
    inverse = (right[seen].T / singular[seen]) / scale[:, None] * slopes[:, None]
    covariance = (r @ r) / (count - P) * inverse @ inverse.T
    errors = np.sqrt(np.diag(covariance))
    with np.errstate(invalid="ignore"):
        correlation = covariance / np.outer(errors, errors)
    # What takes part in a direction that changes no residual is not known at all.
    unknown = (np.abs(right[~seen]) > 1e-3).any(axis=0) | (size == 0)
    errors[unknown], correlation[unknown], correlation[:, unknown] = np.inf, np.nan, np.nan
    return errors, correlation
