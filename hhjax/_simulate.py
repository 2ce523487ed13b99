"""The loop over time, and what is checked before and after it."""

import dataclasses
import math
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ._diffrax import as_stepper
from ._network import Network, vector_field
from ._neuron import Neuron, State
from ._parameters import as_float_array, cast_floats, is_concrete, run_dtype
from ._solution import NonFiniteError, Solution
from ._stimulus import as_stimulus, check_stimulus, Stimulus
from .steppers import AbstractStepper


def save_V(t: Array, y: State, args: Any) -> State:
    """Save the membrane potential and nothing else; for `diffrax.SaveAt(fn=...)`."""
    return State(V=y.V, gates={}, s=None)


_SAVE_V = diffrax.SaveAt(t0=True, steps=True, fn=save_V)


@dataclasses.dataclass(frozen=True)
class _Plan:
    """Which states of a run of `steps` steps are saved, fixed before compilation.

    Rows are made for the initial state (if `initial`), every `stride`-th step and the
    last step (if `last`), and those listed in `keep`, all for `None`, are returned.
    """

    steps: int
    stride: int
    initial: bool
    last: bool
    keep: tuple[int, ...] | None
    indices: tuple[int, ...]


def _plan(saveat: Any, t0: float, dt: float, t1: float, steps: int) -> _Plan:
    sub = saveat.subs
    unsupported = [
        k for k in ("dense", "solver_state", "controller_state", "made_jump") if getattr(saveat, k)
    ]
    if unsupported or not isinstance(sub, diffrax.SubSaveAt):
        what = ", ".join(unsupported) or "several `subs`"
        raise ValueError(
            f"`saveat` with {what} is not supported: use diffrax.SaveAt(t0=, t1=, ts=, steps=, fn=)."
        )
    wanted: set[int] = set()
    if sub.t0:
        wanted.add(0)
    if sub.t1:
        wanted.add(steps)
    if sub.steps:
        wanted.update(range(sub.steps, steps + 1, sub.steps))
    if sub.ts is not None:
        wanted.update(_grid_indices(np.asarray(sub.ts, float), t0, dt, t1, steps))
    indices = sorted(wanted)
    inner = [i for i in indices if 0 < i < steps]
    stride = math.gcd(*inner) if inner else steps
    made = ([0] if 0 in wanted else []) + list(range(stride, steps + 1, stride))
    last = steps in wanted and steps % stride != 0
    made += [steps] if last else []
    keep = None if made == indices else tuple(made.index(i) for i in indices)
    return _Plan(steps, stride, 0 in wanted, last, keep, tuple(indices))


def _grid_indices(ts: np.ndarray, t0: float, dt: float, t1: float, steps: int) -> list[int]:
    indices = np.where(np.isclose(ts, t1, rtol=1e-6, atol=0), steps, np.rint((ts - t0) / dt).astype(int))
    grid = np.where(indices == steps, t1, t0 + indices * dt)
    off = np.abs(grid - ts) > 1e-3 * dt + 1e-6 * np.abs(ts)
    off |= (indices < 0) | (indices > steps)
    if off.any():
        bad, near = ts[off][0], grid[off][0]
        raise ValueError(
            f"`saveat.ts` must lie on the grid t0 + i·dt of the run ({t0} to {t1} ms, dt = {dt} ms); "
            f"{bad} does not, the nearest grid time is {float(np.clip(near, t0, t1)):g}."
        )
    return indices.tolist()


