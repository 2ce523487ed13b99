"""What models and results print: tables of values with their units, as text and, in Jupyter, as HTML."""

import html
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from .host import table
from .parameters import is_concrete
from .placeholder import NotLoaded

_MOST_SIGNS = 100  # of a cell


class Table(NamedTuple):
    """Rows under their headers, a line above and lines below.

    **Fields:** `left`: the columns that are aligned to the left, the others being to the right; `most`:
    how many rows are shown.
    """

    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    title: str = ""
    notes: Sequence[str] = ()
    left: Sequence[int] = (0,)
    most: int = 60

    def _short(self) -> "Table":
        """The same with no more rows, and no longer cells, than can be read."""
        cut = lambda x: x if len(x) <= _MOST_SIGNS else x[: _MOST_SIGNS - 1] + "…"
        rows = [[cut(x) for x in row] for row in self.rows[: self.most]]
        more = [f"… and {len(self.rows) - len(rows)} more"] if len(self.rows) > len(rows) else []
        return self._replace(rows=rows, notes=[*more, *self.notes])

    def text(self) -> str:
        it = self._short()
        body = [table(it.headers, it.rows, it.left).lstrip("\n")] if it.rows else []
        return "\n".join([*([it.title] if it.title else []), *body, *it.notes])

    def html(self) -> str:
        it = self._short()
        align = ["left" if k in it.left else "right" for k in range(len(it.headers))]

        def row(tag: str, cells: Sequence[str]) -> str:
            shown = (f'<{tag} style="text-align:{a}">{html.escape(x)}</{tag}>' for a, x in zip(align, cells))
            return f"<tr>{''.join(shown)}</tr>"

        head = f"<thead>{row('th', it.headers)}</thead>" if any(it.headers) else ""
        body = f"<table>{head}<tbody>{''.join(row('td', x) for x in it.rows)}</tbody></table>"
        lines = lambda texts: "".join(f"<div>{html.escape(x)}</div>" for x in texts if x)
        return lines([it.title]) + (body if it.rows else "") + lines(it.notes)


def facts(title: str, of: Mapping[str, str]) -> Table:
    """What is said of a thing as a whole, without what is empty."""
    return Table(("", ""), [(name, x) for name, x in of.items() if x], title, left=(0, 1))


class Printed:
    """What `print` shows as tables; `repr` is the class's own."""

    def _tables(self) -> list[Table]:
        """What is shown of it."""
        raise NotImplementedError

    def __str__(self) -> str:
        try:
            return "\n\n".join(one.text() for one in self._tables() if one.rows or one.title)
        except NotLoaded:  # a class of the user's own, not given to hh.load
            return repr(self)

    def _repr_html_(self) -> str:
        try:
            return "".join(one.html() for one in self._tables())
        except NotLoaded:
            return f"<pre>{html.escape(repr(self))}</pre>"


def is_known(x: Any) -> bool:
    """Whether the values of `x` can be read here and now: not those of a tracer, nor a bare shape."""
    known = isinstance(x, (jax.Array, np.ndarray, np.number, int, float)) and is_concrete(x)
    return known and getattr(x, "is_fully_addressable", True)


def shape(x: Any) -> str:
    """The shape of an array, or of what stands for one."""
    return str(tuple(np.shape(x)))


def span(x: Any, unit: str = "") -> str:
    """The least and the greatest value that there are, or the shape where they are not known."""
    if not is_known(x):
        return f"shape {shape(x)}"
    x = np.asarray(x, float)
    x = x[~np.isnan(x)]
    if not x.size:
        return "none"
    low, high = f"{x.min():.6g}", f"{x.max():.6g}"
    return (low if low == high else f"{low} … {high}") + (f" {unit}" if unit else "")


def value(x: Any) -> str:
    """A number; the range of a vector and how many it holds; else the shape."""
    if not is_known(x) or np.ndim(x) > 1:
        return f"shape {shape(x)}"
    return f"{float(x):.6g}" if np.ndim(x) == 0 else f"{span(x)} ({np.size(x)})"
