"""Numerical methods, each the equation of one step.

`by_name` maps names to the deterministic ones, `stochastic_by_name` to those for noise.
"""

from ._base import AbstractStepper as AbstractStepper
from .exp_euler import ExpEuler as ExpEuler, IndExpEuler as IndExpEuler
from .runge_kutta import Euler as Euler, Heun as Heun, Midpoint as Midpoint, RK4 as RK4
from .solvers import by_name as by_name, stochastic_by_name as stochastic_by_name
from .staggered import (
    BackwardEuler as BackwardEuler,
    CrankNicolson as CrankNicolson,
    Staggered as Staggered,
    Strang as Strang,
    Strang4 as Strang4,
)
from .stochastic import (
    AbstractMaruyama as AbstractMaruyama,
    EulerMaruyama as EulerMaruyama,
    ExpEulerMaruyama as ExpEulerMaruyama,
    StrangMaruyama as StrangMaruyama,
)
