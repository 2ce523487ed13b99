"""Closed orbits as roots: the equations of multiple shooting, and Newton's method for them.

A loop is cut into pieces of equal duration, each run from a state of its own; it closes where every
piece ends at the start of the next. Newton's method then converges from much farther away than for
one piece, and the pieces run side by side.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._model.neuron import State
from ._system import System

_NODES = 200  # about how many unknown states, pieces times state variables


_PIECES = 20  # at most


_FARTHEST = 3.0  # the greatest Newton step, in units of the scales


class Loop(eqx.Module):
    """An orbit, closed or nearly so.

    **Fields:** `states`: at the start of every piece, shape (pieces, N); `period`: ms; `shift`:
    what is added to the current of every neuron, µA/cm².
    """

    states: Float[Array, "pieces N"]
    period: Float[Array, ""]
    shift: Float[Array, ""]

    @classmethod
    def unravel(cls, u: Float[Array, " M"], pieces: int) -> "Loop":
        return cls(u[:-2].reshape(pieces, -1), u[-2], u[-1])

    def ravel(self) -> Float[Array, " M"]:
        return jnp.concatenate([self.states.ravel(), jnp.stack([self.period, self.shift])])


class Closed(eqx.Module):
    """What Newton's method ended with.

    **Fields:** `loop`; `ys`: the states at the start and after every step; `monodromy`: the
    derivative of the state after one period, shape (N, N); `tangent`: the direction, in units of
    the scales, in which the closed loops go on as the current changes; `good`: whether it closed.
    """

    loop: Loop
    ys: State
    monodromy: Float[Array, "N N"]
    tangent: Float[Array, " M"]
    good: Array


def count_pieces(size: int) -> int:
    """How many pieces the loop of a system with `size` state variables is cut into."""
    return max(1, min(_PIECES, _NODES // size))


def step(system: System, y: State, dt: Array) -> State:
    """One step of the classical Runge-Kutta method, whose four stages are compiled as one."""

    def stage(carry: tuple[State, State], weights: tuple[Array, Array]) -> tuple[Any, None]:
        slope, total = carry
        along, share = weights
        slope = system.slope(jax.tree.map(lambda x, k: x + along * dt * k, y, slope))
        return (slope, jax.tree.map(lambda s, k: s + share * dt * k, total, slope)), None

    dtype = y.V.dtype
    along, share = jnp.array([0.0, 0.5, 0.5, 1.0], dtype), jnp.array([1.0, 2.0, 2.0, 1.0], dtype) / 6
    (_, new), _ = jax.lax.scan(stage, (jax.tree.map(jnp.zeros_like, y), y), (along, share))
    return new


def _run(
    system: System, x: Array, duration: Array, steps: int, fn: Callable[[State], Any] = lambda y: None
) -> tuple[Array, Any]:
    """The state after `duration` (ms), as vectors, and `fn` of the state before every step."""

    def body(y: State, _: None) -> tuple[State, Any]:
        return step(system, y, duration / steps), fn(y)

    y, kept = jax.lax.scan(body, system.unravel(x), length=steps)
    return system.ravel(y), kept


def _miss(system: System, loop: Loop, steps: int, neuron: int) -> Float[Array, " M"]:
    """By how much the pieces do not join, and the slope of V (mV/ms), which is 0 at its peak."""
    pieces = loop.states.shape[0]
    shifted = System(system.network, system.current + loop.shift)
    ends, _ = jax.vmap(lambda x: _run(shifted, x, loop.period / pieces, steps // pieces))(loop.states)
    slope = shifted.slope(system.unravel(loop.states[0])).V[neuron]
    return _gaps(loop, ends, slope)


def _gaps(loop: Loop, ends: Array, slope: Array) -> Float[Array, " M"]:
    """From the end of every piece to the start of the next, and the slope of V."""
    return jnp.concatenate([(ends - jnp.roll(loop.states, -1, axis=0)).ravel(), slope[None]])


def _slopes(
    system: System, loop: Loop, steps: int, neuron: int, fn: Callable[[State], Any] = lambda y: None
) -> tuple[Array, Array, Array, Any]:
    """`_miss`, its derivative by the loop, those of the pieces by their states, and `fn` on the way."""
    pieces, size = loop.states.shape
    dtype = loop.states.dtype

    def piece(v: Array) -> tuple[Array, Any]:
        shifted = System(system.network, system.current + v[-1])
        end, kept = _run(shifted, v[:-2], v[-2] / pieces, steps // pieces, fn)
        return end, (end, kept)

    def peak(v: Array) -> tuple[Array, Array]:
        slope = System(system.network, system.current + v[-1]).slope(system.unravel(v[:-1])).V[neuron]
        return slope, slope

    rest = jnp.broadcast_to(jnp.stack([loop.period, loop.shift]), (pieces, 2))
    inputs = jnp.concatenate([loop.states, rest], axis=1)
    by_input, (ends, kept) = jax.vmap(jax.jacfwd(piece, has_aux=True))(inputs)
    by_peak, slope = jax.jacfwd(peak, has_aux=True)(jnp.concatenate([loop.states[0], loop.shift[None]]))

    same = jnp.eye(pieces, dtype=dtype)
    own = jnp.einsum("ij,iab->iajb", same, by_input[:, :, :size])
    following = jnp.einsum("ij,ab->iajb", jnp.roll(same, 1, axis=1), jnp.eye(size, dtype=dtype))
    joins = (own - following).reshape(pieces * size, pieces * size)
    top = jnp.concatenate([joins, by_input[:, :, size:].reshape(-1, 2)], axis=1)
    last = jnp.zeros(pieces * size + 2, dtype).at[:size].set(by_peak[:-1]).at[-1].set(by_peak[-1])
    return _gaps(loop, ends, slope), jnp.concatenate([top, last[None]]), by_input[:, :, :size], kept


@eqx.filter_jit
def close(
    system: System, guess: Loop, scale: Array, tangent: Array, most: Array, steps: int, neuron: int
) -> Closed:
    """The closed loop nearest to a guess, in the plane across `tangent`, with a peak of V at its start.

    Differentiable, by the implicit function theorem: the last step of Newton's method has the
    derivative of the root.

    **Arguments:** `scale`, `tangent`: like `guess.ravel()`; the units in which steps are measured,
    and a direction in these units (that of the shift alone keeps the current); `most`: Newton steps,
    at most; `steps`: in a period, a multiple of the number of pieces; `neuron`: whose V peaks.
    """
    pieces, size = guess.states.shape
    small = 1e-3 if scale.dtype == jnp.float32 else 1e-7
    guess, scale, tangent = jax.lax.stop_gradient((guess, scale, tangent))
    held = jax.lax.stop_gradient(system)  # no derivative goes through the iteration
    start = guess.ravel() / scale

    def unscale(z: Array) -> Loop:
        return Loop.unravel(z * scale, pieces)

    def border(slopes: Array) -> Array:
        return jnp.concatenate([slopes * scale[None, :], tangent[None]])

    def improve(carry: tuple) -> tuple:
        z, _, _, k = carry
        miss, slopes, *_ = _slopes(held, unscale(z), steps, neuron)
        bordered = border(slopes)
        away = jnp.linalg.solve(bordered, jnp.concatenate([miss, (tangent @ (z - start))[None]]))
        far = jnp.abs(away).max()
        return z - away * jnp.minimum(1.0, _FARTHEST / far), bordered, far, k + 1

    blank = jnp.zeros((scale.size, scale.size), scale.dtype)
    unfinished = lambda carry: (carry[2] > small) & (carry[3] < most)
    first = (start, blank, jnp.asarray(jnp.inf, scale.dtype), 0)
    z, bordered, far, _ = jax.lax.while_loop(unfinished, improve, first)
    z, bordered = jax.lax.stop_gradient((z, bordered))
    miss = jnp.append(_miss(system, unscale(z), steps, neuron), jnp.zeros((), z.dtype))
    loop = unscale(z - jnp.linalg.solve(bordered, miss))
    _, slopes, by_state, ys = _slopes(system, loop, steps, neuron, lambda y: y)
    ys = jax.tree.map(lambda y: y.reshape(-1, *y.shape[2:]), ys)
    ys = jax.tree.map(lambda y: jnp.concatenate([y, y[:1]]), ys)
    monodromy, _ = jax.lax.scan(lambda M, J: (J @ M, None), jnp.eye(size, dtype=z.dtype), by_state)
    onward = jnp.linalg.solve(border(slopes), jnp.zeros_like(z).at[-1].set(1.0))
    good = (far <= small) & (loop.period > 0) & jnp.isfinite(onward).all()
    return Closed(loop, ys, monodromy, onward / jnp.linalg.norm(onward), good)


@eqx.filter_jit
def scales(system: System, guess: Loop, current: Array) -> Float[Array, " M"]:
    """The units in which steps are measured: 10 mV, a tenth of a gate or of the period, `current`."""
    y = system.unravel(guess.states[0])
    unit = jax.tree.map(lambda x: jnp.full_like(x, 0.1), y).replace_V(jnp.full_like(y.V, 10.0))
    each = jnp.tile(system.ravel(unit), guess.states.shape[0])
    return jnp.concatenate([each, jnp.stack([0.1 * guess.period, current.astype(each.dtype)])])


def along_current(scale: Array) -> Float[Array, " M"]:
    """The direction of the shift of the current alone."""
    return jnp.zeros_like(scale).at[-1].set(1.0)
