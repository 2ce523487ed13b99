"""Channels that are counted: the Markov chain itself, and leaps over its steps."""

import abc
import math
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from .._base.math import once
from ..channels._channel import NO_IONS
from ..channels._ion import Ions
from .channels import AbstractNoisyChannel, check_whole, closing_rate, Gates

_INVERTED = 10.0  # binomials of a smaller mean are drawn by inversion


class AbstractCountedChannel(AbstractNoisyChannel):
    """Channels of which the number in each state is kept, whole and conserved.

    The state holds these numbers, by the names of the scheme's states, as floats. It has
    no pathwise derivative: a gradient through it raises.
    """

    jumps: ClassVar[bool] = True
    model: ClassVar[str]

    def __check_init__(self) -> None:
        check_whole(self.count, f"model={self.model!r}")

    @property
    def names(self) -> list[str]:
        """The names of the states that a channel can be in."""
        return self.scheme.names

    def _counts(self, gates: Gates) -> list[Array]:
        return [gates[name] for name in self.names]

    def _at_rest(self, V: Array, ions: Ions) -> list[Array]:
        """The mean occupancies at rest at V (mV)."""
        return self.scheme.product(self.channel.steady_state(V, ions))

    def steady_state(self, V, ions=NO_IONS):
        """Whole counts nearest to the mean at rest at V (mV), by the largest remainders."""
        V = jnp.asarray(V)
        mean = jnp.stack([jnp.broadcast_to(self.count * x, V.shape) for x in self._at_rest(V, ions)])
        whole = jnp.floor(mean)
        missing = jnp.round(mean.sum(axis=0) - whole.sum(axis=0))
        rank = jnp.argsort(jnp.argsort(whole - mean, axis=0), axis=0).astype(mean.dtype)
        whole = whole + (rank < missing[None]).astype(mean.dtype)
        return dict(zip(self.names, whole))

    def linear_form(self, V, gates, ions=NO_IONS):
        """Zeros: between jumps the counts stand still."""
        still = {name: jnp.zeros_like(x) for name, x in gates.items()}
        return still, still

    def linear_current(self, V, gates, ions=NO_IONS):
        drive, conductance = self._fully_open(V, ions)
        fraction = gates[self.scheme.names[-1]] / self.count
        return fraction * drive, fraction * conductance

    def occupancies(self, V, gates):
        return {name: gates[name] / self.count for name in self.names}


class AbstractTauLeap(AbstractCountedChannel):
    """Counts that are drawn anew once per step."""

    model: ClassVar[str] = "tau_leap"

    @abc.abstractmethod
    def move(self, V: Array, gates: Gates, ions: Ions, dt: Array, key: Array) -> Gates:
        """The counts after `dt` (ms) with V held."""


class TauLeap(AbstractTauLeap):
    r"""Counts moved by binomial draws, `model="tau_leap"`.

    In a step every channel, with V held, has some probability to go from i open subunits
    of a gate to j, known exactly since subunits are independent; how many channels do is
    drawn from binomial distributions in turn. Counts are whole, conserved and never
    leave [0, N]. All error comes from V being held over the step; inside
    `strang_maruyama`'s symmetric step it is of second order. Binomials of a mean below
    10 are drawn by inversion; above, the normal quantile with the first Cornish-Fisher
    correction is rounded to a whole number.
    """

    def move(self, V: Array, gates: Gates, ions: Ions, dt: Array, key: Array) -> Gates:
        counts, V, channel = without_gradient((self._counts(gates), V, self.channel), self.model)
        drive, rate = channel.linear_form(V, gates, ions)
        transitions = once(self.scheme.transitions(drive, rate, dt))
        states = self.scheme.states
        for axis, (gate, p) in enumerate(self.scheme.gates):
            T, moved = transitions[gate], list(counts)
            left, still_probable = list(counts), [jnp.ones_like(V) for _ in states]
            key, *stages = jax.random.split(key, p + 1)
            for stage, stage_key in enumerate(stages):  # the nearest target first
                targets = [_by_distance(s[axis], p)[stage] for s in states]
                chance = [T[s[axis]][j] for s, j in zip(states, targets)]
                share = [
                    jnp.clip(c / jnp.maximum(r, 1e-30), 0.0, 1.0) for c, r in zip(chance, still_probable)
                ]
                u = once(jax.random.uniform(stage_key, (len(states), *V.shape), V.dtype))
                drawn = binomial(u, jnp.stack(left), jnp.stack(share))
                for i, (state, j, k) in enumerate(zip(states, targets, drawn)):
                    target = states.index(state[:axis] + (j,) + state[axis + 1 :])
                    moved[i], moved[target] = moved[i] - k, moved[target] + k
                    left[i], still_probable[i] = left[i] - k, still_probable[i] - chance[i]
                moved, left, still_probable = once((moved, left, still_probable))
            counts = moved
        return dict(zip(self.scheme.names, counts))


