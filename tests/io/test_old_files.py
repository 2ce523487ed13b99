"""What hhjax 0.1.0 saved loads, with the values that it had then.

`expected.json` holds expressions of the loaded thing and what 0.1.0 gave for them: `exact` to the last
bit, `close` where the expression computes, `near` where it does so by a more exact method now.
"""

import dataclasses
import json
import math
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hhjax as hh

from . import own

FOLDER = Path(__file__).parents[1] / "data" / "saved_0_1_0"
FILES = json.loads((FOLDER / "expected.json").read_text())


# Fields that a class has had since, and that its files do not hold.
LATER = {hh.Recording: {"held", "current_known"}, hh.Sampled: {"held"}, hh.SpikeTimes: {"start"}}


def numbers(x):
    """All numbers in a tree, as one flat array for each leaf."""
    if isinstance(x, dict):
        return [leaf for y in x.values() for leaf in numbers(y)]
    if isinstance(x, (list, tuple)):
        return [leaf for y in x for leaf in numbers(y)]
    if dataclasses.is_dataclass(x) and not isinstance(x, type):
        names = [f.name for f in dataclasses.fields(x) if f.name not in LATER.get(type(x), ())]
        return numbers([getattr(x, name) for name in names if hasattr(x, name)])
    if isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
        x = jax.random.key_data(x)
    if not isinstance(x, (jax.Array, np.ndarray, np.generic, bool, int, float, complex)):
        return []
    x = np.asarray(x).ravel()
    if x.dtype.kind in "SUMm":
        return []
    x = x if x.dtype.kind in "biufc" else x.astype(float)
    return [np.concatenate([x.real, x.imag]).astype(float)]


def fsum(x):
    """The sum of the finite numbers, whatever their order."""
    return math.fsum(v for leaf in numbers(x) for v in leaf.tolist() if math.isfinite(v))


def total(x):
    """How many leaves there are, and the sum of their numbers."""
    return [len(numbers(x)), fsum(x)]


def resolve(name):
    """`hhjax.analysis.fi_curve` as a user writes it."""
    found = hh
    for part in name.split(".")[1:]:
        found = getattr(found, part)
    return found


def plain(x):
    """As JSON has it."""
    if isinstance(x, (jax.Array, np.ndarray, np.generic)):
        x = np.asarray(x).tolist()
    if isinstance(x, (list, tuple)):
        return [plain(y) for y in x]
    if isinstance(x, dict):
        return {key: plain(y) for key, y in x.items()}
    if isinstance(x, complex):
        return [plain(x.real), plain(x.imag)]
    return repr(x) if isinstance(x, float) and not math.isfinite(x) else x


def is_close(a, b, rel=1e-8):
    if isinstance(b, list):
        return len(a) == len(b) and all(is_close(x, y, rel) for x, y in zip(a, b))
    return math.isclose(a, b, rel_tol=rel, abs_tol=1e-11) if isinstance(b, float) else a == b


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_0_1_0_is_what_it_was(name, monkeypatch):
    told = FILES[name]
    allow = [own.Slow, own.Chirp, own.twice, own.start, own.add, own.last, own.na_g]
    allow = allow if told.get("needs_own") else []
    if name.startswith("functions"):  # those that read, write, draw or run
        allow = [*map(resolve, told["exact"]["sorted(thing)"]), hh.Network.init, hh.State.replace_V]
        allow.append(hh.Solution.spike_times)
    monkeypatch.setitem(sys.modules, "own", own)
    names = {"hh": hh, "jax": jax, "jnp": jnp, "np": np, "fsum": fsum, "total": total, "resolve": resolve}
    names["thing"] = hh.load(FOLDER / name, allow=allow)
    names["notes"] = hh.load_notes(FOLDER / name, allow=allow)
    for expression, value in told["exact"].items():
        assert plain(eval(expression, names)) == value, expression
    for expression, value in told["close"].items():
        assert is_close(plain(eval(expression, names)), value), expression
    for expression, value in told.get("near", {}).items():
        assert is_close(plain(eval(expression, names)), value, 1e-5), expression
