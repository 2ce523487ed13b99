"""Couplings: conductances that depend on the state of the presynaptic neurons."""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from ._connectivity import as_weights, Sparse, sum_over_pre
from ._parameters import is_concrete, param, Parameter


class AbstractCoupling(eqx.Module):
    """A way in which neurons act on each other.

    Its state is a pytree of arrays, of which each obeys dx/dt = drive − rate·x.

    **Fields:**

    - `pre`, `post`: the populations that send and receive, by name; by default all neurons.
    """

    pre: str | None = eqx.field(default=None, static=True, kw_only=True)
    post: str | None = eqx.field(default=None, static=True, kw_only=True)

    @abc.abstractmethod
    def steady_state(self, V: Float[Array, " pre"]) -> Any:
        """The state at rest when every sending neuron j is held at V_j (mV)."""

    @abc.abstractmethod
    def linear_form(self, V: Float[Array, " pre"], s: Any) -> tuple[Any, Any]:
        """(drive, rate) of the coupling's own state, in 1/ms, given V of the sending neurons."""

    @abc.abstractmethod
    def linear_current(self, V: Float[Array, " n"], s: Any) -> tuple[Array, Array]:
        """(drive µA/cm², conductance mS/cm²): the inward current drive − conductance·V.

        `V` is that of the n receiving neurons.
        """

    @abc.abstractmethod
    def check(self, n: int, pre: int | None = None) -> None:
        """Refuse parameters that do not fit n receiving and `pre` (by default n) sending neurons."""

    def sizes(self, n: int, pre: int) -> tuple[int, ...]:
        """The sizes that a parameter may have besides being a scalar."""
        return (n, pre)

    @property
    def V_is_linear(self) -> bool:
        """Whether the current is linear in V at fixed s, each neuron by itself."""
        return True

    @property
    def states_are_independent(self) -> bool:
        """Whether at fixed V no part of the state acts on another."""
        return True

    @property
    def has_events(self) -> bool:
        """Whether `after_step` does anything."""
        return False

    def after_step(self, t: Array, end: Array, dt: Array, before: Array, after: Array, s: Any) -> Any:
        """The state at the end of a step, after what spikes within it bring about.

        **Arguments:** `t`, `end`: start and end of the step, ms; `dt`: its length, ms; `before`,
        `after`: V of the sending neurons at its start and end, mV; `s`: the state at its end.
        """
        return s

    def missed(self, s: Any) -> Bool[Array, ""]:
        """Whether the state is not finite because `after_step` could not hold a spike."""
        return jnp.asarray(False)


class GradedSynapse(AbstractCoupling):
    r"""Graded synaptic coupling through an activation s of each presynaptic neuron.

    The current into neuron i is $\frac{V_r - V_i}{w}\sum_j E_{ij} s_j$, with
    $ds_j/dt = \alpha\,(1 - s_j)/(1 + e^{-(V_j - V_{1/2})/k}) - \beta s_j$. With the
    default constants this is ds/dt = 5(1 − s)/(1 + e^(−(V + 3)/8)) − s. The form is that
    of X.-J. Wang and G. Buzsáki, J. Neurosci. 16 (1996) 6402-6413.

    **Fields:**

    - `E`: coupling matrix, mS/cm² (with `width` 1), shape (n, n); row i receives,
        column j sends. An array, or [`hh.connect.Sparse`][] weights from about a tenth of
        non-zero entries down.
    - `reversal`: V_r, mV, scalar or one per receiving neuron.
    - `width`: w, dimensionless divisor of the coupling, not zero.
    - `alpha`, `beta`: rates of rise and decay, 1/ms.
    - `half`, `slope`: half-activation potential and slope, mV.
    """

    E: Any = eqx.field(converter=as_weights, metadata={"unit": "mS/cm²"})
    reversal: Parameter = param(20.0, unit="mV")
    width: Parameter = param(1.0, positive=True)
    alpha: Parameter = param(5.0, unit="1/ms", minimum=0.0)
    beta: Parameter = param(1.0, unit="1/ms", positive=True)
    half: Parameter = param(-3.0, unit="mV")
    slope: Parameter = param(8.0, unit="mV", positive=True)

    def linear_form(self, V: Float[Array, " n"], s: Any) -> tuple[Array, Array]:
        rise = self.alpha * jax.nn.sigmoid((V - self.half) / self.slope)
        return rise, rise + self.beta

    def steady_state(self, V: Float[Array, " n"]) -> Array:
        drive, rate = self.linear_form(V, None)
        return drive / rate

    def linear_current(self, V: Float[Array, " n"], s: Array) -> tuple[Array, Array]:
        conductance = sum_over_pre(self.E, s) / self.width
        return conductance * self.reversal, conductance

    def check(self, n: int, pre: int | None = None) -> None:
        shape = (n, n if pre is None else pre)
        if self.E.shape != shape:
            raise ValueError(
                f"`coupling.E` must have shape {'(n, n)' if pre is None else '(post, pre)'} = {shape}, "
                f"row = receiving neuron, got {self.E.shape}."
            )
        entries = self.E.weight if isinstance(self.E, Sparse) else self.E
        if is_concrete(entries) and not np.isfinite(np.asarray(entries)).all():
            raise ValueError("`coupling.E` must be finite, got NaN or infinity.")
