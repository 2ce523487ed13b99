"""What a protocol can tell of the parameters of a model."""

from collections.abc import Sequence
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from .._base.arguments import as_array, as_number
from .._base.host import number, Settings, table
from .._base.parameters import as_float_array, cast_floats, check_flag, check_size, run_dtype
from .._fit._free import Free, Where
from .._fit._protocol import check_model, split
from .._fit._uncertainty import Uncertainty, uncertainty
from .._run.simulate import save_V
from ..stimuli._base import as_stimulus, check_stimulus
from ._sensitivity import free_parameters, Model, run_model

_POOR = 0.5  # relative standard error, from which on a parameter is said to be poorly known


class FisherInformation(eqx.Module):
    """How well a protocol determines P parameters, see [`hh.analysis.fisher_information`][].

    **Fields:**

    - `names`, `units`, `values`: of the parameters.
    - `matrix`: the Fisher information, shape (P, P), in 1/(unit·unit). Differentiable in
        forward mode (`jax.jacfwd`): its determinant is what the design of an experiment maximises.
    - `root`: R with RᵀR = matrix, shape (P, P), upper triangular, from which all else is worked out,
        since it has twice the digits.
    """

    names: tuple[str, ...] = eqx.field(static=True)
    units: tuple[str, ...] = eqx.field(static=True)
    values: Float[Array, " P"]
    matrix: Float[Array, "P P"]
    root: Float[Array, "P P"]

    @property
    def uncertainty(self) -> Uncertainty:
        """Of an efficient estimate, in the form in which [`hh.fit`][] gives that of a fit."""
        P = len(self.names)
        # Residuals whose estimated variance is one, the unit of the root.
        return uncertainty(jnp.ones(1), self.root, P + 1, jnp.ones(P))

    @property
    def standard_errors(self) -> np.ndarray:
        """The least that an unbiased estimate can have (Cramér-Rao), in the parameters' units, (P,).

        Infinite for parameters that the protocol cannot tell apart.
        """
        return self.uncertainty.standard_errors

    @property
    def correlation(self) -> np.ndarray:
        """Of efficient estimates, shape (P, P); NaN for what is not identifiable."""
        return self.uncertainty.correlation

    def eigen(self) -> tuple[np.ndarray, np.ndarray]:
        """Eigenvalues (P,), from the greatest, and eigenvectors, the columns of (P, P).

        Of the information on relative changes of the parameters (absolute ones where a value is
        0), so that they have no unit: along an eigenvector the relative standard error is 1/√eigenvalue.
        """
        _, singular, right = np.linalg.svd(np.asarray(self.root) * self._size)
        return singular**2, right.T

    @property
    def unidentifiable(self) -> np.ndarray:
        """Changes of the parameters that no V shows, (k, P), in their units.

        Each row is scaled so that its greatest entry, relative to the size of the parameter, is 1 %.
        """
        known = self.uncertainty
        rows = known.unknown * known.scale
        # The rows span a space; its simplest basis has each of k parameters in one row alone.
        rows = _reduced(rows / self._size) * self._size
        largest = np.abs(rows / self._size).max(axis=1, initial=0.0)
        return rows / np.where(largest > 0, 100 * largest, 1.0)[:, None]

    @property
    def _size(self) -> np.ndarray:
        values = np.abs(np.asarray(self.values))
        return np.where(values > 0, values, 1.0)

    def __str__(self) -> str:
        errors = self.standard_errors
        rows = [
            [name, number(float(value)), number(float(error), 3), number(100 * float(error / size), 3), unit]
            for name, value, error, size, unit in zip(
                self.names, np.asarray(self.values), errors, self._size, self.units
            )
        ]
        lines = [table(["parameter", "value", "std. error", "%", "unit"], rows)]
        for row in self.unidentifiable:
            parts = [
                f"{name} {change:+.3g} {unit}".rstrip()
                for name, change, unit, size in zip(self.names, row, self.units, self._size)
                if abs(change) > 1e-6 * size
            ]
            lines.append(f"no V shows: {' with '.join(parts)}")
        poor = [n for n, e, s in zip(self.names, errors, self._size) if np.isfinite(e) and e > _POOR * s]
        if poor:
            lines.append(f"poorly known: {', '.join(poor)}")
        return "\n".join(lines)


def _reduced(rows: np.ndarray) -> np.ndarray:
    """Rows that span the same space, in reduced echelon form with full pivoting."""
    rows = rows.copy()
    free = list(range(rows.shape[1]))
    for k in range(rows.shape[0]):
        block = np.abs(rows[k:][:, free])
        i, j = np.unravel_index(np.argmax(block), block.shape)
        column = free.pop(j)
        rows[[k, k + i]] = rows[[k + i, k]]
        rows[k] /= rows[k, column]
        for other in range(rows.shape[0]):
            if other != k:
                rows[other] -= rows[other, column] * rows[k]
    return np.where(np.abs(rows) < 1e-9, 0.0, rows)


