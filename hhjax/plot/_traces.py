"""Traces of single neurons: V, the currents behind it, the gates."""

from collections.abc import Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from .._base.arguments import as_whole, check_kind
from .._base.host import known_are
from .._base.parameters import check_size, run_dtype
from .._draw import beside, COLOURS, line, new_axes, new_pair
from .._model.neuron import State
from .._run.currents import Currents
from .._run.solution import Solution
from ..recordings import Recording
from ..stimuli._base import as_stimulus


def traces(
    solution: Solution,
    *,
    neurons: Sequence[int] | None = None,
    labels: Sequence[str] | None = None,
    legend: bool = True,
    ax: Axes | None = None,
    **style: Any,
) -> list[Line2D]:
    """Membrane potential (mV) against time (ms), one line per neuron.

    **Arguments:** `neurons`: which, by default the first seven; `labels`: one for each;
    `legend`: whether to show them; `style`: passed on to `Axes.plot`.
    """
    V = np.asarray(check_solution(solution).V)
    neurons, labels = _chosen(V.shape[1], neurons, labels, "neuron")
    ax = new_axes(ax, "Time (ms)", "Membrane potential (mV)")
    return _lines(ax, solution.ts, V, neurons, labels, legend, style)


def _chosen(n: int, neurons: Any, labels: Any, kind: str) -> tuple[Sequence[int], Sequence[Any]]:
    """Which of n columns are shown, by default the first ones, and a label for each."""
    neurons = range(min(n, len(COLOURS))) if neurons is None else neurons
    neurons = as_whole("neurons", neurons, -n, n - 1)
    labels = labels or ([f"{kind} {i}" for i in neurons] if len(neurons) > 1 else [None] * len(neurons))
    if len(labels) != len(neurons):
        raise ValueError(f"`labels` must be one for each of {len(neurons)} lines, got {len(labels)}.")
    return neurons, labels


def _lines(
    ax: Axes, ts: Any, x: Any, columns: Sequence[int], labels: Sequence, legend: bool, style: dict
) -> list[Line2D]:
    lines = []
    for i, label in zip(columns, labels, strict=True):
        lines += line(ax, ts, x[:, i], **({"linewidth": 1.2, "label": label} | style))
    if legend and any(labels):
        beside(ax)
    return lines


def response(
    run: Solution | Recording,
    stimulus: Any = None,
    *,
    neurons: Sequence[int] | None = None,
    labels: Sequence[str] | None = None,
    legend: bool = True,
    axes: Sequence[Axes] | None = None,
    **style: Any,
) -> list[Line2D]:
    """Membrane potential (mV) and, below it, the injected current, both against time (ms).

    **Arguments:**

    - `run`: a solution, or a [`hh.Recording`][] of one neuron, which brings its own current.
    - `stimulus`: what the run was given, see [`hh.simulate`][]; a solution does not keep it.
    - `neurons`: which, of a recording which sweeps; by default the first seven.
    - `labels`, `legend`, `style`: see [`traces`][hhjax.plot.traces].
    - `axes`: two, for V and the current.

    **Returns:** the lines of V and then those of the current, one if it is the same for all.

    **Raises:** `ValueError` for a solution without a stimulus, a recording with one, and a
    recording of several neurons.
    """
    if isinstance(run, Recording):
        if stimulus is not None:
            raise ValueError("`stimulus` goes with a solution; a recording has its own current.")
        if run.V.ndim != 2:
            raise ValueError("`run` must be a recording of one neuron, this one has several.")
        V, current, kind, unit = run.V.T, run.current.T, "sweep", run.current_unit
        when, steps = run.ts, {"drawstyle": "steps-post"} if run.held else {}
    else:
        check_kind("run", run, Solution, "an hh.Solution or an hh.Recording")
        if stimulus is None:
            raise ValueError(
                "`stimulus` is missing: give what the run was given; a solution does not keep it."
            )
        V, kind, unit, steps = np.asarray(run.V), "neuron", "µA/cm²", {}
        when, current = _current(run, stimulus)
    neurons, labels = _chosen(V.shape[1], neurons, labels, kind)
    above, below = new_pair(axes, "Time (ms)", ("Membrane potential (mV)", f"Current\n({unit})"))
    lines = _lines(above, run.ts, V, neurons, labels, False, style)
    if legend and any(labels):
        beside(above)
    same = current.shape[1] == 1
    style = {"linewidth": 1.2} | steps | {k: x for k, x in style.items() if k != "label"}
    if same:
        return lines + line(below, when, current[:, 0], **({"color": "0.3"} | style))
    for i, above_it in zip(neurons, list(lines)):
        as_above = {"color": above_it.get_color(), "linestyle": above_it.get_linestyle()}
        lines += line(below, when, current[:, i], **(as_above | style))
    return lines


