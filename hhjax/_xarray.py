"""Runs and sweeps as `xarray.Dataset`s, with named dimensions and units."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from ._neuron import State
from ._solution import Solution
from ._sweep import Sweep
from ._units import unit_of


def _xarray() -> Any:
    try:
        import xarray
    except ImportError as error:
        raise ImportError("`to_xarray` needs xarray: pip install 'hhjax[xarray]'.") from error
    return xarray


def _leaves(tree: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], np.ndarray]]:
    """Every array of a tree and the names on the way to it."""
    if hasattr(tree, "_fields"):
        tree = tree._asdict()
    if isinstance(tree, State):
        tree = {"V": tree.V, **tree.gates, "s": tree.s, "noise": tree.noise}
    if isinstance(tree, (list, tuple)):
        tree = {str(k): x for k, x in enumerate(tree)}
    if isinstance(tree, dict):
        for name, x in tree.items():
            yield from _leaves(x, (*path, str(name)))
    elif tree is not None:
        yield path, np.asarray(tree)


def _state_unit(path: tuple[str, ...]) -> str:
    """The unit of a variable of the state: gates and synapses have none."""
    if path[0] in ("s", "noise"):
        return ""
    return {"V": "mV", "c": "mM"}.get(path[-1], "1")


def _variables(tree: Any, lead: tuple[str, ...], n: int, units: bool) -> dict[str, tuple]:
    """Every array of a tree as (dimensions, values, attributes), by its names joined with `_`.

    The first dimensions are `lead`; a last one of n is that of the neurons.
    """
    found = {}
    for path, x in _leaves(tree):
        name = "_".join(path) or "reduced"
        own = [f"{name}_{k}" for k in range(x.ndim - len(lead))]
        # Those of a population have another length; where two are of length n, who knows.
        neurons = [k for k, size in enumerate(x.shape[len(lead) :]) if size == n]
        if len(neurons) == 1:
            own[neurons[0]] = "neuron"
        unit = _state_unit(path) if units else ""
        found[name] = ((*lead, *own), x, {"units": unit} if unit else {})
    return found


def solution_to_xarray(solution: Solution) -> Any:
    """See `Solution.to_xarray`."""
    n = solution.finite.shape[-1]
    if np.ndim(solution.ts) != 1:
        raise ValueError(
            "`to_xarray` takes one run; of a vmapped one take out each: jax.tree.map(lambda x: x[i], run)."
        )
    is_state = isinstance(solution.ys, State)
    saved = solution.ys if is_state else {"y": solution.ys}
    variables = _variables(saved, ("time",), n, is_state)
    reduced = {"reduced": solution.reduced}
    variables |= _variables(reduced, (), n, False) | {"finite": (("neuron",), np.asarray(solution.finite))}
    coords = {"time": ("time", np.asarray(solution.ts), {"units": "ms"}), "neuron": np.arange(n)}
    progress = solution.progress
    about = {} if progress is None else {"solver": progress.solver, "dt": progress.dt, "dt_units": "ms"}
    return _xarray().Dataset(variables, coords, about)


def sweep_to_xarray(sweep: Sweep) -> Any:
    """See `Sweep.to_xarray`."""
    n = sweep.finite.shape[-1]
    alone = sweep.indices is None
    lead = tuple(sweep.axes) if alone else ("point",)
    coords: dict[str, Any] = {"neuron": np.arange(n)}
    for name, values in sweep.axes.items() if alone else ():
        parts = name.split(", ") if isinstance(values, list) else [name]
        given = values if isinstance(values, list) else [values]
        for part, x in zip(parts, given, strict=len(parts) == len(given)):
            if np.ndim(x) == 1:  # whole matrices have no place on an axis
                unit = unit_of(sweep.network, part)
                coords[part] = (name, np.asarray(x), {"units": unit} if unit else {})
    if not alone:
        coords["point"] = ("point", np.asarray(sweep.indices))
    reduced = sweep.reduced if isinstance(sweep.reduced, dict) else {"reduced": sweep.reduced}
    variables = _variables(reduced, lead, n, False)
    variables |= {"finite": ((*lead, "neuron"), np.asarray(sweep.finite))}
    if sweep.ys is not None:
        is_state = isinstance(sweep.ys, State)
        variables |= _variables(sweep.ys if is_state else {"y": sweep.ys}, (*lead, "time"), n, is_state)
        coords["time"] = ("time", np.asarray(sweep.ts), {"units": "ms"})
    about = {"solver": sweep.solver, "t0": sweep.t0, "t1": sweep.t1, "dt": sweep.dt, "dt_units": "ms"}
    return _xarray().Dataset(variables, coords, about)
