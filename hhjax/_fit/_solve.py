"""Minimising from many starts at once: Levenberg-Marquardt, or an optax optimiser."""

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
from jaxtyping import Array

from ._problem import _BLOWN_UP, AbstractProblem

_FUTILE = 12  # rejected steps in a row, after which a start is given up


_SMALL_GAIN = 3  # accepted steps in a row that gain next to nothing, after which a start is at its optimum


_PATIENCE = 100  # optimiser steps without a better loss, likewise


_OPTIONS = {"jac": "bwd"}  # optimistix then holds J as an array; `_linear` supplies it


def tolerance(dtype: Any) -> float:
    """To which unknowns of this float type are found."""
    return 1e-6 if dtype == jnp.float64 else 3e-4


@dataclasses.dataclass
class Solved:
    """Where every start ended.

    **Fields:** `u`: (starts, U); `loss`: (starts,); `history`: (iterations, starts);
    `reasons`: one for each start; `evaluations`: residuals or gradients computed, per
    start, (starts,); `slopes`: the compressed residuals and their Jacobian by u, if the method has
    them, (starts, R) and (starts, R, U).
    """

    u: Array
    loss: np.ndarray
    history: np.ndarray
    reasons: list[str]
    evaluations: np.ndarray
    slopes: tuple[Array, Array] | None = None


