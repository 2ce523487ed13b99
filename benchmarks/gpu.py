"""What a GPU gives: first whether it agrees with the CPU, then rates.

    python benchmarks/gpu.py [--seconds 330] [--bandwidth 4800] [--special 4180] [--json gpu.json] [--quick]

Float32, dt = 0.025 ms, `strang`; wall time of the best of two calls, compiled before. Each row is printed
and saved at once, so that a run that is cut off keeps it; each part has its share of `--seconds`, after which
it begins none. With `--quick` every line runs on a CPU as well, at sizes where the times mean nothing.

- agreement: 20 ms on the GPU and on the CPU: spike counts, V every ms, and gradients of the mean V.
- sweeps: `hh.sweep` of squid axons with spike counts and k steps in a turn of its loop (`unroll`), and the
    loop of plain.py. One bound is the memory: reading and writing four states in each turn at
    `--bandwidth`. The other is the special functions of a step, divisions among them and counting
    spikes left out, at `--special` results. Both in 10⁹/s, by default those of an H200 (132
    multiprocessors, 16 results in each of 1.98·10⁹ cycles).
- gradients: value and gradient by all parameters over the run.
- coupled: a step of a network, beside reading its weights once.
- trees: cells with dendrites, those of cells.py.
- beside: the C loop of limit.py on one core of the CPU, and Jaxley on the GPU where they run.
"""

import argparse
import contextlib
import importlib.util
import io
import json
import runpy
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import cells
import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import plain
from core import Axons, cell, DT, gradient, ours, reference, Rows
from limit import million_neuron_steps_per_second
from measure import machine, save

import hhjax as hh

SPECIAL = {"exp", "exp2", "expm1", "log", "log1p", "logistic", "tanh", "div", "sqrt", "rsqrt"}


def card() -> str:
    """What the driver says of the GPU."""
    about = "--query-gpu=name,driver_version,memory.total,clocks.max.sm"
    try:
        return subprocess.check_output(["nvidia-smi", about, "--format=csv,noheader"], text=True).strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def timed(call: Callable[[], Any]) -> tuple[float, float]:
    """Seconds of the best of two calls, and of what the first took beyond."""
    ends = [time.perf_counter()]
    for _ in range(3):
        jax.block_until_ready(call())
        ends.append(time.perf_counter())
    first, *others = np.diff(ends).tolist()
    return min(others), first - min(others)


def families(n: int) -> dict[str, tuple[hh.Network, Any, Any]]:
    """Networks with their stimuli and keys."""
    key, I = jax.random.key(0), jnp.linspace(5.0, 20.0, n)
    dense = jax.random.uniform(key, (n, n), maxval=0.1 / n)
    sparse = hh.connect.random(key, n, n, indegree=min(n, 20), weight=0.005)
    make = lambda **parts: hh.Network(hh.squid_axon(), n=n, **parts)
    tree = cells.make(cells.CASES["tree"])
    return {
        "axons": (make(), I, None),
        "dense network": (make(coupling=hh.GradedSynapse(dense)), I, None),
        "sparse network": (make(coupling=hh.GradedSynapse(sparse)), I, None),
        "noise, Threefry": (make(noise=hh.CurrentNoise(2.0)), I, key),
        "noise, fast_key": (make(noise=hh.CurrentNoise(2.0)), I, hh.fast_key(0)),
        "cell with dendrites": (tree, hh.PointCurrent(hh.Step(1.0, 1.0), at=0), None),
    }


def outcome(name: str, n: int, t1: float, device: Any) -> tuple:
    """Spike counts, V and the gradient of its mean, on a device."""

    def call(network: hh.Network) -> tuple:
        saveat = diffrax.SaveAt(steps=40, fn=hh.save_V)
        options: dict[str, Any] = dict(stimulus=stimulus, saveat=saveat, reduce=hh.SpikeCount(), key=key)
        run = hh.simulate(network, t1=t1, dt=DT, throw=False, **options)
        return run.V.mean(), (run.reduced, run.V)

    with jax.default_device(device):
        network, stimulus, key = families(n)[name]
        slope = eqx.filter_jit(eqx.filter_value_and_grad(call, has_aux=True))
        (_, (count, V)), slopes = slope(network)
        return np.asarray(count), np.asarray(V), [np.asarray(x) for x in jax.tree.leaves(slopes)]


