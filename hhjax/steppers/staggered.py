"""Methods that move the gates and V in turn, each exactly or implicitly."""

import abc
import math
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from .._base.math import once
from .._base.operators import backward_euler, trapezium
from .._model.network import Network
from .._model.neuron import State
from ..stimuli._base import Stimulus
from ._base import AbstractStepper, by_rule, flow_V


def relax_gates(network: Network, dt: Array, y: State) -> State:
    """Gates and couplings moved by `dt`, with V held: linear, hence exact.

    Where some act on others, as calcium does on the gates that sense it, the coefficients are
    those half way, which makes the step one of order 2.
    """
    return _relax_apart(network, dt, dt, y)


def _relax_apart(network: Network, dt: Array, dt_s: Array, y: State) -> State:
    """Gates moved by `dt` and couplings by `dt_s`, with V held."""
    if network.flow_is_exact:
        return network.flow(y, dt, dt_s)
    return network.flow(y, dt, dt_s, at=network.flow(y, 0.5 * dt, 0.5 * dt_s))


class _Lagging(eqx.Module):
    """V at the grid time, gates and couplings `lag` and `lag_s` ms behind it."""

    y: State
    lag: Array
    lag_s: Array


class _AbstractStaggered(AbstractStepper):
    """Gates at half steps, V at whole steps (leapfrog), each with the other held.

    A step moves the gates to the middle of the step, then V across the step. The two
    half steps of the gates at either side of a grid point, which Strang splitting
    prescribes, have the same V and so are one whole step. That makes the cost one rate
    evaluation per step; gates at grid points are worked out only where they are saved.
    """

    order: ClassVar[int] = 2
    takes_operator: ClassVar[float] = math.inf

    def init(self, network: Network, t: Array, dt: Array, y0: State, stimulus: Stimulus) -> _Lagging:
        zero = jnp.zeros((), y0.V.dtype)
        return _Lagging(y0, zero, zero)

    def step(self, network, t, dt, z, stimulus, key):
        middle = t + dt / 2
        L = network.V_operator()
        if stimulus.holds_V or (L is not None and not L.smooth):  # V first, which may change at once
            y = self._moved_V(network, middle - dt / 4, dt / 2, z.y, stimulus)
            y = self._moved_V(network, middle + dt / 4, dt / 2, relax_gates(network, dt, y), stimulus)
            return _Lagging(y, z.lag, z.lag_s)
        y = _relax_apart(network, z.lag + dt / 2, z.lag_s + dt / 2, z.y)
        return _Lagging(self._moved_V(network, middle, dt, y, stimulus), dt / 2, dt / 2)

    def _moved_V(self, network: Network, t: Array, dt: Array, y: State, stimulus: Stimulus) -> State:
        """The state with V after `dt`, of which the coefficients are those at `t`."""
        at = y
        if not network.V_is_linear:  # the coefficients of V's equation from a V half a step on
            at = y.replace(V=self.step_V(network, t, dt / 2, y, y.V, stimulus))
        return y.replace(V=self.step_V(network, t, dt, at, y.V, stimulus))

    def with_coupling(self, network, t, dt, z, y, stimulus):
        return _Lagging(z.y.replace(s=y.s), z.lag, jnp.zeros_like(z.lag_s))

    def with_V(self, network, t, dt, z, V, stimulus):
        return _Lagging(z.y.replace(V=V), z.lag, z.lag_s)  # the gates go on at this V

    @abc.abstractmethod
    def step_V(self, network: Network, t: Array, dt: Array, y: State, V: Array, stimulus: Stimulus) -> Array:
        """V after `dt`, with the coefficients of its equation taken at `t` and `y`."""

    def output(self, network: Network, z: _Lagging) -> State:
        return _relax_apart(network, z.lag, z.lag_s, z.y)


class Strang(_AbstractStaggered):
    """Strang splitting, `"strang"`, the default. Order 2.

    Gates half a step, V a whole step, gates half a step, each the exact solution with
    the others held (G. Strang, SIAM J. Numer. Anal. 5 (1968) 506-517). At the cost of
    `ind_exp_euler` (see `hhjax/steppers/staggered.py`), bounded at every dt, gates stay
    in [0, 1]; the 10th spike of the squid axon at 10 µA/cm² is 0.67 ms late at
    dt = 0.1 ms, 0.043 ms at 0.025 ms.
    """

    def step_V(self, network, t, dt, y, V, stimulus):
        return flow_V(network, t, dt, y, V, stimulus)


