"""Classes and functions by the names under which a file knows them, `module:name`."""

import dataclasses
import importlib
import sys
from collections.abc import Sequence
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


GONE = {  # fields, by their class, since 0.2.0
    "hhjax:Solution": ("backend",),
    "hhjax:Sweep": ("backend",),
}


RENAMED: dict[str, dict[str, str]] = {  # fields, by their class, since 0.2.0
    "hhjax:GradedSynapse": {"E": "weights"},
}


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
