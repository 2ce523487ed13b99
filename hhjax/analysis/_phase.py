"""How a small kick shifts the phase of an oscillation."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._model.network import Network
from .._model.neuron import State
from ._orbit import check_orbit, PeriodicOrbit
from ._shooting import step
from ._system import System


class PhaseResponse(eqx.Module):
    """The infinitesimal phase response of a periodic orbit.

    **Fields:**

    - `ts`: when the kick comes, ms after the peak of V, shape (times,).
    - `Z`: the advance of the oscillation, in ms for each unit by which a state variable is kicked;
        each leaf with a leading axis of times. Positive: the next peaks come earlier.
    - `period`: ms.
    - `capacitance`: µF/cm², shape (n,).
    """

    ts: Float[Array, "..."]
    Z: State
    period: Float[Array, "..."]
    capacitance: Float[Array, "..."]

    @property
    def V(self) -> Float[Array, "..."]:
        """The advance by a kick of V, ms/mV, shape (times, n)."""
        return self.Z.V

    @property
    def charge(self) -> Float[Array, "..."]:
        """The advance by a brief current, in ms per nC/cm² (µA/cm² × ms) of it, shape (times, n)."""
        return self.Z.V / self.capacitance[None, :]


@eqx.filter_jit
def phase_response(orbit: PeriodicOrbit) -> PhaseResponse:
    r"""The infinitesimal phase response curve, by the adjoint equation.

    $dZ/dt = -J(t)^T Z$ along the orbit, with $Z \cdot f = 1$ (G. B. Ermentrout and N. Kopell, J.
    Math. Biol. 29 (1991) 195-217); here its discrete form, the transposed derivative of every step,
    from the left eigenvector of the monodromy matrix. Works for unstable orbits as well, and under
    `jit`, `vmap` and `grad`.

    ```python
    response = hh.analysis.phase_response(hh.analysis.periodic_orbit(hh.squid_axon(), 10.0))
    response.ts, response.V  # ms, ms/mV
    ```

    **Arguments:** `orbit`: from [`hh.analysis.periodic_orbit`][].

    **Returns:** an [`hh.analysis.PhaseResponse`][] at the times of the orbit.
    """
    check_orbit(orbit)
    system = System(orbit.network, orbit.current)
    steps = orbit.ts.size - 1
    dt = orbit.period / steps
    f = system.ravel(system.slope(orbit.state))
    # (Mᵀ − 1)z = 0 and z·f = 1, bordered so that it can be solved.
    size = f.size
    bordered = jnp.zeros((size + 1, size + 1), f.dtype)
    bordered = bordered.at[:size, :size].set(orbit.monodromy.T - jnp.eye(size, dtype=f.dtype))
    bordered = bordered.at[:size, size].set(f).at[size, :size].set(f)
    last = jnp.linalg.solve(bordered, jnp.zeros(size + 1, f.dtype).at[size].set(1.0))[:size]

    def backward(z: State, y: State) -> tuple[State, State]:
        (z,) = jax.vjp(lambda y: step(system, y, dt), y)[1](z)
        return z, z

    before = jax.tree.map(lambda y: y[:-1], orbit.ys)
    last = system.unravel(last)
    _, Z = jax.lax.scan(backward, last, before, reverse=True)
    Z = jax.tree.map(lambda z, end: jnp.concatenate([z, end[None]]), Z, last)
    return PhaseResponse(orbit.ts, Z, orbit.period, orbit.network.capacitance)


class PeriodFeature(eqx.Module):
    """The period (ms) of a model's orbit, to first order around that of `orbit`, see
    [`hh.analysis.period_feature`][].

    **Fields:** `orbit`; `response`: its phase response.
    """

    orbit: PeriodicOrbit
    response: PhaseResponse

    def __call__(self, model: Any) -> Float[Array, ""]:
        network = model if isinstance(model, Network) else Network(model)
        orbit, Z = jax.lax.stop_gradient((self.orbit, self.response.Z))
        system = System(network, orbit.current)
        slopes = jax.vmap(system.slope)(orbit.ys)
        moved = jax.tree.map(lambda f: f - jax.lax.stop_gradient(f), slopes)
        advance = sum(jax.tree.leaves(jax.tree.map(lambda z, f: (z * f)[:-1].sum(), Z, moved)))
        return orbit.period - advance * orbit.period / (orbit.ts.size - 1)


def period_feature(orbit: PeriodicOrbit, response: PhaseResponse | None = None) -> PeriodFeature:
    r"""The period as a function of the model, for [`hh.analysis.sensitivity`][].

    $dT = -\int_0^T Z \cdot \delta f\,dt$ over the orbit, with its phase response Z: exact first
    derivatives, at the cost of one vector field along the orbit.

    ```python
    orbit = hh.analysis.periodic_orbit(hh.squid_axon(), 10.0)
    print(hh.analysis.sensitivity(hh.squid_axon(), hh.analysis.period_feature(orbit)))
    ```

    **Arguments:** `orbit`: of the model itself, from [`hh.analysis.periodic_orbit`][]; `response`:
    its phase response, if it is there already.

    **Returns:** a function of a neuron or network, which returns ms; right to first order
    around the network of the orbit.
    """
    return PeriodFeature(orbit, phase_response(orbit) if response is None else response)
