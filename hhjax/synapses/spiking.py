"""Synapses that open a conductance at each detected spike."""

import abc
import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from .._base.arguments import as_array, check_kind
from .._base.math import exprel, relax
from .._base.parameters import check_size, Checked, is_concrete, OptionalParameter, param, Parameter, put
from ..connect import as_weights, check_weights, sum_over_few, Weights
from ._coupling import AbstractCoupling
from .inputs import AbstractInput


class TsodyksMarkram(Checked):
    r"""Short-term depression and facilitation of a synapse, by the spikes that it gets.

    Resources x recover, $\dot x = (1 - x)/\tau_{rec}$, and their use u decays,
    $\dot u = -u/\tau_{facil}$; at a spike u jumps to $u + U(1 - u)$, then the fraction u·x is
    released and x falls by as much. The conductance that a spike opens is its weight times u·x
    (M. Tsodyks, K. Pawelzik and H. Markram, Neural Comput. 10 (1998) 821-835).

    **Fields:** `U`: use of a first spike, in [0, 1]; `tau_rec`, `tau_facil`: ms; with a small
    `tau_facil` there is depression alone. Each a scalar or one per sending neuron.
    """

    U: Parameter = param(0.5, minimum=0.0, maximum=1.0, per="pre")
    tau_rec: Parameter = param(800.0, unit="ms", positive=True, per="pre")
    tau_facil: Parameter = param(1e-3, unit="ms", positive=True, per="pre")

    def rest(self, pre: int) -> dict[str, Array]:
        """x and u long after the last spike, shape (pre,)."""
        dtype = self.U.dtype
        return {"x": jnp.ones(pre, dtype), "u": jnp.zeros(pre, dtype)}

    def linear_form(self) -> tuple[dict[str, Array], dict[str, Array]]:
        """(drive, rate) of x and u between spikes, in 1/ms."""
        zero = jnp.zeros_like(self.tau_facil)
        return {"x": 1 / self.tau_rec, "u": zero}, {"x": 1 / self.tau_rec, "u": 1 / self.tau_facil}

    def release(self, s: dict[str, Array], spikes: Array, single: bool) -> tuple[dict[str, Array], Array]:
        """x and u after so many spikes at once of each neuron, and what was released.

        **Arguments:** `single`: whether no neuron has more than one.
        """
        used = _used_once if single else _used  # which costs more
        # Spike number k takes 1 − u to (1 − u)(1 − U)^k, and leaves as large a part of x.
        either = lambda a, b: a + (1 - a) * b
        u = either(s["u"], used(self.U, spikes))
        released = either(used(s["u"], spikes), used(self.U, spikes * (spikes + 1) / 2))
        return {"x": s["x"] * (1 - released), "u": u}, s["x"] * released


def _used(part: Array, times: Array) -> Array:
    """1 − (1 − part)^times, of small parts as well."""
    return -jnp.expm1(times * jnp.log1p(-jnp.minimum(part, 1 - jnp.finfo(part.dtype).epsneg)))


def _used_once(part: Array, times: Array) -> Array:
    """The same of 0 or 1 times."""
    return jnp.where(times > 0, part, 0.0)


_LONG_AGO = 1e6  # ms since a spike that has had its effect


