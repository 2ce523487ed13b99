"""Residuals of a fit and their Jacobian, of the free-running or a guided model."""

import abc
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array

from .._base.devices import lanes_are_slow
from .._model.neuron import State
from .._run.loop import reverse_adjoint
from .._run.simulate import simulate
from ..losses import AbstractLoss
from ._clamp import Clamped
from ._free import Free
from ._protocol import Protocol, run, split
from ._start import V_SCALE

# A start that blows up gets this residual and no slope: worse than any real one.
_BLOWN_UP = 1e6


def _triangle(rows: Array) -> Array:
    """R of rows = QR, with a positive diagonal."""
    R = jnp.linalg.qr(rows, mode="r")
    return R * jnp.where(jnp.diagonal(R) < 0, -1.0, 1.0).astype(R.dtype)[:, None]


class AbstractProblem(eqx.Module):
    """Residuals as a function of a vector of unknowns, and of how strongly they are guided."""

    model: eqx.AbstractVar[Any]
    free: eqx.AbstractVar[Free]

    @property
    @abc.abstractmethod
    def runs(self) -> Protocol:
        """What is run for one vector of unknowns."""

    @property
    @abc.abstractmethod
    def directions(self) -> int:
        """How many tangents a Jacobian pushes through a run."""

    @abc.abstractmethod
    def residuals(self, u: Array, strength: Array, adjoint: diffrax.AbstractAdjoint) -> Array:
        """Residuals at the unknowns u, shape (R,)."""

    @abc.abstractmethod
    def jacobian(self, u: Array, strength: Array) -> tuple[Array, Array]:
        """Residuals r and their derivatives J by u, forward mode, perhaps in fewer rows.

        Rows may be rotated: a least-squares step sees the lengths and angles of the columns
        of [J r] alone.
        """

    def compressed(self, u: Array, strength: Array) -> tuple[Array, Array]:
        """Residuals and Jacobian in U + 1 rows at most, which make the same steps."""
        r, J = self.jacobian(u, strength)
        both = jnp.concatenate([J, r[:, None]], axis=1)
        finite = jnp.isfinite(both).all()
        R = _triangle(jnp.where(finite, both, 0.0))
        return jnp.where(finite, R[:, -1], _BLOWN_UP), R[:, :-1]

    def loss(self, u: Array, strength: Array, lanes: int = 1) -> Array:
        """The sum of squared residuals; differentiate it in reverse mode, in so many `lanes` at once."""
        protocol, (network, _) = self.runs, split(self.model)
        adjoint = reverse_adjoint(network, protocol.steps, lanes * len(protocol.target))
        return (self.residuals(u, strength, adjoint) ** 2).sum()


@eqx.filter_jit
def slopes_at(problem: AbstractProblem, u: Array) -> tuple[Array, Array]:
    """Compressed residuals and their Jacobian at u, without a guide."""
    return problem.compressed(u, jnp.zeros((), u.dtype))


