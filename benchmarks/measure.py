"""What a benchmark's figures were measured on, and how it takes a time."""

import contextlib
import json
import os
import platform
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import diffrax
import equinox
import jax
import jax.numpy as jnp

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
        "cores usable": str(cores_usable()),
        "python": platform.python_version(),
        "jax": jax.__version__,
        "equinox": equinox.__version__,
        "diffrax": diffrax.__version__,
        "hhjax": hh.__version__,
        "dtype": str(jnp.zeros(()).dtype),
        "XLA_FLAGS": os.environ.get("XLA_FLAGS", ""),
    }


def cores_usable() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def pinned(cores: int = 1) -> Iterator[None]:
    """Keep this process, and those that it starts, to so many cores, where the system can."""
    usable = os.sched_getaffinity(0) if hasattr(os, "sched_setaffinity") else set()
    try:
        if usable:
            os.sched_setaffinity(0, sorted(usable)[:cores])
        yield
    finally:
        if usable:
            os.sched_setaffinity(0, usable)


def clock() -> Callable[[], float]:
    """Processor time where the process has one core, which other work does not lengthen, else wall time."""
    return time.process_time if cores_usable() == 1 else time.perf_counter


def best_times(runs: Sequence[Callable[[], Any]], repeats: int, seconds: float = 0.0) -> list[float]:
    """Seconds of the fastest of several runs of each, from call to finished result, compiled before.

    The runs are taken in turn, so that what slows the machine down slows all of them. The best, since
    other work on a shared machine only ever makes a run slower. More than `repeats`, but at most 100,
    until they have taken so many `seconds`.
    """
    for run in runs:
        jax.block_until_ready(run())
    now = clock()
    best, begun, done = [float("inf")] * len(runs), now(), 0
    while done < repeats or (now() - begun < seconds and done < 100):
        for k, run in enumerate(runs):
            start = now()
            jax.block_until_ready(run())
            best[k] = min(best[k], now() - start)
        done += 1
    return best


def best_time(run: Callable[[], Any], repeats: int) -> float:
    """The same of one."""
    return best_times([run], repeats)[0]


def launch(pythons: Sequence[str], module: str, case: dict[str, Any]) -> list[dict[str, Any]]:
    """What a peer tells of a case, a row for each method and step (see run.py), in the first of these Pythons
    that has it."""
    script = Path(__file__).parent / "peers" / f"{module}_peer.py"
    for python in pythons:
        done = subprocess.run([python, str(script), json.dumps(case)], capture_output=True, text=True)
        if done.returncode == 0:
            return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        if "No module named" not in done.stderr:
            print(f"{module} failed:\n{done.stderr}")
    return []


def save(figures: Any, path: str | None) -> Any:
    """Write the figures to a JSON file, if there is a path, or print them if it is "-"; hand them on."""
    if path == "-":
        print(json.dumps(figures))
    elif path:
        with open(path, "w") as file:
            json.dump(figures, file, indent=1)
    return figures
