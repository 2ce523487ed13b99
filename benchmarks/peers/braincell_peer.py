"""Squid axons in BrainCell (float32); run by run.py, which says what is given and printed.

One population and all steps in one `for_loop`, as in its examples, compiled as a whole, with the
channels it comes with and only the last V kept. Of the two exponential Euler methods that its
documentation recommends for single compartments this is the cheap one: `exp_euler` takes the matrix
exponential of each neuron's Jacobian.
"""

import json
import sys
import time

import braincell
import brainstate
import braintools
import brainunit as u

case = json.loads(sys.argv[1])
n, dt = case["n"], case["dts"][0]
brainstate.environ.set(precision=32, dt=dt * u.ms)
channels, density = braincell.channel, u.mS / u.cm**2


class SquidAxon(braincell.SingleCompartment):
    def __init__(self):
        at_rest = braintools.init.Constant(-65.0 * u.mV)
        super().__init__(n, C=1.0 * u.uF / u.cm**2, V_initializer=at_rest, solver="ind_exp_euler")
        self.na = braincell.ion.SodiumFixed(n, E=50.0 * u.mV)
        self.na.add(INa=channels.Na_HH1952(n, g_max=120.0 * density))  # at its reference temperature
        self.k = braincell.ion.PotassiumFixed(n, E=-77.0 * u.mV)
        self.k.add(IK=channels.K_HH1952(n, g_max=36.0 * density))
        self.leak = channels.IL(n, g_max=0.3 * density, E=-54.387 * u.mV)


axons = SquidAxon()
axons.init_state()
times_ms = dt * u.math.arange(round(case["t1"] / dt)) * u.ms


@brainstate.transform.jit
def final(currents):
    def step(t):
        with brainstate.environ.context(t=t):
            axons.update(currents)

    axons.reset_state()
    brainstate.transform.for_loop(step, times_ms)
    return axons.V.value


currents = u.math.linspace(*case["currents"], n) * u.uA / u.cm**2
for _ in range(2):  # it compiles twice, as V starts weakly typed
    final(currents).mantissa.block_until_ready()
times = []
for _ in range(case["repeats"]):
    start = time.process_time()
    final(currents).mantissa.block_until_ready()
    times.append(time.process_time() - start)
peer = f"BrainCell {braincell.__version__}, ind_exp_euler"
print(json.dumps({"peer": peer, "dt": dt, "seconds": min(times)}))
