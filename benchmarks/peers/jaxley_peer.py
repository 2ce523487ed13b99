"""Squid axons in Jaxley, a batch by `jax.vmap`; run by run.py, which says what is given and printed."""

import json
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import jaxley as jx
import numpy as np
from jaxley.channels import HH

case = json.loads(sys.argv[1])
precise = case["folder"] is not None
jax.config.update("jax_enable_x64", precise)
cell = jx.Cell()
cell.insert(HH())
cell.set("HH_eLeak", -54.387)
cell.set("v", -65.0)
cell.init_states()
cell.record("v", verbose=False)
area = 2 * np.pi * 1.0 * 10.0 * 1e-8  # cm², of the compartment that it makes
currents = jnp.linspace(*case["currents"], case["n"])
now = time.perf_counter if jax.default_backend() == "gpu" else time.process_time

for method in ("bwd_euler", "crank_nicolson")[: 2 if precise else 1]:
    for dt in case["dts"]:
        shape = jnp.ones(round(case["t1"] / dt))

        @jax.jit
        def run(currents):
            def one(current):
                stimuli = cell.data_stimulate(current * area * 1e3 * shape)  # nA
                V = jx.integrate(cell, data_stimuli=stimuli, delta_t=dt, solver=method)[0]
                return V if precise else V[-1]

            return jax.vmap(one)(currents)

        V = run(currents).block_until_ready()
        times = []
        for _ in range(case["repeats"]):
            start = now()
            run(currents).block_until_ready()
            times.append(now() - start)
        peer = f"Jaxley {jx.__version__} on JAX {jax.__version__}, {method}"
        row = {"peer": peer, "dt": dt, "seconds": min(times)}
        if precise:
            row |= {"grid": dt, "trace": str(Path(case["folder"]) / f"{method}{dt}.npy")}
            np.save(row["trace"], V[0])
        print(json.dumps(row), flush=True)
