"""How the sweeps of a fit begin: V and the gates at rest, given, or to be found."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array

from .._base.arguments import as_host
from .._base.parameters import shown
from .._model.network import Network, vector_field
from .._model.neuron import State
from ..stimuli._base import as_stimulus
from ..stimuli.sampled import Electrode

V_SCALE = 25.0  # mV that count as one in a vector of unknowns
_EDGE = (
    0.01  # how near to shut or open the search for a free gate begins, where its sigmoid still has a slope
)


class Start(eqx.Module):
    """How every sweep begins, arrays with a leading axis of sweeps.

    **Fields:**

    - `V`: mV, shape (sweeps, n), or (sweeps, 1) for all alike: given, or where the search begins.
    - `others`: of the free gates and concentrations the logits and logarithms at which the search
        begins, shape (sweeps, k), of which k = 0 where they are not free.
    - `given`: the whole state, or `None`.
    - `current`: in the first sample, in the recording's unit, shape (sweeps,) or (sweeps, n).
    - `free_V`, `V_rests`, `zero`: whether V is unknown, V is at rest in that current, all gates are 0.
    """

    V: Array
    others: Array
    given: State | None
    current: Array
    free_V: bool = eqx.field(static=True)
    V_rests: bool = eqx.field(static=True)
    zero: bool = eqx.field(static=True)

    @property
    def unknown(self) -> Array:
        """What a fit looks for, in units of about one, where the search begins: shape (sweeps, K)."""
        V = self.V / V_SCALE if self.free_V else self.V[..., :0]
        return jnp.concatenate([V, self.others], axis=-1)

    def state(self, network: Network, electrode: Electrode, unknown: Array) -> State:
        """The first state of one sweep, of which `self` has no axis any more; `unknown`: shape (K,)."""
        if self.given is not None:
            return self.given
        free = self.V.size * self.free_V
        V, others = (unknown[:free] * V_SCALE if self.free_V else self.V), unknown[free:]
        V = jnp.broadcast_to(V, (network.n,))
        if self.V_rests:
            V = resting_V(network, electrode.stimulus(as_stimulus(self.current)), V)
        y = network.init(V)
        if self.zero:
            y = y.replace(gates=jax.tree.map(jnp.zeros_like, y.gates))
        return _with_others(y, others) if self.others.size else y

    def unknown_of(self, y: State) -> Array:
        """What of the state `y` of one sweep is unknown, shape (K,)."""
        parts = [y.V / V_SCALE] * self.free_V + [_others(y)] * bool(self.others.size)
        return jnp.concatenate([*parts, jnp.zeros(0, y.V.dtype)])


def _others(y: State, edge: float = 1e-6) -> Array:
    """Logits of the gates and logarithms of the concentrations."""
    logit = lambda x: jax.scipy.special.logit(jnp.clip(x, edge, 1 - edge))
    log = lambda c: jnp.log(jnp.maximum(c, jnp.finfo(c.dtype).tiny))
    return ravel_pytree((jax.tree.map(logit, y.gates), jax.tree.map(log, y.concentrations)))[0]


def _with_others(y: State, others: Array) -> State:
    gates, concentrations = ravel_pytree((y.gates, y.concentrations))[1](others)
    return y.replace(
        gates=jax.tree.map(jax.nn.sigmoid, gates), concentrations=jax.tree.map(jnp.exp, concentrations)
    )


def resting_V(network: Network, stimulus: Any, V: Array) -> Array:
    """V at which all of the network rests in a constant current, by Newton's method from `V` (mV, (n,))."""
    slope = lambda V: vector_field(jnp.zeros((), V.dtype), network.init(V), (network, stimulus)).V

    def improved(V: Array, _: None) -> tuple[Array, None]:
        step = jnp.linalg.solve(jax.jacfwd(slope)(V), slope(V))
        return V - jnp.clip(jnp.where(jnp.isfinite(step), step, 0.0), -5.0, 5.0), None

    found = jax.lax.stop_gradient(jax.lax.scan(improved, V, None, length=30)[0])
    # One more step: its derivative by the parameters is that of the root.
    by_V = jax.lax.stop_gradient(jax.jacfwd(slope)(found))
    return found - jnp.linalg.solve(by_V, slope(found))


def start_of(v0: Any, initial: Any, seen: Array, current: Array, network: Network) -> Start:
    """The start that the arguments `v0` and `initial` of [`hh.fit`][] ask for.

    **Arguments:** `seen`: V of the membranes in the first sample, mV, shape (sweeps, n); `current`: the
    current in it.
    """
    shape, dtype = seen.shape, seen.dtype
    states = isinstance(initial, (list, tuple)) and all(isinstance(x, State) for x in initial)
    given = None
    if isinstance(initial, State) or (states and initial):
        if v0 is not None:
            raise ValueError(
                f"`v0` must be left out where `initial` is a state, which has V, got {shown(v0)}."
            )
        given = _given(initial, network, shape, dtype)
        v0 = given.V
    elif not (isinstance(initial, str) and initial in ("rest", "zero", "free")):
        raise ValueError(
            "`initial` must be 'rest', 'zero', 'free', an hh.State or a list of one for each sweep, got "
            f"{shown(initial)}."
        )
    rests, free_V = isinstance(v0, str) and v0 == "rest", v0 is None
    if rests or free_V:
        V = seen
    elif given is not None:
        V = given.V
    else:
        if isinstance(v0, str):
            raise ValueError(f"`v0` must be None, 'rest' or numbers in mV, got {v0!r}.")
        V = jnp.broadcast_to(jnp.asarray(as_host("v0", v0, "mV", shapes=[(), shape]), dtype), shape)
    others = _first_others(network, V) if isinstance(initial, str) and initial == "free" else V[:, :0]
    zero = isinstance(initial, str) and initial == "zero"
    return Start(V, others, given, current, free_V, rests, zero)


@eqx.filter_jit
def _first_others(network: Network, V: Array) -> Array:
    return jax.vmap(lambda V: _others(network.init(jnp.broadcast_to(V, (network.n,))), _EDGE))(V)


def _given(initial: Any, network: Network, shape: tuple[int, ...], dtype: Any) -> State:
    """A state, or one for each sweep, as one of arrays of shape (sweeps, n)."""
    model = eqx.filter_eval_shape(network.init)
    states = [initial] if isinstance(initial, State) else list(initial)
    fits = all(jax.tree.structure(y) == jax.tree.structure(model) for y in states)
    stacked = None
    if fits and isinstance(initial, State):
        ok = all(np.shape(x) in (m.shape, shape[:1] + m.shape) for x, m in _pairs(initial, model))
        stacked = initial if ok else None
    elif fits and len(states) == shape[0]:
        ok = all(np.shape(x) == m.shape for y in states for x, m in _pairs(y, model))
        stacked = jax.tree.map(lambda *x: jnp.stack(x), *states) if ok else None
    if stacked is None:
        raise ValueError(
            f"`initial` must be a state of the model with arrays of shape ({network.n},) or {shape}, or a "
            f"list of {shape[0]}, one for each sweep, got {shown(initial)}."
        )
    if not all(np.isfinite(x).all() for x in jax.tree.leaves(stacked)):
        raise ValueError(f"`initial` must be finite, got {shown(initial)}.")
    return jax.tree.map(
        lambda x, m: jnp.broadcast_to(jnp.asarray(x, dtype), shape[:1] + m.shape), stacked, model
    )


def _pairs(y: State, model: State) -> Any:
    return zip(jax.tree.leaves(y), jax.tree.leaves(model))
