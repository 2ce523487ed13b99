"""How well a fitted model predicts the other half of a real recording.

    python benchmarks/recording.py RECORDING.abf [--json FILE] [--seed NUMBER]

Fits every second sweep and predicts the rest. The model has the currents of a cortical cell (sodium with
slow inactivation, delayed, slow and after-spike potassium, leak) and an inward rectifier, in a membrane of
free area and with free kinetics. The cell drifts: a potassium leak grows with the number of the sweep, by a
law of four numbers for all sweeps. No sweep has a parameter of its own; each starts at its first V.

The sweeps are the neurons of one uncoupled network. `hh.fit` fits its free-running voltage below threshold,
spike times and spike counts. It starts where earlier searches on the same half ended, displaced by 0.1 %:
several seeds show how far figures are chance, and cannot show that a fit from elsewhere would get there.

Printed besides: how far apart two recorded sweeps are, of the cell itself. Were they independent draws about
one course, the best prediction, that course, would be 1/√2 of this away, and a model that fires like the
cell, but at times of its own, as far away as they are.
"""

import argparse
import functools
import time
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
}  # fmt: skip


def cell(values: np.ndarray, sweeps: np.ndarray) -> tuple[hh.Network, hh.Electrode]:
    """The cell in every sweep: neurons that differ only in the number of the sweep."""
    numbers = iter(values.tolist())
    parts = {name: {field: next(numbers) for field in fields} for name, fields in FREE.items()}
    electrode = hh.Electrode(**parts.pop("electrode"))
    parts["drift"]["sweep"] = sweeps
    channels = {name: CHANNELS[name](**fields) for name, fields in parts.items()}
    return hh.Network(hh.Neuron(channels), n=len(sweeps)), electrode


def free(network: hh.Network, electrode: hh.Electrode) -> dict:
    parts = network.neuron.channels | {"electrode": electrode}
    return {f"{name}.{field}": getattr(parts[name], field) for name in FREE for field in FREE[name]}


def below_threshold(ts: Array, V: Array, target: Array) -> Array:
    """Residuals in units of 4 mV, of V up to about −28 mV."""
    cut = lambda V: -28.0 - 5.0 * jax.nn.softplus((-28.0 - V) / 5.0)
    error = (cut(V) - cut(target)) / 4.0
    return jnp.ravel(error) / np.sqrt(error.size)


def misfit(data: hh.Recording) -> hh.losses.AbstractLoss:
    """V below threshold, and spike times and counts in each part of the command.

    A part begins 5 ms after the current changes, since a spike on its way belongs to the part before. Spike
    times count by the part's share of all spikes.
    """
    changes = np.flatnonzero(np.abs(np.diff(data.current[0], axis=0)).max(axis=1) > 1.0)
    edges = [0.0, *(data.ts[changes[np.diff(changes, prepend=-100) > 10]] + 5.0), data.ts[-1]]
    spikes = np.asarray(hh.spike_times(data.ts, data.V[0]))
    loss = hh.losses.as_loss(below_threshold)
    for begin, end in zip(edges, edges[1:]):
        part = {"start": float(begin), "stop": float(end)}
        share = np.sum((spikes >= begin) & (spikes < end)) / np.sum(~np.isnan(spikes))
        loss += share * hh.losses.SpikeTimes(sd=5.0, drift=0.2, **part)
        loss += 0.1 * hh.losses.Feature(functools.partial(hh.features.spike_count, **part))
    return loss


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
    parser.add_argument("--seed", type=int, default=0, help="of the displacement of the start")
    options = parser.parse_args(argv)
    jax.config.update("jax_enable_x64", True)
    about = machine()
    print("\n".join(f"{key}: {value}" for key, value in about.items()), "\n")

    recording = hh.recordings.load(options.recording).every(2)
    odd, even = recording[1::2].as_neurons(), recording[::2].as_neurons()
    sweeps = np.arange(float(len(recording)))
    start = np.array([value for fields in FREE.values() for _, value, _ in fields.values()])
    start *= 1 + 1e-3 * np.random.default_rng(options.seed).uniform(-1, 1, start.size)
    begun = time.perf_counter()
    fit = hh.fit(
        cell(start, sweeps[::2]),
        even,
        where=free,
        bounds={f"{name}.{field}": FREE[name][field][::2] for name in FREE for field in FREE[name]},
        loss=misfit(even),
        guide=None,
        steps=15,
        dt=recording.dt,
        v0=even.V[0, 0][None],
        progress_meter=diffrax.TextProgressMeter(minimum_increase=0.1),
    )
    taken = time.perf_counter() - begun
    print(fit.summary(), f"\n{fit.runs} forward runs, {taken:.0f} s\n")

    fitted = hh.replay(fit.model, even, dt=recording.dt)
    predicted = hh.replay(cell(fit.values, sweeps[1::2]), odd, dt=recording.dt)
    figures = {"machine": about, "seed": options.seed, "runs": fit.runs, "seconds": taken}
    figures["parameters"] = dict(zip(fit.names, fit.values.tolist()))
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
