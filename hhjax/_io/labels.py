"""Names, dimensions and units of what a run or a sweep gives, for files and labelled arrays."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from .._base.tables import shape, Table


class Labelled(NamedTuple):
    """An array, or the shape and dtype of one, with the names of its dimensions and its attributes.

    In this order it is what `xarray` takes for a variable.
    """

    dims: tuple[str, ...]
    values: Any
    attrs: dict[str, Any]

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.values.shape)


def _part(key: Any) -> str:
    return str(next(getattr(key, kind) for kind in ("name", "key", "idx") if hasattr(key, kind)))


def names(tree: Any) -> list[tuple[str, ...]]:
    """What each leaf of a tree is called on the way to it; the gates of a state go by their channels."""
    paths = [[_part(key) for key in path] for path, _ in jax.tree.leaves_with_path(tree)]
    return [tuple(part for part in path if part != "gates") for path in paths]


def _state_unit(path: tuple[str, ...]) -> str:
    """The unit of a variable of the state: gates and synapses have none."""
    if path[0] in ("s", "noise"):
        return ""
    return {"V": "mV", "c": "mM"}.get(path[-1], "1")


def label(
    tree: Any, lead: Sequence[str], n: int, *, of_state: bool = False, taken: Sequence[str] = ()
) -> dict[str, Labelled]:
    """Every leaf of a tree in its order, by its names joined with `_`.

    The first dimensions are `lead`; a last one of n is that of the neurons. A name that is `taken`
    gets a number behind it.
    """
    found: dict[str, Labelled] = {}
    for path, x in zip(names(tree), jax.tree.leaves(tree)):
        wanted = name = "_".join(path).replace("/", "_") or "reduced"
        count = 1
        while name in found or name in taken:
            count += 1
            name = f"{wanted}_{count}"
        own = [f"{name}_{k}" for k in range(x.ndim - len(lead))]
        # An axis of a population has another length; with two axes of length n it is not clear which it is.
        neurons = [k for k, size in enumerate(x.shape[len(lead) :]) if size == n]
        if len(neurons) == 1:
            own[neurons[0]] = "neuron"
        unit = _state_unit(path) if of_state else ""
        found[name] = Labelled((*lead, *own), x, {"units": unit} if unit else {})
    return found


def label_saved(
    ys: Any, lead: Sequence[str], n: int, *, of_state: bool, taken: Sequence[str] = ()
) -> dict[str, Labelled]:
    """What `saveat` kept, perhaps states of the network, whose last dimension of `lead` is time."""
    return label(ys if of_state else {"y": ys}, lead, n, of_state=of_state, taken=taken)


def run_attrs(solver: str, t0: float, t1: float, dt: float) -> dict[str, Any]:
    """What is told of a whole run or sweep; times in ms."""
    return {"solver": solver, "t0": t0, "t1": t1, "dt": dt, "dt_units": "ms"}


def label_times(ts: Any) -> dict[str, Labelled]:
    """The coordinate of what was saved."""
    return {"time": Labelled(("time",), np.asarray(ts), {"units": "ms"})}


def label_neurons(n: int, places: Mapping[str, np.ndarray] = {}) -> dict[str, Labelled]:
    """The coordinates of the neurons: their numbers and, of compartments, `places` by name."""
    units = {"distance": "µm"}
    found = {"neuron": np.arange(n), **places}
    return {
        name: Labelled(("neuron",), x, {"units": units[name]} if name in units else {})
        for name, x in found.items()
    }


def label_axes(
    axes: Mapping[str, Any], coordinates: Mapping[str, Sequence[tuple[str, str]]]
) -> dict[str, Labelled]:
    """The values along the axes of a sweep; those that vary together share a dimension.

    `coordinates` gives name and unit of all that varies along an axis.
    """
    found: dict[str, Labelled] = {}
    for name, values in axes.items():
        given = values if isinstance(values, list) else [values]
        for (part, unit), x in zip(coordinates[name], given):
            if np.ndim(x) == 1:  # whole matrices have no place on an axis
                found[part] = Labelled((name,), np.asarray(x), {"units": unit} if unit else {})
    return found


def array_table(arrays: Mapping[str, Labelled]) -> Table:
    """Names, shapes and units."""
    rows = [(name, shape(x.values), x.attrs.get("units", "")) for name, x in arrays.items()]
    return Table(("array", "shape", "unit"), rows, left=(0, 1, 2))


def dataset(variables: dict[str, Labelled], coords: dict[str, Labelled], about: dict[str, Any]) -> Any:
    """An `xarray.Dataset`; `ImportError` that says what to install."""
    try:
        import xarray
    except ImportError as error:
        raise ImportError("`to_xarray` needs xarray: pip install 'hhjax[xarray]'.") from error
    read = lambda found: {name: (x.dims, np.asarray(x.values), x.attrs) for name, x in found.items()}
    return xarray.Dataset(read(variables), read(coords), about)