def agreement(o: argparse.Namespace) -> Rows:
    n, t1 = (3, 1.0) if o.quick else (1000, 20.0)
    devices = dict.fromkeys([jax.devices()[0], jax.devices("cpu")[0]])  # one where there is no GPU
    for name in families(2):
        found = [outcome(name, n, t1, device) for device in devices]
        (count, V, slopes), (count_there, V_there, slopes_there) = found[0], found[-1]
        off = [np.abs(a - b).max() / (np.abs(b).max() or 1.0) for a, b in zip(slopes, slopes_there)]
        row = {"family": name, "other counts": int((count != count_there).sum()), "of": count.size}
        row |= {"V off by mV": float(np.abs(V - V_there).max()), "gradient off by": float(max(off))}
        bad = row["other counts"] > 0.01 * row["of"] or row["V off by mV"] > 1.0
        yield row | {"agrees": not bad and row["gradient off by"] < 0.01}


def special_functions(jaxpr: Any) -> int:
    """How many special functions a program takes of each neuron."""
    count = 0
    for eqn in jaxpr.eqns:
        inner = [getattr(x, "jaxpr", x) for x in jax.tree.leaves(list(eqn.params.values()))]
        inside = sum(special_functions(x) for x in inner if hasattr(x, "eqns"))
        count += (eqn.primitive.name in SPECIAL) + eqn.params.get("length", 1) * inside
    return count


def sweeps(o: argparse.Namespace) -> Rows:
    two = Axons(2)
    of_a_run = special_functions(jax.make_jaxpr(ours(o.steps))(two.network, two.I).jaxpr)
    memory, special = o.bandwidth * 1e9 / 32, o.special * 1e9 * o.steps / of_a_run
    bounds = {"memory bound 1e9/s": memory / 1e9, "special bound 1e9/s": special / 1e9}
    yield {"special functions a step": of_a_run / o.steps} | bounds
    took, before = 0.0, 1
    for n in (3,) if o.quick else (100_000, 1_000_000, 1000, 4_000_000, 10_000, 1):
        if took * n / before > 20:
            continue
        axons = Axons(n)
        options: dict[str, Any] = dict(over={"stimulus": axons.I}, t1=o.steps * DT, dt=DT)
        for k in (2,) if o.quick else (1, 4, 16, 64) if n in (1000, 100_000, 1_000_000) else (1,):
            by_hand = axons.plain(lambda *args: plain.run(*args, o.steps, unroll=k)[0])
            took, compiling = timed(lambda: hh.sweep(hh.squid_axon(), **options, unroll=k).reduced)
            rate, before = n * o.steps / took, n
            row = {"n": n, "k": k, "1e9/s": rate / 1e9, "compile s": compiling}
            row |= {"of memory": rate / memory / k, "of special": rate / special}
            yield row | {"plain 1e9/s": n * o.steps / timed(by_hand)[0] / 1e9}


def gradients(o: argparse.Namespace) -> Rows:
    for n in (2,) if o.quick else (1000, 100_000):
        axons, f, g = Axons(n), ours(o.steps), reference(o.steps)
        calls = axons.own(f), axons.own(gradient(f)), axons.plain(g), axons.plain(gradient(g))
        run, slope, their_run, their_slope = (timed(call)[0] for call in calls)
        row = {"n": n, "run ms": 1e3 * run, "gradient ms": 1e3 * slope, "over run": slope / run}
        yield row | {"plain's": their_slope / their_run, "over plain run": slope / their_run}


