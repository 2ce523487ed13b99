"""The response of V to small sinusoidal currents."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Complex, Float

from .._base.parameters import as_float_array
from .._model.neuron import State
from ._equilibria import Equilibrium, equilibrium
from ._system import prepare, System


class Impedance(eqx.Module):
    """The impedance of a network around an equilibrium.

    **Fields:**

    - `frequencies`: Hz, shape (frequencies,).
    - `Z`: kΩ·cm² (mV per µA/cm²), complex, shape (frequencies, n, n): of V in neuron i by a current
        into neuron j.
    - `equilibrium`: the equilibrium; where it is not `stable`, V does not stay near it.
    """

    frequencies: Float[Array, " frequencies"]
    Z: Complex[Array, "frequencies n n"]
    equilibrium: Equilibrium

    @property
    def input(self) -> Complex[Array, "frequencies n"]:
        """The impedance of each neuron to a current into itself, kΩ·cm², shape (frequencies, n)."""
        return jnp.diagonal(self.Z, axis1=1, axis2=2)

    @property
    def resonance(self) -> Float[Array, " n"]:
        """The frequency (Hz) at which |input| is greatest, shape (n,), by a parabola through three points.

        The lowest or highest of `frequencies` where |input| is greatest there.
        """
        size = jnp.abs(self.input)
        f = self.frequencies
        best = jnp.argmax(size, axis=0)
        i = jnp.clip(best, 1, f.size - 2)
        at = lambda k: jnp.take_along_axis(size, (i + k)[None], axis=0)[0]
        left, right = f[i] - f[i - 1], f[i + 1] - f[i]
        rise, fall = (at(0) - at(-1)) / left, (at(1) - at(0)) / right
        bend = (fall - rise) / (left + right)
        vertex = (f[i - 1] + f[i]) / 2 - rise / (2 * jnp.where(bend == 0, 1.0, bend))
        return jnp.where(best == i, vertex, f[best])


def impedance(
    network: Any,
    frequencies: Float[ArrayLike, "..."],
    stimulus: Any = 0.0,
    guess: Equilibrium | State | Any = -65.0,
) -> Impedance:
    r"""The impedance of a network around an equilibrium, from the exact Jacobian.

    $Z_{ij}(f) = [(2 \pi i f - J)^{-1}]_{V_i V_j}/C_j$, the amplitude and phase of V in a small
    sinusoidal current. Works under `jit`, `vmap` and `grad`.

    ```python
    response = hh.analysis.impedance(hh.squid_axon(), jnp.geomspace(1.0, 1000.0, 300))
    response.resonance  # Hz
    ```

    **Arguments:** `frequencies`: Hz, shape (frequencies,), increasing; `network`, `stimulus`
    (µA/cm²) and `guess`: of the equilibrium, see [`hh.analysis.equilibrium`][]. One that is known may
    be given as `guess` and is taken as it is, `stimulus` aside.

    **Returns:** an [`hh.analysis.Impedance`][].
    """
    rest = guess if isinstance(guess, Equilibrium) else equilibrium(network, stimulus, guess)
    dtype = rest.V.dtype
    frequencies = as_float_array(frequencies, dtype)
    if frequencies.ndim != 1 or frequencies.size < 3:
        raise ValueError(f"`frequencies` must have shape (frequencies,), 3 or more, got {frequencies.shape}.")
    return _respond(network, rest, frequencies)


@eqx.filter_jit
def _respond(network: Any, rest: Equilibrium, frequencies: Array) -> Impedance:
    system = System(prepare(network, 0.0).network, rest.current)
    J = system.jacobian(rest.state)
    n = rest.V.size  # V comes first in the vector
    eye = jnp.eye(J.shape[0], dtype=J.dtype)
    per_current = eye[:, :n] / system.network.capacitance[None, :]

    def at(frequency: Array) -> Array:
        turn = jax.lax.complex(-J, 2 * jnp.pi * frequency / 1000 * eye)
        return jnp.linalg.solve(turn, jax.lax.complex(per_current, jnp.zeros_like(per_current)))[:n]

    return Impedance(frequencies, jax.vmap(at)(frequencies), rest)
