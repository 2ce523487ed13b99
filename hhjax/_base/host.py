"""What is done on the host, outside of compiled code: names, tables, settings, progress."""

import difflib
import sys
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .parameters import shown


def warn(message: str) -> None:
    """Warn, on behalf of the line of the user's that called."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith(_OURS):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, stacklevel=level)


_OURS = (__name__.partition(".")[0] + ".", "equinox.", "jax.", "jaxtyping.")


def known_are(name: str, known: Iterable[str]) -> str:
    """The end of a message about a name that is not among the known ones, with a space before it."""
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"{hint} Known are {', '.join(known)}."


def number(x: float, digits: int = 5) -> str:
    """A number in few characters, a dash for NaN."""
    return "-" if np.isnan(x) else f"{x:.{digits}g}"


def table(headers: Sequence[str], rows: Sequence[Sequence[str]], left: Sequence[int] = (0,)) -> str:
    """Rows under their headers: the columns `left` to the left, the others to the right."""
    widths = [max(len(row[k]) for row in [headers, *rows]) for k in range(len(headers))]
    put = lambda k, x: x.ljust(widths[k]) if k in left else x.rjust(widths[k])
    return "\n".join("  ".join(map(put, range(len(row)), row)).rstrip() for row in [headers, *rows])


def _arrays(tree: Any) -> list[Any]:
    return [x for x in jax.tree.leaves(tree) if eqx.is_array(x)]


class Settings:
    """Arguments of [`hh.simulate`][] that are compiled in; equal ones compile once."""

    def __init__(self, **options: Any):
        self.options = options
        leaves, structure = jax.tree.flatten(options)
        for name, option in options.items():  # a key has no bytes to compare, and no place here
            if any(jnp.issubdtype(x.dtype, jax.dtypes.prng_key) for x in _arrays(option)):
                raise TypeError(f"`{name}` must not hold a random key, got {shown(option)}.")
        self._key = (tuple(np.asarray(x).tobytes() if eqx.is_array(x) else x for x in leaves), structure)

    def __eq__(self, other: Any) -> bool:
        return isinstance(other, Settings) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)


# Outside of jit these would compile again at each step. Other meters may need concrete numbers.
_COMPILED = diffrax.TextProgressMeter, diffrax.TqdmProgressMeter


def _step(meter: diffrax.AbstractProgressMeter, state: Any, progress: Array) -> Any:
    return meter.step(state, progress)


_compiled_step = eqx.filter_jit(_step)


def check_meter(meter: Any) -> None:
    """Refuse what is none of diffrax's progress meters."""
    such = "one of diffrax's, such as diffrax.TqdmProgressMeter()"
    if not isinstance(meter, diffrax.AbstractProgressMeter):
        raise TypeError(f"`progress_meter` must be {such}, got {shown(meter)}.")


class Progress:
    """So much of a total is done, shown by one of diffrax's progress meters."""

    def __init__(self, meter: diffrax.AbstractProgressMeter, total: int, done: int = 0):
        self.meter, self.total, self.done, self.state = meter, total, done, meter.init()
        self.step = _compiled_step if isinstance(meter, _COMPILED) else _step

    def advance(self, by: int = 1) -> None:
        self.done += by
        self.state = self.step(self.meter, self.state, jnp.asarray(self.done / self.total))

    def close(self) -> None:
        self.meter.close(self.state)
