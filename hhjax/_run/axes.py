"""What a sweep varies: its axes, and the parameters that they name."""

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import numpy as np

from .._base.host import known_are
from .._model.names import find, parameters
from .._model.network import Network
from .._model.neuron import Neuron, Populations
from ..stimuli._base import Stimulus
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


@dataclasses.dataclass(frozen=True)
class Axis:
    """Values of anything in a sweep, along one axis of its result.

    **Fields:**

    - `where`: from a `Point` (`network`, `neuron`, `coupling`, `stimulus`, `v0`) to the leaf
        that varies, as for `eqx.tree_at`, or to a list of leaves that vary together. Define
        it once: each new function compiles anew.
    - `values`: an array whose first axis runs along the sweep and whose others have the
        shape of what replaces the leaf; a list of arrays for a list of leaves.
    """

    where: Callable[[Point], Any]
    values: Any


@dataclasses.dataclass(frozen=True)
class _Named:
    """A leaf by its name, see `hh.sweep`; equal names compile once."""

    names: tuple[str, ...]

    def __call__(self, point: Point) -> list:
        return [self._find(point, name) for name in self.names]

    def _find(self, point: Point, name: str) -> Any:
        found, _ = find(point, name)
        if found is None:
            told = known_are(name, parameters(point))
            raise ValueError(
                f"`over` names {name!r}, which is no parameter.{told} For anything else give "
                "hh.Axis(where, values)."
            )
        return found


def _as_axis(name: Any, values: Any, dtype: Any) -> tuple[str, Callable, list[np.ndarray], Any]:
    """The name of an axis, where it acts, the values for each leaf, and what to show for it."""
    if isinstance(values, Axis):
        many = isinstance(values.values, (list, tuple))
        where, given = values.where, list(values.values) if many else [values.values]
    elif isinstance(name, tuple):
        where, given = _Named(name), list(values)
        if len(given) != len(name):
            raise ValueError(f"`over[{name!r}]` must hold {len(name)} arrays of values, got {len(given)}.")
    else:
        where, given = _Named((name,)), [values]
    arrays = [np.asarray(x, dtype) for x in given]
    label = ", ".join(name) if isinstance(name, tuple) else str(name)
    if any(x.ndim == 0 or x.shape[0] == 0 for x in arrays) or len({len(x) for x in arrays}) != 1:
        shapes = ", ".join(str(x.shape) for x in arrays)
        raise ValueError(f"`over[{label!r}]` must hold values along a first axis, got shape {shapes}.")
    return label, where, arrays, arrays[0] if len(arrays) == 1 else arrays


def _put(point: Point, wheres: tuple[Callable, ...], values: list[list[Any]]) -> Point:
    for where, new in zip(wheres, values):
        leaves = lambda point: (lambda x: x if isinstance(x, (list, tuple)) else [x])(where(point))
        point = eqx.tree_at(leaves, point, new)
    return point


def _amplitude(names: tuple[str, ...], stimulus: Stimulus) -> tuple[str, ...]:
    if "stimulus" in names and not hasattr(stimulus, "amplitude"):
        raise ValueError(
            "`over` names 'stimulus', but the stimulus has no single amplitude: name one of its fields, "
            "such as 'stimulus.factor', or give hh.Axis(where, values)."
        )
    return tuple("stimulus.amplitude" if name == "stimulus" else name for name in names)
