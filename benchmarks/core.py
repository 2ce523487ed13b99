"""How fast the core is, beside the same work as plain JAX (plain.py) in the same process.

    python benchmarks/core.py [--parts forward gradient ...] [--cores K] [--json FILE] [--quick]

The process is pinned to one core, and times are of its processor: the best of several runs from call to
finished result, compiled before; ours and the plain reference in turn. Both are called inside `jax.jit`,
with the model, the stimulus and (the reference) the initial state and dt as arguments, `throw=False`;
`hh.sweep` is called as it is. Squid axons, `strang`, dt = 0.025 ms, float32, the reference gives V at the
end. With `--cores`, `hh.use_cores(K)` is called first. With `--json -` the last line is JSON.

- forward: a run with V at the end, and with spike counts; rates in million neuron-steps/s, `speed` over
    the plain run, and beside the C loop of limit.py.
- gradient: value and gradient of the mean V at the end, by all parameters.
- outputs: run and gradient with what is kept of the run.
- jacobian: of the mean V at the end by seven parameters, forward mode.
- memory: the gradient where not every state is kept, and what XLA sets aside.
- channels: a neuron with 20 different channels; its gradient over its own run, and the first calls.
- networks: a dense E·S beside `E @ s`, and a sparse one.
- solvers: all of them over `strang`, and beside the plain form of `rk4` and `strang4`.
- sweep: `hh.sweep` with spike counts beside the plain run.
- overhead: calls that are compiled already, of 2 steps.
- compile: first calls, which want a machine that is idle: in a jit beside the reference; of a new model
    after other models have run; of the first in a process.
- import: user time of an import in a new process.
"""

import argparse
import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import plain
from limit import million_neuron_steps_per_second
from measure import best_times, clock, machine, pinned, save

import hhjax as hh

DT = 0.025  # ms
END = {"saveat": diffrax.SaveAt(t1=True, fn=hh.save_V)}
Rows = Iterator[dict[str, Any]]


class Sizes(NamedTuple):
    """How much is measured."""

    steps: int
    repeats: int
    seconds: float  # that short runs are repeated for
    neurons: list[int] | None
    quick: bool
    cores: int

    def of(self, *neurons: int) -> Any:
        return self.neurons or neurons

    def times(self, *runs: Callable[[], Any]) -> list[float]:
        return best_times(runs, self.repeats, self.seconds)


def reference(steps: int, step: Callable = plain.step) -> Callable:
    """V at the end, of p, I, dt, y."""
    return lambda *args: plain.run(*args, steps, step)[0]


def simulate(network: hh.Network, I: jax.Array, steps: int, **options: Any) -> hh.Solution:
    return hh.simulate(network, t1=steps * DT, dt=DT, stimulus=I, throw=False, **options)


def ours(steps: int, **options: Any) -> Callable:
    """V at the end, of network, I."""
    return lambda network, I: simulate(network, I, steps, **END, **options).V


def spikes(steps: int) -> Callable:
    return lambda network, I: simulate(network, I, steps, reduce=hh.SpikeCount()).reduced


def mean(f: Callable) -> Callable:
    return lambda *args: f(*args).mean()


def gradient(f: Callable) -> Callable:
    """Value and gradient of the mean."""
    return jax.value_and_grad(mean(f))


class Axons:
    """So many of them, ours and with the arguments p, I, dt, y of the plain reference."""

    def __init__(self, n: int) -> None:
        self.I = I = jnp.linspace(5.0, 20.0, n)
        self.network = hh.Network(hh.squid_axon(), n=n)
        p = tuple(jnp.asarray(x, I.dtype) for x in plain.PARAMETERS)
        self.args = p, I, jnp.asarray(DT, I.dtype), plain.rest(jnp.full(n, -65.0, I.dtype))

    def plain(self, f: Callable) -> Callable[[], Any]:
        """A call of `f`, compiled, with the arguments of the reference."""
        compiled = jax.jit(f)
        return lambda: compiled(*self.args)

    def own(self, f: Callable) -> Callable[[], Any]:
        """A call of `f`, compiled, with our network and its currents."""
        compiled = jax.jit(f)
        return lambda: compiled(self.network, self.I)


