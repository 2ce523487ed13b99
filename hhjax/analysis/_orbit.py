"""Periodic orbits, stable or not, by shooting."""

from collections.abc import Callable
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
from jaxtyping import Array, Bool, Complex, Float

from .._neuron import State
from .._parameters import as_float_array, cast_floats, is_concrete
from .._simulate import simulate
from .._spikes import spike_times
from .._stimulus import Constant
from ..steppers.runge_kutta import RK4
from ._system import prepare, System, tolerance

_FLAT = 1e-3  # mV: an orbit that moves less is an equilibrium


class PeriodicOrbit(eqx.Module):
    """A periodic orbit (limit cycle) of a network in a constant current.

    **Fields:**

    - `network`, `current` (µA/cm²): whose orbit it is.
    - `period`: ms.
    - `ts`: ms, shape (steps + 1,), from 0, at a peak of V of neuron `neuron`, to the period.
    - `ys`: the states at `ts`, each leaf with a leading axis of times.
    - `multipliers`: the Floquet multipliers, shape (state variables,), the one with the greatest
        modulus first. One of them is 1; those far below 1e-12 are rounding.
    - `neuron`: whose peak is at t = 0.
    """

    network: Any
    current: Float[Array, "..."]
    period: Float[Array, "..."]
    ts: Float[Array, "..."]
    ys: State
    multipliers: Complex[Array, "..."]
    neuron: int = eqx.field(static=True)

    @property
    def V(self) -> Float[Array, "..."]:
        """Membrane potential at `ts`, mV, shape (steps + 1, n)."""
        return self.ys.V

    @property
    def state(self) -> State:
        """The state at t = 0."""
        return jax.tree.map(lambda x: x[0], self.ys)

    @property
    def frequency(self) -> Float[Array, "..."]:
        """Hz."""
        return 1000 / self.period

    @property
    def stable(self) -> Bool[Array, "..."]:
        """Whether all multipliers but the one at 1 are less than 1 in modulus."""
        return is_stable(self.multipliers)


def is_stable(multipliers: Complex[Array, "... N"]) -> Bool[Array, "..."]:
    """Whether all Floquet multipliers but the one nearest 1 are less than 1 in modulus."""
    trivial = jnp.argmin(jnp.abs(multipliers - 1), axis=-1, keepdims=True)
    others = jnp.arange(multipliers.shape[-1]) != trivial
    return jnp.where(others, jnp.abs(multipliers), 0.0).max(axis=-1) < 1


def step(system: System, y: State, dt: Array) -> State:
    """One step of the classical Runge-Kutta method."""
    return RK4().step(system.network, jnp.zeros_like(dt), dt, y, Constant(system.current), None)


def flow(
    system: System, x: Array, period: Array, steps: int, fn: Callable[[State], Any] = lambda y: None
) -> tuple[Array, Any]:
    """The state after one `period` (ms), as vectors, and `fn` of the state after every step.

    The step is period/steps, so that the derivative by the period is that of the end of the orbit.
    """

    def body(y: State, _: None) -> tuple[State, Any]:
        y = step(system, y, period / steps)
        return y, fn(y)

    y, kept = jax.lax.scan(body, system.unravel(x), length=steps)
    return system.ravel(y), kept


def gap(system: System, x: Array, period: Array, steps: int, neuron: int) -> tuple[Array, Array]:
    """By how much the orbit does not close, and the slope of V (mV/ms), which is 0 at its peak."""
    end, _ = flow(system, x, period, steps)
    return end - x, system.slope(system.unravel(x)).V[neuron]


