"""The loop in one kernel on a GPU, beside the scan and what the arithmetic allows.

    python benchmarks/gpu.py [--steps 4000] [--neurons 1 1000 1000000] [--peak TERA] [--special TERA]

Squid axons in float32, `strang`, spikes counted; then with current noise, `strang_maruyama` and
`hh.fast_key`; then value and gradient by all parameters, V saved at every 40th step. Then a batch of
`--networks` coupled ones of `--size` neurons, each with an E of its own, run and gradient. Median of
`--repeats` runs from call to finished result, compiled and warmed up before. The bound is the time
that the instructions of a step take at `--peak` and the special ones at `--special`, in 10¹² per
second: by default those of an H100 SXM at 1.98 GHz (132 processors of 128 and of 16 lanes). Last, a
dense network of `--coupled` neurons, which is no work for the kernel: its scan against reading the
matrix at `--bandwidth`, 10⁹ bytes per second.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from measure import machine, save

import hhjax as hh

DT = 0.025  # ms
# Of one step in the kernel's loop, 13 of them special (reciprocals and exponentials): machine
# code for sm_90, made with Triton 3.9.0 and not run. 54 registers, none spilled.
INSTRUCTIONS, SPECIAL = 299, 13


def median_time(run: Callable[[], Any], repeats: int) -> float:
    """Seconds."""
    for _ in range(2):
        jax.block_until_ready(run())
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(run())
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def single(*args: Any, **fields: Any) -> hh.Network:
    """A network in float32."""
    return jax.tree.map(lambda x: x.astype(jnp.float32), hh.Network(*args, **fields))


def spikes(network: hh.Network, stimulus: Any, steps: int, backend: str) -> Any:
    return hh.simulate(
        network,
        t1=steps * DT,
        dt=DT,
        stimulus=stimulus,
        reduce=hh.SpikeCount(),
        key=hh.fast_key(0) if network.is_noisy else None,
        backend=backend,
        throw=False,
    ).reduced


def gradient(network: hh.Network, stimulus: Any, steps: int, backend: str) -> Any:
    saveat = diffrax.SaveAt(steps=40, fn=hh.save_V)
    options = dict(t1=steps * DT, dt=DT, saveat=saveat, backend=backend, throw=False)
    return jax.grad(lambda cells: hh.simulate(cells, stimulus=stimulus, **options).V.mean())(network)


def of_each(function: Callable) -> Callable:
    """`function` of the same network with each of many E."""

    def run(network: hh.Network, Es: Any, steps: int, backend: str) -> Any:
        coupled = lambda E: eqx.tree_at(lambda cells: cells.coupling.E, network, E)
        return jax.vmap(lambda E: function(coupled(E), jnp.float32(10.0), steps, backend))(Es)

    return run


def time_of(function: Callable, network: hh.Network, stimulus: Any, options: Any, backend: str) -> float:
    run = eqx.filter_jit(lambda cells, I: function(cells, I, options.steps, backend))
    return median_time(lambda: run(network, stimulus), options.repeats)


def main(argv: list[str] | None = None) -> dict | None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--neurons", type=int, nargs="+", default=[1, 1000, 1_000_000])
    parser.add_argument("--repeats", type=int, default=11)
    parser.add_argument("--peak", type=float, default=33.4)
    parser.add_argument("--special", type=float, default=4.18)
    parser.add_argument("--networks", type=int, default=10_000)
    parser.add_argument("--size", type=int, default=4)
    parser.add_argument("--coupled", type=int, default=4096)
    parser.add_argument("--bandwidth", type=float, default=3350.0)
    parser.add_argument("--json", help="a file for the figures")
    options = parser.parse_args(argv)
    if jax.default_backend() != "gpu":
        print("There is no GPU here that JAX sees: nothing was measured.")
        return None

    seconds = max(INSTRUCTIONS / (options.peak * 1e12), SPECIAL / (options.special * 1e12))
    rows = []
    for n in options.neurons:
        network, noisy = (single(hh.squid_axon(), n=n, noise=noise) for noise in ((), hh.CurrentNoise(2.0)))
        stimulus = jnp.linspace(5.0, 20.0, n, dtype=jnp.float32)
        row = {"n": n, "bound_s": seconds * n * options.steps}
        for backend in ("scan", "fused"):
            row[f"{backend}_s"] = time_of(spikes, network, stimulus, options, backend)
            row[f"{backend}_noise_s"] = time_of(spikes, noisy, stimulus, options, backend)
            row[f"{backend}_gradient_s"] = time_of(gradient, network, stimulus, options, backend)
        rows.append(row)
        print(
            f"n = {n}: scan {1e3 * row['scan_s']:.3g} ms, fused {1e3 * row['fused_s']:.3g} ms "
            f"({row['scan_s'] / row['fused_s']:.3g} times faster, {n * options.steps / row['fused_s']:.3g} "
            f"neuron-steps/s), bound {1e3 * row['bound_s']:.3g} ms; with noise "
            f"{1e3 * row['scan_noise_s']:.3g} and {1e3 * row['fused_noise_s']:.3g} ms; gradient over forward "
            f"{row['scan_gradient_s'] / row['scan_s']:.3g} and {row['fused_gradient_s'] / row['fused_s']:.3g}"
        )
    n = options.size
    Es = jax.random.uniform(jax.random.key(0), (options.networks, n, n), jnp.float32, maxval=0.1 / n)
    network = single(hh.squid_axon(), n=n, coupling=hh.GradedSynapse(Es[0]))
    small = {"networks": options.networks, "n": n}
    for backend in ("scan", "fused"):
        small[f"{backend}_s"] = time_of(of_each(spikes), network, Es, options, backend)
        small[f"{backend}_gradient_s"] = time_of(of_each(gradient), network, Es, options, backend)
    print(
        f"{options.networks} networks of {n}: scan {1e3 * small['scan_s']:.3g} ms, fused "
        f"{1e3 * small['fused_s']:.3g} ms; gradients {1e3 * small['scan_gradient_s']:.3g} and "
        f"{1e3 * small['fused_gradient_s']:.3g} ms"
    )
    n = options.coupled
    E = jax.random.uniform(jax.random.key(0), (n, n), jnp.float32, maxval=0.1 / n)
    coupled = single(hh.squid_axon(), n=n, coupling=hh.GradedSynapse(E))
    took = time_of(spikes, coupled, jnp.float32(10.0), options, "scan") / options.steps
    traffic = E.nbytes / (options.bandwidth * 1e9)
    print(f"{n} coupled neurons: {1e6 * took:.3g} µs a step, reading E {1e6 * traffic:.3g} µs")
    large = {"n": n, "step_s": took, "bound_s": traffic}
    return save({"machine": machine(), "rows": rows, "small": small, "coupled": large}, options.json)


if __name__ == "__main__":
    main()
