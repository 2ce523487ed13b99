"""Channels whose states turn into each other."""

import abc
from collections.abc import Mapping
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from .._base.parameters import OptionalParameter, param, Parameter, settle
from .._base.rational import exp_times
from ._channel import AbstractOhmicChannel, NO_IONS, States
from ._ion import Ions


class MarkovChannel(AbstractOhmicChannel):
    r"""A population of channels, each of which is in one of several states and jumps between them.

    The occupancies p obey $\dot p_i = \sum_j r_{ji} p_j - p_i \sum_j r_{ij}$, the current is
    $g\,(V - E)\sum p_{open}$. State the `states`, which of them are `open`, and the rates r of
    the transitions that there are:

    ```python
    class ThreeStates(hh.MarkovChannel):
        states = ("closed", "open", "inactivated")
        open = ("open",)

        def transitions(self, V):
            opening = jnp.exp((V + 30) / 10)
            return {
                ("closed", "open"): opening,
                ("open", "closed"): jnp.exp(-(V + 60) / 20),
                ("open", "inactivated"): 0.5,
                ("inactivated", "closed"): 0.1 * jax.nn.sigmoid(-(V + 70) / 5),
            }
    ```

    `flow` is the exponential of the matrix of rates, by its [3/4] Padé approximant in two halves. It
    keeps the sum of the occupancies at 1 and is exact to order 7. With real eigenvalues, as in detailed
    balance, it is off by 0.003 at most, whatever dt.

    **Fields:**

    - `g`: conductance with all channels open, mS/cm², scalar or one per neuron.
    - `E`: reversal potential, mV, scalar or one per neuron; `None` where an [`hh.Ion`][] sets it.

    Parameters, `temperature_factor` and `senses` are as those of a [`hh.Channel`][].
    """

    g: Parameter = param(unit="mS/cm²", minimum=0.0)
    E: OptionalParameter = param(None, unit="mV")

    states: ClassVar[tuple[str, ...]] = ()
    """The names of the states."""
    open: ClassVar[tuple[str, ...]] = ()
    """Those that conduct."""

    @abc.abstractmethod
    def transitions(self, V: Float[ArrayLike, "*s"]) -> Mapping[tuple[str, str], Any]:
        """The rates (1/ms) of the transitions by (from, to), at V (mV).

        After V come the concentrations (mM) of the ions in `senses`.
        """

    def temperature_factor(self) -> Array | float:
        """The dimensionless factor on all rates."""
        return 1.0

    def rate_between(
        self, V: Float[ArrayLike, "*s"], ions: Ions = NO_IONS
    ) -> dict[tuple[int, int], Float[Array, "*s"]]:
        """The rates (1/ms) by the numbers of the states, at the neuron's temperature."""
        factor = settle(self).temperature_factor()
        rates = self.transitions(V, *self.sensed(ions))
        between = lambda i, j: factor * rates[self.states[i], self.states[j]]
        return {ends: jnp.broadcast_to(between(*ends), jnp.shape(V)) for ends in self.ends}

    @property
    def ends(self) -> list[tuple[int, int]]:
        """The numbers of the states, from and to, of every transition."""
        return sorted((self.states.index(i), self.states.index(j)) for i, j in self._rate_shapes())

    def _rate_shapes(self) -> dict[tuple[str, str], Any]:
        V = jax.ShapeDtypeStruct((), jnp.result_type(float))
        sensed = [V for _ in self.senses]
        return eqx.filter_eval_shape(lambda channel, *at: channel.transitions(*at), self, V, *sensed)

    def linear_form(
        self, V: Float[ArrayLike, "*s"], states: States, ions: Ions = NO_IONS
    ) -> tuple[States, States]:
        """(drive, rate): what comes in from other states, and the sum of rates that lead out."""
        drive = {name: jnp.zeros_like(x) for name, x in states.items()}
        rate = dict(drive)
        for (i, j), r in self.rate_between(V, ions).items():
            source, target = self.states[i], self.states[j]
            drive[target] = drive[target] + r * states[source]
            rate[source] = rate[source] + r
        return drive, rate

    def flow(self, V: Float[ArrayLike, "*s"], states: States, ions: Ions, dt: Array) -> States:
        return self.whole(self.propagate(V, [states[name] for name in self.states], ions, dt))

    def whole(self, p: list[Array]) -> States:
        """The occupancies by name, brought back to a sum of 1."""
        total = sum(p)
        return {name: x / total for name, x in zip(self.states, p)}

    def propagate(self, V: Float[ArrayLike, "*s"], p: list[Array], ions: Ions, dt: Array) -> list[Array]:
        """e^(dt·Q) p for the matrix Q of rates, in the order of `states`."""
        matrix: dict[tuple[int, int], Array] = {}
        for (i, j), r in self.rate_between(V, ions).items():
            matrix[j, i] = dt * r
            matrix[i, i] = matrix[i, i] - dt * r if (i, i) in matrix else -dt * r
        return exp_times(matrix, p)

    def steady_state(self, V: Float[ArrayLike, "*s"], ions: Ions = NO_IONS) -> States:
        count, V = len(self.states), jnp.asarray(V)
        matrix = jnp.zeros((*V.shape, count, count), V.dtype)
        for (i, j), r in self.rate_between(V, ions).items():
            matrix = matrix.at[..., j, i].add(r).at[..., i, i].add(-r)
        # The columns add up to 0, so that one equation is for the sum of the occupancies.
        matrix = matrix.at[..., -1, :].set(1.0)
        whole = jnp.zeros((*V.shape, count), V.dtype).at[..., -1].set(1.0)
        p = jnp.linalg.solve(matrix, whole[..., None])[..., 0]
        return {name: p[..., k] for k, name in enumerate(self.states)}

    def open_fraction(self, V: Float[ArrayLike, "*s"], states: States, ions: Ions = NO_IONS) -> Array:
        return sum(states[name] for name in self.open)  # pyright: ignore[reportReturnType]

    @property
    def states_are_independent(self) -> bool:
        return False

    def _check_made(self) -> None:
        super()._check_made()
        kind, known = type(self).__name__, self.states
        if isinstance(known, str) or len(known) < 2 or len(set(known)) < len(known):
            raise ValueError(f"`{kind}.states` must be two or more different names, got {known!r}.")
        if odd := [name for name in known if not (isinstance(name, str) and name.isidentifier())]:
            raise ValueError(f"`{kind}.states` must be names of letters and digits, got {odd[0]!r}.")
        opened = () if isinstance(self.open, str) else self.open
        if not opened or not set(opened) <= set(known) or len(set(opened)) < len(opened):
            raise ValueError(f"`{kind}.open` must be a tuple of some of {known}, got {self.open!r}.")
        rates = self._rate_shapes()
        if not isinstance(rates, Mapping):
            raise TypeError(f"`{kind}.transitions` must return a dict of rates by (from, to), got {rates!r}.")
        for ends in rates:
            two = isinstance(ends, tuple) and len(ends) == 2 and ends[0] != ends[1]
            if not (two and set(ends) <= set(known)):
                raise ValueError(
                    f"`{kind}.transitions` must return rates by pairs (from, to) of {known}, got {ends!r}."
                )
        reached = {name: _reached(name, rates) for name in known}
        closed = {
            frozenset(names) for name, names in reached.items() if all(name in reached[k] for k in names)
        }
        if len(closed) > 1:
            raise ValueError(
                f"`{kind}.transitions` must lead from every state to the same ones in the end, got several "
                f"ends: {sorted(sorted(names) for names in closed)}."
            )


def _reached(start: str, transitions: Mapping[tuple[str, str], Any]) -> set[str]:
    """The states that a channel can come to from one, itself included."""
    found = {start}
    while more := {j for i, j in transitions if i in found} - found:
        found |= more
    return found
