"""Spikes from outside the network."""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._base.arguments import as_array
from .._base.devices import as_varying
from .._base.parameters import check_size, Checked, is_concrete, param, Parameter, put
from .._base.random import check_key

_GOLDEN = (5**0.5 - 1) / 2


_ON_GRID = 1e-3  # of a step


class AbstractInput(Checked):
    """A source of spikes that is no neuron: `n` trains of them."""

    n: eqx.AbstractVar[int]

    def check_delay(self, delay: Array) -> None:
        """Refuse a delay for which `spikes` has no answer."""

    def with_key(self, key: Array | None) -> "AbstractInput":
        """The input with a random key of its own, for a run: this one unless it has none and needs one.

        **Raises:** `ValueError` where `key` is `None` and the input needs one.
        """
        return self

    @abc.abstractmethod
    def spikes(self, t: Array, end: Array, dt: Array) -> Float[Array, " n"]:
        """How many spikes each train has after `t` and up to `end` (ms), a step of `dt`.

        Every train may have a step of its own; `end` is the `t` of the next step. Before the first step both
        are the start of the run: spikes at that time itself.
        """


def _as_threefry(key: Array) -> Array:
    """The key itself, or one drawn from it, of the only kind that `jax.random.poisson` takes."""
    if str(jax.random.key_impl(key)) == "threefry2x32":
        return key
    return jax.random.wrap_key_data(jax.random.bits(key, (2,), jnp.uint32), impl="threefry2x32")


class Poisson(AbstractInput):
    """Independent Poisson trains.

    They are drawn from the `key` of the run. Each coupling has trains of its own, which depend on its name
    in the dict of couplings. With a `key` of its own an input has the same trains in every run, and so
    have all inputs with this key.

    The number of spikes in a step depends only on the key and the number of the step, counted from
    t = 0. With a delay, spikes that were sent before the start of a run arrive too. Not
    differentiable in the rate, since numbers of spikes are whole.

    **Fields:** `n`: how many trains; `rate`: Hz, a number or shape (n,); `key`: `None` for the run's, or
    a `jax.random.key` or [`hh.fast_key`][] other than the run's.
    """

    n: int = eqx.field(static=True)
    rate: Parameter = param(unit="Hz", minimum=0.0)
    key: Array | None = None

    def _check_made(self) -> None:
        check_size("Poisson.n", self.n)
        check_key("Poisson.key", self.key)
        if self.rate.shape not in ((), (self.n,)):
            raise ValueError(
                f"`Poisson.rate` must be a scalar or have shape ({self.n},), got {self.rate.shape}."
            )

    def check_delay(self, delay: Array) -> None:
        if delay.size > 1:
            raise ValueError(
                "`coupling.delay` must be one number where `input` is an hh.synapses.Poisson, "
                f"got shape {delay.shape}."
            )

    def with_key(self, key: Array | None) -> "AbstractInput":
        if self.key is not None:
            return self
        if key is None:
            raise ValueError(
                "`key` is missing: an hh.synapses.Poisson without a key draws from the run's. Pass "
                "key=jax.random.key(0) to hh.simulate or hh.sweep, for example, or to the Poisson "
                "for trains that are always the same."
            )
        return put(self, key=key)

    def spikes(self, t: Array, end: Array, dt: Array) -> Float[Array, " n"]:
        # Whatever simple fraction of a step a grid begins at, no rounding error moves to the next number.
        step = jnp.floor(jnp.reshape(t, ()) / dt + _GOLDEN).astype(jnp.int32)
        mean = jnp.broadcast_to(self.rate * jnp.where(end > t, dt, 0.0) / 1000, (self.n,))
        own: Any = self.with_key(None)
        key = _as_threefry(jax.random.fold_in(own.key, step))
        count = jax.random.poisson(key, as_varying(jax.lax.stop_gradient(mean), key))
        return count.astype(mean.dtype)


class SpikeTrains(AbstractInput):
    """Given spikes. Not differentiable in their times: a spike is sent at the end of its step.

    A spike at the start of a run is sent then, unless the run goes on from a state `y0`, which has it.

    **Fields:** `times`: ms, shape (n, spikes), increasing along each row, padded with NaN at the
    end as [`hh.spike_times`][] returns them.
    """

    times: Float[Array, "n spikes"] = eqx.field(
        converter=lambda t: jnp.nan_to_num(
            as_array("SpikeTrains.times", t, "ms", axes="(n, spikes)", missing=True, finite=False),
            nan=jnp.inf,
            posinf=jnp.inf,
        )
    )

    def _check_made(self) -> None:
        if is_concrete(self.times):
            times = np.asarray(self.times)
            if (times[:, 1:] < times[:, :-1]).any():
                raise ValueError("`SpikeTrains.times` must increase along each row.")

    @property
    def n(self) -> int:  # pyright: ignore
        return self.times.shape[0]

    def spikes(self, t: Array, end: Array, dt: Array) -> Float[Array, " n"]:
        until = jax.vmap(lambda times, t: jnp.searchsorted(times, t, side="right"))
        # A spike on the grid belongs to the step up to it, whatever way its time was rounded.
        number = lambda t: until(self.times, jnp.broadcast_to(t + _ON_GRID * dt, (self.n,)))
        after = jnp.where(end > t, t, t - 2 * _ON_GRID * dt)
        return (number(end) - number(after)).astype(self.times.dtype)
