"""Features of voltage traces, for losses and sensitivities.

Each takes `ts` (ms, shape (times,)) and `V` (mV, shape (..., times, n)) and returns shape
(..., n), [`extract`][] a dict of that. All can be differentiated; where a hard count or maximum has no
useful slope, a smooth one stands in for it. A window from `start` to `stop` has the samples at both ends;
what happens between two samples belongs to it if it ends later than `start` and not later than `stop`. One
without samples is refused, or under `jit` NaN.
"""

from ._extract import extract as extract
from ._windows import (
    ahp_depth as ahp_depth,
    mean as mean,
    peak as peak,
    rest as rest,
    spike_count as spike_count,
    spike_rate as spike_rate,
    trough as trough,
)
