"""Ion channels, one paper per file."""

from .hodgkin_huxley import (
    Leak as Leak,
    Potassium as Potassium,
    Sodium as Sodium,
)
