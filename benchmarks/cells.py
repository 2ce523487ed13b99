"""How fast cells of many compartments are, beside Jaxley and NEURON on the same trees.

    python benchmarks/cells.py [--peers PYTHON ...] [--cases cable tree ...] [--json FILE] [--quick]

The membrane of the squid axon everywhere, a step of current into the first compartment, dt = 0.025 ms. The
process is pinned to one core; times are of its processor, the best of several runs from call to finished
result, compiled before. hhjax and Jaxley in float32, NEURON in float64.

- rate: million compartment-steps/s of a run that gives the mean V.
- gradient: value and gradient of that mean by all densities, resistivity and diameters (Jaxley: by one
    density of sodium, with checkpoints of √steps), in forward runs.
- first: seconds of the first call, run and gradient, which want an idle machine.

`--peers` are the Pythons of environments that have Jaxley or NEURON (see run.py).
"""

import argparse
import json
import math
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import diffrax
import jax
import numpy as np
from measure import best_times, machine, pinned, save

import hhjax as hh

DT = 0.025  # ms
HERE = Path(__file__).parent
PEERS = ("jaxley_cells", "neuron_cells")
SOLVERS = ("strang", "crank_nicolson", "backward_euler")


def binary(levels: int) -> list[int]:
    """Parents of the sections of a tree in which every section carries two."""
    return [-1] + [(i - 1) // 2 for i in range(1, 2**levels - 1)]


def branches(n: int) -> list[int]:
    """Of a tree that grew at random, as wide and deep as those of neurons."""
    rng = np.random.default_rng(1)
    return [-1] + [int(rng.integers(0, i)) for i in range(1, n)]


# Sections by their parents, compartments of each, length of one and diameter (µm), number of cells.
CASES = {
    "cable": {"parents": [-1], "n": 1000, "length": 10.0, "diameter": 100.0, "count": 1},
    "tree": {"parents": binary(6), "n": 2, "length": 50.0, "diameter": 2.0, "count": 1},
    "trees": {"parents": binary(6), "n": 2, "length": 50.0, "diameter": 2.0, "count": 100},
    "branches": {"parents": branches(40), "n": 20, "length": 10.0, "diameter": 2.0, "count": 1},
}


def make(case: dict[str, Any]) -> hh.Network:
    n, length = case["n"], case["n"] * case["length"]
    sections = {
        f"s[{i}]": hh.cells.Section(length, case["diameter"], None if p < 0 else f"s[{p}]", n=n)
        for i, p in enumerate(case["parents"])
    }
    return hh.Network(hh.Cell(sections, hh.squid_axon(), resistivity=100.0), case["count"])


def mean_V(network: hh.Network, solver: str, steps: int) -> jax.Array:
    run = hh.simulate(
        network,
        t1=steps * DT,
        dt=DT,
        stimulus=hh.PointCurrent(hh.Step(1.0, 1.0), at=0),  # nA
        solver=solver,
        saveat=diffrax.SaveAt(t1=True, fn=hh.save_V),
        reduce=hh.Mean(),
        throw=False,
    )
    return run.reduced.mean()


def ours(case: dict[str, Any], solver: str, steps: int, repeats: int) -> dict[str, Any]:
    network = make(case)
    names = ("na.g", "k.g", "leak.g", "resistivity", "diameter")
    values = {name: hh.get(network, name) for name in names}
    of = lambda values: mean_V(hh.replace(network, values), solver, steps)
    found: dict[str, Any] = {"peer": f"hhjax, {solver}"}
    seconds = {}
    for name, call in (("run", jax.jit(of)), ("gradient", jax.jit(jax.value_and_grad(of)))):
        begun = time.process_time()
        jax.block_until_ready(call(values))
        found[f"first {name}"] = time.process_time() - begun
        (seconds[name],) = best_times([lambda call=call: call(values)], repeats, 0.0)
    found["rate"] = network.n * steps / seconds["run"] / 1e6
    return found | {"gradient": seconds["gradient"] / seconds["run"]}


def theirs(python: str, peer: str, case: dict[str, Any], steps: int, repeats: int) -> list[dict[str, Any]]:
    """What a peer's script prints, nothing where that Python does not have it."""
    arguments = [python, str(HERE / "peers" / f"{peer}.py"), json.dumps(case), str(steps), str(repeats)]
    told = subprocess.run(arguments, capture_output=True, text=True)
    if told.returncode:
        print(f"  {peer} did not run: {(told.stderr.strip().splitlines() or ['?'])[-1]}")
        return []
    size = len(case["parents"]) * case["n"] * case["count"]
    rows = [json.loads(line) for line in told.stdout.splitlines() if line.startswith("{")]
    return [row | {"rate": size * steps / row.pop("seconds") / 1e6} for row in rows]


def main(argv: Sequence[str] | None = None) -> dict[str, list[dict[str, Any]]]:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--peers", nargs="*", default=[], metavar="PYTHON")
    parser.add_argument("--cases", nargs="*", default=list(CASES), choices=list(CASES))
    parser.add_argument("--json", metavar="FILE", help="where to write the figures, - for the last line")
    parser.add_argument("--quick", action="store_true", help="a size where times mean nothing")
    options = parser.parse_args(argv)
    steps, repeats = (40, 1) if options.quick else (4000, 5)
    figures: dict[str, list[dict[str, Any]]] = {}
    with pinned():
        for name in options.cases:
            case = CASES[name]
            whole = steps if case["count"] == 1 else max(steps // 4, 40)
            rows = [ours(case, solver, whole, repeats) for solver in SOLVERS[: 1 if options.quick else 3]]
            for python in options.peers:
                for peer in PEERS:
                    rows += theirs(python, peer, case, whole, repeats)
            figures[name] = rows
            print(f"{name}: {len(case['parents']) * case['n']} compartments, {case['count']} cells")
            for row in rows:
                more = [row.get(key, math.nan) for key in ("gradient", "first run", "first gradient")]
                print(f"  {row['peer']:38} {row['rate']:7.1f} M/s  gradient {more[0]:4.1f}  "
                      f"first {more[1]:4.1f} / {more[2]:4.1f} s")  # fmt: skip
    if options.json:
        save({"machine": machine(), "cells": figures}, options.json)
    return figures


if __name__ == "__main__":
    main(sys.argv[1:])
