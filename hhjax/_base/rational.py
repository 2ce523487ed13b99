"""The exponential of a matrix as a sum of fractions, each of which is a linear solve."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array


class Complex(NamedTuple):
    """A complex array as two real ones, which XLA vectorises where it does not complex."""

    real: Array
    imag: Array

    def __add__(self, other: "Complex") -> "Complex":  # pyright: ignore[reportIncompatibleMethodOverride]
        return Complex(self.real + other.real, self.imag + other.imag)

    def __neg__(self) -> "Complex":
        return Complex(-self.real, -self.imag)

    def __mul__(self, other: "Array | Complex") -> "Complex":  # pyright: ignore[reportIncompatibleMethodOverride]
        if isinstance(other, Complex):
            real = self.real * other.real - self.imag * other.imag
            return Complex(real, self.real * other.imag + self.imag * other.real)
        return Complex(self.real * other, self.imag * other)

    def less(self, x: Array) -> "Complex":
        """This scalar minus a real array."""
        return Complex(self.real - x, jnp.broadcast_to(self.imag, x.shape))

    def reciprocal(self) -> "Complex":
        scale = 1 / (self.real**2 + self.imag**2)
        return Complex(self.real * scale, -self.imag * scale)


def _poles() -> list[tuple[complex, complex]]:
    """Poles p and residues r of φ1(z) ≈ 2·Re Σ r/(p − z), one of each conjugate pair.

    φ1(z) = (eᶻ − 1)/z with the [3/4] Padé approximant of eᶻ, which is exact to order 7
    and vanishes for z → −∞. The pole at z = 0 cancels, as the approximant is 1 there.
    """
    numerator = np.polynomial.Polynomial([1, 3 / 7, 1 / 14, 1 / 210])
    denominator = np.polynomial.Polynomial([1, -4 / 7, 1 / 7, -2 / 105, 1 / 840])
    poles = [p for p in denominator.roots() if p.imag > 0]
    return [(complex(p), complex(-numerator(p) / (denominator.deriv()(p) * p))) for p in poles]


_POLES = _poles()


def as_complex(numbers: list[complex], dtype: Any) -> Complex:
    """Numbers along a first axis."""
    return Complex(jnp.asarray(np.real(numbers), dtype), jnp.asarray(np.imag(numbers), dtype))


def fractions(count: int, dtype: Any) -> tuple[Complex, list[Complex]]:
    """The poles, and the residues of φ1, ..., φ_count at them."""
    poles = as_complex([p for p, _ in _POLES], dtype)
    return poles, [as_complex([r / p**k for p, r in _POLES], dtype) for k in range(count)]


Entries = dict[tuple[int, int], Array]
"""The entries of a matrix that are not 0, by row and column, each an array of one shape."""


@jax.jit
def exp_times(matrix: Entries, x: list[Array]) -> list[Array]:
    """e^matrix·x for a matrix whose columns add up to 0 or less, in two halves."""
    half = {at: entry / 2 for at, entry in matrix.items()}

    def move(x: list[Array], _: None) -> tuple[list[Array], None]:
        change = [jnp.zeros_like(value) for value in x]
        for (i, j), entry in half.items():
            change[i] = change[i] + entry * x[j]
        return [value + dx for value, dx in zip(x, _phi_times(half, change))], None

    return jax.lax.scan(move, x, None, length=2)[0]


def _phi_times(matrix: Entries, x: list[Array]) -> list[Array]:
    """φ1(matrix)·x, with φ1(z) = (eᶻ − 1)/z.

    By elimination without pivoting, which the dominant diagonal allows; entries that stay 0 cost
    nothing.
    """
    poles, (residues,) = fractions(1, x[0].dtype)

    def fraction(total: list[Array], at: tuple[Complex, Complex]) -> tuple[list[Array], None]:
        pole, residue = at
        w = _solve_shifted(pole, matrix, [residue * value for value in x])
        return [sum_ + 2 * value.real for sum_, value in zip(total, w)], None

    # A loop, so that XLA works out each fraction once.
    total, _ = jax.lax.scan(fraction, [jnp.zeros_like(value) for value in x], (poles, residues))
    return total


def _solve_shifted(pole: Complex, matrix: Entries, b: list[Complex]) -> list[Complex]:
    """(pole − matrix)⁻¹ b, least connected rows first."""
    zero = jnp.zeros_like(b[0].real)
    A = {at: Complex(-x, zero) for at, x in matrix.items()}
    A |= {(i, i): pole.less(matrix.get((i, i), zero)) for i in range(len(b))}
    b, left, done = list(b), set(range(len(b))), []
    while left:
        degree = lambda i: sum((i, j) in A for j in left) * sum((j, i) in A for j in left)
        k = min(sorted(left), key=degree)
        left.remove(k)
        inverse = A[k, k].reciprocal()
        for i in [i for i in sorted(left) if (i, k) in A]:
            factor = -(A[i, k] * inverse)
            for j in [j for j in sorted(left) if (k, j) in A]:
                A[i, j] = A[i, j] + factor * A[k, j] if (i, j) in A else factor * A[k, j]
            b[i] = b[i] + factor * b[k]
        done.append((k, inverse, sorted(left)))
    for k, inverse, later in reversed(done):
        for j in [j for j in later if (k, j) in A]:
            b[k] = b[k] + -(A[k, j] * b[j])
        b[k] = b[k] * inverse
    return b
