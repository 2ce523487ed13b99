"""Fitting a model to recorded voltages."""

from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .._base.arguments import check_kind
from .._base.host import check_meter, Progress, warn
from .._base.parameters import cast_floats, check_size, run_dtype, shown
from .._base.random import check_key
from .._model.neuron import State
from ..losses import AbstractLoss, as_loss, Firing, Prediction, Trace
from ..steppers.solvers import solver_name
from ._clamp import ClampTraces, named, parts
from ._evolution import Evolution, evolve
from ._free import Free, resolve, values_of, Where
from ._guide import MultipleShooting, Nudging, release, stages
from ._look import choose
from ._prediction import Predicting
from ._problem import AbstractProblem, Shooting, slopes_at
from ._protocol import check_loss, check_model, protocol_of, run, split
from ._result import Fit, Starts
from ._solve import evaluate, gradient_descent, levenberg_marquardt, Solved, tolerance
from ._uncertainty import no_uncertainty, uncertainty

_GRADIENT = 4  # forward runs that a gradient in reverse mode counts besides the run itself


_MANY = 200  # unknowns, from which on no Jacobian is made for standard errors


def fit(
    model: Any,
    data: Any,
    *,
    where: Where,
    bounds: Any = None,
    mask: Any = None,
    loss: Any = None,
    method: Any = "lm",
    guide: Any = "auto",
    steps: int = 100,
    starts: Any = 1,
    spread: float = 0.5,
    key: Array | None = None,
    dt: float | None = None,
    solver: Any = "strang",
    v0: Any = None,
    initial: Any = "rest",
    held: bool | None = None,
    holding: Any = 0.0,
    progress_meter: diffrax.AbstractProgressMeter = diffrax.TextProgressMeter(minimum_increase=0.1),
) -> Fit:
    """Estimate parameters of a model from recorded voltages, or currents in voltage clamp.

    **Arguments:**

    - `model`: an [`hh.Neuron`][] or [`hh.Network`][], or a pair of one and an
        [`hh.Electrode`][], which may stand at a place of an [`hh.Cell`][]; its values are the first
        start, its float type is the fit's. Standard errors to many digits want `jax_enable_x64`.
    - `data`: an [`hh.Recording`][], with currents in pA where the model has an
        `hh.Electrode(area=...)` or `(at=...)` and in µA/cm² where it has not, or its arguments (ts, current,
        V): ms; the current in that same unit; mV. Times evenly spaced.
        Missing voltages (NaN) are left out, with a warning. Or an
        [`hh.VoltageClampRecording`][], or a list of recordings, of which one may be in current clamp.
    - `where`: which parameters are free: a name as for [`hh.get`][], such as `"na.g"`, a list of
        names, or a dict `{"gNa": "na.g", "leak": ["leak.g", "leak.E"]}`, whose keys are then what
        the parameters are called; or, as in `eqx.tree_at`, a function of the model (of
        both, for a pair) that returns an array, a list, or a dict of arrays or of whole
        modules. What stands for several arrays gets the rest of their names behind a dot: `"leak.E"`.
    - `bounds`: one (low, high) for each thing that `where` selects, in its order or by name in a
        dict; `None` in place of a number or a pair for the limits of the model's own field, such as
        positive conductances. The parameters stay strictly within.
    - `mask`: likewise one boolean array each, true where an entry is free; `None` for all.
    - `loss`: see `hh.losses`; by default [`hh.losses.Prediction`][] where the data show noise of the
        cell and [`hh.losses.Trace`][] elsewhere, and the fit says which and why. For voltage
        clamp [`hh.losses.Current`][]. For a list of recordings a list of losses, or one for that in current
        clamp. Every sample counts the same, in units of its `sd`.
    - `method`: `"lm"`, Levenberg-Marquardt with a forward-mode Jacobian (optimistix), for
        up to some tens of parameters; or any optax optimiser, for many.
    - `guide`: for long spiking traces [`hh.Nudging`][] or [`hh.MultipleShooting`][]; by
        default the former where the loss compares traces. [`hh.Evolution`][] where the start is far away.
        `None` for no guide. The last
        stage and the score are always those of the free-running model.
    - `steps`: at most so many iterations of the last stage; with 0 the free-running model is
        scored as the guided stages leave it.
    - `starts`: how many, the model itself and random ones, run as one batch; or an array
        of shape (starts, P).
    - `spread`: random starts of a parameter that has `bounds` on both sides lie uniformly between
        them, by its logarithm where the lower one is positive; of others uniformly within this
        fraction of the model's own value.
    - `key`: a `jax.random.key`, for random starts, and for a search, by default that of 0.
    - `dt`: time step, ms, a whole fraction of the sampling interval; by default the
        largest that is at most 0.025 ms.
    - `solver`: see [`hh.simulate`][].
    - `v0`: initial membrane potential, mV, scalar or (sweeps, n); or `"rest"`, where the model
        rests in the current of the first sample. By default free, one for each sweep and neuron,
        from the first sample on.
    - `initial`: the gates and concentrations as a sweep begins: `"rest"`, for that V; `"zero"`,
        all gates at 0, with which Brian 2 starts where nothing is said; `"free"`, an unknown for
        each, in each sweep and neuron; or all of the state, V as well, as an [`hh.State`][] with arrays of
        shape (n,) or (sweeps, n), or a list of one for each sweep.
    - `held`: whether each value of the current holds until the next sample, or is linear between
        them; by default as the recording says.
    - `holding`: a constant current besides the recorded one, in its unit, scalar, (sweeps,) or
        (sweeps, n).
    - `progress_meter`: one of diffrax's; counts iterations of all stages.

    **Returns:** an [`hh.Fit`][].

    **Raises:** `ValueError` and `TypeError` for input that makes no sense, before
    compiling; `FloatingPointError` if every start blew up. One start that does costs
    itself alone.
    """
    model = check_model(model)
    network, electrode = split(model)
    dtype = run_dtype(network)
    model, network = cast_floats(model, dtype), cast_floats(network, dtype)
    data, loss, v0, initial, clamps = parts(data, loss, v0, initial, model, dt, solver)
    drive = {"initial": initial, "held": held, "holding": holding}
    protocol = protocol_of(data, network, electrode, dt, solver, v0, dtype, **drive)
    seen = (np.asarray(x, float) for x in (protocol.ts, protocol.target, protocol.injected))
    search = guide if isinstance(guide, Evolution) else None
    if loss is None and search:
        loss, why = Firing(), "the search compares how models fire"
    else:
        loss, why = choose(*seen) if loss is None else (as_loss(loss), "")
    objective = cast_floats(loss, dtype)
    objective = objective.made_for(protocol.times, protocol.target, protocol.injected)
    objective.watch(protocol.times, protocol.target)
    optimiser = hasattr(method, "init") and hasattr(method, "update") and not isinstance(method, type)
    if method != "lm" and not optimiser:
        raise ValueError(
            f"`method` must be 'lm' or an optax optimiser such as optax.adam(0.01), got {shown(method)}."
        )
    check_meter(progress_meter)
    check_size("steps", steps, 0)
    if isinstance(guide, str):
        if guide != "auto":
            raise ValueError(
                "`guide` must be 'auto', None, hh.Nudging(), hh.MultipleShooting() or hh.Evolution(), got "
                f"{shown(guide)}."
            )
        guide = Nudging() if _holds(objective, Trace) and not isinstance(objective, Prediction) else None
    if not isinstance(objective, Prediction) and _holds(objective, Prediction):
        raise ValueError(
            "`loss` must be hh.losses.Prediction alone and no part of another, since V is drawn to the data "
            f"for it, got {shown(objective)}."
        )
    check_loss(objective, protocol)
    check_kind("guide", guide, (Nudging, MultipleShooting, Evolution, type(None)), "'auto', None or a guide")
    check_key("key", key)
    free = resolve(model, where, bounds, mask, dtype)
    before = free.starts(free.reference, starts, spread, key)
    u = _unknowns(free, before)
    kind = Predicting if isinstance(objective, Prediction) else Shooting
    problem = kind(model, free, protocol, objective, clamps)
    guided, unknowns, schedule = stages(None if search else guide, problem, u)
    plan = [(guided, strength, most) for strength, most in schedule] + [(problem, 0.0, steps)]
    progress = Progress(
        progress_meter, sum(most for *_, most in plan) + (search.generations if search else 0)
    )
    histories, runs = [], 0
    if search:
        found = evolve(problem, search, unknowns, jax.random.key(0) if key is None else key, progress.advance)
        unknowns, runs = found.u, int(found.evaluations.sum())
        histories.append(found.history)
    solved = None
    for stage, strength, most in plan:
        if strength == 0:
            unknowns = release(guided, problem, unknowns)
        solved = _minimise(stage, method, unknowns, strength, most, progress)
        unknowns = solved.u
        histories.append(solved.history)
        directions = stage.directions if method == "lm" else _GRADIENT
        runs += int(solved.evaluations.sum()) * (1 + directions)
    progress.close()
    assert solved is not None

    score = np.where(np.array(solved.reasons) == "blew up", np.inf, solved.loss)
    best = int(np.argmin(score))
    if not np.isfinite(score[best]):
        raise FloatingPointError(
            "Every start blew up: its run turned infinite or NaN. Take a smaller `dt`, tighter `bounds` or a "
            "model that runs with hh.simulate."
        )
    found = _result(problem, before, solved, score, best, np.concatenate(histories)[:, best], runs, why)
    if found.doubts:
        warn("This fit is in doubt: " + "; ".join(found.doubts) + ".")
    return found


