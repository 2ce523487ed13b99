"""Samples of the posterior of a fit, by NUTS whitened by the fit's covariance."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .._base.arguments import as_number
from .._base.host import check_meter, known_are, Progress, warn
from .._base.parameters import check_size, shown
from .._base.random import check_key
from .._base.tables import Printed, Table
from .._io.labels import dataset, Labelled
from . import _chains
from ._likelihood import central_interval, log_likelihood, problem_of
from ._problem import AbstractProblem
from ._protocol import run

_BLOCK = 50  # transitions between two looks at the chains
_WIDEST = 10.0  # of an unknown; where the data and the prior leave it open
_DOUBLINGS = 8  # of a trajectory, at most
_MIXED = 1.05  # R-hat above which is warned


@dataclasses.dataclass(frozen=True)
class Posterior(Printed):
    """What [`hh.Fit.sample`][] returns: draws from the posterior of a fit.

    **Fields:**

    - `names`, `units`: of the parameters, P of them.
    - `values`: the draws, shape (chains, samples, P); `u`: of all unknowns, initial potentials
        too, (chains, samples, U).
    - `log_density`: of each draw, without a constant, (chains, samples).
    - `diverged`: whether the trajectory to it did, (chains, samples): more than a few
        say that the sampler did not get everywhere.
    - `r_hat`: rank-normalised split R-hat, (P,): 1 where the chains agree.
    - `effective`: effective samples for means, `effective_tail`: for the ends of 90 % intervals, (P,).
    - `gradients`: how many gradients it took, warm-up included.
    - `fit`: where it comes from.
    """

    names: tuple[str, ...]
    units: tuple[str, ...]
    values: np.ndarray
    u: np.ndarray
    log_density: np.ndarray
    diverged: np.ndarray
    r_hat: np.ndarray
    effective: np.ndarray
    effective_tail: np.ndarray
    gradients: int
    fit: Any

    @property
    def mean(self) -> np.ndarray:
        """Of each parameter, shape (P,)."""
        return self.values.mean(axis=(0, 1))

    @property
    def sd(self) -> np.ndarray:
        """Standard deviation of each parameter, shape (P,)."""
        return self.values.std(axis=(0, 1))

    def interval(self, level: float = 0.9) -> np.ndarray:
        """What holds each parameter with this probability, with as much on either side, shape (P, 2)."""
        return central_interval(self.values.reshape(-1, len(self.names)), level)

    def derive(self, fn: Callable[[Any], Any]) -> np.ndarray:
        """A quantity that follows from the parameters, for every draw.

        **Arguments:** `fn`: a function of the model (of both, for a pair) that returns an array.

        **Returns:** shape (chains, samples, ...).
        """
        free, model = self.fit.free, self.fit.model

        def of_values(values: Array) -> Any:
            there = free.put(model, values)
            return fn(*there) if isinstance(there, tuple) else fn(there)

        return np.asarray(jax.jit(jax.vmap(jax.vmap(of_values)))(jnp.asarray(self.values)))

    def predict(self, draws: int = 100) -> np.ndarray:
        """The membrane potential of the free-running model at some of the draws, evenly spaced ones.

        **Returns:** mV at `fit.ts`, without measurement noise, shape (draws, sweeps, times, n).
        """
        u = self.u.reshape(-1, self.u.shape[-1])
        at = np.linspace(0, len(u) - 1, min(check_size("draws", draws), len(u))).round().astype(int)
        problem = problem_of(self.fit, "predict")
        return np.asarray(_traces(problem, jnp.asarray(u[at], self.fit.u.dtype)))

    def to_xarray(self) -> Any:
        """The draws as an `xarray.Dataset` in ArviZ's layout: a variable for each parameter, of the
        dimensions chain and draw (`pip install 'hhjax[bayes]'`)."""
        each = zip(self.names, self.units, np.moveaxis(self.values, -1, 0))
        variables = {name: Labelled(("chain", "draw"), x, {"units": unit}) for name, unit, x in each}
        return dataset(variables, self._coordinates(), {"inference_library": "hhjax"})

    def to_arviz(self) -> Any:
        """An `xarray.DataTree` of the groups that ArviZ knows: posterior, sample_stats and observed_data.

        ArviZ 1 takes it as it is, older ones by `arviz.from_datatree`.
        """
        posterior = self.to_xarray()
        import xarray

        stats = {"lp": self.log_density, "diverging": self.diverged}
        stats = {name: Labelled(("chain", "draw"), x, {}) for name, x in stats.items()}
        data = {"V": Labelled(("sweep", "time", "neuron"), np.asarray(self.fit.data), {"units": "mV"})}
        times = {"time": Labelled(("time",), np.asarray(self.fit.ts), {"units": "ms"})}
        groups = {"posterior": posterior, "sample_stats": dataset(stats, self._coordinates(), {})}
        return xarray.DataTree.from_dict(groups | {"observed_data": dataset(data, times, {})})

    def _coordinates(self) -> dict[str, Labelled]:
        sizes = zip(("chain", "draw"), self.values.shape)
        return {name: Labelled((name,), np.arange(size), {}) for name, size in sizes}

    def _tables(self) -> list[Table]:
        columns = self.mean, self.sd, *self.interval().T, self.r_hat, self.effective, self.effective_tail
        formats = (".6g", ".2g", ".6g", ".6g", ".3f", ".0f", ".0f")
        rows = [
            (name, *(format(x[k], form) for x, form in zip(columns, formats)), unit)
            for k, (name, unit) in enumerate(zip(self.names, self.units))
        ]
        chains, samples = self.log_density.shape
        note = f"{chains} chains of {samples} samples, {int(self.diverged.sum())} of which diverged"
        headers = ("parameter", "mean", "sd", "5 %", "95 %", "R-hat", "effective", "of the tails", "unit")
        return [Table(headers, rows, "", [note], left=(0, 8), most=len(rows))]


@eqx.filter_jit
def _traces(problem: Any, u: Array) -> Array:
    def trace(u: Array) -> Array:
        model, v0 = problem.unpack(u)
        return run(problem.protocol, model, v0, jnp.zeros((), u.dtype))

    return jax.lax.map(trace, u, batch_size=16)


class _Normal(eqx.Module):
    mean: Array
    sd: Array
    of_log: bool

    def __call__(self, x: Array) -> Array:
        if not self.of_log:
            return -0.5 * ((x - self.mean) / self.sd) ** 2
        there = jnp.where(x > 0, x, 1.0)
        density = -0.5 * ((jnp.log(there) - jnp.log(self.mean)) / self.sd) ** 2 - jnp.log(there)
        return jnp.where(x > 0, density, -jnp.inf)


def _as_prior(name: str, given: Any, dtype: Any) -> Callable:
    """A log density from a function, or from ("normal", mean, sd) or ("lognormal", median, sd)."""
    if callable(given):
        out = jax.eval_shape(given, jax.ShapeDtypeStruct((), dtype))
        if getattr(out, "shape", None) != ():
            raise ValueError(f"`priors[{name!r}]` must return a scalar log density, got {shown(out)}.")
        return given
    kinds = ("normal", "lognormal")
    if not (isinstance(given, (tuple, list)) and len(given) == 3 and given[0] in kinds):
        raise ValueError(
            f"`priors[{name!r}]` must be a log density, a function of the value, or ('normal', mean, sd) or "
            f"('lognormal', median, sd of the logarithm), got {shown(given)}."
        )
    mean = as_number(f"priors[{name!r}][1]", given[1], positive=given[0] == "lognormal")
    sd = as_number(f"priors[{name!r}][2]", given[2], positive=True)
    return _Normal(jnp.asarray(mean, dtype), jnp.asarray(sd, dtype), given[0] == "lognormal")


class _Target(eqx.Module):
    """The log density of the posterior at u = centre + axes·z, as a function of z."""

    problem: AbstractProblem
    count: Array
    priors: dict[str, Callable]
    centre: Array
    axes: Array
    chains: int

    def prior(self, u: Array) -> Array:
        """The log density of the unknowns before the data are seen."""
        free = self.problem.free
        params = u[: len(free.names)]
        values = free.to_values(params)
        given = [prior(values[free.names.index(name)]) for name, prior in self.priors.items()]
        return free.log_slopes(params).sum() + sum(given)

    def __call__(self, z: Array) -> Array:
        u = self.centre + self.axes @ z
        density = log_likelihood(self.problem, self.count, u, self.chains) + self.prior(u)
        return jnp.where(jnp.isnan(density), -jnp.inf, density)


@eqx.filter_jit
def _curvature(target: _Target, u: Array) -> tuple[Array, Array, Array]:
    """Residuals and their Jacobian, and the second derivatives of minus the prior's log density."""
    slope = jax.grad(target.prior)
    along = lambda k: jax.jvp(slope, (u,), (jax.nn.one_hot(k, u.size, dtype=u.dtype),))[1][k]
    return *target.problem.compressed(u, jnp.zeros((), u.dtype)), -jax.vmap(along)(jnp.arange(u.size))


