"""`sweep`: spikes and rates of a neuron over one or two parameters."""

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import hhjax as hh

from .._base.host import table
from ._common import add_model, add_threshold, Command, make_model, save_csv, save_figure, save_result


def sweep(
    *,
    over: Sequence[Sequence[str]],
    model: str,
    set: Sequence[str],
    current: float,
    t1: float,
    dt: float,
    start: float,
    solver: str,
    threshold: float,
    out: Path,
) -> None:
    """Spike counts and firing rates over one or two parameters."""
    import matplotlib.pyplot as plt

    axes = _axes(over)
    if not 0 <= start < t1:
        raise ValueError(f"--start must be from 0 up to t1 = {t1:g} ms, got {start:g}.")
    result = hh.sweep(
        make_model(model, set),
        over={name: hh.Axis("stimulus", x) if name == "current" else x for name, x in axes.items()},
        t1=t1,
        dt=dt,
        stimulus=current,
        solver=solver,
        reduce={
            "spikes": hh.SpikeCount(threshold, start=start),
            "rate": hh.FiringRate(threshold, start=start),
        },
    )
    finite = np.asarray(result.finite)[..., 0]
    spikes = np.where(finite, result.reduced["spikes"][..., 0], np.nan)
    rates = np.asarray(result.reduced["rate"])[..., 0]

    names = [result.axis_label(name) for name in axes]
    kept = f"{start:g} to {t1:g} ms"
    print(f"{model}: firing rate from {kept}, {result.solver}, dt = {dt:g} ms.\n")
    grid = np.meshgrid(*axes.values(), indexing="ij")
    whole = [int(count) if np.isfinite(count) else count for count in spikes.ravel()]
    rows = list(zip(*(x.ravel() for x in grid), whole, rates.ravel()))
    headers = [*names, "spikes", "rate (Hz)"]
    if len(axes) == 1:
        print(table(headers, [[f"{x:g}", f"{count:g}", f"{rate:.3f}"] for x, count, rate in rows]))
    else:
        first, second = axes.values()
        lines = [[f"{x:g}", *(f"{rate:.1f}" for rate in row)] for x, row in zip(first, rates)]
        print(f"Rates in Hz, {names[0]} downwards, {names[1]} to the right:\n")
        print(table(["", *(f"{x:g}" for x in second)], lines))
    if not finite.all():
        print(f"\n{(~finite).sum()} of {finite.size} runs turned infinite or NaN: take a smaller --dt.")

    if len(axes) == 1:
        hh.plot.fi_curve(*axes.values(), rates)
        plt.gca().set_xlabel(names[0])
    else:
        hh.plot.sweep(result, rates, label="Firing rate (Hz)")
    plt.gca().set_title(model)
    save_figure(plt.gcf(), out, "sweep.png")
    save_csv(headers, rows, out, "sweep.csv")
    save_result(result, out, "sweep.npz", model=model, current=current, start=start)


def _axes(over: Sequence[Sequence[str]]) -> dict[str, np.ndarray]:
    if len(over) > 2:
        raise ValueError(f"--over may be given once or twice, got {len(over)}; hh.sweep takes more.")
    axes = {}
    for name, *numbers in over:
        try:
            low, high, count = float(numbers[0]), float(numbers[1]), int(numbers[2])
        except ValueError:
            given = " ".join([name, *numbers])
            raise ValueError(
                f"--over takes a name, the lowest and highest value and how many, got {given}."
            ) from None
        if count < 1 or not math.isfinite(low) or not math.isfinite(high):
            raise ValueError(f"--over {name} must have finite ends and at least one value, got {numbers}.")
        if name in axes:
            raise ValueError(f"--over names {name} twice.")
        axes[name] = np.linspace(low, high, count)
    return axes


def _add(parser: argparse.ArgumentParser) -> None:
    add: Any = parser.add_argument
    varied = "what varies: current, v0, C, na.g or any other parameter of a channel; may be given twice"
    places = ("NAME", "LOW", "HIGH", "COUNT")
    add("--over", nargs=4, action="append", required=True, metavar=places, help=varied)
    add_model(parser, default="squid_axon")
    add("--current", type=float, default=10.0, help="injected current, µA/cm²")
    add("--t1", type=float, default=500.0, help="duration, ms")
    add("--dt", type=float, default=0.025, help="time step, ms")
    add("--start", type=float, default=100.0, help="spikes up to then are not counted, ms")
    add_threshold(parser)
    add("--solver", default="strang", help="one of " + ", ".join(hh.steppers.by_name))


SWEEP = Command("sweep", "spikes and rates over one or two parameters", _add, sweep)