@eqx.filter_jit
def _unknowns(free: Free, values: Array) -> Array:
    return jax.vmap(free.to_unknowns)(values)


def _minimise(
    problem: AbstractProblem,
    method: Any,
    u: Array,
    strength: float,
    steps: int,
    progress: Progress,
) -> Solved:
    if steps == 0:
        return evaluate(problem, u, strength)
    if method == "lm":
        tol = tolerance(u.dtype) if strength == 0 else 1e-3
        # optimistix makes its own numbers in the default float type, whatever that of u.
        with jax.enable_x64(u.dtype == jnp.float64):
            solved = levenberg_marquardt(problem, u, strength, steps, tol, progress.advance)
    else:
        solved = gradient_descent(problem, method, u, strength, steps, progress.advance)
    progress.advance(steps - len(solved.history))
    return solved


def _holds(loss: AbstractLoss, kind: type) -> bool:
    """Whether the loss is of this kind, or made of one that is."""
    leaves = jax.tree.leaves(loss, is_leaf=lambda x: isinstance(x, kind))
    return any(isinstance(x, kind) for x in leaves)


@eqx.filter_jit
def _at_optimum(problem: Shooting, u: Array) -> tuple[Any, State, Array, Array, Array]:
    """The fitted model, its first states and traces, the slopes of its parameters by the unknowns, and how
    many residuals there are."""
    model, begin = problem.unpack(u)
    V = run(problem.protocol, model, begin, jnp.zeros((), u.dtype))
    params = u[: len(problem.free.names)]
    slopes = jax.jvp(problem.free.to_values, (params,), (jnp.ones_like(params),))[1]
    number = (problem.errors(V + 1.0) != 0).sum() + sum(
        (x.residuals(model) != 0).sum() for x in problem.clamps
    )
    return model, problem.protocol.begin(model, begin), V, slopes, number


