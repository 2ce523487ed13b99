"""The loss of spike times."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .._base.arguments import as_window
from .._base.host import warn
from .._base.parameters import check_size, is_concrete, param, Parameter, put
from .._base.swings import swings_below, warn_of_swings
from .._base.windows import takes_samples, takes_spike
from .._run.spikes import filled, KeptSpikes, traced_spike_times
from ._base import AbstractLoss, check_window


class SpikeTimes(AbstractLoss):
    """Difference of spike times, first with first, second with second and so on.

    A spike that only one trace has counts as if the other had it at the end of the trace, and at least as
    `sd`. Spikes beyond `max_spikes` count as if they came with the last one that is kept.
    The gradient of such a residual says nothing about the missing spike: add a [`hh.losses.Trace`][] or
    a smooth [`hh.features.spike_count`][] for that.

    **Fields:**

    - `sd`: what counts as 1, positive, ms.
    - `drift`: non-negative; `sd` grows by this for each ms that the recorded spike is later than
        the start: what is wrong with the intervals of a train adds up.
    - `threshold`: mV.
    - `max_spikes`: how many are compared, the first ones, at least 1, with a warning where a trace has
        more; by default all of the data.
    - `start`, `stop`: the part of each sweep that counts, ms; a missing spike counts as one
        at its end. A spike at `stop` belongs to it, one at `start` does not.

    A spike whose crossing lies next to a missing sample (NaN) is left out.
    """

    sd: Parameter = param(1.0, unit="ms", positive=True)
    threshold: Parameter = param(0.0, unit="mV")
    max_spikes: int | None = eqx.field(default=None, static=True)
    drift: Parameter = param(0.0, minimum=0.0)
    start: float = -jnp.inf
    stop: float = jnp.inf

    def _check_made(self) -> None:
        if self.max_spikes is not None:
            check_size("max_spikes", self.max_spikes)
        as_window(self.start, self.stop)

    def _spikes(self, ts: Array, V: Array, room: int) -> KeptSpikes:
        # Of every trace those that count, shape (sweeps, n, room).
        def of_trace(V: Array) -> KeptSpikes:
            V, known = filled(ts, V)
            V = V - self.threshold.astype(V.dtype)
            inside = takes_spike(ts[:-1], ts[1:], V[:-1], V[1:], self.start, self.stop)
            return traced_spike_times(ts, V, None, room, inside & known)

        return jax.vmap(jax.vmap(of_trace, in_axes=1))(V)

    def watch(self, ts: Array, V: Array) -> None:
        inside = takes_samples(np.asarray(ts), self.start, self.stop)
        seen = np.where(inside[:, None], np.asarray(V), np.nan)
        warn_of_swings(swings_below(np.moveaxis(seen, 1, 0), self.threshold), self.threshold, "trace")
        if self.max_spikes is not None and (most := int(np.max(_counts(self, ts, V)))) > self.max_spikes:
            warn(
                f"A trace has {most} spikes; `max_spikes` compares the first {self.max_spikes}, the others "
                "as if they came with the last of these."
            )

    def made_for(self, ts: Array, target: Array, current: Array | None = None) -> "SpikeTimes":
        check_window(self, ts)
        if self.max_spikes is None:
            most = int(np.max(_counts(self, ts, target)))
            # With room for a model that fires twice as often; few compilations.
            return put(self, max_spikes=1 << (2 * most + 8).bit_length())
        return self

    def __call__(self, ts: Array, V: Array, target: Array) -> Array:
        if all(is_concrete(x) for x in jax.tree.leaves((self, ts, V, target))):
            self.watch(ts, jnp.concatenate([target, V]))
            return _errors(_of_any_window(self.made_for(ts, target), ts), ts, V, target)
        return self._errors(ts, V, target)

    def _errors(self, ts: Array, V: Array, target: Array) -> Array:
        room = ts.shape[0] // 2 if self.max_spikes is None else self.max_spikes
        fit, data = self._spikes(ts, V, room), self._spikes(ts, target, room)
        pairs = ~(jnp.isnan(fit.times) & jnp.isnan(data.times))
        alone = jnp.isnan(fit.times) != jnp.isnan(data.times)
        end = jnp.minimum(ts[-1], self.stop).astype(V.dtype)
        # One more pair for spikes beyond `room`: they count as if they came with the last one kept.
        more = jnp.maximum(fit.count, room) - jnp.maximum(data.count, room)
        spare = lambda times, lacks: jnp.where(lacks[..., None], end, times[..., -1:])
        put = lambda times, lacks: jnp.concatenate([times, spare(times, lacks)], axis=-1)
        fit, data = put(fit.times, more <= 0), put(data.times, more >= 0)
        fit, data = (jnp.where(jnp.isnan(x), end, x) for x in (fit, data))
        number = jnp.concatenate([pairs.astype(V.dtype), jnp.abs(more).astype(V.dtype)[..., None]], axis=-1)
        sd = self.sd.astype(V.dtype) + self.drift.astype(V.dtype) * (data - jnp.maximum(ts[0], self.start))
        error = (fit - data) / sd
        alone = jnp.append(alone, jnp.ones_like(alone[..., :1]), axis=-1) & (jnp.abs(error) < 1)
        error = jnp.where(alone, jnp.where(error < 0, -1.0, 1.0), error)
        error = jnp.where(number > 0, error, 0.0)
        return error * jnp.sqrt(number / jnp.maximum(number.sum(), 1))


def _of_any_window(loss: SpikeTimes, ts: Array, **fields: Any) -> SpikeTimes:
    """The loss with its window in arrays: one compilation for all windows."""
    return put(loss, start=jnp.asarray(loss.start, ts.dtype), stop=jnp.asarray(loss.stop, ts.dtype), **fields)


_errors = eqx.filter_jit(SpikeTimes._errors)


def _counts(loss: SpikeTimes, ts: Array, V: Array) -> Array:
    """How many spikes each trace has, shape (sweeps, n)."""
    return _counted(_of_any_window(loss, ts, max_spikes=None), ts, V)


@eqx.filter_jit
def _counted(loss: SpikeTimes, ts: Array, V: Array) -> Array:
    return loss._spikes(ts, V, 1).count
