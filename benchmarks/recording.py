"""How well a fitted model predicts the other half of a real recording.

    python benchmarks/recording.py RECORDING.abf [--json FILE]

Fits every second sweep and predicts the rest. The model is that of a cortical cell with the
spike currents of Traub and Miles and the slow potassium current of Pospischil et al. (2008);
the speed of the spike currents, the membrane area and a current offset are free besides. Over a
long recording the leak drifts: every fitted sweep gets a leak conductance of its own (the sweeps
are the neurons of an uncoupled network), and a predicted sweep the mean of its neighbours'.

Trains of spikes without a fixed phase cannot be compared sample by sample. The loss is V with
what is above −28 mV cut off smoothly, and the smooth spike count of each part of the command;
nudging leads the fit and is not followed by a free-running stage.
"""

import argparse
import time

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from measure import machine, save

import hhjax as hh


class Sodium(hh.channels.TraubMilesSodium):
    """With a speed of its own, for a cell at room temperature."""

    speed: Float[Array, "..."] = hh.param(2.7, positive=True)

    def temperature_factor(self) -> Array:
        return self.speed


class Potassium(hh.channels.TraubMilesPotassium):
    """With a speed of its own, for a cell at room temperature."""

    speed: Float[Array, "..."] = hh.param(0.2, positive=True)

    def temperature_factor(self) -> Array:
        return self.speed


def start(sweeps: int) -> tuple[hh.Network, hh.Electrode]:
    channels = {
        "na": Sodium(g=8.0, E=65.0, VT=-39.0),
        "k": Potassium(g=1500.0, E=-95.0, VT=-15.0),
        "m": hh.channels.MCurrent(g=0.06, E=-90.0, tau_max=500.0),
        "leak": hh.Leak(g=jnp.linspace(0.012, 0.045, sweeps), E=-90.0),
    }
    return hh.Network(hh.Neuron(channels), n=sweeps), hh.Electrode(area=2300.0, offset=1.9)


def free(network: hh.Network, electrode: hh.Electrode) -> dict:
    """What is free, each with its bounds in BOUNDS."""
    na, k, m, leak = (network.neuron.channels[name] for name in ("na", "k", "m", "leak"))
    return {
        "gNa": na.g, "ENa": na.E, "VTNa": na.VT, "speedNa": na.speed,
        "gK": k.g, "EK": k.E, "VTK": k.VT, "speedK": k.speed,
        "gM": m.g, "tauM": m.tau_max, "gL": leak.g, "EL": leak.E,
        "offset": electrode.offset, "area": electrode.area,
    }  # fmt: skip


BOUNDS = {
    "gNa": (2.0, 1000.0), "ENa": (40.0, 80.0), "VTNa": (-80.0, 0.0), "speedNa": (0.1, 6.0),
    "gK": (0.3, 3000.0), "EK": (-110.0, -80.0), "VTK": (-80.0, 20.0), "speedK": (0.03, 5.0),
    "gM": (1e-4, 1.0), "tauM": (100.0, 3000.0), "gL": (0.004, 0.5), "EL": (-100.0, -60.0),
    "offset": (-2.0, 3.0), "area": (1000.0, 10_000.0),
}  # fmt: skip


def below_threshold(ts: Array, V: Array, target: Array) -> Array:
    """Residuals in units of 3 mV, of V up to about −28 mV."""
    cut = lambda V: -28.0 - 5.0 * jax.nn.softplus((-28.0 - V) / 5.0)
    error = (cut(V) - cut(target)) / 3.0
    return jnp.ravel(error) / np.sqrt(error.size)


def spike_counts(edges: list[float]) -> hh.losses.AbstractLoss:
    """One smooth count for each part between `edges` (ms), to within one spike."""

    def count(begin: float, end: float) -> hh.losses.Feature:
        keep = lambda ts, V: jnp.where(((ts >= begin) & (ts < end))[None, :, None], V, -100.0)
        return hh.losses.Feature(lambda ts, V: hh.features.spike_count(ts, keep(ts, V)))

    parts = [count(*pair) for pair in zip(edges, edges[1:])]
    return sum(parts[1:], start=parts[0])


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
    steps = np.flatnonzero(np.diff(recording.current, axis=1).any(axis=0))
    edges = [0.0, *recording.ts[steps[np.diff(steps, prepend=-100) > 10]].tolist(), float(recording.ts[-1])]
    model = start(even.V.shape[2])
    begun = time.perf_counter()
    fit = hh.fit(
        model,
        even,
        where=free,
        bounds=BOUNDS,
        loss=hh.losses.as_loss(below_threshold) + spike_counts(edges),
        guide=hh.Nudging(rates=(1.0, 0.3, 0.1, 0.05), steps=30),
        steps=0,
        dt=recording.dt,
        v0=even.V[0, 0][None],
        progress_meter=diffrax.TextProgressMeter(),
    )
    taken = time.perf_counter() - begun
    print(fit.summary(), f"\n{fit.runs} forward runs, {taken:.0f} s\n")

    network, electrode = fit.model
    leak = network.neuron.channels["leak"].g
    between = jnp.interp(jnp.arange(odd.V.shape[2]) + 0.5, jnp.arange(leak.size), leak)
    others = eqx.tree_at(lambda n: n.neuron.channels["leak"].g, network, between)
    figures = {"machine": about, "runs": fit.runs, "seconds": taken}
    for name, data, network in (("fitted", even, network), ("held out", odd, others)):
        score = hh.score(hh.replay((network, electrode), data, dt=recording.dt), data)
        off = np.abs(score.spikes_model - score.spikes_data)
        near = off <= np.maximum(2, 0.2 * score.spikes_data)
        print(f"{name} sweeps\n{score}")
        print(
            f"mean RMSE below threshold {score.rmse.mean():.2f} mV, "
            f"mean Γ {np.nanmean(score.coincidence):.2f}, "
        )
        print(f"spike count within 2 or 20 % in {near.sum()} of {near.size} sweeps\n")
        figures[name] = {
            "spikes_data": score.spikes_data.tolist(),
            "spikes_model": score.spikes_model.tolist(),
            "coincidence": score.coincidence.tolist(),
            "rmse": score.rmse.tolist(),
        }
    return save(figures, options.json)


if __name__ == "__main__":
    main()
