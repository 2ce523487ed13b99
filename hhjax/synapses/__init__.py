"""Synapses: kinetic ones that follow the presynaptic V, and ones driven by detected spikes."""

from .gap import GapJunction as GapJunction
from .inputs import Poisson as Poisson, SpikeTrains as SpikeTrains
from .kinetic import AMPA as AMPA, GABAA as GABAA, GABAB as GABAB, NMDA as NMDA
from .plasticity import TsodyksMarkram as TsodyksMarkram
from .spiking import (
    AlphaSynapse as AlphaSynapse,
    DoubleExponentialSynapse as DoubleExponentialSynapse,
    ExponentialSynapse as ExponentialSynapse,
    SpikeSynapse as SpikeSynapse,
)
