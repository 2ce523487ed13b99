"""Synapses: ones that follow the presynaptic V, and ones driven by detected spikes."""

from .inputs import Poisson as Poisson, SpikeTrains as SpikeTrains
from .kinetic import (
    AMPA as AMPA,
    GABAA as GABAA,
    GABAB as GABAB,
    GapJunction as GapJunction,
    GradedSynapse as GradedSynapse,
    NMDA as NMDA,
)
from .spiking import (
    AlphaSynapse as AlphaSynapse,
    DoubleExponentialSynapse as DoubleExponentialSynapse,
    ExponentialSynapse as ExponentialSynapse,
    SpikeSynapse as SpikeSynapse,
    TsodyksMarkram as TsodyksMarkram,
)
