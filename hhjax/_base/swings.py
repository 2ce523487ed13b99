"""Firing that does not reach the threshold, and the one warning that says so."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .host import warn
from .parameters import is_concrete

SWING = 10.0  # mV, up and down again

_LOWEST = -1e3  # mV from the threshold, below which nothing fires and digits would be lost


def swings_below(V: Any, threshold: Any) -> np.ndarray:
    """Whether V rises and falls by more than 10 mV without crossing the threshold, shape (n,).

    **Arguments:** `V`: mV, shape (times, n), of which NaN is left out; `threshold`: mV, scalar or (n,).
    """
    V = np.asarray(V, float) - np.asarray(threshold, float)
    below = (V < 0) & np.isfinite(V)
    # The least V since the last stay above the threshold, and until the next one: a cumulative minimum, for
    # which each further stay lowers V by more than its range.
    stay = np.cumsum(~below, axis=0)
    V = np.where(below, np.maximum(V, _LOWEST), 0.0)
    deep = 1.0 - _LOWEST
    so_far = np.minimum.accumulate(V - deep * stay, axis=0) + deep * stay
    stay = stay[-1:] - stay
    later = np.minimum.accumulate((V - deep * stay)[::-1], axis=0)[::-1] + deep * stay
    return (below & (V - so_far > SWING) & (V - later > SWING)).any(axis=0)


def in_silence(found: Any, fires: Any, cells: np.ndarray | None) -> np.ndarray:
    """`found` where nothing of the same cell fires: in a cell a spike fades on its way into dendrites.

    **Arguments:** `found`: truth values, shape (..., n); `fires`: likewise, or how often; `cells`:
    the number of the cell that each belongs to, shape (n,), or `None` for neurons without compartments.
    """
    found = np.asarray(found)
    if cells is None or not found.any():
        return found
    order = np.argsort(cells, kind="stable")
    starts = np.flatnonzero(np.diff(cells[order], prepend=-1))
    of_cell = np.logical_or.reduceat(np.asarray(fires)[..., order] > 0, starts, axis=-1)
    return found & ~of_cell[..., cells]


def start_swing(V: Array) -> tuple[Array, Array, Array]:
    """What `swing` carries before the first step."""
    return jnp.full_like(V, jnp.inf), jnp.full_like(V, -jnp.inf), jnp.zeros(V.shape, bool)


def swing(carry: tuple[Array, Array, Array], V: Array, counts: Any) -> tuple[Array, Array, Array]:
    """`swings_below` step by step: the least V of a stay, the highest that rose from it, and the answer.

    **Arguments:** `V`: from the threshold, mV; `counts`: whether the step does.
    """
    low, high, found = carry
    below = (V < 0) & counts
    low = jnp.where(below, jnp.minimum(low, V), jnp.inf)
    high = jnp.where(below, jnp.where(V - low > SWING, jnp.maximum(high, V), high), -jnp.inf)
    return low, high, found | (high - V > SWING)


def warn_of_swings(found: Any, threshold: Any, of: str = "neuron") -> None:
    """Say that some of those asked by `swings_below` fire below the threshold, if any do.

    **Arguments:** `found`: truth values, any shape; `threshold`: mV; `of`: what they are of.
    """
    if not (is_concrete(found) and is_concrete(threshold)) or not np.any(found):
        return
    count, asked = int(np.sum(found)), np.size(found)
    what, *whose = of.split(" ", 1)
    which = " ".join([f"{count} of {asked} {what}s", *whose]) if asked > 1 else f"one {of}"
    levels = np.unique(np.asarray(threshold, float))
    level = f"{levels[0]:g}" if levels.size == 1 else f"{levels[0]:g} to {levels[-1]:g}"
    warn(
        f"V of {which} rises and falls by more than {SWING:g} mV below the threshold of {level} mV, where no "
        "spikes are counted. Give a lower `threshold` if these are spikes."
    )
