"""Plots of runs, fits, sweeps and analyses. Each takes an optional matplotlib `ax`, or `axes`, and
returns the artists it drew.

matplotlib is imported by this module alone, and this module by no other of the library.
"""

from .._draw import COLOURS as COLOURS
from ._cells import along as along, morphology as morphology, places as places
from ._curves import (
    bifurcation as bifurcation,
    fi_curve as fi_curve,
    impedance as impedance,
    prc as prc,
    sweep as sweep,
    work_precision as work_precision,
)
from ._explore import explore as explore
from ._fit import fit as fit, fit_report as fit_report
from ._network import connectivity as connectivity, raster as raster, raster_and_rate as raster_and_rate
from ._phase import phase_plane as phase_plane
from ._posterior import corner as corner, predictive as predictive, profile as profile
from ._protocols import (
    activation as activation,
    current_clamp as current_clamp,
    iv_curve as iv_curve,
    sensitivity as sensitivity,
    voltage_clamp as voltage_clamp,
)
from ._score import score as score
from ._traces import currents as currents, gates as gates, response as response, traces as traces
