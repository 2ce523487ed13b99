"""What the library does, in three commands: solvers compared, networks, an f-I curve."""

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import hhjax as hh

from .._base.host import table
from ._common import add_threshold, check_positive, Command, device, save_figure

COMPARED = ("exp_euler", "ind_exp_euler", "rk4", "strang")


def _timed(run: Callable[[], hh.Solution]) -> tuple[hh.Solution, float]:
    """The result and the time in ms of the best of three runs, compiled before."""
    jax.block_until_ready(run())
    times = []
    for _ in range(3):
        start = time.perf_counter()
        solution = jax.block_until_ready(run())
        times.append(time.perf_counter() - start)
    return solution, 1000 * min(times)


def compare(dt: Sequence[float], t1: float, current: float, threshold: float, out: Path) -> None:
    """Solvers on one neuron against a tight adaptive solution."""
    import matplotlib.pyplot as plt

    check_positive(dt=dt, t1=t1)
    neuron = hh.squid_axon()
    exact = hh.reference(neuron, t1=t1, stimulus=current)
    spikes = exact.spike_times(threshold)[0]
    print(f"One squid axon, {current:g} µA/cm² from −65 mV for {t1:g} ms, float64, on {device()}.")
    print("Errors against an adaptive 8th-order solution with tolerance 1e-10; run time without compiling.\n")
    rows = [["(exact)", "", str(len(spikes)), f"{float(exact.V.max()):.3f}", "", ""]]
    coarse = {}
    for solver in COMPARED:
        for step in dt:
            run = lambda: hh.simulate(neuron, t1=t1, dt=step, stimulus=current, solver=solver)
            try:
                solution, elapsed = _timed(run)
            except hh.NonFiniteError as error:
                rows.append([solver, f"{step:g}", "-", "-", f"blew up at {error.time:g} ms", "-"])
                continue
            coarse.setdefault(solver, (step, solution))
            found = solution.spike_times(threshold)[0]
            common = min(len(found), len(spikes))
            late = f"{found[common - 1] - spikes[common - 1]:+.5f}" if common else "-"
            peak = f"{float(solution.V.max()):.3f}"
            rows.append([solver, f"{step:g}", str(len(found)), peak, late, f"{elapsed:.2f}"])
    headers = ["solver", "dt (ms)", "spikes", "peak (mV)", "last spike late by (ms)", "run (ms)"]
    print(table(headers, rows))

    figure, (above, below) = plt.subplots(
        2, 1, figsize=(9, 5.6), layout="constrained", sharex=True, height_ratios=[1.2, 1]
    )
    hh.plot.traces(exact, labels=["exact"], ax=above, color="0.75", linewidth=4)
    for (solver, (dt, solution)), marker in zip(coarse.items(), "osD^"):
        (line,) = hh.plot.traces(solution, labels=[f"{solver}, dt = {dt:g} ms"], ax=above)
        found = solution.spike_times(threshold)[0]
        common = min(len(found), len(spikes))
        off = np.abs(found[:common] - spikes[:common])
        below.semilogy(spikes[:common], off, color=line.get_color(), marker=marker, linewidth=0.8)
    above.set_title(f"Squid axon at {current:g} µA/cm²")
    above.set_xlabel("")
    below.set(xlabel="Time (ms)", ylabel="Spike off by (ms)")
    below.spines[["top", "right"]].set_visible(False)
    below.grid(color="0.92")
    save_figure(figure, out, "compare.png")