def ms(seconds: float) -> float:
    return 1e3 * seconds


def forward(o: Sizes) -> Rows:
    for n in o.of(1, 100, 1000, 10_000, 100_000):
        axons = Axons(n)
        own = axons.own(ours(o.steps)), axons.own(spikes(o.steps))
        rates = [n * o.steps / time / 1e6 for time in o.times(axons.plain(reference(o.steps)), *own)]
        c = million_neuron_steps_per_second(n, o.steps, min(o.repeats, 3))
        row = dict(zip(("plain M/s", "V M/s", "counts M/s"), rates)) | {"C loop M/s": c}
        speeds = {"V speed": rates[1] / rates[0], "counts speed": rates[2] / rates[0]}
        yield {"n": n} | row | speeds | {"V over C": c and rates[1] / c}


def gradients(o: Sizes) -> Rows:
    for n in o.of(1, 100, 1000, 10_000):
        axons, f, g = Axons(n), reference(o.steps), ours(o.steps)
        runs = axons.plain(f), axons.plain(gradient(f)), axons.own(g), axons.own(gradient(g))
        run, slope, own_run, own_slope = o.times(*runs)
        row = {"n": n, "plain run ms": ms(run), "plain gradient ms": ms(slope)}
        row |= {"run ms": ms(own_run), "gradient ms": ms(own_slope)}
        row |= {"over plain gradient": own_slope / slope, "over plain run": own_slope / run}
        yield row | {"over own run": own_slope / own_run, "plain over its run": slope / run}


def outputs(o: Sizes) -> Rows:
    end = o.steps * DT
    mean_V = lambda t, y, args: y.V.mean()
    V = lambda run: run.V
    kept: dict[str, tuple[dict, Callable]] = {
        "V at the end": (END, V),
        "SaveAt(steps=2)": ({"saveat": diffrax.SaveAt(steps=2, fn=hh.save_V)}, V),
        "SaveAt(ts=two)": ({"saveat": diffrax.SaveAt(ts=[end / 2, end], fn=hh.save_V)}, V),
        "mean V of every step": ({"saveat": diffrax.SaveAt(steps=True, fn=mean_V)}, lambda run: run.ys),
        "V of every step": ({}, V),
        "SpikeCount": ({"reduce": hh.SpikeCount()}, V),
        "SpikeTimes(20)": ({"reduce": hh.SpikeTimes(20)}, V),
        "the same, of the times": ({"reduce": hh.SpikeTimes(20)}, lambda run: jnp.nan_to_num(run.reduced)),
    }

    kept = dict(list(kept.items())[::6]) if o.quick else kept

    def loss(options: dict, of: Callable) -> Callable:
        def call(network: hh.Network, I: jax.Array) -> tuple[jax.Array, Any]:
            run = simulate(network, I, o.steps, **options)
            return of(run).mean(), run.reduced

        return call

    for n in o.of(1000):
        axons, f = Axons(n), reference(o.steps)
        theirs = axons.plain(f), axons.plain(gradient(f))
        for name, options in kept.items():
            own = axons.own(loss(*options)), axons.own(jax.value_and_grad(loss(*options), has_aux=True))
            run, slope, own_run, own_slope = o.times(*theirs, *own)
            row = {"kept": name, "n": n, "run ms": ms(own_run), "gradient ms": ms(own_slope)}
            row |= {"speed": run / own_run, "over plain gradient": own_slope / slope}
            yield row | {"over plain run": own_slope / run}


