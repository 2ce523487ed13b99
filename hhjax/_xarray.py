"""Runs and sweeps as `xarray.Dataset`s, with named dimensions and units."""

from typing import Any

import numpy as np

from ._labels import label, label_axes, label_neurons, label_saved, label_times, Labelled, run_attrs
from ._solution import Solution
from ._run.sweep import Sweep


def _dataset(variables: dict[str, Labelled], coords: dict[str, Labelled], about: dict[str, Any]) -> Any:
    try:
        import xarray
    except ImportError as error:
        raise ImportError("`to_xarray` needs xarray: pip install 'hhjax[xarray]'.") from error
    read = lambda found: {name: (x.dims, np.asarray(x.values), x.attrs) for name, x in found.items()}
    return xarray.Dataset(read(variables), read(coords), about)


def solution_to_xarray(solution: Solution) -> Any:
    """See `Solution.to_xarray`."""
    n = solution.finite.shape[-1]
    if np.ndim(solution.ts) != 1:
        raise ValueError(
            "`to_xarray` takes one run; of a vmapped one take out each: jax.tree.map(lambda x: x[i], run)."
        )
    variables = label_saved(solution.ys, ("time",), n)
    variables |= label({"reduced": solution.reduced}, (), n)
    variables |= label({"finite": solution.finite}, (), n)
    progress = solution.progress
    about = {} if progress is None else {"solver": progress.solver, "dt": progress.dt, "dt_units": "ms"}
    return _dataset(variables, label_times(solution.ts) | label_neurons(n), about)


def sweep_to_xarray(sweep: Sweep) -> Any:
    """See `Sweep.to_xarray`."""
    n = sweep.finite.shape[-1]
    alone = sweep.indices is None
    lead = tuple(sweep.axes) if alone else ("point",)
    coords = label_neurons(n)
    if alone:
        coords |= label_axes(sweep.axes, sweep.network)
    else:
        coords["point"] = Labelled(("point",), np.asarray(sweep.indices), {})
    variables = label(sweep.reduced, lead, n) | label({"finite": sweep.finite}, lead, n)
    if sweep.ys is not None:
        variables |= label_saved(sweep.ys, (*lead, "time"), n)
        coords |= label_times(sweep.ts)
    return _dataset(variables, coords, run_attrs(sweep.solver, sweep.t0, sweep.t1, sweep.dt))
