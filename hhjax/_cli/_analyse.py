"""`analyse`: a neuron as a dynamical system."""

import argparse
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

import hhjax as hh

from .._base.host import number, table
from ._common import add_model, add_threshold, Command, make_model, one_of, save_csv, save_figure, save_result

PARTS = {
    "rest": "equilibria without and with the current",
    "branches": "equilibria over the range, folds and Hopf points",
    "orbit": "the periodic orbit in the current, its multipliers and phase response",
    "cycles": "the orbit followed over the range",
    "fi": "firing rate over the range, its onset",
    "impedance": "resonance of the rest without current",
    "sensitivity": "of the orbit's period to every parameter",
}


_OF_ORBIT = ("orbit", "cycles", "sensitivity")


_LEAST, _MOST = 0.02, 500.0  # µA/cm²: where firing is looked for


_HERTZ = (0.1, 1000.0)


_STEPS = (1000, 4000)  # in a period; the second where a multiplier of 1 shows the first to be too few


def analyse(
    *,
    model: str,
    set: Sequence[str],
    parts: Sequence[str] | None,
    current: float | None,
    range: Sequence[float] | None,
    points: int,
    t1: float,
    dt: float,
    threshold: float,
    out: Path,
) -> None:
    """Equilibria, orbits, firing and small-signal responses of one neuron."""
    neuron = make_model(model, set)
    wanted = list(PARTS) if parts is None else [one_of("part", part, PARTS) for part in parts]
    if range is not None and not (range[0] < range[1] and all(map(math.isfinite, range))):
        raise ValueError(f"--range must be the lowest and highest current, got {range[0]:g} {range[1]:g}.")
    if current is not None and not math.isfinite(current):
        raise ValueError(f"--current must be finite, got {current:g}.")
    if points < 3:
        raise ValueError(f"--points must be at least 3, got {points}.")
    run = dict(duration=t1, dt=dt, threshold=threshold)
    low, high, current = _currents(neuron, wanted, current, range, points, run)
    print(f"{model}, {low:g} to {high:g} µA/cm², the orbit at {current:g} µA/cm².")

    found: dict[str, Any] = {}
    if "rest" in wanted:
        found["rest"] = _rest(neuron, (0.0, current))
    if "branches" in wanted:
        _say("branches")
        found["branches"] = hh.analysis.branches(neuron, (low, high))
        print(found["branches"])
    if any(part in wanted for part in _OF_ORBIT):
        found |= _orbit(neuron, current, wanted, (low, high))
    if "fi" in wanted:
        _say("fi")
        found["fi"] = hh.analysis.fi_curve(neuron, np.linspace(low, high, points), tol=0.01, **run)
        print(found["fi"])
    if "impedance" in wanted:
        found |= _impedance(neuron)
    if not found:
        raise ValueError("there is nothing to write: none of the --parts was found.")

    _draw(found, model, out)
    if "branches" in found or "cycles" in found:
        headers = ["kind", "current (µA/cm²)", "highest V (mV)", "lowest V (mV)", "period (ms)", "stable"]
        save_csv(headers, _rows(found), out, "analyse.csv")
    save_result(found, out, "analyse.npz", model=model, settings=list(set))


def _say(part: str) -> None:
    print(f"\n{part}: {PARTS[part]}\n")


def _currents(
    neuron: hh.Neuron,
    parts: Sequence[str],
    current: float | None,
    range: Sequence[float] | None,
    points: int,
    run: dict[str, float],
) -> tuple[float, float, float]:
    """The range and the current: those given, or from the current with which the neuron starts to fire."""
    over_range = any(part in parts for part in ("branches", "cycles", "fi"))
    in_current = any(part in parts for part in ("rest", *_OF_ORBIT))
    onset = 0.0
    if (range is None and over_range) or (current is None and in_current):
        tried = np.append(0.0, np.geomspace(_LEAST, _MOST, points - 1))
        onset = float(hh.analysis.fi_curve(neuron, tried, tol=0.1, **run).threshold)
        if math.isnan(onset):
            raise ValueError(
                f"no current from {_LEAST:g} to {_MOST:g} µA/cm² starts to make this neuron fire for long, "
                "or it fires without: give --range and --current."
            )
    rounded = lambda x: float(f"{x:.2g}")
    low, high = (0.0, rounded(4 * onset)) if range is None else range
    current = rounded(1.6 * onset) if current is None else current
    if "cycles" in parts and not low <= current <= high:
        raise ValueError(f"--current must lie within --range, {low:g} to {high:g}, got {current:g}.")
    return low, high, current


