"""Solvers by name, and the two adapters: our steppers under diffrax, and diffrax's solvers in our loop."""

import math
import types
from typing import Any, ClassVar

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import optimistix
from jaxtyping import Array

from .._base.host import known_are
from .._model.network import Network, vector_field
from .._model.neuron import State
from .._model.noise import diffusion
from ..stimuli._base import as_stimulus, Stimulus
from ._base import AbstractStepper, EXPLICIT, within_reach
from .exp_euler import ExpEuler, IndExpEuler
from .runge_kutta import Euler, Heun, Midpoint, RK4
from .staggered import BackwardEuler, CrankNicolson, Staggered, Strang, Strang4
from .stochastic import AbstractMaruyama, EulerMaruyama, ExpEulerMaruyama, StrangMaruyama

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


class _AsDiffrax(diffrax.AbstractSolver):
    """One of our steppers as a diffrax solver."""

    stepper: AbstractStepper

    term_structure: ClassVar = diffrax.ODETerm
    interpolation_cls: ClassVar = diffrax.LocalLinearInterpolation

    def order(self, terms: Any) -> int:
        return self.stepper.order

    def init(self, terms: Any, t0: Any, t1: Any, y0: State, args: Any) -> Any:
        y0 = _check_term(terms, y0)
        network, stimulus = args
        network.with_keys(None)
        return self.stepper.init(network, t0, t1 - t0, y0, as_stimulus(stimulus))

    def step(
        self, terms: Any, t0: Any, t1: Any, y0: State, args: Any, solver_state: Any, made_jump: Any
    ) -> Any:
        network, stimulus = args
        dt = t1 - t0
        network = within_reach(self.stepper, network, dt)
        seen = as_stimulus(stimulus).within(t0, dt, t1)
        z = self.stepper.advance(network, t0, t1, dt, solver_state, seen, None)
        y1 = self.stepper.output(network, z)
        return y1, None, dict(y0=y0, y1=y1), z, diffrax.RESULTS.successful

    def func(self, terms: Any, t0: Any, y0: State, args: Any) -> State:
        return terms.vf(t0, y0, args)


class _AsDiffraxSDE(diffrax.AbstractItoSolver):
    """One of our stochastic steppers as a diffrax solver."""

    stepper: AbstractMaruyama

    term_structure: ClassVar = diffrax.MultiTerm[tuple[diffrax.ODETerm, diffrax.ControlTerm]]
    interpolation_cls: ClassVar = diffrax.LocalLinearInterpolation

    def order(self, terms: Any) -> int:
        return self.stepper.order

    def strong_order(self, terms: Any) -> float:
        return 0.5

    def init(self, terms: Any, t0: Any, t1: Any, y0: State, args: Any) -> None:
        drift, noise = terms.terms
        _check_term(drift, y0)
        while hasattr(noise, "term"):
            noise = noise.term
        if getattr(noise, "vector_field", None) is not diffusion:
            raise ValueError(
                "An hhjax stepper for noise integrates `diffrax.MultiTerm(diffrax.ODETerm(hh.vector_field), "
                f"diffrax.ControlTerm(hh.diffusion, path))` and nothing else, got {noise!r}."
            )
        args[0].check_diffusive()
        args[0].with_keys(None)

    def step(
        self, terms: Any, t0: Any, t1: Any, y0: State, args: Any, solver_state: Any, made_jump: Any
    ) -> Any:
        network, stimulus = args
        dt = t1 - t0
        network = within_reach(self.stepper, network, dt)
        seen = as_stimulus(stimulus).within(t0, dt, t1)
        y1 = self.stepper.driven_step(network, t0, dt, y0, seen, terms.terms[1].contr(t0, t1), None)
        y1 = network.after_step(t0, t1, dt, y0, y1)
        return y1, None, dict(y0=y0, y1=y1), None, diffrax.RESULTS.successful

    def func(self, terms: Any, t0: Any, y0: State, args: Any) -> Any:
        return terms.vf(t0, y0, args)


def _check_term(terms: Any, y0: State) -> State:
    """Refuse all but our vector field, forwards in time; return `y0`."""
    term = terms
    while hasattr(term, "term"):  # diffeqsolve wraps terms, to turn time round
        backward = getattr(term, "direction", 1) != 1
        y0 = eqx.error_if(y0, backward, "An hhjax stepper cannot run backward in time: take t1 > t0.")
        term = term.term
    if getattr(term, "vector_field", None) is not vector_field:
        raise ValueError(
            "An hhjax stepper integrates `diffrax.ODETerm(hh.vector_field)` with "
            f"`args=(network, stimulus)` and nothing else, got {term!r}."
        )
    return y0


