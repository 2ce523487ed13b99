"""Channels that are counted: the states that one can be in, and what noise adds to it."""

import abc
import dataclasses
import itertools
import math
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from .._base.math import relax
from .._base.parameters import is_concrete, param, Parameter
from ..channels._channel import AbstractChannel, AbstractGatedChannel
from ..channels._ion import Ions
from ..channels._kinetics import Instantaneous

# A quantity per state of the scheme, in the order of `Scheme.states`.
PerState = list[Array]


@dataclasses.dataclass(frozen=True)
class Edge:
    """One subunit of `gate` opens (source to target) or closes (target to source).

    `opening`, `closing`: how many subunits can, the multiples of α and β.
    """

    gate: str
    source: int
    target: int
    opening: int
    closing: int


@dataclasses.dataclass(frozen=True)
class Scheme:
    """Channels with p independent subunits of one kind, q of another, and so on.

    A state is how many subunits of each gate are open: (p + 1)(q + 1)... states, of which
    the last, with all of them open, conducts. A gate that is instantaneous has no state.

    **Fields:** `gates`: the gates with a state and their exponents.
    """

    gates: tuple[tuple[str, int], ...]

    @classmethod
    def of(cls, channel: AbstractGatedChannel) -> "Scheme":
        """The scheme of a channel."""
        kinetics = channel.rate_shapes()
        kept = [(g, p) for g, p in channel.gates.items() if not isinstance(kinetics[g], Instantaneous)]
        return cls(tuple(kept))

    @property
    def states(self) -> list[tuple[int, ...]]:
        """How many subunits of each gate are open, the first gate slowest."""
        return list(itertools.product(*(range(p + 1) for _, p in self.gates)))

    @property
    def names(self) -> list[str]:
        """The states' names, such as `"m3h1"`."""
        return ["".join(f"{g}{k}" for (g, _), k in zip(self.gates, state)) for state in self.states]

    @property
    def edges(self) -> list[Edge]:
        """The transitions, each with its reverse."""
        states = self.states
        edges = []
        for axis, (gate, p) in enumerate(self.gates):
            for source, state in enumerate(states):
                k = state[axis]
                if k < p:
                    target = states.index(state[:axis] + (k + 1,) + state[axis + 1 :])
                    edges.append(Edge(gate, source, target, p - k, k + 1))
        return edges

    @property
    def open_edges(self) -> list[Edge]:
        """The transitions into and out of the state that conducts."""
        last = len(self.states) - 1
        return [edge for edge in self.edges if edge.target == last]

    def product(self, x: Mapping[str, Array]) -> list[Any]:
        """The occupancies when a subunit of gate g is open with probability x[g]."""
        return [
            math.prod(
                math.comb(p, k) * power(x[g], k) * power(1 - x[g], p - k)
                for (g, p), k in zip(self.gates, state)
            )
            for state in self.states
        ]

    def transitions(self, drive: Mapping[str, Array], rate: Mapping[str, Array], dt: Array) -> dict:
        """For each gate, T[i][j]: the probability to go from i open subunits to j within dt (ms)."""
        table = {}
        for g, p in self.gates:
            stays = relax(jnp.ones_like(rate[g]), drive[g], rate[g], dt)
            opens = relax(jnp.zeros_like(rate[g]), drive[g], rate[g], dt)
            table[g] = [_row(i, p, stays, opens) for i in range(p + 1)]
        return table

    def joint_change(self, edge: Edge) -> list[tuple[int, float]]:
        """By how much each joint opening changes when a subunit opens along `edge`.

        A joint opening is the fraction of channels in which i given subunits of one gate, j
        of another, are open whatever the others do: in the mean $x^i y^j$. It has the index
        of the state (i, j) in `states`; that of no subunits is always 1.
        """
        states, changes = self.states, []
        for index, joint in enumerate(states):
            weight = 1.0
            for (g, p), k, wanted in zip(self.gates, states[edge.source], joint):
                ways = (
                    math.comb(k + 1, wanted) - math.comb(k, wanted)
                    if g == edge.gate
                    else math.comb(k, wanted)
                )
                weight *= ways / math.comb(p, wanted)
            if weight:
                changes.append((index, weight))
        return changes

    def propagate(self, joint: PerState, opens: Mapping[str, Array], keeps: Mapping[str, Array]) -> PerState:
        """Deviations of joint openings after every subunit went x → opens + keeps·x."""
        values, states = list(joint), self.states
        for axis, (gate, _) in enumerate(self.gates):
            moved = []
            for state in states:
                k = state[axis]
                lower = [states.index(state[:axis] + (l,) + state[axis + 1 :]) for l in range(k + 1)]
                moved.append(
                    sum(
                        math.comb(k, l) * power(keeps[gate], l) * power(opens[gate], k - l) * values[i]
                        for l, i in enumerate(lower)
                    )
                )
            values = moved
        return values

    def linear_form(self, joint: PerState, drive: Mapping, rate: Mapping) -> tuple[PerState, PerState]:
        """(drive, rate) of the deviations of joint openings, 1/ms."""
        states = self.states
        drives, rates = [], []
        for state, value in zip(states, joint):
            into, out = jnp.zeros_like(value), jnp.zeros_like(value)
            for axis, (gate, _) in enumerate(self.gates):
                k = state[axis]
                if k:
                    lower = states.index(state[:axis] + (k - 1,) + state[axis + 1 :])
                    into, out = into + k * drive[gate] * joint[lower], out + k * rate[gate]
            drives.append(into)
            rates.append(out)
        return drives, rates

    def occupancies(self, joint: PerState) -> PerState:
        """The occupancies that go with (deviations of) joint openings."""
        occupied = []
        for state in self.states:
            total = jnp.zeros_like(joint[0])
            for other, value in zip(self.states, joint):
                ways = 1
                for (_, p), k, l in zip(self.gates, state, other):
                    ways *= math.comb(p, k) * math.comb(p - k, l - k) * (-1) ** (l - k) if l >= k else 0
                total = total + ways * value
            occupied.append(total)
        return occupied


