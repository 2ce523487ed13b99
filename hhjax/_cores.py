"""Every CPU core as a JAX device of its own."""

import contextlib
import functools
import os
import warnings
from collections.abc import Iterator
from contextvars import ContextVar

import jax


@functools.cache
def _has_avx512() -> bool:
    try:
        with open("/proc/cpuinfo") as info:
            return "avx512f" in info.read()
    except OSError:
        return False


def on_gpu() -> bool:
    """Whether JAX computes on a GPU."""
    device = getattr(jax.config, "jax_default_device")
    if device is None:
        return jax.default_backend() == "gpu"
    return getattr(device, "platform", device) in ("gpu", "cuda", "rocm")


def in_shard_map() -> bool:
    """Whether a `jax.shard_map` is being traced."""
    return bool(jax.sharding.get_abstract_mesh().manual_axes)


_WIDTH = "xla_cpu_prefer_vector_width"
_wide_here: ContextVar[bool] = ContextVar("_wide_here", default=False)


def wide_vectors() -> dict[str, int]:
    """XLA's option of 512-bit vectors, where the CPU has them and `XLA_FLAGS` does not choose."""
    return {_WIDTH: 512} if _has_avx512() and _WIDTH not in os.environ.get("XLA_FLAGS", "") else {}


@contextlib.contextmanager
def compiled_wide() -> Iterator[None]:
    """For a call of what is compiled with `wide_vectors`."""
    token = _wide_here.set(bool(wide_vectors()))
    try:
        yield
    finally:
        _wide_here.reset(token)


def is_wide() -> bool:
    """Whether what is compiled now is for vectors of a chosen width, such as 512 bits."""
    return _wide_here.get() or _WIDTH in os.environ.get("XLA_FLAGS", "")


_SMALL_LOOPS = "xla_cpu_small_while_loop_byte_threshold"


def makes_small_loops() -> bool:
    """Whether XLA was told to make one function of loops of up to a megabyte, as `use_cores` does."""
    return _SMALL_LOOPS in os.environ.get("XLA_FLAGS", "")


def use_cores(count: int | None = None) -> bool:
    """Make each CPU core a JAX device, for [`hh.sweep`][], and let XLA make fast loops of steps.

    Call it once, after the imports and before JAX computes anything. It sets
    `jax_num_cpu_devices` and adds to `XLA_FLAGS` that a loop over time is compiled into one
    function (`xla_cpu_small_while_loop_byte_threshold`; speeds up runs and gradients of few
    neurons) and, where the CPU has them, that 512-bit vectors are used
    (`xla_cpu_prefer_vector_width`). A GPU is not affected.

    **Arguments:** `count`: how many cores, by default all that this process may use.

    **Returns:** whether it took effect. Too late, it warns and changes nothing.
    """
    if count is None:
        count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise ValueError(f"`count` must be a whole number of cores of at least 1, got {count!r}.")
    try:
        jax.config.update("jax_num_cpu_devices", count)
    except RuntimeError:
        warnings.warn(
            "hh.use_cores() came too late: JAX has already started. Call it right after the imports.",
            stacklevel=2,
        )
        return False
    given = os.environ.get("XLA_FLAGS", "")
    new = [f"--{name}={value}" for name, value in wide_vectors().items()]
    if "--xla_backend_extra_options" not in given:
        new.append(f"--xla_backend_extra_options={_SMALL_LOOPS}=1000000")
    os.environ["XLA_FLAGS"] = " ".join([given, *new]).strip()
    return True