class Shooting(AbstractProblem):
    """Each sweep is one run from its start to its end.

    The unknowns are the parameters, then what is free of the first state of every sweep. `clamps` are
    compared besides.
    """

    model: Any
    free: Free
    protocol: Protocol
    objective: AbstractLoss
    clamps: tuple[Clamped, ...] = ()

    @property
    def runs(self) -> Protocol:
        return self.protocol

    @property
    def directions(self) -> int:
        return len(self.free.names) + self.protocol.start.unknown.shape[1] + self.extra.size

    @property
    def extra(self) -> Array:
        """Where further unknowns of the problem, the last ones, start."""
        return jnp.zeros(0, self.protocol.target.dtype)

    def gain(self, u: Array) -> Array | None:
        """The share of its error that V takes over at every sample, (n,); `None` for what the guide says."""
        return None

    def start(self, params: Array) -> Array:
        """The unknowns for the parameters' unknowns `params`, shape (P,)."""
        return jnp.concatenate([params, jnp.ravel(self.protocol.start.unknown), self.extra])

    def unpack(self, u: Array) -> tuple[Any, Array]:
        """The model that u stands for, and what is free of the first states, see `Start.unknown`."""
        P, begin = len(self.free.names), self.protocol.start.unknown
        model = self.free.put(self.model, self.free.to_values(u[:P]))
        return model, u[P : P + begin.size].reshape(begin.shape)

    def residuals(self, u: Array, strength: Array, adjoint: diffrax.AbstractAdjoint) -> Array:
        own = self.errors(run(self.protocol, *self.unpack(u), strength, adjoint, gain=self.gain(u)))
        return self._with_clamps(own, self._of_clamps(u)) if self.clamps else own

    def _of_clamps(self, u: Array) -> Array:
        """Residuals of the currents in voltage clamp, shape (R,)."""
        model = self.unpack(u)[0]
        return jnp.concatenate([clamp.residuals(model) for clamp in self.clamps])

    def _with_clamps(self, own: Array, others: Array) -> Array:
        """Residuals, or their derivatives, with those of voltage clamps."""
        share = 1 - sum(clamp.share for clamp in self.clamps)
        return jnp.concatenate([jnp.sqrt(jnp.maximum(share, 0)) * own, others])

    def errors(self, V: Array) -> Array:
        """Residuals of the traces V (mV), shape (R,)."""
        return jnp.ravel(self.objective(self.protocol.times, V, self.protocol.target))

    def jacobian(self, u: Array, strength: Array) -> tuple[Array, Array]:
        P, (sweeps, _, n) = len(self.free.names), self.protocol.target.shape
        K, rest = self.protocol.start.unknown.shape[1], u.size - self.extra.size

        # A sweep depends on no other's first state: one tangent moves those of all.
        def traces(x: Array) -> Array:
            at = jnp.concatenate([x[:P], u[P:rest], x[P + K :]])
            model, begin = self.unpack(at)
            return run(self.protocol, model, begin + x[P : P + K][None], strength, gain=self.gain(at))

        here = jnp.concatenate([u[:P], jnp.zeros(K, u.dtype), u[rest:]])
        push = lambda along: jax.jvp(traces, (here,), (along,))
        along = jnp.eye(here.size, dtype=u.dtype)
        V, columns = jax.lax.map(push, along) if lanes_are_slow(sweeps * n) else jax.vmap(push)(along)
        V = V[0]  # the same in every direction
        one = jnp.eye(sweeps, dtype=u.dtype)[:, None, :, None, None]
        by_start = (one * columns[P : P + K][None]).reshape((sweeps * K,) + V.shape)
        columns = jnp.concatenate([columns[:P], by_start, columns[P + K :]])
        r, push = jax.linearize(self.errors, V)
        J = jax.vmap(push, out_axes=1)(columns)
        if not self.clamps:
            return r, J
        others, push = jax.linearize(lambda x: self._of_clamps(jnp.concatenate([x, u[P:]])), u[:P])
        by_parameters = jax.vmap(push, out_axes=1)(jnp.eye(P, dtype=u.dtype))
        by_others = jnp.zeros((others.size, J.shape[1] - P), J.dtype)
        J = self._with_clamps(J, jnp.concatenate([by_parameters, by_others], axis=1))
        return self._with_clamps(r, others), J


def flat_state(y: State) -> tuple[Array, Any]:
    """A state as a vector in which every entry has a size of about one, and the way back."""
    scaled = y.replace(V=y.V / V_SCALE)
    flat, unravel = ravel_pytree(scaled)

    def back(x: Array) -> State:
        y = unravel(x)
        return y.replace(V=y.V * V_SCALE)

    return flat, back


