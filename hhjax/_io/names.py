"""Classes and functions by the names under which a file knows them, `module:name`."""

import dataclasses
import importlib
import json
import sys
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx

TRUSTED = ("hhjax", "jax", "equinox", "diffrax", "optimistix", "lineax", "optax")
"""Packages that a file may name: they are imported if need be, their functions are taken."""


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


def _package(module: str) -> str:
    return module.partition(".")[0]


def _look_up(module: str, name: str) -> Any:
    """What a module holds under a dotted name, `None` if nothing."""
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
    places = (*_PUBLIC, module) if _package(module) == "hhjax" else (module,)
    return next((f"{place}:{name}" for place in places if _look_up(place, name) is x), None)


def find(name: str, allow: Sequence[Any], wanted_by: str) -> Any:
    """The class or function of that name: one of `allow`, of a trusted package or, a class
    alone, of a module that the program has imported. Nothing else is imported.

    **Raises:** `ValueError` that says what is missing or refused.
    """
    module, _, qualname = name.partition(":")
    module = MOVED.get(module, module)
    for x in allow:
        if qualname == getattr(x, "__qualname__", None) or name == name_of(x):
            return x
    trusted = _package(module) in TRUSTED
    if trusted:
        try:
            importlib.import_module(module)
        except ImportError:
            pass  # told below, as what is not there
    found = _look_up(module, qualname)
    if found is None:
        if trusted or module in sys.modules:
            hint = f"{module} has no {qualname}: pass its successor to hh.load as allow=[...]."
        else:
            hint = f"`import {module}` before hh.load, or pass it as allow=[{qualname}]."
        raise ValueError(f"{wanted_by} needs {qualname} of {module!r}, which is not there. {hint}")
    if not _harmless(found, trusted):
        raise ValueError(
            f"{wanted_by} names {qualname} of {module!r}, which is no equinox module and of none of the "
            f"packages {', '.join(TRUSTED)}. If you trust it, pass it to hh.load as allow=[{qualname}]."
        )
    return found


def _harmless(x: Any, trusted: bool) -> bool:
    if not trusted:
        return isinstance(x, type) and issubclass(x, eqx.Module)
    # What a trusted package merely imported, such as `os`, is not its own.
    own = _package(getattr(x, "__module__", None) or "") in TRUSTED
    return own and (is_record(x) or (callable(x) and not isinstance(x, type)))


def is_record(x: Any) -> bool:
    """Whether x is a class of modules, dataclasses or named tuples."""
    named_tuple = isinstance(x, type) and issubclass(x, tuple) and hasattr(x, "_fields")
    return isinstance(x, type) and (dataclasses.is_dataclass(x) or named_tuple)
