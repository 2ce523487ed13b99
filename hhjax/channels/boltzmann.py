"""Channels with free kinetics, for fits: half-voltages, slopes and time constants are parameters.

Their one formula, with its source, is that of [`hh.channels.BoltzmannChannel`][].
"""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from .._base.parameters import OptionalParameter, param, Parameter
from ._channel import Channel
from ._kinetics import InfTau


class BoltzmannChannel(Channel):
    r"""A channel whose gates have free kinetics: a Boltzmann steady state and a two-sided time constant.

    A gate x rests at $x_\infty = 1/(1 + e^{-u})$ with $u = (V - \text{half})/\text{slope}$. Two opposed
    rates, each an exponential of V, make its time constant, which has a floor:

    $$\tau = \tau_\text{min} + \frac{2\,\text{tau}}{e^{\text{skew}\,u} + e^{-(1 - \text{skew})\,u}}
    = \tau_\text{min} + 2\,\text{tau}\;x_\infty^{1 - \text{skew}}\,(1 - x_\infty)^\text{skew}$$

    L. Borg-Graham, "Modelling the non-linear conductances of excitable membranes", in J. Chad and
    H. Wheal (eds.), *Cellular Neurobiology: A Practical Approach*, IRL Press 1991: slope is RT/zF there,
    skew γ and the floor τ₀.

    One of your own states its `gates`, and for each gate `x` five fields:

    - `x_half`: where it is half open, mV.
    - `x_slope`: mV; negative where depolarisation shuts it.
    - `x_tau`: by how much the time constant at `x_half` is above its floor, ms; 0 where it is constant.
    - `x_tau_min`: the floor, ms.
    - `x_skew`: from 0 to 1. At 0.5 the time constant is a symmetrical bell; at 1 it is long where the gate
        is shut and short where it is open, at 0 the reverse.

    Limits of the fields of those that follow are physiological, for a soma or an axon;
    [`hh.fit`][] keeps within them where it is given no other bounds.
    """

    def rates(self, V: Float[ArrayLike, "*s"]) -> dict[str, InfTau]:
        fields = ("half", "slope", "tau", "tau_min", "skew")
        return {gate: _kinetics(V, *(getattr(self, f"{gate}_{x}") for x in fields)) for gate in self.gates}


def _kinetics(V: ArrayLike, half: Array, slope: Array, tau: Array, tau_min: Array, skew: Array) -> InfTau:
    u = (V - half) / slope
    bell = jnp.exp(jax.nn.log_sigmoid(u) - skew * u)  # as written above, u < −88 overflows in float32
    return InfTau(inf=jax.nn.sigmoid(u), tau=tau_min + 2 * tau * bell)


def _between(default: float, low: float, high: float, unit: str, optional: bool = False) -> Any:
    return param(default, unit=unit, minimum=low, maximum=high, finite=True, optional=optional)


def _g(default: float, high: float) -> Any:
    return _between(default, 0.0, high, "mS/cm²")


def _E(default: float, low: float, high: float) -> Any:
    return _between(default, low, high, "mV", optional=True)


def _mV(default: float, low: float, high: float) -> Any:
    return _between(default, low, high, "mV")


def _ms(default: float, low: float, high: float) -> Any:
    return _between(default, low, high, "ms")


def _skew(default: float) -> Any:
    return _between(default, 0.0, 1.0, "")


class BoltzmannSodium(BoltzmannChannel):
    """Transient sodium current, g·m³h·(V − E).

    By default near that of D. Golomb et al., PLoS Comput. Biol. 3 (2007) e156, whose m follows V at once.

    **Fields:** `g`: 100 mS/cm²; `E`: 50 mV; of the gates m and h see
    [`hh.channels.BoltzmannChannel`][].
    """

    g: Parameter = _g(100.0, 5000.0)
    E: OptionalParameter = _E(50.0, 0.0, 100.0)
    m_half: Parameter = _mV(-24.0, -70.0, 20.0)
    m_slope: Parameter = _mV(9.0, 1.5, 20.0)
    m_tau: Parameter = _ms(0.1, 0.0, 5.0)
    m_tau_min: Parameter = _ms(0.03, 0.01, 5.0)
    m_skew: Parameter = _skew(0.5)
    h_half: Parameter = _mV(-58.3, -110.0, -5.0)
    h_slope: Parameter = _mV(-6.7, -20.0, -1.5)
    h_tau: Parameter = _ms(7.0, 0.0, 100.0)
    h_tau_min: Parameter = _ms(0.5, 0.01, 20.0)
    h_skew: Parameter = _skew(0.0)

    gates: ClassVar = {"m": 3, "h": 1}


class BoltzmannSlowSodium(BoltzmannSodium):
    """Sodium current with slow inactivation besides, g·m³hs·(V − E), which is what runs down in a train.

    **Fields:** as of [`hh.channels.BoltzmannSodium`][], and of the gate s.
    """

    s_half: Parameter = _mV(-50.0, -110.0, 30.0)
    s_slope: Parameter = _mV(-8.0, -25.0, -1.5)
    s_tau: Parameter = _ms(0.0, 0.0, 10000.0)
    s_tau_min: Parameter = _ms(200.0, 5.0, 10000.0)
    s_skew: Parameter = _skew(0.5)

    gates: ClassVar = {"m": 3, "h": 1, "s": 1}


