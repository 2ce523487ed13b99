"""Every CPU core as a JAX device of its own."""

import contextlib
import contextvars
import os
import warnings
from collections.abc import Iterator
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from .parameters import check_size


def on_gpu() -> bool:
    """Whether JAX computes on a GPU."""
    device = getattr(jax.config, "jax_default_device")
    if device is None:
        return jax.default_backend() == "gpu"
    return getattr(device, "platform", device) in ("gpu", "cuda", "rocm")


def in_shard_map() -> bool:
    """Whether a `jax.shard_map` is being traced."""
    return bool(jax.sharding.get_abstract_mesh().manual_axes)


def as_varying(tree: Any, inputs: Any) -> Any:
    """Arrays which within a `jax.shard_map` differ from shard to shard if any of the inputs does."""
    if not in_shard_map():
        return tree
    leaves = [x for x in jax.tree.leaves(inputs) if isinstance(x, jax.Array) and x.size]
    is_key = lambda x: jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
    numbers = [jnp.ravel(jax.random.key_data(x) if is_key(x) else x)[0] for x in leaves]
    any_of_them = jnp.isnan(jnp.stack([x.astype(float) for x in numbers])).any()
    return jax.tree.map(lambda x: jnp.where(any_of_them, x, x), tree)


def error_if(tree: Any, bad: Any, message: str) -> Any:
    """The same arrays, which as they are worked out raise an error if anything is `bad`."""
    if not in_shard_map():
        return eqx.error_if(tree, bad, message)
    # In a `jax.shard_map` equinox takes only what is the same in all shards.
    zero = eqx.error_if(jnp.zeros(()), jnp.any(bad), message)
    return jax.tree.map(lambda x: x + zero.astype(x.dtype) if eqx.is_inexact_array(x) else x, tree)


_SMALL_LOOPS = "xla_cpu_small_while_loop_byte_threshold"


_of_a_batch = contextvars.ContextVar("of_a_batch", default=False)


@contextlib.contextmanager
def of_a_batch() -> Iterator[None]:
    """What is traced in it is one of several runs of a `vmap`, whose loop is no small one."""
    token = _of_a_batch.set(True)
    try:
        yield
    finally:
        _of_a_batch.reset(token)


def lanes_are_slow(neurons: int) -> bool:
    """Whether the derivatives of a run of so few neurons are quicker one after another than side by side.

    XLA of JAX before 0.11 makes one function of a loop over time only if a turn of it touches less than
    a kilobyte, unless `use_cores` told it otherwise.
    """
    told = _SMALL_LOOPS in os.environ.get("XLA_FLAGS", "") or _of_a_batch.get()
    return neurons <= 8 and jax.__version_info__ < (0, 11) and not (told or on_gpu())


def use_cores(count: int | None = None) -> bool:
    """Make each CPU core a JAX device, for [`hh.sweep`][], and make the loop over time faster.

    Call it once, after the imports and before JAX computes anything. It sets
    `jax_num_cpu_devices`, and in `XLA_FLAGS` the option `xla_cpu_small_while_loop_byte_threshold`. XLA
    then compiles the loop over time into one function, which is faster for few neurons, and their
    gradients. A GPU is not affected.

    **Arguments:** `count`: how many cores, by default all that this process may use.

    **Returns:** whether it took effect. Too late, it warns and changes nothing.
    """
    if count is None:
        count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    count = check_size("count", count)
    try:
        jax.config.update("jax_num_cpu_devices", count)
    except RuntimeError:
        warnings.warn(
            "hh.use_cores() came too late: JAX has already started. Call it right after the imports.",
            stacklevel=2,
        )
        return False
    given = os.environ.get("XLA_FLAGS", "")
    if "--xla_backend_extra_options" not in given:
        os.environ["XLA_FLAGS"] = f"{given} --xla_backend_extra_options={_SMALL_LOOPS}=1000000".strip()
    return True
