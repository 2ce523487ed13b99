"""COBAHH: 4,000 Traub-Miles neurons, 2 % of all pairs connected, against Brian2.

    python benchmarks/cobahh.py [--t1 1000] [--seeds 3] [--brian PYTHON] [--plot FILE] [--json FILE]

Benchmark 3 of R. Brette et al., J. Comput. Neurosci. 23 (2007) 349-398: 80 % excitatory neurons, 20 %
inhibitory, exponential conductances at detected spikes, dt = 0.1 ms. Neither `hhjax` nor Brian2 draws
the other's random numbers: mean rates are compared over seeds. Brian2's exponential Euler is our
`ind_exp_euler`, of order 1, which lowers the rate at this dt; `strang` is of order 2. Times are those
of the run alone, compiled before, spikes of all neurons recorded. `--brian` names the Python of an
environment with Brian2, which then runs the same network as C++ standalone on one thread, in turn with
ours, in float32 as well. Pin the process to one core, for example with `taskset -c 0`.
"""

import argparse
import subprocess
import tempfile
import time
from pathlib import Path

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from measure import machine, save

import hhjax as hh

_NS = 1e-6 / 20_000e-8  # 1 nS of a cell of 20,000 µm², in mS/cm²


def build(key: jax.Array, n: int = 4000) -> tuple[hh.Network, hh.State]:
    """The network and its initial state."""
    key_e, key_i, *keys = jax.random.split(key, 5)
    size = {"e": 4 * n // 5, "i": n - 4 * n // 5}
    connections = {
        name: hh.connect.random(k, n, size[name], p=0.02, weight=w * _NS)
        for name, k, w in (("e", key_e, 6.0), ("i", key_i, 67.0))
    }
    kinds = {"e": dict(tau=5.0, reversal=0.0), "i": dict(tau=10.0, reversal=-80.0)}
    coupling = {
        name: hh.synapses.ExponentialSynapse(connections[name], pre=name, threshold=-20.0, **kind)
        for name, kind in kinds.items()
    }
    cell = hh.traub_miles()
    network = hh.Network({"e": cell, "i": cell}, n=size, coupling=coupling)
    noise = [jax.random.normal(k, (n,)) for k in keys]
    y0 = network.init(-65.0 + 5 * noise[0])
    y0 = hh.State(y0.V, jax.tree.map(jnp.zeros_like, y0.gates), y0.s)
    conductances = [10 * _NS * (4 + 1.5 * noise[1]), 10 * _NS * (20 + 12 * noise[2])]
    where = lambda y: [y.s[name]["g"]["g"] for name in ("e", "i")]
    return network, eqx.tree_at(where, y0, conductances)


def above(t: jax.Array, y: hh.State, args: tuple) -> jax.Array:
    """Which neurons are above threshold; for `saveat`."""
    return y.V > -20.0


_SAVEAT = diffrax.SaveAt(t0=True, steps=True, fn=above)


def measure(seed: int, t1: float, n: int, dt: float, solver: str) -> dict:
    """Time of the run and mean rate after the first 100 ms (or half, if shorter), with its spikes."""
    network, y0 = build(jax.random.key(seed), n)
    run = lambda: jax.block_until_ready(
        hh.simulate(network, t1=t1, dt=dt, y0=y0, saveat=_SAVEAT, solver=solver).ys
    )
    run()
    start = time.perf_counter()
    up = np.asarray(run())
    seconds = time.perf_counter() - start
    step, neuron = np.nonzero(up[1:] & ~up[:-1])
    return summary(step * dt, neuron, t1, n) | {"seconds": seconds}


def summary(times: np.ndarray, neuron: np.ndarray, t1: float, n: int) -> dict:
    times, neuron = np.asarray(times), np.asarray(neuron)
    after = min(100.0, t1 / 2)
    rate = 1000 * (times > after).sum() / n / (t1 - after)
    return {"rate_hz": float(rate), "times": times, "neuron": neuron}


def measure_brian(python: str, seed: int, t1: float, n: int, dt: float) -> dict:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "spikes.npz"
        script = Path(__file__).with_name("cobahh_brian.py")
        arguments = [python, str(script), *map(str, (seed, t1, n, dt)), folder, str(out)]
        subprocess.run(arguments, check=True, capture_output=True)
        data = np.load(out)
        found = summary(data["times"], data["neuron"], t1, n)
        return found | {"seconds": float(data["seconds"]), "version": str(data["version"])}


def plot(path: str, rows: list[dict], t1: float, n: int) -> None:
    import matplotlib.pyplot as plt

    shown = list(rows[0].items())
    figure, axes = plt.subplots(1, len(shown), figsize=(5 * len(shown), 4), sharey=True, squeeze=False)
    for ax, (name, row) in zip(axes[0], shown):
        some = (row["neuron"] % 10 == 0) & (row["times"] < min(t1, 500))
        ax.plot(row["times"][some], row["neuron"][some], "k.", markersize=0.7)
        ax.axhline(4 * n // 5, color="C3", linewidth=0.8)
        ax.set(title=f"{name}: {row['rate_hz']:.1f} Hz", xlabel="time (ms)")
    axes[0, 0].set_ylabel("neuron (inhibitory above the line)")
    figure.tight_layout()
    figure.savefig(path, dpi=150)


def main(argv: list[str] | None = None) -> dict:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--t1", type=float, default=1000.0, help="ms")
    parser.add_argument("--dt", type=float, default=0.1, help="ms")
    parser.add_argument("--solvers", nargs="+", default=["strang", "ind_exp_euler"])
    parser.add_argument("--neurons", type=int, default=4000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--brian", help="the Python of an environment with Brian2")
    parser.add_argument("--plot", help="draw the raster of the first seed to this file")
    parser.add_argument("--json", help="also write the figures to this file")
    options = parser.parse_args(argv)
    about = machine()
    print("\n".join(f"{key}: {value}" for key, value in about.items()))
    print(f"\n{options.neurons} neurons, {options.t1:g} ms, dt = {options.dt:g} ms; seconds and mean rate\n")
    rows = []
    for seed in range(options.seeds):
        sizes = (seed, options.t1, options.neurons, options.dt)
        row = {f"hhjax {solver}": measure(*sizes, solver) for solver in options.solvers}
        if options.brian:
            row["Brian2"] = measure_brian(options.brian, *sizes)
        rows.append(row)
        cells = [f"{name}: {m['seconds']:.2f} s, {m['rate_hz']:.2f} Hz" for name, m in row.items()]
        print(f"seed {seed}:", "   ".join(cells), flush=True)
    if options.plot:
        plot(options.plot, rows, options.t1, options.neurons)
    keep = lambda m: {k: v for k, v in m.items() if k not in ("times", "neuron")}
    figures = {"machine": about, "rows": [{name: keep(m) for name, m in row.items()} for row in rows]}
    save(figures, options.json)
    return figures


if __name__ == "__main__":
    main()
