"""How well, and at what cost, `hh.fit` recovers parameters.

    python benchmarks/fitting.py [recover] [network] [--starts 100] [--draws 50] [--json FILE]

`recover`: 200 ms of a squid axon in a fluctuating current with 1 mV of noise on V, 8 unknowns
(gNa, gK, gL, ENa, EK, EL, C and a current offset), every start drawn within 50 % of the truth;
then the spread of the estimates over draws of the noise, beside their standard errors. EL and
the offset enter the equations through gL·EL + offset alone, so that sum is what is judged.
`network`: the 12 off-diagonal entries of E of 4 coupled neurons from their voltages.

Counted are forward runs: a Jacobian counts one for the run and one for each unknown it
pushes through. All in float64.
"""

import argparse
import time

import diffrax
import jax
import numpy as np
from measure import machine, save

import hhjax as hh

NOISE = 1.0  # mV
TS = np.arange(2001) * 0.1  # ms
QUIET = diffrax.NoProgressMeter()


def fluctuating(rng: np.random.Generator, mean: float, sd: float, tau: float = 5.0) -> np.ndarray:
    """An Ornstein-Uhlenbeck current (µA/cm²) at the times TS."""
    kept = np.exp(-(TS[1] - TS[0]) / tau)
    kicks = sd * np.sqrt(1 - kept**2) * rng.standard_normal(TS.size)
    I = np.empty(TS.size)
    I[0] = kicks[0]
    for i in range(1, TS.size):
        I[i] = kept * I[i - 1] + kicks[i]
    return mean + I


def observed(network: hh.Network, I: np.ndarray, rng: np.random.Generator, noise: float) -> hh.Recording:
    """What is seen of a run from rest: V every 0.1 ms with white noise on it."""
    saveat = diffrax.SaveAt(t0=True, steps=4, fn=hh.save_V)
    V = hh.simulate(network, t1=TS[-1], dt=0.025, stimulus=hh.Sampled(TS, I), saveat=saveat).V
    V = V + noise * rng.standard_normal(V.shape)
    return hh.Recording(TS, I[None], V[None] if network.n > 1 else V[None, :, 0])


def eight(neuron: hh.Neuron, electrode: hh.Electrode) -> dict:
    """gNa, gK, gL, ENa, EK, EL, C and the offset."""
    na, k, leak = (neuron.channels[name] for name in ("na", "k", "leak"))
    free = {"gNa": na.g, "gK": k.g, "gL": leak.g, "ENa": na.E, "EK": k.E, "EL": leak.E}
    return free | {"C": neuron.C, "offset": electrode.offset}


def identifiable(neuron: hh.Neuron, electrode: hh.Electrode) -> dict:
    """The seven numbers that the data determine."""
    free = eight(neuron, electrode)
    return {k: free[k] for k in ("gNa", "gK", "gL", "ENa", "EK", "C")} | {
        "gL·EL + offset": free["gL"] * free["EL"] + free["offset"]
    }


def estimates(fit: hh.Fit) -> np.ndarray:
    """Value and standard error of each identifiable number, shape (7, 2)."""
    names = identifiable(*fit.model)
    return np.array([fit.derive(lambda *model: identifiable(*model)[name]) for name in names])


def recover(starts: int, draws: int) -> dict:
    """Proof 1."""
    truth = (hh.squid_axon(), hh.Electrode())
    network, rng = hh.Network(truth[0]), np.random.default_rng(0)
    I = fluctuating(rng, mean=8.0, sd=8.0)
    # The starts: within 50 % of every parameter, the offset within half a µA/cm².
    values = np.array([float(x) for x in eight(*truth).values()])
    draw = rng.uniform(-0.5, 0.5, (starts, values.size))
    before = values + draw * np.where(values == 0, 1.0, np.abs(values))
    options = {"where": eight, "progress_meter": QUIET}
    begun = time.perf_counter()
    fit = hh.fit(truth, observed(network, I, rng, NOISE), starts=before, **options)
    taken = time.perf_counter() - begun
    true = np.array([float(x) for x in identifiable(*truth).values()])
    found = estimates(fit)
    reached = int((fit.starts.loss < 1.001 * fit.loss).sum())
    print(fit.summary())
    print(f"\n{reached} of {starts} starts reached the optimum; {fit.runs} forward runs, {taken:.0f} s.\n")

    each = []
    for _ in range(draws):
        each.append(estimates(hh.fit(truth, observed(network, I, rng, NOISE), guide=None, **options)))
    each = np.array(each).reshape(draws, *found.shape)
    print("                       truth     estimate   std. error   off by   spread / std. error")
    rows = []
    for k, name in enumerate(identifiable(*truth)):
        value, error = found[k]
        ratio = each[:, k, 0].std(ddof=1) / each[:, k, 1].mean() if draws > 1 else float("nan")
        off = (value - true[k]) / error
        rows.append({"name": name, "truth": true[k], "estimate": value, "error": error, "spread": ratio})
        print(f"{name:18}{true[k]:12.5g} {value:12.6g} {error:12.2g} {off:8.2f} {ratio:12.2f}")
    return {
        "starts": starts,
        "reached": reached,
        "runs": fit.runs,
        "seconds": taken,
        "draws": draws,
        "rows": rows,
    }


def network(starts: int) -> dict:
    """Proof 2."""
    rng, n = np.random.default_rng(1), 4
    E = rng.uniform(0.02, 0.3, (n, n)) * (1 - np.eye(n))
    build = lambda E: hh.Network(hh.squid_axon(), n=n, coupling=hh.GradedSynapse(E))
    I = np.stack([fluctuating(rng, 5.0, 6.0) for _ in range(n)], axis=-1)
    data = observed(build(E), I, rng, NOISE)
    off_diagonal = ~np.eye(n, dtype=bool)
    begun = time.perf_counter()
    fit = hh.fit(
        build(0.1 * off_diagonal),
        data,
        where=lambda network: network.coupling.weights,
        mask=off_diagonal,
        bounds=(-0.01, 2.0),
        starts=starts,
        key=jax.random.key(0),
        progress_meter=QUIET,
    )
    taken = time.perf_counter() - begun
    off = (fit.values - E[off_diagonal]) / fit.standard_errors
    print(fit.summary())
    print(f"\nOff by {np.abs(off).max():.2f} standard errors at most, {np.sqrt((off**2).mean()):.2f} RMS;")
    print(f"entries of E off by {np.abs(fit.values - E[off_diagonal]).max():.2g} mS/cm² at most.")
    print(f"{fit.runs} forward runs, {taken:.0f} s.")
    return {"starts": starts, "runs": fit.runs, "seconds": taken, "off": off.tolist()}


def main(argv: list[str] | None = None) -> dict:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("what", nargs="*", default=["recover", "network"], metavar="recover, network")
    parser.add_argument("--starts", type=int, default=100)
    parser.add_argument("--draws", type=int, default=50)
    parser.add_argument("--json", help="also write the figures to this file")
    options = parser.parse_args(argv)
    if unknown := set(options.what) - {"recover", "network"}:
        parser.error(f"`what` must be recover, network or both, got {', '.join(unknown)}.")
    with jax.enable_x64(True):
        about = machine()
        print("\n".join(f"{key}: {value}" for key, value in about.items()), "\n")
        figures = {"machine": about}
        if "recover" in options.what:
            figures["recover"] = recover(options.starts, options.draws)
        if "network" in options.what:
            figures["network"] = network(min(options.starts, 4))
    return save(figures, options.json)


if __name__ == "__main__":
    main()
