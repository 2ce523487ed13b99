"""Published neurons, with their sources. `by_name` maps names to functions that make them."""

import functools
import types
from typing import Any

from jaxtyping import Array

from ._base.arguments import check_choice
from ._model.neuron import Neuron
from .channels._channel import AbstractChannel
from .channels._ion import calcium
from .channels.boltzmann import BoltzmannKv1, BoltzmannKv3, BoltzmannM, BoltzmannSlowSodium, BoltzmannSodium
from .channels.connor_stevens import ACurrent, ConnorStevensPotassium, ConnorStevensSodium
from .channels.destexhe import HCurrent, PotassiumLeak, ReticularTCalcium
from .channels.hodgkin_huxley import Leak, Potassium, Sodium
from .channels.morris_lecar import MorrisLecarCalcium, MorrisLecarPotassium
from .channels.pospischil import LCalcium, MCurrent, TCalcium
from .channels.traub_miles import TraubMilesPotassium, TraubMilesSodium
from .channels.wang_buzsaki import WangBuzsakiPotassium, WangBuzsakiSodium

# The squid giant axon.


def squid_axon(celsius: float | Array = 6.3) -> Neuron:
    """The space-clamped squid giant axon of Hodgkin and Huxley (1952), table 3.

    Channels `na` (g = 120 mS/cm², E = 50 mV), `k` (36, −77) and `leak` (0.3, −54.387);
    C = 1 µF/cm². It rests at −64.996 mV, fires repetitively from 6.26 µA/cm² and falls
    silent through a Hopf point at 154.5 µA/cm².

    **Arguments:** `celsius`: temperature, °C; gates speed up by 3 for every 10 °C.
    """
    channels = {
        "na": Sodium(),
        "k": Potassium(),
        "leak": Leak(),
    }
    return Neuron(channels, celsius=celsius)


# The pyramidal cell of Traub and Miles, as in the COBAHH benchmark.


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


# The fast-spiking interneuron of Wang and Buzsáki.


def wang_buzsaki() -> Neuron:
    """The hippocampal interneuron of X.-J. Wang and G. Buzsáki, J. Neurosci. 16 (1996) 6402-6413.

    Channels `na` (g = 35 mS/cm², E = 55 mV, activation at once), `k` (9, −90) and `leak`
    (0.1, −65); C = 1 µF/cm². It rests at −64.018 mV. Its synapse is
    `hh.GradedSynapse(E, reversal=-75.0, alpha=12.0, beta=0.1, half=0.0, slope=2.0)`.
    """
    channels = {"na": WangBuzsakiSodium(), "k": WangBuzsakiPotassium(), "leak": Leak(g=0.1, E=-65.0)}
    return Neuron(channels)


# The crab axon with an A current.


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


# Four classes of cortical neurons.
# M. Pospischil et al., "Minimal Hodgkin-Huxley type models for different classes of cortical and
# thalamic neurons", Biol. Cybern. 99 (2008) 427-441, with the parameters of the authors' files
# (ModelDB 123623). Here the reversal potential of calcium is fixed at 120 mV, as the paper has it; make
# the neuron with `hh.channels.LCalcium()` and `ions={"ca": hh.calcium("l")}` to have it follow the
# concentration as in the files.


