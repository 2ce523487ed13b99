"""A search over many models, for fits whose start is far away."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array

from .._base.arguments import as_number
from .._base.parameters import check_size
from ._problem import Shooting
from ._solve import losses_of, Solved

_AT_MOST = 5.0  # mV, the first standard deviation of a voltage without limits
_WORST = 1e100  # loss of what blew up


@dataclasses.dataclass(frozen=True)
class Evolution:
    """Search with a population of models, whose mean and covariance follow the better half.

    CMA-ES (N. Hansen, "The CMA evolution strategy: a tutorial", arXiv:1604.00772 (2016)), by the package
    `cma`. It asks for no slopes, so spikes may come and go. A generation is run as one batch, shared out
    over all JAX devices ([`hh.use_cores`][]). The last stage of the fit begins with the best model met.
    Without a `loss` the fit compares by [`hh.losses.Firing`][].

    **Fields:**

    - `generations`: how many, at least 1.
    - `population`: models in each, at least 4.
    - `width`: standard deviation of the first generation about the start, positive: 0.4 is a factor of 1.5
        for what has a lower bound and is far from an upper one, and a tenth of the way from one bound
        to the other for what starts half-way; of a voltage without limits 5 mV at most.
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
    scale = np.asarray(problem.free.scale, float)
    limited = np.isfinite(problem.free.low) | np.isfinite(problem.free.high)
    is_mV = np.array([unit == "mV" for unit in problem.free.units])
    narrow = np.where(is_mV & ~limited, np.minimum(1.0, _AT_MOST / (how.width * scale)), 1.0)

    def search(row: np.ndarray, seed: int) -> Any:
        # Numbers of its own, since `seed` alone is that of NumPy's global state.
        own = {"seed": np.nan, "randn": np.random.RandomState(seed).randn}
        options = {"popsize": size, "verbose": -9, "CMA_stds": narrow, **own}
        return cma.CMAEvolutionStrategy(row[:P].astype(float), how.width, options)

    searches = [search(row, int(seed)) for row, seed in zip(begin, seeds)]

    def losses(rows: np.ndarray) -> np.ndarray:
        found = losses_of(problem, _spread_out(rows, u.dtype), jnp.zeros((), u.dtype))
        found = np.asarray(found, float)[: len(rows)]
        return np.where(np.isfinite(found), found, np.inf)

    best, score, history = begin.copy(), np.full(len(begin), np.inf), []
    for _ in range(how.generations):
        members = np.repeat(begin[:, None], size, axis=1)
        asked = np.array([search.ask() for search in searches])
        if not history:
            asked[:, 0] = begin[:, :P]  # the start is one of the first
        members[..., :P] = asked
        loss = losses(members.reshape(-1, u.shape[1])).reshape(len(begin), size)
        for k, search in enumerate(searches):
            search.tell(list(asked[k]), np.minimum(loss[k], _WORST).tolist())
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
    """The rows on all devices, with copies of the last one until all have as many."""
    devices = jax.local_devices()
    rows = np.concatenate([rows, np.repeat(rows[-1:], -len(rows) % len(devices), axis=0)])
    sharding = NamedSharding(Mesh(np.array(devices), ("rows",)), PartitionSpec("rows"))
    return jax.device_put(rows.astype(dtype), sharding)
