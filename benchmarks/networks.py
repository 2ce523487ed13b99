"""Cost of a coupled network against its size, dense and sparse.

    python benchmarks/networks.py [--steps 200] [--dense 100 1000] [--sparse 1000 100000]

Sparse networks have `--synapses` per neuron. The result is one line of JSON.
"""

import argparse
import json

import diffrax
import jax
from measure import best_time

import hhjax as hh


def cost(n: int, synapses: int | None, steps: int, repeats: int) -> float:
    """Seconds for one run."""
    keys = jax.random.split(jax.random.key(0))
    if synapses is None:
        E = jax.random.uniform(keys[0], (n, n), maxval=1 / n)
    else:
        E = hh.connect.random(keys[0], n, n, indegree=synapses, weight=1 / synapses)
    network = hh.Network(hh.squid_axon(), n=n, coupling=hh.GradedSynapse(E))
    saveat = diffrax.SaveAt(t1=True, fn=hh.save_V)
    run = lambda: hh.simulate(network, t1=steps * 0.025, dt=0.025, stimulus=10.0, saveat=saveat)
    return best_time(lambda: jax.tree.leaves(run()), repeats)


def main(argv: list[str] | None = None) -> list[dict]:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--dense", type=int, nargs="*", default=[100, 1000, 10_000])
    parser.add_argument("--sparse", type=int, nargs="*", default=[1000, 10_000, 100_000])
    parser.add_argument("--synapses", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=2)
    options = parser.parse_args(argv)
    rows = []
    for kind, sizes, synapses in (
        ("dense", options.dense, None),
        ("sparse", options.sparse, options.synapses),
    ):
        for n in sizes:
            seconds = cost(n, synapses, options.steps, options.repeats)
            rows.append({"E": kind, "n": n, "us_per_step": 1e6 * seconds / options.steps})
    print(json.dumps(rows))
    return rows


if __name__ == "__main__":
    main()
