"""The pyramidal cell of Traub and Miles, as in the COBAHH benchmark."""

from jaxtyping import Array

from .._neuron import Neuron
from ..channels import Leak, TraubMilesPotassium, TraubMilesSodium


def traub_miles(VT: float | Array = -63.0) -> Neuron:
    """The neuron of benchmark 3 (COBAHH) of R. Brette et al., J. Comput. Neurosci. 23 (2007) 349-398.

    After Traub and Miles (1991). Channels `na` (g = 100 mS/cm², E = 50 mV), `k` (30, −90) and
    `leak` (0.05, −60); C = 1 µF/cm². It fires without current, at 13.85 Hz.

    **Arguments:** `VT`: mV, adjusts the threshold.
    """
    channels = {
        "na": TraubMilesSodium(VT=VT),
        "k": TraubMilesPotassium(VT=VT),
        "leak": Leak(g=0.05, E=-60.0),
    }
    return Neuron(channels)
