"""Arguments as arrays, numbers, counts and the like, refused by their names where they are none.

A message has the argument in backquotes, says what is allowed, and ends with what was given.
"""

import math
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Array

from .parameters import as_float_array, as_numbers, check_value, is_concrete, named, shown, warn_of_SI


def as_array(name: str, x: Any, unit: str = "", dtype: Any = None, **checks: Any) -> Array:
    """`x` as a strongly typed floating array; `checks`: see `_checked`."""
    return _checked(lambda x: as_float_array(x, dtype), name, x, unit, **checks)


def as_host(name: str, x: Any, unit: str = "", **checks: Any) -> np.ndarray:
    """`x` as an array of NumPy in float64; `checks`: see `_checked`."""
    return _checked(lambda x: np.asarray(as_numbers(x), float), name, x, unit, **checks)


def _checked(
    convert: Callable[[Any], Any],
    name: str,
    x: Any,
    unit: str,
    *,
    shapes: Iterable[tuple[int, ...]] | None = None,
    axes: str = "",
    least: int = 0,
    missing: bool = False,
    increasing: bool = False,
    warn: bool = False,
    **limits: Any,
) -> Any:
    """What `convert` makes of `x`.

    **Arguments:** `unit`: of the message; `shapes` that it may have, or `axes`, their names, as
    `"(post, pre)"`; `least`: the fewest along its first axis; `missing`: whether NaN may be in it;
    `increasing`: whether each along the only axis is more than the one before; `warn`: of values that look
    like SI units; `limits`: see `check_value`, `finite` if not told.
    """
    array = named(convert, name, x, f"a number or an array{_in(unit)}")
    if shapes is not None and array.shape not in (shapes := list(shapes)):
        others = " or ".join(f"{shape}" for shape in dict.fromkeys(shapes) if shape)
        allowed = " or ".join(["be a scalar"] * (() in shapes) + [f"have shape {others}"] * bool(others))
        raise ValueError(f"`{name}` must {allowed}, got {array.shape}.")
    if axes and (array.ndim != len(re.findall(r"\w+", axes)) or (least and array.shape[0] < least)):
        few = f" with at least {least}" if least else ""
        raise ValueError(f"`{name}` must have shape {axes}{few}, got {array.shape}.")
    if limits.setdefault("finite", True) and not missing and is_concrete(array):
        if not np.isfinite(np.asarray(array)).all():
            raise ValueError(f"`{name}` must be finite{_in(unit)}, got {shown(x)}.")
    if is_concrete(array):
        known = np.asarray(array)
        check_value(np.nan_to_num(known) if missing else known, name, {"unit": unit} | limits)
        if increasing and not (np.diff(known) > 0).all():
            raise ValueError(f"`{name}` must increase from one to the next{_in(unit)}, got {shown(x)}.")
        if warn:
            warn_of_SI(known, name, unit)
    return array


def as_number(
    name: str,
    x: Any,
    unit: str = "",
    *,
    least: float = -math.inf,
    most: float = math.inf,
    positive: bool = False,
    finite: bool = True,
) -> float:
    """`x` as a float from `least` to `most`; never NaN."""
    if not is_concrete(x):
        raise TypeError(
            f"`{name}` decides what is compiled, so it must be a number, not a traced value. "
            "Close over it or mark it static."
        )
    allowed = f"a {'positive ' * positive}{'finite ' * finite}number{_in(unit)}"
    if math.isfinite(least) and math.isfinite(most):
        allowed = f"between {least:g} and {most:g}{_in(unit)}"
    elif math.isfinite(least) or math.isfinite(most):
        allowed += f" of at least {least:g}" if math.isfinite(least) else f" of at most {most:g}"
    array = named(as_numbers, name, x, f"a number{_in(unit)}")
    number = float(array) if np.ndim(array) == 0 else math.nan
    inside = least <= number <= most and (number > 0 or not positive)
    if not inside or (finite and math.isinf(number)):
        raise ValueError(f"`{name}` must be {allowed}, got {shown(x)}.")
    return number


def as_window(
    start: Any,
    stop: Any,
    names: tuple[str, str] = ("start", "stop"),
    shapes: Iterable[tuple[int, ...]] = ((),),
) -> tuple[Any, Any]:
    """The ends of a window in ms, as they were given; the first must not come after the second."""
    given = zip(names, (start, stop))
    ends = [as_array(name, x, "ms", shapes=shapes, finite=False) for name, x in given]
    if all(map(is_concrete, ends)) and np.greater(*map(np.asarray, ends)).any():
        raise ValueError(f"`{names[1]}` must not come before `{names[0]}` = {start} ms, got {stop}.")
    return start, stop


def as_range(name: str, x: Any, unit: str) -> tuple[float, float]:
    """A pair of the lowest and the highest."""
    low, high = as_host(name, x, unit, shapes=[(2,)]).tolist()
    if not low < high:
        raise ValueError(f"`{name}` must be the lowest and highest{_in(unit)}, got {shown(x)}.")
    return low, high


def check_kind(name: str, x: Any, kinds: type | tuple[type, ...], allowed: str) -> Any:
    """`x`, which must be an instance of one of the kinds."""
    if not isinstance(x, kinds):
        raise TypeError(f"`{name}` must be {allowed}, got {shown(x)}.")
    return x


def check_function(name: str, x: Any, of: str) -> Any:
    """`x`, which must be a function."""
    if not callable(x):
        raise TypeError(f"`{name}` must be a function of {of}, got {shown(x)}.")
    return x


def check_choice(name: str, x: Any, known: Iterable[str]) -> Any:
    """`x`, which must be one of the names that are known."""
    if not (isinstance(x, str) and x in (known := list(known))):
        raise ValueError(f"`{name}` must be one of {', '.join(map(repr, known))}, got {shown(x)}.")
    return x


def as_whole(name: str, x: Any, least: int, most: int) -> list[int]:
    """Whole numbers from `least` to `most` as a list."""
    numbers = as_host(name, x).ravel()
    if not (numbers == np.floor(numbers)).all():
        raise ValueError(f"`{name}` must be whole numbers, got {shown(x)}.")
    if numbers.size and not least <= numbers.min() <= numbers.max() <= most:
        ends = f"{numbers.min():g} to {numbers.max():g}"
        raise ValueError(f"`{name}` must be between {least} and {most}, got {ends}.")
    return numbers.astype(int).tolist()


def as_path(name: str, x: Any) -> Path:
    """`x` as a path."""
    return Path(check_kind(name, x, (str, os.PathLike), "a path, such as a string"))


def check_memory(name: str, count: int, of: str, itemsize: int = 8) -> None:
    """Refuse what needs more memory than there is on this machine."""
    pages = getattr(os, "sysconf_names", {}).get("SC_PHYS_PAGES")
    there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if pages else 2**63
    if count * itemsize > there:
        raise ValueError(
            f"`{name}` asks for {count * itemsize / 1e9:.3g} GB of {of}, more than this machine has: "
            f"{there / 1e9:.3g} GB."
        )


def _in(unit: str) -> str:
    return f" in {unit}" if unit else ""