def periodic_orbit(
    network: Any,
    stimulus: Any = 0.0,
    guess: PeriodicOrbit | tuple[State, Any] | None = None,
    *,
    v0: Any = -65.0,
    settle: float = 500.0,
    steps: int = 2000,
    neuron: int = 0,
    throw: bool = True,
) -> PeriodicOrbit:
    """A periodic orbit of a network at a constant current, stable or not, and its multipliers.

    By shooting: Newton's method, with the exact derivative of the flow, on the initial state and
    the period. With a `guess` it works under `jit` and `vmap`. Period, states and multipliers are
    differentiable in the network and the stimulus, by the implicit function theorem.

    ```python
    orbit = hh.analysis.periodic_orbit(hh.squid_axon(), 10.0)
    orbit.period, orbit.stable  # 14.63621 ms, True
    ```

    **Arguments:**

    - `network`: an [`hh.Network`][] or [`hh.Neuron`][] without noise and detected spikes, of at
        most 500 state variables.
    - `stimulus`: µA/cm², a number or shape (n,).
    - `guess`: an orbit nearby, or a pair of a state at the peak of V and a period (ms). By default
        the model is run from `v0` (mV) for `settle` (ms), and its last oscillation is taken.
    - `steps`: of the fourth-order Runge-Kutta method in a period. The error falls with its fourth
        power: for the squid axon at 10 µA/cm², 2000 steps find the period to 3e-9 ms.
    - `neuron`: the one whose peak of V is at t = 0.
    - `throw`: whether to raise if no orbit was found. If not, look for NaN in `period`.

    **Returns:** an [`hh.analysis.PeriodicOrbit`][].
    """
    system = prepare(network, stimulus)
    if neuron not in range(system.network.n):
        raise ValueError(f"`neuron` must be from 0 to {system.network.n - 1}, got {neuron!r}.")
    if guess is None:
        guess = _settled(jax.lax.stop_gradient(system), v0, settle, neuron)
    y, period = (guess.state, guess.period) if isinstance(guess, PeriodicOrbit) else guess
    dtype = system.current.dtype
    y, period = cast_floats(y, dtype), as_float_array(period, dtype)
    orbit = _shoot(system, y, period, steps, neuron)
    if throw:
        message = (
            "No periodic orbit was found from this guess. Give one nearer by, as guess=orbit of a similar "
            "model or current, or let the model run longer (`settle`); a stiff model may need more `steps`."
        )
        orbit = eqx.error_if(orbit, jnp.isnan(orbit.period), message)
    return orbit


@eqx.filter_jit
def _shoot(system: System, y: State, period: Array, steps: int, neuron: int) -> PeriodicOrbit:
    small = tolerance(period.dtype)
    miss = lambda u, system: gap(system, *u, steps, neuron)
    solver = optx.Newton(rtol=small, atol=small)
    start = (system.ravel(y), period)
    root = optx.root_find(miss, solver, start, args=system, max_steps=40, throw=False)
    x, period = root.value
    monodromy, ys = jax.jacfwd(lambda x: flow(system, x, period, steps, lambda y: y), has_aux=True)(x)
    ys = jax.tree.map(lambda first, rest: jnp.concatenate([first[None], rest]), system.unravel(x), ys)
    multipliers = jnp.linalg.eigvals(monodromy)
    multipliers = multipliers[jnp.argsort(-jnp.abs(multipliers))]
    swing = ys.V[:, neuron].max() - ys.V[:, neuron].min()
    good = (root.result == optx.RESULTS.successful) & (period > 0) & (swing > _FLAT)
    period = jnp.where(good, period, jnp.nan)
    ts = jnp.arange(steps + 1, dtype=period.dtype) * (period / steps)
    return PeriodicOrbit(system.network, system.current, period, ts, ys, multipliers, neuron)


def _settled(system: System, v0: Any, settle: float, neuron: int) -> tuple[State, float]:
    """A state at a peak of V and a period (ms), from the end of a run."""
    if not all(is_concrete(x) for x in jax.tree.leaves(system)):
        raise TypeError("`guess` must be given under jit and vmap: where the run settles decides the period.")
    every = diffrax.SaveAt(t0=True, steps=4)
    run = simulate(
        system.network, t1=settle, dt=0.025, stimulus=Constant(system.current), v0=v0, saveat=every
    )
    late = len(run.ts) // 2
    ts, V = np.asarray(run.ts[late:]), np.asarray(run.V[late:, neuron])
    middle = (V.max() + V.min()) / 2
    intervals = np.diff(np.asarray(spike_times(ts, V, middle)))
    if np.ptp(V) < 1.0 or len(intervals) < 1:
        raise ValueError(
            f"No oscillation in the last {settle / 2:g} ms of a run from v0, where V of neuron {neuron} was "
            f"{V.min():.3f} to {V.max():.3f} mV. Give another `v0` or a longer `settle` (ms), or, for an orbit "
            "that no run reaches, a `guess`."
        )
    # Several peaks of a burst make one period.
    alike = lambda k: np.allclose(intervals[-k:], intervals[-2 * k : -k], rtol=0.02)
    repeat = next((k for k in range(1, len(intervals) // 2 + 1) if alike(k)), 1)
    period = intervals[-repeat:].sum()
    first = np.searchsorted(ts, ts[-1] - period)
    peak = late + first + int(V[first:].argmax())
    return jax.tree.map(lambda x: x[peak], run.ys), float(period)
