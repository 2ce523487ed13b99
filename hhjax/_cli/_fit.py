"""`fit FILE`: a neuron fitted to a recording."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

import hhjax as hh

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
    every: int,
    solver: str,
    dt: float | None,
    method: str,
    guide: str,
    rate: float,
    steps: int,
    starts: int,
    seed: int,
    out: Path,
) -> None:
    """Estimate parameters from a recording."""
    import matplotlib.pyplot as plt
    import optax

    whole = _recording(file, sweeps)
    recording = _part(whole, start, stop, every)
    neuron = make_model(model, set)
    free = [f"{name}.g" for name in neuron.channels] + ["C"] if free is None else list(free)
    area = _area(neuron, area, capacitance)
    limits = _bounds(bounds, free)
    fitted = None if no_guess else _guessed(neuron, whole, area, set, limits)
    if fitted is None:
        electrode = _electrode(recording, area, free)
        fitted = neuron if electrode is None else (neuron, electrode)
    for name in free:
        one_of("parameter", name, parameters(fitted))
    methods = {"lm": "lm", "adam": optax.adam(rate)}
    guides = {"nudging": hh.Nudging(), "none": None}
    result = hh.fit(
        fitted,
        recording,
        where=free,
        bounds=limits,
        method=methods[one_of("method", method, methods)],
        guide=guides[one_of("guide", guide, guides)],
        steps=steps,
        starts=starts,
        key=jax.random.key(seed),
        dt=dt,
        solver=solver,
    )
    count = f"{len(recording)} sweep{'s' * (len(recording) != 1)}"
    print(f"{model} fitted to {count} of {recording.name}, {result.solver}, dt = {result.dt:g} ms.\n")
    print(result)
    hh.plot.fit_report(result)
    save_figure(plt.gcf(), out, "fit.png")
    rows = zip(result.names, result.values, result.standard_errors, result.units)
    save_csv(["parameter", "estimate", "standard error", "unit"], rows, out, "fit.csv")
    save_result(result, out, "fit.npz", file=str(file), model=model)


def _recording(file: str, sweeps: Sequence[int] | None) -> hh.Recording:
    recording = hh.recordings.load(file, clamp="current")
    if not recording.current_known:
        raise ValueError(
            f"{recording.name} does not hold the current that was injected: write a .csv with it."
        )
    if sweeps is None:
        return recording
    if wrong := [k for k in sweeps if not 0 <= k < len(recording)]:
        raise ValueError(f"--sweeps must be from 0 to {len(recording) - 1}, got {wrong[0]}.")
    return recording[list(sweeps)]


def _part(recording: hh.Recording, start: float | None, stop: float | None, every: int) -> hh.Recording:
    if start is not None or stop is not None:
        first = recording.ts[0] if start is None else start
        recording = recording.between(first, recording.ts[-1] if stop is None else stop)
    return recording.every(every)


def _bounds(bounds: Sequence[str], free: Sequence[str]) -> dict[str, tuple[float, float]]:
    found = {}
    for bound in bounds:
        name, _, numbers = bound.partition("=")
        one_of("free parameter", name, free)
        try:
            low, high = (float(x) for x in numbers.split(":"))
        except ValueError:
            raise ValueError(
                f"--bounds takes NAME=LOW:HIGH, such as leak.E=-90:-50, got {bound!r}."
            ) from None
        found[name] = (low, high)
    return found


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
) -> tuple[hh.Neuron, hh.Electrode] | None:
    """The model and electrode of a guess, if there is one, but for what --set sets or --bounds excludes."""
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
    return hh.replace(found.model, {name: hh.get(neuron, name) for name in kept})


def _add(parser: argparse.ArgumentParser) -> None:
    add: Any = parser.add_argument
    add("file", metavar="FILE", help="recording: .abf, .nwb or .csv, see hhjax.recordings.load")
    add_model(parser, required=True)
    names = "such as na.g leak.E C electrode.offset; by default the g of every channel, and C"
    add("--free", nargs="+", metavar="NAME", help=f"parameters to estimate, {names}")
    add("--bounds", action="append", default=[], metavar="NAME=LOW:HIGH",
        help="keep a free parameter within, such as leak.E=-90:-50; may be repeated")  # fmt: skip
    add("--area", type=float, help="membrane area, µm², for currents in pA; guessed if not given")
    add("--capacitance", type=float, help="of the whole cell, pF, in place of the area")
    no_guess = "start from the model as it is, not from hh.guess of the steps without spikes"
    add("--no-guess", action="store_true", help=no_guess)
    add("--sweeps", type=int, nargs="+", metavar="K", help="which, from 0; by default all")
    add("--start", type=float, help="part of each sweep to fit, ms")
    add("--stop", type=float, help="end of that part, ms")
    add("--every", type=int, default=1, metavar="K", help="take every k-th sample")
    add("--solver", default="strang", help="one of " + ", ".join(hh.steppers.by_name))
    add("--dt", type=float, help="time step, ms; by default the sampling interval or a part of it")
    add("--method", default="lm", help="lm (Levenberg-Marquardt) or adam")
    guide = "nudging, for long spiking traces, or none, where the data spike little"
    add("--guide", default="nudging", help=guide)
    add("--rate", type=float, default=0.01, help="learning rate of adam")
    add("--steps", type=int, default=100, help="at most so many iterations without a guide")
    add("--starts", type=int, default=1, help="how many, the model and random ones")
    add("--seed", type=int, default=0, help="of random starts")


FIT = Command("fit", "fit a neuron to a recording", _add, fit)
