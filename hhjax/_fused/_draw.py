"""Random bits by counter, for each element by itself: what a key draws does not depend on the others.

The same numbers as `jax.random` draws, of jax's own generator and of `hh.fast_key`'s.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .._random import FAST_TYPE, fold_bits, hash_bits, split_bits, threefry_bits
from ._errors import NotFused

Words = tuple[Any, Any]  # a key, or two random words
_THREEFRY = "key<fry>"  # the type of jax's own keys
_ZERO = np.uint32(0)


def check_key(key: Array) -> None:
    """Refuse keys whose numbers cannot be drawn one by one."""
    kind = str(key.dtype)
    if kind == FAST_TYPE or (kind == _THREEFRY and getattr(jax.config, "jax_threefry_partitionable")):
        return
    raise NotFused(
        f"`key` has the type {kind}, whose numbers are not drawn each by itself: take hh.fast_key or, with "
        "jax_threefry_partitionable, jax.random.key."
    )


def split(kind: str, key: Words, counter: Any) -> Words:
    """The key with number `counter` of those into which `key`, of type `kind`, is split."""
    return split_bits(*key, counter) if kind == FAST_TYPE else threefry_bits(*key, _ZERO, counter)


def fold_in(kind: str, key: Words, data: Any) -> Words:
    """The key made of `key` and `data`."""
    return fold_bits(*key, data) if kind == FAST_TYPE else threefry_bits(*key, _ZERO, data)


def bits(kind: str, key: Words, counter: Any, width: int) -> Array:
    """The random bits with number `counter` that `key` draws."""
    high, low = hash_bits(*key, counter)[:2] if kind == FAST_TYPE else threefry_bits(*key, _ZERO, counter)
    if width == 64:
        return high.astype(jnp.uint64) << np.uint64(32) | low.astype(jnp.uint64)
    return (high if kind == FAST_TYPE else high ^ low).astype(f"uint{width}")
