"""The likelihood of a fit with Gaussian residuals, its profiles, and a bootstrap."""

import dataclasses
import math
from statistics import NormalDist
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .._base.arguments import as_number
from .._base.devices import of_a_batch
from .._base.host import known_are, Progress
from .._base.parameters import check_size, shown
from .._base.random import check_key
from .._base.tables import Printed, Table
from ..losses import Trace
from ._free import Free, values_of
from ._problem import AbstractProblem, Shooting, slopes_at
from ._protocol import Protocol
from ._solve import levenberg_marquardt, tolerance

_FEW = 10  # tangents, up to which a forward-mode gradient is cheaper than a reverse one
_WIDENED = 3  # times that a grid is made twice as wide, where its ends are still too good
_FAR = 8.0  # that an unknown moves, at most
_STEPS = 50  # of a fit that starts near its optimum


def problem_of(fit: Any, name: str) -> AbstractProblem:
    """What a fit minimised last."""
    if fit.problem is None or fit.count is None:
        raise ValueError(
            f"`{name}` needs the problem that was fitted, and this fit has none: it was loaded from an older "
            "file or from one that could not hold its loss. Call hh.fit again."
        )
    return fit.problem


def criteria(fit: Any) -> tuple[float, float, float]:
    """The log likelihood at the optimum, AIC and BIC; the variance of the residuals is a parameter too."""
    problem_of(fit, "aic")
    N, k = fit.count, fit.u.size + 1
    log = -N / 2 * (math.log(2 * math.pi * fit.loss) + 1)
    return log, 2 * k - 2 * log, k * math.log(N) - 2 * log


def log_likelihood(problem: AbstractProblem, count: Array, u: Array, lanes: int = 1) -> Array:
    """Of u, without a constant, where the variance of the residuals is unknown: −N/2·log Σr².

    It is also what is left of the likelihood of normal residuals when their standard deviation, with
    a prior of 1/sd, is integrated out.
    """
    zero, half = jnp.zeros((), u.dtype), -0.5 * count
    if problem.directions > _FEW:
        return half * jnp.log(problem.loss(u, zero, lanes))
    at = jax.lax.stop_gradient(u)
    with of_a_batch():
        r, J = problem.jacobian(at, zero)
    loss = (r**2).sum()
    slope = 2 * half * (r @ J) / loss
    # A line with the value and the slope there, of which reverse mode has nothing more to work out.
    return half * jnp.log(loss) + jax.lax.stop_gradient(slope) @ (u - at)


class _Held(AbstractProblem):
    """The same problem with some of its unknowns held where they start."""

    model: Any
    free: Free
    problem: Any
    held: Array  # shape (U,)

    @property
    def runs(self) -> Protocol:
        return self.problem.runs

    @property
    def directions(self) -> int:
        return self.problem.directions

    def residuals(self, u: Array, strength: Array, adjoint: diffrax.AbstractAdjoint) -> Array:
        return self.problem.residuals(u, strength, adjoint)

    def jacobian(self, u: Array, strength: Array) -> tuple[Array, Array]:
        r, J = self.problem.jacobian(u, strength)
        return r, jnp.where(self.held, 0.0, J)


class _Redrawn(_Held):
    """The same problem with other data for each start, whose number is the last, held unknown."""

    targets: Array  # mV, shape (starts, sweeps, times, n)

    def _of(self, u: Array) -> Shooting:
        target = self.targets[u[-1].astype(int)]
        return eqx.tree_at(lambda p: p.protocol.target, self.problem, target)

    def residuals(self, u: Array, strength: Array, adjoint: diffrax.AbstractAdjoint) -> Array:
        return self._of(u).residuals(u[:-1], strength, adjoint)

    def jacobian(self, u: Array, strength: Array) -> tuple[Array, Array]:
        r, J = self._of(u).jacobian(u[:-1], strength)
        return r, jnp.concatenate([J, jnp.zeros_like(J[:, :1])], axis=1)


def _refit(problem: AbstractProblem, u: Array) -> tuple[Array, np.ndarray, list[str]]:
    """Where every row of u ends, the losses there, and why."""
    quiet = Progress(diffrax.NoProgressMeter(), 1)
    with jax.enable_x64(u.dtype == jnp.float64):
        solved = levenberg_marquardt(problem, u, 0.0, _STEPS, tolerance(u.dtype), quiet.advance)
    return solved.u, np.where(np.array(solved.reasons) == "blew up", np.inf, solved.loss), solved.reasons


