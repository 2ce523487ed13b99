"""The Markov scheme of a channel, worked out from its gates and their exponents."""

import dataclasses
import itertools
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from .._channel import Channel, Instantaneous
from .._math import relax

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
    def of(cls, channel: Channel) -> "Scheme":
        """The scheme of a channel."""
        kinetics = channel._rate_shapes()
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
