"""A network of n neurons, and its vector field."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float

from ._coupling import AbstractCoupling
from ._neuron import Neuron, State
from ._noise import AbstractNoise
from ._parameters import as_float_array, check_parameters, is_concrete, run_dtype
from ._stimulus import as_stimulus


def _as_tuple(noise: Any) -> tuple:
    return noise if isinstance(noise, tuple) else () if noise is None else (noise,)


class Network(eqx.Module):
    """n neurons of one kind, coupled or not.

    **Fields:**

    - `neuron`: the neuron; each of its parameters is a scalar or has shape (n,).
    - `n`: how many there are.
    - `coupling`: how they act on each other, `None` for not at all.
    - `noise`: a noise such as [`hh.CurrentNoise`][], or a tuple of them; none by default.
        For channel noise see [`hh.with_channel_noise`][].
    """

    neuron: Neuron
    n: int = eqx.field(static=True, default=1)
    coupling: AbstractCoupling | None = None
    noise: tuple[AbstractNoise, ...] = eqx.field(default=(), converter=_as_tuple)

    def __check_init__(self) -> None:
        if not isinstance(self.neuron, Neuron):
            raise TypeError(f"`neuron` must be an hh.Neuron, got {self.neuron!r}.")
        if isinstance(self.n, bool) or not isinstance(self.n, (int, np.integer)) or self.n < 1:
            raise ValueError(f"`n` must be a whole number of at least 1, got {self.n!r}.")
        if self.coupling is not None and not isinstance(self.coupling, AbstractCoupling):
            raise TypeError(
                f"`coupling` must be a coupling such as hh.GradedSynapse(E), got {self.coupling!r}."
            )
        for noise in self.noise:
            if not isinstance(noise, AbstractNoise):
                raise TypeError(f"`noise` must be a noise such as hh.CurrentNoise(sigma), got {noise!r}.")
        self.check()

    def check(self) -> None:
        """Refuse parameters that are NaN, out of range or do not fit n neurons.

        Called on construction and again by [`hh.simulate`][], because `eqx.tree_at` can
        put anything into a module that exists.
        """
        check_parameters(self.neuron, "network.neuron", self.n)
        if self.coupling is not None:
            self.coupling.check(self.n)
            check_parameters(self.coupling, "network.coupling", self.n)
        check_parameters(self.noise, "network.noise", self.n)
        for noise in self.noise:
            noise.check(self.n)

    @property
    def is_noisy(self) -> bool:
        """Whether a run needs a stochastic solver and a key."""
        return bool(self.noise or self.neuron.noisy_channels)

    @property
    def V_is_linear(self) -> bool:
        """Whether dV_i/dt is linear in V_i, and free of other V_j, at fixed gates and s."""
        coupled = self.coupling is None or self.coupling.V_is_linear
        return coupled and self.neuron.V_is_linear

    def check_diffusive(self) -> None:
        """Refuse channels that move by jumps, which no vector field describes."""
        for name, channel in self.neuron.noisy_channels.items():
            if channel.jumps:
                raise ValueError(
                    f"Channel {name!r} moves by jumps (model={channel.model!r}), not by a differential "
                    "equation: take solver='strang_maruyama'."
                )

    def init(self, v0: Float[ArrayLike, "..."] = -65.0) -> State:
        """The state with all gates and the coupling at rest for membrane potential `v0`.

        **Arguments:** `v0`: mV, scalar or shape (n,).
        """
        self.check_v0(v0)
        V = jnp.broadcast_to(as_float_array(v0, run_dtype(self)), (self.n,))
        s = None if self.coupling is None else self.coupling.steady_state(V)
        noise = tuple(noise.steady_state(self.n, V.dtype) for noise in self.noise) or None
        return State(V, self.neuron.steady_gates(V), s, noise)

    def check_v0(self, v0: Any) -> None:
        """Refuse an initial membrane potential that is not finite or fits no n neurons."""
        if np.shape(v0) not in ((), (self.n,)):
            raise ValueError(f"`v0` must be a scalar or have shape ({self.n},), got shape {np.shape(v0)}.")
        if is_concrete(v0) and not np.isfinite(np.asarray(v0)).all():
            raise ValueError(f"`v0` must be finite (mV), got {v0}.")

    def linear_form(self, t: ArrayLike, y: State, stimulus: Any) -> tuple[State, State]:
        """The conditionally linear form (drive, rate) of dx/dt = drive − rate·x.

        For every leaf x of the state, `drive` and `rate` are free of x itself (but for
        instantaneous gates in V's own equation, see `V_is_linear`). The vector field and
        all exponential steppers derive from this one statement of the equations.

        **Arguments:** `t`: ms; `y`: the state; `stimulus`: see [`hh.simulate`][].

        **Returns:** two `State`s whose leaves have the shape of those of `y`; the rate
        in 1/ms, the drive in units of x per ms.
        """
        stimulus = as_stimulus(stimulus)
        current, conductance = jnp.asarray(stimulus(t), y.V.dtype), stimulus.conductance()
        coupling_form = (None, None)
        if self.coupling is not None:
            driven, conducted = self.coupling.linear_current(y.V, y.s)
            current, conductance = current + driven, conductance + conducted
            coupling_form = self.coupling.linear_form(y.V, y.s)
        noise_form = [noise.linear_form(x) for noise, x in zip(self.noise, y.noise or ())]
        for noise, x in zip(self.noise, y.noise or ()):
            driven, conducted = noise.linear_current(x)
            current, conductance = current + driven, conductance + conducted
        drive, rate = self.neuron.linear_form(y.V, y.gates, current, conductance)
        drive = State(drive.V, drive.gates, coupling_form[0], tuple(b for b, _ in noise_form) or None)
        rate = State(rate.V, rate.gates, coupling_form[1], tuple(a for _, a in noise_form) or None)
        fit = lambda form: jax.tree.map(lambda f, x: jnp.broadcast_to(f, x.shape), form, y)
        return fit(drive), fit(rate)


def vector_field(t: ArrayLike, y: State, args: tuple[Network, Any]) -> State:
    """The right-hand side dy/dt of the coupled system, as `diffrax.ODETerm` takes it.

    **Arguments:**

    - `t`: time, ms.
    - `y`: the state, see `Network.init`.
    - `args`: `(network, stimulus)`.

    **Returns:** a `State` of derivatives, in mV/ms and 1/ms; for a noisy network the drift,
    see [`hh.diffusion`][].

    **Raises:** `ValueError` for channels that move by jumps.
    """
    network, stimulus = args
    network.check_diffusive()
    drive, rate = network.linear_form(t, y, stimulus)
    return jax.tree.map(lambda b, a, x: b - a * x, drive, rate, y)