def network(n: int, dt: float, t1: float, current: float, solver: str, threshold: float, out: Path) -> None:
    """Two coupled neurons, and n of them."""
    import matplotlib.pyplot as plt

    check_positive(n=n, dt=dt, t1=t1)
    pair = hh.Network(hh.squid_axon(), n=2, coupling=hh.GradedSynapse([[0.0, 0.1], [0.1, 0.0]]))
    two, _ = _timed(
        lambda: hh.simulate(pair, t1=t1, dt=dt, stimulus=current, solver=solver, v0=jnp.array([-65.0, -55.0]))
    )
    weights, currents = jax.random.split(jax.random.key(0))
    E = jax.random.uniform(weights, (n, n), maxval=1 / n) * (1 - jnp.eye(n))
    many = hh.Network(hh.squid_axon(), n=n, coupling=hh.GradedSynapse(E))
    I = current * jax.random.uniform(currents, (n,), minval=0.7, maxval=1.3)
    crowd, elapsed = _timed(lambda: hh.simulate(many, t1=t1, dt=dt, stimulus=I, solver=solver))

    print(f"Networks of squid axons with graded synapses, {solver}, dt = {dt:g} ms, on {device()}.\n")
    rows = []
    for name, solution in (("E = 0.1", two), (f"E random in [0, 1/{n})", crowd)):
        counts = np.array([len(s) for s in solution.spike_times(threshold)])
        span = f"{counts.min()} to {counts.max()}"
        rows.append([name, str(len(counts)), span, f"{float(solution.V.max()):.2f}"])
    print(table(["coupling (mS/cm²)", "neurons", "spikes each", "peak (mV)"], rows))
    print(f"\n{n} neurons took {elapsed:.0f} ms, compiled before.")

    figure, axes = plt.subplots(2, 1, figsize=(9, 6.5), layout="constrained", sharex=True)
    hh.plot.traces(two, ax=axes[0])
    axes[0].set_title(f"Two coupled neurons at {current:g} µA/cm²")
    axes[0].set_xlabel("")
    hh.plot.raster(crowd, threshold=threshold, ax=axes[1])
    axes[1].set_title(f"{n} coupled neurons, currents within 30 % of {current:g} µA/cm²")
    save_figure(figure, out, "network.png")


def fi(dt: float, t1: float, current: float, n: int, solver: str, threshold: float, out: Path) -> None:
    """Firing rate against current, all currents in one run."""
    import matplotlib.pyplot as plt

    check_positive(n=n, dt=dt, t1=t1)
    currents = jnp.linspace(0.0, current, n)
    cells = hh.Network(hh.squid_axon(), n=n)
    solution, elapsed = _timed(lambda: hh.simulate(cells, t1=t1, dt=dt, stimulus=currents, solver=solver))
    times = hh.spike_times(solution.ts, solution.V, threshold)
    rates = np.asarray(hh.firing_rate(times, start=t1 / 2))
    print(f"Steady firing rate of the squid axon, {solver}, dt = {dt:g} ms, {t1:g} ms, on {device()}.\n")
    rows = [[f"{i:.2f}", f"{rate:.3f}"] for i, rate in zip(currents, rates)]
    print(table(["current (µA/cm²)", "rate (Hz)"], rows))
    print(f"\n{n} currents in one run took {elapsed:.0f} ms, compiled before.")

    figure, ax = plt.subplots(figsize=(7, 4), layout="constrained")
    hh.plot.fi_curve(currents, rates, ax=ax)
    ax.set_title("Firing rate of the squid axon")
    save_figure(figure, out, "fi.png")


def _options(defaults: dict[str, Any], **helps: str) -> Callable[[argparse.ArgumentParser], None]:
    """A function that gives a parser options with these defaults."""
    helps = {
        "dt": "time step, ms",
        "t1": "duration, ms",
        "current": "injected current, µA/cm²",
        "n": "how many neurons",
        "solver": "one of " + ", ".join(hh.steppers.by_name),
    } | helps

    def add(parser: argparse.ArgumentParser) -> None:
        for key, value in defaults.items():
            several: dict[str, Any] = {"nargs": "+"} if isinstance(value, list) else {}
            kind = type(value[0] if several else value)
            parser.add_argument(f"--{key}", type=kind, default=value, help=helps[key], **several)
        add_threshold(parser)

    return add


COMPARE = Command(
    "compare",
    "compare solvers on one neuron",
    _options(dict(dt=[0.1, 0.01], t1=100.0, current=10.0)),
    compare,
)


NETWORK = Command(
    "network",
    "two coupled neurons, and n",
    _options(dict(n=100, dt=0.025, t1=100.0, current=10.0, solver="strang")),
    network,
)


FI = Command(
    "fi",
    "firing rate against current",
    _options(
        dict(n=41, dt=0.025, t1=1000.0, current=20.0, solver="strang"),
        current="highest injected current, µA/cm²",
        n="how many currents",
    ),
    fi,
)
