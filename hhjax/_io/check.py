"""Whether an object that was made without `__init__` could have been constructed."""

import dataclasses
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import AbstractArray

from .._base.placeholder import Placeholder
from .archives import OnDisk
from .names import is_record

_LEAVES = (bool, int, float, complex, jax.Array, np.ndarray)


def misfit(x: Any) -> str:
    """What is wrong with the kinds of the fields of an object of hhjax, "" if nothing.

    Modules, dicts, tuples and functions must be where the annotations say so. Where these say array or
    number any leaf will do, as `jax.tree.map` over a module puts what it likes there.
    """
    if isinstance(x, tuple) or not _is_ours(x):
        return ""
    try:
        hints = typing.get_type_hints(type(x))
    except Exception:  # names that only a type checker knows
        hints = {}
    for field in dataclasses.fields(x):
        value = getattr(x, field.name, None)
        if field.name in hints and not _fits(value, hints[field.name]):
            return f"`{field.name}` must be {_shown(hints[field.name])}, got {_shown(type(value))}."
    return ""


def fault(x: Any) -> str:
    """Why the checks that its class makes on construction refuse an object, "" if they do not."""
    if isinstance(x, tuple) or _holds_placeholder(x):
        return ""
    context = jax.enable_x64(True), jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow")
    try:
        with context[0], context[1], context[2]:
            for field in dataclasses.fields(x):
                convert, value = field.metadata.get("converter"), getattr(x, field.name, None)
                if convert is not None and value is not None:
                    convert(value)
            if isinstance(x, eqx.Module):
                for kind in type(x).__mro__:
                    if "__check_init__" in vars(kind):
                        vars(kind)["__check_init__"](x)
            elif _is_ours(x) and hasattr(x, "__post_init__"):  # which checks, and nothing else
                x.__post_init__()
    except Exception as error:
        return f"{error}" or type(error).__name__
    return ""


def _is_ours(x: Any) -> bool:
    return type(x).__module__.partition(".")[0] == "hhjax"


def _holds_placeholder(x: Any) -> bool:
    if isinstance(x, Placeholder):
        return True
    if isinstance(x, dict):
        return any(map(_holds_placeholder, x.values()))
    if isinstance(x, (list, tuple)):
        return any(map(_holds_placeholder, x))
    return is_record(type(x)) and any(
        _holds_placeholder(getattr(x, f.name, None)) for f in dataclasses.fields(x)
    )


def _fits(x: Any, hint: Any) -> bool:
    """Whether x may stand where an annotation says `hint`; what is not understood fits."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if isinstance(x, Placeholder) or hint is Any or isinstance(hint, (str, typing.TypeVar)):
        return True
    if origin in (typing.Union, types.UnionType):
        return any(_fits(x, arg) for arg in args)
    if origin in (typing.Annotated, typing.Required, typing.Final):
        return _fits(x, args[0])
    if hint is Callable or origin is Callable:
        return callable(x)
    if origin in (dict, Mapping) or hint is dict:
        key, value = args or (Any, Any)
        return isinstance(x, dict) and all(_fits(k, key) and _fits(y, value) for k, y in x.items())
    if origin in (list, Sequence):
        return isinstance(x, (list, tuple)) and all(_fits(y, args[0]) for y in x)
    if origin is tuple:
        if not isinstance(x, tuple):
            return False
        if len(args) == 2 and args[1] is Ellipsis:
            return all(_fits(y, args[0]) for y in x)
        return len(x) == len(args) and all(map(_fits, x, args))
    if is_record(hint) or hint is str:
        return isinstance(x, hint)
    if isinstance(hint, type) and issubclass(hint, (*_LEAVES, AbstractArray)):
        return is_on_disk(x) or not (isinstance(x, (dict, list, tuple)) or is_record(type(x)) or callable(x))
    return True


def is_on_disk(x: Any) -> bool:
    """Whether it is an array that a run or a sweep left on disk."""
    return isinstance(x, OnDisk)


def _shown(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) and not typing.get_args(hint) else str(hint)
