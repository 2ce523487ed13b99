"""Injected currents: modules that are called with a time, and whose parameters are arrays."""

from ._base import Constant as Constant, Scaled as Scaled, Stimulus as Stimulus, Sum as Sum
from .sampled import Clamp as Clamp, Electrode as Electrode, Sampled as Sampled
from .shapes import Pulses as Pulses, Ramp as Ramp, Sine as Sine, Step as Step