@eqx.filter_jit
def _of_clamps(problem: Shooting, model: Any) -> tuple[ClampTraces, ...]:
    return tuple(clamp.traces(model) for clamp in problem.clamps)


_ENOUGH = 1e-2  # of the greatest singular value, down to which float32 tells the slopes of unknowns apart


def _slopes(problem: Shooting, u: Array, known: tuple[Array, Array] | None) -> tuple[Array, Array]:
    """Residuals and their Jacobian at u, with the digits that standard errors need."""
    r, J = slopes_at(problem, u) if known is None else known
    if J.dtype == jnp.float64:
        return r, J
    size = np.linalg.norm(J, axis=0)
    singular = np.linalg.svd(np.asarray(J) / np.where(size > 0, size, 1.0), compute_uv=False)
    if np.isfinite(singular).all() and singular[-1] > _ENOUGH * singular[0]:
        return r, J
    with jax.enable_x64(True):
        return slopes_at(*cast_floats((problem, u), jnp.float64))


def _result(
    problem: Shooting,
    before: Array,
    solved: Solved,
    score: np.ndarray,
    best: int,
    history: np.ndarray,
    runs: int,
    why: str,
) -> Fit:
    free, protocol = problem.free, problem.protocol
    count = len(free.names)
    u = solved.u[best]
    model, initial, V, slopes, number = _at_optimum(problem, u)
    problem.objective.watch(protocol.times, V)
    if _holds(problem.objective, Firing) or (solved.slopes is None and count > _MANY):
        known = no_uncertainty(count)
    else:
        found = None if solved.slopes is None else (solved.slopes[0][best], solved.slopes[1][best])
        r, J = _slopes(problem, u, found)
        known = uncertainty(r, J, int(number), slopes)
    after = np.asarray(values_of(free, solved.u))
    return Fit(
        model=model,
        names=free.names,
        units=free.units,
        values=after[best],
        uncertainty=known,
        loss=float(score[best]),
        history=history,
        reason=solved.reasons[best],
        starts=Starts(np.asarray(before), after, score, tuple(solved.reasons)),
        runs=runs,
        ts=protocol.ts,
        V=V,
        data=protocol.target,
        v0=initial.V,
        free=free,
        dt=protocol.dt,
        solver=solver_name(protocol.solver),
        objective=named(problem.objective, problem.clamps),
        why=why,
        noise=problem.noise(u) if isinstance(problem, Predicting) else None,
        problem=problem,
        u=u,
        count=int(number),
        clamps=_of_clamps(problem, model) if problem.clamps else (),
        initial=initial,
    )
