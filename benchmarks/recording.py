"""How well a fitted model predicts the other half of a real recording.

    python benchmarks/recording.py RECORDING.abf [--json FILE]

Fits every second sweep and predicts the rest. The model has the currents of a cortical cell (sodium
with slow inactivation, delayed and slow potassium, leak) and an inward rectifier, with kinetics that
are free and start where earlier fits of the same half ended. The leak drifts: every fitted sweep gets
one of its own (the sweeps are neurons of an uncoupled network), a predicted sweep its neighbours' mean.

1. All parameters, with V held near the data by nudging at 1/ms: the residual is then the current
   that the model lacks, and has a good slope whatever the parameters.
2. The leak reversal of every sweep from a table of the free-running model's spike counts.
3. All parameters of the free-running model, by spike times and counts in each part of the command
   and by V below threshold. Steps 2 and 3 come twice.

Printed besides: how far apart two recorded sweeps are, of the cell itself.
"""

import argparse
import functools
import time
from typing import Any, ClassVar

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from measure import machine, save

import hhjax as hh

Number = Float[Array, "..."]


class Sodium(hh.Channel):
    """Transient sodium current with fast (h) and slow (s) inactivation."""

    Vm: Number = hh.param(-17.0)
    km: Number = hh.param(7.4)
    tm: Number = hh.param(0.055)
    Vh: Number = hh.param(-20.5)
    kh: Number = hh.param(11.6)
    th_open: Number = hh.param(0.11)
    th: Number = hh.param(45.0)
    Vs: Number = hh.param(-36.0)
    ks: Number = hh.param(5.1)
    ts: Number = hh.param(62.0)
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


def start(sweeps: int) -> tuple[hh.Network, hh.Electrode]:
    late = np.clip(np.linspace(-0.6, 1.0, sweeps), 0.0, None)
    channels = {
        "na": Sodium(g=7.5, E=70.0),
        "k": Potassium(g=30.0, E=-56.0, V_half=29.0, k=15.0, tau=0.7, slower=2.5),
        "m": OneGate(g=0.044, E=-61.0, V_half=-32.0, k=4.1, tau=150.0),
        "h": OneGate(g=0.012, E=-67.0, V_half=-63.0, k=-3.2, tau=75.0),
        "leak": hh.Leak(g=0.008 + 0.018 * late, E=-12.0 - 50.0 * late),
    }
    return hh.Network(hh.Neuron(channels), n=sweeps), hh.Electrode(area=3900.0)


BOUNDS = {
    "na": {"g": (1.0, 500.0), "E": (35.0, 80.0), "Vm": (-45.0, 10.0), "km": (1.5, 8.0), "tm": (0.05, 1.5),
           "Vh": (-80.0, -20.0), "kh": (2.0, 15.0), "th_open": (0.1, 5.0), "th": (0.5, 100.0),
           "Vs": (-60.0, 20.0), "ks": (5.0, 20.0), "ts": (60.0, 2000.0)},
    "k": {"g": (0.3, 300.0), "E": (-110.0, -55.0), "V_half": (-50.0, 30.0), "k": (2.0, 25.0),
          "tau": (0.1, 10.0), "slower": (0.2, 50.0)},
    "m": {"g": (1e-4, 2.0), "E": (-110.0, -60.0), "V_half": (-65.0, 30.0), "k": (4.0, 20.0),
          "tau": (10.0, 1500.0)},
    "h": {"g": (1e-5, 0.2), "E": (-110.0, -20.0), "V_half": (-120.0, -60.0), "k": (-20.0, -2.0),
          "tau": (1.0, 1000.0)},
    "leak": {"g": (0.002, 0.2), "E": (-90.0, 40.0)},
    "electrode": {"area": (1500.0, 12_000.0)},
}  # fmt: skip


def free(network: hh.Network, electrode: hh.Electrode) -> dict:
    parts = network.neuron.channels | {"electrode": electrode}
    return {(name, field): getattr(parts[name], field) for name, fields in BOUNDS.items() for field in fields}


def near_spikes(ts: Array, V: Array, before: float = 2.5, after: float = 5.0) -> np.ndarray:
    """Which samples of V, (times, n), are part of a spike, with `before` and `after` it (ms)."""
    near = np.zeros(V.shape, bool)
    for neuron, times in enumerate(np.asarray(hh.spike_times(ts, V))):
        for spike in times[~np.isnan(times)]:
            near[(ts > spike - before) & (ts < spike + after), neuron] = True
    return near