@dataclasses.dataclass(frozen=True)
class Profile(Printed):
    """What [`hh.Fit.profile`][] returns: how much worse the fit is where one parameter is held elsewhere.

    **Fields:**

    - `name`, `unit`: of the parameter; `names`: of all, P of them.
    - `grid`: its values, increasing, shape (points,).
    - `deviance`: twice the fall of the log likelihood from its top, all other unknowns fitted
        anew, (points,): N·log of the loss over the least one.
    - `values`: of all parameters there, (points, P).
    - `level`: of the interval; `limit`: the deviance at its ends, by χ² with one degree of freedom.
    - `interval`: its ends, by interpolation; infinite where the grid does not reach so far.
    """

    name: str
    unit: str
    names: tuple[str, ...]
    grid: np.ndarray
    deviance: np.ndarray
    values: np.ndarray
    level: float
    limit: float
    interval: tuple[float, float]

    def _tables(self) -> list[Table]:
        rows = [(f"{x:.6g}", f"{d:.3g}") for x, d in zip(self.grid, self.deviance)]
        low, high = self.interval
        note = f"{100 * self.level:.3g} % interval of {self.name}: {low:.6g} to {high:.6g} {self.unit}"
        headers = (f"{self.name} ({self.unit})" if self.unit else self.name, "deviance")
        return [Table(headers, rows, "", [note], left=())]


def profile(fit: Any, name: str, points: int, level: float) -> Profile:
    """See `hh.Fit.profile`."""
    problem = problem_of(fit, "profile")
    if name not in fit.names:
        raise ValueError(
            f"`name` must be a free parameter, got {shown(name)}.{known_are(str(name), fit.names)}"
        )
    check_size("points", points, 4)
    level = as_number("level", level, least=0.0, most=1.0)
    limit = NormalDist().inv_cdf((1 + level) / 2) ** 2
    which, u = fit.names.index(name), fit.u
    held = _Held(problem.model, problem.free, problem, jnp.arange(u.size) == which)
    along, reach = _direction(fit, problem, which)
    most = _FAR / reach
    ends = np.clip(1.5 * math.sqrt(limit) * np.array([-1.0, 1.0]), -most, most)
    found: dict[float, tuple] = {}
    for _ in range(1 + _WIDENED):
        t = np.linspace(ends[0], ends[1], points)
        starts = jnp.asarray(np.asarray(u, float) + (t * reach)[:, None] * along, u.dtype)
        at, loss, _ = _refit(held, starts)
        found |= zip(t.tolist(), zip(loss, np.asarray(values_of(problem.free, at))))
        found = dict(sorted(found.items()))
        losses = np.array([loss for loss, _ in found.values()])
        deviance = fit.count * np.log(losses / min(fit.loss, losses.min()))
        short = (deviance[[0, -1]] < limit) & (np.abs(ends) < most)
        if not short.any():
            break
        ends = np.clip(np.where(short, 2 * ends, ends), -most, most)
    all_values = np.array([values for _, values in found.values()])
    grid = all_values[:, which]
    interval = _crossing(grid, deviance, limit)
    return Profile(name, fit.units[which], fit.names, grid, deviance, all_values, level, limit, interval)


def _direction(fit: Any, problem: AbstractProblem, which: int) -> tuple[np.ndarray, float]:
    """How all unknowns follow one of them, and its standard error."""
    r, J = (np.asarray(x, float) for x in slopes_at(problem, fit.u))
    size = np.linalg.norm(J, axis=0)
    scale = np.where(size > 0, size, 1.0)
    others = np.arange(len(scale)) != which
    along = np.eye(len(scale))[which]
    along[others] = np.linalg.lstsq((J / scale)[:, others], -J[:, which], rcond=1e-6)[0] / scale[others]
    rise = float(np.linalg.norm(J @ along)) * math.sqrt(fit.count / max(r @ r, 1e-300))
    return along, min(1 / max(rise, 1e-300), 2.0)