def _integrate(
    network: Network,
    stimulus: Stimulus,
    y0: State | None,
    v0: Array,
    t0: Array,
    t1: Array,
    dt: Array,
    last_dt: Array,
    key: Array | None,
    stepper: AbstractStepper,
    plan: _Plan,
    save: Any,
    meter: diffrax.AbstractProgressMeter,
) -> tuple[Any, State, Array]:
    """Run the loop; return what was saved, the final state and whether it is finite."""
    y0 = network.init(v0) if y0 is None else y0
    ready = stimulus.on_grid(t0, t1, dt, plan.steps)
    keys = None if key is None else jax.random.split(key, plan.steps)

    def time(i: Array) -> Array:
        return jnp.where(i == plan.steps, t1, t0 + i.astype(dt.dtype) * dt)

    def step(carry: _Carry, key: Array | None) -> tuple[_Carry, None]:
        t = time(carry.i)
        h = jnp.where(carry.i == plan.steps - 1, last_dt, dt)
        z = stepper.step(network, t, h, carry.z, ready.within(t, h), key)
        state = meter.step(carry.meter, (carry.i + 1).astype(float) / plan.steps)
        return _Carry(carry.i + 1, z, state), None

    def row(carry: _Carry) -> Any:
        y = stepper.output(network, carry.z)
        return save(time(carry.i), y, (network, stimulus))

    # Keeping the state alone, and computing a step anew for its gradient, is smaller and
    # faster than keeping what the step worked out on its way.
    step = jax.checkpoint(step, prevent_cse=False)

    def steps_and_row(carry: _Carry, keys: Array | None) -> tuple[_Carry, Any]:
        carry, _ = _scan(step, carry, keys, plan.stride)
        return carry, row(carry)

    z0 = stepper.init(network, t0, dt, y0, ready.within(t0, dt))
    start = _Carry(jnp.int32(0), z0, meter.init())
    rows, rest = divmod(plan.steps, plan.stride)
    cut = rows * plan.stride
    row_keys = _split(None if keys is None else keys[:cut], rows, plan.stride)
    chunk = max(1, _SMALL_LOOP_BYTES // _nbytes(jax.eval_shape(row, start)))
    carry, ys = _scan_in_chunks(steps_and_row, start, row_keys, rows, chunk)
    if rest:
        carry, _ = _scan(step, carry, None if keys is None else keys[cut:], rest)
    meter.close(carry.meter)

    first = [row(start)] if plan.initial else []
    final = [row(carry)] if plan.last else []
    one = lambda rows: [jax.tree.map(lambda x: x[None], r) for r in rows]
    ys = jax.tree.map(lambda *parts: jnp.concatenate(parts), *one(first), ys, *one(final))
    if plan.keep is not None:
        ys = jax.tree.map(lambda x: x[np.array(plan.keep)], ys)
    y1 = stepper.output(network, carry.z)
    return ys, y1, _finite(y1)


class _Carry(eqx.Module):
    """What the loop hands from step to step: their number, the stepper's state, the meter's."""

    i: Array
    z: Any
    meter: Any


# XLA:CPU compiles a loop whose buffers are smaller than about this into one function,
# without which a step of a single neuron costs up to 20 times as much. So a run of few
# neurons saves into small chunks, and the step number is carried, not scanned over.
_SMALL_LOOP_BYTES = 512


def _nbytes(tree: Any) -> int:
    return max(sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree)), 1)


def _split(keys: Array | None, *shape: int) -> Array | None:
    return None if keys is None else keys.reshape(shape + keys.shape[1:])


def _scan(f: Any, carry: Any, keys: Array | None, length: int) -> tuple[Any, Any]:
    if length == 1:
        carry, y = f(carry, None if keys is None else keys[0])
        return carry, jax.tree.map(lambda x: x[None], y)
    return jax.lax.scan(f, carry, keys, length=length)


def _scan_in_chunks(f: Any, carry: Any, keys: Array | None, length: int, chunk: int) -> tuple[Any, Any]:
    """`lax.scan` over `length` calls of f, as a scan over scans of at most `chunk` calls."""
    chunk = max(k for k in range(1, chunk + 1) if length % k == 0)
    if chunk == 1:
        return _scan(f, carry, keys, length)
    inner = lambda c, keys: jax.lax.scan(f, c, keys, length=chunk)
    chunks = length // chunk
    carry, ys = _scan(inner, carry, _split(keys, chunks, chunk), chunks)
    return carry, jax.tree.map(lambda x: x.reshape((length,) + x.shape[2:]), ys)


