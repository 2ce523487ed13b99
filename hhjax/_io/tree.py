"""Trees of modules as JSON and named arrays, and back."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from .._base.host import warn
from .._base.placeholder import Placeholder
from .._base.random import FAST, fast_key
from .check import fault, is_on_disk, misfit
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
        if isinstance(x, Placeholder):
            raise TypeError(f"{_where(path)} cannot be saved: {x.told()}")
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
        if is_on_disk(x):
            return self._array(np.asarray(x), path)  # what a run or a sweep left on disk
        if is_record(type(x)):
            fields = _field_names(type(x))
            there = {name: getattr(x, name) for name in fields if hasattr(x, name)}
            if said := misfit(x):
                raise TypeError(f"{_where(path)} cannot be saved: {type(x).__name__}.{said}")
            spare = _spare_fields(type(x))
            held = {
                name: (self._spared if name in spare else self.write)(y, (*path, name))
                for name, y in there.items()
            }
            node = {"class": self._named(type(x), path), "fields": held}
            # Such as the derivatives by the parameters of a model.
            return node | ({"unchecked": True} if fault(x) else {})
        if callable(x) and not isinstance(x, type):
            return {"function": self._named(x, path)}
        raise TypeError(f"{_where(path)} cannot be saved: it is of {type(x)}, {x!r}.")

    def _spared(self, x: Any, path: tuple[str, ...]) -> Any:
        """`x` as JSON, or `None` and a warning where it cannot be saved."""
        before = dict(self.arrays)
        try:
            return self.write(x, path)
        except TypeError as error:
            self.arrays.clear()
            self.arrays.update(before)
            warn(f"{_where(path)} is left out of the file. {error}")
            return None

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
        if isinstance(x, np.ndarray) and type(x) not in (np.ndarray, np.memmap):
            raise TypeError(
                f"{_where(path)} cannot be saved: it is of {type(x)}. Give np.asarray of it, or of a masked "
                "array x.filled(np.nan)."
            )
        values = np.asarray(x)
        more: dict[str, Any] = {"read_only": True} if kind == "numpy" and not values.flags.writeable else {}
        if values.ndim == 0 and values.dtype.kind in "biuf" and _is_plain(values):
            # In the header, where a reader finds the parameters of a model.
            number = values.item()
            number = number if math.isfinite(number) else repr(number)
            return {f"{kind}_of": number, "dtype": values.dtype.name} | more
        if values.dtype.kind not in "biufcSUMm":  # such as bfloat16, which .npy files do not know
            if values.dtype.type.__module__ != "ml_dtypes":
                raise TypeError(f"{_where(path)} cannot be saved: it is an array of {values.dtype}.")
            more["dtype"] = values.dtype.name
            values = values.view(f"u{values.dtype.itemsize}")
        return {kind: self._keep(values, path)} | more


def _is_plain(x: np.ndarray) -> bool:
    """Whether a number and the name of its type say all of it."""
    return x.itemsize <= 8 and x.dtype.isnative and not np.isnan(x)


class Misfit(ValueError):
    """The file is whole, but what it holds is not what it should be."""


_NODES = {
    **{kind: {kind} for kind in ("float", "complex", "list", "tuple", "dict", "function")},
    "class": {"class", "fields", "unchecked"},
    "key": {"key", "impl"},
    **{kind: {kind, "dtype", "read_only"} for kind in ("array", "scalar", "numpy")},
    **{f"{kind}_of": {f"{kind}_of", "dtype", "read_only"} for kind in ("array", "scalar", "numpy")},
}
"""The keys that may stand in the JSON of each kind of thing."""


class Reader:
    """Turns what a `Writer` wrote into the tree again. Raises anything at all for what it did not write."""

    def __init__(
        self, file: str, array: Callable[[str], np.ndarray], allow: Sequence[Any], checked: bool
    ) -> None:
        """`file`: its name; `array`: from the name of an array to its values; `allow`: classes and functions
        that may be taken besides those that always may; `checked`: whether it says of objects that they
        fail their own checks, as it does since 0.2.0."""
        self.file, self.array, self.allow, self.checked = file, array, tuple(allow), checked

    def read(self, node: Any, path: tuple[str, ...] = ()) -> Any:
        below = lambda name, x: self.read(x, (*path, str(name)))
        if node is None or type(node) in (bool, int, float, str):
            return node
        kind = next(iter(node), "nothing") if type(node) is dict else node
        if type(kind) is not str or kind not in _NODES:
            raise Misfit(f"{_where(path)} is of a kind that this version does not know, {kind!r:.80}.")
        if unknown := set(node) - _NODES[kind]:
            raise Misfit(f"{_where(path)} is {kind} with {', '.join(map(repr, sorted(unknown))):.80}.")
        value = node[kind]
        if kind == "float":
            return float(value)
        if kind == "complex":
            real, imag = (below(kind, x) for x in value)
            return complex(real, imag)
        if kind in ("list", "tuple"):
            _check_is(list, value, path)
            return {"list": list, "tuple": tuple}[kind]([below(i, x) for i, x in enumerate(value)])
        if kind == "dict":
            return {key: below(key, x) for key, x in value.items()}
        if kind == "function":
            return find(kind, value, self.allow, self.file)
        if kind == "class":
            return self._object(node, path)
        return self._values(kind, node, path)

    def _values(self, kind: str, node: dict[str, Any], path: tuple[str, ...]) -> Any:
        value = node[kind]
        if kind == "key":
            _check_is(str, node["impl"], path)
            impl = jax.random.key_impl(fast_key(0)) if node["impl"] == FAST else node["impl"]
            return jax.random.wrap_key_data(jnp.asarray(self.array(value)), impl=impl)
        if kind.endswith("_of"):
            kind = kind.removesuffix("_of")
            dtype = np.dtype(_check_is(str, node["dtype"], path))
            if isinstance(value, (dict, list)) or dtype.kind not in "biuf" or dtype.itemsize > 8:
                raise Misfit(f"{_where(path)} must be a number, got {value!r:.80} as {dtype}.")
            with np.errstate(over="raise"):
                values = np.array(value, dtype)
        else:
            values = self.array(value)
            if "dtype" in node:
                dtype = jnp.dtype(_check_is(str, node["dtype"], path))
                if dtype.type.__module__ != "ml_dtypes":
                    raise Misfit(f"{_where(path)} must be of a type of JAX's own, got {dtype}.")
                values = values.view(dtype)
        if kind == "array":
            return jnp.asarray(values)
        if kind == "scalar":
            if values.ndim:
                raise Misfit(f"{_where(path)} must be one number, got shape {values.shape}.")
            return values[()]
        values.flags.writeable = not node.get("read_only", False)
        return values

    def _object(self, node: dict[str, Any], path: tuple[str, ...]) -> Any:
        name: str = _check_is(str, node["class"], path)
        written: dict[str, Any] = _check_is(dict, node["fields"], path)
        found = find("class", CLASSES.get(name, name), self.allow, self.file)
        if isinstance(found, Placeholder):
            return found
        if not is_record(found):
            raise Misfit(f"{_where(path)} is an object of {found!r}, which is no equinox module.")
        gone, renamed = GONE.get(name, ()), RENAMED.get(name, {})
        there = {renamed.get(field, field): x for field, x in written.items() if field not in gone}
        there = {field: self.read(x, (*path, field)) for field, x in there.items()}
        if name in CHANGED:
            CHANGED[name](there, written)
        made = _rebuild(found, there, _where(path))
        if said := misfit(made) or (self.checked and not node.get("unchecked") and fault(made)):
            raise Misfit(f"{_where(path)} is no {found.__name__} that can be: {said}")
        return made


def _check_is(kind: type, x: Any, path: tuple[str, ...]) -> Any:
    if type(x) is not kind:
        raise Misfit(f"{_where(path)} must hold a {kind.__name__} in the file, got {x!r:.80}.")
    return x


def _field_names(cls: Any) -> list[str]:
    if issubclass(cls, tuple):
        return list(getattr(cls, "_fields"))
    return [field.name for field in dataclasses.fields(cls)]


def _spare_fields(cls: Any) -> list[str]:
    """Those without which the rest is of use too."""
    if issubclass(cls, tuple):
        return []
    return [field.name for field in dataclasses.fields(cls) if field.metadata.get("spare")]


def _rebuild(cls: type, fields: dict[str, Any], where: str) -> Any:
    """An object with these fields, made without `__init__`; those that the class got since the
    file was written take their defaults."""
    is_tuple = issubclass(cls, tuple)
    known = _field_names(cls)
    if unknown := sorted(set(fields) - set(known)):
        raise Misfit(f"{where} has {', '.join(unknown)}, which {cls.__name__} does not have here.")
    new = [name for name in known if name not in fields]
    defaults = {} if is_tuple else {f.name: f for f in dataclasses.fields(cls) if _has_default(f)}
    if missing := [name for name in new if name not in defaults]:
        raise Misfit(f"{where} lacks {', '.join(missing)}, which {cls.__name__} has here.")
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
