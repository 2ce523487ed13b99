"""What a GPU gives: first whether it agrees with the CPU, then rates.

    python benchmarks/gpu.py [--steps 4000] [--seconds 330] [--bandwidth 3350] [--json gpu.json] [--quick]

Squid axons, `strang`, dt = 0.025 ms, float32; wall time of the best of two calls, compiled before. Prints
as it goes and writes the JSON file anew after each row, so that a run that is cut off keeps what it has;
after `--seconds` nothing more is begun.

- agreement: 20 ms on the GPU and on the CPU: spike counts, V every ms, and gradients of the mean V.
- sweep: neuron-steps/s by hand (plain.py) with 1, 4, 16 and 64 steps in each turn of the scan, and of
    `hh.sweep` with spike counts. The bound is reading and writing four states a step at `--bandwidth` (10⁹
    bytes/s; by default that of an H100).
- gradient: value and gradient by all parameters over the run.
- coupled: a step of a network, beside reading its weights once.
"""

import argparse
import time
from collections.abc import Callable, Iterator
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
    took = []
    for _ in range(3):
        start = time.perf_counter()
        jax.block_until_ready(call())
        took.append(time.perf_counter() - start)
    return min(took[1:]), took[0] - min(took[1:])


def families(n: int) -> dict[str, tuple[hh.Network, Any]]:
    """Networks with their keys."""
    dense = jax.random.uniform(jax.random.key(0), (n, n), maxval=0.1 / n)
    sparse = hh.connect.random(jax.random.key(0), n, n, indegree=min(n, 20), weight=0.005)
    make = lambda **parts: hh.Network(hh.squid_axon(), n=n, **parts)
    noisy = make(noise=hh.CurrentNoise(2.0))
    return {
        "axons": (make(), None),
        "dense network": (make(coupling=hh.GradedSynapse(dense)), None),
        "sparse network": (make(coupling=hh.GradedSynapse(sparse)), None),
        "noise, Threefry": (noisy, jax.random.key(1)),
        "noise, fast_key": (noisy, hh.fast_key(1)),
    }


def outcome(name: str, n: int, t1: float, device: Any) -> tuple:
    """Spike counts, V and the gradient of its mean, on a device."""

    def call(network: hh.Network) -> tuple:
        saveat = diffrax.SaveAt(steps=40, fn=hh.save_V)
        options: dict[str, Any] = dict(saveat=saveat, reduce=hh.SpikeCount(), key=key)
        run = hh.simulate(network, t1=t1, dt=DT, stimulus=jnp.linspace(5.0, 20.0, n), **options)
        return run.V.mean(), (run.reduced, run.V)

    with jax.default_device(device):
        network, key = families(n)[name]
        (_, (count, V)), slopes = eqx.filter_value_and_grad(call, has_aux=True)(network)
        return np.asarray(count), np.asarray(V), [np.asarray(x) for x in jax.tree.leaves(slopes)]


def agreement(o: argparse.Namespace) -> Rows:
    n, t1 = (3, 1.0) if o.quick else (1000, 20.0)
    for name in list(families(2))[:: 4 if o.quick else 1]:
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
        for k in (1, 4, 16, 64) if n in (1000, 100_000, 1_000_000) else (1,):
            by_hand = axons.plain(lambda *args: plain.run(*args, o.steps, unroll=k)[0])
            row[f"{k} a turn 1e9/s"] = n * o.steps / timed(by_hand)[0] / 1e9
        options: dict[str, Any] = dict(over={"stimulus": axons.I}, t1=o.steps * DT, dt=DT)
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
    sizes = [(5, 2)] if o.quick else [(4096, None), (16_384, None), (100_000, 100)]
    for n, synapses in sizes:
        axons, steps, key = Axons(n), max(o.steps // 10, 1), jax.random.key(0)
        if synapses is None:
            E: Any = jax.random.uniform(key, (n, n), maxval=0.1 / n)
        else:
            E = hh.connect.random(key, n, n, indegree=synapses, weight=0.1 / synapses)
        axons.network = hh.Network(hh.squid_axon(), n=n, coupling=hh.GradedSynapse(E))
        took = timed(axons.own(ours(steps)))[0] / steps
        held = n * n * 4 if synapses is None else E.weight.size * 8
        row = {"n": n, "synapses of each": synapses or n, "us a step": 1e6 * took}
        yield row | {"reading the weights us": held / o.bandwidth / 1e3}


def every(parts: dict[str, Callable], o: argparse.Namespace) -> Iterator[tuple[str, dict]]:
    """The rows of all parts; one that fails does not stop the others."""
    for name, part in parts.items():
        try:
            for row in part(o):
                yield name, row
        except Exception as error:
            print(f"{name} failed: {error!r}")


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
    begun, about = time.perf_counter(), machine()
    figures: dict[str, Any] = {"machine": about, "steps": options.steps}
    print("\n".join(f"{key}: {value}" for key, value in about.items()))
    parts = {"agreement": agreement, "sweep": sweeps, "gradient": gradients, "coupled": coupled}
    for name, row in every(parts, options):
        print(f"{name}: " + ", ".join(f"{key} {cell(x)}" for key, x in row.items()), flush=True)
        figures.setdefault(name, []).append(row)
        save(figures, options.json)
        if time.perf_counter() - begun > options.seconds:
            print("Out of time.")
            break
    return figures


if __name__ == "__main__":
    main()
