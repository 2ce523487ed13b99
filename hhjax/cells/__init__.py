"""Shapes of neurons with dendrites and axons."""

from ._morphology import Morphology as Morphology, Section as Section

__all__ = ["Morphology", "Section"]
