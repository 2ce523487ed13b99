"""Running a network: what is checked before and after the loop."""

from typing import Any, NamedTuple

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .._base.arguments import as_array, as_number, check_kind, check_memory
from .._base.devices import error_if
from .._base.host import check_meter
from .._base.parameters import (
    as_float_array,
    cast_floats,
    check_flag,
    check_parameters,
    check_size,
    is_concrete,
    MOST,
    run_dtype,
    shown,
)
from .._base.random import check_key
from .._base.renames import GONE, renamed
from .._io.labels import run_attrs
from .._model.cell import places_of
from .._model.network import as_network, Model, Network
from .._model.neuron import NotSaved, State
from ..steppers._base import AbstractStepper, within_reach
from ..steppers.solvers import as_stepper, default_solver, solver_name, stochastic_by_name
from ..stimuli._base import as_stimulus, check_stimulus, Stimulus
from .currents import remember
from .loop import compiled
from .non_finite import hint_for, raise_non_finite
from .reducers import check_reducers, missed, warn_of_watched, watched
from .run import count_steps, make_plan, Result, Run, RunState
from .solution import Progress, Solution


def save_V(t: Array, y: State, args: Any) -> State:
    """Save the membrane potential and nothing else; for `diffrax.SaveAt(fn=...)`."""
    return State(V=y.V, gates=NotSaved(tuple(sorted(y.gates))), s=None)


_SAVE_V = diffrax.SaveAt(t0=True, steps=True, fn=save_V)


_SAVE_LAST_V = diffrax.SaveAt(t1=True, fn=save_V)


_ADJOINTS = (diffrax.RecursiveCheckpointAdjoint, diffrax.DirectAdjoint, diffrax.ForwardMode)


class Problem(NamedTuple):
    """What is run, checked and of one float type: `start` is a state, or V at rest; times in ms."""

    network: Network
    stimulus: Stimulus
    start: State | Array
    t0: float
    t1: float
    dt: float

    @property
    def dtype(self) -> Any:
        return jax.tree.leaves(self.start)[0].dtype


def check_run(network: Any, stimulus: Any, t0: Any, t1: Any, dt: Any, y0: Any, v0: Any) -> Problem:
    """Refuse what cannot be run, and give the rest one float type."""
    network = as_network(network)
    if not isinstance(network, Network):
        raise TypeError(f"`network` must be an hh.Network or hh.Neuron, got {shown(network)}.")
    dt = as_number("dt", dt, "ms", positive=True)
    t0, t1 = as_number("t0", t0, "ms"), as_number("t1", t1, "ms")
    if t1 <= t0:
        raise ValueError(f"`t1` must be later than `t0` = {t0} ms, got {t1} ms.")
    network.check()
    stimulus = as_stimulus(stimulus)
    check_stimulus(stimulus, network.n)
    network = cast_floats(network, dtype := run_dtype(network))
    stimulus = cast_floats(stimulus, dtype)
    if y0 is None:
        network.check_v0(v0, warn=True)
    _check_times(t0, t1, dt, dtype)
    start = as_float_array(v0, dtype) if y0 is None else _checked_state(y0, network)
    return Problem(network, stimulus, start, t0, t1, dt)


def _check_times(t0: float, t1: float, dt: float, dtype: Any) -> None:
    """Refuse a grid whose times are not different numbers."""
    if (t1 - t0) / dt > MOST:
        raise ValueError(f"`dt` = {dt} ms makes more than {MOST} steps up to `t1` = {t1} ms: take fewer.")
    apart = float(np.spacing(np.asarray(max(abs(t0), abs(t1)), dtype)))
    if apart > dt:
        raise ValueError(
            f"`t1` = {t1} ms is too far from 0 for `dt` = {dt} ms in {dtype}, whose numbers are {apart:g} ms "
            "apart there: begin at `t0` = 0, if need be from the `final` state of a run, or enable 64 bits "
            'with jax.config.update("jax_enable_x64", True).'
        )


