"""The same work in Brian 2, C++ standalone: prints version and seconds."""

import json
import resource
import sys
import tempfile

import brian2
from brian2 import *  # noqa: F403

n, steps, repeats = (int(x) for x in sys.argv[1:])
set_device("cpp_standalone", build_on_run=False)  # noqa: F405
prefs.core.default_float_dtype = float32  # noqa: F405
defaultclock.dt = 0.025 * ms  # noqa: F405
equations = """
dv/dt = (I - 120*m**3*h*(v - 50) - 36*n**4*(v + 77) - 0.3*(v + 54.387))/ms : 1
dm/dt = (am*(1 - m) - bm*m)/ms : 1
dh/dt = (ah*(1 - h) - bh*h)/ms : 1
dn/dt = (an*(1 - n) - bn*n)/ms : 1
am = 1/exprel(-(v + 40)/10) : 1
bm = 4*exp(-(v + 65)/18) : 1
ah = 0.07*exp(-(v + 65)/20) : 1
bh = 1/(1 + exp(-(v + 35)/10)) : 1
an = 0.1/exprel(-(v + 55)/10) : 1
bn = 0.125*exp(-(v + 65)/80) : 1
I : 1
"""
group = NeuronGroup(n, equations, method="exponential_euler")  # noqa: F405
group.v, group.m, group.h, group.n = -65, 0.05293, 0.59612, 0.31768
group.I = linspace(5, 20, n)  # noqa: F405
run(steps * 0.025 * ms)  # noqa: F405
device.build(directory=tempfile.mkdtemp(), run=False)  # noqa: F405
spent = lambda: resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime  # it runs in a process of its own
times = []
for _ in range(repeats):
    start = spent()
    device.run()  # noqa: F405
    times.append(spent() - start)
print(json.dumps({"peer": f"Brian2 {brian2.__version__}, C++ standalone, float32", "seconds": min(times)}))
