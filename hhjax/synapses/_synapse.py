"""The synapse protocol: weights, a reversal potential, and how the channels open as the sender's V moves."""

import abc
import functools
from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._base.parameters import param, Parameter
from ..channels._kinetics import AlphaBeta, InfTau
from ..connect import as_weights, check_weights, sum_over_pre, Weights
from ._coupling import AbstractCoupling

Kinetics = AlphaBeta | InfTau


class Synapse(AbstractCoupling):
    r"""A synapse whose channels open and close as the V of the sending neuron tells them to.

    The current into neuron i is $u(V_i) \sum_j W_{ij}\, f(s_j)\, (E - V_i)$ in µA/cm², and each
    state in $s_j$ obeys a first-order equation whose rates depend on $V_j$. State the kinetics in
    `rates`; everything else (the state variables, the steady state, the current, every solver)
    follows:

    ```python
    class Inhibition(hh.Synapse):
        tau: hh.Parameter = hh.param(10.0, unit="ms", positive=True)

        def rates(self, V):
            return hh.AlphaBeta(alpha=12 * jax.nn.sigmoid(V / 2), beta=1 / self.tau)

    inhibition = Inhibition([[0.0, 0.1], [0.1, 0.0]], reversal=-75.0)
    network = hh.Network(hh.wang_buzsaki(), n=2, coupling=inhibition)
    ```

    A synapse with several states returns a dict of their kinetics. Override `open_fraction` for an
    f that is not the product of the states, and `unblocked` for channels that the V of the receiving
    neuron blocks. Where a state acts on another, override `linear_form` too, see
    [`hh.synapses.GABAB`][]; `rates` then holds with the others at rest.

    **Fields:**

    - `weights`: W, mS/cm² with all channels open, shape (post, pre): row i receives, column j sends.
        An array, or [`hh.connect.Sparse`][] weights from about a tenth of non-zero entries down.
    - `reversal`: E, mV, scalar or one per receiving neuron.
    - `pre`, `post`: the populations that send and receive, by name; by default all neurons.

    Declare further parameters with [`hh.param`][]: scalars, or one per sending neuron.
    """

    weights: Weights = eqx.field(converter=as_weights, metadata={"unit": "mS/cm²"})
    reversal: Parameter = param(unit="mV", per="post")

    @abc.abstractmethod
    def rates(self, V: Float[Array, "*s"]) -> Kinetics | Mapping[str, Kinetics]:
        """The kinetics of the state of each sending neuron at its V (mV).

        **Returns:** [`hh.AlphaBeta`][] or [`hh.InfTau`][], or a dict of them by the names of the
        states. The synapse's state, `s`, has the same form, with arrays of the shape of V.
        """

    def open_fraction(self, s: Any) -> Float[Array, " pre"]:
        """The fraction of channels that the sending neurons open, given their states."""
        return functools.reduce(jnp.multiply, jax.tree.leaves(s))

    def unblocked(self, V: Float[Array, "*s"]) -> Array | float:
        """The fraction of open channels that conduct at V (mV) of the receiving neurons."""
        return 1.0

    def steady_state(self, V: Float[Array, " pre"]) -> Any:
        return _map(lambda kinetics: jnp.broadcast_to(kinetics.inf, V.shape), self.rates(V))

    def linear_form(self, V: Float[Array, " pre"], s: Any) -> tuple[Any, Any]:
        rates, one = self.rates(V), jnp.ones((), V.dtype)
        drive, rate = (_map(lambda kinetics: kinetics.linear_form(one)[k], rates) for k in (0, 1))
        return drive, rate

    def conductance(self, V: Float[Array, " n"], s: Any) -> Float[Array, " n"]:
        """Of each receiving neuron at its V (mV), in mS/cm²."""
        return sum_over_pre(self.weights, self.open_fraction(s)) * self.unblocked(V)

    def linear_current(self, V: Float[Array, " n"], s: Any) -> tuple[Array, Array]:
        conductance = self.conductance(V, s)
        return conductance * self.reversal, conductance

    def check(self, n: int, pre: int | None = None) -> None:
        check_weights(self.weights, n, n if pre is None else pre)

    @property
    def V_is_linear(self) -> bool:
        return type(self).unblocked is Synapse.unblocked

    @property
    def states_are_independent(self) -> bool:
        return type(self).linear_form is Synapse.linear_form

    def _check_made(self) -> None:
        super()._check_made()
        name = f"`{type(self).__name__}.rates`"
        kinds = "hh.AlphaBeta(alpha, beta) or hh.InfTau(inf, tau)"
        V = jax.ShapeDtypeStruct((), self.reversal.dtype)
        rates = eqx.filter_eval_shape(lambda synapse, V: synapse.rates(V), self, V)
        if isinstance(rates, Mapping) and rates:
            for state, kinetics in rates.items():
                if not isinstance(kinetics, Kinetics):
                    raise TypeError(f"{name} must give state {state!r} as {kinds}, got {kinetics!r}.")
        elif not isinstance(rates, Kinetics):
            raise TypeError(f"{name} must return {kinds}, or a dict of them by state, got {rates!r}.")


def _map(take: Callable[[Any], Any], rates: Any) -> Any:
    """What `take` makes of the kinetics of each state."""
    return {k: take(x) for k, x in rates.items()} if isinstance(rates, Mapping) else take(rates)
