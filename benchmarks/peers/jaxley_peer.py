"""The same work in Jaxley, a batch by `jax.vmap` (float32): prints version and seconds."""

import json
import sys
import time

import jax
import jax.numpy as jnp
import jaxley as jx
from jaxley.channels import HH

n, steps, repeats = (int(x) for x in sys.argv[1:])
cell = jx.Cell()
cell.insert(HH())
cell.record("v", verbose=False)
shape = jnp.ones(steps)


@jax.jit
def final(currents):
    def one(amplitude):
        stimuli = cell.data_stimulate(amplitude * 1e-2 * shape)
        return jx.integrate(cell, data_stimuli=stimuli, delta_t=0.025)[0, -1]

    return jax.vmap(one)(currents)


currents = jnp.linspace(5.0, 20.0, n)
final(currents).block_until_ready()
now = time.perf_counter if jax.default_backend() == "gpu" else time.process_time
times = []
for _ in range(repeats):
    start = now()
    final(currents).block_until_ready()
    times.append(now() - start)
print(json.dumps({"peer": f"Jaxley {jx.__version__}, float32", "seconds": min(times)}))
