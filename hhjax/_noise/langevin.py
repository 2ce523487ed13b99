"""Channel noise as a diffusion: on the gates, on the Markov scheme, on the conductance."""

import math
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array

from .._base.math import exprel, relax
from ..channels._channel import NO_IONS
from .channels import AbstractLangevinChannel, closing_rate, Gates, power, sqrt


class SubunitNoise(AbstractLangevinChannel):
    r"""Noise on each gate by itself, `model="subunit"`.

    $dx = (\alpha(1 - x) - \beta x)\,dt + \sqrt{(\alpha(1 - x) + \beta x)/N}\,dW$ (Itô; R. F.
    Fox, Biophys. J. 72 (1997) 2068-2074). It lets the subunits of all channels move as one. That is
    cheap and wrong: for the squid axon at −65 mV the variance of the open fraction is 1/70 of the
    true one for sodium and 1/3 for potassium. Take `"conductance"` unless you reproduce published work.

    A gate may leave [0, 1] by about 1/√N; it then counts as 0 or 1 wherever it is used.
    """

    @property
    def sources(self) -> int:
        return len(self.scheme.gates)

    def steady_state(self, V, ions=NO_IONS):
        return self.channel.steady_state(V, ions)

    def linear_form(self, V, gates, ions=NO_IONS):
        return self.channel.linear_form(V, gates, ions)

    def linear_current(self, V, gates, ions=NO_IONS):
        return self.channel.linear_current(V, _confined(gates), ions)

    def occupancies(self, V, gates):
        return dict(zip(self.scheme.names, self.scheme.product(_confined(gates))))

    def _intensity(self, drive: Array, rate: Array, x: Array) -> Array:
        """(α(1 − x) + βx)/N, the variance that builds up in a ms."""
        return (drive * (1 - x) + closing_rate(drive, rate) * x) / self.count

    def diffusion(self, V, gates, ions, dW):
        drive, rate = self.linear_form(V, gates, ions)
        inside = _confined(gates)
        return {
            g: sqrt(self._intensity(drive[g], rate[g], inside[g])) * w
            for (g, _), w in zip(self.scheme.gates, dW)
        }

    def move(self, V, gates, ions, dt, dW):
        drive, rate = self.linear_form(V, gates, ions)
        inside = _confined(gates)
        moved = {}
        for (g, _), w in zip(self.scheme.gates, dW):
            variance = self._intensity(drive[g], rate[g], inside[g]) * exprel(-2 * dt * rate[g])
            moved[g] = relax(gates[g], drive[g], rate[g], dt) + sqrt(variance) * w
        return moved


