"""What the analyses of dynamics start from: a deterministic network in a constant current, as one vector."""

from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Complex, Float

from .._base.arguments import as_array, check_kind
from .._base.parameters import as_float_array, cast_floats, check_parameters, is_concrete, run_dtype, shown
from .._model.network import as_network, Network, vector_field
from .._model.neuron import Neuron, State
from .._noise.channels import AbstractNoisyChannel
from ..channels._channel import AbstractChannel, NO_IONS
from ..channels._ion import Ions
from ..stimuli._base import as_stimulus, check_stimulus, Constant

MOST = 500  # state variables: the exact Jacobian is dense


class System(eqx.Module):
    """dx/dt = f(x), with x every state variable of a network as one vector.

    **Fields:** `network`; `current`: µA/cm², a scalar or shape (n,).
    """

    network: Network
    current: Float[Array, "..."]

    @property
    def size(self) -> int:
        """The number of state variables."""
        return sum(leaf.size for leaf in jax.tree.leaves(eqx.filter_eval_shape(self.network.init)))

    def ravel(self, y: State) -> Float[Array, " N"]:
        """The state as a vector."""
        return ravel_pytree(y)[0]

    def unravel(self, x: Float[Array, " N"]) -> State:
        """The vector as a state."""
        shapes = eqx.filter_eval_shape(self.network.init)
        return ravel_pytree(jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes))[1](x)

    def slope(self, y: State) -> State:
        """The right-hand side f, in units of the state per ms.

        Where occupancies of a Markov channel do not add up to 1, which their own equations would not
        change, they are drawn there with 1/ms: else every state would be neutral along their sum.
        """
        slope = vector_field(jnp.zeros((), y.V.dtype), y, (self.network, Constant(self.current)))

        def drawn(part: slice, neuron: Neuron, slope: State, y: State) -> State:
            gates = dict(slope.gates)
            for name in neuron.markov_channels:
                excess = (sum(y.gates[name].values()) - 1) / len(gates[name])
                gates[name] = {state: x - excess for state, x in gates[name].items()}
            return slope.replace(gates=gates)

        return self.network.map_kinds(drawn, slope, y)

    def jacobian(self, y: State) -> Float[Array, "N N"]:
        """∂f/∂x at a state, exact; per ms."""
        return jax.jacfwd(lambda x: self.ravel(self.slope(self.unravel(x))))(self.ravel(y))

    def unbalanced(self, V: Float[Array, " n"]) -> Float[Array, " n"]:
        """The net inward current (µA/cm²) at V (mV) with everything else at rest there."""
        return self.network.capacitance * self.slope(self.network.init(V)).V

    def eigenvalues(self, y: State) -> Complex[Array, " N"]:
        """Eigenvalues of the Jacobian, per ms, the one with the greatest real part first."""
        return eigenvalues_of(self.jacobian(y))


@jax.jit
def eigenvalues_of(matrix: Float[Array, "... N N"]) -> Complex[Array, "... N"]:
    """Of a matrix or several, the one with the greatest real part first."""
    values = jnp.linalg.eigvals(matrix)
    return jnp.take_along_axis(values, jnp.argsort(-values.real, axis=-1), axis=-1)


def prepare(network: Any, stimulus: Any) -> System:
    """The system to analyse, in one float type.

    **Raises:** `TypeError` and `ValueError` for what is no smooth autonomous system, or too large.
    """
    network = as_network(network)
    if not isinstance(network, Network):
        raise TypeError(f"`network` must be an hh.Network or hh.Neuron, got {shown(network)}.")
    network.check()
    if network.is_noisy:
        raise ValueError("`network` is noisy: equilibria and orbits are those of a network without noise.")
    if network.has_events:
        raise ValueError(
            "`network` has synapses driven by detected spikes, which its vector field does not show; take "
            "smooth ones such as hh.GradedSynapse or hh.synapses.AMPA."
        )
    for _, neuron in network.kinds:
        for name, ion in neuron.moving_ions.items():
            if is_concrete(ion.tau) and np.isinf(np.asarray(ion.tau)).any():
                raise ValueError(
                    f"`network` has no rest: nothing removes ion {name!r}, whose `tau` is infinite."
                )
    stimulus = as_stimulus(stimulus)
    if not isinstance(stimulus, Constant):
        raise TypeError(f"`stimulus` must be constant, a number or shape (n,) in µA/cm², got {stimulus!r}.")
    check_stimulus(stimulus, network.n)
    dtype = run_dtype(network)
    system = System(cast_floats(network, dtype), as_float_array(stimulus.amplitude, dtype))
    if system.size > MOST:
        raise ValueError(
            f"`network` has {system.size} state variables, more than the {MOST} for which the exact, dense "
            "Jacobian is practical: analyse a smaller network."
        )
    return system


def tolerance(dtype: Any) -> float:
    """How closely a root is found in this float type, relative."""
    return 1e-4 if dtype == jnp.float32 else 1e-8


def one_neuron(neuron: Any) -> Neuron:
    """Refuse what is not a single neuron without noise."""
    if isinstance(neuron, Network):
        raise TypeError("`neuron` must be one hh.Neuron, not a network: give its `neuron`.")
    if not isinstance(neuron, Neuron):
        raise TypeError(f"`neuron` must be an hh.Neuron, got {shown(neuron)}.")
    check_parameters(neuron, "neuron")
    _check_scalars(neuron, "neuron")
    if neuron.noisy_channels:
        names = ", ".join(map(repr, neuron.noisy_channels))
        raise ValueError(f"`neuron` must have no channel noise; these channels have: {names}.")
    return neuron


def one_membrane(
    model: Any, concentrations: Mapping[str, Any] | None
) -> tuple[dict[str, AbstractChannel], Ions]:
    """The channels of a neuron, or a channel alone, by name, and the ions, held at `concentrations`."""
    if isinstance(model, AbstractChannel) and not isinstance(model, AbstractNoisyChannel):
        check_parameters(model, "neuron")
        _check_scalars(model, "neuron")
        return {type(model).__name__: model}, NO_IONS
    if not isinstance(model, Neuron | Network):
        raise TypeError(f"`neuron` must be an hh.Neuron or an hh.Channel, got {shown(model)}.")
    neuron = one_neuron(model)
    given = {} if concentrations is None else concentrations
    check_kind("concentrations", given, Mapping, "a dict of concentrations (mM) by ion")
    if set(given) != set(neuron.moving_ions):
        raise ValueError(
            "`concentrations` must give a concentration (mM) for each ion that currents change, "
            f"{sorted(neuron.moving_ions)}, at which a buffer holds it; got {sorted(given)}. "
            "How it changes under voltage clamp has no closed form: run hh.simulate with an hh.Clamp."
        )
    limits: dict[str, Any] = dict(shapes=[()], positive=True)
    held = {
        name: as_array(f"concentrations[{name!r}]", c, "mM", run_dtype(neuron), **limits)
        for name, c in given.items()
    }
    return neuron.surroundings(held)


def _check_scalars(tree: Any, name: str) -> None:
    shapes = {x.shape for x in jax.tree.leaves(tree) if isinstance(x, jax.Array)}
    if shapes - {()}:
        raise ValueError(
            f"`{name}` must be one neuron, each of its parameters a scalar, got shapes "
            f"{sorted(shapes - {()})}. For many, jax.vmap the analysis of one."
        )
