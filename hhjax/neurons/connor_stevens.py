"""The crab axon with an A current."""

from .._neuron import Neuron
from ..channels import ACurrent, ConnorStevensPotassium, ConnorStevensSodium, Leak


def connor_stevens() -> Neuron:
    """The axon of J. A. Connor, D. Walter and R. McKown, Biophys. J. 18 (1977) 81-102.

    With the constants of Dayan and Abbott (2001). Channels `na` (g = 120 mS/cm², E = 55 mV), `k`
    (20, −72), `a` (47.7, −75) and `leak` (0.3, −17); C = 1 µF/cm². It rests at −67.978 mV, and
    its A current lets it fire at any low rate.
    """
    channels = {
        "na": ConnorStevensSodium(),
        "k": ConnorStevensPotassium(),
        "a": ACurrent(),
        "leak": Leak(g=0.3, E=-17.0),
    }
    return Neuron(channels)