class _DiffraxStepper(AbstractStepper):
    """A diffrax ODE solver as one of our steppers, at fixed steps."""

    solver: diffrax.AbstractSolver

    @property
    def order(self) -> int | None:  # pyright: ignore
        return self.solver.order(diffrax.ODETerm(vector_field))

    @property
    def takes_operator(self) -> float:  # pyright: ignore
        return math.inf if isinstance(self.solver, diffrax.AbstractImplicitSolver) else EXPLICIT

    def _problem(self, network: Network, t: Array, dt: Array, stimulus: Stimulus) -> tuple:
        # In time from the start of the step on, t1 − t0 is dt to the last bit.
        term = diffrax.ODETerm(lambda s, y, args: vector_field(t + s, y, args))
        return term, jnp.zeros_like(dt), dt, (network, stimulus)

    def init(self, network: Network, t: Array, dt: Array, y0: State, stimulus: Stimulus) -> Any:
        solver = self._at_fixed_steps(y0.V.dtype)
        term, start, end, args = self._problem(network, t, dt, stimulus)
        return y0, solver.init(term, start, end, y0, args)

    def step(self, network, t, dt, z, stimulus, key):
        y, solver_state = z
        solver = self._at_fixed_steps(y.V.dtype)
        term, start, end, args = self._problem(network, t, dt, stimulus)
        # Always a jump: a slope kept from the last step belongs to its stimulus.
        step = solver.step(term, start, end, y, args, solver_state, made_jump=True)
        y, _, _, solver_state, result = step
        failed = result != diffrax.RESULTS.successful
        return jax.tree.map(lambda x: jnp.where(failed, jnp.nan, x), y), solver_state

    def output(self, network: Network, z: Any) -> State:
        return z[0]

    def _at_fixed_steps(self, dtype: Any) -> diffrax.AbstractSolver:
        """The solver, an implicit one with a root finder that does not give up early.

        diffrax's default root finder has no tolerances of its own and fails at the first
        slow convergence, for an adaptive controller to try a smaller step.
        """
        solver = _with_both_modes(self.solver)
        finder = getattr(solver, "root_finder", None)
        if finder is None or eqx.is_array_like(finder.rtol):
            return solver
        # Of slopes: dV/dt is a difference of currents, in float32 good to some 1e-4 mV/ms.
        tolerance = 1e-3 if dtype == jnp.float32 else 1e-9
        newton = optimistix.Newton(rtol=tolerance, atol=tolerance, norm=optimistix.max_norm)
        return eqx.tree_at(lambda s: s.root_finder, solver, newton)


def _with_both_modes(solver: diffrax.AbstractSolver) -> diffrax.AbstractSolver:
    """The solver with a loop over its stages that has a forward mode too; diffrax's default has none."""
    if getattr(solver, "scan_kind", "bounded") is not None:
        return solver
    return eqx.tree_at(lambda s: s.scan_kind, solver, "bounded", is_leaf=lambda x: x is None)


class _DiffraxSDEStepper(AbstractMaruyama):
    """A diffrax SDE solver as one of our steppers, at fixed steps."""

    solver: diffrax.AbstractSolver

    takes_jumps: ClassVar[bool] = False

    @property
    def order(self) -> int | None:  # pyright: ignore
        return self.solver.order(diffrax.ODETerm(vector_field))

    def driven_step(self, network, t, dt, y, stimulus, dW, key):
        if isinstance(self.solver, diffrax.AbstractStratonovichSolver) and network.noisy_channels:
            raise ValueError(
                f"`solver` {type(self.solver).__name__} converges to Stratonovich's solution, but channel "
                "noise is in Itô's sense: take diffrax.Euler() or a name in hh.steppers.stochastic_by_name."
            )
        drift = diffrax.ODETerm(lambda s, y, args: vector_field(t + s, y, args))
        noise = diffrax.ControlTerm(diffusion, lambda start, end: dW)
        terms, start, args = diffrax.MultiTerm(drift, noise), jnp.zeros_like(dt), (network, stimulus)
        solver = _with_both_modes(self.solver)
        state = solver.init(terms, start, dt, y, args)
        y, *_ = solver.step(terms, start, dt, y, args, state, made_jump=True)
        return y


