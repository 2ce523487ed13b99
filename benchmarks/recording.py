"""How well a fitted model predicts the other half of a real recording.

    python benchmarks/recording.py RECORDING [--json FILE] [--seed NUMBER] [--every 2]

Fits every second sweep of steps of current, from `hh.guess` alone, and predicts the rest. Printed are, of the
sweeps that were not fitted, spike counts, Γ, half-widths and the explained variance of V below −25 mV over
all sweeps of a window; and how near every sweep is to its neighbour where the two have the same current.
"""

import argparse
import time
from typing import Any

import diffrax
import jax
import numpy as np
from measure import machine, save

import hhjax as hh

BELOW = -25.0  # mV


def explained(V: np.ndarray, data: hh.Recording, start: float, stop: float) -> float:
    """The share of the variance of V below threshold in a window that the model explains, of all sweeps."""
    inside = (data.ts >= start) & (data.ts < stop)
    ours, theirs = V[:, inside], np.asarray(data.V)[:, inside]
    both = (ours < BELOW) & (theirs < BELOW)
    return 1 - float(np.mean((ours - theirs)[both] ** 2) / theirs[both].var())


def judged(model: Any, data: hh.Recording) -> dict[str, Any]:
    """The figures of a model on some sweeps, printed too."""
    V = hh.replay(model, data, dt=data.dt)
    score = hh.score(V, data)
    print(score)
    of = lambda V: hh.features.extract(data.ts, V[..., None], start=start, stop=stop)["half_width"][:, 0]
    start, stop = data.features().start, data.features().stop
    counts = score.spikes_data[:, 0], score.spikes_model[:, 0]
    ratios = np.asarray(of(V[..., 0]) / of(np.asarray(data.V)))
    return {
        "spikes, data": counts[0].tolist(),
        "spikes, model": counts[1].tolist(),
        "within 2 or 20 %": int((np.abs(counts[0] - counts[1]) <= np.maximum(2, 0.2 * counts[0])).sum()),
        "mean Γ": float(np.nanmean(score.coincidence)),
        "half-width over that of the data": [round(x, 3) for x in ratios[np.isfinite(ratios)].tolist()],
        "RMSE below threshold, mV": float(score.rmse.mean()),
        "explained variance by window": [round(explained(V[..., 0], data, *w), 3) for w in score.windows],
    }


def neighbours(one: hh.Recording, other: hh.Recording) -> float:
    """RMSE (mV) of V below threshold of one sweep by its neighbour, where both have the same current."""
    same = np.asarray(one.current) == np.asarray(other.current)
    there = hh.Recording(one.ts, one.current, np.where(same, one.V, np.nan), one.current_unit)
    return float(hh.score(np.where(same, other.V, -100.0), there).rmse.mean())


def main(argv: list[str] | None = None) -> dict:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("recording")
    parser.add_argument("--json", help="also write the figures to this file")
    parser.add_argument("--seed", type=int, default=0, help="of the search")
    parser.add_argument("--every", type=int, default=2, help="take every k-th sample")
    parser.add_argument("--generations", type=int, default=250)
    options = parser.parse_args(argv)
    hh.use_cores()
    about = machine()
    print("\n".join(f"{key}: {value}" for key, value in about.items()), "\n")

    recording = hh.recordings.load(options.recording).every(options.every)
    fitted, held_out = recording[::2], recording[1::2]
    begun = time.perf_counter()
    found = hh.guess(fitted, hh.adapting())
    fit = hh.fit(
        found.model,
        fitted,
        where=found.free,
        loss=hh.losses.Firing(),
        guide=hh.Evolution(options.generations),
        steps=40,
        dt=recording.dt,
        key=jax.random.key(options.seed),
        progress_meter=diffrax.TextProgressMeter(minimum_increase=0.1),
    )
    figures: dict[str, Any] = {"machine": about, "seed": options.seed, "runs": fit.runs}
    figures["seconds"] = time.perf_counter() - begun
    print(found, fit, sep="\n\n")
    print(f"\n{fit.runs} forward runs, {figures['seconds']:.0f} s\n")
    figures["parameters"] = dict(zip(fit.names, np.asarray(fit.values, float).tolist()))
    for name, part in (("fitted", fitted), ("held out", held_out)):
        print(f"{name}:")
        figures[name] = judged(fit.model, part)
        print("\n".join(f"{key}: {value}" for key, value in figures[name].items()), "\n")
    count = min(len(fitted), len(held_out))
    figures["the sweep before, RMSE mV"] = neighbours(held_out[:count], fitted[:count])
    print(f"V of the sweep before is off by {figures['the sweep before, RMSE mV']:.2f} mV")
    return save(figures, options.json)


if __name__ == "__main__":
    main()