def closing_rate(drive: Array, rate: Array) -> Array:
    """β of a gate with dx/dt = drive − rate·x, in 1/ms."""
    return jnp.maximum(rate - drive, 0.0)


def power(x: Array, k: int) -> Array:
    """xᵏ for k >= 0, with 0⁰ = 1."""
    return jnp.ones_like(x) if k == 0 else jax.lax.integer_pow(x, k)


def _row(i: int, p: int, stays: Array, opens: Array) -> PerState:
    """Probabilities of 0, ..., p open subunits, of i that were open and p − i that were not."""
    row = [jnp.ones_like(stays)]
    for probability in [stays] * i + [opens] * (p - i):
        closed = [x * (1 - probability) for x in row] + [jnp.zeros_like(stays)]
        opened = [jnp.zeros_like(stays)] + [x * probability for x in row]
        row = [a + b for a, b in zip(closed, opened)]
    return row


Gates = dict[str, Array]


class AbstractNoisyChannel(AbstractChannel):
    """A channel of which there are `count`, so that the open fraction fluctuates.

    Everything derives from the kinetics of `channel`.

    **Fields:**

    - `channel`: the [`hh.Channel`][] or [`hh.MarkovChannel`][] without noise.
    - `count`: how many there are in one neuron, scalar or shape (n,); `inf` for no noise.
    """

    channel: Any
    count: Parameter = param(positive=True)

    model: ClassVar[str]
    jumps: ClassVar[bool] = False
    """Whether the state moves by jumps, not by a Brownian motion."""

    @property
    def scheme(self) -> Scheme:
        """The states that a channel can be in."""
        return Scheme.of(self.channel)

    @property
    def senses(self) -> tuple[str, ...]:
        return self.channel.senses

    @property
    def carries(self) -> str | None:
        return self.channel.carries

    @property
    def conductance_depends_on_V(self) -> bool:
        return self.channel.conductance_depends_on_V

    @property
    def sources(self) -> int:
        """How many independent Brownian motions act on one neuron's channels."""
        return 0

    @abc.abstractmethod
    def occupancies(self, V: Float[Array, " n"], gates: Gates) -> Gates:
        """The fraction of channels in each state of the scheme, by its name."""

    def _fully_open(self, V: ArrayLike, ions: Ions) -> tuple[Array, Array]:
        """(drive, conductance) if all channels were open."""
        ones = {gate: jnp.ones_like(V) for gate, _ in self.scheme.gates}
        return self.channel.linear_current(V, ones, ions)

    def open_fraction(self, V: Float[Array, " n"], gates: Gates) -> Array:
        """The fraction of channels whose gates with a state are all open."""
        return self.occupancies(V, gates)[self.scheme.names[-1]]


class AbstractLangevinChannel(AbstractNoisyChannel):
    """Channels whose noise is a diffusion, an Itô stochastic differential equation."""

    @abc.abstractmethod
    def diffusion(self, V: Float[Array, " n"], gates: Gates, ions: Ions, dW: Float[Array, "k n"]) -> Gates:
        """The change of each variable by the Brownian increments dW (√ms), Itô."""

    @abc.abstractmethod
    def move(
        self, V: Float[Array, " n"], gates: Gates, ions: Ions, dt: Array, dW: Float[Array, "k n"]
    ) -> Gates:
        """The state after `dt` (ms) with V held and Brownian increments dW (√ms)."""


def sqrt(x: Array) -> Array:
    """√x; where x is not positive, the root of the smallest number, with derivative 0."""
    return jnp.sqrt(jnp.where(x > 0, x, jnp.finfo(x.dtype).tiny))


def check_whole(count: Any, name: str) -> None:
    """Refuse counts of channels that are not whole."""
    if is_concrete(count):
        count = np.asarray(count)
        if not (np.isfinite(count).all() and (count == np.round(count)).all() and (count >= 1).all()):
            raise ValueError(f"`count` of a {name} channel must be whole and at least 1, got {count}.")
