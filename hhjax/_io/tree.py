"""Trees of modules as JSON and named arrays, and back."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from .._base.random import FAST, fast_key
from .names import CHANGED, CLASSES, find, GONE, is_record, name_of, RENAMED


class Writer:
    """Turns a tree into JSON; `arrays` fills with its arrays by name, such as `ys.V`."""

    def __init__(self) -> None:
        self.arrays: dict[str, np.ndarray] = {}

    def _keep(self, x: np.ndarray, path: tuple[str, ...]) -> str:
        """Keep an array under a name that a zip file and a reader can take."""
        parts = ("".join(c if c.isalnum() or c in "_-" else "_" for c in part) for part in path)
        name = base = ".".join(parts) or "value"
        taken = {other.lower() for other in self.arrays}
        count = 1
        while name.lower() in taken:
            count += 1
            name = f"{base}~{count}"
        self.arrays[name] = x
        return name

    def write(self, x: Any, path: tuple[str, ...] = ()) -> Any:
        """`x` as JSON. `path`: where it is, for names of arrays and messages."""
        below = lambda name, y: self.write(y, (*path, str(name)))
        if x is None or type(x) in (bool, int, str):
            return x
        if type(x) is float:
            return x if math.isfinite(x) else {"float": repr(x)}
        if type(x) is complex:
            return {"complex": [below("real", x.real), below("imag", x.imag)]}
        if isinstance(x, (jax.Array, np.ndarray, np.generic)):
            return self._array(x, path)
        if type(x) is list or type(x) is tuple:
            return {type(x).__name__: [below(i, y) for i, y in enumerate(x)]}
        if type(x) is dict and all(type(key) is str for key in x):
            return {"dict": {key: below(key, y) for key, y in x.items()}}
        if type(x).__module__.partition(".")[0] in ("zarr", "h5py") and hasattr(x, "shape"):
            return self._array(np.asarray(x), path)  # what a run or a sweep left on disk
        if is_record(type(x)):
            fields = _field_names(type(x))
            there = {name: getattr(x, name) for name in fields if hasattr(x, name)}
            return {
                "class": self._named(type(x), path),
                "fields": {name: below(name, y) for name, y in there.items()},
            }
        if callable(x) and not isinstance(x, type):
            return {"function": self._named(x, path)}
        raise TypeError(f"{_where(path)} cannot be saved: it is of {type(x)}, {x!r}.")

    def _named(self, x: Any, path: tuple[str, ...]) -> str:
        name = name_of(x)
        if name is None:
            raise TypeError(
                f"{_where(path)} cannot be saved: {getattr(x, '__qualname__', x)!s} cannot be found again by "
                "its name. Define classes and functions at the top level of a module."
            )
        return name

    def _array(self, x: Any, path: tuple[str, ...]) -> dict[str, Any]:
        if isinstance(x, Tracer):
            raise TypeError(f"{_where(path)} cannot be saved inside jit, vmap or grad: it has no value yet.")
        if isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            impl = str(jax.random.key_impl(x))
            impl = FAST if FAST in impl or impl == str(jax.random.key_impl(fast_key(0))) else impl
            return {"key": self._keep(np.asarray(jax.random.key_data(x)), path), "impl": impl}
        kind = "array" if isinstance(x, jax.Array) else "scalar" if isinstance(x, np.generic) else "numpy"
        values = np.asarray(x)
        more: dict[str, Any] = {"read_only": True} if kind == "numpy" and not values.flags.writeable else {}
        if values.ndim == 0 and values.dtype.kind in "biuf" and values.itemsize <= 8 and not np.isnan(values):
            # In the header, where a reader finds the parameters of a model.
            number = values.item()
            number = number if math.isfinite(number) else repr(number)
            return {f"{kind}_of": number, "dtype": values.dtype.name} | more
        if values.dtype.kind not in "biufcSUMm":  # such as bfloat16, which .npy files do not know
            if values.dtype.hasobject or values.dtype.names or values.dtype.itemsize > 8:
                raise TypeError(f"{_where(path)} cannot be saved: it is an array of {values.dtype}.")
            more["dtype"] = values.dtype.name
            values = values.view(f"u{values.dtype.itemsize}")
        return {kind: self._keep(values, path)} | more


def read(node: Any, array: Callable[[str], np.ndarray], allow: Sequence[Any], path: tuple = ()) -> Any:
    """The tree that a `Writer` wrote.

    **Arguments:** `array`: from the name of an array to its values; `allow`: classes and
    functions that may be taken besides those that always may.
    """
    if not isinstance(node, dict):
        return node
    below = lambda name, x: read(x, array, allow, (*path, str(name)))
    (kind, value), *more = node.items()
    more = dict(more)
    if kind == "float":
        return float(value)
    if kind == "complex":
        return complex(*(below(kind, x) for x in value))
    if kind in ("list", "tuple"):
        return {"list": list, "tuple": tuple}[kind](below(i, x) for i, x in enumerate(value))
    if kind == "dict":
        return {key: below(key, x) for key, x in value.items()}
    if kind == "key":
        impl = jax.random.key_impl(fast_key(0)) if more["impl"] == FAST else more["impl"]
        return jax.random.wrap_key_data(jnp.asarray(array(value)), impl=impl)
    if kind in ("array_of", "scalar_of", "numpy_of", "array", "scalar", "numpy"):
        if kind.endswith("_of"):
            values = np.array(value, more["dtype"])
        else:
            values = array(value)
            values = values.view(jnp.dtype(more["dtype"])) if "dtype" in more else values
        kind = kind.removesuffix("_of")
        if kind == "array":
            return jnp.asarray(values)
        values.flags.writeable = not more.get("read_only", False)
        return values[()] if kind == "scalar" else values
    if kind == "function":
        return find(value, allow, _where(path))
    if kind == "class":
        cls = find(str(CLASSES.get(value, value)), allow, _where(path))
        if not is_record(cls):
            raise ValueError(f"{_where(path)} is an object of {cls!r}, which is no equinox module.")
        gone, renamed = GONE.get(value, ()), RENAMED.get(value, {})
        fields: dict[str, Any] = more["fields"]
        there = {renamed.get(name, name): x for name, x in fields.items() if name not in gone}
        there = {name: below(name, x) for name, x in there.items()}
        if value in CHANGED:
            CHANGED[value](there, fields)
        return _rebuild(cls, there, _where(path))
    raise ValueError(f"{_where(path)} is of a kind that this version does not know, {kind!r}.")


def _field_names(cls: Any) -> list[str]:
    if issubclass(cls, tuple):
        return list(getattr(cls, "_fields"))
    return [field.name for field in dataclasses.fields(cls)]


def _rebuild(cls: type, fields: dict[str, Any], where: str) -> Any:
    """An object with these fields, made without `__init__`; those that the class got since the
    file was written take their defaults."""
    is_tuple = issubclass(cls, tuple)
    known = _field_names(cls)
    if unknown := sorted(set(fields) - set(known)):
        raise ValueError(f"{where} has {', '.join(unknown)}, which {cls.__name__} does not have here.")
    new = [name for name in known if name not in fields]
    defaults = {} if is_tuple else {f.name: f for f in dataclasses.fields(cls) if _has_default(f)}
    if missing := [name for name in new if name not in defaults]:
        raise ValueError(f"{where} lacks {', '.join(missing)}, which {cls.__name__} has here.")
    fields = fields | {name: _default(defaults[name]) for name in new}
    if is_tuple:
        return tuple.__new__(cls, [fields[name] for name in known])
    made = object.__new__(cls)
    for name, x in fields.items():
        object.__setattr__(made, name, x)
    return made


def _has_default(field: Any) -> bool:
    return field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING


def _default(field: Any) -> Any:
    given = field.default_factory() if field.default is dataclasses.MISSING else field.default
    return field.metadata.get("converter", lambda x: x)(given)


def _where(path: Sequence[str]) -> str:
    return "`" + (".".join(path) or "thing") + "`"
