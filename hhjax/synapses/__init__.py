"""Synapses: ones that follow the presynaptic V, and ones driven by detected spikes."""

from .graded import GapJunction as GapJunction, GradedSynapse as GradedSynapse
from .inputs import Poisson as Poisson, SpikeTrains as SpikeTrains
from .kinetic import AMPA as AMPA, GABAA as GABAA, GABAB as GABAB, NMDA as NMDA
from .spiking import (
    AlphaSynapse as AlphaSynapse,
    DoubleExponentialSynapse as DoubleExponentialSynapse,
    ExponentialSynapse as ExponentialSynapse,
    SpikeSynapse as SpikeSynapse,
    TsodyksMarkram as TsodyksMarkram,
)
