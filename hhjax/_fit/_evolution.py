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
    - `searches`: how many from each start, at least 1, one beside the other. They end in different places;
        the best of them counts.
    """

    generations: int = 250
    population: int = 32
    width: float = 0.4
    searches: int = 3

    def __post_init__(self) -> None:
        check_size("Evolution.generations", self.generations)
        check_size("Evolution.population", self.population, 4)
        check_size("Evolution.searches", self.searches)
        as_number("Evolution.width", self.width, positive=True)


def evolve(problem: Shooting, how: Evolution, u: Array, key: Array, tick: Callable[[], None]) -> Solved:
    """CMA-ES of the parameters from every row of u; what is free of the first states stays."""
    import cma  # here, since few fits need it

    P, size = len(problem.free.names), how.population
    begin = np.repeat(np.asarray(u), how.searches, axis=0)
    seeds = np.asarray(jax.random.randint(key, (len(begin),), 1, 2**31 - 1))
    options = {"popsize": size, "verbose": -9}
    searches = [
        cma.CMAEvolutionStrategy(row[:P].astype(float), how.width, options | {"seed": int(seed)})
        for row, seed in zip(begin, seeds)
    ]

    def losses(rows: np.ndarray) -> np.ndarray:
        found = np.asarray(losses_of(problem, _spread_out(rows, u.dtype), jnp.zeros((), u.dtype)), float)
        return np.where(np.isfinite(found), found, np.inf)

    best, score, history = begin.copy(), np.full(len(begin), np.inf), []
    for _ in range(how.generations):
        members = np.repeat(begin[:, None], size, axis=1)
        members[..., :P] = asked = np.array([search.ask() for search in searches])
        loss = losses(members.reshape(-1, u.shape[1])).reshape(len(begin), size)
        for k, search in enumerate(searches):
            search.tell(list(asked[k]), np.minimum(loss[k], np.finfo(float).max).tolist())
            first = int(loss[k].argmin())
            if loss[k, first] < score[k]:
                best[k], score[k] = members[k, first], loss[k, first]
        history.append(score.reshape(len(u), -1).min(axis=1))
        tick()
    first = score.reshape(len(u), -1).argmin(axis=1) + how.searches * np.arange(len(u))
    reasons = ["generations used up" if x < np.inf else "blew up" for x in score[first]]
    runs = np.full(len(u), how.searches * how.generations * size)
    return Solved(jnp.asarray(best[first]), score[first], np.array(history), reasons, runs)


def _spread_out(rows: np.ndarray, dtype: jnp.dtype) -> Array:
    """The rows on all devices, or on one where they cannot be shared out evenly."""
    devices = jax.devices()
    if len(rows) % len(devices):
        return jnp.asarray(rows, dtype)
    sharding = NamedSharding(Mesh(np.array(devices), ("rows",)), PartitionSpec("rows"))
    return jax.device_put(rows.astype(dtype), sharding)