class SpikeSynapse(AbstractCoupling):
    """A synapse that opens a conductance at each spike of the sending neuron, after a delay.

    A spike is an upward crossing of `threshold` within a step. Its effect is applied between two
    steps of a solver and is not in the vector field: [`hh.simulate`][] and [`hh.as_diffrax`][] have it,
    an adaptive solve of `hh.vector_field` leaves it out.

    Without a delay a spike acts at the end of its step, and no gradient passes through its time.
    With a `delay` of at least dt the time of the spike is interpolated within its step, and its
    effect is divided between the two grid points around its arrival. A run is then of order 2, and
    gradients pass through the times of spikes, with an error of order dt, and through the delay. With
    `plasticity` a spike counts at the end of its step, and a run is of order 1. Gradients by
    weights, time constants and reversal potentials are always right. Spikes of an `input` are sent at
    the end of their step.

    **Fields** of all its kinds:

    - `weights`: peak conductance of a spike, mS/cm², shape (post, pre), dense or from
        [`hh.connect`][].
    - `reversal`: mV, scalar or one per receiving neuron.
    - `delay`: ms, scalar or one per sending neuron; `None` for none.
    - `threshold`: mV.
    - `plasticity`: `None` or an [`hh.synapses.TsodyksMarkram`][].
    - `input`: spikes from outside, an [`hh.synapses.Poisson`][] or an
        [`hh.synapses.SpikeTrains`][], instead of those of neurons.
    - `in_flight`: how many spikes of a neuron can be on their way at once; by default one for each
        ms of the delay and one more. If there are more, the run ends with an error. An `input` may send
        any number.
    - `pre`, `post`: populations, by name.
    """

    weights: eqx.AbstractVar[Weights]
    reversal: eqx.AbstractVar[Parameter]
    delay: OptionalParameter = param(None, unit="ms", minimum=0.0, finite=True, per="pre", kw_only=True)
    threshold: Parameter = param(0.0, unit="mV", per="pre", kw_only=True)
    plasticity: TsodyksMarkram | None = eqx.field(default=None, kw_only=True)
    input: AbstractInput | None = eqx.field(default=None, kw_only=True)
    in_flight: int | None = eqx.field(default=None, kw_only=True, static=True)

    @abc.abstractmethod
    def closed(self, zero: Float[Array, " n"]) -> dict[str, Array]:
        """The state of the conductance when there were no spikes, from zeros."""

    @abc.abstractmethod
    def decay(self, g: dict[str, Array]) -> tuple[dict[str, Array], dict[str, Array]]:
        """(drive, rate) of the conductance's state between spikes."""

    @abc.abstractmethod
    def opened(self, g: dict[str, Array], peak: Float[Array, " n"]) -> dict[str, Array]:
        """The conductance's state after a spike that opens `peak` (mS/cm²) at its peak."""

    @abc.abstractmethod
    def conductance(self, g: dict[str, Array]) -> Float[Array, " n"]:
        """The conductance, mS/cm²."""

    def __post_init__(self) -> None:
        if self.delay is None or self.in_flight is not None or self.input is not None:
            return
        if not is_concrete(self.delay):
            raise ValueError("`in_flight` must be given where `delay` is traced.")
        delay = as_array(f"{type(self).__name__}.delay", self.delay, "ms", minimum=0.0)
        self.in_flight = math.floor(float(np.max(np.asarray(delay)))) + 1

    @property
    def has_events(self) -> bool:
        return True

    def steady_state(self, V: Float[Array, " pre"]) -> dict[str, Any]:
        post, pre = self.weights.shape
        dtype = self.reversal.dtype
        s: dict[str, Any] = {"g": self.closed(jnp.zeros(post, dtype))}
        if self.plasticity is not None:
            s["plasticity"] = self.plasticity.rest(pre)
        if self.delay is not None and self.input is None:
            s["since"] = jnp.full((pre, self.in_flight), _LONG_AGO, dtype)
        if self.delay is not None and self.plasticity is not None:
            s["released"] = jnp.zeros(pre if self.input is not None else (pre, self.in_flight), dtype)
        return s

    def linear_form(self, V: Float[Array, " pre"], s: dict[str, Any]) -> tuple[dict, dict]:
        drive, rate = {}, {}
        drive["g"], rate["g"] = self.decay(s["g"])
        if self.plasticity is not None:
            drive["plasticity"], rate["plasticity"] = self.plasticity.linear_form()
        if "since" in s:  # time passes
            drive["since"], rate["since"] = jnp.ones_like(s["since"]), jnp.zeros_like(s["since"])
        if "released" in s:
            drive["released"] = rate["released"] = jnp.zeros_like(s["released"])
        return drive, rate

    def linear_current(self, V: Float[Array, " n"], s: dict[str, Any]) -> tuple[Array, Array]:
        conductance = self.conductance(s["g"])
        return conductance * self.reversal, conductance

    def check(self, n: int, pre: int | None = None) -> None:
        if self.input is not None and self.pre is not None:
            raise ValueError(f"`coupling.pre` must not be given with `input`, got {self.pre!r}.")
        senders = self.input.n if self.input is not None else n if pre is None else pre
        check_weights(self.weights, n, senders)
        if self.input is not None and self.delay is not None:
            self.input.check_delay(self.delay)

    def with_keys(self, key: Array | None) -> AbstractCoupling:
        return self if self.input is None else put(self, input=self.input.with_key(key))

    def sizes(self, n: int, pre: int) -> dict[str, int]:
        return {"post": n, "pre": pre if self.input is None else self.input.n}

    def _check_made(self) -> None:
        super()._check_made()
        kind = type(self).__name__
        for name, known, such in (
            ("plasticity", TsodyksMarkram, "an hh.synapses.TsodyksMarkram()"),
            ("input", AbstractInput, "an hh.synapses.Poisson or an hh.synapses.SpikeTrains"),
        ):
            check_kind(f"{kind}.{name}", getattr(self, name), (known, type(None)), f"None or {such}")
        if self.in_flight is not None:
            check_size(f"{kind}.in_flight", self.in_flight)

    def after_step(
        self, t: Array, end: Array, dt: Array, before: Array, after: Array, s: dict[str, Any]
    ) -> dict[str, Any]:
        if self.input is None:
            s, arriving = self._from_neurons(dt, before, after, s)
        else:
            s, arriving = self._from_input(self.input, t, end, dt, s)
        return s | {"g": self.opened(s["g"], sum_over_few(self.weights, arriving))}

    def missed(self, s: dict[str, Any]) -> Bool[Array, ""]:
        return jnp.isnan(s["since"]).any() if "since" in s else jnp.asarray(False)

    def _from_input(
        self, source: AbstractInput, t: Array, end: Array, dt: Array, s: dict[str, Any]
    ) -> tuple[dict[str, Any], Array]:
        """The state at the end of a step, and what arrives then, from outside."""
        steps = jnp.zeros_like(dt) if self.delay is None else self.delay / dt
        whole = jnp.floor(jax.lax.stop_gradient(steps))

        def sent(earlier: int) -> Array:
            back = (whole + earlier) * dt
            return source.spikes(t - back, end - back, dt).astype(s["g"]["g"].dtype)

        last, before = sent(0), None
        if self.plasticity is not None:
            plasticity, last = self.plasticity.release(s["plasticity"], last, single=False)
            s = s | {"plasticity": plasticity}
        if self.delay is None:
            return s, last
        if self.plasticity is None:
            before = sent(1)
        else:
            before, s = s["released"], s | {"released": last}
        # What arrives a fraction f into a step acts by 1 − f at its start and by f at its end.
        return s, last + (steps - whole) * (before - last)

    def _from_neurons(
        self, dt: Array, before: Array, after: Array, s: dict[str, Any]
    ) -> tuple[dict[str, Any], Array]:
        """The state at the end of a step, and what arrives then, from the V of the sending neurons."""
        spikes = (before < self.threshold) & (after >= self.threshold)
        rise = jnp.where(spikes, after - before, 1.0)
        late = dt * jnp.where(spikes, (after - self.threshold) / rise, 0.0)  # ms since the spike
        released = spikes.astype(after.dtype)
        if self.plasticity is not None:
            plasticity, released = self.plasticity.release(s["plasticity"], released, single=True)
            s = s | {"plasticity": plasticity}
        if self.delay is None:
            return s, released
        delay = jnp.broadcast_to(self.delay, spikes.shape)[:, None]
        arrived = lambda since: jnp.clip((since - delay) / dt + 1, 0.0, 1.0)
        enter = lambda new, old: jnp.where(
            spikes[:, None], jnp.concatenate([new[:, None], old[:, :-1]], axis=1), old
        )
        # A spike that is replaced before it has arrived is lost.
        missed = spikes & (arrived(s["since"][:, -1:]) < 1)[:, 0]
        s = s | {"since": enter(jnp.where(missed, jnp.nan, late), s["since"])}
        newest = jnp.zeros_like(s["since"], bool).at[:, 0].set(spikes)
        share = arrived(s["since"]) - jnp.where(newest, 0.0, arrived(s["since"] - dt))
        if "released" not in s:
            return s, share.sum(axis=1)
        s = s | {"released": enter(released, s["released"])}
        return s, (share * s["released"]).sum(axis=1)


