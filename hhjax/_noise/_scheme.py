"""The Markov scheme of a channel, worked out from its gates and their exponents."""

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence

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

    def product(self, x: Mapping[str, Array]) -> PerState:
        """The occupancies when a subunit of gate g is open with probability x[g]."""
        return [
            math.prod(
                math.comb(p, k) * _power(x[g], k) * _power(1 - x[g], p - k)
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

    def propagate(self, values: Sequence[Array], transitions: Mapping[str, list]) -> PerState:
        """Occupancies after the `transitions` of every gate."""
        values, states = list(values), self.states
        for axis, (gate, p) in enumerate(self.gates):
            T = transitions[gate]
            moved = []
            for state in states:
                sources = [states.index(state[:axis] + (i,) + state[axis + 1 :]) for i in range(p + 1)]
                moved.append(sum(T[i][state[axis]] * values[s] for i, s in enumerate(sources)))
            values = moved
        return values

    def linear_form(self, values: Sequence[Array], drive: Mapping, rate: Mapping) -> tuple[PerState, PerState]:
        """(drive, rate) of each state's occupancy: what flows in, and the rate of leaving."""
        inflow = [jnp.zeros_like(v) for v in values]
        outflow = [jnp.zeros_like(v) for v in values]
        for e in self.edges:
            alpha, beta = e.opening * drive[e.gate], e.closing * closing_rate(drive[e.gate], rate[e.gate])
            inflow[e.target] = inflow[e.target] + alpha * values[e.source]
            inflow[e.source] = inflow[e.source] + beta * values[e.target]
            outflow[e.source] = outflow[e.source] + alpha
            outflow[e.target] = outflow[e.target] + beta
        return inflow, outflow


def closing_rate(drive: Array, rate: Array) -> Array:
    """β of a gate with dx/dt = drive − rate·x, in 1/ms."""
    return jnp.maximum(rate - drive, 0.0)


def _power(x: Array, k: int) -> Array:
    return jnp.ones_like(x) if k == 0 else jax.lax.integer_pow(x, k)


def _row(i: int, p: int, stays: Array, opens: Array) -> PerState:
    """Probabilities of 0, ..., p open subunits, of i that were open and p − i that were not."""
    row = [jnp.ones_like(stays)]
    for probability in [stays] * i + [opens] * (p - i):
        closed = [x * (1 - probability) for x in row] + [jnp.zeros_like(stays)]
        opened = [jnp.zeros_like(stays)] + [x * probability for x in row]
        row = [a + b for a, b in zip(closed, opened)]
    return row
