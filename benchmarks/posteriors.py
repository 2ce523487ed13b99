"""Whether the intervals that follow a fit hold the truth as often as they say, and what a posterior costs.

    python benchmarks/posteriors.py --json benchmarks/posteriors.json

Simulated data sets of a membrane in a current that swings: 40 ms, 1 mV of noise, free leak conductance,
reversal, capacitance and initial potential. For each a fit, its posterior, the profile of one parameter and
the fit's own standard errors; counted is how often 90 % intervals hold the truth. Then five parameters of a
squid axon in 60 ms, by effective samples a second of one core.
"""

import argparse
import json
import platform
import sys
import time
import warnings
from pathlib import Path

import diffrax
import jax
import numpy as np

import hhjax as hh

QUIET = {"progress_meter": diffrax.NoProgressMeter()}
TRUTH = {"leak.g": 0.2, "leak.E": -60.0, "C": 1.2}
FIVE = ["na.g", "k.g", "leak.g", "leak.E", "C"]


def recording(neuron, ts, current, rng, dt):
    every = diffrax.SaveAt(t0=True, steps=round((ts[1] - ts[0]) / dt), fn=hh.save_V)
    run = hh.simulate(neuron, t1=ts[-1], dt=dt, stimulus=hh.Sampled(ts, current), saveat=every)
    return np.asarray(run.V[:, 0]) + rng.standard_normal(ts.size)


def coverage(sets, samples, profiled):
    """How often 90 % intervals hold the truth, by the way they were made."""
    ts = np.arange(0.0, 40.1, 0.5)
    current = 2.0 * np.sin(ts / 3) * (ts > 5)
    truth = hh.Neuron({"leak": hh.Leak(g=0.2, E=-60.0)}, C=1.2)
    start = hh.Neuron({"leak": hh.Leak(g=0.3, E=-55.0)}, C=1.0)
    bounds = {"leak.g": (0.02, 2.0), "leak.E": (-100.0, -20.0), "C": (0.2, 5.0)}
    inside = {"posterior": [], "standard errors": []} | ({"profile of leak.g": []} if profiled else {})
    worst, diverged = 0.0, 0
    values = np.array(list(TRUTH.values()))
    for k in range(sets):
        V = recording(truth, ts, current, np.random.default_rng(k), 0.25)
        fit = hh.fit(start, (ts, current, V), where=list(TRUTH), bounds=bounds, guide=None, dt=0.25, **QUIET)
        posterior = fit.sample(jax.random.key(k), samples=samples, **QUIET)
        low, high = posterior.interval(0.9).T
        inside["posterior"].append((low < values) & (values < high))
        inside["standard errors"].append(np.abs(fit.values - values) < 1.645 * fit.standard_errors)
        if profiled:
            low, high = fit.profile("leak.g", level=0.9).interval
            inside["profile of leak.g"].append([low < values[0] < high])
        worst, diverged = max(worst, posterior.r_hat.max()), diverged + int(posterior.diverged.sum())
    held = {way: np.mean(x, axis=0).round(3).tolist() for way, x in inside.items()}
    return {"data sets": sets, "parameters": list(TRUTH), "90 % intervals that hold the truth": held} | {
        "worst R-hat": round(float(worst), 4),
        "diverged": diverged,
    }


def cost(samples):
    """Effective samples for each second of processor time, compilation left out."""
    ts = np.arange(0.0, 60.05, 0.1)
    current, axon = 10 + 8 * np.sin(ts / 4), hh.squid_axon()
    V = recording(axon, ts, current, np.random.default_rng(0), 0.025)
    fit = hh.fit(axon, (ts, current, V), where=FIVE, guide=None, v0=-65.0, dt=0.05, **QUIET)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a run that is only to compile
        fit.sample(jax.random.key(0), samples=50, warmup=0, **QUIET)
    began = time.process_time()
    posterior = fit.sample(jax.random.key(1), samples=samples, **QUIET)
    seconds = time.process_time() - began
    return {
        "parameters": FIVE,
        "samples": samples,
        "gradients": posterior.gradients,
        "processor s": round(seconds, 1),
        "effective samples": np.round(posterior.effective).tolist(),
        "effective samples a processor s": round(float(posterior.effective.min()) / seconds, 1),
        "R-hat": posterior.r_hat.round(4).tolist(),
    }


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", type=int, default=400)
    parser.add_argument("--samples", type=int, default=500)
    parser.add_argument("--quick", action="store_true", help="posteriors and standard errors alone")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(arguments)
    jax.config.update("jax_enable_x64", True)
    figures = {"machine": f"{platform.machine()}, jax {jax.__version__}, {jax.default_backend()}, float64"}
    figures["coverage"] = coverage(given.sets, given.samples, not given.quick)
    if not given.quick:
        figures["cost"] = cost(given.samples)
    print(json.dumps(figures, indent=2))
    if given.json:
        given.json.write_text(json.dumps(figures, indent=2) + "\n")
    return figures


if __name__ == "__main__":
    hh.use_cores(1)
    main(sys.argv[1:])