class AbstractExactChain(AbstractCountedChannel):
    """Counts that are followed from one transition to the next."""

    model: ClassVar[str] = "exact"

    @property
    @abc.abstractmethod
    def ends(self) -> list[tuple[int, int]]:
        """The numbers of the states, from and to, of every transition."""

    @abc.abstractmethod
    def flows(self, V: Array, gates: Gates, ions: Ions) -> list[Array]:
        """How often each of them happens, 1/ms."""


class ExactChain(AbstractExactChain):
    r"""The Markov chain itself, event by event, `model="exact"`.

    Between two transitions V moves exactly; the next one happens when the integral of
    all propensities along V(t) reaches an exponential random number (D. F. Anderson, B.
    Ermentrout and P. J. Thomas, J. Comput. Neurosci. 38 (2015) 67-82), and which it is
    is drawn from the propensities at that time. The integral is taken by the trapezium
    rule over intervals in which V moves by 1 mV at most and two events are expected.
    Only `strang_maruyama` runs it. Synapses, stimuli, current noise and channels
    of other kinds are held over half a step of dt; otherwise dt has no bearing.
    """

    @property
    def ends(self):
        return [pair for e in self.scheme.edges for pair in ((e.source, e.target), (e.target, e.source))]

    def flows(self, V, gates, ions):
        drive, rate = self.channel.linear_form(V, gates, ions)
        counts, found = self._counts(gates), []
        for e in self.scheme.edges:
            closing = closing_rate(drive[e.gate], rate[e.gate])
            found += [e.opening * drive[e.gate] * counts[e.source], e.closing * closing * counts[e.target]]
        return found


@eqx.filter_custom_jvp
def _identity(x: Any, model: str) -> Any:
    return x


@_identity.def_jvp
def _refuse(primals: Any, tangents: Any) -> Any:
    raise TypeError(
        f"Channel noise with model={primals[1]!r} has no gradient: channels are counted, and a small "
        "change of a parameter moves no count or moves it by one. Differentiate model='conductance', "
        "or 'subunit' and 'ou_conductance', instead."
    )


def without_gradient(x: Any, model: str) -> Any:
    """`x`, which raises when it is differentiated."""
    return _identity(x, model)


def _by_distance(i: int, p: int) -> list[int]:
    """The numbers 0, ..., p but for i, the nearest to i first."""
    return sorted((j for j in range(p + 1) if j != i), key=lambda j: abs(j - i))


def binomial(u: Array, n: Array, p: Array) -> Array:
    """The u-quantile of the binomial distribution, elementwise.

    By summing the probabilities up to u where the mean (or n minus it) is below 10; else
    the normal quantile with the first Cornish-Fisher term, rounded.

    **Arguments:** `u`: uniform in [0, 1); `n`: whole; `p`: in [0, 1]; one float type.

    **Returns:** whole, in [0, n].
    """
    flipped = p > 0.5
    q = jnp.where(flipped, 1 - p, p)
    mean, odds = n * q, q / (1 - q)
    small = mean < _INVERTED
    z = math.sqrt(2) * jax.lax.erf_inv(jnp.clip(2 * u - 1, -1 + 1e-7, 1 - 1e-7))
    near = jnp.round(mean + jnp.sqrt(mean * (1 - q)) * z + (1 - 2 * q) * (z**2 - 1) / 6)
    start = jnp.where(small, 0.0, jnp.clip(near, 0.0, n))
    mass = jnp.where(small, jnp.exp(n * jnp.log1p(-q)), 2.0)  # 2: nothing is left to add

    def unfinished(carry: tuple) -> Array:
        k, mass, rest = carry
        return jnp.any((rest >= mass) & (k < n))

    def add(carry: tuple) -> tuple:
        k, mass, rest = carry
        go = (rest >= mass) & (k < n)
        next_mass = mass * odds * (n - k) / (k + 1)
        return jnp.where(go, k + 1, k), jnp.where(go, next_mass, mass), jnp.where(go, rest - mass, rest)

    k, _, _ = jax.lax.while_loop(unfinished, add, (start, mass, u))
    return jnp.where(flipped, n - k, k)


def propensities(
    channels: dict[str, AbstractExactChain], V: Array, gates: dict[str, Gates], ions: Ions
) -> list[Array]:
    """How often (1/ms) every transition of every channel happens."""
    return [flow for name, channel in channels.items() for flow in channel.flows(V, gates[name], ions)]


def fire(
    channels: dict[str, AbstractExactChain], gates: dict[str, Gates], flows: list[Array], level: Array
) -> dict[str, Gates]:
    """The counts after the transition at which the running sum of `flows` passes `level`."""
    moved, below, i = {}, jnp.zeros_like(level), 0
    for name, channel in channels.items():
        counts = channel._counts(gates[name])
        for source, target in channel.ends:
            above = below + flows[i]
            hit = ((level >= below) & (level < above)).astype(level.dtype)
            counts[source], counts[target] = counts[source] - hit, counts[target] + hit
            below, i = above, i + 1
        moved[name] = dict(zip(channel.names, counts))
    return moved
