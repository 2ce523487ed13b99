"""Networks: who spikes when, and who hears whom."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from jax.typing import ArrayLike
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D

from .._base.arguments import as_host, as_number
from .._draw import beside, dress, line, new_axes, new_pair
from .._run.solution import Solution
from ..connect import Sparse
from ._traces import check_solution

_IMAGE = 2000  # neurons on a side, from which on connections are drawn as points


def raster(
    solution: Solution,
    *,
    threshold: ArrayLike = 0.0,
    populations: Mapping[str, slice] | None = None,
    ax: Axes | None = None,
    **style: Any,
) -> list[Line2D]:
    """Spikes (crossings of `threshold`, mV) of every neuron against time (ms).

    **Arguments:** `threshold`: a number or one for each neuron; `populations`: `network.ranges`, to tell
    them apart by colour; `style`: passed on to `Axes.plot`.

    **Returns:** one line, or one for each population.
    """
    times = check_solution(solution).spike_times(threshold)
    ax = new_axes(ax, "Time (ms)", "Neuron")
    lines = _raster(ax, solution, times, populations, style)
    if populations:
        beside(ax, markerscale=12 / lines[0].get_markersize())
    return lines


def _raster(
    ax: Axes, solution: Solution, times: list, populations: Mapping[str, slice] | None, style: dict
) -> list[Line2D]:
    size = float(np.clip(200 / len(times), 2, 12))
    lines = []
    for name, part in (populations or {"": slice(0, len(times))}).items():
        members = np.arange(len(times))[part]
        neurons = np.repeat(members, [len(times[i]) for i in members])
        look = {"linestyle": "", "marker": "|", "markersize": size, "label": name or None} | style
        lines += line(ax, np.concatenate([times[i] for i in members]), neurons, **look)
    ax.set_xlim(float(solution.ts[0]), float(solution.ts[-1]))
    ax.set_ylim(-0.7, len(times) - 0.3)
    ax.yaxis.get_major_locator().set_params(integer=True)
    return lines


def raster_and_rate(
    solution: Solution,
    *,
    bin: float = 5.0,
    threshold: ArrayLike = 0.0,
    populations: Mapping[str, slice] | None = None,
    axes: Sequence[Axes] | None = None,
    **style: Any,
) -> list[Line2D]:
    """Spikes of every neuron and, below, the mean rate of a neuron (Hz), both against time (ms).

    **Arguments:** `bin`: width over which spikes are counted, ms; `axes`: two; the others as for
    [`raster`][hhjax.plot.raster].

    **Returns:** the lines of the raster and then those of the rates, one each or one for each
    population.
    """
    ts = np.asarray(check_solution(solution).ts, float)
    bin = as_number("bin", bin, "ms", positive=True, most=float(ts[-1] - ts[0]))
    above, below = new_pair(axes, "Time (ms)", ("Neuron", "Rate (Hz)"))
    times = solution.spike_times(threshold)
    lines = _raster(above, solution, times, populations, style)
    # The last bin may be shorter, and is then divided by its own width.
    edges = np.append(np.arange(ts[0], ts[-1] - 1e-9 * bin, bin), ts[-1])
    for spikes, part in zip(list(lines), (populations or {"": slice(0, len(times))}).values()):
        members = times[part]
        # Up to each edge, so that a spike on one belongs to the bin before it.
        counts = np.diff(np.searchsorted(np.sort(np.concatenate(members)), edges, side="right"))
        rates = 1000 * counts / (np.diff(edges) * len(members))
        look = {"color": spikes.get_color(), "linewidth": 1.2, "drawstyle": "steps-post"}
        lines += line(below, edges, np.append(rates, rates[-1]), **look)
    below.set_xlim(ts[0], ts[-1])
    below.set_ylim(bottom=0.0)
    if populations:
        beside(above, markerscale=12 / lines[0].get_markersize())
    return lines


def connectivity(
    weights: Any, *, colorbar: bool = True, ax: Axes | None = None, **style: Any
) -> AxesImage | PathCollection:
    """Weights of connections (mS/cm²), a row for each receiving neuron; none is white.

    **Arguments:** `weights`: a matrix or [`hh.connect.Sparse`][], such as `network.coupling.weights`;
    `colorbar`: whether to show what colours mean; `style`: passed on to `Axes.imshow` or
    `Axes.scatter`.

    **Returns:** an image or, of sparse weights with more than 2,000 neurons on a side, points.

    **Raises:** `ValueError` for weights that are no matrix.
    """
    if not isinstance(weights, Sparse):
        weights = as_host("weights", weights, "mS/cm²", axes="(post, pre)", missing=True)
    shape = weights.shape
    if ax is None:
        _, ax = plt.subplots(figsize=(5, 4), layout="constrained")
    dress(ax, "Sending neuron", "Receiving neuron").spines[["top", "right"]].set_visible(True)
    image = not (isinstance(weights, Sparse) and max(shape) > _IMAGE)
    if image:
        values = np.asarray(weights.dense() if isinstance(weights, Sparse) else weights)
        values = np.ma.masked_equal(values, 0.0)
    else:
        values = np.asarray(weights.weight)
        post, slot = np.nonzero(values)
        values = values[post, slot]
    largest = float(np.abs(values).max()) if np.ma.count(values) else 1.0
    signed = bool((values < 0).any())
    colours = {"cmap": "RdBu_r" if signed else "Blues", "vmin": -largest if signed else 0.0, "vmax": largest}
    if image:
        artist = ax.imshow(
            values, **({"aspect": "equal" if shape[0] == shape[1] else "auto"} | colours | style)
        )
    else:
        points = {"s": 1.0, "linewidths": 0.0, "rasterized": True}
        artist = ax.scatter(np.asarray(weights.pre)[post, slot], post, c=values, **(points | colours | style))
        ax.set(xlim=(-0.5, shape[1] - 0.5), ylim=(shape[0] - 0.5, -0.5))
    for axis in (ax.xaxis, ax.yaxis):
        axis.get_major_locator().set_params(integer=True)
    if colorbar:
        ax.figure.colorbar(artist, ax=ax, label="Weight (mS/cm²)")
    return artist
