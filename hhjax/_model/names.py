"""Parameters, and their units, by the names under which sweeps, labels and the command line know them."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import equinox as eqx

from ..stimuli._base import Constant, Scaled
from ..stimuli.shapes import Pulses, Ramp, Sine, Step
from .network import Network

HIDDEN = ("network", "neuron", "neurons", "channels", "ions", "parts")
"""Fields that are left out of names."""


def _children(it: Any) -> Iterator[tuple[str, Any, dict]]:
    """What `it` holds: name, value and what a field says about it."""
    if isinstance(it, dict):
        yield from ((name, value, {}) for name, value in it.items())
    elif isinstance(it, tuple):
        yield from ((str(k), value, {}) for k, value in enumerate(it))
    elif dataclasses.is_dataclass(it):
        for f in dataclasses.fields(it):
            if not f.metadata.get("static"):
                yield f.name, getattr(it, f.name), dict(f.metadata)


def _named(it: Any) -> dict[str, tuple[Any, str]]:
    """What is found below `it` by one name, with its unit; the only one of a tuple needs no number."""
    if isinstance(it, tuple) and len(it) == 1:
        return _named(it[0])
    found: dict[str, tuple[Any, str]] = {}
    for name, value, said in _children(it):
        hidden = name in HIDDEN and not isinstance(it, dict)
        for key, x in (_named(value) if hidden else {name: (value, said.get("unit", ""))}).items():
            found.setdefault(key, x)
    return found


def find(root: Any, name: str) -> tuple[Any, str]:
    """The parameter of a network, a neuron or a point of a sweep by its name, and its unit.

    Names are `C`, `celsius`, `channel.field`, `ion.field`, `coupling.field`, `noise.field`; `population.`
    comes first where there are several, and the names of couplings and numbers of noises after `coupling.`
    and `noise.`. `(None, "")` for other names.
    """
    found = root, ""
    for part in name.split("."):
        found = _named(found[0]).get(part, (None, ""))
    return (None, "") if isinstance(found[0], (eqx.Module, dict, tuple)) else found


def parameters(root: Any) -> list[str]:
    """The names of all parameters that `find` finds."""
    names = []
    for name, (value, _) in _named(root).items():
        names += [name] if eqx.is_inexact_array(value) else [f"{name}.{x}" for x in parameters(value)]
    return names


def unit_of(network: Network | None, name: str) -> str:
    """The unit of a parameter named as for [`hh.sweep`][], "" if it has none or is not known."""
    first, *rest = name.split(".")
    if first == "v0":
        return "mV"
    if first != "stimulus":
        return find(network, name)[1]
    fields = (f for kind in (Step, Constant, Pulses, Ramp, Sine, Scaled) for f in dataclasses.fields(kind))
    wanted = rest[-1] if rest else "amplitude"
    return next((f.metadata.get("unit", "") for f in fields if f.name == wanted), "")


def with_unit(network: Network | None, name: str) -> str:
    """A label for an axis."""
    return f"{name} ({unit_of(network, name) or 'no unit'})"
