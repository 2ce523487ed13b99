"""Thalamic relay and reticular cells.

A. Destexhe, T. Bal, D. A. McCormick and T. J. Sejnowski, J. Neurophysiol. 76 (1996) 2049-2070, with
the parameters of the authors' files (ModelDB 3343).
"""

from .._neuron import Neuron
from .._pool import CalciumPool
from ..channels import (
    HCurrent,
    Leak,
    PotassiumLeak,
    ReticularTCalcium,
    TCalcium,
    TraubMilesPotassium,
    TraubMilesSodium,
)


def thalamic_relay() -> Neuron:
    """A thalamocortical relay cell, which bursts on rebound (Destexhe et al. 1996, ModelDB 3343).

    Channels `na` (g = 90 mS/cm², E = 50 mV), `k` (10, −100), both with VT = −25 mV, `t` (2, Nernst),
    `h` (0.02, −40), `leak` (0.01, −70) and `k_leak` (0.0138, −100); pool `ca`; C = 1 µF/cm². The
    binding of calcium to the h channel, which in the paper makes spindles wane, is left out.
    """
    channels = {
        "na": TraubMilesSodium(g=90.0, E=50.0, VT=-25.0),
        "k": TraubMilesPotassium(g=10.0, E=-100.0, VT=-25.0),
        "t": TCalcium(g=2.0),
        "h": HCurrent(),
        "leak": Leak(g=0.01, E=-70.0),
        "k_leak": PotassiumLeak(),
    }
    return Neuron(channels, pools={"ca": CalciumPool("t")})


def thalamic_reticular() -> Neuron:
    """A thalamic reticular cell, which bursts on rebound (Destexhe et al. 1996, ModelDB 3343).

    Channels `na` (g = 200 mS/cm², E = 50 mV), `k` (20, −100), both with VT = −55 mV, `t` (3,
    Nernst) and `leak` (0.05, −90); pool `ca`; C = 1 µF/cm².
    """
    channels = {
        "na": TraubMilesSodium(g=200.0, E=50.0, VT=-55.0),
        "k": TraubMilesPotassium(g=20.0, E=-100.0, VT=-55.0),
        "t": ReticularTCalcium(),
        "leak": Leak(g=0.05, E=-90.0),
    }
    return Neuron(channels, pools={"ca": CalciumPool("t")})
