"""`lax.scan`, cut up."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def take(xs: Any, part: slice, shape: tuple[int, ...]) -> Any:
    """A part of the rows of `xs`, in another shape."""
    return jax.tree.map(lambda x: x[part].reshape(shape + x.shape[1:]), xs)


def scan(f: Callable, carry: Any, xs: Any, length: int) -> tuple[Any, Any]:
    """`jax.lax.scan`, which for one call of f makes no loop."""
    if length == 1:
        carry, y = f(carry, jax.tree.map(lambda x: x[0], xs))
        return carry, jax.tree.map(lambda x: x[None], y)
    return jax.lax.scan(f, carry, xs, length=length)


def scan_in_chunks(
    f: Callable, carry: Any, xs: Any, length: int, chunk: int, checkpoint: bool = False
) -> tuple[Any, Any]:
    """`lax.scan` over `length` calls of f, as a scan over scans of `chunk` calls.

    With `checkpoint`, a gradient keeps the carry at the chunks' boundaries and runs each
    chunk again.
    """
    chunk = min(chunk, length)
    if chunk == 1 or (chunk == length and not checkpoint):
        return scan(f, carry, xs, length)
    inner = lambda carry, xs: scan(f, carry, xs, chunk)
    if checkpoint:
        inner = jax.checkpoint(inner, prevent_cse=False)
    count, rest = divmod(length, chunk)
    cut = count * chunk
    carry, ys = scan(inner, carry, take(xs, slice(cut), (count, chunk)), count)
    ys = jax.tree.map(lambda x: x.reshape((cut,) + x.shape[2:]), ys)
    if rest:
        carry, tail = scan(f, carry, take(xs, slice(cut, None), (rest,)), rest)
        ys = jax.tree.map(lambda *parts: jnp.concatenate(parts), ys, tail)
    return carry, ys


def near_divisor(length: int, chunk: int) -> int:
    """The largest divisor of `length` between half of `chunk` and `chunk`, else `chunk`.

    A divisor leaves no rest, for which f would be compiled once more.
    """
    divisors = (k for k in range(chunk, chunk // 2, -1) if length % k == 0)
    return next(divisors, chunk)


def nbytes(tree: Any) -> int:
    """The size of all arrays, or of arrays of such shapes and types; at least 1."""
    return max(sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree)), 1)
