"""Short-term plasticity."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array

from .._parameters import param, Parameter


class TsodyksMarkram(eqx.Module):
    r"""Short-term depression and facilitation of a synapse, by the spikes that it gets.

    Resources x recover, $\dot x = (1 - x)/\tau_{rec}$, and their use u decays,
    $\dot u = -u/\tau_{facil}$; at a spike u jumps to $u + U(1 - u)$, then the fraction u·x is
    released and x falls by as much. The conductance that a spike opens is its weight times u·x
    (M. Tsodyks, K. Pawelzik and H. Markram, Neural Comput. 10 (1998) 821-835).

    **Fields:** `U`: use of a first spike, in [0, 1]; `tau_rec`, `tau_facil`: ms; with a small
    `tau_facil` there is depression alone. Each a scalar or one per sending neuron.
    """

    U: Parameter = param(0.5, minimum=0.0, maximum=1.0)
    tau_rec: Parameter = param(800.0, unit="ms", positive=True)
    tau_facil: Parameter = param(1e-3, unit="ms", positive=True)

    def rest(self, pre: int) -> dict[str, Array]:
        """x and u long after the last spike, shape (pre,)."""
        dtype = self.U.dtype
        return {"x": jnp.ones(pre, dtype), "u": jnp.zeros(pre, dtype)}

    def linear_form(self) -> tuple[dict[str, Array], dict[str, Array]]:
        """(drive, rate) of x and u between spikes, in 1/ms."""
        zero = jnp.zeros_like(self.tau_facil)
        return {"x": 1 / self.tau_rec, "u": zero}, {"x": 1 / self.tau_rec, "u": 1 / self.tau_facil}

    def release(self, s: dict[str, Array], spikes: Array, single: bool) -> tuple[dict[str, Array], Array]:
        """x and u after so many spikes at once of each neuron, and what was released.

        **Arguments:** `single`: whether no neuron has more than one.
        """
        power = (lambda x, k: jnp.where(k > 0, x, 1.0)) if single else jnp.power  # which costs more
        # Spike number k takes 1 − u to (1 − u)(1 − U)^k, and leaves as large a part of x.
        unused = (1 - s["u"]) * power(1 - self.U, spikes)
        left = power(1 - s["u"], spikes) * power(1 - self.U, spikes * (spikes + 1) / 2)
        return {"x": s["x"] * left, "u": 1 - unused}, s["x"] * (1 - left)
