"""Remedies for long spiking traces, which defeat descent from a poor start."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .._base.arguments import as_host
from .._base.parameters import check_size, shown
from .._base.windows import takes_samples
from ..losses import Trace
from ._problem import AbstractProblem, flat_state, MultipleShootingProblem, Shooting
from ._protocol import make_protocol, run, split

_FOLLOWING = 10.0  # 1/ms; at this rate a model follows the data through a spike


@dataclasses.dataclass(frozen=True)
class Nudging:
    """Draw the model to the data, ever less during the fit.

    At each sample V takes over 1 − exp(−rate·Δ) of what it differs by from the data, Δ being the time
    between samples, so that the model's spikes fall where the data's do however poor the
    parameters, and the residual has a slope (H. D. I. Abarbanel et al., SIAM J. Appl. Dyn. Syst. 8, 1341
    (2009); J. Brookings et al., J. Neurophysiol. 112, 2332 (2014)). A sample is compared before it is
    taken over.

    **Fields:** `rates`: 1/ms, one stage of the fit for each, before the last stage at 0;
    `steps`: at most so many iterations for each stage.
    """

    rates: tuple[float, ...] = (10.0, 3.0, 1.0, 0.3, 0.1)
    steps: int = 20

    def __post_init__(self) -> None:
        _check(self, "rates", self.rates, self.steps)


@dataclasses.dataclass(frozen=True)
class MultipleShooting:
    """Cut every sweep in segments with start states of their own, and close the gaps.

    The start states are unknowns besides the parameters; the squared gaps between the end
    of a segment and the start of the next are weighted more from stage to stage (H. G.
    Bock, in *Modelling of Chemical Reaction Systems*, Springer 1981). They begin where a
    model nudged to the data would be. Fits the trace alone in these stages.

    **Fields:** `segments`: of each sweep; `penalties`: weights of the gaps, one stage of
    the fit for each, before the last stage without cuts; `steps`: at most so many
    iterations for each stage.
    """

    segments: int = 40
    penalties: tuple[float, ...] = (10.0, 100.0, 1000.0)
    steps: int = 40

    def __post_init__(self) -> None:
        _check(self, "penalties", self.penalties, self.steps)
        check_size("MultipleShooting.segments", self.segments, 2)


def _check(guide: Any, name: str, stages: tuple[float, ...], steps: int) -> None:
    kind = type(guide).__name__
    as_host(f"{kind}.{name}", stages, axes="(stages,)", least=1, positive=True)
    check_size(f"{kind}.steps", steps)


def stages(
    guide: Any, problem: Shooting, params: Array
) -> tuple[AbstractProblem, Array, list[tuple[float, int]]]:
    """The guided problem, its unknowns, and the strength and the iterations of every stage.

    `params`: unknowns of the parameters, shape (starts, P).
    """
    if guide is None or isinstance(guide, Nudging):
        rates = guide.rates if guide else ()
        steps = guide.steps if guide else 0
        return problem, _starts(problem, params), [(rate, steps) for rate in rates]
    if isinstance(guide, MultipleShooting):
        guided, starts = _cut(guide.segments, problem, params)
        return guided, jnp.concatenate([params, starts], axis=1), [(w, guide.steps) for w in guide.penalties]
    raise TypeError(f"`guide` must be None, hh.Nudging() or hh.MultipleShooting(), got {shown(guide)}.")


@eqx.filter_jit
def _starts(problem: Shooting, params: Array) -> Array:
    return jax.vmap(problem.start)(params)


def release(guided: AbstractProblem, problem: Shooting, u: Array) -> Array:
    """Unknowns of the free-running `problem` from those of the guided one, shape (starts, U)."""
    if not isinstance(guided, MultipleShootingProblem):
        return u
    return _released(guided, problem, u)


@eqx.filter_jit
def _released(guided: MultipleShootingProblem, problem: Shooting, u: Array) -> Array:
    P, start = len(problem.free.names), problem.protocol.start
    states = u[:, P:].reshape(u.shape[0], len(problem.protocol.target), -1, guided.state_size)[:, :, 0]
    begin = jax.vmap(jax.vmap(lambda x: start.unknown_of(guided.state(x))))(states)
    return jnp.concatenate([u[:, :P], begin.reshape(u.shape[0], -1)], axis=1)


def _cut(segments: int, problem: Shooting, params: Array) -> tuple[MultipleShootingProblem, Array]:
    """The sweeps in segments of equal length, and their start states for every row of `params`."""
    protocol = problem.protocol
    if split(problem.model)[1].at is not None:
        raise ValueError("`guide` must be hh.Nudging() or None for V of one place, got hh.MultipleShooting.")
    sweeps, times, n = protocol.target.shape
    length = (times - 1) // segments
    if length < 1:
        raise ValueError(
            f"`MultipleShooting.segments` = {segments} is more than the {times - 1} sampling intervals."
        )
    begins = np.arange(segments) * length
    window = begins[:, None] + np.arange(length + 1)
    pieces = lambda x: x[:, window].reshape((sweeps * segments, length + 1) + x.shape[2:])
    whole, loss = protocol.target, problem.objective
    if isinstance(loss, Trace):
        whole = jnp.where(takes_samples(protocol.times, loss.start, loss.stop)[None, :, None], whole, jnp.nan)
    target = pieces(whole)
    # The last sample of a segment is the first of the next, which counts it.
    inner = jnp.arange(sweeps * segments) % segments != segments - 1
    target = target.at[:, -1].set(jnp.where(inner[:, None], jnp.nan, target[:, -1]))
    parts = make_protocol(
        protocol.ts[: length + 1],
        target,
        pieces(protocol.injected),
        pieces(protocol.seen),
        jax.tree.map(lambda x: jnp.repeat(x, segments, axis=0), protocol.start),
        dt=protocol.dt,
        stride=protocol.stride,
        held=protocol.held,
        solver=protocol.solver,
    )
    first = jnp.arange(sweeps * segments) % segments == 0
    sd = loss.sd if isinstance(loss, Trace) else jnp.ones(())
    objective = Trace(sd=pieces(jnp.broadcast_to(sd, protocol.target.shape)) if sd.ndim else sd)
    guided = MultipleShootingProblem(problem.model, problem.free, parts, objective, first)
    return guided, _following(problem, params, jnp.asarray(begins))


@eqx.filter_jit
def _following(problem: Shooting, params: Array, samples: Array) -> Array:
    """The states at these samples of all sweeps while nudged to the data, for every row of `params`."""

    def follow(params: Array) -> Array:
        nudge = jnp.asarray(_FOLLOWING, params.dtype)
        model, begin = problem.unpack(problem.start(params))
        states = run(problem.protocol, model, begin, nudge, save=lambda t, y, args: y)
        at = jax.tree.map(lambda x: x[:, samples].reshape((-1,) + x.shape[2:]), states)
        return jax.vmap(lambda y: flat_state(y)[0])(at).ravel()

    return jax.vmap(follow)(params)
