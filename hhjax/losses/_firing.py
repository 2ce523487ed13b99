"""The loss of how a cell fires."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .._base.parameters import OptionalParameter, param, Parameter, put
from .._base.swings import swings_below, warn_of_swings
from .._run.spikes import filled
from ..features._reference import measure
from ..features._steps import parts as parts_of
from ._base import AbstractLoss, root


class Firing(AbstractLoss):
    """How often a cell fires in each part of a protocol and when, its spikes, and V below their onset.

    For free-running models of real cells, whose spikes cannot be met one by one; best with
    [`hh.Evolution`][]. The sum of four mean squares:

    - Spike counts in each part between two changes of the current; 1 is one spike and a tenth of the data's.
    - How long a spike is above the threshold, and its area above it, relative to the data's; 1 is `shape`.
        Large errors count by their size, not by their square.
    - V below the onset of spikes, in means over 5 ms; 1 is `sd`.
    - Spike times, as the distance between trains smoothed by exp(−t/10 ms) (M. C. W. van Rossum, Neural
        Comput. 13 (2001) 751), times `timing`; 1 is a train without a spike in place of the data's.

    **Fields:**

    - `threshold`: of a spike, mV; by default half-way from the onset of the data's spikes to 0 mV.
    - `sd`: mV; `shape`, `timing`: without unit.
    - `parts`, `bin`, `onset`: the parts and the 5 ms in samples, and the V at which spikes of the data
        begin to rise by 10 mV/ms, mV, which [`hh.fit`][] finds.

    Where a sample is missing (NaN) the model's own counts in its place. The four are no likelihood, so a fit
    has no standard errors.
    """

    threshold: OptionalParameter = param(None, unit="mV")
    sd: Parameter = param(4.0, unit="mV", positive=True)
    shape: Parameter = param(0.3, positive=True)
    timing: Parameter = param(0.1, minimum=0.0)
    parts: tuple[tuple[int, int], ...] | None = eqx.field(default=None, static=True)
    bin: int = eqx.field(default=1, static=True)
    onset: OptionalParameter = param(None, unit="mV")

    def made_for(self, ts: Array, target: Array, current: Array | None = None) -> "Firing":
        times = np.asarray(ts, float)
        windows = times[[0, -1]][None] if current is None else parts_of(times, np.asarray(current, float))
        edges = np.searchsorted(times, windows)
        onset = np.nan if self.onset is None else float(self.onset)
        known = _filled(ts, target)
        for level in (0.0, -20.0) if self.threshold is None else (float(self.threshold),):
            if np.isnan(onset):
                onsets = measure(ts, known, None, -np.inf, np.inf, level).values["threshold"]
                onset = np.nanmedian(onsets) if np.isfinite(onsets).any() else np.nan
        onset = _ONSET if np.isnan(onset) else onset
        threshold = onset / 2 if self.threshold is None else self.threshold
        return put(
            self,
            threshold=jnp.asarray(threshold, target.dtype),
            parts=tuple((int(first), int(last)) for first, last in edges),
            bin=max(1, min(round(_BIN / (times[1] - times[0])), len(times))),
            onset=jnp.asarray(onset, target.dtype),
        )

    def watch(self, ts: Array, V: Array) -> None:
        if self.threshold is not None:
            warn_of_swings(swings_below(jnp.moveaxis(V, 1, 0), self.threshold), self.threshold, "trace")

    def __call__(self, ts: Array, V: Array, target: Array) -> Array:
        if self.parts is None:
            return self.made_for(ts, target)(ts, V, target)
        ours, theirs = self._seen(ts, V), self._seen(ts, jnp.where(jnp.isfinite(target), target, V))
        wrong = (ours.count - theirs.count) / (1 + 0.1 * theirs.count)
        fire = (ours.count > 0.5) & (theirs.count > 0.5)
        shapes = [
            jnp.where(fire, x / jnp.where(fire, y, 1.0) - 1, 0.0) for x, y in zip(ours.shape, theirs.shape)
        ]
        # One spike more adds the square of its trace, 1/(1 − decay²) over all bins.
        alone = jnp.maximum(theirs.count.sum(axis=0), 1.0) / (1 - self._decay(ts) ** 2)
        late = (ours.train - theirs.train) / jnp.sqrt(alone)[None]
        return jnp.concatenate(
            [
                _mean_square(wrong),
                _mean_square(_robust(jnp.stack(shapes) / self.shape.astype(V.dtype))),
                _mean_square((ours.below - theirs.below) / self.sd.astype(V.dtype)),
                _mean_square(late) * root(self.timing.astype(V.dtype) * len(late)),
            ]
        )

    def _decay(self, ts: Array) -> Array:
        return jnp.exp(-(ts[self.bin] - ts[0]) / _TAU)

    def _seen(self, ts: Array, V: Array) -> "_Seen":
        assert self.parts is not None and self.onset is not None and self.threshold is not None
        V = jnp.moveaxis(V, 1, 0)  # times first
        bins = len(V) // self.bin
        binned = lambda x: x[: bins * self.bin].reshape(bins, self.bin, *x.shape[1:])
        below = binned(jnp.minimum(V, self.onset.astype(V.dtype))).mean(axis=1)
        V = V - self.threshold.astype(V.dtype)
        above = jax.nn.sigmoid(V / _SOFT)
        # A spike adds 1; noise of a mV next to the threshold adds nothing.
        sure = jnp.clip(2 * above - 0.5, 0.0, 1.0)
        sure = sure**2 * (3 - 2 * sure)
        rises = jnp.maximum(jnp.diff(sure, axis=0, prepend=sure[:1]), 0.0)
        decay = self._decay(ts).astype(V.dtype)
        smooth = lambda train, spikes: (decay * train + spikes,) * 2
        _, train = jax.lax.scan(smooth, jnp.zeros_like(V[0]), binned(rises).sum(axis=1))
        parts = self.parts
        of_parts = lambda x: jnp.stack([x[first:last].sum(axis=0) for first, last in parts])
        count = of_parts(rises)
        each = (ts[1] - ts[0]) / jnp.maximum(count, 0.5)
        return _Seen(
            count, (of_parts(above) * each, of_parts(_SOFT * jax.nn.softplus(V / _SOFT)) * each), below, train
        )


class _Seen(NamedTuple):
    """What `Firing` compares of traces: `count` and the two of `shape` (parts, sweeps, n); `below` (mV)
    and `train` (bins, sweeps, n)."""

    count: Array
    shape: tuple[Array, Array]
    below: Array
    train: Array


_BIN, _TAU = 5.0, 10.0  # ms
_ONSET = -40.0  # mV, where the data have no spike
_SOFT = 2.0  # mV about the threshold, within which being above it is a matter of degree


@jax.jit
def _filled(ts: Array, V: Array) -> Array:
    """V with what is missing interpolated."""
    return jax.vmap(jax.vmap(lambda V: filled(ts, V)[0], in_axes=1, out_axes=1))(V)


def _mean_square(x: Array) -> Array:
    """Residuals whose sum of squares is the mean of those of x."""
    return jnp.ravel(x) / np.sqrt(x.size)


def _robust(x: Array) -> Array:
    """Residuals whose square is x² for small x and 2·|x| for large ones: pseudo-Huber."""
    return x * jnp.sqrt(2 / (1 + jnp.sqrt(1 + x**2)))
