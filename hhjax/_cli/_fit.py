"""`fit FILE`: a neuron fitted to a recording."""

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

import hhjax as hh

from .._fit._look import choose
from .._fit._passive import few
from .._fit._protocol import check_unit
from .._model.names import parameters
from ._common import (
    add_model,
    check_positive,
    Command,
    make_model,
    one_of,
    save_csv,
    save_figure,
    save_result,
)

_PER_SAMPLE = 0.1  # ms, to which a search thins out what is recorded more often
_POLISH = 40  # iterations after a search
_MOST = 12  # sweeps that are fitted if the user does not choose


def fit(
    *,
    file: str,
    model: str,
    set: Sequence[str],
    free: Sequence[str] | None,
    bounds: Sequence[str],
    area: float | None,
    capacitance: float | None,
    no_guess: bool,
    sweeps: Sequence[int] | None,
    start: float | None,
    stop: float | None,
    every: int | None,
    threshold: float | None,
    solver: str,
    dt: float | None,
    generations: int | None,
    method: str,
    guide: str,
    rate: float,
    steps: int | None,
    starts: int,
    seed: int,
    out: Path,
) -> None:
    """Estimate parameters from some sweeps of a recording, and try the model on the others."""
    import matplotlib.pyplot as plt
    import optax

    whole = _recording(file)
    fitted = _chosen(len(whole), sweeps)
    others = [k for k in range(len(whole)) if k not in fitted]
    if others:
        print(
            f"Sweeps {few(fitted)} are fitted and {few(others)} are not. Each group is numbered from 0 "
            "below.\n"
        )
    neuron = make_model(model, set)
    area = _area(neuron, area, capacitance)
    limits = dict(map(_bound, bounds))
    found = None if no_guess else _guessed(neuron, whole[fitted], area, set, limits)
    if free is None:
        free = found.free if found else [f"{name}.g" for name in neuron.channels] + ["C"]
    for name in limits:
        one_of("free parameter", name, free)
    electrode = None if found else _electrode(whole, area, free)
    pair = found.model if found else neuron if electrode is None else (neuron, electrode)
    for name in free:
        one_of("parameter", name, parameters(pair))
    methods = {"lm": "lm", "adam": optax.adam(rate)}
    guides = {"nudging": hh.Nudging(), "none": None}
    options: dict[str, Any] = {
        "method": methods[one_of("method", method, methods)],
        "guide": guides[one_of("guide", guide, guides)],
        "steps": 100 if steps is None else steps,
    }
    recording = _part(whole, start, stop)
    if generations is None:
        noisy = _is_of_a_cell(recording[fitted], 0.0 if threshold is None else threshold)
        generations = hh.Evolution().generations if noisy else 0
    if generations:
        every = max(1, int(_PER_SAMPLE / recording.dt + 1e-6)) if every is None else every
        dt = recording.dt * every if dt is None and recording.dt * every <= _PER_SAMPLE + 1e-6 else dt
        options |= {"loss": hh.losses.Firing(threshold), "guide": hh.Evolution(generations)}
        options["steps"] = _POLISH if steps is None else steps
    recording = recording.every(1 if every is None else every)
    result = hh.fit(
        pair,
        recording[fitted],
        where=list(free),
        bounds=limits,
        starts=starts,
        key=jax.random.key(seed),
        dt=dt,
        solver=solver,
        **options,
    )
    count = f"{len(fitted)} sweep{'s' * (len(fitted) != 1)}"
    print(f"{model} fitted to {count} of {recording.name}, {result.solver}, dt = {result.dt:g} ms.\n")
    print(result)
    hh.plot.fit_report(result, sweeps=sorted({0, len(fitted) // 2, len(fitted) - 1}))
    save_figure(plt.gcf(), out, "fit.png")
    rows = zip(result.names, result.values, result.standard_errors, result.units)
    save_csv(["parameter", "estimate", "standard error", "unit"], rows, out, "fit.csv")
    save_result(result, out, "fit.npz", file=str(file), model=model)
    if others:
        held_out = recording[others]
        traces = hh.replay(result.model, held_out, dt=result.dt, solver=solver)
        problem: Any = result.problem
        own = float(problem.objective.threshold) if generations else 0.0
        level = own if threshold is None else threshold
        score = hh.score(traces, held_out, threshold=level)
        print(f"Sweeps that were not fitted ({few(others)}), with spikes above {level:.3g} mV:\n\n{score}")
        hh.plot.score(score)
        save_figure(plt.gcf(), out, "score.png")


def _chosen(count: int, sweeps: Sequence[int] | None) -> list[int]:
    """Which sweeps are fitted: those asked for, or every second one if there are four or more."""
    if sweeps is None:
        found = list(range(0, count, 2 if count >= 4 else 1))
        at = np.linspace(0, len(found) - 1, min(len(found), _MOST)).round().astype(int)
        return [found[k] for k in at]
    if wrong := [k for k in sweeps if not 0 <= k < count]:
        raise ValueError(f"--sweeps must be from 0 to {count - 1}, got {wrong[0]}.")
    return list(sweeps)


def _is_of_a_cell(recording: hh.Recording, threshold: float) -> bool:
    """Whether it holds spikes that no free-running model can meet one by one."""
    V = np.asarray(recording.V, float)
    V = V[..., None] if V.ndim == 2 else V
    fires = (np.diff(V >= threshold, axis=1).sum(axis=1) > 1).any()
    return bool(fires) and isinstance(choose(recording.ts, V, recording.current)[0], hh.losses.Prediction)


def _recording(file: str) -> hh.Recording:
    recording = hh.recordings.load(file, clamp="current")
    if not recording.current_known:
        raise ValueError(
            f"{recording.name} does not hold the current that was injected: write a .csv with it."
        )
    return recording


def _part(recording: hh.Recording, start: float | None, stop: float | None) -> hh.Recording:
    if start is not None or stop is not None:
        first = recording.ts[0] if start is None else start
        recording = recording.between(first, recording.ts[-1] if stop is None else stop)
    return recording


def _bound(given: str) -> tuple[str, tuple[float, float]]:
    name, _, numbers = given.partition("=")
    try:
        low, high = (float(x) for x in numbers.split(":"))
    except ValueError:
        raise ValueError(f"--bounds takes NAME=LOW:HIGH, such as leak.E=-90:-50, got {given!r}.") from None
    return name, (low, high)


def _area(neuron: hh.Neuron, area: float | None, capacitance: float | None) -> float | None:
    check_positive(area=area, capacitance=capacitance)
    if area is not None and capacitance is not None:
        raise ValueError("give one of --area and --capacitance, for one follows from the other and C.")
    if capacitance is not None:
        area = capacitance / (0.01 * float(neuron.C))  # 1 µF/cm² is 0.01 pF/µm²
    return area


def _electrode(recording: hh.Recording, area: float | None, free: Sequence[str]) -> hh.Electrode | None:
    check_unit(recording, area, "--area or --capacitance")
    if area is None and "electrode.area" in free:
        raise ValueError("electrode.area starts from --area or --capacitance, for currents in pA.")
    of_electrode = any(name.startswith("electrode.") for name in free)
    return hh.Electrode(area=area) if area is not None or of_electrode else None


def _guessed(
    neuron: hh.Neuron,
    recording: hh.Recording,
    area: float | None,
    settings: Sequence[str],
    limits: dict[str, tuple[float, float]],
) -> hh.Guess | None:
    """A guess, if there is one, whose model has what --set sets and nothing that --bounds excludes."""
    if area is not None:
        check_unit(recording, area, "--area or --capacitance")
    kept = {setting.partition("=")[0] for setting in settings}
    C = float(neuron.C) if "C" in kept and area is None and recording.current_unit == "pA" else None
    try:
        found = hh.guess(recording, (neuron, hh.Electrode(area=area)), C=C)
    except ValueError as error:
        if area is None and recording.current_unit == "pA":
            raise ValueError(f"no guess: {error} Or give --area or --capacitance.") from None
        print(f"No guess, so the model starts as it is: {error}\n")
        return None
    print(f"{found}\n")
    own = parameters(neuron)
    outside = lambda name: not limits[name][0] < float(hh.get(found.model, name)) < limits[name][1]
    kept |= {name for name in limits if name in own and outside(name)}
    new = hh.replace(found.model, {name: hh.get(neuron, name) for name in kept})
    return dataclasses.replace(found, model=new)


def _add(parser: argparse.ArgumentParser) -> None:
    add: Any = parser.add_argument
    add("file", metavar="FILE", help="recording: .abf, .nwb or .csv, see hhjax.recordings.load")
    add_model(parser, default="adapting")
    names = "such as na.g leak.E C electrode.offset; by default all that hh.guess names"
    add("--free", nargs="+", metavar="NAME", help=f"parameters to estimate, {names}")
    add("--bounds", action="append", default=[], metavar="NAME=LOW:HIGH",
        help="keep a free parameter within, such as leak.E=-90:-50; may be repeated")  # fmt: skip
    add("--area", type=float, help="membrane area, µm², for currents in pA; guessed if not given")
    add("--capacitance", type=float, help="of the whole cell, pF, in place of the area")
    no_guess = "start from the model as it is, not from hh.guess of the steps without spikes"
    add("--no-guess", action="store_true", help=no_guess)
    sweeps = f"which to fit, from 0; by default every second one of four or more, at most {_MOST}"
    add("--sweeps", type=int, nargs="+", metavar="K", help=sweeps)
    add("--start", type=float, help="part of each sweep to fit, ms")
    add("--stop", type=float, help="end of that part, ms")
    every = f"take every k-th sample; a search by default one in {_PER_SAMPLE:g} ms"
    add("--every", type=int, metavar="K", help=every)
    add("--threshold", type=float, help="of a spike, mV; by default from the data in a search, else 0")
    add("--solver", default="strang", help="one of " + ", ".join(hh.steppers.by_name))
    add("--dt", type=float, help="time step, ms; by default the sampling interval or a part of it")
    generations = (
        "of a search that compares firing (hh.losses.Firing, hh.Evolution); by default "
        f"{hh.Evolution().generations} where the cell fires with noise, and 0, no search, elsewhere"
    )
    add("--generations", type=int, metavar="G", help=generations)
    add("--method", default="lm", help="lm (Levenberg-Marquardt) or adam")
    guide = "nudging, for long spiking traces, or none, where the data spike little; without a search"
    add("--guide", default="nudging", help=guide)
    add("--rate", type=float, default=0.01, help="learning rate of adam")
    steps = f"at most so many iterations without a guide; by default 100, after a search {_POLISH}"
    add("--steps", type=int, help=steps)
    add("--starts", type=int, default=1, help="how many, the model and random ones")
    add("--seed", type=int, default=0, help="of the search and of random starts")


FIT = Command("fit", "fit a neuron to a recording", _add, fit)
