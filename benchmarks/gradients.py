"""Cost of derivatives: time and memory of value-and-gradient over those of the forward run, and the time of
a Jacobian by seven numbers in forward mode.

    python benchmarks/gradients.py [--steps 4000] [--neurons 1 100 1000 10000] [--json FILE]

The loss is the mean V over neurons and time, which keeps what is saved small; the gradient
is by all parameters of all channels and the capacitance, in float32; the Jacobian is that of
the mean V in time by the three g, the three E and C. Times are the best of several runs from
call to finished result, compiled before; memory is what XLA sets aside for temporaries. For
figures of one core, pin the process to it, for example with `taskset -c 0`.
"""

import argparse
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from measure import best_time, machine, save

import hhjax as hh


def seven(network: hh.Network) -> list[jax.Array]:
    na, k, leak = (network.neuron.channels[name] for name in ("na", "k", "leak"))
    return [na.g, k.g, leak.g, na.E, k.E, leak.E, network.neuron.C]


def cost(solver: str, n: int, steps: int, repeats: int) -> dict[str, float]:
    """Forward, gradient and Jacobian: seconds and bytes."""
    network = hh.Network(hh.squid_axon(), n=n)
    currents = jnp.linspace(5.0, 20.0, n)
    saveat = diffrax.SaveAt(steps=True, fn=lambda t, y, args: y.V.mean())

    def trace(network: hh.Network, **options: Any) -> jax.Array:
        run = {"t1": steps * 0.025, "dt": 0.025, "stimulus": currents, "solver": solver, "saveat": saveat}
        return hh.simulate(network, **run, throw=False, **options).ys

    def loss(network: hh.Network) -> jax.Array:
        return trace(network).mean()

    def jacobian(network: hh.Network) -> tuple[jax.Array, jax.Array]:
        def of_numbers(numbers: list[jax.Array]) -> tuple[jax.Array, jax.Array]:
            ys = trace(eqx.tree_at(seven, network, numbers), adjoint=diffrax.ForwardMode())
            return ys, ys

        return jax.jacfwd(of_numbers, has_aux=True)(seven(network))

    figures = {}
    functions = {"forward": loss, "gradient": jax.value_and_grad(loss), "jacobian": jacobian}
    for name, function in functions.items():
        compiled = jax.jit(function).lower(network).compile()
        figures[f"{name}_s"] = best_time(lambda: compiled(network), repeats)
        figures[f"{name}_bytes"] = compiled.memory_analysis().temp_size_in_bytes
    return figures


def main(argv: list[str] | None = None) -> dict:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--neurons", type=int, nargs="+", default=[1, 100, 1000, 10_000])
    parser.add_argument("--solvers", nargs="+", default=["strang", "ind_exp_euler", "rk4"])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", help="also write the figures to this file")
    options = parser.parse_args(argv)
    about = machine()
    print("\n".join(f"{key}: {value}" for key, value in about.items()))
    print(
        "\nsolver               n   forward (ms)   gradient (ms)   ratio   extra memory (MB)   Jacobian ratio"
    )
    rows = []
    for solver in options.solvers:
        for n in options.neurons:
            figures = cost(solver, n, options.steps, options.repeats)
            rows.append({"solver": solver, "n": n} | figures)
            forward, gradient = figures["forward_s"], figures["gradient_s"]
            extra = (figures["gradient_bytes"] - figures["forward_bytes"]) / 1e6
            print(
                f"{solver:14}{n:8}{1e3 * forward:15.2f}{1e3 * gradient:16.2f}"
                f"{gradient / forward:8.2f}{extra:20.1f}{figures['jacobian_s'] / forward:18.2f}",
                flush=True,
            )
    figures = {"machine": about, "steps": options.steps, "rows": rows}
    return save(figures, options.json)


if __name__ == "__main__":
    main()
