"""Throughput of every solver against the number of neurons.

    python benchmarks/solvers.py [--steps 4000] [--neurons 1 100 1000 10000] [--json FILE]

Counts neuron-steps (neurons times time steps) per second of `hh.simulate` from call to
finished result, compiled before, nothing saved but the final state, in float32; the best
of several runs, since a shared machine only ever makes a run slower. For figures of one
core, pin the process to it, for example with `taskset -c 0`.
"""

import argparse

import diffrax
import jax.numpy as jnp
from measure import best_time, machine, save

import hhjax as hh


def million_neuron_steps_per_second(solver: str, n: int, steps: int, repeats: int) -> float:
    network = hh.Network(hh.squid_axon(), n=n)
    currents = jnp.linspace(5.0, 20.0, n)
    saveat = diffrax.SaveAt(t1=True, fn=hh.save_V)

    def run() -> hh.Solution:
        return hh.simulate(
            network, t1=steps * 0.025, dt=0.025, stimulus=currents, solver=solver, saveat=saveat
        )

    return n * steps / best_time(run, repeats) / 1e6


def main(argv: list[str] | None = None) -> dict:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--neurons", type=int, nargs="+", default=[1, 100, 1000, 10_000])
    parser.add_argument("--solvers", nargs="+", default=list(hh.steppers.by_name))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", help="also write the figures to this file")
    options = parser.parse_args(argv)
    about = machine()
    print("\n".join(f"{key}: {value}" for key, value in about.items()))
    print("\nM neuron-steps/s (and as a multiple of ind_exp_euler)\n")
    print("solver".rjust(15), *(f"n = {n}".rjust(18) for n in options.neurons))
    solvers = ["ind_exp_euler", *(s for s in options.solvers if s != "ind_exp_euler")]
    rates: dict[str, list[float]] = {}
    for solver in solvers:
        rates[solver] = [
            million_neuron_steps_per_second(solver, n, options.steps, options.repeats)
            for n in options.neurons
        ]
        cells = [f"{r:.3g} ({r / base:.2f})" for r, base in zip(rates[solver], rates["ind_exp_euler"])]
        print(solver.rjust(15), *(cell.rjust(18) for cell in cells), flush=True)
    figures = {"machine": about, "steps": options.steps, "neurons": options.neurons, "rates": rates}
    return save(figures, options.json)


if __name__ == "__main__":
    main()