def with_spike_counts(model: Any, data: hh.Recording, shifts: np.ndarray) -> Any:
    """The model with the leak reversal of each sweep shifted (mV) to the right number of spikes."""
    network, electrode = model
    reversal = lambda n: n.neuron.channels["leak"].E
    moved = lambda shift: (eqx.tree_at(reversal, network, reversal(network) + shift), electrode)
    off = []
    for shift in shifts:
        score = hh.score(hh.replay(moved(shift), data, dt=data.dt), data)
        off.append(np.abs(score.spikes_model - score.spikes_data)[0] + 0.1 * np.abs(shift))
    return moved(jnp.asarray(shifts[np.argmin(off, axis=0)]))


def below_threshold(ts: Array, V: Array, target: Array) -> Array:
    """Residuals in units of 4 mV, of V up to about −28 mV."""
    cut = lambda V: -28.0 - 5.0 * jax.nn.softplus((-28.0 - V) / 5.0)
    error = (cut(V) - cut(target)) / 4.0
    return jnp.ravel(error) / np.sqrt(error.size)


def between(network: hh.Network) -> hh.Network:
    """The network of the sweeps that follow the fitted ones: leaks halfway to the next."""
    after = lambda x: jnp.append((x[:-1] + x[1:]) / 2, x[-1])
    leak = network.neuron.channels["leak"]
    return eqx.tree_at(lambda n: n.neuron.channels["leak"], network, hh.Leak(after(leak.g), after(leak.E)))


def scores(V: Any, data: hh.Recording, title: str) -> dict[str, list]:
    """Print and return how V compares with the recorded sweeps."""
    score = hh.score(V, data)
    off = np.abs(score.spikes_model - score.spikes_data)
    near = off <= np.maximum(2, 0.2 * score.spikes_data)
    away = hh.score(V, data, before=150.0, after=150.0).rmse.mean()
    print(f"{title}\n{score}")
    print(
        f"mean RMSE below threshold {score.rmse.mean():.2f} mV ({away:.2f} mV 150 ms and more from spikes), "
        f"mean Γ {np.nanmean(score.coincidence):.2f}, "
        f"spike count within 2 or 20 % in {near.sum()} of {near.size} sweeps\n"
    )
    names = ("spikes_data", "spikes_model", "coincidence", "rmse")
    return {name: getattr(score, name)[0].tolist() for name in names}


def main(argv: list[str] | None = None) -> dict:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("recording")
    parser.add_argument("--json", help="also write the figures to this file")
    options = parser.parse_args(argv)
    jax.config.update("jax_enable_x64", True)
    about = machine() | {"dtype": "float64"}
    print("\n".join(f"{key}: {value}" for key, value in about.items()), "\n")

    recording = hh.recordings.load(options.recording).every(2)
    odd, even = recording[1::2].as_neurons(), recording[::2].as_neurons()
    common = {
        "where": free,
        "bounds": {(name, field): pair for name, pairs in BOUNDS.items() for field, pair in pairs.items()},
        "dt": recording.dt,
        "v0": even.V[0, 0][None],
        "progress_meter": diffrax.TextProgressMeter(minimum_increase=0.1),
    }
    begun = time.perf_counter()
    sd = np.where(near_spikes(even.ts, even.V[0]), 4.0, 0.4)  # mV
    trace, nudging = hh.losses.Trace(sd=sd), hh.Nudging(rates=(1.0,), steps=12)
    guided = hh.fit(start(len(recording[::2])), even, loss=trace, guide=nudging, steps=0, **common)
    changes = np.flatnonzero(np.abs(np.diff(recording.current, axis=1)).max(axis=0) > 1.0)
    edges = [0.0, *recording.ts[changes[np.diff(changes, prepend=-100) > 10]], recording.ts[-1]]
    spikes = np.asarray(hh.spike_times(even.ts, even.V[0]))
    loss = hh.losses.as_loss(below_threshold)
    for begin, end in zip(edges, edges[1:]):
        part = {"start": float(begin), "stop": float(end)}
        share = np.sum((spikes >= begin) & (spikes < end)) / np.sum(~np.isnan(spikes))
        loss += share * hh.losses.SpikeTimes(sd=5.0, drift=0.2, **part)
        loss += 0.1 * hh.losses.Feature(functools.partial(hh.features.spike_count, **part))
    model, runs = guided.model, guided.runs
    for _ in range(2):
        model = with_spike_counts(model, even, np.arange(-4.0, 15.0))
        fit = hh.fit(model, even, loss=loss, guide=None, steps=15, **common)
        model, runs = fit.model, runs + fit.runs
    taken = time.perf_counter() - begun
    print(fit.summary(), f"\n{runs} forward runs, {taken:.0f} s\n")

    network, electrode = model
    run = lambda network, data: hh.replay((network, electrode), data, dt=recording.dt)
    fitted, predicted = run(network, even), run(between(network), odd)
    figures = {"machine": about, "runs": runs, "seconds": taken}
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