def _checked_state(y0: Any, network: Network) -> State:
    """`y0` in the network's float type, after a look at its structure, shapes and values."""
    check_kind("y0", y0, State, "a state of this network, such as network.init() or a run's `final`")
    wanted, y0 = eqx.filter_eval_shape(network.init), _renewed(y0, network)
    if jax.tree.structure(y0) != jax.tree.structure(wanted):
        raise ValueError(
            "`y0` must be a state of this network, such as network.init() or a run's "
            f"`final`, got {jax.tree.structure(y0)}."
        )
    for (path, leaf), want in zip(jax.tree.leaves_with_path(y0), jax.tree.leaves(wanted)):
        where = "y0" + jax.tree_util.keystr(path)
        as_array(where, leaf, "mV" * (where == "y0.V"), shapes=[want.shape], warn=True)
    return jax.tree.map(lambda x, want: as_float_array(x, want.dtype), y0, wanted)


def _renewed(tree: Any, network: Network) -> Any:
    """The states in a tree, which an older version may have saved, as this one has them."""
    coupling, is_state = network.coupling, lambda x: isinstance(x, State)
    if coupling is None:
        return tree
    renew = lambda x: x.replace(s=coupling.renewed(x.s)) if is_state(x) else x
    return jax.tree.map(renew, tree, is_leaf=is_state)


def _check_progress(run: Solution, stepper: Any, t0: Any, dt: Any) -> Progress:
    """Refuse to go on from a run that stands on another grid."""
    before = run.progress
    if before is None:
        raise ValueError("`y0` must be a solution of hh.simulate, or a state such as its `final`.")
    end = before.t0 + before.steps * before.dt
    if not before.whole or dt != before.dt or type(stepper).__name__ != before.solver:
        raise ValueError(
            f"`y0` is a run of {before.solver} with dt = {before.dt} ms, which goes on with the same after "
            "a whole number of steps; give its `final` state as `y0` to start anew from there."
        )
    if t0 not in (0.0, end):
        raise ValueError(f"`t0` is where the run `y0` ended, {end} ms, got {t0}.")
    return before


class Prepared(NamedTuple):
    """A run that has been checked, and what is told of it.

    **Fields:** `run`, `start`: what the loop takes; `stepper`: as it was given; `t0`, `t1`, `dt`: ms;
    `whole`: whether the last step is as long as the others; `indices`, `ts`: numbers of the steps that
    are saved, from the start of the grid on, and their times, ms; `hint`: what helps if it blows up.
    """

    run: Run
    start: Any
    stepper: AbstractStepper
    t0: float
    t1: float
    dt: float
    whole: bool
    indices: np.ndarray
    ts: np.ndarray
    hint: str

    @property
    def attrs(self) -> dict[str, Any]:
        return run_attrs(solver_name(self.stepper), self.t0, self.t1, self.dt)

    def solution(self, out: Result) -> Solution:
        name, total = type(self.stepper).__name__, int(self.run.total)
        progress = Progress(out.end.z, name, self.t0, self.dt, total, self.whole)
        reduced, found = out.reduced
        if found and is_concrete(out.finite):
            network, watch = self.run.network, self.run.reduce
            cells = places_of(network.cells, network.n).get("cell")
            warn_of_watched(watch[1], missed(watch, (reduced, found), cells), "neuron")
        made = Solution(jnp.asarray(self.ts), out.ys, out.final, out.finite, reduced, progress)
        quiet = diffrax.RecursiveCheckpointAdjoint(), diffrax.NoProgressMeter()
        return remember(made, self.run, lambda run: compiled(run, self.start, *quiet))


