"""A tight adaptive solution to compare others with."""

from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .._base.arguments import as_host, as_number
from .._base.host import check_meter
from .._base.parameters import check_size, is_concrete, run_dtype, shown
from .._model.network import Model, vector_field
from .._model.neuron import State
from ..stimuli._base import as_stimulus
from .run import count_steps
from .simulate import check_run, save_V
from .solution import Solution


def reference(
    network: Model,
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

    Its steps end on the edges of the stimulus. A Python function of t has no edges that are known: there the
    steps are at most 2·dt long, see [`hh.steps_onto`][]. Enable `jax_enable_x64`: in float32 the default
    tolerances are only 1e-6.

    **Arguments:** those of [`hh.simulate`][], and

    - `dt`: spacing of the saved values, ms, from which spike times are taken. It does not change the
        solution, unless the stimulus is a function of t: a change that lasts for less than dt may be missed.
    - `solver`: any adaptive diffrax ODE solver; `diffrax.Kvaerno5()` for stiff models.
    - `saveat`: any `diffrax.SaveAt` with t0, t1, ts, fn; by default V every `dt`.
    - `rtol`, `atol`: tolerances of the step size controller, by default 1e-10 in float64.
    - `max_steps`: raise after so many.

    **Returns:** a [`hh.Solution`][].
    """
    network, stimulus, start, t0, t1, dt = check_run(network, stimulus, t0, t1, dt, y0, v0)
    if network.has_events:
        raise ValueError(
            "`network` has synapses driven by detected spikes, which an adaptive solver does not see; "
            "compare with hh.simulate at a small dt instead."
        )

    if network.is_noisy:
        raise ValueError("`network` is noisy: a reference run is deterministic. Take hh.simulate.")
    y0 = start if isinstance(start, State) else network.init(start)
    if not isinstance(solver, diffrax.AbstractSolver):
        raise TypeError(f"`solver` must be a diffrax solver object, got {shown(solver)}.")
    if not isinstance(solver, diffrax.AbstractAdaptiveSolver):
        raise ValueError(f"`solver` must estimate its error, as diffrax.Dopri8() does, got {shown(solver)}.")
    check_meter(progress_meter)
    max_steps = None if max_steps is None else check_size("max_steps", max_steps)
    dtype = y0.V.dtype
    usual = 1e-6 if dtype == jnp.float32 else 1e-10
    tolerances: dict[str, Any] = {
        name: usual if x is None else as_number(name, x, positive=True)
        for name, x in (("rtol", rtol), ("atol", atol))
    }
    steps, _ = count_steps(t0, t1, dt)
    if saveat is None:
        ts = np.minimum(t0 + dt * np.arange(steps + 1), t1)
        saveat = diffrax.SaveAt(ts=jnp.asarray(ts, dtype), fn=save_V)
    if not isinstance(getattr(saveat, "subs", None), diffrax.SubSaveAt) or saveat.subs.steps:
        raise ValueError(f"`saveat` must be a diffrax.SaveAt of t0, t1, ts and fn alone, got {saveat!r}.")
    if saveat.subs.ts is not None:
        limits = {"minimum": t0, "maximum": t1}
        as_host("saveat.ts", saveat.subs.ts, "ms", axes="(times,)", increasing=True, **limits)
    final_too = diffrax.SaveAt(subs=(saveat.subs, diffrax.SubSaveAt(t1=True)))
    controller = diffrax.PIDController(**tolerances)
    controller = steps_onto(controller, stimulus, t1=t1, dt=dt, t0=t0)
    solved: Any = _solve(
        diffrax.ODETerm(vector_field),
        solver,
        jnp.asarray(t0, dtype),
        jnp.asarray(t1, dtype),
        dt0=None,
        y0=y0,
        args=(network, stimulus),
        saveat=final_too,
        stepsize_controller=controller,
        max_steps=max_steps,
        progress_meter=progress_meter,
    )
    ts, ys, final = solved.ts[0], solved.ys[0], jax.tree.map(lambda x: x[0], solved.ys[1])
    return Solution(ts, ys, final, network.finite(final))


_solve = eqx.filter_jit(diffrax.diffeqsolve)


def steps_onto(
    controller: diffrax.PIDController, stimulus: Any, *, t1: float, dt: float, t0: float = 0.0
) -> diffrax.AbstractStepSizeController:
    """A controller for `diffrax.diffeqsolve` that steps over nothing that a stimulus does.

    An adaptive solver lengthens its steps while nothing happens, and then a pulse falls between two of the
    times at which it looks. Steps of this one end where the current or its slope jumps, and are short enough
    for what it does in between.

    ```python
    network, pulse = hh.Network(hh.squid_axon()), hh.Step(1500.0, 50.0, 50.01)
    controller = hh.steps_onto(diffrax.PIDController(rtol=1e-6, atol=1e-6), pulse, t1=60.0, dt=0.025)
    diffrax.diffeqsolve(
        diffrax.ODETerm(hh.vector_field), diffrax.Tsit5(), t0=0.0, t1=60.0, dt0=None, y0=network.init(),
        args=(network, pulse), max_steps=None, stepsize_controller=controller,
    )
    ```

    **Arguments:**

    - `controller`: a `diffrax.PIDController`.
    - `stimulus`: as in [`hh.simulate`][].
    - `t0`, `t1`: of the run, ms.
    - `dt`: how long something must last not to be missed, ms, where the stimulus does not tell when it
        happens: a Python function of t, or a class of your own without `edges` and `longest_step`.

    **Returns:** a controller of diffrax's.
    """
    if not isinstance(controller, diffrax.PIDController):
        raise TypeError(f"`controller` must be a diffrax.PIDController, got {controller!r}.")
    stimulus = as_stimulus(stimulus)
    longest = stimulus.longest_step(dt)
    if controller.dtmax is not None:
        longest = jnp.minimum(longest, controller.dtmax)
    if is_concrete(longest) and np.isinf(longest):
        longest = None
    controller = eqx.tree_at(lambda it: it.dtmax, controller, longest, is_leaf=lambda x: x is None)
    edges = stimulus.edges(t0, t1)
    if edges.size == 0:
        return controller
    return diffrax.ClipStepSizeController(controller, jump_ts=jnp.sort(edges.astype(run_dtype(stimulus))))
