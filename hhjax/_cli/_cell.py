"""`cell FILE`: the shape of a cell from a file, and what a step of current does to it."""

import argparse
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import hhjax as hh

from .._base.host import number, table
from ..analysis._steady import resting_potential
from ._common import (
    add_model,
    add_threshold,
    check_positive,
    Command,
    make_model,
    one_of,
    save_csv,
    save_figure,
    save_result,
)

_MOVED = 10.0  # mV: what a step moves V by that follows from the input resistance


def cell(
    *,
    file: str,
    model: str,
    set: Sequence[str],
    active: Sequence[str] | None,
    leak: float,
    resistivity: float,
    max_length: float | None,
    d_lambda: float,
    radius: float | None,
    root: int | None,
    join: bool,
    soma: str | None,
    current: float | None,
    at: str | None,
    places: Sequence[str] | None,
    start: float,
    stop: float,
    t1: float,
    dt: float,
    solver: str,
    threshold: float,
    out: Path,
) -> None:
    """What was read from a file, a picture of the cell, and its response to a step of current."""
    import matplotlib.pyplot as plt

    check_positive(leak=leak, t1=t1, dt=dt)
    if not 0 <= start < stop <= t1:
        raise ValueError(f"--start and --stop must be from 0 to t1 = {t1:g} ms, got {start:g} and {stop:g}.")
    neuron = make_model(model, set)
    C = float(neuron.C)
    shape = _load(file, max_length=max_length, d_lambda=d_lambda, resistivity=resistivity, C=C,
        radius=radius, root=root, join=join, soma=soma)  # fmt: skip
    regions = [x for x in shape.regions if x in ("soma", "axon")] or list(shape.regions)
    active = regions if active is None else [one_of("region", x, shape.regions) for x in active]
    E = float(np.nan_to_num(resting_potential(neuron), nan=-65.0))
    passive = hh.Neuron({"leak": hh.Leak(g=leak, E=E)}, C=C)
    membranes = {x: neuron if x in active else passive for x in shape.regions}
    made = hh.Cell(shape, membranes, resistivity=resistivity)
    at = ("soma" if "soma" in shape.sections else shape.from_root[0]) if at is None else at
    shown = list(dict.fromkeys([at, *(_tips(shape) if places is None else places)]))
    index = [shape.index(place) for place in shown]

    Z, rest = _rest(made, at, E)
    if current is None:
        if np.isnan(Z[index[0]]):
            raise ValueError("--current must be given for a cell without a known input resistance.")
        current = float(f"{_MOVED / Z[index[0]]:.2g}")
    step = hh.PointCurrent(hh.Step(current, start, stop), at=at)
    run = hh.simulate(made, t1=t1, dt=dt, stimulus=step, v0=rest, solver=solver)
    assert run.progress is not None
    V, spikes = np.asarray(run.V), run.spike_times(threshold)
    print(f"\n{model} in {', '.join(active) or 'no region'}, else a leak of {leak:g} mS/cm².")
    print(f"{current:g} nA into {at} from {start:g} to {stop:g} ms, {run.progress.solver}, dt = {dt:g} ms.\n")
    headers = ["place", "distance (µm)", "transfer resistance (MΩ)", "rest (mV)", "highest V (mV)", "spikes",
        "first (ms)"]  # fmt: skip
    away = shape.compartments.distance
    rows = []
    for place, i in zip(shown, index):
        numbers = (number(away[i]), number(Z[i]), f"{V[0, i]:.3f}", f"{V[:, i].max():.3f}")
        first = number(spikes[i][0], 6) if len(spikes[i]) else "-"
        rows.append([place, *numbers, str(len(spikes[i])), first])
    print(table(headers, rows))

    figure, axes = plt.subplots(1, 2, figsize=(11, 4), layout="constrained", width_ratios=[1.4, 1])
    hh.plot.places(run, made, shown, axes=list(axes))
    axes[0].axvspan(start, stop, color="0.95", zorder=0)
    axes[0].set_title(
        f"{current:g} nA into {at} from {start:g} to {stop:g} ms", fontsize="medium", loc="left"
    )
    figure.suptitle(Path(file).name)
    save_figure(figure, out, "cell.png")
    plt.close(figure)
    of = shape.compartments
    units = ("", "", "", " (µm)", " (µm)", " (µm²)", " (µm)")
    names = [f"{name}{unit}" for name, unit in zip(of._fields, units)]
    save_csv([*names, "transfer resistance (MΩ)"], zip(*of, Z), out, "cell.csv")
    save_result({"cell": made, "run": run}, out, "cell.npz", file=str(file), model=model)


def _load(file: str, **options: Any) -> hh.cells.Morphology:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        shape = hh.cells.load(file, **options)
    print(shape)
    for warning in caught:
        print(f"Check this: {warning.message}")
    return shape


def _rest(made: hh.Cell, at: str, E: float) -> tuple[np.ndarray, Any]:
    """The transfer resistance of each compartment (MΩ) and its V at rest (mV), as far as they are known."""
    try:
        response = hh.analysis.transfer(made, at=at, v0=E)
    except (ValueError, RuntimeError) as error:
        print(f"\nNo resistances: {str(error).splitlines()[0]}")
        return np.full(made.n, np.nan), E
    return np.abs(np.asarray(response.Z[0])), response.rest.V


def _tips(shape: hh.cells.Morphology) -> list[str]:
    """The farthest place of each region but the first."""
    of = shape.compartments
    found = []
    for region in list(shape.regions)[1:]:
        i = np.flatnonzero(of.region == region)[of.distance[of.region == region].argmax()]
        found.append(f"{of.section[i]}(1)")
    return found


def _add(parser: argparse.ArgumentParser) -> None:
    add: Any = parser.add_argument
    add("file", metavar="FILE", help="shape of a cell: .swc, .asc or .h5, see hhjax.cells.load")
    add_model(parser, default="squid_axon")
    add("--active", nargs="*", metavar="REGION",
        help="where that model is the membrane, by default soma and axon; the rest is passive")  # fmt: skip
    add("--leak", type=float, default=0.1, help="conductance of the passive membrane, mS/cm²")
    add("--resistivity", type=float, default=100.0, help="of the axoplasm, Ω·cm")
    add("--max-length", type=float, help="of a compartment, µm, in place of --d-lambda")
    add("--d-lambda", type=float, default=0.1, help="the same in space constants at 100 Hz")
    add("--radius", type=float, help="µm, for points where the file has none")
    add("--root", type=int, metavar="ID", help="only the tree with this point, of several in the file")
    add("--join", action="store_true", help="join all trees in the file")
    add("--soma", metavar="SHAPE", help="sphere or frusta; by default its number of points decides")
    add("--current", type=float,
        help=f"injected current, nA; by default what moves V by {_MOVED:g} mV at rest")  # fmt: skip
    add("--at", metavar="PLACE", help="where it enters, such as 'dend[0](0.5)'; by default the soma")
    add("--places", nargs="*", metavar="PLACE", help="shown besides, by default the end of each region")
    add("--start", type=float, default=10.0, help="of the step, ms")
    add("--stop", type=float, default=60.0, help="of the step, ms")
    add("--t1", type=float, default=80.0, help="duration, ms")
    add("--dt", type=float, default=0.025, help="time step, ms")
    add("--solver", default="strang", help="one of " + ", ".join(hh.steppers.by_name))
    add_threshold(parser)


CELL = Command("cell", "read the shape of a cell, and give it a step of current", _add, cell)