def _cell(g_k: float, leak: Leak, **more: AbstractChannel) -> Neuron:
    channels: dict[str, AbstractChannel] = {
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
    return _cell(5.0, Leak(g=0.01, E=-85.0), m=MCurrent(g=0.03), t=TCalcium(E=120.0))


# The barnacle muscle fibre, in the two sets of parameters in use.


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
    p = _SETS[check_choice("onset", onset, _SETS)]
    channels = {
        "ca": MorrisLecarCalcium(g=p["g_ca"]),
        "k": MorrisLecarPotassium(V3=p["V3"], V4=p["V4"], phi=p["phi"]),
        "leak": Leak(g=2.0, E=-60.0),
    }
    return Neuron(channels, C=20.0)


# Thalamic relay and reticular cells.
# A. Destexhe, T. Bal, D. A. McCormick and T. J. Sejnowski, J. Neurophysiol. 76 (1996) 2049-2070, with
# the parameters of the authors' files (ModelDB 3343).


def thalamic_relay() -> Neuron:
    """A thalamocortical relay cell, which bursts on rebound (Destexhe et al. 1996, ModelDB 3343).

    Channels `na` (g = 90 mS/cm², E = 50 mV), `k` (10, −100), both with VT = −25 mV, `t` (2, Nernst),
    `h` (0.02, −40), `leak` (0.01, −70) and `k_leak` (0.0138, −100); ion `ca`; 36 °C; C = 1 µF/cm². The
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
    return Neuron(channels, ions={"ca": calcium("t")}, celsius=36.0)


def thalamic_reticular() -> Neuron:
    """A thalamic reticular cell, which bursts on rebound (Destexhe et al. 1996, ModelDB 3343).

    Channels `na` (g = 200 mS/cm², E = 50 mV), `k` (20, −100), both with VT = −55 mV, `t` (3,
    Nernst) and `leak` (0.05, −90); ion `ca`; 36 °C; C = 1 µF/cm².
    """
    channels = {
        "na": TraubMilesSodium(g=200.0, E=50.0, VT=-55.0),
        "k": TraubMilesPotassium(g=20.0, E=-100.0, VT=-55.0),
        "t": ReticularTCalcium(),
        "leak": Leak(g=0.05, E=-90.0),
    }
    return Neuron(channels, ions={"ca": calcium("t")}, celsius=36.0)


# Cells whose kinetics are free, to start a fit from. Chosen by a random search among channels that fire, for
# the figures in the docstrings.


def fast_spiking() -> Neuron:
    """A fast-spiking cortical cell all of whose kinetics are free, to start a fit from.

    Channels `na` ([`hh.channels.BoltzmannSodium`][], g = 80 mS/cm²), `kv3` (45), `kv1` (0.15) and `leak`
    (0.15, −70); C = 1 µF/cm². Made to have spikes of 0.32 ms at half their height (D. A. McCormick et al., J.
    Neurophysiol. 54 (1985) 782-806) and not to adapt (B. Cauli et al., J. Neurosci. 17 (1997) 3894-3906). It
    rests at −70.19 mV, and fires from 2.45 µA/cm² on; at 15 µA/cm² at 270 Hz.
    """
    channels = {
        "na": BoltzmannSodium(
            g=80.0, m_half=-32.0, m_slope=6.5, m_tau=0.06, h_half=-51.0, h_slope=-8.0, h_tau=0.9
        ),
        "kv3": BoltzmannKv3(g=45.0, n_half=-16.0, n_slope=7.0, n_tau=1.8),
        "kv1": BoltzmannKv1(g=0.15),
        "leak": Leak(g=0.15, E=-70.0),
    }
    return Neuron(channels)


_REGULAR_SODIUM: dict[str, Any] = {
    "g": 100.0,
    "m_half": -35.0,
    "m_slope": 8.0,
    "m_tau": 0.06,
    "h_half": -46.0,
    "h_slope": -5.5,
    "h_tau": 1.2,
}


def regular_spiking() -> Neuron:
    """A regular-spiking cortical cell all of whose kinetics are free, to start a fit from.

    Channels `na` ([`hh.channels.BoltzmannSodium`][], g = 100 mS/cm²), `kv3` (17, as any delayed
    rectifier), `m` (0.3) and `leak` (0.05, −72); C = 1 µF/cm². Made to have spikes of 0.80 ms at half their
    height (D. A. McCormick et al., J. Neurophysiol. 54 (1985) 782-806) and a rate that falls by some 66 %
    within 200 ms (pyramidal cells in B. Cauli et al., J. Neurosci. 17 (1997) 3894-3906, table 1). It rests at
    −73.84 mV, and fires from 0.46 µA/cm² on; at 4 µA/cm² at first at 130 Hz, in the end at 33.
    """
    channels = {
        "na": BoltzmannSodium(**_REGULAR_SODIUM),
        "kv3": BoltzmannKv3(g=17.0, n_half=-8.0, n_slope=7.0, n_tau=3.0),
        "m": BoltzmannM(g=0.3),
        "leak": Leak(g=0.05, E=-72.0),
    }
    return Neuron(channels)


def adapting() -> Neuron:
    """A [`hh.regular_spiking`][] cell that remembers for seconds, to start a fit of a recorded cell from.

    Besides, its sodium channels inactivate slowly ([`hh.channels.BoltzmannSlowSodium`][]), and `ahp`, a
    second [`hh.channels.BoltzmannM`][] (g = 0.02 mS/cm²), opens and shuts within 500 ms. Both are weak,
    for a fit to make them stronger: they make spikes lower and rarer in a long step, and late after it.
    """
    channels = {
        "na": BoltzmannSlowSodium(**_REGULAR_SODIUM),
        "ahp": BoltzmannM(g=0.02, p_half=-20.0, p_slope=8.0, p_tau=0.0, p_tau_min=500.0),
    }
    return Neuron(regular_spiking().channels | channels)


by_name = types.MappingProxyType(
    {
        "squid_axon": squid_axon,
        "traub_miles": traub_miles,
        "wang_buzsaki": wang_buzsaki,
        "connor_stevens": connor_stevens,
        "pospischil_rs": pospischil_rs,
        "pospischil_fs": pospischil_fs,
        "pospischil_ib": pospischil_ib,
        "pospischil_lts": pospischil_lts,
        "morris_lecar": morris_lecar,
        "morris_lecar_snic": functools.partial(morris_lecar, "snic"),
        "thalamic_relay": thalamic_relay,
        "thalamic_reticular": thalamic_reticular,
        "fast_spiking": fast_spiking,
        "regular_spiking": regular_spiking,
        "adapting": adapting,
    }
)