class ExponentialSynapse(SpikeSynapse):
    """A conductance that jumps by the weight at each spike and decays with `tau`.

    **Fields:** `weights`: mS/cm², shape (post, pre); `tau`: ms, `reversal`: mV, scalar or one per receiving
    neuron; and those of [`hh.synapses.SpikeSynapse`][].
    """

    weights: Weights = eqx.field(converter=as_weights)
    tau: Parameter = param(5.0, unit="ms", positive=True, per="post")
    reversal: Parameter = param(0.0, unit="mV", per="post")

    def closed(self, zero: Array) -> dict[str, Array]:
        return {"g": zero}

    def decay(self, g: dict[str, Array]) -> tuple[dict, dict]:
        return {"g": jnp.zeros_like(g["g"])}, {"g": 1 / self.tau}

    def opened(self, g: dict[str, Array], peak: Array) -> dict[str, Array]:
        return {"g": g["g"] + peak}

    def conductance(self, g: dict[str, Array]) -> Array:
        return g["g"]


class DoubleExponentialSynapse(SpikeSynapse):
    """A conductance w·N·(e^(−t/tau_decay) − e^(−t/tau_rise)) after each spike, with w its peak.

    Equal time constants give the limit, the conductance of an [`hh.synapses.AlphaSynapse`][].

    **Fields:** `weights`: mS/cm², shape (post, pre); `tau_rise`, `tau_decay`: ms, the first at most the
    second, `reversal`: mV, scalar or one per receiving neuron; and those of [`hh.synapses.SpikeSynapse`][].
    """

    weights: Weights = eqx.field(converter=as_weights)
    tau_rise: Parameter = param(0.5, unit="ms", positive=True, per="post")
    tau_decay: Parameter = param(5.0, unit="ms", positive=True, per="post")
    reversal: Parameter = param(0.0, unit="mV", per="post")

    def check(self, n: int, pre: int | None = None) -> None:
        super().check(n, pre)
        taus = (self.tau_rise, self.tau_decay)
        if all(is_concrete(x) for x in taus) and not np.less_equal(*map(np.asarray, taus)).all():
            raise ValueError(
                f"`coupling.tau_rise` must be at most `tau_decay` (ms), got {taus[0]} and {taus[1]}."
            )

    @property
    def states_are_independent(self) -> bool:
        return False

    @property
    def flow_is_exact(self) -> bool:
        return True

    def closed(self, zero: Array) -> dict[str, Array]:
        return {"g": zero, "source": zero}

    def decay(self, g: dict[str, Array]) -> tuple[dict, dict]:
        # A chain, since a difference of exponentials loses its digits where they are nearly equal.
        rise, decay = 1 / self.tau_rise, 1 / self.tau_decay
        return {"g": g["source"] * rise, "source": jnp.zeros_like(g["g"])}, {"g": decay, "source": rise}

    def flow(self, V: Array, s: dict[str, Any], dt: Array, at: dict[str, Any]) -> dict[str, Any]:
        moved = super().flow(V, s, dt, at)
        return moved | {"g": chain(s["g"], "source", dt, self.tau_rise, self.tau_decay)}

    def links(self, s: dict[str, Any]) -> dict[tuple[int, int], Array]:
        return {(0, 1): 1 / self.tau_rise}  # the first leaves of s are those of g, "g" and "source"

    def opened(self, g: dict[str, Array], peak: Array) -> dict[str, Array]:
        # The peak is at t where both terms fall equally fast, e^(−t·(1/rise − 1/decay)) = rise/decay.
        log_ratio = jnp.log1p((self.tau_decay - self.tau_rise) / self.tau_rise)
        return g | {"source": g["source"] + peak * jnp.exp(1 / exprel(log_ratio))}

    def conductance(self, g: dict[str, Array]) -> Array:
        return self._as_chain(g)["g"]

    def renewed(self, s: Any) -> Any:
        return s | {"g": self._as_chain(s["g"])} if isinstance(s, dict) and "g" in s else s

    def _as_chain(self, g: dict[str, Array]) -> dict[str, Array]:
        """The state; that of 0.1.0 had the two terms, of which the conductance is the difference."""
        if "rising" not in g:
            return g
        return {"g": g["g"] - g["rising"], "source": g["rising"] * (1 - self.tau_rise / self.tau_decay)}