class BoltzmannKv1(BoltzmannChannel):
    """Potassium current that opens near rest and inactivates slowly, g·n³h·(V − E), as of Kv1.

    By default that of D. Golomb et al., PLoS Comput. Biol. 3 (2007) e156, which delays the first spike.

    **Fields:** `g`: 0.4 mS/cm²; `E`: −90 mV; of the gates n and h see
    [`hh.channels.BoltzmannChannel`][].
    """

    g: Parameter = _g(0.4, 2000.0)
    E: OptionalParameter = _E(-90.0, -130.0, -40.0)
    n_half: Parameter = _mV(-50.0, -90.0, 10.0)
    n_slope: Parameter = _mV(20.0, 1.5, 30.0)
    n_tau: Parameter = _ms(0.0, 0.0, 100.0)
    n_tau_min: Parameter = _ms(2.0, 0.05, 50.0)
    n_skew: Parameter = _skew(0.5)
    h_half: Parameter = _mV(-70.0, -120.0, 0.0)
    h_slope: Parameter = _mV(-6.0, -30.0, -1.5)
    h_tau: Parameter = _ms(0.0, 0.0, 10000.0)
    h_tau_min: Parameter = _ms(150.0, 1.0, 10000.0)
    h_skew: Parameter = _skew(0.5)

    gates: ClassVar = {"n": 3, "h": 1}


class BoltzmannKv3(BoltzmannChannel):
    """Potassium current of spikes, g·n²·(V − E): high and fast as of Kv3, or any delayed rectifier.

    **Fields:** `g`: 50 mS/cm²; `E`: −90 mV; of the gate n see [`hh.channels.BoltzmannChannel`][].
    """

    g: Parameter = _g(50.0, 2000.0)
    E: OptionalParameter = _E(-90.0, -130.0, -40.0)
    n_half: Parameter = _mV(-12.4, -60.0, 50.0)
    n_slope: Parameter = _mV(9.0, 1.5, 30.0)
    n_tau: Parameter = _ms(1.5, 0.0, 100.0)
    n_tau_min: Parameter = _ms(0.2, 0.05, 50.0)
    n_skew: Parameter = _skew(0.5)

    gates: ClassVar = {"n": 2}


class BoltzmannM(BoltzmannChannel):
    """Slow potassium current that does not inactivate, g·p·(V − E), as of Kv7.

    By default nearly the [`hh.channels.MCurrent`][].

    **Fields:** `g`: 0.1 mS/cm²; `E`: −90 mV; of the gate p see [`hh.channels.BoltzmannChannel`][].
    """

    g: Parameter = _g(0.1, 50.0)
    E: OptionalParameter = _E(-90.0, -130.0, -40.0)
    p_half: Parameter = _mV(-35.0, -75.0, 40.0)
    p_slope: Parameter = _mV(10.0, 1.5, 30.0)
    p_tau: Parameter = _ms(230.0, 0.0, 5000.0)
    p_tau_min: Parameter = _ms(5.0, 1.0, 5000.0)
    p_skew: Parameter = _skew(0.75)

    gates: ClassVar = {"p": 1}


class BoltzmannH(BoltzmannChannel):
    """Cation current that opens with hyperpolarisation, g·r·(V − E), as of HCN.

    By default near the [`hh.channels.HCurrent`][].

    **Fields:** `g`: 0.02 mS/cm²; `E`: −40 mV; of the gate r see [`hh.channels.BoltzmannChannel`][].
    """

    g: Parameter = _g(0.02, 10.0)
    E: OptionalParameter = _E(-40.0, -120.0, 0.0)
    r_half: Parameter = _mV(-75.0, -130.0, -40.0)
    r_slope: Parameter = _mV(-5.5, -25.0, -1.5)
    r_tau: Parameter = _ms(900.0, 0.0, 10000.0)
    r_tau_min: Parameter = _ms(20.0, 1.0, 5000.0)
    r_skew: Parameter = _skew(0.5)

    gates: ClassVar = {"r": 1}


class BoltzmannCalcium(BoltzmannChannel):
    """Calcium current, g·m²h·(V − E), of high or, by its half-voltages, of low threshold.

    By default near the [`hh.channels.LCalcium`][].

    **Fields:** `g`: 0.2 mS/cm²; `E`: 120 mV where no ion sets it; of the gates m and h see
    [`hh.channels.BoltzmannChannel`][].
    """

    g: Parameter = _g(0.2, 50.0)
    E: OptionalParameter = param(None, otherwise=120.0, unit="mV", minimum=20.0, maximum=200.0)
    m_half: Parameter = _mV(-33.5, -80.0, 30.0)
    m_slope: Parameter = _mV(5.0, 1.5, 20.0)
    m_tau: Parameter = _ms(6.0, 0.0, 100.0)
    m_tau_min: Parameter = _ms(0.1, 0.02, 50.0)
    m_skew: Parameter = _skew(0.5)
    h_half: Parameter = _mV(-58.5, -110.0, 20.0)
    h_slope: Parameter = _mV(-22.0, -30.0, -1.5)
    h_tau: Parameter = _ms(430.0, 0.0, 10000.0)
    h_tau_min: Parameter = _ms(10.0, 1.0, 5000.0)
    h_skew: Parameter = _skew(0.5)

    gates: ClassVar = {"m": 2, "h": 1}
