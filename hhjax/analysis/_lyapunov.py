"""Lyapunov exponents: how fast neighbouring runs part."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._base.arguments import as_number
from .._base.parameters import as_float_array, check_flag, check_size
from .._model.neuron import State
from .._run.simulate import check_run
from ._shooting import step
from ._system import prepare, System

_BLOCK = 10  # steps between two orthonormalisations


class Lyapunov(eqx.Module):
    """The Lyapunov spectrum of a run.

    **Fields:**

    - `exponents`: 1/ms, shape (k,), the greatest first.
    - `ts`: ms, shape (times,); `running`: the exponents as estimated up to there, 1/ms, shape
        (times, k), to see whether they have settled.
    - `final`: the state at the end.
    """

    exponents: Float[Array, " k"]
    ts: Float[Array, " times"]
    running: Float[Array, "times k"]
    final: State


def lyapunov(
    network: Any,
    stimulus: Any = 0.0,
    *,
    t1: float,
    dt: float = 0.01,
    start: float = 0.0,
    k: int | None = None,
    y0: State | None = None,
    v0: Any = -65.0,
    throw: bool = True,
) -> Lyapunov:
    """The Lyapunov spectrum, by orthonormalised tangents along a run (Benettin et al. 1980).

    The k tangents are pushed with the exact derivative of every step (fourth-order Runge-Kutta) and
    made orthonormal by a QR decomposition every 10 steps. On a stable equilibrium the exponents are
    the real parts of the eigenvalues, on a periodic orbit ln|multiplier|/period, and a chaotic run
    has a positive one. They converge as 1/(t1 − start). Works under `jit`, `vmap` and `grad`; the
    derivatives of a chaotic run are of no use.

    G. Benettin, L. Galgani, A. Giorgilli and J.-M. Strelcyn, Meccanica 15 (1980) 9-30.

    **Arguments:**

    - `network`: an [`hh.Network`][] or [`hh.Neuron`][] without noise and detected spikes, of at
        most 500 state variables.
    - `stimulus`: µA/cm², a number or shape (n,).
    - `t1`, `dt`: length of the run and its step, ms.
    - `start`: what comes before is run, but not counted, ms.
    - `k`: how many exponents, the greatest ones; by default all.
    - `y0`: the initial state; by default all at rest for `v0` (mV).
    - `throw`: whether to raise if the run turns infinite or NaN.

    **Returns:** an [`hh.analysis.Lyapunov`][].
    """
    system = prepare(network, stimulus)
    problem = check_run(system.network, 0.0, 0.0, t1, dt, y0, v0)
    t1, dt, begin = problem.t1, problem.dt, problem.start
    y0 = begin if isinstance(begin, State) else system.network.init(begin)
    size = system.ravel(y0).size
    k = size if k is None else check_size("k", k, 1, size)
    start = as_number("start", start, "ms")
    check_flag("throw", throw)
    blocks, skipped = round(t1 / (_BLOCK * dt)), round(start / (_BLOCK * dt))
    if not 0 <= skipped < blocks:
        raise ValueError(f"`start` must be from 0 to less than t1 = {t1} ms, got {start}.")
    result = _spectrum(system, y0, as_float_array(dt, y0.V.dtype), blocks, skipped, k)
    if throw:
        bad = ~jnp.isfinite(result.exponents).all()
        result = eqx.error_if(result, bad, "The run turned infinite or NaN: take a smaller `dt`.")
    return result


@eqx.filter_jit
def _spectrum(system: System, y0: State, dt: Array, blocks: int, skipped: int, k: int) -> Lyapunov:
    def block(carry: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], Array]:
        def one(carry: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], None]:
            x, tangents = carry
            advance = lambda x: system.ravel(step(system, system.unravel(x), dt))
            x, push = jax.linearize(advance, x)
            return (x, jax.vmap(push, in_axes=1, out_axes=1)(tangents)), None

        (x, tangents), _ = jax.lax.scan(one, carry, length=_BLOCK)
        tangents, growth = jnp.linalg.qr(tangents)
        return (x, tangents), jnp.log(jnp.abs(jnp.diagonal(growth)))

    x = system.ravel(y0)
    (x, _), growth = jax.lax.scan(block, (x, jnp.eye(x.size, k, dtype=x.dtype)), length=blocks)
    count = jnp.arange(1, blocks - skipped + 1, dtype=x.dtype) * (_BLOCK * dt)
    running = jnp.cumsum(growth[skipped:], axis=0) / count[:, None]
    return Lyapunov(running[-1], count + skipped * _BLOCK * dt, running, system.unravel(x))
