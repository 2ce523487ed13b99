"""The channel protocol: a conductance, a reversal potential, gates and their rates."""

import abc
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from .._base.parameters import param, Parameter


class AlphaBeta(NamedTuple):
    """Kinetics of one gate by its opening and closing rates: dx/dt = α(1 − x) − βx.

    `alpha`, `beta`: 1/ms, the shape of V.
    """

    alpha: Array
    beta: Array

    @property
    def inf(self) -> Array:
        """Steady state α/(α + β)."""
        return self.alpha / (self.alpha + self.beta)

    @property
    def tau(self) -> Array:
        """Time constant 1/(α + β), in ms."""
        return 1 / (self.alpha + self.beta)

    def linear_form(self, factor: Array | float) -> tuple[Array, Array]:
        """(drive, rate) of dx/dt = drive − rate·x, both sped up by `factor`."""
        return factor * self.alpha, factor * (self.alpha + self.beta)


class InfTau(NamedTuple):
    """Kinetics of one gate by its steady state and time constant: dx/dt = (inf − x)/tau.

    `inf`: in [0, 1]; `tau`: ms; both the shape of V.
    """

    inf: Array
    tau: Array

    @property
    def alpha(self) -> Array:
        """Opening rate inf/tau, in 1/ms."""
        return self.inf / self.tau

    @property
    def beta(self) -> Array:
        """Closing rate (1 − inf)/tau, in 1/ms."""
        return (1 - self.inf) / self.tau

    def linear_form(self, factor: Array | float) -> tuple[Array, Array]:
        """(drive, rate) of dx/dt = drive − rate·x, both sped up by `factor`."""
        rate = factor / self.tau
        return self.inf * rate, rate


class Instantaneous(NamedTuple):
    """A gate without a state of its own: x = inf(V) at every moment.

    `inf`: in [0, 1], the shape of V.
    """

    inf: Array


Kinetics = AlphaBeta | InfTau | Instantaneous


def q10(celsius: Array | float, reference: float, q10: float = 3.0) -> Array | float:
    """The factor q10^((celsius − reference)/10) by which warmth speeds a rate up.

    **Arguments:** `celsius`, `reference`: °C; `q10`: dimensionless, the factor for 10 °C.

    **Returns:** dimensionless.
    """
    return q10 ** ((celsius - reference) / 10)


class Channel(eqx.Module):
    r"""A population of ion channels in a membrane.

    Its current is $I = g\,\prod_x x^{p_x}\,(V - E)$ in µA/cm², and each gate obeys a
    first-order equation whose rates depend on V. State the gates with their exponents
    in `gates` and their kinetics in `rates`; everything else (the state variables, the
    steady state, the current, every solver) follows from those two:

    ```python
    class SlowPotassium(hh.Channel):
        gates = {"p": 1}

        def rates(self, V):
            inf = jax.nn.sigmoid((V + 35) / 10)
            tau = 1000 / (3.3 * jnp.exp((V + 35) / 20) + jnp.exp(-(V + 35) / 20))
            return {"p": hh.InfTau(inf, tau)}

    neuron = hh.Neuron({**hh.squid_axon().channels, "m": SlowPotassium(g=0.07, E=-90.0)})
    ```

    **Fields:**

    - `g`: maximal conductance, mS/cm², scalar or one per neuron.
    - `E`: reversal potential, mV, scalar or one per neuron.

    Declare further parameters with [`hh.param`][]. Override `temperature_factor` to
    speed the rates up with temperature. A channel that senses calcium has a parameter
    `calcium` and names in `pool` the [`hh.CalciumPool`][] that sets it.
    """

    g: Parameter = param(unit="mS/cm²", minimum=0.0)
    E: Parameter = param(unit="mV")

    gates: ClassVar[Mapping[str, int]] = {}
    pool: ClassVar[str | None] = None
    """The pool of the neuron whose concentration a field `calcium` (mM) takes, if any."""

    @abc.abstractmethod
    def rates(self, V: Float[ArrayLike, "*s"]) -> Mapping[str, Kinetics]:
        """The kinetics of every gate named in `gates` at membrane potential V (mV)."""

    def temperature_factor(self) -> Array | float:
        """The dimensionless factor on the rates of all gates that have a state."""
        return 1.0

    def linear_form(self, V: Float[ArrayLike, "*s"]) -> tuple[dict[str, Array], dict[str, Array]]:
        """(drive, rate), in 1/ms, of dx/dt = drive − rate·x for each gate with a state."""
        factor = self.temperature_factor()
        forms = {
            gate: kinetics.linear_form(factor)
            for gate, kinetics in self.rates(V).items()
            if not isinstance(kinetics, Instantaneous)
        }
        return {k: f[0] for k, f in forms.items()}, {k: f[1] for k, f in forms.items()}

    def steady_state(self, V: Float[ArrayLike, "*s"]) -> dict[str, Array]:
        """The value at which each gate with a state rests at V (mV), in [0, 1]."""
        return {
            gate: jnp.broadcast_to(kinetics.inf, jnp.shape(V))
            for gate, kinetics in self.rates(V).items()
            if not isinstance(kinetics, Instantaneous)
        }

    def open_fraction(self, V: Float[ArrayLike, "*s"], gates: dict[str, Array]) -> Array | float:
        """The fraction Π xᵖ of channels that are open, given V (mV) and the gates."""
        fraction = 1.0
        rates = {} if set(self.gates) <= set(gates) else self.rates(V)
        for gate, exponent in self.gates.items():
            kinetics = rates.get(gate)
            x = kinetics.inf if isinstance(kinetics, Instantaneous) else gates[gate]
            fraction = fraction * x**exponent
        return fraction

    def linear_current(self, V: Float[ArrayLike, "*s"], gates: dict[str, Array]) -> tuple[Array, Array]:
        """The current as I = conductance·V − drive, as (drive µA/cm², conductance mS/cm²)."""
        conductance = self.g * self.open_fraction(V, gates)
        return conductance * self.E, conductance

    def current(self, V: Float[ArrayLike, "*s"], gates: dict[str, Array]) -> Array:
        """The ionic current in µA/cm², outward positive, at V (mV)."""
        drive, conductance = self.linear_current(V, gates)
        return conductance * V - drive

    @property
    def has_instantaneous_gates(self) -> bool:
        """Whether the conductance depends on V directly, not through a state alone."""
        return any(isinstance(k, Instantaneous) for k in self._rate_shapes().values())

    def _rate_shapes(self) -> dict[str, Any]:
        if not self.gates:
            return {}
        V = jax.ShapeDtypeStruct((), self.g.dtype)
        return eqx.filter_eval_shape(lambda channel, V: channel.rates(V), self, V)

    def __check_init__(self) -> None:
        name = type(self).__name__
        for gate, exponent in self.gates.items():
            if not isinstance(exponent, int) or exponent < 1:
                raise ValueError(
                    f"`{name}.gates[{gate!r}]` must be a whole exponent of at least 1, got {exponent!r}."
                )
        rates = self._rate_shapes()
        if set(rates) != set(self.gates):
            raise ValueError(
                f"`{name}.rates` must return one entry for each of the gates "
                f"{sorted(self.gates)}, got {sorted(rates)}."
            )
        for gate, kinetics in rates.items():
            if not isinstance(kinetics, Kinetics):
                raise TypeError(
                    f"`{name}.rates` must give gate {gate!r} as hh.AlphaBeta(alpha, beta), "
                    f"hh.InfTau(inf, tau) or hh.Instantaneous(inf), got {kinetics!r}."
                )
