"""What a GPU gives: first whether it agrees with the CPU, then rates.

    python benchmarks/gpu.py [--steps 4000] [--seconds 330] [--bandwidth 3350] [--json gpu.json] [--quick]

Squid axons, `strang`, dt = 0.025 ms, float32; wall time of the best of two calls, compiled before. Each row
is printed and saved at once, so that a run that is cut off keeps it; after `--seconds` none is begun.

- agreement: 20 ms on the GPU and on the CPU: spike counts, V every ms, and gradients of the mean V.
- sweep: `hh.sweep` with spike counts, and plain.py with 1, 4, 16 and 64 steps in a turn of its scan. The
    bound is reading and writing four states a step at `--bandwidth` (10⁹ bytes/s; an H100's by default).
- gradient: value and gradient by all parameters over the run.
- coupled: a step of a network, beside reading its weights once.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import plain
from core import Axons, cell, DT, gradient, ours, reference, Rows
from measure import machine, save

import hhjax as hh


def timed(call: Callable[[], Any]) -> tuple[float, float]:
    """Seconds of the best of two calls, and of what the first took beyond."""
    ends = [time.perf_counter()]
    for _ in range(3):
        jax.block_until_ready(call())
        ends.append(time.perf_counter())
    first, *others = np.diff(ends).tolist()
    return min(others), first - min(others)


def families(n: int) -> dict[str, tuple[hh.Network, Any]]:
    """Networks with their keys."""
    key = jax.random.key(0)
    dense = jax.random.uniform(key, (n, n), maxval=0.1 / n)
    sparse = hh.connect.random(key, n, n, indegree=min(n, 20), weight=0.005)
    make = lambda **parts: hh.Network(hh.squid_axon(), n=n, **parts)
    return {
        "axons": (make(), None),
        "dense network": (make(coupling=hh.GradedSynapse(dense)), None),
        "sparse network": (make(coupling=hh.GradedSynapse(sparse)), None),
        "noise, Threefry": (make(noise=hh.CurrentNoise(2.0)), key),
        "noise, fast_key": (make(noise=hh.CurrentNoise(2.0)), hh.fast_key(0)),
    }


def outcome(name: str, n: int, t1: float, device: Any) -> tuple:
    """Spike counts, V and the gradient of its mean, on a device."""

    def call(network: hh.Network) -> tuple:
        I, saveat = jnp.linspace(5.0, 20.0, n), diffrax.SaveAt(steps=40, fn=hh.save_V)
        options: dict[str, Any] = dict(stimulus=I, saveat=saveat, reduce=hh.SpikeCount(), key=key)
        run = hh.simulate(network, t1=t1, dt=DT, **options)
        return run.V.mean(), (run.reduced, run.V)

    with jax.default_device(device):
        network, key = families(n)[name]
        (_, (count, V)), slopes = eqx.filter_value_and_grad(call, has_aux=True)(network)
        return np.asarray(count), np.asarray(V), [np.asarray(x) for x in jax.tree.leaves(slopes)]


def agreement(o: argparse.Namespace) -> Rows:
    n, t1 = (3, 1.0) if o.quick else (1000, 20.0)
    for name in list(families(2))[2:3] if o.quick else families(2):
        found = [outcome(name, n, t1, device) for device in (jax.devices()[0], jax.devices("cpu")[0])]
        (count, V, slopes), (count_there, V_there, slopes_there) = found
        off = [np.abs(a - b).max() / (np.abs(b).max() or 1.0) for a, b in zip(slopes, slopes_there)]
        row = {"family": name, "other counts": int((count != count_there).sum()), "of": n}
        row |= {"V off by mV": float(np.abs(V - V_there).max()), "gradient off by": float(max(off))}
        bad = row["other counts"] > 0.01 * n or row["V off by mV"] > 1.0 or row["gradient off by"] > 0.01
        yield row | {"agrees": not bad}


def sweeps(o: argparse.Namespace) -> Rows:
    bound, took, before = o.bandwidth * 1e9 / 32, 0.0, 1
    for n in (3,) if o.quick else (1, 1000, 10_000, 100_000, 1_000_000, 4_000_000):
        axons, row = Axons(n), {"n": n}
        options: dict[str, Any] = dict(over={"stimulus": axons.I}, t1=o.steps * DT, dt=DT)
        for k in (1, 4, 16, 64) if n in (1000, 100_000, 1_000_000) else (1,):
            by_hand = axons.plain(lambda *args: plain.run(*args, o.steps, unroll=k)[0])
            row[f"{k} a turn 1e9/s"] = n * o.steps / timed(by_hand)[0] / 1e9
        if n <= 100_000 or took * n / before < 20:  # else it would take too long
            took, compiling = timed(lambda: hh.sweep(hh.squid_axon(), **options).reduced)
            rate, before = n * o.steps / took, n
            row |= {"hh.sweep 1e9/s": rate / 1e9, "compile s": compiling, "of the bound": rate / bound}
        yield row


def gradients(o: argparse.Namespace) -> Rows:
    for n in (2,) if o.quick else (1000, 100_000):
        axons, f, g = Axons(n), ours(o.steps), reference(o.steps)
        calls = axons.own(f), axons.own(gradient(f)), axons.plain(g), axons.plain(gradient(g))
        run, slope, their_run, their_slope = (timed(call)[0] for call in calls)
        row = {"n": n, "run ms": 1e3 * run, "gradient ms": 1e3 * slope, "over run": slope / run}
        yield row | {"plain's": their_slope / their_run, "over plain run": slope / their_run}


def coupled(o: argparse.Namespace) -> Rows:
    for n, synapses in [(5, 2)] if o.quick else [(4096, None), (16_384, None), (100_000, 100)]:
        axons, steps, key = Axons(n), max(o.steps // 10, 1), jax.random.key(0)
        sparse = lambda: hh.connect.random(key, n, n, indegree=synapses, weight=0.1 / synapses)
        E = sparse() if synapses else jax.random.uniform(key, (n, n), maxval=0.1 / n)
        axons.network = hh.Network(hh.squid_axon(), n=n, coupling=hh.GradedSynapse(E))
        took = timed(axons.own(ours(steps)))[0] / steps
        held = n * n * 4 if synapses is None else E.weight.size * 8
        row = {"n": n, "synapses of each": synapses or n, "us a step": 1e6 * took}
        yield row | {"reading weights us": held / o.bandwidth / 1e3}


def main(argv: list[str] | None = None) -> dict | None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--seconds", type=float, default=330.0)
    parser.add_argument("--bandwidth", type=float, default=3350.0)
    parser.add_argument("--json", default="gpu.json")
    parser.add_argument("--quick", action="store_true", help="sizes at which the times mean nothing")
    options = parser.parse_args(argv)
    if jax.default_backend() != "gpu":
        print("There is no GPU here that JAX sees: nothing was measured.")
        return None
    begun, figures = time.perf_counter(), dict[str, Any](machine=machine(), steps=options.steps)
    print("\n".join(f"{key}: {value}" for key, value in figures["machine"].items()))
    parts = {"agreement": agreement, "sweep": sweeps, "gradient": gradients, "coupled": coupled}
    for name, part in parts.items():
        figures[name] = []
        try:
            for row in part(options):
                print(f"{name}: " + ", ".join(f"{key} {cell(x)}" for key, x in row.items()), flush=True)
                figures[name].append(row)
                save(figures, options.json)
                if time.perf_counter() - begun > options.seconds:
                    return figures
        except Exception as error:  # the other parts go on
            print(f"{name} failed: {error!r}", flush=True)
    return figures


if __name__ == "__main__":
    main()
