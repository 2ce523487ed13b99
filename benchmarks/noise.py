"""Cost of noise: every model as a multiple of the run without noise, and of random numbers.

    python benchmarks/noise.py [--steps 4000] [--neurons 10000] [--counted-steps 400] [--json FILE]

Each network of squid axons, at currents spread over 0 to 20 µA/cm², is run from call to
finished result, compiled before, nothing saved but the final state, in float32, by
`strang_maruyama` at dt = 0.01 ms; the multiple is of `strang` on the network without noise.
With jax's own keys (Threefry) and with `hh.fast_key`. Channels are counted in `tau_leap` and
`exact` (600 sodium and 180 potassium channels), which run for fewer steps, from 5 ms on, when
the neurons have begun to fire. For figures of one core, pin the process to it, for
example with `taskset -c 0`.
"""

import argparse

import diffrax
import jax
import jax.numpy as jnp
from measure import best_time, machine, save

import hhjax as hh
from hhjax._base.random import increments

DT = 0.01
COUNT = {"na": 600.0, "k": 180.0}
KEYS = {"threefry": jax.random.key(0), "fast_key": hh.fast_key(0)}
COUNTED = ("tau_leap", "exact")


def networks(n: int, names: list[str]) -> dict[str, hh.Network]:
    """The network without noise, then with each kind of it."""
    axon, plain = hh.squid_axon(), hh.Network(hh.squid_axon(), n=n)
    kinds = {
        "none": plain,
        "current": hh.Network(axon, n=n, noise=hh.CurrentNoise(2.0)),
        "coloured current": hh.Network(axon, n=n, noise=hh.OUCurrent(tau=5.0, sigma=2.0)),
        "conductance, shielded": hh.with_channel_noise(
            plain, model="conductance", count=COUNT, shielding=True
        ),
    }
    for model in ("subunit", "conductance", "ou_conductance", *COUNTED):
        kinds[model] = hh.with_channel_noise(plain, model=model, count=COUNT)
    return {name: kinds[name] for name in names}


NAMES = ["none", "current", "coloured current", "subunit", "ou_conductance"]
NAMES += ["conductance", "conductance, shielded", *COUNTED]


def ns_per_neuron_step(network: hh.Network, key: jax.Array | None, steps: int, repeats: int) -> float:
    """Time per neuron and step, ns."""
    currents = jnp.linspace(0.0, 20.0, network.n)
    saveat = diffrax.SaveAt(t1=True, fn=hh.save_V)
    options = dict(dt=DT, stimulus=currents, saveat=saveat, key=key)
    y0 = None
    if any(channel.jumps for channel in network.neuron.noisy_channels.values()):
        y0 = hh.simulate(network, t1=5.0, **options).final

    def run() -> hh.Solution:
        return hh.simulate(network, t1=steps * DT, y0=y0, **options)

    return best_time(run, repeats) / (network.n * steps) * 1e9


def ns_per_number(key: jax.Array, n: int, repeats: int) -> float:
    """Time per normal random number of a run, drawn 14 by n at a time, ns."""
    steps = 50

    @jax.jit
    def total(keys: jax.Array) -> jax.Array:
        draw = lambda sum, key: (sum + increments(key, (14, n), jnp.float32(1.0)), None)
        return jax.lax.scan(draw, jnp.zeros((14, n), jnp.float32), keys)[0]

    keys = jax.random.split(key, steps)
    return best_time(lambda: total(keys), repeats) / (steps * 14 * n) * 1e9


def main(argv: list[str] | None = None) -> dict:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--counted-steps", type=int, default=400)
    parser.add_argument("--neurons", type=int, default=10_000)
    parser.add_argument("--kinds", nargs="+", default=NAMES, choices=NAMES)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", help="also write the figures to this file")
    options = parser.parse_args(argv)
    about = machine()
    print("\n".join(f"{key}: {value}" for key, value in about.items()))
    numbers = {name: ns_per_number(key, options.neurons, options.repeats) for name, key in KEYS.items()}
    print("\nns per normal random number:", {k: round(x, 2) for k, x in numbers.items()})
    print(f"\nns per neuron and step, n = {options.neurons} (and as a multiple of the run without noise)\n")
    print("noise".rjust(22), *(name.rjust(16) for name in KEYS))
    names = ["none", *(name for name in options.kinds if name != "none")]
    times: dict[str, dict[str, float]] = {}
    for name, network in networks(options.neurons, names).items():
        steps, repeats = options.steps, options.repeats
        if name in COUNTED:
            steps, repeats = options.counted_steps, 1
        keys = {"threefry": None} if name == "none" else KEYS
        times[name] = {k: ns_per_neuron_step(network, key, steps, repeats) for k, key in keys.items()}
        base = times["none"]["threefry"]
        cells = [f"{t:.1f} ({t / base:.1f})" for t in times[name].values()]
        print(name.rjust(22), *(cell.rjust(16) for cell in cells), flush=True)
    figures = {"machine": about, "neurons": options.neurons, "numbers": numbers, "times": times}
    return save(figures, options.json)


if __name__ == "__main__":
    main()
