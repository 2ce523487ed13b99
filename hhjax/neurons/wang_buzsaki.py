"""The fast-spiking interneuron of Wang and Buzsáki."""

from .._neuron import Neuron
from ..channels import Leak, WangBuzsakiPotassium, WangBuzsakiSodium


def wang_buzsaki() -> Neuron:
    """The hippocampal interneuron of X.-J. Wang and G. Buzsáki, J. Neurosci. 16 (1996) 6402-6413.

    Channels `na` (g = 35 mS/cm², E = 55 mV, activation at once), `k` (9, −90) and `leak`
    (0.1, −65); C = 1 µF/cm². It rests at −64.018 mV. Its synapse is
    `hh.GradedSynapse(E, reversal=-75.0, alpha=12.0, beta=0.1, half=0.0, slope=2.0)`.
    """
    channels = {"na": WangBuzsakiSodium(), "k": WangBuzsakiPotassium(), "leak": Leak(g=0.1, E=-65.0)}
    return Neuron(channels)
