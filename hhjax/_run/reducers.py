"""What a run keeps of its steps without saving them: counts, means, extremes, histograms."""

import abc
import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from .._base.arguments import check_function
from .._base.parameters import check_size, Checked, is_concrete, param, Parameter, shown
from .._base.swings import in_silence, start_swing, swing, warn_of_swings
from .._base.windows import takes, takes_spike
from .._model.neuron import State
from .spikes import crossings, KeptSpikes


class AbstractReducer(Checked):
    """A quantity that is gathered step by step, in memory that does not grow with their number.

    Give one, or a dict, list or tuple of them, as `reduce=` to [`hh.simulate`][] or
    [`hh.sweep`][]. All three methods run inside the compiled loop. `y` is the state at the
    time `t` (ms), `args` is (network, stimulus). To write one without a class, see
    [`hh.Reducer`][].
    """

    def _check_made(self) -> None:
        for name, of in (("fn", ""), ("initial", ""), ("step", "carry, "), ("result", "carry of ")):
            if name in {f.name for f in dataclasses.fields(self)}:
                check_function(name, getattr(self, name), f"{of}t, y and args")

    @abc.abstractmethod
    def init(self, t: Array, y: State, args: Any) -> Any:
        """What is carried from step to step, at the start of the run."""

    @abc.abstractmethod
    def update(self, carry: Any, t: Array, y: State, args: Any) -> Any:
        """What is carried on after a step that ended at `t`; same shapes and types."""

    def finish(self, carry: Any) -> Any:
        """The result, from what was carried to the end."""
        return carry

    def void(self, result: Any, finite: Bool[Array, " n"]) -> Any:
        """The result of a run in which some neurons turned infinite or NaN: NaN, of whole numbers −1.

        By default where the last axis is that of the neurons, and of all else the whole.
        """
        of = lambda x: finite if x.shape[-1:] == finite.shape else finite.all()
        return jax.tree.map(lambda x: _void(x, of(x)), jax.tree.map(jnp.asarray, result))


def _void(x: Array, finite: Array) -> Array:
    """`x` where `finite`, else NaN or −1; what has neither as it is."""
    kinds = ((jnp.inexact, jnp.nan), (jnp.signedinteger, -1))
    return next((jnp.where(finite, x, no) for kind, no in kinds if jnp.issubdtype(x.dtype, kind)), x)


class Reducer(AbstractReducer):
    """A reducer from three functions, see [`hh.AbstractReducer`][].

    **Fields:** `initial(t, y, args)`, `step(carry, t, y, args)` and `result(carry)`. A plain
    function is compiled in: define it once, since each new one compiles anew.
    """

    initial: Callable
    step: Callable
    result: Callable = lambda carry: carry

    def init(self, t: Array, y: State, args: Any) -> Any:
        return self.initial(t, y, args)

    def update(self, carry: Any, t: Array, y: State, args: Any) -> Any:
        return self.step(carry, t, y, args)

    def finish(self, carry: Any) -> Any:
        return self.result(carry)


def voltage(t: Array, y: State, args: Any) -> Float[Array, " n"]:
    """V (mV), what is reduced unless another `fn` is given."""
    return y.V


class SpikeCount(AbstractReducer):
    """How often V crosses `threshold` upward, shape (n,), whole numbers.

    **Fields:** `threshold`: mV; `start`: ms, crossings up to then are not counted.

    **Returns:** −1 for a neuron that turned infinite or NaN. Outside `jit` and in [`hh.sweep`][] you are
    warned where V rises and falls by more than 10 mV below the threshold.
    """

    threshold: Parameter = param(0.0, unit="mV")
    start: Parameter = param(-np.inf, unit="ms")

    def init(self, t: Array, y: State, args: Any) -> Any:
        return jnp.asarray(t, y.V.dtype), y.V - self.threshold, jnp.zeros(y.V.shape, jnp.int32)

    def update(self, carry: Any, t: Array, y: State, args: Any) -> Any:
        before, v, count = carry
        t, V = jnp.asarray(t, y.V.dtype), y.V - self.threshold
        return t, V, count + takes_spike(before, t, v, V, self.start).astype(jnp.int32)

    def finish(self, carry: Any) -> Array:
        return carry[2]


