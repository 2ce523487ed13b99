"""Plots of what a fit leaves open: posteriors, profiles, predictions."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from .._base.arguments import as_number, as_whole, check_kind
from .._base.host import known_are
from .._draw import COLOURS, dress, new_axes
from .._fit._likelihood import Bootstrap, Profile
from .._fit._sample import Posterior

_POINTS = 2000  # of a panel, at most


def corner(
    result: Posterior | Bootstrap,
    *,
    names: Sequence[str] | None = None,
    truth: Mapping[str, float] | None = None,
    axes: Any = None,
) -> dict[str, list[Any]]:
    """The draws of a posterior or a bootstrap: each parameter by itself, and each pair.

    **Arguments:** `names`: which parameters, by default the first seven; `truth`: values that are marked, by
    names; `axes`: of shape (k, k) for k parameters, by default a new figure.

    **Returns:** a dict of `"histograms"`, one for each parameter, `"points"`, one for each pair below the
    diagonal, row by row, and `"truth"`, the lines at the marked values.
    """
    check_kind("result", result, (Posterior, Bootstrap), "an hh.Posterior or hh.Bootstrap")
    names = list(result.names[:7] if names is None else names)
    for name in [*names, *(truth or {})]:
        if name not in result.names:
            told = known_are(str(name), result.names)
            raise ValueError(f"`names` and `truth` must name parameters, got {name!r}.{told}")
    at = [result.names.index(name) for name in names]
    draws = np.asarray(result.values, float).reshape(-1, len(result.names))[:, at]
    draws = draws[np.isfinite(draws).all(axis=1)]
    some = draws[np.linspace(0, len(draws) - 1, min(len(draws), _POINTS)).astype(int)]
    k = len(names)
    if axes is None:
        size = max(3.0, 1.9 * k)
        _, axes = plt.subplots(k, k, figsize=(size, size), layout="constrained", squeeze=False, sharex="col")
    axes = np.asarray(axes, object).reshape(k, k)
    shown = lambda i: f"{result.names[i]}\n({result.units[i]})" if result.units[i] else result.names[i]
    labels = [shown(i) for i in at]
    drawn: dict[str, list[Any]] = {"histograms": [], "points": [], "truth": []}
    for row, column in np.ndindex(k, k):
        ax = axes[row, column]
        if column > row:
            ax.set_visible(False)
            continue
        lowest, first = row == k - 1, column == 0
        dress(ax, labels[column] if lowest else "", labels[row] if first and row else "")
        ax.tick_params(labelbottom=lowest, labelleft=first and row > 0, labelsize="small")
        marked = [(truth or {}).get(names[i]) for i in (column, row)]
        if row == column:
            bars = ax.hist(draws[:, row], bins=min(40, 5 + len(draws) // 20), color=COLOURS[0], alpha=0.8)[2]
            drawn["histograms"].append(bars)
            ax.tick_params(left=False)
            ax.spines["left"].set_visible(False)
        else:
            size, alpha = (3, 0.25) if len(some) > 500 else (10, 0.7)
            options = dict(s=size, alpha=alpha, color=COLOURS[0], linewidths=0, rasterized=True)
            drawn["points"].append(ax.scatter(some[:, column], some[:, row], **options))
            if marked[1] is not None:
                drawn["truth"].append(ax.axhline(marked[1], color=COLOURS[1], linewidth=1))
        if marked[0] is not None:
            drawn["truth"].append(ax.axvline(marked[0], color=COLOURS[1], linewidth=1))
        ax.locator_params(nbins=3)
    return drawn


def profile(result: Profile, *, ax: Axes | None = None, **style: Any) -> list[Line2D]:
    """The deviance of a profile likelihood against the parameter, with the interval.

    **Arguments:** `style`: of the line, passed on to `Axes.plot`.

    **Returns:** the line, that of the limit, and one at each end of the interval that there is.
    """
    check_kind("result", result, Profile, "an hh.Profile")
    unit = f" ({result.unit})" if result.unit else ""
    ax = new_axes(ax, f"{result.name}{unit}", "Deviance (no unit)")
    finite = np.isfinite(result.deviance)
    look = {"color": COLOURS[0], "marker": "o", "markersize": 4, "linewidth": 1.2} | style
    lines = ax.plot(result.grid[finite], result.deviance[finite], **look)
    lines.append(ax.axhline(result.limit, color="0.6", linewidth=1, linestyle="--"))
    for end in result.interval:
        if np.isfinite(end):
            lines.append(ax.axvline(end, color=COLOURS[1], linewidth=1))
    low, high = result.interval
    told = f"{100 * result.level:.3g} % interval: {low:.5g} to {high:.5g} {result.unit}"
    ax.set_title(told, fontsize="medium", loc="left")
    ax.set_ylim(bottom=0.0)
    return lines


def predictive(
    posterior: Posterior,
    *,
    sweeps: Sequence[int] | None = None,
    neuron: int = 0,
    draws: int = 100,
    level: float = 0.9,
    axes: Sequence[Axes] | None = None,
) -> dict[str, list[Any]]:
    """What the posterior predicts: the data with a band that holds the model's V, and a wider one with
    the noise of the measurement, one row for each sweep.

    **Arguments:** `sweeps`: which, by default the first four; `neuron`: which; `draws`: how many of the
    posterior are run; `level`: the part of them that a band holds; `axes`: one for each sweep.

    **Returns:** a dict of `"data"`, `"median"`, `"model"` and `"noisy"`, one artist for each sweep.
    """
    check_kind("posterior", posterior, Posterior, "an hh.Posterior")
    level = as_number("level", level, least=0.0, most=1.0)
    fit = posterior.fit
    data = np.asarray(fit.data)
    sweeps = range(min(len(data), 4)) if sweeps is None else sweeps
    sweeps = as_whole("sweeps", sweeps, -len(data), len(data) - 1)
    V = posterior.predict(draws)[..., neuron][:, sweeps]
    noise = fit.rmse()[sweeps, neuron][:, None] * np.random.default_rng(0).standard_normal(V.shape)
    ends = [(1 - level) / 2, (1 + level) / 2]
    low, high = np.nanquantile(V, ends, axis=0)
    low_noisy, high_noisy = np.nanquantile(V + noise, ends, axis=0)
    if axes is None:
        size = (7, 1 + 1.8 * len(sweeps))
        _, grid = plt.subplots(len(sweeps), 1, figsize=size, layout="constrained", sharex=True, squeeze=False)
        axes = grid[:, 0]
    part = f"{100 * level:.3g} %"
    drawn: dict[str, list[Any]] = {"data": [], "median": [], "model": [], "noisy": []}
    for row, (sweep, ax) in enumerate(zip(sweeps, axes, strict=True)):
        last = row == len(sweeps) - 1
        dress(ax, "Time (ms)" if last else "", "Membrane\npotential (mV)")
        band = lambda low, high, **look: ax.fill_between(fit.ts, low, high, linewidth=0, **look)
        ends = low_noisy[row], high_noisy[row]
        drawn["noisy"].append(band(*ends, color=COLOURS[5], alpha=0.3, label=f"{part} with noise"))
        drawn["data"] += ax.plot(fit.ts, data[sweep, :, neuron], color="0.5", linewidth=1, label="data")
        drawn["model"].append(
            band(low[row], high[row], color=COLOURS[1], alpha=0.5, label=f"{part} of the model")
        )
        drawn["median"] += ax.plot(
            fit.ts, np.nanmedian(V[:, row], axis=0), color=COLOURS[1], linewidth=1, label="median"
        )
        ax.set_title(f"sweep {sweep}", fontsize="medium", loc="left")
    axes[0].legend(frameon=False, loc="lower right", bbox_to_anchor=(1, 1), ncols=4, fontsize="small")
    return drawn
