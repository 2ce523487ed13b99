"""The steady-state I-V curve of one neuron, and the special points on it."""

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from .._base.arguments import as_range
from .._base.parameters import check_size, run_dtype
from .._model.network import Network
from .._model.neuron import Neuron
from .._run.spikes import spike_times
from ._system import eigenvalues_of, prepare, System

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
    return jnp.linspace(*as_range("V", V, "mV"), check_size("points", points, 3), dtype=dtype)


def holding(system: System, V: Float[Array, ""]) -> Float[Array, ""]:
    """The current (µA/cm²) in which one neuron rests at V (mV): its steady-state I-V curve."""
    return system.current - system.unbalanced(V[None])[0]


@eqx.filter_jit
def _holding_on(system: System, grid: Float[Array, " points"]) -> tuple[Array, Array]:
    """The steady-state I-V curve on a grid of V, and its slope (mS/cm²)."""
    return jax.jvp(jax.vmap(lambda V: holding(system, V)), (grid,), (jnp.ones_like(grid),))


class SteadyCurve(eqx.Module):
    """The equilibria of one neuron as a function of V.

    **Fields:** `V`: mV; `current`: µA/cm², in which it rests there; `slope`: of this I-V curve,
    mS/cm²; `eigenvalues`: of the Jacobian, 1/ms, the one with the greatest real part first.
    """

    V: Float[Array, " points"]
    current: Float[Array, " points"]
    slope: Float[Array, " points"]
    eigenvalues: Complex[Array, "points N"]


@eqx.filter_jit
def _jacobians(system: System, grid: Float[Array, " points"]) -> Float[Array, "points N N"]:
    return jax.vmap(lambda V: system.jacobian(system.network.init(V[None])))(grid)


def steady_curve(system: System, grid: Float[Array, " points"]) -> SteadyCurve:
    """The equilibria at every V of a grid. The current of `system` plays no part."""
    # One after the other: in one program two calls of LAPACK, of which Markov channels make several, have
    # waited for each other's threads for ever on two cores (JAX 0.10.2).
    current, slope = jax.block_until_ready(_holding_on(system, grid))
    jacobians = jax.block_until_ready(_jacobians(system, grid))
    return SteadyCurve(grid, current, slope, eigenvalues_of(jacobians))


def crossings(
    system: System, curve: SteadyCurve, f: Callable[[SteadyCurve], np.ndarray]
) -> list[tuple[SteadyCurve, int]]:
    """Where f changes its sign along a curve: a finer curve around each, and the point on it.

    A bracket is made narrower by as many points as the curve has, until its ends are neighbours
    in floating point; so nothing else is compiled.
    """
    found = []
    for i in _changes(f(curve)):
        fine, points = curve, curve.V.size
        for _ in range(math.ceil(60 * math.log(2) / math.log(points - 1))):
            ends = float(fine.V[i]), float(fine.V[i + 1])
            if np.nextafter(*np.asarray(ends, curve.V.dtype)) >= ends[1]:
                break
            fine = steady_curve(system, jnp.linspace(*ends, points, dtype=curve.V.dtype))
            changes = _changes(f(fine))
            if changes.size == 0:  # rounding hides the sign
                break
            i = int(changes[0])
        values = np.abs(f(fine))
        found.append((fine, i + int(values[i + 1] < values[i])))
    return found


def _changes(values: np.ndarray) -> np.ndarray:
    up = values > 0
    return np.nonzero(up[:-1] != up[1:])[0]


@eqx.filter_jit
def resting_potential(neuron: Neuron) -> Float[Array, ""]:
    """The lowest V (mV) at which the membrane rests without current; NaN if there is none.

    Differentiable. Whether the rest is stable is not asked.
    """
    system, grid = _alone(neuron)
    return spike_times(grid, jax.vmap(lambda V: holding(system, V))(grid), max_spikes=1)[0]


@eqx.filter_jit
def first_fold(neuron: Neuron) -> Float[Array, ""]:
    """The current (µA/cm²) at which the resting state is lost in a fold; infinite if it never is.

    It is the first maximum of the steady current as V rises. Differentiable.
    """
    system, grid = _alone(neuron)
    current, slope = _holding_on(system, grid)
    rises = slope > 0
    falls_after = rises[:-1] & ~rises[1:]
    k = jnp.argmax(falls_after)
    # The maximum of the cubic through both ends with their slopes; the current there is flat.
    width = grid[1] - grid[0]
    left, right, rise = width * slope[k], width * slope[k + 1], current[k + 1] - current[k]
    a, b = 3 * (left + right - 2 * rise), 6 * rise - 4 * left - 2 * right
    root = b - jnp.sqrt(jnp.maximum(b * b - 4 * a * left, jnp.finfo(b.dtype).tiny))
    exists = falls_after.any() & (root < 0)
    part = jnp.where(exists, -2 * left / jnp.where(exists, root, -1.0), 0.0)
    return jnp.where(exists, holding(system, grid[k] + part * width), np.inf)


def _alone(neuron: Neuron) -> tuple[System, Array]:
    dtype = run_dtype(neuron)
    return System(Network(neuron), jnp.zeros((), dtype)), as_grid((_LOWEST, _HIGHEST), _POINTS, dtype)