def prepare(
    network: Any,
    t0: Any,
    t1: Any,
    dt: Any,
    *,
    stimulus: Any,
    solver: Any,
    y0: Any,
    v0: Any,
    saveat: Any,
    reduce: Any,
    key: Any,
    unroll: int,
) -> Prepared:
    """Refuse what [`hh.simulate`][] cannot run, and make ready what it can."""
    network = as_network(network)
    noisy = isinstance(network, Network) and network.is_noisy
    solver = default_solver(noisy) if solver is None else solver
    stepper = as_stepper(solver, noisy)
    before = None
    if isinstance(y0, Solution):
        before = _check_progress(y0, stepper, t0, dt)
        t0, y0 = before.t0 + before.steps * before.dt, y0.final
    network, stimulus, start, t0, t1, dt = problem = check_run(network, stimulus, t0, t1, dt, y0, v0)
    if noisy and not stepper.stochastic:
        raise ValueError(
            f"`network` is noisy and solver {solver!r} is deterministic: take one of "
            f"{', '.join(map(repr, stochastic_by_name))}."
        )
    check_reducers(reduce)
    check_parameters(reduce, "reduce", network.n)
    check_parameters(stepper, "solver", network.n)
    network = within_reach(stepper, network, dt)
    check_key("key", key)
    check_size("unroll", unroll)
    if stepper.stochastic and key is None:
        raise ValueError(
            f"`key` is missing: solver {type(stepper).__name__} is stochastic. "
            "Pass key=jax.random.key(0), for example."
        )
    network = network.with_keys(key)
    steps, last_dt = count_steps(t0, t1, dt)
    if saveat is None:
        saveat = _SAVE_V if reduce is None else _SAVE_LAST_V
    plan, indices = make_plan(saveat, t0, t1, dt, steps)
    dtype, done = problem.dtype, 0
    if before is not None:
        t0, done = before.t0, before.steps
        start = RunState(np.int32(done), cast_floats(_renewed(before.z, network), dtype))
        indices = indices + done
    total = done + steps
    times = (np.asarray(x, dtype) for x in (t0, t1, dt, last_dt))
    run = Run(
        network,
        stimulus,
        cast_floats(stepper, dtype),
        *times,
        total=np.int32(total),  # an array: a run that goes on for as long compiles nothing anew
        key=key if stepper.stochastic else None,
        save=saveat.subs.fn,
        reduce=watched(cast_floats(reduce, dtype)),
        plan=plan,
        unroll=int(unroll),
    )
    ts = np.where(indices == total, t1, t0 + indices * dt).astype(dtype)
    calm = default_solver(noisy)
    hint = hint_for(solver, dt, calm, type(stepper) is type(as_stepper(calm)))
    return Prepared(run, start, stepper, t0, t1, dt, last_dt == dt, indices, ts, hint)


def _check_adjoint(adjoint: Any) -> None:
    if not isinstance(adjoint, _ADJOINTS):
        names = ", ".join(f"diffrax.{kind.__name__}()" for kind in _ADJOINTS)
        raise TypeError(f"`adjoint` must be one of {names}, got {shown(adjoint)}.")
    checkpoints = getattr(adjoint, "checkpoints", None)
    if checkpoints is not None:
        check_size("adjoint.checkpoints", checkpoints)


