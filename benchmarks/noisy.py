"""How well `hh.fit` recovers a cell with noise, from data in which no spike comes when the model's would.

    python benchmarks/noisy.py --json benchmarks/noisy.json

A fast-spiking cell (`pospischil_fs`) at 3 µA/cm² for 500 ms, sampled every 0.025 ms, with current noise;
gNa, gK, gL and C are free. Nine cases, three strengths of noise by three draws, with the default objective:
estimates in standard errors from the truth, and spikes of the free-running fit. Then, with
`hh.losses.Prediction()` and with and without noise of readings, the share of estimates within 1.96 and 3
standard errors over draws of the noise, and how much noise was found.
"""

import argparse
import sys
import time

import diffrax
import jax
import numpy as np
from measure import machine, save

import hhjax as hh
from hhjax.neurons import pospischil_fs

QUIET = diffrax.NoProgressMeter()
NAMES = ["na.g", "k.g", "leak.g", "C"]
TRUTH = np.array([float(hh.get(pospischil_fs(), name)) for name in NAMES])


def recording(sigma: float, seed: int, t1: float, reading: float = 0.0) -> hh.Recording:
    noisy = hh.Network(pospischil_fs(), noise=hh.CurrentNoise(sigma))
    run = hh.simulate(noisy, t1=t1, dt=0.025, stimulus=3.0, key=jax.random.key(seed))
    V = np.asarray(run.V[:, 0]) + reading * np.random.default_rng(seed).standard_normal(run.ts.size)
    return hh.Recording(run.ts, np.full(V.size, 3.0), V)


def fitted(data: hh.Recording, loss: hh.losses.AbstractLoss | None = None) -> hh.Fit:
    return hh.fit(pospischil_fs(), data, where=NAMES, loss=loss, progress_meter=QUIET)


def cases(t1: float, draws: int) -> list[dict]:
    found = []
    for sigma in (0.5, 1.0, 2.0):
        for seed in range(draws):
            data = recording(sigma, seed, t1)
            began = time.process_time()
            fit = fitted(data)
            spikes = hh.score(fit.V[..., 0], data)
            found.append(
                {
                    "σ, µA/cm²·√ms": sigma,
                    "objective": fit.objective,
                    "standard errors from the truth": z(fit).round(2).tolist(),
                    "spikes (data)": int(spikes.spikes_data[0, 0]),
                    "spikes (model)": int(spikes.spikes_model[0, 0]),
                    "noise found, mV/√ms": round(float(fit.noise.process[0]), 3),
                    "processor s": round(time.process_time() - began, 1),
                }
            )
            print(found[-1], flush=True)
    return found


def z(fit: hh.Fit) -> np.ndarray:
    return (fit.values - TRUTH) / fit.standard_errors


def coverage(t1: float, draws: int, reading: float) -> dict:
    loss = hh.losses.Prediction()
    fits = [fitted(recording(1.0, 100 + seed, t1, reading), loss) for seed in range(draws)]
    off = np.array([z(fit) for fit in fits])
    share = lambda most: np.mean(np.abs(off) < most, axis=0).round(3).tolist()
    noise = np.array([[fit.noise.process[0], fit.noise.reading[0]] for fit in fits])
    found = {
        "draws": draws,
        "noise of a reading, mV": reading,
        "parameters": NAMES,
        "within 1.96 standard errors": share(1.96),
        "within 3": share(3.0),
        "mean distance in standard errors": off.mean(axis=0).round(2).tolist(),
        "spread in standard errors": off.std(axis=0).round(2).tolist(),
        "noise found, mV/√ms and mV": noise.mean(axis=0).round(3).tolist(),
    }
    print(found, flush=True)
    return found


def main(arguments: list[str] | None = None) -> dict:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=50)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json")
    options = parser.parse_args(arguments)
    jax.config.update("jax_enable_x64", True)
    t1, few = (60.0, 1) if options.quick else (500.0, 3)
    figures = {"machine": machine(), "nine cases": cases(t1, few)}
    figures["coverage"] = [coverage(t1, options.draws, reading) for reading in (0.0, 0.3)]
    return save(figures, options.json)


if __name__ == "__main__":
    main(sys.argv[1:])
