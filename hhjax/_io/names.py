"""Classes and functions by the names under which a file knows them, `module:name`."""

import dataclasses
import json
import sys
from collections.abc import Callable, Sequence
from typing import Any

from .._base.placeholder import Placeholder

CLASSES_OF = (
    *(f"hhjax.{name}" for name in ("analysis", "cells", "channels", "connect", "features", "losses")),
    *(f"hhjax.{name}" for name in ("recordings", "steppers", "stimuli", "synapses")),
    *(f"hhjax.{name}" for name in ("_fit", "_model", "_noise", "_run")),
    "diffrax._saveat",
)
"""Where the classes of modules, of dataclasses and of named tuples are defined that a file may hold."""


FUNCTIONS_OF = (
    *(f"hhjax.{name}" for name in ("channels", "connect", "features", "losses", "neurons", "steppers")),
    *(f"hhjax._base.{name}" for name in ("math", "parameters", "random")),
    *(f"hhjax._model.{name}" for name in ("network", "noise")),
    *(f"hhjax._run.{name}" for name in ("currents:save_currents", "simulate:save_V", "spikes")),
)
"""Where the public functions are defined that a file may hold: they make arrays or models of what they
are given. None reads, writes, draws or runs. Of the others `voltage` alone, a default, is taken."""


_PUBLIC = (
    "hhjax",
    *(
        f"hhjax.{name}"
        for name in (
            "analysis",
            "channels",
            "connect",
            "features",
            "losses",
            "neurons",
            "stimuli",
            "steppers",
            "synapses",
        )
    ),
)


# What files of older versions call by names that are no more. Each change of a name adds its row.
MOVED = {  # modules, since 0.2.0
    "hhjax._couplings": "hhjax.synapses._coupling",
    "hhjax._diffrax": "hhjax.steppers.solvers",
    "hhjax._noise._jumps": "hhjax._noise.jumps",
    "hhjax._noise._langevin": "hhjax._noise.langevin",
    "hhjax._noise._scheme": "hhjax._noise.channels",
    "hhjax._populations": "hhjax._model.neuron",
    "hhjax._reduce": "hhjax._run.reducers",
    "hhjax._solution": "hhjax._run.solution",
    "hhjax._stimulus": "hhjax.stimuli._base",
    "hhjax.analysis._impedance": "hhjax.analysis._equilibria",
    "hhjax.plot._dynamics": "hhjax.plot._curves",
}


CLASSES = {"hhjax:CalciumPool": "hhjax:Ion"}  # since 0.2.0


GONE = {  # fields, by their class, since 0.2.0
    "hhjax:Solution": ("backend",),
    "hhjax:Sweep": ("backend",),
    "hhjax.channels:CalciumActivatedPotassium": ("calcium",),
}


RENAMED: dict[str, dict[str, str]] = {  # fields, by their class, since 0.2.0
    "hhjax:GradedSynapse": {"E": "weights"},
    "hhjax:CalciumPool": {"rest": "inside"},
    "hhjax:Neuron": {"pools": "ions"},
}


def _calcium(fields: dict[str, Any], written: dict[str, Any]) -> None:
    if "valence" not in fields:  # a pool was always one of calcium
        fields |= {"valence": 2, "enters_only": True}


def _neuron(fields: dict[str, Any], written: dict[str, Any]) -> None:
    """Channels whose E an ion sets have none of their own."""
    for ion in fields["ions"].values() if "pools" in written else ():
        for name in ion.carriers if ion.nernst else ():
            channel = fields["channels"][name]
            if isinstance(channel, Placeholder):
                continue
            object.__setattr__(getattr(channel, "channel", channel), "E", None)


def _state(fields: dict[str, Any], written: dict[str, Any]) -> None:
    """Concentrations were among the gates, each as a dict of `c` alone."""
    if "concentrations" not in written:
        fields["gates"], fields["concentrations"] = _apart(fields["gates"])


