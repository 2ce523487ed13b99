"""The smallest current with which a cell fires."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from .._base.arguments import as_array, as_number
from .._base.host import Settings
from .._base.parameters import cast_floats, is_concrete, run_dtype
from .._base.swings import warn_of_swings
from .._model.network import Network
from .._model.neuron import Neuron
from .._run.reducers import SpikeCount, Swings
from .._run.simulate import simulate
from ._current_clamp import check_duration, start_potential
from ._system import one_neuron


def check_tol(tol: Any) -> float:
    """How narrow a bracket is in the end, as a fraction."""
    tol = as_number("tol", tol)
    if not 0 < tol < 1:
        raise ValueError(f"`tol` must lie between 0 and 1, got {tol!r}.")
    return tol


def refine(
    fires: Callable[[Array], Array], low: Array, high: Array, points: int, tol: float
) -> tuple[Array, Array]:
    """A bracket of where firing begins, made narrower by batches of `points` to `tol` of its width.

    **Arguments:** `fires`: from currents, (points,), to whether each makes the cell fire; it does
    not at `low` and does at `high`.
    """
    for _ in range(int(np.ceil(np.log(1 / tol) / np.log(points - 1)))):
        currents = jnp.linspace(low, high, points)
        # The ends are known, so that one of the others is where it begins.
        k = jnp.argmax(fires(currents).at[-1].set(True).at[0].set(False))
        low, high = currents[k - 1], currents[k]
    return low, high


@eqx.filter_jit
def _spikes(
    neuron: Neuron, currents: Array, v0: Array, threshold: Array, options: Any
) -> tuple[Array, Array, Array]:
    """Whether there are spikes, whether V rises and falls below the threshold, whether the run is finite."""
    run = simulate(
        Network(neuron, n=currents.size),
        stimulus=currents,
        v0=v0,
        reduce=(SpikeCount(threshold), Swings(threshold)),
        throw=False,
        **options.options,
    )
    return run.reduced[0] > 0, run.reduced[1], run.finite


def rheobase(
    neuron: Neuron,
    low: ArrayLike,
    high: ArrayLike,
    *,
    duration: float = 500.0,
    tol: float = 1e-6,
    dt: float = 0.025,
    solver: Any = None,
    v0: ArrayLike | None = None,
    threshold: ArrayLike = 0.0,
) -> Float[Array, ""]:
    """The smallest step of current that makes a cell at rest fire, µA/cm².

    Found by batches of 17 currents, each within the bracket of the one before. It has no
    derivative.

    **Arguments:**

    - `neuron`: an [`hh.Neuron`][].
    - `low`, `high`: a current too small and one large enough, µA/cm².
    - `duration`: of the step, ms, within which a spike counts.
    - `tol`: how narrow the bracket is in the end, as a fraction of high − low.
    - `dt`, `solver`, `v0`, `threshold`: as in [`hh.analysis.current_clamp`][].

    **Raises:** `ValueError` if the cell fires at `low` or does not at `high`, or runs turn infinite or NaN;
    NaN under `jit`. You are warned where V rises and falls by more than 10 mV below the threshold.
    """
    neuron = one_neuron(neuron)
    dtype = run_dtype(neuron)
    neuron = cast_floats(neuron, dtype)
    ends = (as_array(*it, "µA/cm²", dtype, shapes=[()]) for it in (("low", low), ("high", high)))
    low, high = jax.lax.stop_gradient(tuple(ends))
    if is_concrete(low) and is_concrete(high) and not low < high:
        raise ValueError(f"`low` must be less than `high` (µA/cm²), got {low:g} and {high:g}.")
    tol = check_tol(tol)
    threshold = as_array("threshold", threshold, "mV", dtype, shapes=[()])
    v0 = start_potential(neuron, v0, dtype)
    neuron, v0, threshold = jax.lax.stop_gradient((neuron, v0, threshold))
    options = Settings(t1=check_duration("duration", duration), dt=dt, solver=solver)
    fires = lambda currents: _spikes(neuron, currents, v0, threshold, options)[0]
    points = 17
    ends, missed, finite = _spikes(neuron, jnp.linspace(low, high, points), v0, threshold, options)
    finite = finite.all()
    if is_concrete(finite):
        if not finite:
            raise ValueError(f"`dt` must be shorter: runs turned infinite or NaN, got {dt!r} ms.")
        warn_of_swings(missed, threshold, "current")
    good = (low < high) & ~ends[0] & ends[-1]
    if is_concrete(good) and not good:
        raise ValueError(
            f"`low` = {low:g} and `high` = {high:g} µA/cm² must enclose the rheobase: "
            f"the cell {'fires' if ends[0] else 'is silent'} at `low` and "
            f"{'fires' if ends[-1] else 'is silent'} at `high`."
        )
    _, high = refine(fires, low, high, points, tol)
    return jnp.where(good & finite, high, jnp.nan)