def _finite(y: State) -> Array:
    """Which neurons' states are finite, shape (n,)."""
    return jnp.stack([jnp.isfinite(x) for x in jax.tree.leaves(y)]).all(axis=0)


_compiled_integrate = eqx.filter_jit(_integrate)


def _number(name: str, value: Any, *, positive: bool = False) -> float:
    try:
        number = float(value)
    except jax.errors.ConcretizationTypeError:
        raise TypeError(
            f"`{name}` decides how many steps are compiled, so it must be a number, not a traced value. "
            "Close over it or mark it static."
        ) from None
    except (TypeError, ValueError):
        raise TypeError(f"`{name}` must be a number in ms, got {value!r}.") from None
    if not math.isfinite(number) or (positive and number <= 0):
        raise ValueError(f"`{name}` must be a {'positive ' * positive}finite number in ms, got {value!r}.")
    return number


def check_run(
    network: Any, stimulus: Any, t0: Any, t1: Any, dt: Any, y0: Any, v0: Any
) -> tuple[Network, Stimulus, State | None, Array, float, float, float]:
    """Refuse what cannot be run, and give the rest one float type.

    **Returns:** network, stimulus, y0 and v0, and t0, t1, dt as numbers.
    """
    if isinstance(network, Neuron):
        network = Network(network)
    if not isinstance(network, Network):
        raise TypeError(f"`network` must be an hh.Network or hh.Neuron, got {network!r}.")
    dt, t0, t1 = _number("dt", dt, positive=True), _number("t0", t0), _number("t1", t1)
    if t1 <= t0:
        raise ValueError(f"`t1` must be later than t0 = {t0} ms, got {t1} ms.")
    network.check()
    stimulus = as_stimulus(stimulus)
    check_stimulus(stimulus, network.n)
    network = cast_floats(network, dtype := run_dtype(network))
    stimulus = cast_floats(stimulus, dtype)
    if y0 is None:
        network.check_v0(v0)
    else:
        y0, v0 = cast_floats(y0, dtype), 0.0
        _check_state(y0, network)
    return network, stimulus, y0, as_float_array(v0, dtype), t0, t1, dt


def _check_state(y0: Any, network: Network) -> None:
    wanted = eqx.filter_eval_shape(network.init)
    if jax.tree.structure(y0) != jax.tree.structure(wanted):
        raise ValueError(
            "`y0` must be a state of this network, such as network.init() or a run's "
            f"`final`, got {jax.tree.structure(y0)}."
        )
    for (path, leaf), want in zip(jax.tree.leaves_with_path(y0), jax.tree.leaves(wanted)):
        where = "y0" + jax.tree_util.keystr(path)
        if jnp.shape(leaf) != want.shape:
            raise ValueError(f"`{where}` must have shape {want.shape}, got {jnp.shape(leaf)}.")
        if is_concrete(leaf) and not np.isfinite(np.asarray(leaf)).all():
            raise ValueError(f"`{where}` must be finite, got NaN or infinity.")


def _steps(t0: float, t1: float, dt: float) -> tuple[int, float]:
    """The number of steps and the length of the last one, which ends at t1 exactly."""
    steps = max(round((t1 - t0) / dt), 1)
    if abs(t0 + steps * dt - t1) <= 1e-6 * dt * max(steps, 1):
        return steps, dt
    steps = math.ceil((t1 - t0) / dt)
    return steps, t1 - (t0 + (steps - 1) * dt)


