"""The channel protocol, and the channel that most papers have: conductance, gates, rates."""

import abc
import types
from collections.abc import Mapping
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from .._base.math import once, relax_by
from .._base.parameters import Checked, OptionalParameter, param, Parameter, settle
from .._base.renames import reads
from ._ion import Ion, Ions
from ._kinetics import Instantaneous, Kinetics

States = dict[str, Array]
"""The states of a channel by name, each of the shape of V."""


NO_IONS: Ions = types.MappingProxyType({})


def ion_of(channel: Any, name: str, ions: Ions) -> Ion:
    """The ion of that name, which a channel needs."""
    if name not in ions:
        raise ValueError(
            f"{type(channel).__name__} needs the ion {name!r}, got {sorted(ions)}: give `ions`, or in the "
            "channel's place a neuron that has the ion, and the channel's name."
        )
    return ions[name]


_RENAMED = {"pool": "senses", "has_instantaneous_gates": "conductance_depends_on_V"}


@reads(**_RENAMED)
class AbstractChannel(Checked):
    """A population of ion channels in a membrane: its states, and the current that they make.

    Every state x obeys dx/dt = drive − rate·x. Most channels are an [`hh.Channel`][], whose gates
    are independent; [`hh.MarkovChannel`][] has states that turn into each other, [`hh.GHKChannel`][]
    a current that is not Ohmic.

    A channel senses the ions named in `senses`: their concentrations enter its rates.

    In all methods `V` is in mV, and `states` and `ions` are what the channel is in: its states by
    name, of the shape of V, and the neuron's [`hh.Ion`][]s by name, with `inside` as it is now.
    """

    senses: ClassVar[tuple[str, ...]] = ()
    """The ions of the neuron whose concentrations act on the rates."""

    @abc.abstractmethod
    def linear_form(
        self, V: Float[ArrayLike, "*s"], states: States, ions: Ions = NO_IONS
    ) -> tuple[States, States]:
        """(drive, rate), in 1/ms, of dx/dt = drive − rate·x for each state x."""

    @abc.abstractmethod
    def linear_current(
        self, V: Float[ArrayLike, "*s"], states: States, ions: Ions = NO_IONS
    ) -> tuple[Array, Array]:
        """The current as I = conductance·V − drive, as (drive µA/cm², conductance mS/cm²).

        Of a current that is not linear in V, the tangent at V.
        """

    @abc.abstractmethod
    def steady_state(self, V: Float[ArrayLike, "*s"], ions: Ions = NO_IONS) -> States:
        """The states at rest at V."""

    def flow(self, V: Float[ArrayLike, "*s"], states: States, ions: Ions, dt: Array) -> States:
        """The states after `dt` (ms) with V and ions held: each by itself, exactly."""
        drive, rate = once(self.linear_form(V, states, ions))
        return {name: relax_by(x, (drive[name], rate[name]), dt) for name, x in states.items()}

    def current(self, V: Float[ArrayLike, "*s"], states: States, ions: Ions = NO_IONS) -> Array:
        """The ionic current in µA/cm², outward positive."""
        drive, conductance = self.linear_current(V, states, ions)
        return conductance * V - drive

    @property
    def conductance_depends_on_V(self) -> bool:
        """Whether the conductance depends on V directly, not through a state alone."""
        return False

    @property
    def states_are_independent(self) -> bool:
        """Whether at fixed V no state acts on another."""
        return True

    @property
    def carries(self) -> str | None:
        """The ion of which the current is by its nature, by name."""
        return None

    def sensed(self, ions: Ions) -> list[Array]:
        """The concentrations (mM) of the ions in `senses`."""
        return [ion_of(self, name, ions).inside for name in self.senses]

    def _check_made(self) -> None:
        if isinstance(self.senses, str):
            raise TypeError(f"`{type(self).__name__}.senses` must be a tuple of names, got {self.senses!r}.")
        for old, new in _RENAMED.items():
            if getattr(type(self), old) is not getattr(AbstractChannel, old):
                raise TypeError(f"`{old}` of a channel is now `{new}`: rename it in {type(self).__name__}.")


