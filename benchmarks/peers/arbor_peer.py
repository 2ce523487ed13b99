"""Squid axons in Arbor (float64, one thread); run by run.py, which says what is given and printed."""

import json
import math
import sys
import time

import arbor as A
from arbor import units as U

case = json.loads(sys.argv[1])
n, t1, dt, (low, high) = case["n"], case["t1"], case["dts"][0], case["currents"]
radius = 100 / math.sqrt(math.pi) / 2


class Axons(A.recipe):
    def num_cells(self):
        return n

    def cell_kind(self, gid):
        return A.cell_kind.cable

    def cell_description(self, gid):
        tree = A.segment_tree()
        tree.append(A.mnpos, A.mpoint(-radius, 0, 0, radius), A.mpoint(radius, 0, 0, radius), tag=1)
        decor = A.decor().set_property(Vm=-65 * U.mV).paint('"all"', A.density("hh"))
        decor.place('"centre"', A.i_clamp((low + (high - low) * gid / n) * 0.1 * U.nA))
        labels = A.label_dict({"all": "(all)", "centre": "(location 0 0.5)"})
        return A.cable_cell(tree, decor, labels)

    def global_properties(self, kind):
        return A.neuron_cable_properties()


simulation = A.simulation(Axons())
times = []
for _ in range(case["repeats"]):
    simulation.reset()
    start = time.process_time()
    simulation.run(t1 * U.ms, dt * U.ms)
    times.append(time.process_time() - start)
print(json.dumps({"peer": f"Arbor {A.__version__}", "dt": dt, "seconds": min(times)}))