class ConductanceNoise(AbstractLangevinChannel):
    r"""The diffusion on the whole Markov scheme, `model="conductance"`.

    Every pair of transitions i ⇄ j of the (p + 1)(q + 1)-state scheme adds
    $\pm\sqrt{(r_{ij} \bar x_i + r_{ji} \bar x_j)/N}\,dW_{ij}$ to the occupancies of the two
    states (Itô; R. F. Fox and Y. Lu, Phys. Rev. E 49 (1994) 3421-3431; with one noise per
    transition, so that no root of a matrix is needed: P. Orio and D. Soudry, PLoS ONE 7
    (2012) e36670). For sodium and potassium of the squid axon this is the 14-dimensional
    model. The flows are those of the mean occupancies $\bar x$ at the V(t) so far (the
    expansion in 1/N of N. G. van Kampen, Can. J. Phys. 39 (1961) 551-567), which are
    never negative. So nothing needs a boundary, and at a voltage clamp the open fraction
    has the right mean, variance and autocovariance for any N; it may itself be negative
    for a while. Rate of an axon at rest with 600 sodium channels:

    | model | Hz |
    |---|---|
    | Markov chain | 39.0 |
    | this one | 39.2 |
    | the same with flows of the fluctuating occupancies, cut off at 0 | 40.4 |

    The state holds the gates without noise, which give the mean, and deviations from it:
    `"m2h1"`, for example, is by how much the fraction of channels that have two given m
    subunits and h open exceeds m²h, so that `"m3h1"` is the deviation of the open fraction.
    `occupancies` turns them into those of the states.

    **Fields:** `shielding`: noise only on the transitions into and out of the open state,
    3 Brownian motions instead of 14 (stochastic shielding: N. T. Schmandt and R. F.
    Galán, Phys. Rev. Lett. 109 (2012) 118101). At a clamp to −40 mV the variance of the
    open fraction is then some 10 to 15 % too small.
    """

    shielding: bool = eqx.field(static=True, default=False)

    @property
    def _noisy_edges(self) -> list:
        return self.scheme.open_edges if self.shielding else self.scheme.edges

    @property
    def sources(self) -> int:
        return len(self._noisy_edges)

    def _split(self, gates: Gates) -> tuple[Gates, list[Array]]:
        """The gates without noise, and the deviations, from that of no subunit (always 0) on."""
        smooth = {g: gates[g] for g, _ in self.scheme.gates}
        deviations = [gates[name] for name in self.scheme.names[1:]]
        return smooth, [jnp.zeros_like(deviations[0]), *deviations]

    def _join(self, smooth: Gates, deviations: list[Array]) -> Gates:
        return {**smooth, **dict(zip(self.scheme.names[1:], deviations[1:]))}

    def steady_state(self, V, ions=NO_IONS):
        return self._join(self.channel.steady_state(V, ions), [jnp.zeros_like(V) for _ in self.scheme.states])

    def linear_form(self, V, gates, ions=NO_IONS):
        drive, rate = self.channel.linear_form(V, gates, ions)
        _, deviations = self._split(gates)
        drives, rates = self.scheme.linear_form(deviations, drive, rate)
        return self._join(drive, drives), self._join(rate, rates)

    def linear_current(self, V, gates, ions=NO_IONS):
        smooth, deviations = self._split(gates)
        drive, conductance = self.channel.linear_current(V, smooth, ions)
        full_drive, full_conductance = self._fully_open(V, ions)
        return drive + deviations[-1] * full_drive, conductance + deviations[-1] * full_conductance

    def occupancies(self, V, gates):
        smooth, deviations = self._split(gates)
        means, deviations = self.scheme.product(smooth), self.scheme.occupancies(deviations)
        return dict(zip(self.scheme.names, map(jnp.add, means, deviations)))

    def _kick(self, drive: Gates, rate: Gates, smooth: Gates, dW: Array) -> list[Array]:
        """What the noise of every transition adds to the deviations."""
        scheme = self.scheme
        # The flow both ways along an edge is a product of powers of x, 1 − x and
        # α(1 − x) + βx, and so is its root.
        opened = {g: sqrt(x) for g, x in smooth.items()}
        closed = {g: sqrt(1 - x) for g, x in smooth.items()}
        count = jnp.minimum(self.count, 1e30)  # infinitely many make no noise
        per_subunit = {
            g: sqrt((drive[g] * (1 - x) + closing_rate(drive[g], rate[g]) * x) * count)
            for g, x in smooth.items()
        }
        change = [jnp.zeros_like(smooth[scheme.gates[0][0]])] * len(scheme.states)
        for e, w in zip(self._noisy_edges, dW):
            amount, ways = per_subunit[e.gate] * w, 1
            for (g, p), k in zip(scheme.gates, scheme.states[e.source]):
                ways *= math.comb(p, k) * (e.opening if g == e.gate else 1)
                amount = amount * power(opened[g], k) * power(closed[g], p - k - (g == e.gate))
            # It ends in a division: XLA recomputes other expressions for each deviation.
            amount = math.sqrt(ways) * amount / self.count
            for i, weight in scheme.joint_change(e):
                change[i] = change[i] + weight * amount
        return change

    def diffusion(self, V, gates, ions, dW):
        drive, rate = self.channel.linear_form(V, gates, ions)
        smooth, _ = self._split(gates)
        still = {g: jnp.zeros_like(x) for g, x in smooth.items()}
        return self._join(still, self._kick(drive, rate, smooth, dW))

    def move(self, V, gates, ions, dt, dW):
        # Exact without noise: half a step, all the noise, half a step.
        drive, rate = self.channel.linear_form(V, gates, ions)
        smooth, deviations = self._split(gates)
        half = dt / 2
        weights = {g: half * exprel(-half * a) for g, a in rate.items()}
        keeps = {g: 1 - a * weights[g] for g, a in rate.items()}
        opens = {g: b * weights[g] for g, b in drive.items()}
        middle = {g: opens[g] + keeps[g] * x for g, x in smooth.items()}
        whole = {g: opens[g] * (1 + keeps[g]) for g in rate}, {g: keeps[g] ** 2 for g in rate}
        kick = self.scheme.propagate(self._kick(drive, rate, middle, dW), opens, keeps)
        deviations = list(map(jnp.add, self.scheme.propagate(deviations, *whole), kick))
        return self._join({g: relax(x, drive[g], rate[g], dt) for g, x in smooth.items()}, deviations)


