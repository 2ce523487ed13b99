"""How a parameter is named in sweeps, fits, labels and on the command line: this one grammar.

    [population.]channel.parameter       "na.g", "e.na.g"; C and celsius have no channel: "C", "e.C"
    coupling.[name.]parameter            "coupling.weights", "coupling.ampa.tau"
    noise.[number.]parameter             "noise.sigma", "noise.1.tau"
    stimulus.parameter, v0               of a run
    electrode.parameter                  "electrode.area", of a pair of a model and an electrode

An ion stands where a channel does. The population, the name of a coupling and the number
of a noise are left out where there is but one without a name. The grammar follows the tree of the
modules: a further level, such as the region of a cell, comes into the names when it comes into it.
A class may give a field a second name by a mapping `aliases`, from that to the field.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp

from .._base.arguments import as_array, check_kind
from .._base.host import known_are
from .._base.parameters import check_parameters, check_value, is_concrete

HIDDEN = (
    *("network", "neuron", "neurons", "channels", "channel", "ions", "parts"),
    *("membranes", "geometry", "cells"),
)
"""Fields that are left out of names."""


RESERVED = (
    *("C", "celsius", "coupling", "noise", "stimulus", "v0", "electrode"),
    *("length", "diameter", "resistivity"),
)
"""First words of names, which no part of a model may have as its own."""


_SIGNS = ".,[]="  # what separates parts, names, entries and values


Model = TypeVar("Model")


@dataclasses.dataclass(frozen=True, eq=False)
class Leaf:
    """A leaf of a model, what it is called, and what its field says about it.

    **Fields:** `index`: its number among the leaves; `value`: the array; `names`: its name, then others
    that it goes by; `said`: unit and limits, see [`hh.param`][].
    """

    index: int
    value: Any
    names: tuple[str, ...]
    said: Mapping[str, Any]

    @property
    def name(self) -> str:
        return self.names[0]

    @property
    def unit(self) -> str:
        return self.said.get("unit", "")


def leaves(root: Any, unset: bool = False) -> list[Leaf]:
    """All leaves of a model, a pair of one and an electrode, a stimulus or a point of a sweep.

    With `unset` what is `None` counts as well.
    """
    found, _ = jax.tree.flatten_with_path(root, is_leaf=lambda x: unset and x is None)
    return [Leaf(i, value, *_described(root, path)) for i, (path, value) in enumerate(found)]


def _described(root: Any, path: tuple) -> tuple[tuple[str, ...], Mapping[str, Any]]:
    """The names of the leaf at the end of a path, and what the last field with a unit says."""
    names: list[tuple[str, ...]] = [()]
    node, said = root, {}
    for entry in path:
        parts: tuple[str, ...] = (str(entry),)
        if isinstance(entry, jax.tree_util.GetAttrKey):
            field = next((f for f in _fields(node) if f.name == entry.name), None)
            if field is not None and "unit" in field.metadata:
                said = dict(field.metadata)
            others = [alias for alias, name in getattr(node, "aliases", {}).items() if name == entry.name]
            parts = ("",) if entry.name in HIDDEN else (entry.name, *others)
            node = getattr(node, entry.name)
        elif isinstance(entry, jax.tree_util.DictKey):
            parts, node = (str(entry.key),), node[entry.key]
        elif isinstance(entry, jax.tree_util.SequenceKey):
            parts, node = (_place(node, entry.idx),), node[entry.idx]
        names = [(*name, part) if part else name for name in names for part in parts]
    return tuple(".".join(name) for name in names), said


def _fields(node: Any) -> Iterable[Any]:
    return dataclasses.fields(node) if dataclasses.is_dataclass(node) else ()


def _place(parts: Any, k: int) -> str:
    """What a member of a tuple is called; the only one needs no number."""
    if len(parts) == 2 and (second := _called(parts[1])):
        return ("", second)[k]
    return str(k) if len(parts) > 1 else ""


def _called(x: Any) -> str:
    """What goes with a model calls itself by a name of its own, as an `hh.Electrode` does."""
    return getattr(type(x), "beside_a_model", "")


def find(root: Any, name: str) -> Leaf | None:
    """The leaf of that name, `None` for other names."""
    known = leaves(root)
    exact = [leaf for leaf in known if leaf.name == name]
    return next(iter(exact or [leaf for leaf in known if name in leaf.names]), None)


def _is_float(x: Any) -> bool:
    return isinstance(x, float) or eqx.is_inexact_array(x)


def parameters(root: Any) -> list[str]:
    """The names of all parameters."""
    return list(dict.fromkeys(leaf.name for leaf in leaves(root) if _is_float(leaf.value)))


def look_up(root: Any, name: Any, argument: str, hint: str = "") -> Leaf:
    """The parameter of that name.

    **Raises:** `ValueError` that names the nearest one, and `argument`; `TypeError` for what is no name.
    """
    if not isinstance(name, str):
        raise TypeError(f"`{argument}` must name a parameter, such as 'na.g', got {name!r}.")
    leaf = find(root, name)
    if leaf is None or not _is_float(leaf.value):
        if any(name in x.names and x.value is None for x in leaves(root, unset=True)):
            where = ", or take the neuron's 'celsius'" if name.endswith(".celsius") else ""
            raise ValueError(
                f"`{argument}` names {name!r}, which is None: make the model with a value{where}."
            )
        known = known_are(name, parameters(root))
        raise ValueError(f"`{argument}` names {name!r}, which is no parameter.{known}{hint}")
    return leaf


def get(model: Any, name: str) -> Any:
    """The values of a parameter.

    ```python
    hh.get(hh.squid_axon(), "na.g")  # 120 mS/cm²
    ```

    **Arguments:**

    - `model`: an [`hh.Neuron`][], an [`hh.Network`][], a pair of one and an [`hh.Electrode`][], or a
        stimulus.
    - `name`: such as `"na.g"`, `"C"`, `"coupling.weights"`, `"electrode.offset"`, with
        `"population."` in front where there are several.

    **Returns:** an array.

    **Raises:** `ValueError` for an unknown name, with the known ones.
    """
    check_kind("model", model, (eqx.Module, tuple), "a neuron, a network or a stimulus")
    return look_up(model, name, "name").value


def replace(model: Model, values: Mapping[str, Any]) -> Model:
    """A model with other values of some parameters.

    ```python
    hh.replace(hh.squid_axon(), {"na.g": 100.0, "leak.E": -60.0})
    ```

    Works under `jax.jit`, `jax.grad` and `jax.vmap`, with values that are traced. For what has no
    name, take `eqx.tree_at`.

    **Arguments:**

    - `model`: as for [`hh.get`][].
    - `values`: numbers or arrays by the names of parameters, see [`hh.get`][].

    **Returns:** a new model of the same type and float type.

    **Raises:** `ValueError` for unknown names, and for values that are NaN, out of range or of a wrong
    shape; `TypeError` for what is no number.
    """
    if not isinstance(values, Mapping):
        raise TypeError(
            f"`values` must be a dict of values by name, such as {{'na.g': 100.0}}, got {values!r}."
        )
    check_kind("model", model, (eqx.Module, tuple), "a neuron, a network or a stimulus")
    flat, structure = jax.tree.flatten(model)
    changed = {}
    for name, value in values.items():
        leaf = look_up(model, name, "values")
        if leaf.index in changed:
            raise ValueError(f"`values` has {leaf.name!r} twice, as {changed[leaf.index]!r} and {name!r}.")
        changed[leaf.index] = name
        dtype = jnp.result_type(leaf.value)
        flat[leaf.index] = as_array(f"values[{name!r}]", value, dtype=dtype, missing=True, finite=False)
        if is_concrete(flat[leaf.index]):
            check_value(flat[leaf.index], name, leaf.said)
    new = jax.tree.unflatten(structure, flat)
    _check_again(new)
    return new


def _check_again(it: Any) -> None:
    """The checks that modules make when they are constructed."""
    if isinstance(it, dict):
        _check_again(tuple(it.values()))
    elif isinstance(it, (list, tuple)):
        for part in it:
            _check_again(part)
        if len(it) == 2 and (called := _called(it[1])):
            check_parameters(it[1], called, getattr(it[0], "n", 1))
    elif isinstance(it, eqx.Module):
        for field in _fields(it):
            _check_again(getattr(it, field.name))
        for kind in type(it).__mro__:
            if "__check_init__" in vars(kind):
                vars(kind)["__check_init__"](it)


def check_names(**parts: Iterable[str]) -> None:
    """Refuse names of parts of a model that would make the name of a parameter stand for two.

    **Arguments:** the names by the field that holds the parts; those of all of them must differ.
    """
    taken: set[str] = set()
    for field, names in parts.items():
        for name in names:
            if not isinstance(name, str) or not name or set(name) & set(_SIGNS):
                raise ValueError(
                    f"`{field}` must have names without any of {' '.join(_SIGNS)}, got {name!r}."
                )
            if name in taken:
                raise ValueError(f"`{field}` must not have the name of another part, got {name!r}.")
            if name in (*RESERVED, *HIDDEN):
                raise ValueError(
                    f"`{field}` must not have a name that names of parameters use for something else "
                    f"({', '.join((*RESERVED, *HIDDEN))}), got {name!r}."
                )
        taken |= set(names)
