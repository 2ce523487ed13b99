"""What a misspelt name may have meant."""

import difflib
from collections.abc import Iterable


def known_are(name: str, known: Iterable[str]) -> str:
    """The end of a message about a name that is not among the known ones, with a space before it."""
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"{hint} Known are {', '.join(known)}."