def simulate(
    network: Network | Neuron,
    *,
    t1: float,
    dt: float,
    t0: float = 0.0,
    stimulus: Any = 0.0,
    solver: Any = "strang",
    y0: State | None = None,
    v0: Any = -65.0,
    saveat: diffrax.SaveAt = _SAVE_V,
    progress_meter: diffrax.AbstractProgressMeter = diffrax.NoProgressMeter(),
    key: Array | None = None,
    throw: bool = True,
) -> Solution:
    """Run a network at fixed time steps, in one `lax.scan`.

    Model, stimulus, initial state and dt are arguments of the compiled loop: other values
    recompile nothing. Works under `jax.jit`, `jax.vmap` and `jax.grad`.

    **Arguments:**

    - `network`: an [`hh.Network`][], or an [`hh.Neuron`][] for one of them. Its float type
        is the run's.
    - `t1`, `dt`, `t0`: end, time step and start, ms. When dt does not divide t1 − t0, the
        last step is shorter.
    - `stimulus`: injected current, µA/cm²: a number, an (n,) array, a stimulus such as
        [`hh.Step`][], or any callable of t (ms). A plain Python function is compiled in:
        define it once, since each new one compiles anew.
    - `solver`: `"strang"`, another name in `hh.steppers.by_name`, a stepper, or any
        diffrax ODE solver object, which then takes fixed steps.
    - `y0`: the initial state; by default all variables at rest for `v0`.
    - `v0`: initial membrane potential, mV, scalar or (n,); not used with `y0`.
    - `saveat`: a `diffrax.SaveAt` with any of t0, t1, steps=k, ts (on the grid) and
        fn(t, y, args), args being (network, stimulus). By default V at every step and at
        t0.
    - `progress_meter`: one of diffrax's, such as `diffrax.TqdmProgressMeter()`.
    - `key`: a `jax.random.key`, for stochastic solvers.
    - `throw`: whether a run that turns non-finite raises. If not, look at
        `solution.finite`. Inside `jit` or `vmap` the error cannot tell the time.

    **Returns:** a [`hh.Solution`][].

    **Raises:** `ValueError` and `TypeError` for bad input, before compiling;
    [`hh.NonFiniteError`][] with the time and neuron where a run turned non-finite.
    """
    network, stimulus, y0, v0, t0, t1, dt = check_run(network, stimulus, t0, t1, dt, y0, v0)
    stepper = as_stepper(solver)
    if stepper.stochastic and key is None:
        raise ValueError(
            f"`key` is missing: solver {type(stepper).__name__} is stochastic. "
            "Pass key=jax.random.key(0), for example."
        )
    if not isinstance(saveat, diffrax.SaveAt):
        raise TypeError(f"`saveat` must be a diffrax.SaveAt, got {saveat!r}.")
    steps, last_dt = _steps(t0, t1, dt)
    plan = _plan(saveat, t0, dt, t1, steps)
    times = [np.asarray(x, v0.dtype) for x in (t0, t1, dt, last_dt)]
    key = key if stepper.stochastic else None
    run = (network, stimulus, y0, v0, *times, key, stepper)
    ys, final, finite = _compiled_integrate(*run, plan, saveat.subs.fn, progress_meter)
    indices = np.array(plan.indices)
    ts = jnp.asarray(np.where(indices == steps, t1, t0 + indices * dt), v0.dtype)
    if throw:
        if not is_concrete(finite):
            hint = _hint(solver, dt)
            ys, final = eqx.error_if((ys, final), ~finite, f"The run turned infinite or NaN. {hint}")
        elif not finite.all():
            _raise_non_finite(run, steps, t0, dt, t1, _hint(solver, dt))
    return Solution(ts, ys, final, finite)


def _hint(solver: Any, dt: float) -> str:
    name = solver if isinstance(solver, str) else type(solver).__name__
    return (
        f"{name!r} at dt = {dt} ms may be unstable: take a smaller dt, or a solver that stays "
        "bounded, such as 'strang'; or inspect the run with throw=False."
    )