def _whitened(target: _Target, u: Array) -> _Target:
    """The target as a function of z that is about standard normal."""
    r, J, curvature = (np.asarray(x, float) for x in _curvature(target, u))
    precision = float(target.count) / max(r @ r, 1e-300) * J.T @ J
    precision += np.diag(np.maximum(np.nan_to_num(curvature), 0.0) + _WIDEST**-2)
    axes = np.linalg.inv(np.linalg.cholesky(precision)).T
    return eqx.tree_at(lambda t: (t.centre, t.axes), target, (u, jnp.asarray(axes, u.dtype)))


@jax.jit
def _first_sizes(steps: Array) -> Any:
    """The adaptation of each chain's steps, from their first size."""
    from blackjax.adaptation.step_size import dual_averaging_adaptation

    sizes = jax.vmap(dual_averaging_adaptation(0.8)[0])(steps)
    return jax.tree.map(lambda x: jnp.asarray(x, x.dtype), sizes)  # of no weak type, for one compilation


@eqx.filter_jit
def _begin(target: _Target, key: Array) -> Any:
    """A state for each chain, spread as the posterior is."""
    from blackjax.mcmc.hmc import HMCState

    z = jax.random.normal(key, (target.chains, target.centre.size), target.centre.dtype)
    z = jnp.concatenate([z, jnp.zeros_like(z[:1])])
    density, slope = jax.vmap(jax.value_and_grad(target))(z)
    # Where a model blows up, its chain starts at the optimum.
    at = jnp.where(jnp.isfinite(density[:-1]), jnp.arange(target.chains), target.chains)
    return HMCState(z[at], density[at], slope[at])


