"""The squid giant axon."""

from jaxtyping import Array

from .._neuron import Neuron
from ..channels import Leak, Potassium, Sodium


def squid_axon(celsius: float | Array = 6.3) -> Neuron:
    """The space-clamped squid giant axon of Hodgkin and Huxley (1952), table 3.

    Channels `na` (g = 120 mS/cm², E = 50 mV), `k` (36, −77) and `leak` (0.3, −54.387);
    C = 1 µF/cm². It rests at −64.996 mV, fires repetitively from 6.26 µA/cm² and falls
    silent through a Hopf point at 154.5 µA/cm².

    **Arguments:** `celsius`: temperature, °C; gates speed up by 3 for every 10 °C.
    """
    channels = {
        "na": Sodium(celsius=celsius),
        "k": Potassium(celsius=celsius),
        "leak": Leak(),
    }
    return Neuron(channels)
