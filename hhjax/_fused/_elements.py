"""Arrays of the elements that a lane holds."""

from collections.abc import Sequence
from typing import Any

import numpy as np

# Lanes of one instance of the kernel: a warp, so that few neurons spread over many processors.
BLOCK = 32

# The number of neurons for which a step of lanes is traced: marks the axis along which they lie.
LANES = 1009

MOST = 1000  # elements of one array, fewer than LANES


def folded(shape: Sequence[int]) -> tuple[int, ...]:
    """The shape of the elements of one lane."""
    return tuple(1 if size == LANES else size for size in shape)


def as_elements(parts: Sequence[Any], shape: Sequence[int]) -> np.ndarray:
    """An array of objects, which numpy must not look into."""
    elements = np.empty(len(parts), object)
    for k, x in enumerate(parts):
        elements[k] = x
    return elements.reshape(folded(shape))