@eqx.filter_jit
def _advance(
    target: _Target, states: Any, sizes: Any, covariance: Array, key: Array, adapts: Array
) -> tuple[Any, Any, tuple]:
    """So many transitions of every chain, which adapt the sizes of steps or not."""
    import blackjax
    from blackjax.adaptation.step_size import dual_averaging_adaptation

    kernel, update = blackjax.nuts.build_kernel(), dual_averaging_adaptation(0.8)[1]

    def transition(carry: tuple, key: Array) -> tuple[tuple, tuple]:
        state, size = carry
        step = jnp.exp(jnp.where(adapts, size.log_step_size, size.log_step_size_avg))
        state, info = kernel(key, state, target, step, covariance, _DOUBLINGS)
        adapted = update(size, info.acceptance_rate)
        size = jax.tree.map(lambda new, old: jnp.where(adapts, new, old).astype(old.dtype), adapted, size)
        seen = state.position, state.logdensity, info.is_divergent, info.num_integration_steps
        return (state, size), seen

    def chain(state: Any, size: Any, keys: Array) -> tuple:
        return jax.lax.scan(transition, (state, size), keys)

    (states, sizes), seen = jax.vmap(chain)(states, sizes, jax.random.split(key, (target.chains, _BLOCK)))
    return states, sizes, seen


