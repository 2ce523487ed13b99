"""Random numbers for runs with noise: normal ones, and a cheap generator for keys."""

import functools
import hashlib
import math
from typing import Any

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .math import horner
from .parameters import shown

FAST = "hhjax_pcg3d"  # the name of the generator


_TAG = "pcg"


FAST_TYPE = f"key<{_TAG}>"  # and of its keys' type


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


def threefry_bits(high: Any, low: Any, x: Any, y: Any) -> tuple[Array, Array]:
    """Two words hashed into two by jax's own generator, with the key (high, low).

    Threefry-2x32 with 20 rounds: J. K. Salmon, M. A. Moraes, R. O. Dror and D. E. Shaw,
    "Parallel random numbers: as easy as 1, 2, 3", Proc. SC11 (2011) 16.
    """
    keys = high, low, high ^ low ^ np.uint32(0x1BD11BDA)
    x, y = x + keys[0], y + keys[1]
    for group in range(5):
        for by in ((13, 15, 26, 6), (17, 29, 16, 24))[group % 2]:
            x = x + y
            y = x ^ (y << np.uint32(by) | y >> np.uint32(32 - by))
        x, y = x + keys[(group + 1) % 3], y + keys[(group + 2) % 3] + np.uint32(group + 1)
    return x, y


def split_bits(high: Any, low: Any, counter: Any) -> tuple[Array, Array]:
    """The key with number `counter` of those into which a key is split, as two words."""
    return hash_bits(high ^ _SPLIT, low, counter)[:2]


def fold_bits(high: Any, low: Any, data: Any) -> tuple[Array, Array]:
    """The key made of a key and `data`, as two words."""
    return hash_bits(high ^ _FOLD, low, data)[:2]


# −ln(1 + r)/r for √½ <= 1 + r < √2, to 1.7e-7.
_LOG = [-0.99999995, 0.50000365, -0.33335060, 0.24969902, -0.19900139, 0.17250897, -0.16222853, 0.10107031]


# z = L·_ABOVE(L)/_BELOW(L) for L = −ln(P(|Z| > z)) up to 22.2, where z = 6.34, to 1e-7 of z.
_ABOVE = [1.25331401, 2.18139087, 1.02675050, 0.139834379, 0.00441709062, 1.41682325e-05]


_BELOW = [1.0, 2.24048980, 1.51111826, 0.340920319, 0.0221018178, 0.000265528502]


_ROOT_HALF = np.int32(0x3F3504F3)  # the bits of √½


def check_key(name: str, key: Any, needed: bool = False) -> None:
    """Refuse what is no single random key; `None` will do unless it is needed."""
    dtype = getattr(key, "dtype", None)
    typed = dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key)
    one = np.ndim(key) == 0 if typed else dtype == np.uint32 and np.shape(key) in ((2,), (4,))
    if not (one or (key is None and not needed)):
        such = "a key such as jax.random.key(0) or hh.fast_key(0), and one alone"
        raise TypeError(f"`{name}` must be {such}, got {shown(key)}.")


def increments(key: Array, shape: tuple[int, int], dt: Array) -> Array:
    """Brownian increments over `dt` (ms), √ms, each worked out once, however often it is used.

    The normal numbers are those of `normal_from_bits` in float32, of `jax.random.normal` in
    other types of `dt`.
    """
    if dt.dtype == jnp.float32:
        return jnp.sqrt(dt) * normal_from_bits(_bits(key, shape))
    # In a loop, since XLA would otherwise draw the numbers again at each place where they are used.
    return jax.lax.map(lambda row: jnp.sqrt(dt) * row, jax.random.normal(key, shape, dt.dtype))


def _bits(key: Array, shape: tuple[int, int]) -> Array:
    """Random words: of jax's own keys both words of each hash, so at less cost than `jax.random.bits`."""
    if str(jax.random.key_impl(key)) != "threefry2x32":
        return jax.random.bits(key, shape, jnp.uint32)
    high, low = jax.random.key_data(key)
    rows, columns = shape
    half = (rows + 1) // 2, columns
    counters = (jax.lax.broadcasted_iota(jnp.uint32, half, axis) for axis in (0, 1))
    x, y = threefry_bits(high, low, *counters)
    return jnp.concatenate([x, y[: rows // 2]])


def normal_from_bits(bits: Array) -> Array:
    """A standard normal number for each uint32, as float32, to 1e-6 of the number.

    The first bit is the sign; the others, k, say that the chance of a number farther from 0 is
    q = (k + ½)/2³¹. The farthest is ±6.34.
    """
    k = jax.lax.bitcast_convert_type(bits & np.uint32(0x7FFFFFFF), jnp.int32)
    q = k.astype(jnp.float32) * 2.0**-31 + 2.0**-32
    # q = 2^e·(1 + r) with 1 + r next to 1: a logarithm without a branch.
    q = jax.lax.bitcast_convert_type(q, jnp.int32) - _ROOT_HALF
    e = (q >> np.int32(23)).astype(jnp.float32)
    r = jax.lax.bitcast_convert_type((q & np.int32(0x7FFFFF)) + _ROOT_HALF, jnp.float32) - 1
    L = horner(_LOG, r) * r - e * math.log(2)
    sign = bits & np.uint32(0x80000000)
    signed = jax.lax.bitcast_convert_type(jax.lax.bitcast_convert_type(L, jnp.uint32) ^ sign, jnp.float32)
    # It ends in a division since XLA recomputes other expressions at each place where they are used.
    return signed * horner(_ABOVE, L) / horner(_BELOW, L)


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
    if str(key.dtype) == FAST_TYPE:
        high, low = jax.random.key_data(key)
        words = split_bits(high, low, numbers)
        return jax.random.wrap_key_data(jnp.stack(words, axis=-1), impl=_PCG3D)
    # jax's keys are split by their numbers, as they are folded in.
    return jax.vmap(jax.random.fold_in, (None, 0))(key, numbers)


_INPUTS = np.uint32(0xFFFFFFFF)  # the number of no step


def input_key(key: Array) -> Array:
    """The key for what a run draws besides its noise, whose keys are those of its steps."""
    return jax.random.fold_in(key, _INPUTS)


def fold_in_name(key: Array, name: str) -> Array:
    """The key made of a key and a name."""
    words = np.frombuffer(hashlib.sha256(name.encode()).digest(), "<u4")[:2]  # as many as a key has
    return functools.reduce(jax.random.fold_in, words.astype(np.uint32), key)


def fast_key(seed: int) -> Array:
    """A random key like `jax.random.key(seed)`, whose numbers cost less.

    The generator hashes the key and a counter with pcg3d (M. Jarzynski and M. Olano, J.
    Comput. Graph. Tech. 9 (2020) no. 3, 21-38). A normal random number of a run takes 0.6
    times as long as one by jax's own Threefry (on a CPU; see `benchmarks/noise.py`), and like
    there it depends on nothing but the key and its place in the array. Good for simulations;
    not studied as Threefry is, and not for secrets.

    With either key the normal numbers of a run are, in float32, the quantiles of 32 bits, to
    1e-6 of the number and up to 6.3 standard deviations; in float64 those of
    `jax.random.normal`.

    **Arguments:** `seed`: a whole number.

    **Returns:** a key for `hh.simulate(..., key=...)` and every function of `jax.random`.
    """
    kind = getattr(seed, "dtype", np.dtype(type(seed)))
    if np.ndim(seed) or not jnp.issubdtype(kind, jnp.integer):
        raise TypeError(f"`seed` must be a whole number, got {shown(seed)}.")
    return jax.random.key(seed, impl=_PCG3D)
