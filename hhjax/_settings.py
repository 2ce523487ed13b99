"""Arguments of a run that a compiled function depends on."""

from typing import Any

import equinox as eqx
import jax
import numpy as np


class Settings:
    """Arguments of [`hh.simulate`][] that are compiled in; equal ones compile once."""

    def __init__(self, **options: Any):
        self.options = options
        leaves, structure = jax.tree.flatten(options)
        self._key = (tuple(np.asarray(x).tobytes() if eqx.is_array(x) else x for x in leaves), structure)

    def __eq__(self, other: Any) -> bool:
        return isinstance(other, Settings) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)