class MultipleShootingProblem(AbstractProblem):
    """Each sweep is cut in segments with start states of their own, pulled together.

    The unknowns are the parameters, then the start state of every segment; the first
    segment of a sweep starts as the sweep does. `strength` is the weight of the
    squared gaps between the end of a segment and the start of the next.
    """

    model: Any
    free: Free
    pieces: Protocol  # a "sweep" for each segment
    objective: AbstractLoss
    first: Array  # whether a segment starts a sweep, shape (pieces,)

    @property
    def runs(self) -> Protocol:
        return self.pieces

    @property
    def directions(self) -> int:
        return len(self.free.names) + self.state_size

    @property
    def state_size(self) -> int:
        """How many unknowns the start state of a segment has; those of V come first."""
        state = eqx.filter_eval_shape(split(self.model)[0].init)
        return sum(x.size for x in jax.tree.leaves(state))

    def state(self, x: Array) -> State:
        """The state that the unknowns x of a segment's start stand for."""
        return flat_state(split(self.model)[0].init())[1](x)

    def _unpack(self, u: Array) -> tuple[Array, Array]:
        params = len(self.free.names)
        return u[:params], u[params:].reshape(len(self.pieces.target), -1)

    def _piece(
        self, params: Array, start: Array, i: Array, adjoint: diffrax.AbstractAdjoint
    ) -> tuple[Array, Array]:
        """V at the samples of segment i, and its last state as a vector."""
        model = self.free.put(self.model, self.free.to_values(params))
        network, electrode = split(model)
        protocol = self.pieces
        current = jax.tree.map(lambda x: x[i], protocol.current)
        own, of_sweep = self.state(start), jax.tree.map(lambda x: x[i], protocol.start)
        first = of_sweep.state(network, electrode, of_sweep.unknown_of(own))
        y0 = jax.tree.map(lambda x, y: jnp.where(self.first[i], x, y), first, own)
        out = simulate(
            network,
            t1=protocol.steps * protocol.dt,
            dt=protocol.dt,
            stimulus=electrode.stimulus(current),
            y0=y0,
            saveat=protocol.saveat(electrode),
            solver=protocol.solver,
            adjoint=adjoint,
            throw=False,
        )
        return protocol.reading(electrode, out.V, protocol.injected[i], current), flat_state(out.final)[0]

    def _gaps(self, ends: Array, starts: Array, strength: Array) -> Array:
        gaps = jnp.where(self.first[1:, None], 0.0, ends[:-1] - starts[1:])
        return jnp.sqrt(strength / gaps.size) * jnp.ravel(gaps)

    def _errors(self, V: Array) -> Array:
        return self.objective(self.pieces.ts, V, self.pieces.target)

    def residuals(self, u: Array, strength: Array, adjoint: diffrax.AbstractAdjoint) -> Array:
        params, starts = self._unpack(u)
        number = jnp.arange(starts.shape[0])
        V, ends = jax.vmap(lambda s, i: self._piece(params, s, i, adjoint))(starts, number)
        return jnp.concatenate([jnp.ravel(self._errors(V)), self._gaps(ends, starts, strength)])

    def jacobian(self, u: Array, strength: Array) -> tuple[Array, Array]:
        # A segment depends on the parameters and on its own start alone: its many samples
        # shrink to a few rows before they meet the unknowns of the other segments.
        params, starts = self._unpack(u)
        count, P = starts.shape[0], params.size

        def piece(own: Array, i: Array) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
            out = self._piece(own[:P], own[P:], i, diffrax.ForwardMode())
            return out, out

        own = jnp.concatenate([jnp.broadcast_to(params, (count, P)), starts], axis=1)
        (dV, dends), (V, ends) = jax.vmap(jax.jacfwd(piece, has_aux=True))(own, jnp.arange(count))
        errors, slopes = jax.jvp(self._errors, (V,), (jnp.ones_like(V),))
        samples = jnp.concatenate([slopes[..., None] * dV, errors[..., None]], axis=-1)
        rows = jax.vmap(_triangle)(samples.reshape(count, -1, own.shape[1] + 1))

        def spread(d: Array) -> Array:
            """Derivatives by all unknowns, from those of each segment by its own."""
            at = jnp.eye(count, dtype=d.dtype)[:, None, :, None]
            by_starts = (at * d[:, :, None, P:]).reshape(d.shape[:2] + (-1,))
            return jnp.concatenate([d[..., :P], by_starts], axis=-1)

        of_starts = jnp.eye(u.size, dtype=u.dtype)[P:].reshape(starts.shape + (-1,))
        by_unknown = lambda dends, dstarts: self._gaps(dends, dstarts, strength)
        gaps = jax.vmap(by_unknown, in_axes=-1, out_axes=-1)(spread(dends), of_starts)
        J = jnp.concatenate([spread(rows[..., :-1]).reshape(-1, u.size), gaps])
        return jnp.concatenate([jnp.ravel(rows[..., -1]), self._gaps(ends, starts, strength)]), J
