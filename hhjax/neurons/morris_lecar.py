"""The barnacle muscle fibre, in the two sets of parameters in use."""

from .._neuron import Neuron
from ..channels import Leak, MorrisLecarCalcium, MorrisLecarPotassium

_SETS = {
    "hopf": dict(g_ca=4.4, V3=2.0, V4=30.0, phi=0.04),
    "snic": dict(g_ca=4.0, V3=12.0, V4=17.4, phi=0.067),
}


def morris_lecar(onset: str = "hopf") -> Neuron:
    """The barnacle muscle fibre of C. Morris and H. Lecar, Biophys. J. 35 (1981) 193-213.

    With the constants of Rinzel and Ermentrout (1998). Channels `ca` (E = 120 mV, activation at
    once), `k` (g = 8 mS/cm², E = −84 mV) and `leak` (2, −60); C = 20 µF/cm². It spikes to
    30 or 40 mV and takes currents of 40 to 200 µA/cm².

    **Arguments:** `onset`: how firing sets in as the current grows. `"hopf"` (type II): at
    93.86 µA/cm², with a rate above zero, from rest at −60.855 mV. `"snic"` (type I): at
    39.96 µA/cm², from rate zero, from rest at −59.474 mV.
    """
    if onset not in _SETS:
        raise ValueError(f"`onset` must be one of {', '.join(map(repr, _SETS))}, got {onset!r}.")
    p = _SETS[onset]
    channels = {
        "ca": MorrisLecarCalcium(g=p["g_ca"]),
        "k": MorrisLecarPotassium(V3=p["V3"], V4=p["V4"], phi=p["phi"]),
        "leak": Leak(g=2.0, E=-60.0),
    }
    return Neuron(channels, C=20.0)
