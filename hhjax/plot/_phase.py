"""The phase plane of a neuron: V against one of its gates."""

from typing import Any

import contourpy
import equinox as eqx
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Array
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from .._base.arguments import as_array, as_range, check_choice
from .._base.parameters import check_parameters, run_dtype
from .._draw import beside, COLOURS, dress
from .._model.network import Network, vector_field
from .._model.neuron import Neuron, State
from .._run.solution import Solution
from ._traces import saved_gates


def phase_plane(
    neuron: Neuron,
    gate: str,
    *,
    stimulus: float = 0.0,
    trajectory: Solution | None = None,
    frozen: State | None = None,
    V: tuple[float, float] = (-90.0, 60.0),
    arrows: bool = True,
    ax: Axes | None = None,
    **style: Any,
) -> list[Line2D]:
    """The nullclines of V (mV) and of one gate, where each stands still if the other does not.

    All other gates are at their steady state for V, as they nearly are if they are much
    faster (R. FitzHugh, Biophys. J. 1 (1961) 445-466; J. Rinzel, Fed. Proc. 44 (1985)
    2944-2946), or frozen. Nullclines cross at fixed points.

    **Arguments:**

    - `neuron`: an [`hh.Neuron`][] with one value for each parameter, without channel noise.
    - `gate`: `"channel.gate"`, such as `"k.n"`.
    - `stimulus`: constant current, µA/cm².
    - `trajectory`: a run to draw over it, of one neuron and with the whole state saved.
    - `frozen`: a state of one neuron at which to hold the other gates, such as `run.final`.
    - `V`: the range shown, mV.
    - `arrows`: whether to show the direction of the flow.
    - `style`: of the trajectory, passed on to `Axes.plot`.

    **Returns:** the nullcline of V, that of the gate and, if given, the trajectory. A nullcline of
    several pieces has NaN between them.

    **Raises:** `ValueError` for a gate that is not there and for a neuron that is several.
    """
    channel, _, name = check_choice("gate", gate, _gates_of(neuron)).partition(".")
    if frozen is not None and jnp.shape(frozen.V) != (1,):
        raise ValueError(f"`frozen` must be a state of one neuron, got V of shape {jnp.shape(frozen.V)}.")
    low, high = as_range("V", V, "mV")

    dtype = run_dtype(neuron)
    if ax is None:
        _, ax = plt.subplots(figsize=(6, 4), layout="constrained")
    dress(ax, "Membrane potential (mV)", f"Gate {gate} (no unit)")
    grid = np.linspace(low, high, 401), np.linspace(0.0, 1.0, 201)
    points = [jnp.asarray(g.ravel(), dtype) for g in np.meshgrid(*grid)]
    slopes = _flow(
        neuron, channel, name, *points, as_array("stimulus", stimulus, "µA/cm²", dtype, shapes=[()]), frozen
    )
    slopes = [np.asarray(slope, float).reshape(201, 401) for slope in slopes]
    if arrows:
        every = np.ix_(range(6, 201, 13), range(10, 401, 19))
        # In units of the axes, as the eye sees them.
        dV, dx = slopes[0][every] / (high - low), slopes[1][every]
        length = np.maximum(np.hypot(dV, dx), 1e-30)
        look = {"color": "0.8", "width": 0.002, "scale": 32, "pivot": "mid", "zorder": 0}
        ax.quiver(grid[0][10::19], grid[1][6::13], dV / length, dx / length, **look)
    lines = []
    labels = ("dV/dt = 0", f"d{name}/dt = 0")
    for slope, label, colour, line in zip(slopes, labels, (COLOURS[1], COLOURS[0]), ("-", "--")):
        pieces = contourpy.contour_generator(*grid, slope).lines(0.0)
        gap = np.full((1, 2), np.nan)
        points = np.concatenate([x for piece in pieces for x in (piece, gap)][:-1]) if pieces else gap
        lines += ax.plot(*points.T, color=colour, linestyle=line, linewidth=1.8, label=label)
    if trajectory is not None:
        x = np.asarray(saved_gates(trajectory)[channel][name])
        if x.shape[1] != 1:
            raise ValueError(f"`trajectory` must be a run of one neuron, got {x.shape[1]}.")
        look = {"color": "0.15", "linewidth": 1.0, "label": "trajectory"} | style
        lines += ax.plot(np.asarray(trajectory.V)[:, 0], x[:, 0], **look)
    ax.set(xlim=(low, high), ylim=(-0.02, 1.02))
    beside(ax)
    return lines


@eqx.filter_jit
def _flow(
    neuron: Neuron, channel: str, gate: str, V: Array, x: Array, stimulus: Array, frozen: State | None
) -> tuple[Array, Array]:
    """dV/dt (mV/ms) and dx/dt (1/ms) at every point, V (mV) and x of one shape."""
    y = _others(neuron, frozen, V)
    y = y.replace(gates=y.gates | {channel: y.gates[channel] | {gate: x}})
    slope = vector_field(jnp.zeros_like(V[0]), y, (Network(neuron, n=V.size), stimulus))
    return slope.V, slope.gates[channel][gate]


def _gates_of(neuron: Neuron) -> list[str]:
    """All gates by their names, of a neuron that is checked to be one."""
    if not isinstance(neuron, Neuron) or neuron.noisy_channels:
        raise ValueError(f"`neuron` must be an hh.Neuron without channel noise, got {neuron!r}.")
    check_parameters(neuron, "neuron", 1)
    V = jax.ShapeDtypeStruct((1,), run_dtype(neuron))
    gates = eqx.filter_eval_shape(lambda neuron, V: neuron.steady_state(V).gates, neuron, V)
    alone = [name for name, channel in neuron.channels.items() if channel.states_are_independent]
    names = [f"{channel}.{gate}" for channel in alone for gate in gates[channel]]
    return sorted(names)


def _others(neuron: Neuron, frozen: State | None, V: Array) -> State:
    if frozen is None:
        return neuron.steady_state(V)
    spread = lambda x: jnp.broadcast_to(jnp.asarray(x, V.dtype), V.shape)
    return jax.tree.map(spread, frozen.replace(s=None, noise=None)).replace(V=V)
