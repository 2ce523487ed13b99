"""Periodic orbits, stable or not, by shooting."""

from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Complex, Float

from .._base.arguments import as_array, as_number, check_kind
from .._base.parameters import as_float_array, cast_floats, check_flag, check_size, is_concrete, shown
from .._model.neuron import State
from .._run.simulate import simulate
from .._run.spikes import concrete_spike_times
from ..stimuli._base import Constant
from ._shooting import along_current, close, Closed, count_pieces, Loop, scales, step
from ._system import prepare, System

_FLAT = 1e-3  # mV: an orbit that moves less is an equilibrium


class PeriodicOrbit(eqx.Module):
    """A periodic orbit (limit cycle) of a network in a constant current.

    **Fields:**

    - `network`, `current` (µA/cm²): whose orbit it is.
    - `period`: ms.
    - `ts`: ms, shape (steps + 1,), from 0, at a peak of V of neuron `neuron`, to the period.
    - `ys`: the states at `ts`, each leaf with a leading axis of times.
    - `monodromy`: the derivative of the state after one period by that at t = 0, shape (state
        variables, state variables).
    - `multipliers`: its eigenvalues, the Floquet multipliers, shape (state variables,), the one with
        the greatest modulus first. One of them is 1; those far below 1e-12 are rounding.
    - `neuron`: whose peak is at t = 0.
    """

    network: Any
    current: Float[Array, "..."]
    period: Float[Array, "..."]
    ts: Float[Array, "..."]
    ys: State
    monodromy: Float[Array, "..."]
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


def by_modulus(multipliers: Complex[Array, " N"]) -> Complex[Array, " N"]:
    """The one with the greatest modulus first."""
    return multipliers[jnp.argsort(-jnp.abs(multipliers))]


def is_stable(multipliers: Complex[Array, "... N"]) -> Bool[Array, "..."]:
    """Whether all Floquet multipliers but the one nearest 1 are less than 1 in modulus."""
    trivial = jnp.argmin(jnp.abs(multipliers - 1), axis=-1)
    others = ~jax.nn.one_hot(trivial, multipliers.shape[-1], dtype=bool)
    return jnp.where(others, jnp.abs(multipliers), 0.0).max(axis=-1) < 1