def as_diffrax(solver: str | AbstractStepper) -> diffrax.AbstractSolver:
    """A stepper of ours as a solver for `diffrax.diffeqsolve`.

    ```python
    diffrax.diffeqsolve(
        diffrax.ODETerm(hh.vector_field), hh.as_diffrax("strang"), t0=0.0, t1=100.0, dt0=0.025,
        y0=network.init(), args=(network, 10.0), max_steps=None,
        stepsize_controller=diffrax.ConstantStepSize(),
    )
    ```

    diffrax computes the step as t1 − t0, which is rounded in float32. With a power of two as the step,
    the result equals that of [`hh.simulate`][].

    A stepper for noise takes two terms, see [`hh.diffusion`][], and is an Itô solver. diffrax passes no
    key on, so an [`hh.synapses.Poisson`][] needs one of its own.

    **Arguments:** `solver`: a name (see [`hh.simulate`][]) or a stepper.
    """
    stepper = as_stepper(solver)
    if is_diffrax(stepper):
        return stepper.solver  # pyright: ignore
    if isinstance(stepper, AbstractMaruyama):
        return _AsDiffraxSDE(stepper)
    if stepper.stochastic:
        raise ValueError(
            f"`solver` {type(stepper).__name__} draws its own noise; as_diffrax takes steppers whose noise "
            "is a Brownian path (hh.steppers.AbstractMaruyama)."
        )
    return _AsDiffrax(stepper)


def is_diffrax(stepper: AbstractStepper) -> bool:
    """Whether the stepper is a solver of diffrax's."""
    return isinstance(stepper, (_DiffraxStepper, _DiffraxSDEStepper))


def as_stepper(solver: Any, noisy: bool = False) -> AbstractStepper:
    """The stepper that `solver` names or is; diffrax solvers are adapted.

    **Arguments:** `solver`: see [`hh.simulate`][]; `noisy`: whether for a network with noise.

    **Raises:** `ValueError` for an unknown name, with the nearest match; `TypeError`.
    """
    if isinstance(solver, AbstractStepper):
        return solver
    if isinstance(solver, diffrax.LeapfrogMidpoint):
        raise ValueError("`solver` LeapfrogMidpoint is unstable for neurons, which dissipate; take another.")
    if noisy and isinstance(solver, (diffrax.AbstractItoSolver, diffrax.AbstractStratonovichSolver)):
        if isinstance(solver, (diffrax.ItoMilstein, diffrax.StratonovichMilstein)) or hasattr(
            solver, "minimal_levy_area"
        ):
            raise ValueError(
                f"`solver` {type(solver).__name__} needs more than the increments of a Brownian motion and a "
                "diffusion to apply to them. Take diffrax.Euler(), for current noise any of diffrax.Heun() "
                "and its kind, or a name in hh.steppers.stochastic_by_name."
            )
        return _DiffraxSDEStepper(solver)
    if isinstance(solver, diffrax.AbstractSolver):
        takes = solver.term_structure
        if not (isinstance(takes, type) and issubclass(diffrax.ODETerm, takes)):
            raise ValueError(f"`solver` {type(solver).__name__} does not solve ODEs as a single term.")
        return _DiffraxStepper(solver)
    if isinstance(solver, str):
        known = by_name | stochastic_by_name
        if solver in known:
            return known[solver]
        raise ValueError(f"Unknown `solver` {solver!r}.{known_are(solver.lower(), known)}")
    if isinstance(solver, type) and issubclass(solver, (AbstractStepper, diffrax.AbstractSolver)):
        raise TypeError(f"`solver` must be an object: write {solver.__name__}(), with parentheses.")
    raise TypeError(
        f"`solver` must be a name ({', '.join(by_name)}), a stepper or a diffrax solver, got {solver!r}."
    )


def default_solver(noisy: bool) -> str:
    """The name of the solver that is taken where none is given."""
    return "strang_maruyama" if noisy else "strang"


def solver_name(stepper: AbstractStepper) -> str:
    """The type of a stepper or, of an adapted diffrax solver, the solver's."""
    return type(getattr(stepper, "solver", stepper)).__name__