def _raise_non_finite(run: tuple, steps: int, t0: float, dt: float, t1: float, hint: str) -> None:
    """Run again, watching, and raise with the first bad time and neuron."""
    plan = _plan(diffrax.SaveAt(steps=True), t0, dt, t1, steps)
    watch = lambda t, y, args: _finite(y)
    finite, _, _ = _compiled_integrate(*run, plan, watch, diffrax.NoProgressMeter())
    step = int(jnp.argmin(finite.all(axis=1)))
    neuron = int(jnp.argmin(finite[step]))
    time = min(t0 + (step + 1) * dt, t1)
    count = int((~finite[-1]).sum())
    raise NonFiniteError(
        f"The run turned infinite or NaN at t = {time:g} ms, first in neuron {neuron} "
        f"({count} of {finite.shape[1]} at the end). {hint}",
        time,
        neuron,
    )


def reference(
    network: Network | Neuron,
    *,
    t1: float,
    dt: float = 0.01,
    t0: float = 0.0,
    stimulus: Any = 0.0,
    solver: diffrax.AbstractSolver = diffrax.Dopri8(),
    y0: State | None = None,
    v0: Any = -65.0,
    saveat: diffrax.SaveAt | None = None,
    rtol: float | None = None,
    atol: float | None = None,
    max_steps: int | None = 10_000_000,
    progress_meter: diffrax.AbstractProgressMeter = diffrax.NoProgressMeter(),
) -> Solution:
    """Run a network with a tight adaptive diffrax solver, to compare others against.

    The solver steps onto the stimulus's edges. For digits worth the name, enable
    `jax_enable_x64`; in float32 the default tolerances are 1e-6.

    **Arguments:** those of [`hh.simulate`][], and

    - `dt`: spacing of the saved values, ms; it has no bearing on the accuracy of the
        solution, and the spike times are read off the saved values.
    - `solver`: any adaptive diffrax ODE solver; `diffrax.Kvaerno5()` for stiff models.
    - `saveat`: any `diffrax.SaveAt` with t0, t1, ts, fn; by default V every `dt`.
    - `rtol`, `atol`: tolerances of the step size controller, by default 1e-10 in float64.
    - `max_steps`: raise after so many.

    **Returns:** a [`hh.Solution`][].
    """
    network, stimulus, y0, v0, t0, t1, dt = check_run(network, stimulus, t0, t1, dt, y0, v0)
    y0 = network.init(v0) if y0 is None else y0
    if not isinstance(solver, diffrax.AbstractSolver):
        raise TypeError(f"`solver` must be a diffrax solver object, got {solver!r}.")
    dtype = y0.V.dtype
    tolerance = 1e-6 if dtype == jnp.float32 else 1e-10
    steps, _ = _steps(t0, t1, dt)
    if saveat is None:
        ts = np.minimum(t0 + dt * np.arange(steps + 1), t1)
        saveat = diffrax.SaveAt(ts=jnp.asarray(ts, dtype), fn=save_V)
    final_too = diffrax.SaveAt(subs=(saveat.subs, diffrax.SubSaveAt(t1=True)))
    controller = diffrax.PIDController(rtol=rtol or tolerance, atol=atol or tolerance)
    edges = stimulus.edges(t0, t1)
    if edges.size:
        controller = diffrax.ClipStepSizeController(controller, jump_ts=edges.astype(dtype))
    solved = _solve(
        network,
        stimulus,
        y0,
        jnp.asarray(t0, dtype),
        jnp.asarray(t1, dtype),
        solver,
        final_too,
        controller,
        max_steps,
        progress_meter,
    )
    (ts, _), (ys, final) = solved.ts, solved.ys
    final = jax.tree.map(lambda x: x[0], final)
    return Solution(ts, ys, final, _finite(final))


@eqx.filter_jit
def _solve(network, stimulus, y0, t0, t1, solver, saveat, controller, max_steps, meter):
    return diffrax.diffeqsolve(
        diffrax.ODETerm(vector_field),
        solver,
        t0,
        t1,
        dt0=None,
        y0=y0,
        args=(network, stimulus),
        saveat=saveat,
        stepsize_controller=controller,
        max_steps=max_steps,
        progress_meter=meter,
    )
