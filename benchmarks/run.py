"""hhjax beside other simulators, with one command: tables, figures and a JSON file.

    python benchmarks/run.py [--peers PYTHON ...] [--out benchmarks/results] [--quick]

- rates: neuron-steps in a second of the processor for 1 to 10,000 squid axons at 5 to 20 µA/cm², 4,000 steps
    of 0.025 ms or, of few axons, as many as make 10⁶ neuron-steps. One core; the best of three runs from
    call to finished result, compiled before; float32 but for NEURON and Arbor, which have float64 alone, and
    the method that a simulator takes by default. `hh.sweep` counts spikes, the others keep V at the end.
- precision: error of spike times over processor time, see precision.py.

Peers do the same work in the environments whose Python is given, for example after

    python3 -m venv brian && brian/bin/pip install brian2 cython
    python3 -m venv peers && peers/bin/pip install neuron==9.0.2 jaxley==0.14.0
    python benchmarks/run.py --peers brian/bin/python peers/bin/python

(also `arbor==0.12.2` and `braincell==0.1.0`), and are named as absent where they are not installed. Each has
a script in `peers/`. It is given a case as JSON: `n` axons at `currents` from the one to the other for `t1`
ms, with each of `dts`, timed `repeats` times. With a `folder` it takes float64 and all of its methods, those
with a tolerance for each of `tolerances`, and keeps V of the first axon there. It prints a JSON line for each
method and step: `peer`, `dt` or `tolerance`, `seconds` and, of what it kept, the file `trace` and its `grid`,
the ms from one sample to the next.

The tables come as Markdown, for `docs/benchmarks.md`: `--out docs/benchmarks`.
"""

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from measure import launch, machine, pinned, save

HERE = Path(__file__).parent
PEERS = {
    "Brian2": "brian2",
    "NEURON": "neuron",
    "Jaxley": "jaxley",
    "BrainCell": "braincell",
    "Arbor": "arbor",
}
C, OURS = "C loop by hand", "hhjax, hh.sweep"
COLOURS = {
    "hhjax": "#0072B2",
    "Diffrax": "#D55E00",
    "NEURON": "#009E73",
    "Brian2": "#CC79A7",
    "Jaxley": "0.2",
}
GOAL = 0.01  # ms, an error of spike times