def _crossing(grid: np.ndarray, deviance: np.ndarray, limit: float) -> tuple[float, float]:
    """Where the deviance crosses the limit, on either side of its least value."""
    root, best = np.sqrt(np.maximum(deviance, 0.0)), int(np.argmin(deviance))
    ends = []
    for side, open_end in ((slice(best, None, -1), -np.inf), (slice(best, None), np.inf)):
        x, y = grid[side], root[side]
        above = np.flatnonzero(y >= math.sqrt(limit))
        k = above[0] if above.size else 0
        if not k:
            ends.append(open_end)
        elif np.isfinite(y[k]):
            ends.append(x[k - 1] + (math.sqrt(limit) - y[k - 1]) * (x[k] - x[k - 1]) / (y[k] - y[k - 1]))
        else:  # where the model blew up
            ends.append(x[k])
    return float(ends[0]), float(ends[1])


@dataclasses.dataclass(frozen=True)
class Bootstrap(Printed):
    """What [`hh.Fit.bootstrap`][] returns: fits to data drawn from the fitted model.

    **Fields:** `names`, `units`: of the parameters, P of them; `values`: those of every draw, shape
    (n, P), NaN where the model blew up; `reasons`: why each fit stopped; `estimate`: the fit's own, (P,).
    """

    names: tuple[str, ...]
    units: tuple[str, ...]
    values: np.ndarray
    reasons: tuple[str, ...]
    estimate: np.ndarray

    @property
    def standard_errors(self) -> np.ndarray:
        """Standard deviations of the parameters, shape (P,)."""
        return np.nanstd(self.values, axis=0, ddof=1)

    def interval(self, level: float = 0.9) -> np.ndarray:
        """What holds each parameter with this probability, with as much on either side, shape (P, 2)."""
        return central_interval(self.values, level)

    def _tables(self) -> list[Table]:
        numbers = zip(self.estimate, self.standard_errors, *self.interval().T)
        rows = [
            (name, f"{value:.6g}", f"{error:.2g}", f"{low:.6g}", f"{high:.6g}", unit)
            for name, unit, (value, error, low, high) in zip(self.names, self.units, numbers)
        ]
        good = sum(reason == "converged" for reason in self.reasons)
        headers = ("parameter", "estimate", "std. error", "5 %", "95 %", "unit")
        notes = [f"{len(self.reasons)} fits to drawn data, {good} of which converged"]
        return [Table(headers, rows, "", notes, left=(0, 5), most=len(rows))]


def central_interval(draws: np.ndarray, level: float) -> np.ndarray:
    """From draws of shape (draws, P), (P, 2)."""
    level = as_number("level", level, least=0.0, most=1.0)
    return np.nanquantile(draws, [(1 - level) / 2, (1 + level) / 2], axis=0).T


def bootstrap(fit: Any, key: Array, n: int) -> Bootstrap:
    """See `hh.Fit.bootstrap`."""
    problem = problem_of(fit, "bootstrap")
    if not (type(problem) is Shooting and isinstance(problem.objective, Trace)):
        raise ValueError(
            "`bootstrap` draws traces with independent noise and so needs a fit whose last stage compared "
            "traces alone, by hh.losses.Trace(). Take `sample` or `profile`."
        )
    check_key("key", key, needed=True)
    check_size("n", n, 2)
    u, target = fit.u, np.asarray(fit.data)
    objective, full = problem.objective, lambda x: np.broadcast_to(np.asarray(x, float), target.shape)
    weights = full(1.0 if objective.weights is None else objective.weights)
    sd = np.where(weights > 0, full(objective.sd) / np.sqrt(np.where(weights > 0, weights, 1.0)), 0.0)
    sd = math.sqrt(fit.loss * fit.count / max(fit.count - u.size, 1)) * sd
    noise = np.asarray(jax.random.normal(key, (n, *target.shape), u.dtype))
    targets = np.where(np.isnan(target), np.nan, np.asarray(fit.V) + sd * noise)
    held = jnp.arange(u.size + 1) == u.size
    redrawn = _Redrawn(problem.model, problem.free, problem, held, jnp.asarray(targets, u.dtype))
    starts = jnp.concatenate([jnp.tile(u, (n, 1)), jnp.arange(n, dtype=u.dtype)[:, None]], axis=1)
    at, loss, reasons = _refit(redrawn, starts)
    values = np.where(np.isfinite(loss)[:, None], np.asarray(values_of(problem.free, at)), np.nan)
    return Bootstrap(fit.names, fit.units, values, tuple(reasons), fit.values)
