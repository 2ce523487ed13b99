"""What gap junctions make of V's equation."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Inexact

from .._base.operators import AbstractOperator, Solve
from ..connect import Sparse, sum_over_pre, Weights

DIRECT = 256
"""Up to so many neurons a matrix is factorised at each step; beyond, the equations are iterated."""


class Junctions(AbstractOperator):
    """L·V = (Σⱼ Wᵢⱼ (Vᵢ − Vⱼ))/Cᵢ, summed over groups of neurons that are joined.

    **Fields:** `weights`: W of each group, mS/cm²; `groups`: where each lies among the neurons; `C`:
    capacitances, µF/cm², shape (n,).
    """

    weights: tuple[Weights, ...]
    groups: tuple[tuple[int, int], ...] = eqx.field(static=True)
    C: Float[Array, " n"]

    def times(self, V: Float[Array, " n"]) -> Float[Array, " n"]:
        V = V - V.mean()  # of a constant V nothing flows; of a small one less is lost
        return self.out() * V - self._into(V)

    def solve(self, d: Inexact[Array, " n"], b: Inexact[Array, " n"]) -> tuple[Inexact[Array, " n"], Solve]:
        again = self._solver(d)
        return again(b), again

    def _solver(self, d: Float[Array, " n"]) -> Solve:
        n = self.C.size
        d = jnp.broadcast_to(d, (n,))
        diagonal = d + self.out()
        if n > DIRECT:
            return lambda b: _iterated(
                lambda x: diagonal * x - self._into(x), lambda r: r / diagonal, diagonal, d, b
            )
        factors = jax.scipy.linalg.lu_factor(jnp.diag(diagonal) - self._matrix())
        return lambda b: jax.scipy.linalg.lu_solve(factors, b)

    def bound(self) -> Float[Array, ""]:
        # Gershgorin's circles, each of a row; what joins a neuron to itself only makes them larger.
        return 2 * self._each(lambda w: sum_over_pre(_absolute(w), jnp.ones(w.shape[1], self.C.dtype))).max()

    def _each(self, of: Callable[[Weights], Array]) -> Array:
        """A sum over the groups, divided by C."""
        total = jnp.zeros_like(self.C)
        for weights, (start, stop) in zip(self.weights, self.groups):
            total = total.at[start:stop].add(of(weights))
        return total / self.C

    def out(self) -> Float[Array, " n"]:
        """The diagonal of L, in 1/ms."""
        return self._each(lambda w: sum_over_pre(w, jnp.ones(w.shape[1], self.C.dtype)))

    def _into(self, V: Array) -> Array:
        total = jnp.zeros_like(V)
        for weights, (start, stop) in zip(self.weights, self.groups):
            total = total.at[start:stop].add(sum_over_pre(weights, V[start:stop]))
        return total / self.C

    def _matrix(self) -> Float[Array, "n n"]:
        n = self.C.size
        total = jnp.zeros((n, n), self.C.dtype)
        for w, (start, stop) in zip(self.weights, self.groups):
            dense = w.dense() if isinstance(w, Sparse) else w
            total = total.at[start:stop, start:stop].add(dense)
        return total / self.C[:, None]


def _absolute(weights: Weights) -> Weights:
    if isinstance(weights, Sparse):
        return eqx.tree_at(lambda w: w.weight, weights, jnp.abs(weights.weight))
    return jnp.abs(weights)


class OfCells(AbstractOperator):
    """What flows along cells, and through gap junctions between them.

    **Fields:** `along`, `through`: the operator of each.
    """

    along: AbstractOperator
    through: Junctions

    def times(self, V: Float[Array, " n"]) -> Float[Array, " n"]:
        return self.along.times(V) + self.through.times(V)

    def solve(self, d: Inexact[Array, " n"], b: Inexact[Array, " n"]) -> tuple[Inexact[Array, " n"], Solve]:
        diagonal = d + self.through.out()
        _, along = self.along.solve(diagonal, b)
        all_of = lambda x: d * x + self.times(x)
        again = lambda b: _iterated(all_of, along, diagonal + self.along.bound(), d, b)
        return again(b), again

    def bound(self) -> Float[Array, ""]:
        return self.along.bound() + self.through.bound()


def _iterated(
    times: Callable[[Array], Array], near: Callable[[Array], Array], diagonal: Array, d: Array, b: Array
) -> Array:
    """The solution by BiCGSTAB, started and preconditioned by `near`; NaN, which a run reports, where it did
    not converge."""
    precise = 1e-12 if b.dtype == jnp.float64 else 1e-6
    # No residual is smaller than the rounding of `times` in what d alone moves.
    tol = jnp.maximum(precise, 4 * jnp.finfo(b.dtype).eps * diagonal.max() / d.min())
    solved = jax.scipy.sparse.linalg.bicgstab
    x, _ = solved(times, b, x0=near(b), tol=tol, maxiter=1000, M=near)  # pyright: ignore
    norm = lambda r: jnp.sqrt((r * r).sum())
    good = (norm(times(x) - b) <= 10 * tol * norm(b)) & (tol < 1e-2)
    return jnp.where(good, x, jnp.nan)
