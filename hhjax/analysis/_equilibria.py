"""Equilibria, and the response to small currents about them."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Complex, Float

from .._base.arguments import as_array
from .._base.parameters import as_float_array, check_flag
from .._model.neuron import State
from ._steady import as_grid, as_one_neuron, crossings, steady_curve
from ._system import prepare, System, tolerance


class Equilibrium(eqx.Module):
    """A state of a network that does not change.

    **Fields:**

    - `state`: the state itself.
    - `current`: the constant current, µA/cm², scalar or shape (n,).
    - `eigenvalues`: of the Jacobian, 1/ms, shape (state variables,), the one with the greatest
        real part first.
    - `residual`: the largest net current left in any neuron, µA/cm²; infinite where a concentration
        has no rest at this V.
    """

    state: State
    current: Float[Array, "..."]
    eigenvalues: Complex[Array, " N"]
    residual: Float[Array, ""]

    @property
    def V(self) -> Float[Array, " n"]:
        """Membrane potential, mV, shape (n,)."""
        return self.state.V

    @property
    def stable(self) -> Bool[Array, ""]:
        """Whether small perturbations die out: all real parts are negative."""
        return self.eigenvalues[..., 0].real < 0

    @property
    def kind(self) -> str:
        """`"stable node"`, `"stable focus"`, `"unstable node"`, `"unstable focus"` or `"saddle"`.

        A saddle has an odd number of eigenvalues with a positive real part; node or focus tells
        whether the leading eigenvalue is real.
        """
        values = np.asarray(self.eigenvalues)
        rising = int((np.real(values) > 0).sum())
        if rising % 2:
            return "saddle" if rising < values.size else "unstable node"
        shape = "node" if values[0].imag == 0 else "focus"
        return f"{'unstable' if rising else 'stable'} {shape}"


def _describe(system: System, V: Float[Array, " n"]) -> Equilibrium:
    state = system.network.init(V)
    left = jnp.abs(system.unbalanced(V)).max()
    slope = system.slope(state).concentrations
    moves = jax.tree.map(lambda dc, c: (jnp.abs(dc) > 1e-4 * c).any(), slope, state.concentrations)
    left = jnp.where(jnp.array(jax.tree.leaves(moves), bool).any(), jnp.inf, left)
    return Equilibrium(state, system.current, system.eigenvalues(state), left)


def equilibrium(
    network: Any, stimulus: Any = 0.0, guess: State | Any = -65.0, *, throw: bool = True
) -> Equilibrium:
    """An equilibrium of a network at a constant current, from a guess.

    At rest every gate, concentration and synapse is a function of V, and n equations for the n membrane
    potentials remain. They are solved by Powell's dogleg with exact derivatives. Works
    under `jit` and `vmap`, and the result is differentiable in the network and the stimulus, by
    the implicit function theorem.

    ```python
    hh.analysis.equilibrium(hh.squid_axon(), 8.0).stable
    ```

    **Arguments:**

    - `network`: an [`hh.Network`][] or [`hh.Neuron`][] without noise and detected spikes, of at
        most 500 state variables.
    - `stimulus`: µA/cm², a number or shape (n,).
    - `guess`: V in mV, scalar or shape (n,), or a state, of which V counts. A network may have
        many equilibria; another guess finds another.
    - `throw`: whether to raise where none was found. If not, look at `residual`.

    **Returns:** an [`hh.analysis.Equilibrium`][].
    """
    system = prepare(network, stimulus)
    V = guess.V if isinstance(guess, State) else guess
    system.network.check_v0(V, "guess", warn=True)
    check_flag("throw", throw)
    V = jnp.broadcast_to(as_float_array(V, system.network.capacitance.dtype), (system.network.n,))
    found, good = _solve(system, V)
    if throw:
        message = (
            "No equilibrium was found from this `guess`: give another V, such as the end of a long run, or "
            "for one neuron take hh.analysis.equilibria, which finds all."
        )
        found = eqx.error_if(found, ~good, message)
    return found


@eqx.filter_jit
def _solve(system: System, V: Float[Array, " n"]) -> tuple[Equilibrium, Array]:
    small = tolerance(V.dtype)
    solver = optx.Dogleg(rtol=small, atol=small)
    net = lambda V, system: system.unbalanced(V)
    root = optx.root_find(net, solver, V, args=system, max_steps=200, throw=False)
    found = _describe(system, root.value)
    return found, found.residual < 100 * small  # rounding may keep a solver from its own criterion


def equilibria(
    network: Any, stimulus: Any = 0.0, *, V: tuple[float, float] = (-120.0, 60.0), points: int = 1001
) -> tuple[Equilibrium, ...]:
    """All equilibria of one neuron at a constant current, from the lowest V up.

    They are the potentials at which the steady-state I-V curve passes the current, found by a scan and
    refined to the last digits.

    **Arguments:** `network`: an [`hh.Neuron`][]; `stimulus`: µA/cm², a number; `V`: where to
    look, mV; `points`: of the scan: two equilibria closer than the spacing may be missed.

    **Returns:** a tuple of [`hh.analysis.Equilibrium`][].

    **Raises:** `ValueError` if there is none between the ends of `V`.
    """
    system = as_one_neuron(network, stimulus)
    curve = steady_curve(system, as_grid(V, points, system.current.dtype))
    excess = lambda curve: np.asarray(curve.current - system.current)
    found = crossings(system, curve, excess)
    if not found:
        raise ValueError(
            f"No equilibrium at {float(system.current):g} µA/cm² between {V[0]:g} and {V[1]:g} mV: widen `V`."
        )
    return tuple(
        Equilibrium(
            system.network.init(fine.V[i][None]),
            system.current,
            fine.eigenvalues[i],
            jnp.abs(fine.current[i] - system.current),
        )
        for fine, i in found
    )


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
    frequencies = as_array("frequencies", frequencies, "Hz", axes="(frequencies,)", least=3, increasing=True)
    rest = guess if isinstance(guess, Equilibrium) else equilibrium(network, stimulus, guess)
    dtype = rest.V.dtype
    frequencies = frequencies.astype(dtype)
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
