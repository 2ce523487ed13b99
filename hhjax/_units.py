"""Units of parameters by the names under which a sweep knows them."""

import dataclasses
from typing import Any

from ._network import Network
from ._stimulus import Constant, Pulses, Ramp, Scaled, Sine, Step


def unit_of(network: Network | None, name: str) -> str:
    """The unit of a parameter named as for [`hh.sweep`][], "" if it has none or is not known."""
    first, *rest = name.split(".")
    if first == "v0":
        return "mV"
    if first == "stimulus":
        return _unit(rest[-1] if rest else "amplitude", *(Step, Constant, Pulses, Ramp, Sine, Scaled))
    if network is None:
        return ""
    neuron: Any = network.neuron
    if first in network.ranges and rest:
        neuron = neuron.neurons[first]
        first, *rest = rest
    found = getattr(neuron, "channels", {}).get(first)
    if found is None:
        found = network.coupling if first == "coupling" else neuron
        rest = rest or [first]
    for part in rest[:-1]:
        found = found.get(part) if isinstance(found, dict) else getattr(found, part, None)
    return _unit(rest[-1], found) if rest else ""


def _unit(name: str, *owners: Any) -> str:
    for owner in owners:
        for field in dataclasses.fields(owner) if dataclasses.is_dataclass(owner) else ():
            if field.name == name:
                return field.metadata.get("unit", "")
    return ""


def with_unit(network: Network | None, name: str) -> str:
    """A label for an axis."""
    return f"{name} ({unit_of(network, name) or 'no unit'})"
