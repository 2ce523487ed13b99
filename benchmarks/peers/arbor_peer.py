"""The same work in Arbor (float64, one thread): prints version and seconds."""

import json
import math
import sys
import time

import arbor as A
from arbor import units as U

n, steps, repeats = (int(x) for x in sys.argv[1:])
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
        decor.place('"centre"', A.i_clamp((5 + 15 * gid / n) * 0.1 * U.nA))
        labels = A.label_dict({"all": "(all)", "centre": "(location 0 0.5)"})
        return A.cable_cell(tree, decor, labels)

    def global_properties(self, kind):
        return A.neuron_cable_properties()


simulation = A.simulation(Axons())
times = []
for _ in range(repeats):
    simulation.reset()
    start = time.process_time()
    simulation.run(steps * 0.025 * U.ms, 0.025 * U.ms)
    times.append(time.process_time() - start)
print(json.dumps({"peer": f"Arbor {A.__version__}, float64", "seconds": min(times)}))
