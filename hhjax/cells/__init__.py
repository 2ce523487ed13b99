"""Shapes of neurons with dendrites and axons."""

from ._morphology import Compartments as Compartments, Morphology as Morphology, Section as Section
from ._swc import load as load

__all__ = ["Compartments", "load", "Morphology", "Section"]