@renamed(
    backend=GONE,
    folder="hh.simulate_to(folder, network, ...)",
    chunk="hh.simulate_to(folder, ..., chunk=...)",
)
def simulate(
    network: Model,
    *,
    t1: float,
    dt: float,
    t0: float = 0.0,
    stimulus: Any = 0.0,
    solver: Any = None,
    y0: State | Solution | None = None,
    v0: Any = -65.0,
    saveat: diffrax.SaveAt | None = None,
    reduce: Any = None,
    adjoint: diffrax.AbstractAdjoint = diffrax.RecursiveCheckpointAdjoint(),
    progress_meter: diffrax.AbstractProgressMeter = diffrax.NoProgressMeter(),
    key: Array | None = None,
    unroll: int = 1,
    throw: bool = True,
) -> Solution:
    """Run a network at fixed time steps, in one `lax.scan`.

    Model, stimulus, initial state and dt are arguments of the compiled loop: other values
    recompile nothing. Works under `jax.jit`, `jax.vmap` and `jax.grad`. For traces that are
    larger than the memory, and runs that take days, see [`hh.simulate_to`][].

    **Arguments:**

    - `network`: an [`hh.Network`][], or an [`hh.Neuron`][] for one of them. Its float type
        is the run's.
    - `t1`, `dt`, `t0`: end, time step and start, ms. When dt does not divide t1 − t0, the
        last step is shorter.
    - `stimulus`: injected current, µA/cm²: a number, an (n,) array, a stimulus such as
        [`hh.Step`][], or any callable of t (ms). A plain Python function is compiled in:
        define it once, since each new one compiles anew.
    - `solver`: a name in `hh.steppers.by_name` or, for a noisy network, in
        `hh.steppers.stochastic_by_name`; a stepper; or any diffrax ODE or SDE solver object,
        which then takes fixed steps. By default `"strang"`, with noise `"strang_maruyama"`.
    - `y0`: the initial state; by default all variables at rest for `v0`. A
        [`hh.Solution`][] goes on from where that run stopped, on its grid, with the solver's
        own state. The two parts equal the whole run, but for the last digit where XLA compiles
        their loops in different ways.
    - `v0`: initial membrane potential, mV, scalar or (n,); not used with `y0`.
    - `saveat`: a `diffrax.SaveAt` with any of t0, t1, steps=k, ts (on the grid) and
        fn(t, y, args), args being (network, stimulus). By default V at every step and at
        t0, or with `reduce` at t1 alone. For unevenly spaced ts, memory is taken at every
        step that divides them all.
    - `reduce`: what to gather without saving it: a reducer such as [`hh.SpikeCount`][], or a
        dict, list or tuple of them. The results are in `solution.reduced`.
    - `adjoint`: what a reverse-mode gradient keeps of the run.
        `diffrax.RecursiveCheckpointAdjoint()` keeps the state of every second step and computes the
        rest again; for a few neurons it keeps all values of a step. Where that would take more than
        1 GB (for each member of a `vmap`), it keeps about 1.5 √steps states. With `checkpoints=k` it
        keeps k states, and every second state between two of them. `diffrax.DirectAdjoint()` keeps
        everything. `diffrax.ForwardMode()` is for `jax.jvp` and `jax.jacfwd`. The values are the same
        under all three.
    - `progress_meter`: one of diffrax's, such as `diffrax.TqdmProgressMeter()`.
    - `key`: a `jax.random.key`, needed for noise and for an [`hh.synapses.Poisson`][] without a key of
        its own. What is drawn in a step depends on the key and the number of the step alone, however
        long the run.
    - `unroll`: steps in one turn of the loop, as in `jax.lax.scan`. More of them make fewer launches on a
        GPU and take longer to compile; results may differ in the last digits.
    - `throw`: whether a run that turns non-finite raises. If not, look at
        `solution.finite`. Inside `jit` or `vmap` the error cannot tell the time.

    **Returns:** a [`hh.Solution`][].

    **Raises:** `ValueError` and `TypeError` for bad input, before compiling;
    [`hh.NonFiniteError`][] with the time and neuron where a run turned non-finite.
    """
    _check_adjoint(adjoint)
    check_meter(progress_meter)
    check_flag("throw", throw)
    given = dict(stimulus=stimulus, solver=solver, y0=y0, v0=v0, saveat=saveat, reduce=reduce)
    it = prepare(network, t0, t1, dt, **given, key=key, unroll=unroll)
    check_memory("saveat", it.ts.size * it.run.network.n, "V to save", it.ts.itemsize)
    out = compiled(it.run, it.start, adjoint, progress_meter)
    if throw and not is_concrete(out.finite):
        out = error_if(out, ~out.finite, f"The run turned infinite or NaN. {it.hint}")
    elif throw and not out.finite.all():
        raise_non_finite(it.run, it.start, it.hint, compiled)
    return it.solution(out)
