"""The same work in NEURON (float64, cnexp): prints version and seconds."""

import json
import sys
import time

import neuron
from neuron import h

n, steps, repeats = (int(x) for x in sys.argv[1:])
h.load_file("stdrun.hoc")
h.celsius, h.dt, h.steps_per_ms, h.v_init = 6.3, 0.025, 40, -65
cells = []
for i in range(n):
    cell = h.Section(name=f"cell{i}")
    cell.L = cell.diam = 100 / 3.141592653589793**0.5  # 10,000 µm²
    cell.insert("hh")
    clamp = h.IClamp(cell(0.5))
    clamp.dur, clamp.amp = 1e9, (5 + 15 * i / n) * 1e-1  # nA: 1 µA/cm² is 0.1 nA here
    cells.append((cell, clamp))
times = []
for _ in range(repeats):
    h.stdinit()
    start = time.process_time()
    h.continuerun(steps * 0.025)
    times.append(time.process_time() - start)
print(json.dumps({"peer": f"NEURON {neuron.__version__}, float64", "seconds": min(times)}))
