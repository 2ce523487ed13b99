"""Arguments and fields by other names: an old one raises an error that says the new, an alias is taken."""

import functools
import sys
from collections.abc import Callable
from typing import Any, TypeVar

_T = TypeVar("_T")


GONE = ""
"""What stands in the place of an argument or a field that has no successor."""


def renamed(**new: str) -> Callable[[_T], _T]:
    """A decorator for a function or a class whose arguments, or fields, once had other names.

    ```python
    @renamed(t0="start", folder="hh.simulate_to(folder, ...)", backend=GONE)
    ```

    **Arguments:** by the old name, what stands in its place: the new name, what to call, or `GONE`.

    **Returns:** the same function or class, which raises `TypeError` where an old name is given,
    and `AttributeError` where it is read.
    """

    def decorate(it: Any) -> Any:
        made = it.__init__ if isinstance(it, type) else it

        told = functools.partial(_told, it, new)

        @functools.wraps(made)
        def call(*args: Any, **given: Any) -> Any:
            for old in sorted(set(new) & set(given)):
                raise TypeError(f"{told(old)}, got {old}={given[old]!r}.")
            return made(*args, **given)

        if not isinstance(it, type):
            return call
        it.__init__ = call
        return reads(**new)(it)

    return decorate


def reads(**new: str) -> Callable[[_T], _T]:
    """A decorator for a class whose attributes or methods once had other names.

    **Arguments:** as of `renamed`.

    **Returns:** the same class, which raises `AttributeError` where an old name is read.
    """

    def decorate(it: Any) -> Any:
        def read(old: str, self: Any) -> Any:
            raise AttributeError(f"{_told(it, new, old)}.")

        for old in new:
            if not hasattr(it, old):
                setattr(it, old, property(functools.partial(read, old)))
        return it

    return decorate


def _told(it: Any, new: dict[str, str], old: str) -> str:
    now = f"is now `{new[old]}`" if new[old] else "is no more, leave it out"
    return f"`{old}` of {_public(it)} {now}"


def _public(it: Any) -> str:
    """As a user writes it, `hh.name` or `hh.module.name`."""
    package, module, *_ = it.__module__.split(".")
    top = hasattr(sys.modules[package], it.__name__)
    return f"hh.{it.__name__}" if top else f"hh.{module}.{it.__name__}"


def also_called(**alias: str) -> Callable[[_T], _T]:
    """A decorator for a class one of whose arguments may be given by a second name.

    ```python
    @also_called(E="weights")
    ```

    The class keeps the second names as its `aliases`.
    """

    def decorate(cls: Any) -> Any:
        made = cls.__init__

        @functools.wraps(made)
        def call(*args: Any, **given: Any) -> None:
            for other, name in alias.items():
                if other in given and name in given:
                    raise TypeError(f"`{other}` and `{name}` of {_public(cls)} are the same: give one.")
            made(*args, **{alias.get(name, name): x for name, x in given.items()})

        cls.__init__, cls.aliases = call, alias
        return cls

    return decorate