class AbstractGatedChannel(AbstractChannel):
    """A channel with independent gates, open with probability Π xᵖ."""

    gates: ClassVar[Mapping[str, int]] = {}
    """The exponent p of each gate x."""

    @abc.abstractmethod
    def rates(self, V: Float[ArrayLike, "*s"]) -> Mapping[str, Kinetics]:
        """The kinetics of every gate named in `gates` at membrane potential V (mV).

        After V come the concentrations (mM) of the ions in `senses`.
        """

    def temperature_factor(self) -> Array | float:
        """The dimensionless factor on the rates of all gates that have a state."""
        return 1.0

    def kinetics(self, V: Float[ArrayLike, "*s"], ions: Ions = NO_IONS) -> Mapping[str, Kinetics]:
        """The `rates` at V and the concentrations of the sensed ions."""
        return self.rates(V, *self.sensed(ions))

    def linear_form(
        self, V: Float[ArrayLike, "*s"], states: States | None = None, ions: Ions = NO_IONS
    ) -> tuple[States, States]:
        """(drive, rate), in 1/ms, of dx/dt = drive − rate·x for each gate with a state."""
        factor = settle(self).temperature_factor()
        forms = {
            gate: kinetics.linear_form(factor)
            for gate, kinetics in self.kinetics(V, ions).items()
            if not isinstance(kinetics, Instantaneous)
        }
        return {k: f[0] for k, f in forms.items()}, {k: f[1] for k, f in forms.items()}

    def steady_state(self, V: Float[ArrayLike, "*s"], ions: Ions = NO_IONS) -> States:
        """The value at which each gate with a state rests at V (mV), in [0, 1]."""
        return {
            gate: jnp.broadcast_to(kinetics.inf, jnp.shape(V))
            for gate, kinetics in self.kinetics(V, ions).items()
            if not isinstance(kinetics, Instantaneous)
        }

    def open_fraction(self, V: Float[ArrayLike, "*s"], states: States, ions: Ions = NO_IONS) -> Array | float:
        """The fraction Π xᵖ of channels that are open, given V (mV) and the gates."""
        fraction = 1.0
        kinetics = {} if set(self.gates) <= set(states) else self.kinetics(V, ions)
        for gate, exponent in self.gates.items():
            at_once = kinetics.get(gate)
            x = at_once.inf if isinstance(at_once, Instantaneous) else states[gate]
            fraction = fraction * x**exponent
        return fraction

    @property
    def conductance_depends_on_V(self) -> bool:
        return any(isinstance(k, Instantaneous) for k in self.rate_shapes().values())

    def rate_shapes(self) -> dict[str, Any]:
        """The kinetics of every gate, as shapes alone."""
        if not self.gates:
            return {}
        V = jax.ShapeDtypeStruct((), jnp.result_type(float))
        sensed = [V for _ in self.senses]
        return eqx.filter_eval_shape(lambda channel, *at: channel.rates(*at), self, V, *sensed)

    def _check_made(self) -> None:
        super()._check_made()
        name = type(self).__name__
        for gate, exponent in self.gates.items():
            if not isinstance(exponent, int) or exponent < 1:
                raise ValueError(
                    f"`{name}.gates[{gate!r}]` must be a whole exponent of at least 1, got {exponent!r}."
                )
        rates = self.rate_shapes()
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


class AbstractOhmicChannel(AbstractChannel):
    """A conductance in series with a battery: I = g·(open fraction)·(V − E)."""

    g: eqx.AbstractVar[Parameter]
    E: eqx.AbstractVar[OptionalParameter]

    @abc.abstractmethod
    def open_fraction(self, V: Float[ArrayLike, "*s"], states: States, ions: Ions = NO_IONS) -> Array | float:
        """The fraction of channels that are open."""

    def linear_current(
        self, V: Float[ArrayLike, "*s"], states: States, ions: Ions = NO_IONS
    ) -> tuple[Array, Array]:
        """The current as I = conductance·V − drive, as (drive µA/cm², conductance mS/cm²)."""
        E = settle(self).E
        if E is None:
            raise ValueError(f"`E` of {type(self).__name__} must be given (mV), got None.")
        conductance = self.g * self.open_fraction(V, states, ions)
        return conductance * E, conductance


class Channel(AbstractGatedChannel, AbstractOhmicChannel):
    r"""A population of ion channels with a conductance, a reversal potential and gates.

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
    - `E`: reversal potential, mV, scalar or one per neuron; `None` where an [`hh.Ion`][] sets it.

    Declare further parameters with [`hh.param`][]. Override `temperature_factor` to
    speed the rates up with temperature. A channel that senses ions names them in `senses`; its
    `rates` take their concentrations after V: `senses = ("ca",)`, `def rates(self, V, ca)`.
    """

    g: Parameter = param(unit="mS/cm²", minimum=0.0)
    E: OptionalParameter = param(None, unit="mV")