def jacobian(o: Sizes) -> Rows:
    def seven(network: hh.Network) -> list[jax.Array]:
        na, k, leak = (network.neuron.channels[name] for name in ("na", "k", "leak"))
        return [na.g, k.g, leak.g, na.E, k.E, leak.E, network.neuron.C]

    def of_seven(network: hh.Network, I: jax.Array) -> list[jax.Array]:
        loss = mean(ours(o.steps, adjoint=diffrax.ForwardMode()))
        return jax.jacfwd(lambda x: loss(eqx.tree_at(seven, network, x), I))(seven(network))

    for n in o.of(1, 100, 1000):
        axons, f = Axons(n), reference(o.steps)
        theirs = lambda p, *rest: jax.jacfwd(lambda seven: f((*seven, *p[7:]), *rest).mean())(p[:7])
        runs = axons.plain(f), axons.plain(theirs), axons.own(of_seven)
        run, J, own_J = o.times(*runs)
        row = {"n": n, "plain run ms": ms(run), "plain jacobian ms": ms(J), "jacobian ms": ms(own_J)}
        yield row | {"over plain run": own_J / run, "plain over its run": J / run}


def memory(o: Sizes) -> Rows:
    def compiled(f: Callable, *args: Any) -> tuple[Callable, float]:
        """And the MB that XLA sets aside."""
        done = jax.jit(gradient(f)).lower(*args).compile()
        return done, done.memory_analysis().temp_size_in_bytes / 1e6

    few = diffrax.RecursiveCheckpointAdjoint(checkpoints=math.isqrt(o.steps))
    cases = [(n, o.steps, adjoint) for n in o.of(1, 100, 1000, 10_000) for adjoint in (None, few)]
    cases += [(o.of(10_000)[-1], 4 * o.steps, None)]
    for n, steps, adjoint in cases[1:2] if o.quick else cases:
        axons = Axons(n)
        _, theirs = compiled(reference(steps), *axons.args)
        f = ours(steps, **({} if adjoint is None else {"adjoint": adjoint}))
        slope, held = compiled(f, axons.network, axons.I)
        times = o.times(axons.plain(reference(steps)), lambda: slope(axons.network, axons.I))
        row = {"n": n, "steps": steps, "checkpoints": "by itself" if adjoint is None else adjoint.checkpoints}
        row |= {"plain run ms": ms(times[0]), "gradient ms": ms(times[1])}
        yield row | {"over plain run": times[1] / times[0], "MB": held, "plain gradient MB": theirs}


def many_channels(linear: bool, count: int) -> hh.Neuron:
    """A neuron with so many channels, each of another class or, where these end, with another VT or celsius.

    `linear`: none with a gate that moves at once, so that dV/dt is linear in V.
    """
    published = lambda c: isinstance(c, type) and not issubclass(c, hh.channels.BoltzmannChannel)
    kinds = [c for c in vars(hh.channels).values() if published(c) and not c.senses]
    channels = [c() for c in kinds]
    for kind in (hh.channels.TraubMilesSodium, hh.channels.TraubMilesPotassium):
        channels += [kind(VT=VT) for VT in (-60.0, -55.0)]
    channels += [hh.Sodium(celsius=10.0), hh.Potassium(celsius=10.0)]
    channels = [c for c in channels if not (linear and c.conductance_depends_on_V)]
    return hh.Neuron({f"c{k}": c for k, c in enumerate(channels[:count])}, celsius=20.0)


def channels(o: Sizes) -> Rows:
    now = clock()
    for linear in (True,) if o.quick else (True, False):
        for n in o.of(1, 1000):
            axons, first = Axons(n), []
            axons.network = hh.Network(many_channels(linear, 3 if o.quick else 20), n=n)
            runs = axons.own(ours(o.steps)), axons.own(gradient(ours(o.steps)))
            for call in runs:
                start = now()
                jax.block_until_ready(call())
                first.append(now() - start)
            run, slope = o.times(*runs)
            row = {"dV/dt": "linear in V" if linear else "any", "n": n, "run ms": ms(run)}
            row |= {"gradient ms": ms(slope), "over own run": slope / run}
            yield row | {"first run s": first[0], "first gradient s": first[1]}