@eqx.filter_jit
def _slopes(
    model: Any, free: Free, stimulus: Any, v0: Array, noise_sd: Array, options: Settings, free_v0: bool
) -> Array:
    """∂V/∂parameter in units of the noise, (samples, P), without what a shift of v0 explains as well."""

    def trace(values: Array, v0: Array) -> Array:
        run = run_model(free.put(model, values), stimulus, {**options.options, "v0": v0})
        return jnp.ravel(run.V / noise_sd[None])

    values = free.values(model)
    if not free_v0:
        return jax.jacfwd(trace)(values, v0)
    by_values, by_v0 = jax.jacfwd(trace, (0, 1))(values, v0)
    basis, R = jnp.linalg.qr(by_v0)
    size = jnp.abs(jnp.diagonal(R))
    # A neuron that is not recorded from has no direction of its own.
    basis = jnp.where(size[None] > 1e-10 * size.max(), basis, 0.0)
    return by_values - basis @ (basis.T @ by_values)


def fisher_information(
    model: Model,
    stimulus: Any,
    *,
    where: Where | None = None,
    noise_sd: ArrayLike = 1.0,
    t1: float,
    dt: float = 0.025,
    every: int = 1,
    v0: Any = -65.0,
    free_v0: bool = False,
    solver: Any = None,
) -> FisherInformation:
    r"""How well recordings of V under a protocol would determine the parameters of a model.

    With independent Gaussian noise of standard deviation σ on each sample the Fisher information is
    $F = \sum_k \nabla V(t_k)\,\nabla V(t_k)^T/\sigma^2$, and no unbiased estimate has a covariance
    below $F^{-1}$ (Cramér-Rao); [`hh.fit`][] comes close to it. Before an experiment this tells which of
    several stimuli is worth applying, and what it cannot tell apart.

    ```python
    model = (hh.squid_axon(), hh.Electrode())
    free = {"gL": "leak.g", "EL": "leak.E", "offset": "electrode.offset"}
    print(hh.analysis.fisher_information(model, 5.0, where=free, t1=50.0))
    ```

    **Arguments:**

    - `model`: an [`hh.Neuron`][] or [`hh.Network`][], or a pair of one and an [`hh.Electrode`][]; V is that
        of the membrane, not what the electrode reads.
    - `stimulus`: of the protocol, or a list of stimuli, one for each sweep.
    - `where`: which parameters are to be estimated, as for [`hh.fit`][]; by default all.
    - `noise_sd`: of the recorded V, mV, a scalar or one for each neuron, infinite for a neuron that
        is not recorded from.
    - `t1`, `dt`, `solver`: of each sweep, see [`hh.simulate`][]. Every `every`-th step is a sample,
        and so is the start.
    - `v0`: initial V, mV, with the gates at rest there; it is known unless `free_v0`, with which it is
        estimated as well, for each sweep and neuron, as [`hh.fit`][] does by default.

    **Returns:** an [`hh.analysis.FisherInformation`][].

    **Raises:** `ValueError` and `TypeError` for bad input.
    """
    model = check_model(model)
    network, _ = split(model)
    dtype = run_dtype(network)
    model = cast_floats(model, dtype)
    check_size("every", every)
    check_flag("free_v0", free_v0)
    limits: dict[str, Any] = dict(positive=True, finite=False)
    noise_sd = as_array("noise_sd", noise_sd, "mV", dtype, shapes=[(), (network.n,)], **limits)
    sweeps = list(stimulus) if isinstance(stimulus, (list, tuple)) else [stimulus]
    if not sweeps:
        raise ValueError("`stimulus` must name at least one sweep, got an empty list.")
    sweeps = [cast_floats(as_stimulus(one), dtype) for one in sweeps]
    for one in sweeps:
        check_stimulus(one, network.n)
    network.check_v0(v0, warn=True)
    v0 = jnp.broadcast_to(as_float_array(v0, dtype), (network.n,))
    noise_sd = jnp.broadcast_to(noise_sd, (network.n,))
    free = free_parameters(model, where, dtype)
    saveat = diffrax.SaveAt(t0=True, steps=int(every), fn=save_V)
    t1, dt = as_number("t1", t1, "ms"), as_number("dt", dt, "ms", positive=True)
    options = Settings(t1=t1, dt=dt, solver=solver, saveat=saveat)
    parts = [_slopes(model, free, one, v0, noise_sd, options, free_v0) for one in sweeps]
    matrix, root = _information(parts)
    return FisherInformation(free.names, free.units, free.values(model), matrix, root)


@jax.jit
def _information(parts: Sequence[Array]) -> tuple[Array, Array]:
    slopes = jnp.concatenate(parts)
    P = slopes.shape[1]
    padded = jnp.pad(jax.lax.stop_gradient(slopes), ((0, max(P - slopes.shape[0], 0)), (0, 0)))
    return slopes.T @ slopes, jnp.linalg.qr(padded, mode="r")