def sample(
    fit: Any, key: Array, chains: int, samples: int, warmup: int, priors: Any, progress_meter: Any
) -> Posterior:
    """See `hh.Fit.sample`."""
    problem = problem_of(fit, "sample")
    check_key("key", key, needed=True)
    for name, x, least in (("chains", chains, 1), ("samples", samples, 4), ("warmup", warmup, 0)):
        check_size(name, x, least)
    check_meter(progress_meter)
    priors = {} if priors is None else priors
    if not isinstance(priors, Mapping):
        raise TypeError(f"`priors` must be a dict from names to densities, got {shown(priors)}.")
    for name in priors:
        if name not in fit.names:
            raise ValueError(f"`priors` names {name!r}, which is not free.{known_are(str(name), fit.names)}")
    u = fit.u
    priors = {name: _as_prior(name, x, u.dtype) for name, x in priors.items()}
    _warn_of_open(fit, priors)
    try:
        import blackjax  # noqa: F401
    except ImportError as error:
        raise ImportError("`sample` needs blackjax: pip install 'hhjax[bayes]'.") from error

    count, axes = jnp.asarray(fit.count, u.dtype), jnp.eye(u.size, dtype=u.dtype)
    target = _whitened(_Target(problem, count, priors, u, axes, int(chains)), u)
    blocks = math.ceil(warmup / _BLOCK), math.ceil(samples / _BLOCK)
    progress = Progress(progress_meter, sum(blocks))
    # blackjax makes numbers in the default float type, and mixes types and ranks.
    x64 = jax.enable_x64(u.dtype == jnp.float64)
    with x64, jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        key, first = jax.random.split(key)
        states, sizes = _begin(target, first), _first_sizes(jnp.full(chains, 0.8, u.dtype))
        covariance, gradients, kept, since = axes, 0, [], 0
        for block in range(sum(blocks)):
            adapts = jnp.asarray(block < blocks[0])
            now = jax.random.fold_in(key, block)
            states, sizes, seen = _advance(target, states, sizes, covariance, now, adapts)
            kept.append([np.asarray(x) for x in seen])
            gradients += int(kept[-1][-1].sum())
            progress.advance()
            # What the curvature at the optimum did not tell, all chains do, after 2, 4, 8, … blocks.
            if block + 1 < blocks[0] and block + 1 - since == max(since, 2):
                z = np.concatenate([x[0].reshape(-1, u.size) for x in kept[since:]])
                covariance, since = jnp.asarray(_shrunk(z), u.dtype), block + 1
                sizes = _first_sizes(jnp.exp(sizes.log_step_size_avg))
    progress.close()
    z, density, diverged, _ = (np.concatenate(x, axis=1)[:, :samples] for x in zip(*kept[blocks[0] :]))
    return _posterior(fit, target, z, density, diverged, gradients)


def _shrunk(z: np.ndarray) -> np.ndarray:
    """The covariance of draws (draws, U), with as much of the identity as U and no more draws would want."""
    draws, U = z.shape
    z = z.astype(float)
    return (np.cov(z, rowvar=False).reshape(U, U) * draws + 5 * U * np.eye(U)) / (draws + 5 * U)


@eqx.filter_jit
def _values(target: _Target, z: Array) -> tuple[Array, Array]:
    u = target.centre[None] + z @ target.axes.T
    free = target.problem.free
    return u, jax.vmap(free.to_values)(u[:, : len(free.names)])


def _posterior(
    fit: Any, target: _Target, z: np.ndarray, density: np.ndarray, diverged: np.ndarray, gradients: int
) -> Posterior:
    shape = z.shape[:2]
    flat = _values(target, jnp.asarray(z.reshape(-1, z.shape[-1])))
    u, values = (np.asarray(x).reshape(*shape, -1) for x in flat)
    each = [np.asarray(x, float) for x in np.moveaxis(values, -1, 0)]
    of_each = lambda measure: np.array([measure(x) for x in each])
    r_hat, bulk, tail = of_each(_chains.r_hat), of_each(_chains.bulk), of_each(_chains.tail)
    worst = int(np.argmax(np.nan_to_num(r_hat, nan=np.inf)))
    if not r_hat[worst] < _MIXED:
        warn(
            f"The chains do not agree: R-hat of {fit.names[worst]} is {r_hat[worst]:.2f}, above {_MIXED:g}. "
            "Take more samples or a longer warm-up, or give priors for what the data leave open."
        )
    return Posterior(fit.names, fit.units, values, u, density, diverged, r_hat, bulk, tail, gradients, fit)


def _warn_of_open(fit: Any, priors: Mapping[str, Any]) -> None:
    """Warn of parameters on which neither data, bounds nor a prior set a limit."""
    low, high = np.asarray(fit.free.low), np.asarray(fit.free.high)
    unlimited = np.isinf(fit.standard_errors) & ~(np.isfinite(low) & np.isfinite(high))
    names = [name for name, is_open in zip(fit.names, unlimited) if is_open and name not in priors]
    if names:
        warn(
            f"The data do not determine {', '.join(names)}, and nothing else limits them: give `bounds` on "
            "both sides to the fit, or `priors`."
        )