def _rest(neuron: hh.Neuron, currents: Sequence[float]) -> dict[str, Any]:
    _say("rest")
    found, rows = {}, []
    for current in dict.fromkeys(currents):
        states = _try(lambda: hh.analysis.equilibria(neuron, current)) or ()
        found[f"{current:g}"] = states
        for state in states:
            first = complex(state.eigenvalues[0])
            hertz = 1000 * abs(first.imag) / (2 * math.pi)
            values = (current, float(state.V[0]))
            rows.append([state.kind, *(number(x, 8) for x in values), number(first.real), number(hertz)])
    if rows:
        headers = ["kind", "current (µA/cm²)", "V (mV)", "growth (1/ms)", "oscillates at (Hz)"]
        print(table(headers, rows))
    return found


def _orbit(
    neuron: hh.Neuron, current: float, parts: Sequence[str], currents: tuple[float, float]
) -> dict[str, Any]:
    _say("orbit")
    orbit, steps = None, _STEPS[0]
    for steps in _STEPS:
        orbit = _try(lambda: hh.analysis.periodic_orbit(neuron, current, orbit, steps=steps, throw=False))
        if orbit is None or bool(jnp.isnan(orbit.period)) or jnp.abs(orbit.multipliers - 1).min() < 1e-4:
            break
    if orbit is None or bool(jnp.isnan(orbit.period)):
        print(f"no periodic orbit in {current:g} µA/cm²")
        return {}
    rows = [
        ["period", number(float(orbit.period), 9), "ms"],
        ["frequency", number(float(orbit.frequency), 9), "Hz"],
        ["highest V", number(float(orbit.V.max()), 6), "mV"],
        ["lowest V", number(float(orbit.V.min()), 6), "mV"],
        ["stable", "yes" if bool(orbit.stable) else "no", ""],
    ]
    for k, multiplier in enumerate(np.asarray(orbit.multipliers)[:5]):
        shown = f"{multiplier.real:.6g}" + (f"{multiplier.imag:+.6g}i" if multiplier.imag else "")
        rows.append([f"multiplier {k + 1}", shown, ""])
    print(table(["", "value", "unit"], rows))
    response = hh.analysis.phase_response(orbit)
    found: dict[str, Any] = {"orbit": orbit, "response": response} if "orbit" in parts else {}
    if "cycles" in parts:
        cycles = _try(lambda: hh.analysis.continue_orbit(orbit, currents, steps=steps))
        if cycles is not None:
            found["cycles"] = cycles
            _say("cycles")
            rows = [["end", *_numbers(cycles.current[k], cycles.period[k])] for k in (0, -1)]
            folds = zip(cycles.fold_current, cycles.fold_period)
            rows[1:1] = [["fold of limit cycles", *_numbers(*fold)] for fold in folds]
            print(table(["point", "current (µA/cm²)", "period (ms)"], rows))
    if "sensitivity" in parts:
        _say("sensitivity")
        period = hh.analysis.period_feature(orbit, response)
        found["sensitivity"] = hh.analysis.sensitivity(neuron, period)
        print(found["sensitivity"])
    return found


def _impedance(neuron: hh.Neuron) -> dict[str, Any]:
    _say("impedance")
    rest = next((x for x in _try(lambda: hh.analysis.equilibria(neuron)) or () if bool(x.stable)), None)
    if rest is None:
        print("no stable rest without current")
        return {}
    response = hh.analysis.impedance(neuron, jnp.geomspace(*_HERTZ, 300), 0.0, rest)
    size, peak = np.abs(np.asarray(response.input[:, 0])), float(response.resonance[0])
    resonant = _HERTZ[0] < peak < _HERTZ[1]
    rows = [
        ["rest", number(float(rest.V[0]), 8), "mV"],
        [f"|Z| at {_HERTZ[0]:g} Hz", number(float(size[0])), "kΩ·cm²"],
        ["greatest |Z|", number(float(size.max())), "kΩ·cm²"],
        ["resonance", number(peak) if resonant else "none", "Hz" if resonant else ""],
    ]
    print(table(["", "value", "unit"], rows))
    return {"impedance": response}


