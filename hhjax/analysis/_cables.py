"""How small currents spread along a cell, and how fast spikes run."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Complex, Float

from .._base.arguments import as_array, check_kind
from .._base.parameters import cast_floats, run_dtype
from .._model.cell import Cell
from .._model.network import Network
from .._model.neuron import State
from .._run.solution import Solution
from .._run.spikes import spike_times
from ..steppers.exp_euler import slope_and_jacobian
from ..stimuli._base import as_stimulus


class Transfer(eqx.Module):
    """The response of a cell to a small current at one place, around rest.

    **Fields:**

    - `frequencies`: Hz, shape (frequencies,).
    - `Z`: V at each compartment over the current, MΩ, shape (frequencies, compartments): at the place itself
        the input impedance, elsewhere the transfer impedance.
    - `rest`: the state around which it is.
    - `cell`, `at`: as they were given.
    """

    frequencies: Float[Array, " frequencies"]
    Z: Complex[Array, "frequencies compartments"]
    rest: State
    cell: Cell
    at: str | int = eqx.field(static=True)

    def to(self, place: str | int) -> Complex[Array, " frequencies"]:
        """Z at a place, MΩ."""
        return self.Z[:, self.cell.index(place)]

    def attenuation(self, place: str | int) -> Float[Array, " frequencies"]:
        """How much smaller V is at a place than where the current enters, from 0 to 1."""
        return jnp.abs(self.to(place)) / jnp.abs(self.to(self.at))


def transfer(cell: Cell, at: str | int, frequencies: Any = 0.0, v0: ArrayLike = -65.0) -> Transfer:
    r"""The input impedance of a cell at a place, and the transfer impedance to every other.

    $(i\omega C + Y(\omega) + L) V = I$ with the admittance Y of each membrane at rest, its gates
    included (C. Koch, Biol. Cybern. 50 (1984) 15-33). The time that it takes grows linearly with the number
    of compartments.

    ```python
    cell = hh.Cable(hh.squid_axon(), 3000.0, 10.0, resistivity=35.4)
    response = hh.analysis.transfer(cell, at="cable(0)", frequencies=jnp.array([0.0, 100.0]))
    response.to("cable(0)"), response.attenuation("cable(1)")  # MΩ; dimensionless
    ```

    **Arguments:** `at`: the place of the current, see [`hh.cells.Morphology`][]; `frequencies`: Hz, a number
    or shape (frequencies,), 0 for resistances; `v0`: mV, from where rest is sought.

    **Returns:** an [`hh.analysis.Transfer`][].

    **Raises:** `ValueError` for a cell with noise, moving ions or Markov channels, and where no rest was
    found.
    """
    check_kind("cell", cell, Cell, "an hh.Cell")
    network = Network(cell)
    dtype = run_dtype(network)
    frequencies = jnp.atleast_1d(as_array("frequencies", frequencies, "Hz", dtype, minimum=0.0))
    for _, neuron in network.kinds:
        if neuron.moving_ions or neuron.markov_channels or neuron.noisy_channels:
            raise ValueError(
                "`cell` must have gates alone, without moving ions, Markov channels or noise, got "
                f"{[*neuron.moving_ions, *neuron.markov_channels, *neuron.noisy_channels]}."
            )
    return _transfer(cell, at, frequencies, jnp.asarray(v0, dtype))


@eqx.filter_jit
def _transfer(cell: Cell, at: str | int, frequencies: Array, v0: Array) -> Transfer:
    network = cast_floats(Network(cell), v0.dtype).settled()
    quiet = as_stimulus(jnp.zeros((), v0.dtype))
    along = network.V_operator()

    def linear(V: Array) -> tuple[State, Array, Any]:
        y = network.init(V)
        slope, J = slope_and_jacobian(network, jnp.zeros((), v0.dtype), y, quiet)
        return y, slope.V, J.neurons

    def per_ms(points: Any, turn: Any) -> Array:
        """The admittance of each membrane over its capacitance, `turn` being i·ω (1/ms)."""
        found = [
            turn - it.corner - sum(r * c / (turn - d) for r, c, d in zip(it.row, it.column, it.diagonal))
            for it in points
        ]
        return jnp.concatenate(found)

    def newton(V: Array, turn: None) -> tuple[Array, Array]:
        slope, points = linear(V)[1:]
        # No further than 10 mV at a time, and with no less conductance than holds V where it is.
        leak = jnp.maximum(per_ms(points, jnp.zeros((), V.dtype)), 1e-4)
        step = slope / leak if along is None else along.solve(leak, slope)[0]
        step = jnp.clip(step, -10.0, 10.0)
        return V + step, jnp.abs(step).max()

    V, moved = jax.lax.scan(newton, jnp.broadcast_to(v0, (network.n,)), None, length=50)
    found = moved[-1] < 1e-3
    V = eqx.error_if(V, ~found, "No rest of `cell` was found: it may fire by itself.")
    y, _, points = linear(V)
    into = jnp.zeros(network.n, v0.dtype).at[cell.index(at)].set(1.0)
    per_charge = 1e5 / (network.capacitance * cell.area.astype(v0.dtype))  # 1 nA in mV/ms
    complex_ = lambda x: jax.lax.complex(x, jnp.zeros_like(x))
    complex_points = jax.tree.map(complex_, points)
    along = jax.tree.map(lambda x: complex_(x) if eqx.is_inexact_array(x) else x, along)

    def respond(frequency: Array) -> Array:
        omega = 2 * jnp.pi * frequency / 1000
        leak, drive = per_ms(complex_points, jax.lax.complex(0 * omega, omega)), complex_(into * per_charge)
        return drive / leak if along is None else along.solve(leak, drive)[0]

    return Transfer(frequencies, jax.lax.map(respond, frequencies), y, cell, at)


def space_constant(cell: Cell, v0: ArrayLike = -65.0) -> Float[Array, " compartments"]:
    r"""$\lambda = \sqrt{d/(4 R g)}$ (µm) of each compartment, with the conductance g of its membrane.

    The gates are held at their rest at V = v0 (W. Rall, Biophys. J. 9 (1969) 1483-1508).

    **Arguments:** `v0`: mV.
    """
    check_kind("cell", cell, Cell, "an hh.Cell")
    network = Network(cell)
    rate = network.V_form(0.0, network.init(v0), 0.0)[1]
    g = rate * network.capacitance * 1e-3  # S/cm²
    return 1e4 * jnp.sqrt(cell.geometry.diameter * 1e-4 / (4 * cell.geometry.resistivity * g))


def conduction_velocity(
    run: Solution, cell: Cell, start: str | int, stop: str | int, threshold: ArrayLike = 0.0
) -> float:
    """How fast the first spike runs from one place of a cell to another, m/s, negative if the other way.

    **Arguments:** `run`: of that cell alone; `start`, `stop`: places on one way from the root, see
    [`hh.cells.Morphology`][]; `threshold`: mV.

    **Returns:** NaN where there is no spike at both places.
    """
    check_kind("cell", cell, Cell, "an hh.Cell")
    first, last = cell.index(start), cell.index(stop)
    shape = cell.morphology
    V = jnp.asarray(run.V)[:, jnp.array([first, last])]
    begun, ended = spike_times(run.ts, V, threshold=threshold)
    found = [shape.way(first), shape.way(last)]
    shorter, longer = sorted(found, key=len)
    if list(longer[: len(shorter)]) != list(shorter):
        raise ValueError(f"`stop` must be on one way from the root with `start`, got {start!r} and {stop!r}.")
    way = longer[len(shorter) - 1 :]
    length = np.asarray(cell.geometry.length)[way]
    apart = float(length.sum() - (length[0] + length[-1]) / 2) if len(way) > 1 else 0.0
    if not (len(begun) and len(ended)):
        return float("nan")
    return apart / 1000 / float(ended[0] - begun[0])
