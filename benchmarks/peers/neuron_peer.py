"""Squid axons in NEURON (float64); run by run.py, which says what is given and printed."""

import json
import sys
import time
from pathlib import Path

import neuron
import numpy as np
from neuron import h

case = json.loads(sys.argv[1])
n, t1, precise = case["n"], case["t1"], case["folder"] is not None
h.load_file("stdrun.hoc")
h.celsius, h.v_init = 6.3, -65
h.usetable_hh = not precise  # the tables of rates that it makes by default are off by more than a step
cells = []
for i, current in enumerate(np.linspace(*case["currents"], n)):
    cell = h.Section(name=f"cell{i}")
    cell.L = cell.diam = 100 / np.pi**0.5  # 10,000 µm²
    cell.insert("hh")
    cell.ena, cell.ek, cell(0.5).hh.el = 50, -77, -54.387
    clamp = h.IClamp(cell(0.5))
    clamp.dur, clamp.amp = 1e9, current / 10  # nA
    cells.append((cell, clamp))
solver, context = h.CVode(), h.ParallelContext()
context.set_maxstep(10)  # ms, for psolve, whose loop over time is not in an interpreted language


def run(method, size, name, repeats, trace):
    solver.active(method == "CVODE")
    h.secondorder = 2 * (method == "Crank-Nicolson")
    if method == "CVODE":
        solver.atol(size)
    else:
        h.steps_per_ms, h.dt = 1 / size, size
    times = []
    for _ in range(repeats):
        h.stdinit()
        begun = time.process_time()
        context.psolve(t1)
        times.append(time.process_time() - begun)
    row = {"peer": f"NEURON {neuron.__version__}, {method}", name: size, "seconds": min(times)}
    if trace:
        grid = 0.025 if method == "CVODE" else size
        row |= {"grid": grid, "trace": str(Path(case["folder"]) / f"{method}{size}.npy")}
        V = h.Vector()
        V.record(cells[0][0](0.5)._ref_v, *([grid] if method == "CVODE" else []))
        h.stdinit()
        context.psolve(t1)
        np.save(row["trace"], np.array(V))
        V.play_remove()
    print(json.dumps(row), flush=True)


for method in ("backward Euler", "Crank-Nicolson")[: 2 if precise else 1]:
    for dt in case["dts"]:
        run(method, dt, "dt", case["repeats"], precise)
for tolerance in case["tolerances"] if precise else ():
    run("CVODE", tolerance, "tolerance", case["repeats"], True)