class _Crossings(AbstractReducer):
    """Upward crossings of `threshold` after `start`, of each of which four samples are kept in a row."""

    threshold: eqx.AbstractVar[Parameter]
    start: eqx.AbstractVar[Parameter]

    @property
    @abc.abstractmethod
    def rows(self) -> int:
        """How many crossings of each neuron are kept."""

    @abc.abstractmethod
    def keep(self, found: Array, sample: Array, up: Array, count: Array) -> Array:
        """The rows (n, rows, 8), once a sample (n, 8) joins them where it goes `up`, after `count` others."""

    def init(self, t: Array, y: State, args: Any) -> Any:
        n = y.V.shape[0]
        V = jnp.broadcast_to(y.V - self.threshold, (4, n))
        # Samples before the first lie far back in time, where they bend nothing.
        ts = jnp.asarray(t, y.V.dtype) + jnp.array([-3e3, -2e3, -1e3, 0.0], y.V.dtype)
        found = jnp.zeros((n, self.rows, 8), y.V.dtype)
        return ts, V, jnp.zeros(n, jnp.int32), found

    def update(self, carry: Any, t: Array, y: State, args: Any) -> Any:
        ts, V, count, found = carry
        ts = jnp.concatenate([ts[1:], jnp.asarray(t, ts.dtype)[None]])
        V = jnp.concatenate([V[1:], (y.V - self.threshold)[None]])
        up = takes_spike(ts[2], ts[3], V[2], V[3], self.start)
        sample = jnp.concatenate([jnp.broadcast_to(ts, (up.shape[0], 4)), V.T], axis=1)
        return ts, V, count + up.astype(jnp.int32), self.keep(found, sample, up, count)

    def times(self, carry: Any) -> tuple[Array, Array]:
        """The times of the rows (ms), NaN where there is none, and how many crossings there were."""
        _, _, count, found = carry
        empty = jnp.arange(self.rows, dtype=jnp.int32)[None, :] >= count[:, None]
        # An empty slot is filled with a crossing, so that no derivative turns NaN.
        filler = jnp.array([0, 1, 2, 3, -3, -2, -1, 1], found.dtype)
        flat = jnp.where(empty[..., None], filler, found).reshape(-1, 8)
        origin = flat[:, 2]
        near = jnp.full(flat.shape[0], 2, jnp.int32)
        times = origin + crossings(flat[:, :4] - origin[:, None], flat[:, 4:], None, near)
        return jnp.where(empty, jnp.nan, times.reshape(empty.shape)), count


class SpikeTimes(_Crossings):
    """The times (ms) at which V crosses `threshold` upward, and their number.

    A crossing is interpolated by the cubic through the samples at its end and the three before: off by
    2e-4 ms for the squid axon at dt = 0.025 ms. Differentiable.

    **Fields:** `max_spikes`: how many to keep of each neuron, the first ones; `threshold`: mV; `start`: ms,
    crossings up to then are neither kept nor counted.

    **Returns:** an [`hh.KeptSpikes`][], which [`hh.firing_rate`][] and the like take. Warnings are those of
    [`hh.SpikeCount`][].
    """

    max_spikes: int = eqx.field(static=True)
    threshold: Parameter = param(0.0, unit="mV")
    start: Parameter = param(-np.inf, unit="ms")

    def _check_made(self) -> None:
        check_size("SpikeTimes.max_spikes", self.max_spikes)

    @property
    def rows(self) -> int:
        return self.max_spikes

    def keep(self, found: Array, sample: Array, up: Array, count: Array) -> Array:
        row = jnp.where(up, count, self.max_spikes)  # out of bounds is dropped
        return found.at[jnp.arange(up.shape[0]), row].set(sample, mode="drop")

    def finish(self, carry: Any) -> KeptSpikes:
        return KeptSpikes(*self.times(carry))

    def void(self, result: KeptSpikes, finite: Bool[Array, " n"]) -> KeptSpikes:
        return KeptSpikes(_void(result.times, finite[:, None]), _void(result.count, finite))


