"""Squid axons in Brian 2, C++ standalone; run by run.py, which says what is given and printed."""

import json
import sys
import tempfile
from pathlib import Path

import brian2 as b
import numpy as np

case = json.loads(sys.argv[1])
n, t1, precise = case["n"], case["t1"], case["folder"] is not None
methods = ("exponential_euler", "rk4") if precise else ("exponential_euler",)
b.set_device("cpp_standalone", build_on_run=False)
b.prefs.core.default_float_dtype = np.float64 if precise else np.float32
equations = """
dv/dt = (I - 120*m**3*h*(v - 50) - 36*k**4*(v + 77) - 0.3*(v + 54.387))/ms : 1
dm/dt = (am*(1 - m) - bm*m)/ms : 1
dh/dt = (ah*(1 - h) - bh*h)/ms : 1
dk/dt = (ak*(1 - k) - bk*k)/ms : 1
am = 1/exprel(-(v + 40)/10) : 1
bm = 4*exp(-(v + 65)/18) : 1
ah = 0.07*exp(-(v + 65)/20) : 1
bh = 1/(1 + exp(-(v + 35)/10)) : 1
ak = 0.1/exprel(-(v + 55)/10) : 1
bk = 0.125*exp(-(v + 65)/80) : 1
I : 1
"""
folder = Path(tempfile.mkdtemp())
# Processor time before and after every run, from the program itself.
note = f'{{std::ofstream f("{folder}/clock", std::ios::app); f << clock() << "\\n";}}'
b.device.insert_code("before_network_run", note)
b.device.insert_code("after_network_run", note)


def begin(axons):
    axons.v, axons.I = -65, np.linspace(*case["currents"], n)
    for gate in "mhk":
        setattr(axons, gate, f"a{gate}/(a{gate} + b{gate})")


made = []
for method in methods:
    for dt in case["dts"]:
        b.defaultclock.dt = dt * b.ms
        axons = b.NeuronGroup(n, equations, method=method)
        trace = b.StateMonitor(axons, "v", record=[0])
        network = b.Network(axons, trace)
        for trace.active in (False, True) if precise else (False,):
            begin(axons)
            network.run(t1 * b.ms)
        made.append((method, dt, trace))
b.device.build(directory=str(folder / "build"), run=False)
times = []
for _ in range(case["repeats"]):
    (folder / "clock").unlink(missing_ok=True)
    b.device.run()
    ends = np.loadtxt(folder / "clock").reshape(-1, 2)
    times.append(np.diff(ends)[:: 2 if precise else 1, 0] / 1e6)
for k, (method, dt, trace) in enumerate(made):
    row = {"peer": f"Brian2 {b.__version__}, {method}", "dt": dt, "seconds": np.min(times, axis=0)[k]}
    if precise:
        row |= {"grid": dt, "trace": str(Path(case["folder"]) / f"{k}.npy")}
        np.save(row["trace"], trace.v[0])
    print(json.dumps(row), flush=True)
