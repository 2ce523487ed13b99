"""A cheap counter-based random number generator, for keys that runs with noise may take."""

import math
from typing import Any

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

FAST = "hhjax_pcg3d"  # the name of the generator
_TAG = "pcg"  # and of the type of its keys

# Keys, splits and draws are hashed apart from each other.
_SPLIT, _FOLD = np.uint32(0x9E3779B9), np.uint32(0x7F4A7C15)


def hash_bits(x: Any, y: Any, z: Any) -> tuple[Array, Array, Array]:
    """Three words hashed into three."""
    a, c, shift = jnp.uint32(1664525), jnp.uint32(1013904223), jnp.uint32(16)
    x, y, z = x * a + c, y * a + c, z * a + c
    for last in (False, True):
        x = x + y * z
        y = y + z * x
        z = z + x * y
        if not last:
            x, y, z = x ^ (x >> shift), y ^ (y >> shift), z ^ (z >> shift)
    return x, y, z


def split_bits(high: Any, low: Any, counter: Any) -> tuple[Array, Array]:
    """The key with number `counter` of those into which a key is split, as two words."""
    return hash_bits(high ^ _SPLIT, low, counter)[:2]


def fold_bits(high: Any, low: Any, data: Any) -> tuple[Array, Array]:
    """The key made of a key and `data`, as two words."""
    return hash_bits(high ^ _FOLD, low, data)[:2]


def _counters(shape: tuple[int, ...]) -> Array:
    return jax.lax.iota(jnp.uint32, math.prod(shape)).reshape(shape)


def _seed(seed: Array) -> Array:
    seed = jnp.asarray(seed)
    low = seed.astype(jnp.uint32)
    wide = seed.dtype.itemsize > 4
    high = jax.lax.shift_right_logical(seed, seed.dtype.type(32)).astype(jnp.uint32) if wide else low * 0
    return jnp.stack([high, low])


def _split(key: Array, shape: tuple[int, ...]) -> Array:
    return jnp.stack(split_bits(*jnp.broadcast_arrays(key[0], key[1], _counters(shape))), axis=-1)


def _fold_in(key: Array, data: Any) -> Array:
    return jnp.stack(fold_bits(key[0], key[1], jnp.asarray(data).astype(jnp.uint32)))


def _random_bits(key: Array, bit_width: int, shape: tuple[int, ...]) -> Array:
    x, y, _ = hash_bits(*jnp.broadcast_arrays(key[0], key[1], _counters(shape)))
    if bit_width == 64:
        return x.astype(jnp.uint64) << jnp.uint64(32) | y.astype(jnp.uint64)
    return x.astype(f"uint{bit_width}")


_PCG3D = jax.extend.random.define_prng_impl(
    key_shape=(2,),
    seed=_seed,
    split=_split,
    random_bits=_random_bits,
    fold_in=_fold_in,
    name=FAST,
    tag=_TAG,
)


def step_keys(key: Array, first: Any, count: int) -> Array:
    """The keys of `count` steps from number `first` on: those of `jax.random.split`, of any length."""
    numbers = jnp.asarray(first, jnp.uint32) + jax.lax.iota(jnp.uint32, count)
    if str(key.dtype) == f"key<{_TAG}>":
        high, low = jax.random.key_data(key)
        words = split_bits(high, low, numbers)
        return jax.random.wrap_key_data(jnp.stack(words, axis=-1), impl=_PCG3D)
    # jax's keys are split by their numbers, as they are folded in.
    return jax.vmap(jax.random.fold_in, (None, 0))(key, numbers)


def fast_key(seed: int) -> Array:
    """A random key like `jax.random.key(seed)`, whose numbers cost less.

    The generator hashes the key and a counter with pcg3d (M. Jarzynski and M. Olano, J.
    Comput. Graph. Tech. 9 (2020) no. 3, 21-38). A normal random number takes half the time
    of one by jax's own Threefry (on a CPU; see `benchmarks/noise.py`), and like there it
    depends on nothing but the key and its place in the array. Good for simulations; not
    studied as Threefry is, and not for secrets.

    **Arguments:** `seed`: a whole number.

    **Returns:** a key for `hh.simulate(..., key=...)` and every function of `jax.random`.
    """
    return jax.random.key(seed, impl=_PCG3D)
