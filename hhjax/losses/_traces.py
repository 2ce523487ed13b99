"""Losses of V and of currents, sample by sample."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .._base.arguments import as_window
from .._base.parameters import OptionalParameter, param, Parameter, put, shown
from .._base.windows import takes_samples
from ._base import AbstractLoss, check_window, like, normalised, root


class Trace(AbstractLoss):
    """Difference of the membrane potentials, sample by sample.

    **Fields:**

    - `sd`: what counts as 1, positive, mV, scalar or broadcast against (sweeps, times, n); for
        instance the noise of the recording.
    - `weights`: non-negative, broadcast against (sweeps, times, n); optional.
    - `start`, `stop`: the part of each sweep that counts, ms, samples at both ends included.
    """

    sd: Parameter = param(1.0, unit="mV", positive=True, finite=False, per="sample")
    weights: OptionalParameter = param(None, minimum=0.0, per="sample")
    start: float = -jnp.inf
    stop: float = jnp.inf

    def _check_made(self) -> None:
        as_window(self.start, self.stop)

    def made_for(self, ts: Array, target: Array, current: Array | None = None) -> AbstractLoss:
        check_window(self, ts)
        return self

    def __call__(self, ts: Array, V: Array, target: Array) -> Array:
        inside = takes_samples(ts, self.start, self.stop)[None, :, None]
        valid = jnp.isfinite(target) & inside
        error = (V - jnp.where(valid, target, 0.0)) / like(self.sd, V)
        if self.weights is not None:
            error = error * root(like(self.weights, V))
        return normalised(error, valid)


class Prediction(Trace):
    """Error of the membrane potential predicted for each sample from the samples before it.

    For cells with noise, whose spikes a free-running model cannot have. In [`hh.fit`][] V is corrected at
    each sample by a fraction of its difference from the data: a Kalman filter of V in its steady state. The
    fraction is estimated together with the parameters, or follows from noise that is given. Outside of
    [`hh.fit`][] it is a [`hh.losses.Trace`][].

    **Fields:** those of [`hh.losses.Trace`][], and

    - `process`: white noise in the cell, mV/√ms, which is σ/C of an [`hh.CurrentNoise`][]; `reading`: noise
        of each reading, mV, positive; scalar or shape (n,). Both are given or both estimated. If given, 1
        is an error as large as they lead to, times `sd`.
    """

    process: OptionalParameter = param(None, unit="mV/√ms", minimum=0.0)
    reading: OptionalParameter = param(None, unit="mV", positive=True)

    def _check_made(self) -> None:
        super()._check_made()
        if (self.process is None) != (self.reading is None):
            raise ValueError(
                "`process` and `reading` must be given both or neither, got "
                f"{shown(self.process)} and {shown(self.reading)}."
            )

    def steady(self, sampling: Array | float) -> tuple[Array, Array]:
        """The share that V takes over of an error, and the error's standard deviation (mV), where both kinds
        of noise are given: the scalar Riccati equation of a random walk."""
        assert self.process is not None and self.reading is not None
        q, r = self.process**2 * sampling, self.reading**2
        before = (q + jnp.sqrt(q**2 + 4 * q * r)) / 2
        return before / (before + r), jnp.sqrt(before + r)

    def __call__(self, ts: Array, V: Array, target: Array) -> Array:
        residuals = super().__call__(ts, V, target)
        return residuals if self.process is None else residuals / like(self.steady(ts[1] - ts[0])[1], V)


class Current(AbstractLoss):
    """Difference of the currents of a voltage clamp, sample by sample.

    **Fields:**

    - `sd`: what counts as 1, positive, in the unit of the recording; by default the noise from sample to
        sample, from second differences of the data (at least 1e-4 of their size).
    - `start`, `stop`: the part of each sweep that counts, ms, samples at both ends included.
    """

    sd: OptionalParameter = param(None, positive=True)
    start: float = -jnp.inf
    stop: float = jnp.inf

    def _check_made(self) -> None:
        as_window(self.start, self.stop)

    def made_for(self, ts: Array, target: Array, current: Array | None = None) -> AbstractLoss:
        check_window(self, ts)
        if self.sd is not None:
            return self
        data = np.asarray(target, float)
        # The median leaves out the few samples at jumps. Second differences of independent errors have the
        # variance 1 + 4 + 1.
        noise = 1.4826 * np.nanmedian(np.abs(np.diff(data, n=2, axis=1))) / np.sqrt(6)
        least = 1e-4 * np.nanmax(np.abs(data))
        return put(self, sd=jnp.asarray(np.nanmax([noise, least, 1e-12]), target.dtype))

    def __call__(self, ts: Array, V: Array, target: Array) -> Array:
        if self.sd is None:
            return self.made_for(ts, target)(ts, V, target)
        valid = jnp.isfinite(target) & takes_samples(ts, self.start, self.stop)[None, :, None]
        return normalised((V - jnp.where(valid, target, 0.0)) / self.sd.astype(V.dtype), valid)
