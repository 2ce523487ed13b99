"""Channel noise as a diffusion: on the gates, on the Markov scheme, on the conductance."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from .._math import exprel, relax
from ._base import AbstractLangevinChannel, Gates, sqrt
from ._scheme import closing_rate


class SubunitNoise(AbstractLangevinChannel):
    r"""Noise on each gate by itself, `model="subunit"`.

    $dx = (\alpha(1 - x) - \beta x)\,dt + \sqrt{(\alpha(1 - x) + \beta x)/N}\,dW$ (Itô; R. F.
    Fox, Biophys. J. 72 (1997) 2068-2074). It lets the subunits of all channels move as
    one and is cheap and wrong: at −65 mV the variance of the open fraction is 1/70 of the
    true one for the sodium channel of the squid axon and 1/3 for potassium, and a patch
    with 6,000 sodium channels fires spontaneously at 0.23 Hz instead of 9.9 Hz. Take
    `"conductance"` unless you reproduce published work.

    A gate may leave [0, 1] by some 1/√N; wherever it is used it counts as 0 or 1 then.
    """

    @property
    def sources(self) -> int:
        return len(self.scheme.gates)

    def steady_state(self, V):
        return self.channel.steady_state(V)

    def linear_form(self, V, gates):
        return self.channel.linear_form(V)

    def linear_current(self, V, gates):
        return self.channel.linear_current(V, _confined(gates))

    def occupancies(self, V, gates):
        return dict(zip(self.scheme.names, self.scheme.product(_confined(gates))))

    def _intensity(self, drive: Array, rate: Array, x: Array) -> Array:
        """(α(1 − x) + βx)/N, the variance that builds up in a ms."""
        return (drive * (1 - x) + closing_rate(drive, rate) * x) / self.count

    def diffusion(self, V, gates, dW):
        drive, rate = self.linear_form(V, gates)
        inside = _confined(gates)
        return {
            g: sqrt(self._intensity(drive[g], rate[g], inside[g])) * w
            for (g, _), w in zip(self.scheme.gates, dW)
        }

    def move(self, V, gates, dt, dW):
        drive, rate = self.linear_form(V, gates)
        inside = _confined(gates)
        moved = {}
        for (g, _), w in zip(self.scheme.gates, dW):
            variance = self._intensity(drive[g], rate[g], inside[g]) * exprel(-2 * dt * rate[g])
            moved[g] = relax(gates[g], drive[g], rate[g], dt) + sqrt(variance) * w
        return moved


class ConductanceNoise(AbstractLangevinChannel):
    r"""The diffusion on the whole Markov scheme, `model="conductance"`.

    The occupancy of each state of the (p + 1)(q + 1)-state scheme obeys the chemical
    Langevin equation: every pair of transitions i ⇄ j adds
    $\pm\sqrt{(r_{ij} x_i + r_{ji} x_j)/N}\,dW_{ij}$ to the two (Itô; R. F. Fox and Y. Lu,
    Phys. Rev. E 49 (1994) 3421-3431; with one noise per transition, so that no root of a
    matrix is needed: P. Orio and D. Soudry, PLoS ONE 7 (2012) e36670). For sodium and
    potassium of the squid axon this is the 14-dimensional model. At a voltage clamp the
    open fraction has the right mean, variance and autocovariance.

    The state holds the gates without noise, whose binomial occupancies are what the
    scheme's mean obeys at any V(t), and each occupancy's deviation from it (`"m2h1"` and
    so on, which sum to 0). Deviations are not cut off: an occupancy may be negative for
    a while, which keeps its mean right; a transition from such a state adds no noise.

    **Fields:** `shielding`: noise only on the transitions into and out of the open state,
    3 Brownian motions instead of 14 (stochastic shielding: N. T. Schmandt and R. F.
    Galán, Phys. Rev. Lett. 109 (2012) 118101). It leaves a part of the variance out.
    """

    shielding: bool = eqx.field(static=True, default=False)

    @property
    def _noisy_edges(self) -> list:
        return self.scheme.open_edges if self.shielding else self.scheme.edges

    @property
    def sources(self) -> int:
        return len(self._noisy_edges)

    def _split(self, gates: Gates) -> tuple[Gates, list[Array]]:
        """The gates without noise, and the deviations."""
        return {g: gates[g] for g, _ in self.scheme.gates}, [gates[name] for name in self.scheme.names]

    def _join(self, gates: Gates, deviations: list[Array]) -> Gates:
        return {**gates, **dict(zip(self.scheme.names, deviations))}

    def steady_state(self, V):
        return self._join(self.channel.steady_state(V), [jnp.zeros_like(V) for _ in self.scheme.states])

    def linear_form(self, V, gates):
        drive, rate = self.channel.linear_form(V)
        _, deviations = self._split(gates)
        inflow, outflow = self.scheme.linear_form(deviations, drive, rate)
        return self._join(drive, inflow), self._join(rate, outflow)

    def linear_current(self, V, gates):
        smooth, deviations = self._split(gates)
        drive, conductance = self.channel.linear_current(V, smooth)
        full_drive, full_conductance = self._fully_open(V)
        return drive + deviations[-1] * full_drive, conductance + deviations[-1] * full_conductance

    def occupancies(self, V, gates):
        smooth, deviations = self._split(gates)
        return dict(zip(self.scheme.names, map(jnp.add, self.scheme.product(smooth), deviations)))

    def _kick(self, drive: Gates, rate: Gates, smooth: Gates, deviations: list[Array], dW: Array) -> list:
        """What the noise of every transition adds to the occupancies."""
        x = [jnp.maximum(p + d, 0.0) for p, d in zip(self.scheme.product(smooth), deviations)]
        change = [jnp.zeros_like(d) for d in deviations]
        for e, w in zip(self._noisy_edges, dW):
            alpha, beta = drive[e.gate], closing_rate(drive[e.gate], rate[e.gate])
            flow = e.opening * alpha * x[e.source] + e.closing * beta * x[e.target]
            amount = sqrt(flow / self.count) * w
            change[e.target] = change[e.target] + amount
            change[e.source] = change[e.source] - amount
        return change

    def diffusion(self, V, gates, dW):
        drive, rate = self.channel.linear_form(V)
        smooth, deviations = self._split(gates)
        still = {g: jnp.zeros_like(x) for g, x in smooth.items()}
        return self._join(still, self._kick(drive, rate, smooth, deviations, dW))

    def move(self, V, gates, dt, dW):
        # Exact without noise: half a step, all the noise, half a step.
        drive, rate = self.channel.linear_form(V)
        smooth, deviations = self._split(gates)
        half = self.scheme.transitions(drive, rate, dt / 2)
        middle = {g: relax(x, drive[g], rate[g], dt / 2) for g, x in smooth.items()}
        deviations = self.scheme.propagate(deviations, half)
        kick = self._kick(drive, rate, middle, deviations, dW)
        deviations = self.scheme.propagate(map(jnp.add, deviations, kick), half)
        return self._join({g: relax(x, drive[g], rate[g], dt) for g, x in smooth.items()}, deviations)


class OUConductanceNoise(AbstractLangevinChannel):
    r"""Ornstein-Uhlenbeck processes added to the open fraction, `model="ou_conductance"`.

    At a constant V the autocovariance of the open fraction is a sum of exponentials, one
    for each combination of i subunits of one gate, j of another: rate $i/\tau_m +
    j/\tau_h$ and variance $\frac{1}{N}\prod_x \binom{p}{i} x_\infty^{2p-i}
    (1 - x_\infty)^i$. One process for each of them (7 and 4 for the squid axon), with the
    values at the present V, is added to the deterministic Π xᵖ (D. Linaro, M. Storace
    and M. Giugliano, PLoS Comput. Biol. 7 (2011) e1001102). Right at a voltage clamp by
    construction. The noise does not depend on its own state, so nothing needs a
    boundary; the open fraction may be negative for a while.
    """

    @property
    def _modes(self) -> list[tuple[int, ...]]:
        return self.scheme.states[1:]

    @property
    def _mode_names(self) -> list[str]:
        return self.scheme.names[1:]

    @property
    def sources(self) -> int:
        return len(self._modes)

    def steady_state(self, V):
        return {**self.channel.steady_state(V), **{name: jnp.zeros_like(V) for name in self._mode_names}}

    def _rates(self, rate: Gates) -> list[Array]:
        """The rate (1/ms) of every process."""
        return [sum(k * rate[g] for (g, _), k in zip(self.scheme.gates, mode)) for mode in self._modes]

    def _variances(self, drive: Gates, rate: Gates) -> list[Array]:
        """The stationary variance of every process."""
        variances = []
        for mode in self._modes:
            variance = 1 / self.count
            for (g, p), k in zip(self.scheme.gates, mode):
                x = drive[g] / rate[g]
                closed = jnp.maximum(1 - x, 0.0)
                variance = variance * (math.comb(p, k) * jax.lax.integer_pow(x, 2 * p - k))
                variance = variance * (jax.lax.integer_pow(closed, k) if k else 1.0)
            variances.append(variance)
        return variances

    def linear_form(self, V, gates):
        drive, rate = self.channel.linear_form(V)
        drives = {name: jnp.zeros_like(V) for name in self._mode_names}
        return {**drive, **drives}, {**rate, **dict(zip(self._mode_names, self._rates(rate)))}

    def _fluctuation(self, gates: Gates) -> Array:
        return sum(gates[name] for name in self._mode_names)

    def linear_current(self, V, gates):
        smooth = {g: gates[g] for g, _ in self.scheme.gates}
        drive, conductance = self.channel.linear_current(V, smooth)
        full_drive, full_conductance = self._fully_open(V)
        fluctuation = self._fluctuation(gates)
        return drive + fluctuation * full_drive, conductance + fluctuation * full_conductance

    def occupancies(self, V, gates):
        raise ValueError("model='ou_conductance' follows the open fraction alone, not the other states.")

    def open_fraction(self, V, gates):
        return self.scheme.product(gates)[-1] + self._fluctuation(gates)

    def diffusion(self, V, gates, dW):
        drive, rate = self.channel.linear_form(V)
        change = {g: jnp.zeros_like(gates[g]) for g, _ in self.scheme.gates}
        rows = zip(self._mode_names, self._rates(rate), self._variances(drive, rate), dW)
        return {**change, **{name: sqrt(2 * a * variance) * w for name, a, variance, w in rows}}

    def move(self, V, gates, dt, dW):
        drive, rate = self.channel.linear_form(V)
        moved = {g: relax(gates[g], drive[g], rate[g], dt) for g, _ in self.scheme.gates}
        rows = zip(self._mode_names, self._rates(rate), self._variances(drive, rate), dW)
        for name, a, variance, w in rows:
            gained = sqrt(2 * a * variance * exprel(-2 * a * dt)) * w
            moved[name] = gates[name] * jnp.exp(-a * dt) + gained
        return moved


def _confined(gates: Gates) -> Gates:
    return {g: jnp.clip(x, 0.0, 1.0) for g, x in gates.items()}