def periodic_orbit(
    network: Any,
    stimulus: Any = 0.0,
    guess: Any = None,
    *,
    v0: Any = -65.0,
    settle: float = 500.0,
    steps: int = 2000,
    neuron: int = 0,
    throw: bool = True,
) -> PeriodicOrbit:
    """A periodic orbit of a network at a constant current, stable or not, and its multipliers.

    By multiple shooting: Newton's method, with the exact derivative of the flow, on the period and
    up to 20 states along the orbit. With a `guess` it works under `jit` and `vmap`. Period, states and
    multipliers are differentiable in the network and the stimulus, by the implicit function theorem.

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
    - `steps`: of the fourth-order Runge-Kutta method in a period, rounded up to a multiple of the
        number of those states. The error falls with its fourth power: for the squid axon at
        10 µA/cm², 2000 steps find the period to 8e-9 ms.
    - `neuron`: the one whose peak of V is at t = 0.
    - `throw`: whether to raise if no orbit was found. If not, look for NaN in `period`.

    **Returns:** an [`hh.analysis.PeriodicOrbit`][].
    """
    system = prepare(network, stimulus)
    check_size("neuron", neuron, 0, system.network.n - 1)
    check_size("steps", steps)
    check_flag("throw", throw)
    settle = as_number("settle", settle, "ms", positive=True)
    system.network.check_v0(v0, warn=True)
    held = jax.lax.stop_gradient(system)
    pieces = count_pieces(system.size)
    if guess is None:
        loop = _settled(held, v0, settle, neuron, pieces)
    else:
        loop = as_loop(held, guess, pieces)
    orbit = _shoot(system, loop, pieces * -(-steps // pieces), neuron)
    if throw:
        message = (
            "No periodic orbit was found from this guess. Give one nearer by, as guess=orbit of a similar "
            "model or current, or let the model run longer (`settle`); a stiff model may need more `steps`."
        )
        orbit = eqx.error_if(orbit, jnp.isnan(orbit.period), message)
    return orbit


def _shoot(system: System, guess: Loop, steps: int, neuron: int) -> PeriodicOrbit:
    scale = scales(system, guess, jnp.ones(()))
    closed = close(system, guess, scale, along_current(scale), jnp.int32(20), steps, neuron)
    return _described(system, closed, steps, neuron)


@eqx.filter_jit
def _described(system: System, closed: Closed, steps: int, neuron: int) -> PeriodicOrbit:
    V = closed.ys.V[:, neuron]
    good = closed.good & (V.max() - V.min() > _FLAT)
    period = jnp.where(good, closed.loop.period, jnp.nan)
    ts = jnp.arange(steps + 1, dtype=period.dtype) * (period / steps)
    multipliers = by_modulus(jnp.linalg.eigvals(closed.monodromy))
    return PeriodicOrbit(
        system.network, system.current, period, ts, closed.ys, closed.monodromy, multipliers, neuron
    )


def check_orbit(orbit: Any) -> None:
    check_kind("orbit", orbit, PeriodicOrbit, "an orbit of hh.analysis.periodic_orbit")


def as_loop(system: System, guess: Any, pieces: int) -> Loop:
    """A guess as a loop of so many pieces."""
    dtype = system.current.dtype
    zero = jnp.zeros((), dtype)
    if isinstance(guess, Loop):  # of a branch
        return guess
    if isinstance(guess, PeriodicOrbit):
        at = np.rint(np.arange(pieces) * (guess.ts.size - 1) / pieces).astype(int)
        states = jax.vmap(system.ravel)(jax.tree.map(lambda y: y[at], guess.ys))
        return Loop(cast_floats(states, dtype), as_float_array(guess.period, dtype), zero)
    if not isinstance(guess, tuple) or len(guess) != 2 or not isinstance(guess[0], State):
        such = "an orbit, or a pair of a state and a period (ms)"
        raise TypeError(f"`guess` must be {such}, got {shown(guess)}.")
    y, period = guess
    period = as_array("guess", period, "ms", dtype, shapes=[()], positive=True)
    return Loop(_sampled(system, cast_floats(y, dtype), period, pieces), period, zero)


@eqx.filter_jit
def _sampled(system: System, y: State, period: Array, pieces: int) -> Array:
    """The states at even times of a run over one period."""

    def piece(y: State, _: None) -> tuple[State, Array]:
        many = 100
        end = jax.lax.fori_loop(0, many, lambda _, y: step(system, y, period / (pieces * many)), y)
        return end, system.ravel(y)

    return jax.lax.scan(piece, y, length=pieces)[1]


def _settled(system: System, v0: Any, settle: float, neuron: int, pieces: int) -> Loop:
    """The last oscillation of a run, from a peak on."""
    if not all(is_concrete(x) for x in jax.tree.leaves(system)):
        raise TypeError("`guess` must be given under jit and vmap: where the run settles decides the period.")
    every = diffrax.SaveAt(t0=True, steps=4)
    stimulus = Constant(system.current)
    run = simulate(system.network, t1=settle, dt=0.025, stimulus=stimulus, v0=v0, saveat=every)
    late = len(run.ts) // 2
    ts, V = np.asarray(run.ts[late:]), np.asarray(run.V[late:, neuron])
    middle = (V.max() + V.min()) / 2
    intervals = np.diff(np.asarray(concrete_spike_times(ts, (V - middle)[:, None], None))[0])
    if np.ptp(V) < 1.0 or len(intervals) < 2:
        raise ValueError(
            f"No oscillation in the last {settle / 2:g} ms of a run from v0, where V of neuron {neuron} was "
            f"{V.min():.3f} to {V.max():.3f} mV. Give another `v0` or a longer `settle` (ms), or, for an "
            "orbit that no run reaches, a `guess`."
        )
    # Several peaks of a burst make one period.
    alike = lambda k: np.allclose(intervals[-k:], intervals[-2 * k : -k], rtol=0.02)
    repeat = next((k for k in range(1, len(intervals) // 2 + 1) if alike(k)), 1)
    period = intervals[-repeat:].sum()
    first, last = np.searchsorted(ts, [ts[-1] - 2 * period, ts[-1] - period])
    peak = first + V[first:last].argmax()
    at = late + np.searchsorted(ts, ts[peak] + period * np.arange(pieces) / pieces)
    states = jax.vmap(system.ravel)(jax.tree.map(lambda y: y[at], run.ys))
    dtype = states.dtype
    return Loop(states, jnp.asarray(period, dtype), jnp.zeros((), dtype))
