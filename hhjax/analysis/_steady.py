"""The steady-state I-V curve of one neuron, and the special points on it."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._network import Network
from .._neuron import Neuron
from .._parameters import run_dtype
from ._system import prepare, System

_LOWEST, _HIGHEST, _POINTS = -150.0, 80.0, 2301  # mV: where rest is looked for, every 0.1 mV


def as_one_neuron(network: Any, stimulus: Any) -> System:
    """The system of one neuron in a current that all its parameters share."""
    system = prepare(network, stimulus)
    if system.network.n != 1 or system.current.size != 1:
        raise ValueError(
            f"`network` must be one neuron, got n = {system.network.n}: for a network take "
            "hh.analysis.equilibrium, from a guess."
        )
    return System(system.network, system.current.reshape(()))


def as_grid(V: Any, points: int, dtype: Any) -> Float[Array, " points"]:
    low, high = (float(x) for x in V)
    if not low < high:
        raise ValueError(f"`V` must be the lowest and highest mV to look at, got {V}.")
    return jnp.linspace(low, high, points, dtype=dtype)


def holding(system: System, V: Float[Array, ""]) -> Float[Array, ""]:
    """The current (µA/cm²) in which one neuron rests at V (mV): its steady-state I-V curve."""
    return system.current - system.unbalanced(V[None])[0]


def sign_changes(
    f: Callable[[Array], Array],
    grid: Float[Array, " points"],
    values: Array,
    most: int,
    *,
    rising: bool | None = None,
) -> Float[Array, " most"]:
    """Where f changes its sign between neighbours of a grid, by bisection, padded with NaN.

    **Arguments:** `f`: of a scalar; `values`: of f on the grid, at least with the right sign;
    `most`: how many are looked for; `rising`: whether f rises there, if only such count.
    """
    up = values > 0
    found = up[:-1] != up[1:] if rising is None else (up[1:] != up[:-1]) & (up[1:] == rising)
    (i,) = jnp.nonzero(found, size=most, fill_value=-1)

    def refine(low: Array, high: Array, up: Array) -> Array:
        def halve(_: Any, ends: tuple[Array, Array]) -> tuple[Array, Array]:
            middle = sum(ends) / 2
            as_low = (f(middle) > 0) == up
            return jnp.where(as_low, middle, ends[0]), jnp.where(as_low, ends[1], middle)

        return sum(jax.lax.fori_loop(0, 60, halve, (low, high))) / 2

    found = jax.vmap(refine)(grid[i], grid[i + 1], up[i])
    return jnp.where(i >= 0, found, jnp.nan)


def roots(
    f: Callable[[Array, System], Array],
    system: System,
    grid: Float[Array, " points"],
    most: int,
    *,
    rising: bool | None = None,
) -> Float[Array, " most"]:
    """`sign_changes` of a smooth f(V, system), with derivatives by the system.

    These are those of a step of Newton's method, so that they are exact to first order.
    """
    held = jax.lax.stop_gradient(system)
    at = sign_changes(lambda V: f(V, held), grid, jax.vmap(lambda V: f(V, held))(grid), most, rising=rising)
    there = jnp.isfinite(at)
    at = jnp.where(there, at, grid[0])
    slope = jax.vmap(jax.grad(lambda V: f(V, held)))(at)
    left = jax.vmap(lambda V: f(V, system))(at)
    moved = (left - jax.lax.stop_gradient(left)) / jnp.where(there, slope, 1.0)
    return jnp.where(there, at - moved, jnp.nan)


@eqx.filter_jit
def resting_potential(neuron: Neuron) -> Float[Array, ""]:
    """The lowest V (mV) at which the membrane rests without current; NaN if there is none.

    Differentiable. Whether the rest is stable is not asked.
    """
    system, grid = _alone(neuron)
    return roots(lambda V, system: holding(system, V), system, grid, 1, rising=True)[0]


@eqx.filter_jit
def first_fold(neuron: Neuron) -> Float[Array, ""]:
    """The current (µA/cm²) at which the resting state is lost in a fold; infinite if it never is.

    It is the first maximum of the steady current as V rises. Differentiable.
    """
    system, grid = _alone(neuron)
    slope = lambda V, system: jax.grad(lambda V: holding(system, V))(V)
    at = roots(slope, system, grid, 1, rising=False)[0]
    exists = jnp.isfinite(at)
    return jnp.where(exists, holding(system, jnp.where(exists, at, grid[0])), np.inf)


def _alone(neuron: Neuron) -> tuple[System, Array]:
    dtype = run_dtype(neuron)
    return System(Network(neuron), jnp.zeros((), dtype)), as_grid((_LOWEST, _HIGHEST), _POINTS, dtype)
