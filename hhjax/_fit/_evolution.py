"""A search over many models, for fits whose start is far away."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array

from .._base.arguments import as_number
from .._base.parameters import check_size
from ._problem import Shooting
from ._solve import losses_of, Solved


@dataclasses.dataclass(frozen=True)
class Evolution:
    """Search with a population of free-running models, whose mean and covariance follow the better half.

    CMA-ES (N. Hansen, "The CMA evolution strategy: a tutorial", arXiv:1604.00772 (2016)), by the package
    `cma`. It asks for no slopes, so spikes may come and go. A generation is run as one batch, shared out
    over all JAX devices ([`hh.use_cores`][]). The last stage of the fit begins with the best model met.

    **Fields:**

    - `generations`: how many, at least 1.
    - `population`: models in each, at least 4.
    - `width`: standard deviation of the first generation about the start, positive: 0.4 is a factor of 1.5
        for what has a lower bound and is far from an upper one, and a tenth of the way from one bound
        to the other for what starts half-way.
    """

    generations: int = 200
    population: int = 32
    width: float = 0.4

    def __post_init__(self) -> None:
        check_size("Evolution.generations", self.generations)
        check_size("Evolution.population", self.population, 4)
        as_number("Evolution.width", self.width, positive=True)


def evolve(problem: Shooting, how: Evolution, u: Array, key: Array, tick: Callable[[], None]) -> Solved:
    """CMA-ES of the parameters from every row of u; what is free of the first states stays."""
    import cma  # here, since few fits need it

    starts, P = len(u), len(problem.free.names)
    seeds = np.asarray(jax.random.randint(key, (starts,), 1, 2**31 - 1))
    searches = [
        cma.CMAEvolutionStrategy(
            np.asarray(row[:P], float),
            how.width,
            {"popsize": how.population, "seed": int(seed), "verbose": -9},
        )
        for row, seed in zip(u, seeds)
    ]

    def losses(rows: np.ndarray) -> np.ndarray:
        found = np.asarray(losses_of(problem, _spread_out(rows, u.dtype), jnp.zeros((), u.dtype)), float)
        return np.where(np.isfinite(found), found, np.inf)

    best = np.array(u)
    score, history = losses(best), []
    for _ in range(how.generations):
        members = np.repeat(np.asarray(u)[:, None], how.population, axis=1)
        members[..., :P] = asked = np.array([search.ask() for search in searches])
        loss = losses(members.reshape(-1, u.shape[1])).reshape(starts, -1)
        for k, search in enumerate(searches):
            search.tell(list(asked[k]), np.minimum(loss[k], np.finfo(float).max).tolist())
            first = int(loss[k].argmin())
            if loss[k, first] < score[k]:
                best[k], score[k] = members[k, first], loss[k, first]
        history.append(score.copy())
        tick()
        if len(history) % 20 == 1:
            print(len(history), score, flush=True)
    reasons = ["generations used up" if x < np.inf else "blew up" for x in score]
    runs = np.full(starts, 1 + how.generations * how.population)
    return Solved(jnp.asarray(best), score, np.array(history), reasons, runs)


def _spread_out(rows: np.ndarray, dtype: jnp.dtype) -> Array:
    """The rows on all devices, or on one where they cannot be shared out evenly."""
    devices = jax.devices()
    if len(rows) % len(devices):
        return jnp.asarray(rows, dtype)
    sharding = NamedSharding(Mesh(np.array(devices), ("rows",)), PartitionSpec("rows"))
    return jax.device_put(rows.astype(dtype), sharding)
