"""The trees of cells.py in Jaxley (float32): a JSON line for each solver, with seconds of a run."""

import json
import math
import sys
import time

import jax
import jaxley as jx
from jaxley.channels import HH

case, steps, repeats = json.loads(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
branch = jx.Branch(jx.Compartment(), ncomp=case["n"])
cell = jx.Cell(branch, parents=case["parents"])
cell.insert(HH())
cell.set("length", case["length"])
cell.set("radius", case["diameter"] / 2)
cell.set("axial_resistivity", 100.0)
t_max = steps * 0.025
current = jx.step_current(i_delay=1.0, i_dur=t_max, i_amp=1.0, delta_t=0.025, t_max=t_max)
cell.branch(0).loc(0.0).stimulate(current)
cell.branch(0).loc(0.5).record("v", verbose=False)
cell.make_trainable("HH_gNa", verbose=False)
parameters, count = cell.get_parameters(), case["count"]
levels = [math.ceil(math.sqrt(steps + 1))] * 2


def seconds(call):
    """Of the first call, and of the quickest later one."""
    taken = []
    for _ in range(repeats + 1):
        begun = time.process_time()
        jax.block_until_ready(call())
        taken.append(time.process_time() - begun)
    return taken[0], min(taken[1:])


for solver in ("crank_nicolson", "bwd_euler"):

    def mean(parameters, **options):
        run = lambda p: jx.integrate(cell, params=p, solver=solver, delta_t=0.025, **options).mean()
        if count == 1:
            return run(parameters)
        many = jax.tree.map(lambda x: jax.numpy.broadcast_to(x, (count, *x.shape)), parameters)
        return jax.vmap(run)(many).mean()

    forward = jax.jit(mean)
    gradient = jax.jit(jax.value_and_grad(lambda p: mean(p, checkpoint_lengths=levels)))
    first, run = seconds(lambda: forward(parameters))
    first_gradient, both = seconds(lambda: gradient(parameters))
    row = {"peer": f"Jaxley {jx.__version__}, {solver}, JAX {jax.__version__}", "seconds": run}
    row |= {"gradient": both / run, "first run": first, "first gradient": first_gradient}
    print(json.dumps(row), flush=True)
