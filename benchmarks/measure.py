"""What a benchmark's figures were measured on, and how it takes a time."""

import json
import os
import platform
import time
from collections.abc import Callable
from typing import Any

import diffrax
import equinox
import jax

import hhjax as hh


def machine() -> dict[str, str]:
    """What the figures were measured on."""
    name = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo") as info:
            name = next(line.split(":")[1].strip() for line in info if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return {
        "device": f"{jax.devices()[0].platform} ({jax.devices()[0].device_kind})",
        "cpu": name,
        "cores usable": str(
            len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        ),
        "python": platform.python_version(),
        "jax": jax.__version__,
        "equinox": equinox.__version__,
        "diffrax": diffrax.__version__,
        "hhjax": hh.__version__,
        "dtype": "float32",
        "XLA_FLAGS": os.environ.get("XLA_FLAGS", ""),
    }


def clock() -> Callable[[], float]:
    """Processor time where the process has one core, which other work does not lengthen, else wall time."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return time.process_time if cores == 1 else time.perf_counter


def best_time(run: Callable[[], Any], repeats: int) -> float:
    """Seconds of the fastest of several runs, from call to finished result, compiled before.

    The best, since other work on a shared machine only ever makes a run slower.
    """
    jax.block_until_ready(run())
    times, now = [], clock()
    for _ in range(repeats):
        start = now()
        jax.block_until_ready(run())
        times.append(now() - start)
    return min(times)


def save(figures: Any, path: str | None) -> Any:
    """Write the figures to a JSON file, if there is a path; hand them on."""
    if path:
        with open(path, "w") as file:
            json.dump(figures, file, indent=1)
    return figures