def coupled(o: argparse.Namespace) -> Rows:
    sizes = [(5, 2)] if o.quick else [(4096, None), (16_384, None), (100_000, 100)]
    for n, synapses in sizes:
        axons, steps, key = Axons(n), max(o.steps // 10, 1), jax.random.key(0)
        sparse = lambda: hh.connect.random(key, n, n, indegree=synapses, weight=0.1 / synapses)
        E = sparse() if synapses else jax.random.uniform(key, (n, n), maxval=0.1 / n)
        axons.network = hh.Network(hh.squid_axon(), n=n, coupling=hh.GradedSynapse(E))
        took = timed(axons.own(ours(steps)))[0] / steps
        held = n * n * 4 if synapses is None else E.weight.size * 8
        row = {"n": n, "synapses of each": synapses or n, "us a step": 1e6 * took}
        yield row | {"reading weights us": held / o.bandwidth / 1e3}


def trees(o: argparse.Namespace) -> Rows:
    count, steps = 2 if o.quick else 1000, max(o.steps // 4, 1)
    network = cells.make(cells.CASES["tree"] | {"count": count})
    call = jax.jit(cells.mean_V, static_argnums=(1, 2))
    for solver in cells.SOLVERS[:1] if o.quick else cells.SOLVERS:
        took, compiling = timed(lambda: call(network, solver, steps))
        rate = network.n * steps / took / 1e9
        yield {"trees": count, "solver": solver, "1e9 compartment-steps/s": rate, "compile s": compiling}


def beside(o: argparse.Namespace) -> Rows:
    n = 64 if o.quick else 100_000
    if c := million_neuron_steps_per_second(10_000 if n > 64 else n, o.steps, 2):
        yield {"rival": "C loop, one core", "1e9/s": c / 1e3}
    if importlib.util.find_spec("jaxley"):
        script, told = Path(__file__).parent / "peers" / "jaxley_peer.py", io.StringIO()
        case = dict(n=n, t1=o.steps * DT, currents=[5.0, 20.0], dts=[DT], repeats=2, folder=None)
        arguments = [str(script), json.dumps(case)]
        with mock.patch.object(sys, "argv", arguments), contextlib.redirect_stdout(told):
            runpy.run_path(str(script))
        found = json.loads(told.getvalue().splitlines()[-1])
        yield {"rival": found["peer"], "1e9/s": n * o.steps / found["seconds"] / 1e9}


# The share of the time that has passed when a part begins no further row.
PARTS = {agreement: 0.25, sweeps: 0.65, gradients: 0.77, coupled: 0.88, trees: 0.95, beside: 1.0}


def main(argv: list[str] | None = None) -> dict | None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--seconds", type=float, default=330.0)
    parser.add_argument("--bandwidth", type=float, default=4800.0)
    parser.add_argument("--special", type=float, default=4180.0)
    parser.add_argument("--json", default="gpu.json")
    parser.add_argument("--quick", action="store_true", help="sizes at which the times mean nothing")
    options = parser.parse_args(argv)
    if jax.default_backend() != "gpu" and not options.quick:
        print("There is no GPU here that JAX sees: nothing was measured.")
        return None
    options.steps = min(options.steps, 20) if options.quick else options.steps
    figures = dict[str, Any](machine=machine() | {"card": card()}, steps=options.steps)
    print("\n".join(f"{key}: {value}" for key, value in figures["machine"].items()))
    begun = time.perf_counter()
    for part, share in PARTS.items():
        name = part.__name__
        figures[name] = []
        try:
            for row in part(options):
                print(f"{name}: " + ", ".join(f"{key} {cell(x)}" for key, x in row.items()), flush=True)
                figures[name].append(row)
                save(figures, options.json)
                if time.perf_counter() - begun > share * options.seconds:
                    break
        except Exception as error:  # the other parts go on
            print(f"{name} failed: {error!r}", flush=True)
    return figures


if __name__ == "__main__":
    main()
