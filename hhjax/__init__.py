"""Hodgkin-Huxley neurons in JAX: simulate, sweep and fit.

Units, everywhere: ms, mV, µA/cm², mS/cm², µF/cm², mM, °C.
"""

from . import (
    analysis as analysis,
    channels as channels,
    connect as connect,
    features as features,
    losses as losses,
    neurons as neurons,
    recordings as recordings,
    steppers as steppers,
    synapses as synapses,
)
from ._channel import (
    AlphaBeta as AlphaBeta,
    Channel as Channel,
    InfTau as InfTau,
    Instantaneous as Instantaneous,
    q10 as q10,
)
from ._channel_noise import with_channel_noise as with_channel_noise
from ._cores import use_cores as use_cores
from ._coupling import AbstractCoupling as AbstractCoupling, GradedSynapse as GradedSynapse
from ._diffrax import as_diffrax as as_diffrax
from ._diffusion import brownian_shape as brownian_shape, diffusion as diffusion
from ._electrode import Electrode as Electrode
from ._files import load as load, load_notes as load_notes, save as save
from ._fit import (
    Fit as Fit,
    fit as fit,
    MultipleShooting as MultipleShooting,
    Nudging as Nudging,
    replay as replay,
    Score as Score,
    score as score,
)
from ._math import exprel as exprel, vtrap as vtrap
from ._network import Network as Network, vector_field as vector_field
from ._neuron import Neuron as Neuron, State as State
from ._noise import (
    CurrentNoise as CurrentNoise,
    OUConductance as OUConductance,
    OUCurrent as OUCurrent,
)
from ._parameters import param as param, Parameter as Parameter
from ._pool import CalciumPool as CalciumPool
from ._random import fast_key as fast_key
from ._recording import Recording as Recording
from ._reduce import (
    AbstractReducer as AbstractReducer,
    Extrema as Extrema,
    Extremes as Extremes,
    Histogram as Histogram,
    Mean as Mean,
    Reducer as Reducer,
    SpikeCount as SpikeCount,
    SpikeTimes as SpikeTimes,
)
from ._reference import reference as reference
from ._run.simulate import save_V as save_V, simulate as simulate
from ._solution import NonFiniteError as NonFiniteError, Solution as Solution
from ._spikes import (
    coincidence_factor as coincidence_factor,
    firing_rate as firing_rate,
    isi as isi,
    isi_cv as isi_cv,
    spike_times as spike_times,
)
from ._stimulus import (
    Clamp as Clamp,
    Constant as Constant,
    Pulses as Pulses,
    Ramp as Ramp,
    Sampled as Sampled,
    Scaled as Scaled,
    Sine as Sine,
    Step as Step,
    Stimulus as Stimulus,
    Sum as Sum,
)
from ._run.sweep import Axis as Axis, Sweep as Sweep, sweep as sweep
from .channels import Leak as Leak, Potassium as Potassium, Sodium as Sodium
from .neurons import (
    connor_stevens as connor_stevens,
    morris_lecar as morris_lecar,
    pospischil_fs as pospischil_fs,
    pospischil_ib as pospischil_ib,
    pospischil_lts as pospischil_lts,
    pospischil_rs as pospischil_rs,
    squid_axon as squid_axon,
    thalamic_relay as thalamic_relay,
    thalamic_reticular as thalamic_reticular,
    traub_miles as traub_miles,
    wang_buzsaki as wang_buzsaki,
)
from .steppers import AbstractStepper as AbstractStepper

__version__ = "0.1.0"
