"""What one step of a run does, for whatever loop takes the steps."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array

from ._network import Network
from ._neuron import State
from ._reduce import map_reducers
from ._stimulus import Stimulus
from .steppers import AbstractStepper


class Stand(eqx.Module):
    """Where a run stands, for a loop to go on from.

    **Fields:** `i`: steps done; `z`: the stepper's state; `gathered`: what the reducers carry, `None`
    for them to begin anew.
    """

    i: Any
    z: Any
    gathered: Any = None


def steps_done(y0: State | Stand | None) -> Any:
    """How many steps came before `y0`."""
    return y0.i if isinstance(y0, Stand) else 0


class Outcome(eqx.Module):
    """What was saved, the final state, which neurons are finite, what was reduced, the stepper's
    own state at the end, which loop ran, and what the reducers carry if they did not begin anew."""

    ys: Any
    final: State
    finite: Array
    reduced: Any
    z: Any
    backend: str = eqx.field(static=True)
    gathered: Any = None


class Steps(eqx.Module):
    """The steps of a run on the grid t0 + i·dt, of which the last, number `total`, ends at t1.

    **Fields:** `ready`: the `stimulus`, made ready for the grid; `save`, `reduce`: what is saved
    and gathered; the others as in [`hh.simulate`][].
    """

    network: Network
    stimulus: Stimulus
    ready: Stimulus
    stepper: AbstractStepper
    save: Any
    reduce: Any
    t0: Array
    t1: Array
    dt: Array
    last_dt: Array
    total: Any

    def time(self, i: Array) -> Array:
        """The time (ms) after `i` steps."""
        early = (i == self.total) & ~(self.last_dt == self.dt)
        return jnp.where(early, self.t1, self.t0 + i.astype(self.dt.dtype) * self.dt)

    def begin(self, y0: State | None, v0: Array) -> Any:
        """The stepper's state at t0."""
        y0 = self.network.init(v0) if y0 is None else y0
        seen = self.ready.within(self.t0, self.dt, self.t0 + self.dt)
        return self.stepper.init(self.network, self.t0, self.dt, y0, seen)

    def advance(self, i: Array, z: Any, key: Array | None) -> Any:
        """The stepper's state after step `i` + 1, from that after step `i`."""
        t, end = self.time(i), self.time(i + 1)
        h = jnp.where(i == self.total - 1, self.last_dt, self.dt)
        seen = self.ready.within(t, h, end)
        return self.stepper.advance(self.network, t, end, h, z, seen, key)

    def stand(self, y0: State | Stand | None, v0: Array) -> Stand:
        """Where a run begins or goes on, with what the reducers carry."""
        if not isinstance(y0, Stand):
            y0 = Stand(jnp.int32(0), self.begin(y0, v0))
        i = jnp.asarray(y0.i, jnp.int32)
        gathered = self.begin_reducing(i, y0.z) if y0.gathered is None else y0.gathered
        return Stand(i, y0.z, gathered)

    def begin_reducing(self, i: Array, z: Any) -> Any:
        """What the reducers carry at the start, after step `i`."""
        begin = lambda reducer: reducer.init(*self._seen(i, z))
        return map_reducers(begin, self.reduce)

    def gather(self, i: Array, z: Any, reduced: Any) -> Any:
        """What the reducers carry on after step `i`."""
        update = lambda reducer, gathered: reducer.update(gathered, *self._seen(i, z))
        return map_reducers(update, self.reduce, reduced)

    def row(self, i: Array, z: Any) -> Any:
        """What is saved after step `i`."""
        return self.save(*self._seen(i, z))

    def outcome(self, ys: Any, z: Any, reduced: Any, backend: str) -> Outcome:
        """The result, from what was saved and what was carried to the end."""
        final = self.stepper.output(self.network, z)
        reduced = map_reducers(lambda reducer, gathered: reducer.finish(gathered), self.reduce, reduced)
        return Outcome(ys, final, self.network.finite(final), reduced, z, backend)

    def _seen(self, i: Array, z: Any) -> tuple[Array, State, Any]:
        return self.time(i), self.stepper.output(self.network, z), (self.network, self.stimulus)