def chain(g: dict[str, Array], source: str, dt: Array, tau_rise: Array, tau_decay: Array) -> dict[str, Array]:
    """The exact solution after `dt` (ms) of dr/dt = −r/tau_rise, dg/dt = r/tau_rise − g/tau_decay.

    r has the name `source`; tau_rise is at most tau_decay, and what r gives is
    (e^(−dt/tau_decay) − e^(−dt/tau_rise))/(1 − tau_rise/tau_decay), as a divided difference.
    """
    shape = jnp.broadcast_shapes(jnp.shape(tau_rise), jnp.shape(tau_decay))
    # The limit of short ones is reached long before.
    times, ends = (jnp.minimum(jnp.broadcast_to(dt / tau, shape), 1e15) for tau in (tau_rise, tau_decay))
    apart = (tau_decay - tau_rise) / tau_decay
    share = relax(jnp.zeros_like(times), jnp.ones_like(times), jnp.broadcast_to(apart, shape), times)
    return {"g": jnp.exp(-ends) * (g["g"] + share * g[source]), source: g[source] * jnp.exp(-times)}


class AlphaSynapse(SpikeSynapse):
    """A conductance w·(t/tau)·e^(1 − t/tau) after each spike, with w its peak, at t = tau.

    **Fields:** `weights`: mS/cm², shape (post, pre); `tau`: ms, `reversal`: mV, scalar or one per receiving
    neuron; and those of [`hh.synapses.SpikeSynapse`][].
    """

    weights: Weights = eqx.field(converter=as_weights)
    tau: Parameter = param(2.0, unit="ms", positive=True, per="post")
    reversal: Parameter = param(0.0, unit="mV", per="post")

    @property
    def states_are_independent(self) -> bool:
        return False

    @property
    def flow_is_exact(self) -> bool:
        return True

    def closed(self, zero: Array) -> dict[str, Array]:
        return {"g": zero, "rising": zero}

    def decay(self, g: dict[str, Array]) -> tuple[dict, dict]:
        rate = 1 / self.tau
        return {"g": g["rising"] * rate, "rising": jnp.zeros_like(g["g"])}, {"g": rate, "rising": rate}

    def flow(self, V: Array, s: dict[str, Any], dt: Array, at: dict[str, Any]) -> dict[str, Any]:
        return super().flow(V, s, dt, at) | {"g": chain(s["g"], "rising", dt, self.tau, self.tau)}

    def links(self, s: dict[str, Any]) -> dict[tuple[int, int], Array]:
        return {(0, 1): 1 / self.tau}  # of "g" and "rising"

    def opened(self, g: dict[str, Array], peak: Array) -> dict[str, Array]:
        return {"g": g["g"], "rising": g["rising"] + math.e * peak}

    def conductance(self, g: dict[str, Array]) -> Array:
        return g["g"]