class OUConductanceNoise(AbstractLangevinChannel):
    r"""Ornstein-Uhlenbeck processes added to the open fraction, `model="ou_conductance"`.

    At a constant V the autocovariance of the open fraction is a sum of exponentials, one
    for each combination of i subunits of one gate, j of another: rate $i/\tau_m +
    j/\tau_h$ and variance $\frac{1}{N}\prod_x \binom{p}{i} x_\infty^{2p-i}
    (1 - x_\infty)^i$. One process for each of them (7 and 4 for the squid axon), with the
    values at the present V, is added to the deterministic Π xᵖ (D. Linaro, M. Storace
    and M. Giugliano, PLoS Comput. Biol. 7 (2011) e1001102). Right at a voltage clamp by
    construction. The processes need no boundary; the conductance is that of the open fraction cut off
    at 0 and 1. An axon at rest with 600 sodium channels then fires at 40.1 Hz, without the cut at
    37.4 Hz, as a Markov chain at 39.0 Hz.
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

    def steady_state(self, V, ions=NO_IONS):
        return {
            **self.channel.steady_state(V, ions),
            **{name: jnp.zeros_like(V) for name in self._mode_names},
        }

    def _rates(self, rate: Gates) -> list[Any]:
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
                variance = variance * math.comb(p, k) * power(x, 2 * p - k) * power(closed, k)
            variances.append(variance)
        return variances

    def linear_form(self, V, gates, ions=NO_IONS):
        drive, rate = self.channel.linear_form(V, gates, ions)
        drives = {name: jnp.zeros_like(V) for name in self._mode_names}
        return {**drive, **drives}, {**rate, **dict(zip(self._mode_names, self._rates(rate)))}

    def _fluctuation(self, gates: Gates) -> Any:
        return sum(gates[name] for name in self._mode_names)

    def linear_current(self, V, gates, ions=NO_IONS):
        # The deterministic current plus that of the noise: without noise it is exactly the first.
        smooth = {g: gates[g] for g, _ in self.scheme.gates}
        mean = self.scheme.product(smooth)[-1]
        fluctuation = jnp.clip(self._fluctuation(gates), -mean, 1 - mean)
        drive, conductance = self.channel.linear_current(V, smooth, ions)
        full_drive, full_conductance = self._fully_open(V, ions)
        return drive + fluctuation * full_drive, conductance + fluctuation * full_conductance

    def occupancies(self, V, gates):
        raise ValueError("model='ou_conductance' follows the open fraction alone, not the other states.")

    def open_fraction(self, V, gates):
        return self.scheme.product(gates)[-1] + self._fluctuation(gates)

    def diffusion(self, V, gates, ions, dW):
        drive, rate = self.channel.linear_form(V, gates, ions)
        change = {g: jnp.zeros_like(gates[g]) for g, _ in self.scheme.gates}
        rows = zip(self._mode_names, self._rates(rate), self._variances(drive, rate), dW)
        return {**change, **{name: sqrt(2 * a * variance) * w for name, a, variance, w in rows}}

    def move(self, V, gates, ions, dt, dW):
        drive, rate = self.channel.linear_form(V, gates, ions)
        moved = {g: relax(gates[g], drive[g], rate[g], dt) for g, _ in self.scheme.gates}
        keeps = {g: jnp.exp(-dt * rate[g]) for g, _ in self.scheme.gates}
        rows = zip(self._modes, self._mode_names, self._rates(rate), self._variances(drive, rate), dW)
        for mode, name, a, variance, w in rows:
            keep = math.prod(power(keeps[g], k) for (g, _), k in zip(self.scheme.gates, mode))
            moved[name] = gates[name] * keep + sqrt(variance * 2 * a * exprel(-2 * dt * a)) * w
        return moved


def _confined(gates: Gates) -> Gates:
    return {g: jnp.clip(x, 0.0, 1.0) for g, x in gates.items()}
