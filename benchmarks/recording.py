"""How well a fitted model predicts the other half of a real recording.

    python benchmarks/recording.py RECORDING.abf [--json FILE] [--seed NUMBER] [--generations NUMBER]

Fits every second sweep and predicts the rest. The model has the currents of a cortical cell (sodium with
slow inactivation, delayed, slow and after-spike potassium, leak) and an inward rectifier, in a membrane of
free area and with free kinetics. The cell drifts: a potassium leak grows with the number of the sweep, by a
law of four numbers for all sweeps. No sweep has a parameter of its own; each starts at its first V.

Least squares stop where spikes come and go. An evolution strategy (CMA-ES, N. Hansen, arXiv:1604.00772)
does not: the candidates times the sweeps are the neurons of one uncoupled network, and the centre of the
last generation, not its best candidate, is the result. It starts where earlier searches on the same half
ended, displaced by 0.1 %. This and its draws depend on the seed: several show how far figures are chance.

Printed besides: how far apart two recorded sweeps are, of the cell itself. Were they independent draws about
one course, the best prediction, that course, would be 1/√2 of this away, and a model that fires like the
cell, but at times of its own, as far away as they are.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any, ClassVar

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from measure import machine, save

import hhjax as hh

Number = Float[Array, "..."]


class Sodium(hh.Channel):
    """Transient sodium current with fast (h) and slow (s) inactivation."""

    Vm: Number = hh.param()
    km: Number = hh.param()
    tm: Number = hh.param()
    Vh: Number = hh.param()
    kh: Number = hh.param()
    th_open: Number = hh.param()
    th: Number = hh.param()
    Vs: Number = hh.param()
    ks: Number = hh.param()
    ts: Number = hh.param()
    gates: ClassVar = {"m": 3, "h": 1, "s": 1}

    def rates(self, V: Array) -> dict[str, hh.InfTau]:
        h = jax.nn.sigmoid((self.Vh - V) / self.kh)
        return {
            "m": hh.InfTau(jax.nn.sigmoid((V - self.Vm) / self.km), self.tm + 0 * V),
            "h": hh.InfTau(h, self.th_open + self.th * h),
            "s": hh.InfTau(jax.nn.sigmoid((self.Vs - V) / self.ks), self.ts + 0 * V),
        }


class OneGate(hh.Channel):
    """One gate, opened by depolarisation for k > 0 and else closed by it."""

    V_half: Number = hh.param()
    k: Number = hh.param()
    tau: Number = hh.param()  # open
    slower: Number = hh.param(0.0)  # by so many ms closed
    gates: ClassVar = {"p": 1}

    def rates(self, V: Array) -> dict[str, hh.InfTau]:
        p = jax.nn.sigmoid((V - self.V_half) / self.k)
        return {"p": hh.InfTau(p, self.tau + self.slower * (1 - p))}


class Potassium(OneGate):
    gates: ClassVar = {"p": 2}


class Drift(hh.Channel):
    """A leak that begins at one sweep, over `width` sweeps, and then grows by g with each."""

    sweep: Number = hh.param()
    begin: Number = hh.param()
    width: Number = hh.param()

    def rates(self, V: Array) -> dict[str, hh.InfTau]:
        return {}

    def open_fraction(self, V: Array, gates: dict[str, Array]) -> Array:
        return self.width * jax.nn.softplus((self.sweep - self.begin) / self.width)


CHANNELS = {"na": Sodium, "k": Potassium, "m": OneGate, "ahp": OneGate, "h": OneGate}
CHANNELS |= {"leak": hh.Leak, "drift": Drift}
# The least value, the start and the greatest value.
FREE = {
    "na": {"g": (1.0, 12.1, 500.0), "E": (35.0, 76.82, 90.0), "Vm": (-45.0, -19.37, 10.0),
        "km": (1.5, 7.99, 12.0), "tm": (0.02, 0.06082, 1.5), "Vh": (-80.0, -18.65, -5.0),
        "kh": (2.0, 6.571, 15.0), "th_open": (0.02, 0.1081, 5.0), "th": (0.5, 59.83, 100.0),
        "Vs": (-60.0, -35.52, 20.0), "ks": (3.0, 3.761, 20.0), "ts": (30.0, 70.35, 3000.0)},
    "k": {"g": (0.3, 15.24, 300.0), "E": (-110.0, -52.07, -50.0), "V_half": (-50.0, 30.6, 50.0),
        "k": (2.0, 22.45, 25.0), "tau": (0.1, 0.2233, 10.0), "slower": (0.2, 2.777, 50.0)},
    "m": {"g": (0.0001, 0.02212, 2.0), "E": (-110.0, -62.21, -50.0), "V_half": (-65.0, -40.63, 30.0),
        "k": (2.5, 3.385, 20.0), "tau": (10.0, 157.6, 1500.0)},
    "ahp": {"g": (0.0001, 0.01883, 5.0), "E": (-110.0, -77.22, -60.0), "V_half": (-45.0, 0.00448, 30.0),
        "k": (2.0, 5.125, 20.0), "tau": (30.0, 524.3, 3000.0)},
    "h": {"g": (1e-05, 0.0116, 0.2), "E": (-110.0, -60.13, -20.0), "V_half": (-120.0, -59.2, -40.0),
        "k": (-20.0, -2.677, -1.5), "tau": (1.0, 125.7, 1000.0)},
    "leak": {"g": (0.002, 0.003903, 0.1), "E": (-90.0, 37.88, 60.0)},
    "drift": {"g": (0.0001, 0.002059, 0.02), "E": (-110.0, -82.88, -50.0), "begin": (-5.0, 4.869, 15.0),
        "width": (0.1, 0.9591, 5.0)},
    "electrode": {"area": (1500.0, 4262.0, 12000.0)},
    "gates": {"shift": (-20.0, -0.1991, 20.0)},
}  # fmt: skip
LOW, START, HIGH = np.array([triple for fields in FREE.values() for triple in fields.values()]).T


def build(values: Array, sweeps: np.ndarray) -> tuple[hh.Network, hh.Electrode, Array]:
    """Every candidate, a row of `values`, in every sweep, as uncoupled neurons; and `shift`."""
    columns = iter(jnp.repeat(values.T, len(sweeps), axis=1))
    parts = {name: {field: next(columns) for field in fields} for name, fields in FREE.items()}
    electrode, shift = hh.Electrode(**parts.pop("electrode")), parts.pop("gates")["shift"]
    parts["drift"]["sweep"] = jnp.tile(jnp.asarray(sweeps, values.dtype), len(values))
    channels = {name: CHANNELS[name](**fields) for name, fields in parts.items()}
    return hh.Network(hh.Neuron(channels), n=electrode.area.size), electrode, shift


def runner(data: hh.Recording, sweeps: np.ndarray) -> Callable:
    """A function from candidates to V, mV, (times, candidates × sweeps).

    A sweep starts at the recorded V, somewhere between two spikes; the gates start at rest `shift` above it.
    """

    @jax.jit
    def run(values: Array) -> Array:
        network, electrode, shift = build(values, sweeps)
        tile = lambda x: jnp.tile(jnp.asarray(x, values.dtype), len(values))
        v0 = tile(data.V[0, 0])
        return hh.simulate(
            network,
            t1=data.dt * (len(data.ts) - 1),
            dt=data.dt,
            stimulus=electrode.stimulus(hh.Sampled(data.ts, tile(data.current[0]))),
            y0=network.init(v0 + shift).replace_V(v0),
            saveat=diffrax.SaveAt(t0=True, steps=1, fn=hh.save_V),
            throw=False,
        ).V

    return run


def misfit(data: hh.Recording, edges: list[float]) -> Callable:
    """A function from the V of candidates to how far each is from the data, about 1 where it is near.

    It adds the mean square of the difference of V up to about −28 mV, in units of 4 mV; 0.2 times that of
    the number of spikes in each part of the command; and 0.3 times that of spike times in each part, first
    with first, in units of 4 ms and a tenth of the time since the part began, none counted as more than 9.
    """
    ts, target = jnp.asarray(data.ts), jnp.asarray(data.V[0])
    parts = list(zip(edges, edges[1:]))
    cut = lambda V: -28.0 - 5.0 * jax.nn.softplus((-28.0 - V) / 5.0)

    def times(V: Array) -> list[Array]:
        found = hh.spike_times(ts, V, max_spikes=52)
        of = lambda begin, end: jnp.sort(jnp.where((found >= begin) & (found < end), found, jnp.nan), axis=-1)
        return [of(begin, end)[:, :20] for begin, end in parts]

    below, spikes = cut(target), times(target)
    total = sum((~jnp.isnan(x)).sum() for x in spikes)

    @jax.jit
    def of_candidates(V: Array) -> Array:
        split = lambda x, axis: x.reshape(x.shape[:axis] + (-1, target.shape[1]) + x.shape[axis + 1 :])
        V = jnp.nan_to_num(V)
        loss = ((split(cut(V), 1) - below[:, None]) ** 2).mean(axis=(0, 2)) / 16
        for mine, others, (begin, end) in zip(times(V), spikes, parts):
            mine, at_end = split(mine, 0), lambda x: jnp.where(jnp.isnan(x), end, x)
            error = (at_end(mine) - at_end(others)) / (4.0 + 0.1 * (at_end(others) - begin))
            loss += 0.3 * (error**2 / (1 + error**2 / 9)).sum(axis=(1, 2)) / total
            off = (~jnp.isnan(mine)).sum(-1) - (~jnp.isnan(others)).sum(-1)
            loss += 0.2 * (off**2).mean(-1)
        return loss

    return of_candidates


def evolve(fn: Callable, x: np.ndarray, sd: float, generations: int, size: int, rng: Any) -> np.ndarray:
    """The centre of the last generation of a CMA-ES that lowers fn, of shape (size, P) → (size,)."""
    P, parents = len(x), size // 2
    weights = np.log(parents + 0.5) - np.log(np.arange(1, parents + 1))
    weights /= weights.sum()
    mass = 1 / (weights**2).sum()
    c_path, c_sd = (4 + mass / P) / (P + 4 + 2 * mass / P), (mass + 2) / (P + mass + 5)
    c_one, c_many = 2 / ((P + 1.3) ** 2 + mass), 2 * (mass - 2 + 1 / mass) / ((P + 2) ** 2 + mass)
    covariance, path, path_sd = np.eye(P), np.zeros(P), np.zeros(P)
    for generation in range(generations):
        variances, axes = np.linalg.eigh(covariance)
        root = np.sqrt(np.maximum(variances, 1e-12))
        steps = (rng.standard_normal((size, P)) * root) @ axes.T
        losses = np.nan_to_num(fn(x + sd * steps), nan=np.inf)
        best = steps[np.argsort(losses)[:parents]]
        mean = weights @ best
        x = x + sd * mean
        path_sd = (1 - c_sd) * path_sd + np.sqrt(c_sd * (2 - c_sd) * mass) * (axes @ ((axes.T @ mean) / root))
        path = (1 - c_path) * path + np.sqrt(c_path * (2 - c_path) * mass) * mean
        covariance *= 1 - c_one - c_many
        covariance += c_one * np.outer(path, path) + c_many * (best.T * weights) @ best
        sd *= np.exp(c_sd / (1 + c_sd) * (np.linalg.norm(path_sd) / np.sqrt(P) - 1))
        if generation % 10 == 9:
            print(f"generation {generation + 1}: median misfit {np.median(losses):.3f}", flush=True)
    return x


def scores(V: Any, data: hh.Recording, title: str) -> dict[str, Any]:
    """Print and return how V compares with the recorded sweeps."""
    score = hh.score(V, data)
    off = np.abs(score.spikes_model - score.spikes_data)
    near = off <= np.maximum(2, 0.2 * score.spikes_data)
    away = hh.score(V, data, before=150.0, after=150.0).rmse.mean()
    print(f"{title}\n{score}")
    print(
        f"mean RMSE below threshold {score.rmse.mean():.2f} mV, 2 ms before to 5 ms after spikes left out "
        f"({away:.2f} mV with 150 ms before and after them left out), "
        f"mean Γ {np.nanmean(score.coincidence):.2f}, "
        f"spike count within 2 or 20 % in {near.sum()} of {near.size} sweeps\n"
    )
    names = ("spikes_data", "spikes_model", "coincidence", "rmse")
    return {name: getattr(score, name)[0].tolist() for name in names} | {
        "rmse 150 ms from spikes": float(away)
    }


def main(argv: list[str] | None = None) -> dict:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("recording")
    parser.add_argument("--json", help="also write the figures to this file")
    parser.add_argument("--seed", type=int, default=0, help="of the start and of the search's draws")
    parser.add_argument("--generations", type=int, default=100, help="of 40 candidates")
    options = parser.parse_args(argv)
    about = machine()
    print("\n".join(f"{key}: {value}" for key, value in about.items()), "\n")

    recording = hh.recordings.load(options.recording).every(2)
    odd, even = recording[1::2].as_neurons(), recording[::2].as_neurons()
    sweeps, size, rng = np.arange(len(recording)), 40, np.random.default_rng(options.seed)
    run_even, run_odd = runner(even, sweeps[::2]), runner(odd, sweeps[1::2])
    changes = np.flatnonzero(np.abs(np.diff(recording.current, axis=1)).max(axis=0) > 1.0)
    edges = [0.0, *recording.ts[changes[np.diff(changes, prepend=-100) > 10]], recording.ts[-1]]

    begun = time.perf_counter()
    loss = misfit(even, [float(edge) for edge in edges])
    values = lambda x: LOW + (HIGH - LOW) / (1 + np.exp(-x))
    start = START * (1 + 1e-3 * rng.uniform(-1, 1, START.size))
    x = np.log((start - LOW) / (HIGH - start))
    fn = lambda x: np.asarray(loss(run_even(jnp.asarray(values(x), jnp.float32))))
    found = values(evolve(fn, x, 0.02, options.generations, size, rng))
    taken = time.perf_counter() - begun
    named = dict(zip([f"{name}.{field}" for name in FREE for field in FREE[name]], found.tolist()))
    print("\n".join(f"{name:15} {value:10.4g}" for name, value in named.items()))
    print(f"\n{options.generations * size} candidates, {taken:.0f} s\n")

    best = jnp.asarray(found[None], jnp.float32)
    fitted, predicted = run_even(best)[None], run_odd(best)[None]
    figures = {"machine": about, "seed": options.seed, "parameters": named, "seconds": taken}
    figures["fitted"] = scores(fitted, even, "fitted sweeps")
    figures["held out"] = scores(predicted, odd, "held-out sweeps")
    same = odd.current == even.current
    there = hh.Recording(odd.ts, odd.current, np.where(same, odd.V, np.nan), "pA")
    traces = {"the sweep before": np.where(same, even.V, -100.0), "the model": predicted}
    figures["same current"] = {name: hh.score(V, there).rmse[0].tolist() for name, V in traces.items()}
    print("Mean RMSE (mV) of held-out sweeps where the sweep before them has the same current:")
    print(", ".join(f"{name} {np.mean(rmse):.2f}" for name, rmse in figures["same current"].items()))
    return save(figures, options.json)


if __name__ == "__main__":
    main()
