"""Hodgkin-Huxley neurons in JAX: simulate, sweep and fit.

Units, everywhere: ms, mV, µA/cm², mS/cm², µF/cm², mM, °C; cells add µm, Ω·cm, nA.
"""

import importlib
from typing import Any

from . import (
    analysis as analysis,
    cells as cells,
    channels as channels,
    connect as connect,
    features as features,
    losses as losses,
    neurons as neurons,
    recordings as recordings,
    steppers as steppers,
    stimuli as stimuli,
    synapses as synapses,
)
from ._base.devices import use_cores as use_cores
from ._base.math import exprel as exprel, vtrap as vtrap
from ._base.parameters import param as param, Parameter as Parameter
from ._base.random import fast_key as fast_key
from ._fit._compare import compare as compare, Comparison as Comparison
from ._fit._evolution import Evolution as Evolution
from ._fit._fit import fit as fit
from ._fit._guess import Guess as Guess, guess as guess
from ._fit._guide import MultipleShooting as MultipleShooting, Nudging as Nudging
from ._fit._likelihood import Bootstrap as Bootstrap, Profile as Profile
from ._fit._replay import replay as replay
from ._fit._result import Fit as Fit
from ._fit._sample import Posterior as Posterior
from ._fit._score import Score as Score, score as score
from ._io.files import load as load, load_notes as load_notes, save as save
from ._io.saved import open as open, Saved as Saved
from ._model.cell import Cable as Cable, Cell as Cell
from ._model.names import get as get, replace as replace
from ._model.network import Network as Network, vector_field as vector_field
from ._model.neuron import Neuron as Neuron, State as State
from ._model.noise import (
    brownian_shape as brownian_shape,
    diffusion as diffusion,
    with_channel_noise as with_channel_noise,
)
from ._noise.currents import (
    CurrentNoise as CurrentNoise,
    OUConductance as OUConductance,
    OUCurrent as OUCurrent,
)
from ._run.axes import Axis as Axis
from ._run.currents import Currents as Currents, save_currents as save_currents
from ._run.non_finite import NonFiniteError as NonFiniteError
from ._run.reducers import (
    AbstractReducer as AbstractReducer,
    Extrema as Extrema,
    Extremes as Extremes,
    FiringRate as FiringRate,
    Histogram as Histogram,
    Mean as Mean,
    Reducer as Reducer,
    SpikeCount as SpikeCount,
    SpikeTimes as SpikeTimes,
)
from ._run.reference import reference as reference, steps_onto as steps_onto
from ._run.simulate import save_V as save_V, simulate as simulate
from ._run.solution import Solution as Solution
from ._run.spikes import (
    coincidence_factor as coincidence_factor,
    firing_rate as firing_rate,
    isi as isi,
    isi_cv as isi_cv,
    KeptSpikes as KeptSpikes,
    spike_times as spike_times,
)
from ._run.sweep import Sweep as Sweep, sweep as sweep, sweep_to as sweep_to
from ._run.to_disk import simulate_to as simulate_to
from ._version import __version__ as __version__
from .channels import Leak as Leak, Potassium as Potassium, Sodium as Sodium
from .channels._channel import AbstractChannel as AbstractChannel, Channel as Channel
from .channels._ghk import GHKChannel as GHKChannel
from .channels._ion import calcium as calcium, Ion as Ion
from .channels._kinetics import (
    AlphaBeta as AlphaBeta,
    InfTau as InfTau,
    Instantaneous as Instantaneous,
    q10 as q10,
)
from .channels._markov import MarkovChannel as MarkovChannel
from .neurons import (
    adapting as adapting,
    connor_stevens as connor_stevens,
    fast_spiking as fast_spiking,
    morris_lecar as morris_lecar,
    pospischil_fs as pospischil_fs,
    pospischil_ib as pospischil_ib,
    pospischil_lts as pospischil_lts,
    pospischil_rs as pospischil_rs,
    regular_spiking as regular_spiking,
    squid_axon as squid_axon,
    thalamic_relay as thalamic_relay,
    thalamic_reticular as thalamic_reticular,
    traub_miles as traub_miles,
    wang_buzsaki as wang_buzsaki,
)
from .recordings import Recording as Recording, VoltageClampRecording as VoltageClampRecording
from .steppers import AbstractStepper as AbstractStepper
from .steppers.solvers import as_diffrax as as_diffrax
from .stimuli import (
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
from .stimuli._base import PointCurrent as PointCurrent
from .stimuli.sampled import Electrode as Electrode
from .synapses._coupling import AbstractCoupling as AbstractCoupling
from .synapses._synapse import Synapse as Synapse
from .synapses.kinetic import GradedSynapse as GradedSynapse


def __getattr__(name: str) -> Any:
    """`hh.plot`, which is loaded when it is used, and matplotlib with it."""
    if name == "plot":
        return importlib.import_module(".plot", __name__)
    if name == "CalciumPool":
        raise AttributeError("hh.CalciumPool is now hh.Ion: write ions={'ca': hh.calcium('t')}.")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
