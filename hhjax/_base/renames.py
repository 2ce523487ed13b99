"""Arguments and fields that have another name now: the old one raises an error that says the new one."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

_T = TypeVar("_T")


def renamed(**new: str) -> Callable[[_T], _T]:
    """A decorator for a function or a class whose arguments once had other names.

    ```python
    @renamed(t0="start", folder="hh.simulate_to(folder, ...)")
    ```

    **Arguments:** by the old name, what stands in its place: the new name, or a sentence's end.

    **Returns:** the same function or class, which raises `TypeError` where an old name is used.
    """

    def refuse(name: str, given: dict[str, Any]) -> None:
        for old in sorted(set(new) & set(given)):
            raise TypeError(f"`{old}` of hh.{name} is now `{new[old]}`, got {old}={given[old]!r}.")

    def decorate(it: Any) -> Any:
        made = it.__init__ if isinstance(it, type) else it

        @functools.wraps(made)
        def call(*args: Any, **given: Any) -> Any:
            refuse(it.__name__, given)
            return made(*args, **given)

        if not isinstance(it, type):
            return call
        it.__init__ = call
        return it

    return decorate
