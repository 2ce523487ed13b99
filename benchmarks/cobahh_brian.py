"""The network of cobahh.py in Brian2, C++ standalone on one thread; run by it.

python cobahh_brian.py SEED T1_MS NEURONS DT_MS BUILD_FOLDER OUT.npz
"""

import sys

import brian2 as b
import numpy as np

seed, t1, count, dt = int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
folder, out = sys.argv[5:]
b.set_device("cpp_standalone", directory=folder + "/build")
b.prefs.core.default_float_dtype = np.float32
b.defaultclock.dt = dt * b.ms
b.seed(seed)

area = 20_000 * b.umetre**2
values = {
    "C": 1 * b.ufarad / b.cm**2 * area,
    "g_l": 5e-5 * b.siemens / b.cm**2 * area,
    "g_na": 100 * b.msiemens / b.cm**2 * area,
    "g_k": 30 * b.msiemens / b.cm**2 * area,
    "E_l": -60 * b.mV,
    "E_na": 50 * b.mV,
    "E_k": -90 * b.mV,
    "E_e": 0 * b.mV,
    "E_i": -80 * b.mV,
    "VT": -63 * b.mV,
    "tau_e": 5 * b.ms,
    "tau_i": 10 * b.ms,
}
equations = """
dv/dt = (g_l*(E_l - v) + ge*(E_e - v) + gi*(E_i - v)
         + g_na*m**3*h*(E_na - v) + g_k*n**4*(E_k - v)) / C : volt
dm/dt = alpha_m*(1 - m) - beta_m*m : 1
dh/dt = alpha_h*(1 - h) - beta_h*h : 1
dn/dt = alpha_n*(1 - n) - beta_n*n : 1
dge/dt = -ge/tau_e : siemens
dgi/dt = -gi/tau_i : siemens
u = (v - VT)/mV : 1
alpha_m = 1.28/exprel((13 - u)/4)/ms : Hz
beta_m = 1.4/exprel((u - 40)/5)/ms : Hz
alpha_h = 0.128*exp((17 - u)/18)/ms : Hz
beta_h = 4/(1 + exp((40 - u)/5))/ms : Hz
alpha_n = 0.16/exprel((15 - u)/5)/ms : Hz
beta_n = 0.5*exp((10 - u)/40)/ms : Hz
"""
cells = b.NeuronGroup(
    count,
    equations,
    threshold="v > -20*mV",
    refractory=3 * b.ms,
    method="exponential_euler",
    namespace=values,
)
excitatory, inhibitory = cells[: 4 * count // 5], cells[4 * count // 5 :]
weights = {"w_e": 6 * b.nS, "w_i": 67 * b.nS}
from_e = b.Synapses(excitatory, cells, on_pre="ge += w_e", namespace=weights)
from_i = b.Synapses(inhibitory, cells, on_pre="gi += w_i", namespace=weights)
from_e.connect(p=0.02)
from_i.connect(p=0.02)
cells.v = "E_l + (randn()*5 - 5)*mV"
cells.ge = "(randn()*1.5 + 4)*10*nS"
cells.gi = "(randn()*12 + 20)*10*nS"
spikes = b.SpikeMonitor(cells)
b.run(t1 * b.ms)
seconds = b.device._last_run_time
found = {"times": np.asarray(spikes.t / b.ms), "neuron": np.asarray(spikes.i)}
np.savez(out, seconds=seconds, version=b.__version__, **found)
