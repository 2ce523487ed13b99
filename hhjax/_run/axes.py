"""What a sweep varies: its axes, and the parameters that they name."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
import numpy as np

from .._base.arguments import as_array
from .._model.names import find, look_up
from .._model.network import Network
from .._model.neuron import Neuron, Populations
from ..stimuli._base import Constant, Scaled, Stimulus
from ..stimuli.shapes import Pulses, Ramp, Sine, Step
from ..synapses._coupling import AbstractCoupling


class Point(eqx.Module):
    """What a point of a sweep can vary: `network`, `stimulus` and `v0` (mV)."""

    network: Network
    stimulus: Stimulus
    v0: Any

    @property
    def neuron(self) -> Neuron | Populations:
        return self.network.neuron

    @property
    def coupling(self) -> AbstractCoupling | None:
        return self.network.coupling


def _names(where: Any) -> tuple[Any, ...]:
    return where if isinstance(where, tuple) else (where,)


@dataclasses.dataclass(frozen=True)
class Axis:
    """Values of anything in a sweep, along one axis of its result, under a name of your own.

    ```python
    over = {"gNa": hh.Axis("na.g", jnp.linspace(60.0, 180.0, 40))}
    ```

    **Fields:**

    - `where`: the name of a parameter, as in `over`, or a tuple of names that vary together. For
        anything else a function from a `Point` (`network`, `neuron`, `coupling`, `stimulus`, `v0`)
        to the leaf that varies, as for `eqx.tree_at`, or to a list of leaves. Define it once: each
        new function compiles anew.
    - `values`: an array whose first axis runs along the sweep and whose others have the
        shape of what replaces the leaf; a list or tuple of arrays for several leaves.
    """

    where: Callable[[Point], Any] | str | tuple[str, ...]
    values: Any

    def __post_init__(self) -> None:
        names = _names(self.where)
        if not (callable(self.where) or (names and all(isinstance(name, str) for name in names))):
            raise TypeError(
                "`where` must be the name of a parameter, such as 'na.g', a tuple of names, or a function, "
                f"got {self.where!r}."
            )


_ELSE = " For anything else give hh.Axis(where, values)."


@dataclasses.dataclass(frozen=True)
class _Named:
    """A leaf by its name, see `hh.sweep`; equal names compile once."""

    names: tuple[str, ...]

    def put(self, point: Point, values: list[Any]) -> Point:
        """The point with other values of these parameters."""
        leaves, structure = jax.tree.flatten(point)
        for name, value in zip(self.names, values):
            leaves[look_up(point, name, "over", _ELSE).index] = value
        return jax.tree.unflatten(structure, leaves)


def _as_axis(name: Any, values: Any, dtype: Any) -> tuple[str, Callable | _Named, list[np.ndarray], Any]:
    """The name of an axis, where it acts, the values for each leaf, and what to show for it."""
    where, given = (values.where, values.values) if isinstance(values, Axis) else (name, values)
    if isinstance(where, tuple):
        given = list(given) if np.iterable(given) else [given]
        if len(given) != len(where):
            raise ValueError(f"`over[{name!r}]` must hold {len(where)} arrays of values, got {len(given)}.")
        where = _Named(where)
    elif callable(where):
        given = _as_list(given)
    else:
        where, given = _Named((where,)), [given]
    label = _label(name)
    as_values = lambda x: as_array(f"over[{label!r}]", x, dtype=dtype, missing=True, finite=False)
    arrays = [np.asarray(as_values(x)) for x in given]
    if any(x.ndim == 0 or x.shape[0] == 0 for x in arrays) or len({len(x) for x in arrays}) != 1:
        shapes = ", ".join(str(x.shape) for x in arrays)
        raise ValueError(f"`over[{label!r}]` must hold values along a first axis, got shape {shapes}.")
    return label, where, arrays, arrays[0] if len(arrays) == 1 else arrays


def check_once(point: Point, wheres: tuple[Any, ...]) -> None:
    """Refuse a parameter that varies along two axes, or twice along one."""
    names = [name for where in wheres if isinstance(where, _Named) for name in where.names]
    seen: dict[int, str] = {}
    for name in names:
        index = look_up(point, name, "over", _ELSE).index
        if index in seen:
            raise ValueError(f"`over` varies one parameter twice, as {seen[index]!r} and {name!r}.")
        seen[index] = name


def _label(name: Any) -> str:
    return ", ".join(map(str, name)) if isinstance(name, tuple) else str(name)


def _put(point: Point, wheres: tuple[Callable | _Named, ...], values: list[list[Any]]) -> Point:
    for where, new in zip(wheres, values):
        if isinstance(where, _Named):
            point = where.put(point, new)
        else:
            point = eqx.tree_at(_listed(where), point, new)
    return point


def _listed(where: Callable) -> Callable:
    return lambda point: _as_list(where(point))


def _as_list(x: Any) -> Any:
    return x if isinstance(x, (list, tuple)) else [x]


def _amplitude(names: tuple[str, ...], stimulus: Stimulus) -> tuple[str, ...]:
    if "stimulus" in names and not hasattr(stimulus, "amplitude"):
        raise ValueError(
            "`over` names 'stimulus', but the stimulus has no single amplitude: name one of its fields, "
            "such as 'stimulus.factor', or give hh.Axis(where, values)."
        )
    return tuple("stimulus.amplitude" if name == "stimulus" else name for name in names)


def renamed_axes(over: Mapping[Any, Any]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """The axes that have a name of their own, with the names of the parameters along them."""
    named = [(_label(name), axis.where) for name, axis in over.items() if isinstance(axis, Axis)]
    return tuple((label, _names(where)) for label, where in named if not callable(where))


def coordinates(network: Network | None, axes: Mapping[str, Any], parameters: Any) -> dict[str, list]:
    """Name and unit of all that varies along each of the `axes`, see [`hh.Sweep`][]."""
    found = {}
    for axis, values in axes.items():
        shown = axis.split(", ") if isinstance(values, list) else [axis]
        names = dict(parameters).get(axis, shown)
        if len(names) != len(shown):
            shown = names
        found[axis] = [(part, unit_of(network, name)) for part, name in zip(shown, names)]
    return found


def unit_of(network: Any, name: str) -> str:
    """The unit of a parameter named as for [`hh.sweep`][], "" if it has none or is not known."""
    first, *rest = name.split(".")
    if first == "v0":
        return "mV"
    if first != "stimulus":
        leaf = find(network, name)
        return "" if leaf is None else leaf.unit
    fields = (f for kind in (Step, Constant, Pulses, Ramp, Sine, Scaled) for f in dataclasses.fields(kind))
    wanted = rest[-1] if rest else "amplitude"
    return next((f.metadata.get("unit", "") for f in fields if f.name == wanted), "")
