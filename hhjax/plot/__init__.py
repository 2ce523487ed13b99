"""Plots of runs and fits. Each takes an optional matplotlib `ax` and returns the artists it drew.

matplotlib is imported by this module alone, and this module by no other of the library.
"""

from ._protocols import (
    activation as activation,
    current_clamp as current_clamp,
    iv_curve as iv_curve,
    sensitivity as sensitivity,
    voltage_clamp as voltage_clamp,
)
from ._style import COLOURS as COLOURS
from ._traces import fi_curve as fi_curve, fit as fit, raster as raster, traces as traces
