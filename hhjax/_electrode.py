"""From the current an amplifier injects to the current density a membrane sees."""

from typing import Any

import equinox as eqx
from jaxtyping import Array, Float

from ._parameters import as_float_array, param
from ._stimulus import Scaled, Stimulus

_PA_PER_UM2 = 100.0  # 1 pA/µm² = 100 µA/cm²


def _optional(x: Any) -> Array | None:
    return None if x is None else as_float_array(x)


class Electrode(eqx.Module):
    """How a recorded current reaches a cell: density = 100·current/area + offset + drift.

    All fields can be free in [`hh.fit`][].

    **Fields:**

    - `area`: membrane area, µm², for currents in pA; `None` for currents that are
        densities (µA/cm²) already.
    - `offset`: a constant current that the record does not show, µA/cm².
    - `drift`: one more for each sweep, µA/cm², shape (sweeps,), for a cell whose rest wanders
        from sweep to sweep; `None` for none.
    """

    area: Float[Array, "..."] | None = eqx.field(
        default=None,
        converter=_optional,
        metadata={"param": True, "unit": "µm²", "minimum": None, "positive": True},
    )
    offset: Float[Array, "..."] = param(0.0, unit="µA/cm²")
    drift: Float[Array, " sweeps"] | None = eqx.field(
        default=None, converter=_optional, metadata={"unit": "µA/cm²"}
    )

    def stimulus(self, current: Stimulus, sweep: Any = 0) -> Stimulus:
        """The `current` recorded in `sweep` (pA, or µA/cm² without an area), in µA/cm²."""
        density = current if self.area is None else Scaled(current, _PA_PER_UM2 / self.area)
        return density + (self.offset if self.drift is None else self.offset + self.drift[sweep])