class FiringRate(_Crossings):
    """The firing rate (Hz) after `start`, shape (n,), as [`hh.firing_rate`][] gives it.

    The reciprocal mean interspike interval, from the first and the last of any number of spikes.
    Differentiable.

    **Fields:** `threshold`: mV; `start`: ms, spikes up to then do not count.

    **Returns:** Hz, 0 with fewer than two spikes; NaN for a neuron that turned infinite or NaN. Warnings are
    those of [`hh.SpikeCount`][].
    """

    threshold: Parameter = param(0.0, unit="mV")
    start: Parameter = param(-np.inf, unit="ms")

    @property
    def rows(self) -> int:
        return 2

    def keep(self, found: Array, sample: Array, up: Array, count: Array) -> Array:
        first = up & (count == 0)
        rows = (first, up & ~first)
        return jnp.stack([jnp.where(at[:, None], sample, found[:, k]) for k, at in enumerate(rows)], axis=1)

    def finish(self, carry: Any) -> Array:
        times, count = self.times(carry)
        several = count > 1
        span = jnp.where(several, times[:, 1] - times[:, 0], 1.0)
        return jnp.where(several, 1000 * (count - 1).astype(span.dtype) / span, 0.0)


class Swings(AbstractReducer):
    """Whether V rises and falls by more than 10 mV below `threshold`, shape (n,), after `start`."""

    threshold: Parameter = param(0.0, unit="mV")
    start: Parameter = param(-np.inf, unit="ms")

    def init(self, t: Array, y: State, args: Any) -> Any:
        return self.update(start_swing(y.V), t, y, args)

    def update(self, carry: Any, t: Array, y: State, args: Any) -> Any:
        return swing(carry, y.V - self.threshold, takes(t, self.start))

    def finish(self, carry: Any) -> Array:
        return carry[2]


_COUNT = (SpikeCount, SpikeTimes, FiringRate)


def watched(reduce: Any) -> tuple[Any, tuple[Swings, ...]]:
    """Reducers, and what watches over those that count spikes."""
    leaves = jax.tree.leaves(reduce, is_leaf=lambda x: isinstance(x, AbstractReducer))
    if any(isinstance(x, Swings) for x in leaves):  # which is watched already
        return reduce, ()
    counts = [x for x in leaves if isinstance(x, _COUNT)]
    return reduce, tuple(Swings(x.threshold, x.start) for x in counts)


def missed(
    watched: tuple[Any, tuple[Swings, ...]], results: tuple[Any, Any], cells: np.ndarray | None
) -> list[np.ndarray]:
    """What each watcher found, but for cells that fire elsewhere; `results` of what is `watched`."""
    counts: list[Any] = []
    note = lambda x, y: counts.append(getattr(y, "count", y)) if isinstance(x, _COUNT) else None
    map_reducers(note, watched[0], results[0])
    # Under `grad` a rate is not known.
    known = lambda n: cells if is_concrete(n) else None
    return [in_silence(swings, n, known(n)) for swings, n in zip(results[1], counts)]


def warn_of_watched(watchers: tuple[Swings, ...], found: Any, of: str) -> None:
    """Say what the watchers `found`, once for each threshold."""
    by_threshold = {str(x.threshold): (swings, x.threshold) for x, swings in zip(watchers, found)}
    for swings, threshold in by_threshold.values():
        warn_of_swings(swings, threshold, of)


