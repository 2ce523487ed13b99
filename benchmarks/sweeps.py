"""Throughput, memory and compile time of `hh.sweep`, spikes counted.

    python benchmarks/sweeps.py [--cores K] [--steps 4000] [--neurons 1 100 10000]

With `--cores`, `hh.use_cores(K)` is called first. The result is one line of JSON.
"""

import argparse
import json
import resource

import jax.numpy as jnp
from measure import clock

import hhjax as hh


def main(argv: list[str] | None = None) -> list[dict]:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--cores", type=int, default=0)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--neurons", type=int, nargs="+", default=[1, 100, 10_000])
    parser.add_argument("--solver", default="strang")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args(argv)
    if options.cores:
        hh.use_cores(options.cores)
    at_import = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    rows, now = [], clock()
    network = hh.squid_axon()
    for n in options.neurons:
        over = {"stimulus": jnp.linspace(5.0, 20.0, n)}
        times = []
        for _ in range(options.repeats + 1):
            start = now()
            hh.sweep(network, over=over, t1=options.steps * 0.025, dt=0.025, solver=options.solver)
            times.append(now() - start)
        best = min(times[1:])
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        rows.append(
            {
                "n": n,
                "rate": n * options.steps / best / 1e6,
                "compile_s": times[0] - best,
                "memory_mb": (peak - at_import) / 1024,
            }
        )
    print(json.dumps(rows))
    return rows


if __name__ == "__main__":
    main()
