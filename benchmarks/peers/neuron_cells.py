"""The trees of cells.py in NEURON (float64): a JSON line with seconds of a run."""

import json
import sys
import time

import neuron
from neuron import h

case, steps, repeats = json.loads(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
h.load_file("stdrun.hoc")
h.celsius, h.dt, h.steps_per_ms, h.v_init = 6.3, 0.025, 40, -65
kept = []
for k in range(case["count"]):
    sections = []
    for i, parent in enumerate(case["parents"]):
        section = h.Section(name=f"s{k}_{i}")
        section.nseg, section.L, section.diam = case["n"], case["n"] * case["length"], case["diameter"]
        section.Ra = 100
        section.insert("hh")
        if parent >= 0:
            section.connect(sections[parent](1))
        sections.append(section)
    clamp = h.IClamp(sections[0](0.5 / case["n"]))
    clamp.delay, clamp.dur, clamp.amp = 1, 1e9, 1
    kept.append((sections, clamp))
for order, name in ((0, "backward Euler"), (2, "Crank-Nicolson")):
    h.secondorder = order
    times = []
    for _ in range(repeats):
        h.stdinit()
        begun = time.process_time()
        h.continuerun(steps * 0.025)
        times.append(time.process_time() - begun)
    row = {"peer": f"NEURON {neuron.__version__}, {name}, float64", "seconds": min(times)}
    print(json.dumps(row), flush=True)