def _apart(gates: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    nested = any(isinstance(x, dict) for states in gates.values() for x in states.values())
    if nested:
        parts = {name: _apart(part) for name, part in gates.items()}
        return {k: part[0] for k, part in parts.items()}, {k: part[1] for k, part in parts.items() if part[1]}
    pools = [name for name, states in gates.items() if set(states) == {"c"}]
    left = {name: states for name, states in gates.items() if name not in pools}
    return left, {name: gates[name]["c"] for name in pools}


def _fit(fields: dict[str, Any], written: dict[str, Any]) -> None:
    """The numbers of the free leaves are not those of a model whose leaves are others now."""
    if '"pools": {"dict": {"' in json.dumps(written["model"]):
        fields["free"] = None


CHANGED: dict[str, Callable[[dict[str, Any], dict[str, Any]], None]] = {  # fields, since 0.2.0
    "hhjax:CalciumPool": _calcium,
    "hhjax:Fit": _fit,
    "hhjax:Neuron": _neuron,
    "hhjax:State": _state,
}
"""What is to be done with the fields that were read, given those that were written."""


def _look_up(module: str, name: str) -> Any:
    """What an imported module holds under a dotted name, `None` if nothing."""
    found = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found


def name_of(x: Any) -> str | None:
    """The name under which a class or function can be found again, `None` if there is none."""
    module, name = getattr(x, "__module__", None), getattr(x, "__qualname__", None)
    if module is None or name is None:
        return None
    # Public names stay when the files of the library are rearranged.
    places = (*_PUBLIC, module) if module.partition(".")[0] == "hhjax" else (module,)
    return next((f"{place}:{name}" for place in places if _look_up(place, name) is x), None)


def find(kind: str, name: str, allow: Sequence[Any], file: str) -> Any:
    """The class or function of that name: one of `allow`, or one that every file may hold.

    Nothing is imported, and nothing is called to find it.

    **Arguments:** `kind`: "class" or "function"; `file`: where it is named, for messages.

    **Returns:** it, or a `Placeholder`.
    """
    if not isinstance(name, str):
        raise ValueError(f"the name of a {kind} must be a string, got {name!r:.80}.")
    module, _, qualname = name.partition(":")
    moved = f"{MOVED.get(module, module)}:{qualname}"
    is_same = lambda x: name_of(x) in (name, moved)
    for fits in (is_same, lambda x: qualname == getattr(x, "__qualname__", None)):
        for x in allow:
            if fits(x) and isinstance(x, type) == (kind == "class"):
                return x
    found = _held(*moved.split(":", 1))
    if (_is_own_class if kind == "class" else _is_own_function)(found):
        return found
    shown = "".join(c if c.isprintable() else "?" for c in name[:100])
    return Placeholder(kind, shown, file)


def _held(module: str, name: str) -> Any:
    """What an imported module of hhjax or diffrax holds, `None` if nothing.

    Not by `getattr`, since a package may import what it is asked for.
    """
    there = module.partition(".")[0] in ("hhjax", "diffrax") and module in sys.modules
    return vars(sys.modules[module]).get(name) if there else None


def _is_own_class(x: Any) -> bool:
    return is_record(x) and _is_of(CLASSES_OF, x)


def _is_own_function(x: Any) -> bool:
    if not callable(x) or isinstance(x, type) or not isinstance(getattr(x, "__name__", None), str):
        return False
    name = name_of(x)
    is_public = name is not None and name.partition(":")[0] in _PUBLIC and not x.__name__.startswith("_")
    return name == "hhjax._run.reducers:voltage" or (is_public and _is_of(FUNCTIONS_OF, x))


def _is_of(places: Sequence[str], x: Any) -> bool:
    """Whether x is defined at the top level of one of these modules, or of one inside of them."""
    module, name = x.__module__, x.__name__
    return _held(module, name) is x and any(
        module == place or module.startswith(f"{place}.") or f"{module}:{name}" == place for place in places
    )


def is_record(x: Any) -> bool:
    """Whether x is a class of modules, dataclasses or named tuples."""
    named_tuple = isinstance(x, type) and issubclass(x, tuple) and hasattr(x, "_fields")
    return isinstance(x, type) and (dataclasses.is_dataclass(x) or named_tuple)
