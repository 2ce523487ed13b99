"""What belongs to a window of time: one rule, for everything that counts.

A window takes what happens later than `start` and not later than `stop`, so that windows side by side count
everything once. A step, or an interval between two samples, happens where it ends. A spike is an upward
crossing: V is below the threshold at one sample and no longer at the next. So none lies on the first sample,
one on the last counts, and a cell that is above threshold when a window opens has spiked before. Samples
themselves are taken with both ends. Times that differ by rounding are the same.
"""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array


def _rounding(t: Any) -> Any:
    """How far times on a grid, t0 + i·dt, may be off in their float type."""
    return 2 * float(jnp.finfo(t.dtype).eps) * abs(t)


def takes(t: Any, start: Any, stop: Any = jnp.inf) -> Any:
    """Whether what happens at `t` (ms, any shape) belongs to the window."""
    early = t - _rounding(t)
    return (early > start) & (early <= stop)


def takes_samples(ts: Any, start: Any, stop: Any, apart: float = 0.0) -> Any:
    """Whether samples at `ts` (ms) belong to the window, with room for times that are `apart` (ms)."""
    slack = _rounding(ts) + apart
    return (ts + slack >= start) & (ts - slack <= stop)


def takes_spike(before: Any, t: Any, v: Array, V: Array, start: Any, stop: Any = jnp.inf) -> Array:
    """Whether V, measured from the threshold, crosses it upward within the window.

    **Arguments:** `before`, `t`: the times (ms) of two samples; `v`, `V`: at these. The time of the crossing
    is that of a straight line.
    """
    up = (v < 0) & (V >= 0)
    rise, late = V - v, V * (t - before)  # it is late/rise before t; without the division, which costs
    since = lambda edge: (t - edge - _rounding(t)) * rise
    return up & (since(start) > late) & (since(stop) <= late)


def length(ts: Any, start: Any, stop: Any) -> Array:
    """How much of the window (ms) a trace with samples at `ts` shows."""
    return jnp.minimum(ts[-1], stop) - jnp.maximum(ts[0], start)