def _current(run: Solution, stimulus: Any) -> tuple[np.ndarray, np.ndarray]:
    """Times (ms) and the current at them, shape (times, 1 or n), both sides of every jump."""
    stimulus = as_stimulus(stimulus)
    dtype = run_dtype(stimulus)
    ts = np.asarray(run.ts, float)
    conductance = np.asarray(stimulus.conductance(), float)
    if not conductance.any():
        edges = np.asarray(stimulus.edges(ts[0], ts[-1]), float)
        sides = np.concatenate([edges - 1e-6 * np.ptp(ts), edges + 1e-6 * np.ptp(ts)])
        inside = sides[(sides > ts[0]) & (sides < ts[-1])]
        when = np.sort(np.concatenate([ts, np.linspace(ts[0], ts[-1], 1000), inside]))
    else:  # what is injected follows V, which is known at these times alone
        when = ts
    current = np.asarray(jax.vmap(lambda t: jnp.asarray(stimulus(t), dtype))(jnp.asarray(when, dtype)))
    current = current[:, None] if current.ndim == 1 else current
    return when, current - conductance * np.asarray(run.V) if conductance.any() else current


def gates(
    solution: Solution,
    *,
    neuron: int = 0,
    population: str | None = None,
    ax: Axes | None = None,
    **style: Any,
) -> list[Line2D]:
    """All gates of one neuron against time (ms), one line each.

    **Arguments:** `solution`: of a run that saved the whole state, as
    `saveat=diffrax.SaveAt(t0=True, steps=True)` does; `neuron`: its index, in a network of
    several populations within its own; `population`: the name of that; `style`: passed on to
    `Axes.plot`.

    **Raises:** `ValueError` if the gates were not saved, and for a population that is not there.
    """
    found = saved_gates(solution, population)
    _check_neuron(neuron, solution.finite)
    ax = new_axes(ax, "Time (ms)", "Gate (no unit)")
    lines = []
    for channel, states in found.items():
        for gate, x in states.items():
            options = {"linewidth": 1.2, "label": f"{channel}.{gate}"} | style
            lines += line(ax, solution.ts, np.asarray(x)[:, neuron], **options)
    ax.set_ylim(-0.03, 1.03) if all(_within(line) for line in lines) else None
    beside(ax)
    return lines


def currents(
    run: Solution | Currents,
    *,
    neuron: int = 0,
    population: str | None = None,
    names: Sequence[str] | None = None,
    ax: Axes | None = None,
    **style: Any,
) -> list[Line2D]:
    """All currents of one neuron (µA/cm²) against time (ms), one line each.

    What flows out is positive, of the stimulus what is injected.

    **Arguments:** `run`: a solution, or the [`hh.Currents`][] of one; `neuron`: its index, in a network
    of several populations within its own; `population`: the name of that; `names`: which currents, of a
    channel without its population, by default all that are not 0 throughout; `style`: passed on to
    `Axes.plot`.

    **Raises:** `ValueError` for a population or a current that is not there.
    """
    check_kind("run", run, (Solution, Currents), "an hh.Solution or its currents")
    everything = run if isinstance(run, Currents) else run.currents()
    _check_neuron(neuron, everything["stimulus"])
    found = _of_neuron(everything, neuron, population)
    if names is None:
        names = [name for name, x in found.items() if x.any()] or list(found)
    names = [names] if isinstance(names, str) else check_kind("names", names, Iterable, "names of currents")
    for name in names:
        if not isinstance(name, str) or name not in found:
            raise ValueError(f"`names` has {name!r}, which is no current.{known_are(str(name), found)}")
    ax = new_axes(ax, "Time (ms)", "Current (µA/cm²)")
    lines = []
    for name in names:
        lines += line(ax, run.ts, found[name], **({"linewidth": 1.2, "label": name} | style))
    beside(ax)
    return lines


def _of_neuron(found: Currents, neuron: int, population: str | None) -> dict[str, np.ndarray]:
    """The currents of one neuron by name, those of channels without their population."""
    ranges = {name: range(start, stop) for name, start, stop in found.populations}
    if (population is None) == bool(ranges) or (ranges and population not in ranges):
        known = f"one of {', '.join(map(repr, ranges))}" if ranges else "None, for there is but one"
        raise ValueError(f"`population` must be {known}, got {population!r}.")
    if population is None:
        return {name: np.asarray(x)[:, neuron] for name, x in found.items()}
    of_one = {}
    for name, x in found.items():
        first, _, rest = name.partition(".")
        if first == population:
            of_one[rest] = np.asarray(x)[:, neuron]
        elif first not in ranges:
            of_one[name] = np.asarray(x)[:, ranges[population][neuron]]
    return of_one


def _within(line: Line2D) -> bool:
    return bool((line.get_ydata() >= -0.02).all() and (line.get_ydata() <= 1.02).all())


def _check_neuron(neuron: Any, of_all: Any) -> None:
    n = of_all.shape[-1]
    check_size("neuron", neuron, -n, n - 1)


def check_solution(solution: Any, name: str = "solution") -> Solution:
    return check_kind(name, solution, Solution, "an hh.Solution")


def saved_gates(solution: Solution, population: str | None = None) -> dict[str, dict[str, Any]]:
    """`gates[channel][gate]` of a run with the whole state saved."""
    found = check_solution(solution).ys.gates if isinstance(solution.ys, State) else {}
    if not found:
        raise ValueError(
            "`solution` holds no gates: run with saveat=diffrax.SaveAt(t0=True, steps=True), without a `fn`."
        )
    nested = any(isinstance(x, dict) for states in found.values() for x in states.values())
    if nested != (population is not None) or (nested and population not in found):
        known = f"one of {', '.join(map(repr, found))}" if nested else "None, for there is but one"
        raise ValueError(f"`population` must be {known}, got {population!r}.")
    return found[population] if nested else found
