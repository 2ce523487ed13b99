"""Shapes of neurons with dendrites and axons."""

from ._morphology import Compartments as Compartments, Morphology as Morphology, Section as Section

__all__ = ["Compartments", "Morphology", "Section"]
