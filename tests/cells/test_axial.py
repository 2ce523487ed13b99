"""The solution on a tree against a dense one, for random trees and conductances."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hhjax.cells._axial import order_links, Tree, WIDE

PARENTS = {
    "chain": lambda i, rng, n: i - 1,
    "star": lambda i, rng, n: 0,
    "binary": lambda i, rng, n: (i - 1) // 2,
    "random": lambda i, rng, n: int(rng.integers(0, i)),
    "long branch": lambda i, rng, n: i - 1 if i < n // 2 else int(rng.integers(0, i)),
}
# A chain, on whose end a star, then a binary tree and at last any branches.
MIXED = [0, 0, 1, 2, 3, 3, 3, 3, 4, 4, 5, 5, 8, 8]
PARENTS["mixed"] = lambda i, rng, n: MIXED[i] if i < len(MIXED) else int(rng.integers(0, i))


def case(kind, n, count, seed=0):
    """Links, conductances over seven orders of magnitude, capacities, d and b."""
    rng = np.random.default_rng(seed)
    ends = np.array([(i, PARENTS[kind](i, rng, n)) for i in range(1, n)])
    ends = rng.permutation(n)[ends]  # compartments in any order
    arrays = (
        rng.lognormal(0, 3, n - 1),
        rng.lognormal(0, 2, (n, count)),
        rng.lognormal(0, 1, n * count),
        rng.normal(size=n * count),
    )
    return order_links(ends, n), tuple(map(jnp.asarray, arrays))


def dense(links, g, capacity, d):
    """d + L as a matrix, for one cell."""
    n = capacity.shape[0]
    L = jnp.zeros((n, n))
    for a, b in ((links.child, links.parent), (links.parent, links.child)):
        L = L.at[a, a].add(g).at[a, b].add(-g)
    return jnp.diag(d) + L / capacity


@pytest.mark.parametrize("kind", PARENTS)
@pytest.mark.parametrize("n", [2, 3, 17, 400, 2000])
def test_solve_and_times(kind, n):
    links, (g, capacity, d, b) = case(kind, n, 1)
    assert sorted([*links.child.tolist(), links.root]) == list(range(n))
    A = np.asarray(dense(links, g, capacity, d))

    @jax.jit
    def found(g, capacity, d, b):
        tree = Tree(links, g, capacity, 0)
        x, again = tree.solve(d, b)
        return x, again(3 * b), d * x + tree.times(x), tree.bound()

    x, thrice, back, bound = found(g, capacity, d, b)
    wanted = np.linalg.solve(A, b)
    np.testing.assert_allclose(x, wanted, rtol=1e-9, atol=1e-12 * np.abs(wanted).max())
    np.testing.assert_allclose(thrice, 3 * x, rtol=1e-9, atol=1e-12 * np.abs(wanted).max())
    np.testing.assert_allclose(back, b, atol=1e-9 * np.abs(A).max() * np.abs(x).max())
    if n <= 400:
        root = np.sqrt(capacity)  # A − d is similar to a symmetric matrix
        fastest = np.linalg.eigvalsh(root * (A - np.diag(d)) / root.T).max()
        assert float(bound) >= fastest * (1 - 1e-9)


@pytest.mark.parametrize("count", [1, WIDE])
def test_derivatives(count):
    """Reverse, forward and second ones, of several cells side by side and in a batch."""
    links, arrays = case("mixed", 18, count)

    def ours(g, capacity, d, b):
        x, again = Tree(links, g, capacity, 0).solve(d, b)
        return (x * jnp.sin(again(b * x))).sum()

    def plain(g, capacity, d, b):
        d, b = d.reshape(-1, count), b.reshape(-1, count)
        total = 0.0
        for k in range(count):
            A = dense(links, g, capacity[:, k : k + 1], d[:, k])
            x = jnp.linalg.solve(A, b[:, k])
            total = total + (x * jnp.sin(jnp.linalg.solve(A, b[:, k] * x))).sum()
        return total

    every = (0, 1, 2, 3)
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-9 * np.abs(b).max())
    along = tuple(jnp.cos(jnp.arange(x.size)).reshape(x.shape) for x in arrays)

    def derivatives(f):
        by_d = lambda d: (jax.grad(f)(arrays[0], arrays[1], d, arrays[3]) * along[0]).sum()
        forward = lambda *arrays: jax.jvp(f, arrays, along)[1]
        return jax.jit(lambda *x: (jax.grad(f, every)(*x), forward(*x), jax.grad(by_d)(x[2])))(*arrays)

    jax.tree.map(close, derivatives(ours), derivatives(plain))
    solve = jax.jit(lambda b: Tree(links, arrays[0], arrays[1], 0).solve(arrays[2], b)[0])
    close(jax.vmap(solve)(jnp.stack([arrays[3], 2 * arrays[3]]))[1], 2 * solve(arrays[3]))


def test_float32_keeps_its_digits_between_strong_links():
    """Links of 10⁶ of what leaks: a Hines elimination that subtracts loses six digits of seven."""
    links, (_, capacity, d, b) = case("long branch", 300, 1)
    g = jnp.full(299, 1e6)
    b = jnp.abs(b)
    exact = np.linalg.solve(np.asarray(dense(links, g, capacity, d)), b)
    single = [jnp.asarray(x, jnp.float32) for x in (g, capacity, d, b)]
    x, _ = Tree(links, single[0], single[1], 0).solve(single[2], single[3])
    np.testing.assert_allclose(x, exact, rtol=3e-5)
