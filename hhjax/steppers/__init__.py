"""Numerical methods, each the equation of one step.

`by_name` maps names to the deterministic ones, `stochastic_by_name` to those for noise.
"""

import types

from ._base import AbstractStepper as AbstractStepper
from .exp_euler import ExpEuler as ExpEuler
from .exponential import IndExpEuler as IndExpEuler
from .runge_kutta import (
    Euler as Euler,
    Heun as Heun,
    Midpoint as Midpoint,
    RK4 as RK4,
)
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

by_name = types.MappingProxyType(
    {
        "exp_euler": ExpEuler(),
        "ind_exp_euler": IndExpEuler(),
        "strang": Strang(),
        "staggered": Staggered(),
        "strang4": Strang4(),
        "backward_euler": BackwardEuler(),
        "crank_nicolson": CrankNicolson(),
        "euler": Euler(),
        "heun": Heun(),
        "midpoint": Midpoint(),
        "rk4": RK4(),
    }
)

stochastic_by_name = types.MappingProxyType(
    {
        "euler_maruyama": EulerMaruyama(),
        "exp_euler_maruyama": ExpEulerMaruyama(),
        "strang_maruyama": StrangMaruyama(),
    }
)
