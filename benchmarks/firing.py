"""Firing with every model of channel noise, beside an independent exact table.

    python benchmarks/firing.py [--models exact tau_leap ...] [--cases 600:0 6000:0 600:10]
        [--seconds 60] [--json FILE]

Rates and the variability (CV) of the intervals between spikes of squid axons with so many sodium
channels, and 0.3 times as many of potassium, at so much current (µA/cm²), over that many seconds of
simulated time in all; at two time steps, of which the second is half of the first. The table is
`tests/data/channel_noise.json`, which says how it was made. `off` counts combined standard errors.
Float32, `strang_maruyama`. Not a measure of speed.
"""

import argparse
import json
from pathlib import Path

import diffrax
import numpy as np
from measure import machine, save

import hhjax as hh

TABLE = json.loads((Path(__file__).parents[1] / "tests" / "data" / "channel_noise.json").read_text())
DTS = {"exact": 0.05, "tau_leap": 0.05, "conductance": 0.02, "ou_conductance": 0.02, "subunit": 0.02}
NEURONS, SKIP = 50, 100.0  # ms at the beginning that do not count


def fire(network: hh.Network, t1: float, dt: float, stimulus: float, seed: int) -> tuple:
    """Rate of each neuron (Hz) and all intervals between spikes (ms), from `SKIP` to t1.

    A spike is an upward crossing of 0 mV, armed again below −40 mV, as in the table.
    """
    every = round(0.2 / dt)
    saveat = diffrax.SaveAt(steps=every, fn=hh.save_V)
    run = hh.simulate(network, t1=t1, dt=dt, stimulus=stimulus, key=hh.fast_key(seed), saveat=saveat)
    V = np.asarray(run.V)
    times: list[list[float]] = [[] for _ in range(network.n)]
    armed = V[0] < 0
    for i, v in enumerate(V):
        for j in np.nonzero(armed & (v >= 0))[0]:
            if i * every * dt > SKIP:
                times[j].append(i * every * dt)
        armed = (armed & (v < 0)) | (v < -40)
    rates = np.array([len(t) for t in times]) / (t1 - SKIP) * 1000
    return rates, np.concatenate([np.diff(t) for t in times])


def standard_error(rates: np.ndarray) -> float:
    return rates.std(ddof=1) / np.sqrt(rates.size)


def variability(isi: np.ndarray) -> float:
    """The coefficient of variation, NaN of fewer than two intervals."""
    return isi.std() / isi.mean() if isi.size > 1 else np.nan


def figures(model: str, sodium: float, current: float, dt: float, seconds: float, seed: int) -> dict:
    """Rate (Hz) and CV with standard errors, over neurons and by bootstrap."""
    axons = hh.Network(hh.squid_axon(), n=NEURONS)
    noisy = hh.with_channel_noise(axons, model=model, count={"na": sodium, "k": 0.3 * sodium})
    rates, isi = fire(noisy, SKIP + round(1000 * seconds / NEURONS), dt, current, seed)
    rng = np.random.default_rng(0)
    spread = np.std([variability(rng.choice(isi, isi.size)) for _ in range(300)])
    return {
        "rate_Hz": rates.mean(),
        "rate_se_Hz": standard_error(rates),
        "cv_isi": variability(isi),
        "cv_se": spread,
    }


def main(argv: list[str] | None = None) -> dict:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--models", nargs="+", default=list(DTS), choices=list(DTS))
    parser.add_argument("--cases", nargs="+", default=["600:0", "6000:0", "600:10"])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--json", help="also write the figures to this file")
    options = parser.parse_args(argv)
    print("sodium   current           model      dt       rate (Hz)     off            CV     off")
    rows = []
    for case in options.cases:
        sodium, current = map(float, case.split(":"))
        exact = TABLE["exact_markov"][f"NNa{sodium:g}_I{current:g}"]
        at = f"{sodium:6g}{current:10g}"
        print(
            f"{at}{'table':>16}{'':8}{exact['rate_Hz']:9.2f} ± {exact['rate_se_Hz']:.2f}{'':8}"
            f"{exact['cv_isi']:8.3f} ± {exact['cv_se']:.3f}"
        )
        for model in options.models:
            for k, dt in enumerate((DTS[model], DTS[model] / 2)):
                got = figures(model, sodium, current, dt, options.seconds, seed=k)
                off = {
                    name: (got[name] - exact[name]) / np.hypot(got[error], exact[error])
                    for name, error in (("rate_Hz", "rate_se_Hz"), ("cv_isi", "cv_se"))
                }
                rows.append({"model": model, "sodium": sodium, "current": current, "dt": dt} | got)
                print(
                    f"{at}{model:>16}{dt:8.3f}{got['rate_Hz']:9.2f} ± {got['rate_se_Hz']:.2f}"
                    f"{off['rate_Hz']:8.1f}{got['cv_isi']:8.3f} ± {got['cv_se']:.3f}{off['cv_isi']:8.1f}",
                    flush=True,
                )
    return save({"machine": machine(), "seconds": options.seconds, "rows": rows}, options.json)


if __name__ == "__main__":
    main()
