"""Noise of channels whose states turn into each other, see [`hh.MarkovChannel`][]."""

import jax
import jax.numpy as jnp
from jaxtyping import Array

from ..channels._channel import NO_IONS
from ..channels._ion import Ions
from ..channels._markov import MarkovChannel
from .channels import AbstractLangevinChannel, AbstractNoisyChannel, Gates, sqrt
from .jumps import AbstractCountedChannel, AbstractExactChain, AbstractTauLeap, binomial, without_gradient


class _OfMarkov(AbstractNoisyChannel):
    """What the models of noise have in common."""

    channel: MarkovChannel

    def open_fraction(self, V, gates):
        occupied = self.occupancies(V, gates)
        return sum(occupied[name] for name in self.channel.open)


class MarkovConductanceNoise(_OfMarkov, AbstractLangevinChannel):
    r"""The diffusion on the states of a Markov channel, `model="conductance"`.

    Between every pair of states $\pm\sqrt{(r_{ij} \bar p_i + r_{ji} \bar p_j)/N}\,dW_{ij}$ (Itô), with the
    flows of the mean occupancies, as in [`hh.with_channel_noise`][]'s model of gates. The state holds the
    mean occupancies, by their names, and deviations from them, such as `"open.deviation"`.
    """

    @property
    def _pairs(self) -> list[tuple[int, int]]:
        """The pairs of states between which channels move."""
        return sorted({(min(ends), max(ends)) for ends in self.channel.ends})

    @property
    def _names(self) -> list[str]:
        return [f"{name}.deviation" for name in self.channel.states]

    @property
    def sources(self) -> int:
        return len(self._pairs)

    @property
    def states_are_independent(self) -> bool:
        return False

    def _mean(self, gates: Gates) -> Gates:
        return {name: gates[name] for name in self.channel.states}

    def steady_state(self, V, ions=NO_IONS):
        still = {name: jnp.zeros_like(V) for name in self._names}
        return self.channel.steady_state(V, ions) | still

    def linear_form(self, V, gates, ions=NO_IONS):
        deviations = {name: gates[d] for name, d in zip(self.channel.states, self._names)}
        drive, rate = self.channel.linear_form(V, self._mean(gates), ions)
        drives, rates = self.channel.linear_form(V, deviations, ions)
        named = lambda found: dict(zip(self._names, (found[name] for name in self.channel.states)))
        return drive | named(drives), rate | named(rates)

    def linear_current(self, V, gates, ions=NO_IONS):
        return self.channel.linear_current(V, self.occupancies(V, gates), ions)

    def occupancies(self, V, gates):
        return {name: gates[name] + gates[d] for name, d in zip(self.channel.states, self._names)}

    def _kick(self, V: Array, mean: Gates, ions: Ions, dW: Array) -> list[Array]:
        """What the noise adds to the deviations."""
        rates, names = self.channel.rate_between(V, ions), self.channel.states
        kick = [jnp.zeros_like(V) for _ in names]
        none = jnp.zeros_like(V)
        for (i, j), w in zip(self._pairs, dW):
            both = rates.get((i, j), none) * mean[names[i]] + rates.get((j, i), none) * mean[names[j]]
            amount = sqrt(both / self.count) * w
            kick[i], kick[j] = kick[i] - amount, kick[j] + amount
        return kick

    def diffusion(self, V, gates, ions, dW):
        still = {name: jnp.zeros_like(V) for name in self.channel.states}
        return still | dict(zip(self._names, self._kick(V, self._mean(gates), ions, dW)))

    def move(self, V, gates, ions, dt, dW):
        # Exact without noise: half a step, all the noise, half a step.
        half = lambda p: self.channel.propagate(V, p, ions, dt / 2)
        middle = half([gates[name] for name in self.channel.states])
        kick = self._kick(V, dict(zip(self.channel.states, middle)), ions, dW)
        deviations = list(map(jnp.add, half([gates[name] for name in self._names]), kick))
        return self.channel.whole(half(middle)) | dict(zip(self._names, half(deviations)))


class _CountedMarkov(_OfMarkov, AbstractCountedChannel):
    """Counts of channels in the states of a Markov channel."""

    @property
    def names(self) -> list[str]:
        return list(self.channel.states)

    def _at_rest(self, V, ions):
        rest = self.channel.steady_state(V, ions)
        return [rest[name] for name in self.names]

    def linear_current(self, V, gates, ions=NO_IONS):
        return self.channel.linear_current(V, self.occupancies(V, gates), ions)


class MarkovTauLeap(_CountedMarkov, AbstractTauLeap):
    """Counts moved by multinomial draws once per step, `model="tau_leap"`.

    The probabilities to go from one state to another with V held are those of the channel's exact flow.
    """

    def move(self, V, gates, ions, dt, key):
        counts, V, channel = without_gradient((self._counts(gates), V, self.channel), self.model)
        count = len(counts)
        moved = [jnp.zeros_like(V) for _ in counts]
        for i, row_key in enumerate(jax.random.split(key, count)):
            alone = [jnp.full_like(V, float(i == j)) for j in range(count)]
            chance = [jnp.clip(p, 0.0, 1.0) for p in channel.propagate(V, alone, ions, dt)]
            # The others in turn; what is left stays.
            left, probable = counts[i], jnp.ones_like(V)
            u = jax.random.uniform(row_key, (count, *V.shape), V.dtype)
            for j in [j for j in range(count) if j != i]:
                drawn = binomial(u[j], left, jnp.clip(chance[j] / jnp.maximum(probable, 1e-30), 0.0, 1.0))
                moved[j], left, probable = moved[j] + drawn, left - drawn, probable - chance[j]
            moved[i] = moved[i] + left
        return dict(zip(self.names, moved))


class MarkovExactChain(_CountedMarkov, AbstractExactChain):
    """The Markov chain itself, event by event, `model="exact"`, followed as the chain of gates is."""

    @property
    def ends(self):
        return self.channel.ends

    def flows(self, V, gates, ions):
        counts = self._counts(gates)
        return [rate * counts[i] for (i, _), rate in self.channel.rate_between(V, ions).items()]