class Mean(AbstractReducer):
    """The mean over all steps of `fn(t, y, args)`, by default of V.

    **Fields:** `fn`; `start`: ms, steps that end by then are left out.

    **Returns:** what `fn` returns, averaged, as floats; NaN where no step is left.
    """

    fn: Callable = voltage
    start: Parameter = param(-np.inf, unit="ms")

    def init(self, t: Array, y: State, args: Any) -> Any:
        return jnp.zeros((), y.V.dtype), jax.tree.map(jnp.zeros_like, self._seen(t, y, args))

    def update(self, carry: Any, t: Array, y: State, args: Any) -> Any:
        count, mean = carry
        counts = takes(t, self.start)
        count = count + counts.astype(count.dtype)
        weight = jnp.where(counts, 1 / jnp.maximum(count, 1), 0.0)
        move = lambda m, x: m + weight.astype(m.dtype) * (x - m)
        return count, jax.tree.map(move, mean, self._seen(t, y, args))

    def _seen(self, t: Array, y: State, args: Any) -> Any:
        floating = lambda x: x if jnp.issubdtype(x.dtype, jnp.floating) else x.astype(y.V.dtype)
        return jax.tree.map(floating, self.fn(t, y, args))

    def finish(self, carry: Any) -> Any:
        count, mean = carry
        return jax.tree.map(lambda m: jnp.where(count > 0, m, jnp.nan), mean)


class Extremes(NamedTuple):
    """The result of [`hh.Extrema`][]: `min` and `max`, in the unit of what was reduced."""

    min: Any
    max: Any


class Extrema(AbstractReducer):
    """The least and the greatest value of `fn(t, y, args)`, by default of V.

    **Fields:** `fn`; `start`: ms, steps that end by then are left out.

    **Returns:** [`hh.Extremes`][]; where no step is left, ∞ and −∞.
    """

    fn: Callable = voltage
    start: Parameter = param(-np.inf, unit="ms")

    def init(self, t: Array, y: State, args: Any) -> Any:
        x = self.fn(t, y, args)
        filled = lambda value: jax.tree.map(lambda x: jnp.where(takes(t, self.start), x, value), x)
        return Extremes(filled(jnp.inf), filled(-jnp.inf))

    def update(self, carry: Any, t: Array, y: State, args: Any) -> Any:
        x = self.fn(t, y, args)
        counts = takes(t, self.start)
        least = lambda m, x: jnp.where(counts & (x < m), x, m)
        most = lambda m, x: jnp.where(counts & (x > m), x, m)
        return Extremes(jax.tree.map(least, carry.min, x), jax.tree.map(most, carry.max, x))


class Histogram(AbstractReducer):
    """How many steps `fn(t, y, args)`, by default V, spent between each two `edges`.

    A bin includes its lower edge and not its upper one. Values outside are not counted.

    **Fields:** `edges`: shape (bins + 1,), increasing; `fn`; `start`: ms, steps that end
    by then are left out.

    **Returns:** whole numbers, shape (bins, n); zeros where no step is left.
    """

    edges: Parameter = param(per="sample")
    fn: Callable = voltage
    start: Parameter = param(-np.inf, unit="ms")

    def _check_made(self) -> None:
        super()._check_made()
        edges = np.asarray(self.edges)
        if edges.ndim != 1 or edges.size < 2 or not (np.diff(edges) > 0).all():
            raise ValueError(f"`Histogram.edges` must be at least two increasing numbers, got {edges}.")

    def init(self, t: Array, y: State, args: Any) -> Array:
        x = self.fn(t, y, args)
        return jnp.zeros((self.edges.shape[0] - 1,) + x.shape, jnp.int32)

    def update(self, carry: Array, t: Array, y: State, args: Any) -> Array:
        x = self.fn(t, y, args)
        above = x[None] >= self.edges.reshape((-1,) + (1,) * x.ndim)
        return carry + (above[:-1] & ~above[1:] & takes(t, self.start)).astype(jnp.int32)


def check_reducers(reduce: Any) -> None:
    """Refuse what is not a reducer, or a dict, list or tuple of them."""
    is_reducer = lambda x: isinstance(x, AbstractReducer)
    for x in jax.tree.leaves(reduce, is_leaf=is_reducer):
        if not is_reducer(x):
            raise TypeError(
                "`reduce` must be a reducer such as hh.SpikeCount(), or a dict, list or tuple of them, "
                f"got {shown(x)}."
            )


def map_reducers(fn: Callable, reduce: Any, *carries: Any) -> Any:
    """`fn` on every reducer and the carry that belongs to it."""
    is_reducer = lambda x: isinstance(x, AbstractReducer)
    return jax.tree.map(fn, reduce, *carries, is_leaf=is_reducer)
