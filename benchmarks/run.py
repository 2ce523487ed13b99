"""All benchmarks with one command: a table, a JSON file and a plot.

    python benchmarks/run.py [--out benchmarks/results] [--peers PYTHON ...] [--quick]

Every part runs in a process of its own, those of one core pinned to it where the system can.
Peers (Brian 2, NEURON, Jaxley, BrainCell, Arbor) do the same work in the environments whose
Python is given, for example after

    python3 -m venv brian && brian/bin/pip install brian2==2.9.0 cython "numpy<2"
    python3 -m venv peers && peers/bin/pip install neuron==9.0.2 jaxley==0.14.0 arbor==0.12.2
    python3 -m venv braincell && braincell/bin/pip install braincell==0.1.0
    python benchmarks/run.py --peers brian/bin/python peers/bin/python braincell/bin/python

and are named as absent where they are not installed. Figures are the best of several runs,
from call to finished result, compiled before. On one core they are of processor time, which
other work on the machine lengthens little; on several, of wall time. A ratio tells more than
the figure itself.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

from measure import cores_usable, machine, pinned

HERE = Path(__file__).parent
PEERS = {
    "Brian2": "brian2",
    "NEURON": "neuron",
    "Jaxley": "jaxley",
    "BrainCell": "braincell",
    "Arbor": "arbor",
}


def launch(python: str, script: Path, *arguments: object, cores: int = 1) -> str | None:
    """The last line that a script prints, pinned to so many cores; `None` if it fails."""
    command = [python, str(script), *map(str, arguments)]
    with pinned(cores):  # a process inherits it
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    lines = done.stdout.strip().splitlines()
    return lines[-1] if done.returncode == 0 and lines else None


def own(script: str, *arguments: object, cores: int = 1) -> list | dict:
    out = launch(sys.executable, HERE / script, *arguments, cores=cores)
    if out is None:
        raise RuntimeError(f"{script} failed; run it alone to see why.")
    return json.loads(out)


def peers(pythons: list[str], n: int, steps: int, repeats: int) -> tuple[dict[str, float], list[str]]:
    """Million neuron-steps/s of each peer that is there, and the names of those that are not."""
    rates, absent = {}, []
    for name, module in PEERS.items():
        for python in pythons:
            out = launch(python, HERE / "peers" / f"{module}_peer.py", n, steps, repeats)
            if out is not None:
                found = json.loads(out)
                rates[found["peer"]] = n * steps / found["seconds"] / 1e6
                break
        else:
            absent.append(name)
    return rates, absent


def throughput(n: int, steps: int, repeats: int, pythons: list[str]) -> tuple[dict[str, float], list[str]]:
    """Million neuron-steps/s of everyone, on one core unless said otherwise."""
    rates = {}
    sizes = ("--steps", steps, "--neurons", n, "--repeats", repeats)
    rates |= {name: rate for name, rate in own("limit.py", *sizes).items() if rate}
    rates["hh.sweep"] = own("sweeps.py", *sizes)[0]["rate"]
    rates["hh.sweep after hh.use_cores(1)"] = own("sweeps.py", *sizes, "--cores", 1)[0]["rate"]
    cores = cores_usable()
    if cores > 1:
        name = f"hh.sweep after hh.use_cores({cores}), {cores} cores"
        rates[name] = own("sweeps.py", *sizes, "--cores", cores, cores=cores)[0]["rate"]
    others, absent = peers(pythons, n, steps, repeats)
    return rates | others, absent


def plot(figures: dict, path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    rates = figures["throughput"]
    figure, axes = plt.subplots(1, 3, figsize=(15, 4), layout="constrained", width_ratios=[1.6, 1, 1])
    names = sorted(rates, key=rates.get)
    colours = ["#0072B2" if "hh." in name else "0.6" for name in names]
    bars = axes[0].barh(names, [rates[name] for name in names], color=colours)
    axes[0].bar_label(bars, fmt="%.3g", padding=3)
    axes[0].set_xlabel(f"Million neuron-steps per second, {figures['n']} squid axons")
    axes[0].set_xscale("log")
    for column, label in ((1, "Time for a step (µs)"), (2, "Gradient over forward run")):
        axes[column].set_xscale("log")
        axes[column].set_ylabel(label)
        axes[column].set_xlabel("Neurons")
    sizes = figures["sizes"]
    n = [row["n"] for row in sizes]
    axes[1].loglog(n, [row["n"] / row["rate"] for row in sizes], "o-", label="uncoupled")
    for kind in ("dense", "sparse"):
        rows = [row for row in figures["networks"] if row["E"] == kind]
        axes[1].loglog([r["n"] for r in rows], [r["us_per_step"] for r in rows], "o-", label=f"{kind} E")
    axes[1].legend(frameon=False)
    rows = figures["gradient"]
    for key, label in (("over own run", "hhjax"), ("plain over its run", "plain JAX")):
        axes[2].plot([row["n"] for row in rows], [row[key] for row in rows], "o-", label=label)
    axes[2].set_ylim(0)
    axes[2].legend(frameon=False)
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)


def main(argv: list[str] | None = None) -> dict:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--out", type=Path, default=HERE / "results", help="folder for the results")
    parser.add_argument("--peers", nargs="*", default=[sys.executable], help="Python of their environments")
    parser.add_argument("--quick", action="store_true", help="sizes at which the times mean nothing")
    options = parser.parse_args(argv)
    n, steps, repeats = (64, 20, 1) if options.quick else (10_000, 4000, 3)
    figures: dict = {"machine": machine(), "n": n, "steps": steps}
    for key, value in figures["machine"].items():
        print(f"{key}: {value}")

    figures["throughput"], figures["absent"] = throughput(n, steps, repeats, options.peers)
    base = figures["throughput"].get("C, textbook rates", figures["throughput"]["hh.sweep"])
    print(f"\n{n} squid axons, {steps} steps, one core   M neuron-steps/s   over the C loop")
    for name, rate in sorted(figures["throughput"].items(), key=lambda item: -item[1]):
        print(f"{name:45}{rate:13.3g}{rate / base:18.2f}", flush=True)
    if figures["absent"]:
        print(f"Not installed, or failed, so not measured: {', '.join(figures['absent'])}.")

    few = [64] if options.quick else [1, 100, 1000, 10_000, 100_000]
    sizes = ("--steps", steps, "--repeats", repeats, "--cores", 1)
    figures["sizes"] = own("sweeps.py", "--neurons", *few, *sizes)
    print(
        "\nhh.sweep after hh.use_cores(1)\n     n   M neuron-steps/s   compile (s)   memory above import (MB)"
    )
    for row in figures["sizes"]:
        print(f"{row['n']:6}{row['rate']:19.3g}{row['compile_s']:14.2f}{row['memory_mb']:20.0f}", flush=True)

    scale = ["--steps", 5, "--dense", 5, "--sparse", 7, "--synapses", 2] if options.quick else []
    figures["networks"] = own("networks.py", *scale, "--repeats", repeats)
    print("\nCoupled networks, sparse with 100 synapses each\n     E        n   µs a step")
    for row in figures["networks"]:
        print(f"{row['E']:>6}{row['n']:9}{row['us_per_step']:12.4g}", flush=True)

    sizes = ["--quick"] if options.quick else ["--steps", steps, "--repeats", repeats]
    core = own("core.py", "--parts", "forward", "gradient", *sizes, "--json", "-")
    figures |= {name: core[name] for name in ("forward", "gradient")}
    print("\nBeside plain JAX\n     n   speed of a run   gradient over its own run   over that of plain JAX")
    for run, row in zip(core["forward"], core["gradient"]):
        over = f"{row['over own run']:28.2f}{row['over plain gradient']:25.2f}"
        print(f"{row['n']:6}{run['V speed']:17.2f}{over}", flush=True)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "results.json").write_text(json.dumps(figures, indent=1))
    plot(figures, options.out / "results.png")
    print(f"\nSaved in {options.out.resolve()}")
    return figures


if __name__ == "__main__":
    main()
