"""Noise: of channels, derived from their definitions, and of the injected current."""

from ._base import (
    AbstractLangevinChannel as AbstractLangevinChannel,
    AbstractNoisyChannel as AbstractNoisyChannel,
)
from ._bounded import bounded as bounded
from ._current import (
    AbstractNoise as AbstractNoise,
    CurrentNoise as CurrentNoise,
    OUConductance as OUConductance,
    OUCurrent as OUCurrent,
)
from ._jumps import (
    AbstractCountedChannel as AbstractCountedChannel,
    ExactChain as ExactChain,
    fire as fire,
    propensities as propensities,
    TauLeap as TauLeap,
    without_gradient as without_gradient,
)
from ._langevin import (
    ConductanceNoise as ConductanceNoise,
    OUConductanceNoise as OUConductanceNoise,
    SubunitNoise as SubunitNoise,
)