def own(script: str, *arguments: object) -> Any:
    """The JSON in the last line that one of these scripts prints."""
    command = [sys.executable, str(HERE / script), *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


def rates(pythons: list[str], sizes: list[int], steps: int, work: int, repeats: int) -> list[dict[str, Any]]:
    """Million neuron-steps/s of everyone for each n."""
    rows = []
    for n in sizes:
        many = max(steps, work // n)
        size = ("--steps", many, "--neurons", n, "--repeats", repeats)
        found = {OURS: own("sweeps.py", *size, "--cores", 1)[0]["rate"]}
        if n >= 64:  # as many as it takes together
            found[C] = own("limit.py", *size)["C, textbook rates"]
        case = dict(n=n, t1=many * 0.025, currents=[5.0, 20.0], dts=[0.025], repeats=repeats, folder=None)
        for module in PEERS.values():
            for row in launch(pythons, module, case):
                found[row["peer"]] = n * many / row["seconds"] / 1e6
        rows.append({"n": n, "steps": many, "rates": {name: x for name, x in found.items() if x}})
        print(f"n = {n}: " + ", ".join(f"{name} {x:.3g} M/s" for name, x in found.items() if x), flush=True)
    return rows


def by_peer(figures: dict[str, Any]) -> dict[str, dict[int, float]]:
    """The rates of each for each n, the highest at the end first."""
    names = dict.fromkeys(name for row in figures["rates"] for name in row["rates"])
    found = {name: {r["n"]: r["rates"].get(name) for r in figures["rates"]} for name in names}
    return dict(sorted(found.items(), key=lambda item: -(list(item[1].values())[-1] or 0.0)))


def about(figures: dict[str, Any]) -> str:
    """What it was measured on, a line of Markdown."""
    told = figures["machine"]
    said = f"{told['cpu']}, one core; Python {told['python']}, JAX {told['jax']}, hhjax {told['hhjax']}"
    absent = f"; not measured: {', '.join(figures['absent'])}" if figures["absent"] else ""
    return f"{said}{absent}." + " **At these sizes the times mean nothing.**" * figures["quick"]


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def number(x: float | None) -> str:
    if x is None:
        return ""
    return f"{x:,.0f}" if x >= 100 else f"{x:.2g}"


def rate_table(figures: dict[str, Any]) -> str:
    rows = [[name, *map(number, of.values())] for name, of in by_peer(figures).items()]
    return table(["", *(f"n = {row['n']:,}" for row in figures["rates"])], rows)


def precision_table(figures: dict[str, Any]) -> str:
    """At 0.025 ms, and the least time in which the error falls below the goal."""
    rows = figures["precision"]["rows"]
    lines = []
    for name in dict.fromkeys(row["peer"] for row in rows):
        its = [row for row in rows if row["peer"] == name]
        usual = next((row for row in its if row.get("dt") == 0.025), {})
        good = [row for row in its if row["error ms"] is not None and row["error ms"] < GOAL]
        best = min(good, key=lambda row: row["seconds"], default=None)
        line = [name, number(usual.get("error ms")), number(usual and 1e3 * usual["seconds"] or None)]
        if best is None:
            lines.append([*line, "not reached", ""])
        else:
            at = f"dt {best['dt']:g} ms" if "dt" in best else f"tolerance {best['tolerance']:g}"
            lines.append([*line, number(1e3 * best["seconds"]), at])
    usual, goal = ["error at dt 0.025 ms (ms)", "its time (ms)"], [f"time for {GOAL} ms (ms)", "with"]
    return table(["", *usual, *goal], lines)


def short(name: str) -> str:
    """Without versions."""
    return re.sub(r" [\d.]+( on JAX [\d.]+)?", "", name)


def plot_rates(figures: dict[str, Any], path: Path) -> None:
    from matplotlib import pyplot as plt

    figure, ax = plt.subplots(figsize=(8, 4.2), layout="constrained")
    for k, (name, of) in enumerate(by_peer(figures).items()):
        colour = COLOURS.get(short(name).split(",")[0], "0.6")
        looks = dict(color=colour, ls="--" if name == C else "-", lw=2.5 if name == OURS else 1.2)
        points = [(n, rate) for n, rate in of.items() if rate]
        ax.loglog(*zip(*points), marker="osD^v<>ph"[k % 9], ms=5, label=short(name), **looks)
    ax.set(xlabel="Squid axons", ylabel="Million neuron-steps per second, one core")
    ax.grid(which="major", color="0.92")
    ax.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside right center", frameon=False)
    figure.savefig(path, dpi=150)


def plot_precision(figures: dict[str, Any], path: Path) -> None:
    from matplotlib import pyplot as plt

    import hhjax as hh

    rows = figures["precision"]["rows"]
    labels = {"cost": "Processor time (ms)", "error": "Largest error of a spike time (ms)"}
    figure, ax = plt.subplots(figsize=(8, 5), layout="constrained")
    program = lambda row: short(row["peer"]).split(",")[0]
    for name in dict.fromkeys(map(program, rows)):  # one colour for each, a marker for each method
        its = [row for row in rows if program(row) == name]
        points = [(short(r["peer"]), 1e3 * r["seconds"], r["error ms"] or float("nan")) for r in its]
        looks = {"color": COLOURS.get(name, "0.5"), "linestyle": "-" if name == "hhjax" else "--"}
        hh.plot.work_precision(points, ax=ax, **looks, **labels)
    figure.savefig(path, dpi=150)


def main(argv: list[str] | None = None) -> dict:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--out", type=Path, default=HERE / "results", help="folder for the results")
    parser.add_argument("--peers", nargs="*", default=[sys.executable], help="Python of their environments")
    parser.add_argument("--quick", action="store_true", help="sizes at which the times mean nothing")
    o = parser.parse_args(argv)
    sizes, size = ([1, 64], (20, 20, 1)) if o.quick else ([1, 10, 100, 1000, 10_000], (4000, 10**6, 3))
    figures: dict[str, Any] = {"machine": machine(), "quick": o.quick}
    with pinned():
        figures["rates"] = rates(o.peers, sizes, *size)
        quick = ["--quick"] if o.quick else []
        figures["precision"] = own("precision.py", "--cores", 1, "--json", "-", *quick, "--peers", *o.peers)
    known = " ".join(name for row in figures["rates"] for name in row["rates"])
    figures["absent"] = [name for name in PEERS if name not in known]
    o.out.mkdir(parents=True, exist_ok=True)
    save(figures, str(o.out / "results.json"))
    parts = {"about": about, "rates": rate_table, "precision": precision_table}
    for name, part in parts.items():
        (o.out / f"{name}.txt").write_text(part(figures) + "\n")
        print(f"\n{part(figures)}")
    plot_rates(figures, o.out / "rates.png")
    plot_precision(figures, o.out / "precision.png")
    print(f"\nSaved in {o.out.resolve()}")
    return figures


if __name__ == "__main__":
    main()