def networks(o: Sizes) -> Rows:
    for n in o.of(2, 100, 1000, 5000):
        steps = min(o.steps, max(100, 2_000_000_000 // n**2))
        axons = Axons(n)
        p, I, dt, (V, *_) = axons.args
        E = jax.random.uniform(jax.random.key(0), (n, n), maxval=0.1 / n)
        axons.args = (p, E), I, dt, plain.rest_coupled(V)
        axons.network = hh.Network(hh.squid_axon(), n=n, coupling=hh.GradedSynapse(E))
        theirs, own = o.times(axons.plain(reference(steps, plain.coupled)), axons.own(ours(steps)))
        row = {"E": "dense", "n": n, "steps": steps, "us a step": 1e6 * own / steps}
        yield row | {"plain us a step": 1e6 * theirs / steps, "speed": theirs / own}
    for n in o.of(1000, 10_000, 100_000):
        axons, steps = Axons(n), min(o.steps, 200)
        E = hh.connect.random(jax.random.key(0), n, n, indegree=min(100, n), weight=0.01)
        axons.network = hh.Network(hh.squid_axon(), n=n, coupling=hh.GradedSynapse(E))
        (own,) = o.times(axons.own(ours(steps)))
        yield {"E": "sparse, 100 each", "n": n, "steps": steps, "us a step": 1e6 * own / steps}


def solvers(o: Sizes) -> Rows:
    names = ["strang", "rk4", "strang4"]
    names += [] if o.quick else [name for name in hh.steppers.by_name if name not in names]
    forms = {"strang": plain.step, "rk4": plain.rk4, "strang4": plain.strang4}
    for n in o.of(1, 100, 1000, 10_000):
        axons = Axons(n)
        theirs = [axons.plain(reference(o.steps, form)) for form in forms.values()]
        times = o.times(*theirs, *(axons.own(ours(o.steps, solver=name)) for name in names))
        their, own = dict(zip(forms, times)), dict(zip(names, times[len(forms) :]))
        for name, time in own.items():
            known = their.get(name)
            row = {"solver": name, "n": n, "M/s": n * o.steps / time / 1e6}
            row |= {"over strang": time / own["strang"], "plain's": known and known / their["strang"]}
            yield row | {"speed": known and known / time}


def sweep(o: Sizes) -> Rows:
    for n in o.of(1000, 10_000, 100_000):
        axons = Axons(n)
        over = {"stimulus": axons.I}
        run = lambda: hh.sweep(hh.squid_axon(), over=over, t1=o.steps * DT, dt=DT).reduced
        theirs, own = o.times(axons.plain(reference(o.steps)), run)
        rates = {"plain M/s": n * o.steps / theirs / 1e6, "sweep M/s": n * o.steps / own / 1e6}
        yield {"n": n} | rates | {"speed": theirs / own}


def overhead(o: Sizes) -> Rows:
    axon, ten = hh.squid_axon(), hh.Network(hh.squid_axon(), n=10)
    two: dict[str, Any] = dict(t1=2 * DT, dt=DT)
    over = {"stimulus": jnp.linspace(0.0, 1.0, 10)}
    calls = {
        "simulate, one neuron": lambda: hh.simulate(axon, stimulus=10.0, **two).V,
        "simulate, ten neurons": lambda: hh.simulate(ten, stimulus=10.0, **two).V,
        "sweep of ten points": lambda: hh.sweep(axon, over=over, **two).reduced,
    }
    for name, call in calls.items():
        yield {"call": name, "ms": ms(*o.times(call))}


def alone(code: str) -> float:
    """The number that a new Python prints."""
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent, capture_output=True)
    return float(done.stdout.split()[-1])


FIRST = """
import time, hhjax as hh
{cores}
start = time.process_time()
hh.simulate(hh.squid_axon(), t1=100.0, dt=0.025, stimulus=10.0).V.block_until_ready()
print(time.process_time() - start)
"""


def compiling(o: Sizes) -> Rows:
    now = clock()

    def first(call: Callable[[], Any], anew: bool = True) -> float:
        if anew:
            jax.clear_caches()
        start = now()
        jax.block_until_ready(call())
        return now() - start

    for n in o.of(1, 1000):
        for name, way in {"forward": lambda f: f, "gradient": gradient}.items():
            best = [float("inf")] * 2
            for _ in range(min(o.repeats, 3)):
                axons = Axons(n)
                calls = axons.plain(way(reference(o.steps))), axons.own(way(ours(o.steps)))
                best = [min(before, first(call)) for before, call in zip(best, calls)]
            row = {"first call": name, "n": n, "plain s": best[0], "s": best[1]}
            yield row | {"over plain": best[1] / best[0]}
    hh.simulate(hh.squid_axon(), t1=o.steps * DT, dt=DT)
    for name in ("connor_stevens", "pospischil_rs", "wang_buzsaki")[: 1 if o.quick else 3]:
        neuron = hh.neurons.by_name[name]()
        took = first(lambda: hh.simulate(neuron, t1=o.steps * DT, dt=DT, stimulus=10.0).V, anew=False)
        yield {"first call": name, "n": 1, "plain s": None, "s": took}
    code = FIRST.format(cores=f"hh.use_cores({o.cores})" if o.cores else "")
    took = min(alone(code) for _ in range(min(o.repeats, 3)))
    yield {"first call": "in a new process", "n": 1, "plain s": None, "s": took}


def importing(o: Sizes) -> Rows:
    code = "import resource, {}; print(resource.getrusage(resource.RUSAGE_SELF).ru_utime)"
    names = ("diffrax", "hhjax") if o.quick else ("jax", "diffrax", "hhjax")
    each = [[alone(code.format(name)) for name in names] for _ in range(o.repeats)]
    best = dict(zip(names, map(min, zip(*each))))
    for name, took in best.items():
        yield {"import": name, "user s": took, "over diffrax": took / best["diffrax"]}


PARTS: dict[str, Callable[[Sizes], Rows]] = {
    "forward": forward,
    "gradient": gradients,
    "outputs": outputs,
    "jacobian": jacobian,
    "memory": memory,
    "channels": channels,
    "networks": networks,
    "solvers": solvers,
    "sweep": sweep,
    "overhead": overhead,
    "compile": compiling,
    "import": importing,
}


def cell(x: Any) -> str:
    if isinstance(x, float):
        return f"{x:,.0f}" if abs(x) >= 1000 else f"{x:#.3g}".rstrip(".")
    return "" if x is None else str(x)


def show(title: str, rows: Rows) -> list[dict[str, Any]]:
    """Print the rows as they come."""
    shown: list[dict[str, Any]] = []
    widths: dict[str, int] = {}
    for row in rows:
        if not shown:
            widths = {key: max(len(key), 22 if isinstance(x, str) else 8) + 2 for key, x in row.items()}
            print(f"\n{title}\n" + "".join(key.rjust(width) for key, width in widths.items()))
        print("".join(cell(row.get(key)).rjust(width) for key, width in widths.items()), flush=True)
        shown.append(row)
    return shown


def main(argv: list[str] | None = None) -> dict:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=list(PARTS))
    parser.add_argument("--cores", type=int, default=0, help="call hh.use_cores with this number first")
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--neurons", type=int, nargs="+", help="in place of each part's own numbers")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", help='also write the figures to this file, or print them if it is "-"')
    parser.add_argument("--quick", action="store_true", help="sizes at which the times mean nothing")
    options = parser.parse_args(argv)
    sizes = Sizes(options.steps, options.repeats, 1.0, options.neurons, options.quick, options.cores)
    if options.quick:
        sizes = sizes._replace(steps=20, repeats=1, seconds=0.0, neurons=options.neurons or [2])
    with pinned():
        if options.cores:
            hh.use_cores(options.cores)
        about = machine() | {"hh.use_cores": str(options.cores or "not called")}
        print("\n".join(f"{key}: {value}" for key, value in about.items()))
        figures = {"machine": about, "steps": sizes.steps}
        for name in options.parts:
            title = f"{name}, {sizes.steps} steps unless said otherwise"
            figures[name] = show(title, PARTS[name](sizes))
            if options.json != "-":
                save(figures, options.json)  # what there is, should it be cut off
    return save(figures, options.json)


if __name__ == "__main__":
    main()
