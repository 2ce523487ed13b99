"""Plots of runs, fits and analyses. Each takes an optional matplotlib `ax` and returns the artists it drew.

matplotlib is imported by this module alone, and this module by no other of the library.
"""

from ._dynamics import bifurcation as bifurcation, impedance as impedance, prc as prc
from ._style import COLOURS as COLOURS
from ._traces import fi_curve as fi_curve, fit as fit, raster as raster, traces as traces
