"""From the current an amplifier injects to the current density a membrane sees."""

from typing import Any

import equinox as eqx
from jaxtyping import Array, Float

from ._parameters import as_float_array, param, Parameter
from ._stimulus import Scaled, Stimulus

_PA_PER_UM2 = 100.0  # 1 pA/µm² = 100 µA/cm²


def _optional(x: Any) -> Array | None:
    return None if x is None else as_float_array(x)


class Electrode(eqx.Module):
    """How a recorded current reaches a cell: density = 100·current/area + offset.

    Both fields can be free in [`hh.fit`][].

    **Fields:**

    - `area`: membrane area, µm², for currents in pA; `None` for currents that are
        densities (µA/cm²) already.
    - `offset`: a constant current that the record does not show, µA/cm².
    """

    area: Float[Array, "..."] | None = eqx.field(
        default=None,
        converter=_optional,
        metadata={"param": True, "unit": "µm²", "minimum": None, "positive": True},
    )
    offset: Parameter = param(0.0, unit="µA/cm²")

    def stimulus(self, current: Stimulus) -> Stimulus:
        """The recorded `current` (pA, or µA/cm² without an area) as a stimulus in µA/cm²."""
        return (current if self.area is None else Scaled(current, _PA_PER_UM2 / self.area)) + self.offset