def _try(find: Callable[[], Any]) -> Any:
    """What `find` finds; if it says that there is nothing, print why."""
    try:
        return find()
    except ValueError as error:
        print(" ".join(str(error).split()))
        return None


def _numbers(*values: Any) -> list[str]:
    return [number(float(x), 9) for x in values]


def _rows(found: dict[str, Any]) -> Iterable[tuple]:
    """The diagram as rows of a table: equilibria, then orbits."""
    if "branches" in found:
        curve = found["branches"]
        for I, V, stable in zip(curve.current.tolist(), curve.V.tolist(), curve.stable.tolist()):
            if not math.isnan(V):
                yield "equilibrium", I, V, V, "", stable
    if "cycles" in found:
        cycles = found["cycles"]
        columns = (cycles.current, cycles.V_max[:, 0], cycles.V_min[:, 0], cycles.period, cycles.stable)
        for row in zip(*(column.tolist() for column in columns)):
            yield "orbit", *row


def _draw(found: dict[str, Any], model: str, out: Path) -> None:
    """One panel for each part that has a picture."""
    import matplotlib.pyplot as plt

    def bifurcation(panel: Any) -> None:
        ax = panel.subplots()
        hh.plot.bifurcation(found["branches"], found.get("cycles", ()), ax=ax, legend=False)
        ax.legend(frameon=False, fontsize="x-small", loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=2)

    def rates(panel: Any) -> None:
        curve, ax = found["fi"], panel.subplots()
        hh.plot.fi_curve(curve.currents, curve.rates, ax=ax)
        if int(curve.hodgkin_class):
            onset = f"class {int(curve.hodgkin_class)}, from {float(curve.threshold):.4g} µA/cm²"
            ax.axvline(float(curve.threshold), color="0.7", linewidth=0.8, linestyle=":", zorder=0)
            ax.set_title(onset, fontsize="medium", loc="left")

    def sensitivity(panel: Any) -> None:
        ax = panel.subplots()
        hh.plot.sensitivity(found["sensitivity"], ax=ax, most=10)
        ax.set_xlabel("Change of the period for 1 % more (%)")

    panels = {
        "branches": bifurcation,
        "fi": rates,
        "response": lambda panel: hh.plot.prc(found["response"], ax=panel.subplots()),
        "impedance": lambda panel: hh.plot.impedance(
            found["impedance"], axes=list(panel.subplots(2, 1, sharex=True))
        ),
        "sensitivity": sensitivity,
    }
    shown = [name for name in panels if name in found]
    if not shown:
        return
    columns = min(2, len(shown))
    rows = -(-len(shown) // columns)
    figure = plt.figure(figsize=(5.5 * columns, 3.6 * rows), layout="constrained")
    grid = figure.subfigures(rows, columns, squeeze=False).ravel()
    for panel, name in zip(grid, shown):
        panels[name](panel)
    figure.suptitle(model)
    save_figure(figure, out, "analyse.png")
    plt.close(figure)


def _add(parser: argparse.ArgumentParser) -> None:
    add: Any = parser.add_argument
    add_model(parser, default="squid_axon")
    told = "; ".join(f"{name}: {what}" for name, what in PARTS.items())
    add("--parts", nargs="+", metavar="PART", help=f"by default all. {told}")
    add("--current", type=float, help="of the orbit, µA/cm²; by default 1.6 times the onset of firing")
    add("--range", type=float, nargs=2, metavar=("LOW", "HIGH"),
        help="of currents, µA/cm²; by default up to 4 times the onset of firing")  # fmt: skip
    add("--points", type=int, default=21, help="currents of the firing rates")
    add("--t1", type=float, default=1000.0, help="duration of their runs, ms; the second half counts")
    add("--dt", type=float, default=0.025, help="time step of these runs, ms")
    add_threshold(parser)


ANALYSE = Command("analyse", "equilibria, bifurcations, orbits and responses of a neuron", _add, analyse)
