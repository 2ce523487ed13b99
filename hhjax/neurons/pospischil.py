"""Four classes of cortical neurons.

M. Pospischil et al., "Minimal Hodgkin-Huxley type models for different classes of cortical and
thalamic neurons", Biol. Cybern. 99 (2008) 427-441, with the parameters of the authors' files
(ModelDB 123623). Here the reversal potential of calcium is fixed at 120 mV, as the paper has it; give
the neuron a pool, `pools={"ca": hh.CalciumPool("l")}`, to have it follow the concentration as in
the files.
"""

from .._channel import Channel
from .._neuron import Neuron
from ..channels import LCalcium, Leak, MCurrent, TCalcium, TraubMilesPotassium, TraubMilesSodium


def _cell(g_k: float, leak: Leak, **more: Channel) -> Neuron:
    channels = {
        "na": TraubMilesSodium(g=50.0, E=50.0, VT=-55.0),
        "k": TraubMilesPotassium(g=g_k, E=-100.0, VT=-55.0),
        "leak": leak,
    }
    return Neuron(channels | more)


def pospischil_rs() -> Neuron:
    """A regular-spiking cell, which adapts (Pospischil et al. 2008, ModelDB 123623).

    Channels `na` (g = 50 mS/cm², E = 50 mV), `k` (5, −100), `m` (0.07, −100) and `leak` (0.1,
    −70); VT = −55 mV, C = 1 µF/cm². It rests at −70.571 mV.
    """
    return _cell(5.0, Leak(g=0.1, E=-70.0), m=MCurrent())


def pospischil_fs() -> Neuron:
    """A fast-spiking cell (Pospischil et al. 2008, ModelDB 123623).

    Channels `na` (g = 50 mS/cm², E = 50 mV), `k` (10, −100) and `leak` (0.15, −70);
    VT = −55 mV, C = 1 µF/cm². It rests at −70 mV.
    """
    return _cell(10.0, Leak(g=0.15, E=-70.0))


def pospischil_ib() -> Neuron:
    """An intrinsically bursting cell (Pospischil et al. 2008, ModelDB 123623).

    Channels `na` (g = 50 mS/cm², E = 50 mV), `k` (5, −100), `m` (0.03, −100), `l` (L-type calcium,
    0.17, 120) and `leak` (0.01, −85); VT = −55 mV, C = 1 µF/cm². It rests at −85.287 mV.
    """
    return _cell(5.0, Leak(g=0.01, E=-85.0), m=MCurrent(g=0.03), l=LCalcium())


def pospischil_lts() -> Neuron:
    """A cell with low-threshold spikes (Pospischil et al. 2008, ModelDB 123623).

    Channels `na` (g = 50 mS/cm², E = 50 mV), `k` (5, −100), `m` (0.03, −100), `t` (T-type calcium,
    0.4, 120) and `leak` (0.01, −85); VT = −55 mV, C = 1 µF/cm². It rests at −83.951 mV.
    """
    return _cell(5.0, Leak(g=0.01, E=-85.0), m=MCurrent(g=0.03), t=TCalcium())