def _residuals(problem: AbstractProblem, strength: Array) -> Callable:
    """The compressed residuals as optimistix wants them, whose derivative is J itself."""

    @jax.custom_jvp
    def fn(u: Array) -> Array:
        return problem.compressed(u, strength)[0]

    @fn.defjvp
    def _(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
        r, J = problem.compressed(primals[0], strength)
        return r, J @ tangents[0]

    return lambda u, args: (fn(u), None)


class _LevenbergMarquardt(optx.AbstractGaussNewton):
    """`optimistix.LevenbergMarquardt` that lengthens its steps sooner, where the model was 75 % right."""

    rtol: Array
    atol: Array
    norm: Callable = optx.max_norm
    descent: optx.AbstractDescent = optx.DampedNewtonDescent()
    search: optx.AbstractSearch = optx.ClassicalTrustRegion(high_cutoff=0.75, low_cutoff=0.05)
    verbose: Callable = eqx.field(default=lambda **kwargs: None, static=True)


def _cosine(J: Array, r: Array) -> Array:
    """The largest cosine between the residuals and a column of J: 0 at an optimum."""
    size = jnp.linalg.norm(J, axis=0) * jnp.linalg.norm(r)
    return jnp.max(jnp.abs(r @ J) / jnp.where(size > 0, size, 1.0))


@eqx.filter_jit
def _lm_init(problem: AbstractProblem, solver: Any, u: Array, strength: Array) -> Any:
    fn = _residuals(problem, strength)
    like = jax.eval_shape(lambda u: fn(u, None)[0], u[0])

    def init(u: Array) -> Any:
        return solver.init(fn, u, None, _OPTIONS, like, None, frozenset())

    return eqx.filter_vmap(init)(u)


@eqx.filter_jit
def _lm_step(
    problem: AbstractProblem, solver: Any, u: Array, state: Any, done: Array, strength: Array
) -> tuple[Array, Any, Array, Array, Array, Array]:
    """One trial step of every start that is not done."""
    fn = _residuals(problem, strength)

    def step(u: Array, state: Any, done: Array) -> tuple:
        new_u, new_state, _ = solver.step(fn, u, None, _OPTIONS, state, frozenset())
        converged, result = solver.terminate(fn, new_u, None, _OPTIONS, new_state, frozenset())
        keep = lambda new, old: jnp.where(done, old, new) if eqx.is_array(new) else new
        new_u, new_state = jax.tree.map(keep, (new_u, new_state), (u, state))
        loss = (new_state.f_info.residual**2).sum()
        converged |= _cosine(new_state.f_info.jac.as_matrix(), new_state.f_info.residual) < solver.rtol
        failed = result != optx.RESULTS.successful
        return new_u, new_state, loss, converged, failed, new_state.num_steps_since_acceptance

    return eqx.filter_vmap(step)(u, state, done)


def levenberg_marquardt(
    problem: AbstractProblem, u: Array, strength: Any, steps: int, tol: float, tick: Callable[[], None]
) -> Solved:
    """Levenberg-Marquardt from every row of u.

    A start has converged when its unknowns settle to `tol`, its residuals are orthogonal to
    their slopes to `tol` or its loss falls by less than a hundredth of `tol` for some steps.
    """
    strength = jnp.asarray(strength, u.dtype)
    within = jnp.asarray(tol, u.dtype)  # an array, since a number would be compiled in
    solver = _LevenbergMarquardt(rtol=within, atol=within)
    state = _lm_init(problem, solver, u, strength)
    lanes = u.shape[0]
    done, reasons = np.zeros(lanes, bool), ["steps used up"] * lanes
    evaluations, history = np.zeros(lanes, int), []
    before, small_gains = np.full(lanes, np.inf), np.zeros(lanes, int)

    def stop(which: np.ndarray, reason: str) -> None:
        for lane in np.flatnonzero(which & ~done):
            reasons[lane] = reason
        done[which] = True

    for _ in range(steps):
        evaluations += ~done
        u, state, loss, converged, failed, futile = _lm_step(
            problem, solver, u, state, jnp.asarray(done), strength
        )
        history.append(np.asarray(loss))
        tick()
        stop(history[-1] >= _BLOWN_UP, "blew up")
        accepted, loss = np.asarray(futile) == 0, history[-1]
        small = before - loss <= 0.01 * tol * loss
        small_gains = np.where(accepted, np.where(small, small_gains + 1, 0), small_gains)
        before = loss
        stop(np.asarray(converged) | (small_gains >= _SMALL_GAIN), "converged")
        stop(np.asarray(futile) >= _FUTILE, "no better point found")
        stop(np.asarray(failed), "linear solve failed")
        if done.all():
            break
    slopes = state.f_info.residual, state.f_info.jac.pytree
    return Solved(u, history[-1], np.array(history), reasons, evaluations, slopes)


@eqx.filter_jit
def losses_of(problem: AbstractProblem, u: Array, strength: Array) -> Array:
    return jax.vmap(lambda u: problem.loss(u, strength))(u)


def evaluate(problem: AbstractProblem, u: Array, strength: Any) -> Solved:
    """The loss of every row of u as it is."""
    loss = np.asarray(losses_of(problem, u, jnp.asarray(strength, u.dtype)))
    reasons = ["not asked to move" if x else "blew up" for x in np.isfinite(loss)]
    return Solved(u, loss, loss[None], reasons, np.ones(u.shape[0], int))


@eqx.filter_jit
def _optax_step(
    problem: AbstractProblem, optimiser: Any, u: Array, state: Any, strength: Array
) -> tuple[Array, Any, Array]:
    import optax  # here, since it takes longer to import than the rest of the library

    lanes = u.shape[0]

    def step(u: Array, state: Any) -> tuple[Array, Any, Array]:
        loss, gradient = jax.value_and_grad(problem.loss)(u, strength, lanes)
        gradient = jnp.where(jnp.isfinite(gradient), gradient, 0.0)
        value_fn = lambda u: problem.loss(u, strength, lanes)
        with jax.numpy_dtype_promotion("standard"):  # optax mixes floats and counts
            updates, state = optimiser.update(
                gradient, state, u, value=loss, grad=gradient, value_fn=value_fn
            )
        moved: Any = optax.apply_updates(u, updates)
        return moved, state, loss

    return jax.vmap(step)(u, state)


def gradient_descent(
    problem: AbstractProblem,
    optimiser: Any,
    u: Array,
    strength: Any,
    steps: int,
    tick: Callable[[], None],
) -> Solved:
    """An optax optimiser from every row of u; the best point on each way counts."""
    import optax

    strength = jnp.asarray(strength, u.dtype)
    optimiser = optax.with_extra_args_support(optimiser)
    state = jax.vmap(optimiser.init)(u)
    best_u, best = np.array(u), np.full(u.shape[0], np.inf)
    since, history = np.zeros(u.shape[0], int), []
    for _ in range(steps):
        at = np.asarray(u)
        u, state, loss = _optax_step(problem, optimiser, u, state, strength)
        loss = np.where(np.isfinite(loss), loss, np.inf)
        history.append(loss)
        tick()
        since = np.where(loss < best * (1 - 1e-6), 0, since + 1)
        better = loss < best
        best_u[better], best = at[better], np.minimum(loss, best)
        if (since >= _PATIENCE).all():
            break
    stalled = np.where(np.isinf(best), "blew up", np.where(since >= _PATIENCE, "no better point found", ""))
    reasons = [str(reason) or "steps used up" for reason in stalled]
    evaluations = np.full(u.shape[0], len(history))
    return Solved(jnp.asarray(best_u), best, np.array(history), reasons, evaluations)
