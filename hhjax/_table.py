"""Plain-text tables."""

from collections.abc import Sequence

import numpy as np


def number(x: float, digits: int = 5) -> str:
    """A number in few characters, a dash for NaN."""
    return "-" if np.isnan(x) else f"{x:.{digits}g}"


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows under their headers: the first column to the left, the others to the right."""
    widths = [max(len(row[k]) for row in [headers, *rows]) for k in range(len(headers))]
    aligned = lambda row: [row[0].ljust(widths[0])] + [x.rjust(w) for x, w in zip(row[1:], widths[1:])]
    return "\n".join("  ".join(aligned(row)).rstrip() for row in [headers, *rows])
