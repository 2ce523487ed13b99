"""The limit of one core: the same work as a C loop, compiled on the spot.

    python benchmarks/limit.py [--steps 4000] [--neurons 10000]

Textbook rates, and rates that share exponentials (e^(−V/80) squared thrice), with the system's
C compiler at its fastest (`-O3 -march=native -ffast-math`, 512-bit vectors).
"""

import argparse
import json
import shutil
import subprocess
import tempfile
from pathlib import Path

SOURCE = Path(__file__).with_name("limit.c")


def million_neuron_steps_per_second(n: int, steps: int, repeats: int, *flags: str) -> float | None:
    """`None` where there is no C compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "limit"
        wide = ["-O3", "-march=native", "-mprefer-vector-width=512", "-ffast-math"]
        for options in (wide, ["-O3", "-ffast-math"]):  # the second on other machines
            done = subprocess.run(
                [compiler, *options, *flags, str(SOURCE), "-o", str(program), "-lm"], capture_output=True
            )
            if done.returncode == 0:
                break
        else:
            return None
        out = subprocess.run(
            [str(program), str(n), str(steps), str(repeats)], capture_output=True, text=True
        ).stdout
    return -(-n // 64) * 64 * steps / min(map(float, out.split())) / 1e6


def main(argv: list[str] | None = None) -> dict:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--neurons", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args(argv)
    size = (options.neurons, options.steps, options.repeats)
    rates = {
        "C, textbook rates": million_neuron_steps_per_second(*size),
        "C, shared exponentials": million_neuron_steps_per_second(*size, "-DSHARED"),
    }
    print(json.dumps(rates))
    return rates


if __name__ == "__main__":
    main()
