"""A coupling matrix of which most entries are zero."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ._parameters import as_float_array, is_concrete


class SparseMatrix(eqx.Module):
    """An (n, n) matrix by the non-zero entries of its rows, for `hh.GradedSynapse(E)`.

    Every row holds as many entries as the fullest (the ELLPACK form), so it suits rows that
    are about equally full: a product is one gather and one sum, and differentiable in the
    entries. Below a density of about a tenth it is faster than the dense product.

    **Fields:**

    - `values`: shape (n, k); row i receives.
    - `columns`: the column of each value, shape (n, k), from 0 up. A column may occur more
        than once in a row; a value that fills a row up is 0.
    - `senders`: how many columns there are, by default as many as rows.
    """

    values: Float[Array, "..."] = eqx.field(converter=as_float_array)
    columns: Int[Array, "..."] = eqx.field(converter=lambda x: jnp.asarray(x, jnp.int32))
    senders: int | None = eqx.field(static=True, default=None)

    def __check_init__(self) -> None:
        if jnp.ndim(self.values) != 2 or jnp.shape(self.values) != jnp.shape(self.columns):
            raise ValueError(
                "`SparseMatrix.values` and `columns` must both have shape (n, k), got "
                f"{jnp.shape(self.values)} and {jnp.shape(self.columns)}."
            )
        if is_concrete(self.columns) and self.columns.size:
            low, high = int(self.columns.min()), int(self.columns.max())
            if low < 0 or high >= self.shape[1]:
                raise ValueError(
                    f"`SparseMatrix.columns` must lie in 0 to {self.shape[1] - 1}, got {low} to {high}."
                )

    @classmethod
    def from_coordinates(cls, rows: Any, columns: Any, values: Any, shape: tuple[int, int]) -> "SparseMatrix":
        """From the (row, column, value) of each entry of an array of `shape`.

        A `scipy.sparse` matrix A has them as `A.tocoo().row`, `.col` and `.data`.
        """
        n, senders = shape
        rows, columns, values = (np.ravel(np.asarray(x)) for x in (rows, columns, values))
        if not len(rows) == len(columns) == len(values):
            raise ValueError(
                "`rows`, `columns` and `values` must be of one length, got "
                f"{len(rows)}, {len(columns)} and {len(values)}."
            )
        if len(rows) and (rows.min() < 0 or rows.max() >= n):
            raise ValueError(f"`rows` must lie in 0 to {n - 1}, got {rows.min()} to {rows.max()}.")
        order = np.argsort(rows, kind="stable")
        rows, columns, values = rows[order], columns[order], values[order]
        counts = np.bincount(rows, minlength=n)
        slot = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
        width = max(int(counts.max(initial=0)), 1)
        table, where = np.zeros((n, width), np.result_type(values, np.float32)), np.zeros((n, width), int)
        table[rows, slot], where[rows, slot] = values, columns
        return cls(table, where, senders)

    @classmethod
    def from_dense(cls, matrix: Any) -> "SparseMatrix":
        """From a two-dimensional array, whose zeros are left out."""
        matrix = np.asarray(matrix)
        rows, columns = np.nonzero(matrix)
        return cls.from_coordinates(rows, columns, matrix[rows, columns], matrix.shape)

    @property
    def shape(self) -> tuple[int, int]:
        n = self.values.shape[0]
        return n, n if self.senders is None else self.senders

    def times(self, x: Float[Array, " n"]) -> Float[Array, " n"]:
        """The product with a vector, shape (n,)."""
        return (self.values * x[self.columns]).sum(axis=1)

    def todense(self) -> Float[Array, "n n"]:
        """The matrix as an array."""
        rows = jnp.broadcast_to(jnp.arange(self.shape[0])[:, None], self.columns.shape)
        return jnp.zeros(self.shape, self.values.dtype).at[rows, self.columns].add(self.values)


def as_matrix(x: Any) -> Any:
    """A sparse matrix as it is, anything else as a floating array."""
    return x if isinstance(x, SparseMatrix) else as_float_array(x)


def product(matrix: Any, x: Float[Array, " n"]) -> Float[Array, " n"]:
    """Matrix times vector, by the type of the matrix."""
    if isinstance(matrix, SparseMatrix):
        return matrix.times(x)
    return jnp.matmul(matrix, x, precision=jax.lax.Precision.HIGHEST)
