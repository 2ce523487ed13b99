"""Error of spike times over processor time: our solvers, Diffrax with adaptive steps, other simulators.

    python benchmarks/precision.py [--peers PYTHON ...] [--cores K] [--json FILE] [--quick]

One squid axon at 10 µA/cm² for 200 ms, from rest at −65 mV; it fires 14 times. The same equations for all,
in float64, on one core. The time is the processor's, the best of several runs that keep V at the end,
compiled before; ours and Diffrax's are called inside `jax.jit`. A second run with the same steps keeps V, at
the end of every step or, of adaptive ones, every 0.025 ms. The error is the largest of its spike times,
which `hh.spike_times` interpolates, beside `rk4` with steps of 0.0005 ms. For `--peers` see run.py.
"""

import argparse
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from measure import best_time, launch, machine, pinned, save

import hhjax as hh

SOLVERS = ("strang", "exp_euler", "ind_exp_euler", "crank_nicolson", "strang4", "rk4")
DTS = (0.1, 0.05, 0.025, 0.01, 0.0025, 0.001)  # ms
TOLERANCES = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-8)
GRID = 0.025  # ms, at which V of adaptive runs is kept
CURRENT = 10.0  # µA/cm²
PEERS = ("neuron", "brian2", "jaxley")
Rows = Iterator[dict[str, Any]]


def spikes(V: Any, grid: float) -> np.ndarray:
    """Spike times (ms) of a trace (mV) with samples so far apart (ms), which may have blown up."""
    V = np.nan_to_num(np.asarray(V, float), nan=-65.0, posinf=-65.0, neginf=-65.0)
    times = np.asarray(hh.spike_times(np.arange(V.size) * grid, V, max_spikes=1000))
    return times[np.isfinite(times)]


def fixed(solver: str, dt: float, t1: float, **options: Any) -> Callable:
    """V of a run, of axon and current."""
    given: dict[str, Any] = dict(t1=t1, dt=dt, solver=solver, throw=False) | options
    return jax.jit(lambda axon, I: hh.simulate(axon, stimulus=I, **given).V[:, 0])


def ours(o: argparse.Namespace) -> Rows:
    args = hh.squid_axon(), jnp.asarray(CURRENT)
    for solver in o.solvers:
        for dt in o.dts:
            end = fixed(solver, dt, o.t1, saveat=diffrax.SaveAt(t1=True, fn=hh.save_V))
            row = {"peer": f"hhjax, {solver}", "dt": dt, "seconds": best_time(lambda: end(*args), o.repeats)}
            yield row | {"spikes": spikes(fixed(solver, dt, o.t1)(*args), dt)}


def adaptive(o: argparse.Namespace) -> Rows:
    """Diffrax's own solves of our vector field, whose error of each step is kept below a tolerance."""
    network = hh.Network(hh.squid_axon())
    args, y0 = (network, hh.Constant(CURRENT)), network.init(-65.0)
    term, ts = diffrax.ODETerm(hh.vector_field), np.arange(round(o.t1 / GRID) + 1) * GRID
    for solver in (diffrax.Tsit5(), diffrax.Dopri8())[: 1 if o.quick else 2]:

        def V(tolerance: Any, saveat: diffrax.SaveAt) -> Any:
            steps = diffrax.PIDController(rtol=tolerance, atol=tolerance)
            options: dict[str, Any] = dict(stepsize_controller=steps, saveat=saveat, throw=False)
            options |= dict(max_steps=100_000)  # which a tolerance at which it blows up takes
            return diffrax.diffeqsolve(term, solver, 0.0, o.t1, 0.01, y0, args, **options).ys.V[:, 0]

        end = jax.jit(lambda tolerance: V(tolerance, diffrax.SaveAt(t1=True)))
        every = jax.jit(lambda tolerance: V(tolerance, diffrax.SaveAt(ts=ts)))
        for tolerance in o.tolerances:
            seconds = best_time(lambda: end(tolerance), o.repeats)
            row = {"peer": f"Diffrax {diffrax.__version__}, {type(solver).__name__}", "tolerance": tolerance}
            yield row | {"seconds": seconds, "spikes": spikes(every(tolerance), GRID)}


def theirs(o: argparse.Namespace) -> Rows:
    with tempfile.TemporaryDirectory() as folder:
        case: dict[str, Any] = dict(n=1, t1=o.t1, currents=[CURRENT, CURRENT], repeats=o.repeats)
        case |= dict(dts=o.dts, tolerances=o.tolerances, folder=folder)
        for module in PEERS:
            for row in launch(o.peers, module, case):
                yield row | {"spikes": spikes(np.load(row.pop("trace")), row.pop("grid"))}


def main(argv: list[str] | None = None) -> dict:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--peers", nargs="*", default=[], help="Python of their environments")
    parser.add_argument("--cores", type=int, default=0, help="call hh.use_cores with this number first")
    parser.add_argument("--json", help='also write the figures to this file, or print them if it is "-"')
    parser.add_argument("--quick", action="store_true", help="sizes at which the times mean nothing")
    o = parser.parse_args(argv)
    few: dict[str, Any] = dict(t1=20.0, dts=(0.025,), tolerances=(1e-5,), solvers=("strang",), repeats=1)
    many: dict[str, Any] = dict(t1=200.0, dts=DTS, tolerances=TOLERANCES, solvers=SOLVERS, repeats=5)
    vars(o).update(few if o.quick else many)
    if o.cores:
        hh.use_cores(o.cores)
    jax.config.update("jax_enable_x64", True)
    rows = []
    with pinned():
        best, grid = ("rk4", 0.005 if o.quick else 0.0005)
        expected = spikes(fixed(best, grid, o.t1)(hh.squid_axon(), jnp.asarray(CURRENT)), grid)
        for part in (ours, adaptive, theirs):
            for row in part(o):
                found = row.pop("spikes")
                far = found.size != expected.size  # it blew up, or is another run altogether
                row["error ms"] = None if far else float(np.abs(found - expected).max())
                rows.append(row)
                if o.json != "-":
                    print(row, flush=True)
    return save({"machine": machine(), "t1": o.t1, "spikes": expected.size, "rows": rows}, o.json)


if __name__ == "__main__":
    main()