class Staggered(_AbstractStaggered):
    """Leapfrog: V at whole steps, gates at half steps, `"staggered"`. Order 2.

    The same V and spike times as `strang`; the gates are reported as they are kept, that
    is, with V(t) those at t − dt/2 (except at the start of a run). M. L. Hines, Int. J.
    Biomed. Comput. 15 (1984) 69-76, with exponential steps.
    """

    def step_V(self, network, t, dt, y, V, stimulus):
        return flow_V(network, t, dt, y, V, stimulus)

    def output(self, network: Network, z: _Lagging) -> State:
        return z.y

    def advance(self, network, t, end, dt, z, stimulus, key):
        # Its gates are half a step late, but spikes act on the couplings at t.
        return Strang().advance(network, t, end, dt, z, stimulus, key)


class CrankNicolson(_AbstractStaggered):
    """Trapezium rule for V, staggered with exact gates, `"crank_nicolson"`. Order 2.

    Linearly implicit, so that no nonlinear equation has to be solved (M. L. Hines, Int. J. Biomed.
    Comput. 15 (1984) 69-76). Bounded up to dt = 3 ms in the reference runs; the 10th
    spike of the squid axon at 10 µA/cm² is 0.34 ms late at dt = 0.1 ms.
    """

    def step_V(self, network, t, dt, y, V, stimulus):
        L = network.V_operator()
        if stimulus.holds_V or (L is not None and not L.smooth):
            return flow_V(network, t, dt, y, V, stimulus)
        drive, rate = network.V_form(t, y, stimulus)
        alone = lambda V, drive, rate, dt: (V * (1 - rate * dt / 2) + dt * drive) / (1 + rate * dt / 2)
        return by_rule(trapezium, alone, L, V, drive, rate, dt)


class BackwardEuler(AbstractStepper):
    """Backward Euler for V, then exact gates at the new V, `"backward_euler"`. Order 1.

    NEURON's default scheme for one compartment (M. L. Hines and N. T. Carnevale, Neural
    Comput. 9 (1997) 1179-1209). Bounded up to dt = 3 ms in the reference runs; the 10th
    spike of the squid axon at 10 µA/cm² is 2.67 ms late at dt = 0.1 ms.
    """

    order: ClassVar[int] = 1
    takes_operator: ClassVar[float] = math.inf

    def step(self, network, t, dt, z, stimulus, key):
        drive, rate = network.V_form(t + dt if stimulus.holds_V else t + dt / 2, z, stimulus)
        L = network.V_operator()
        alone = lambda V, drive, rate, dt: (V + dt * drive) / (1 + dt * rate)
        V = by_rule(backward_euler, alone, L, z.V, drive, rate, dt)
        return relax_gates(network, dt, z.replace(V=V))


class Strang4(AbstractStepper):
    """Richardson extrapolation of Strang splitting, `"strang4"`. Order 4.

    (4·S(dt/2)² − S(dt))/3, for the cost of five steps of `strang`. The 10th spike of the
    squid axon at 10 µA/cm² is 0.018 ms late at dt = 0.1 ms. Accurate to 1 ms there up to
    dt = 0.37 ms; bounded up to 2.99 ms, but gates may leave [0, 1] at large dt. With gap junctions
    of order 3.
    """

    order: ClassVar[int] = 4
    takes_operator: ClassVar[float] = math.inf

    def step(self, network, t, dt, z, stimulus, key):
        strang = Strang()
        start = strang.init(network, t, dt, z, stimulus)

        def substep(carry: tuple, at: tuple) -> tuple[tuple, None]:
            (before, whole), (number, h, begun) = carry, at
            before = jax.tree.map(lambda x, y: jnp.where(number < 2, x, y), start, before)
            after = strang.step(network, t + begun, h, before, stimulus, None)
            return (after, jax.tree.map(lambda x, y: jnp.where(number == 0, x, y), after, whole)), None

        # The whole step, then the two halves, in a loop, so that XLA computes nothing twice.
        lengths, begun = (dt * jnp.asarray(x, dt.dtype) for x in ((1.0, 0.5, 0.5), (0.0, 0.0, 0.5)))
        (halves, whole), _ = jax.lax.scan(substep, (start, start), (jnp.arange(3), lengths, begun))
        fine, coarse = (once(strang.output(network, end)) for end in (halves, whole))
        return jax.tree.map(lambda f, c: f + (f - c) / 3, fine, coarse)
