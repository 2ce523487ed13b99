"""Parameters as differentiable arrays, and the checks on them that need no compilation."""

import dataclasses
import sys
import warnings
from collections.abc import Callable, Mapping
from numbers import Real
from typing import Any, TYPE_CHECKING

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jax.typing import ArrayLike

    class Parameter:
        """What a type checker makes of a parameter: set from numbers, read as an array."""

        def __get__(self, obj: Any, owner: Any) -> Array: ...
        def __set__(self, obj: Any, value: ArrayLike | Sequence[Any]) -> None: ...

    class OptionalParameter:
        """One that may be `None`, until the neuron sets it."""

        def __get__(self, obj: Any, owner: Any) -> Array: ...
        def __set__(self, obj: Any, value: ArrayLike | Sequence[Any] | None) -> None: ...

else:
    Parameter = Float[Array, "..."]
    OptionalParameter = Float[Array, "..."] | None


def as_float_array(x: Any, dtype: Any = None) -> Array:
    """`x` as a strongly typed floating array.

    Numbers and integer arrays take the default float type, floating arrays keep theirs
    unless `dtype` is given. A strong type matters: a Python float in a module would be
    static under `jit` (no gradient, one compilation per value) and a weakly typed array
    costs one more compilation after its first update.

    **Raises:** `TypeError` for what holds anything but real numbers.
    """
    if isinstance(x, jax.Array) and x.dtype == dtype and not x.weak_type:
        return x
    if dtype is None:
        kind = getattr(x, "dtype", None)
        floating = kind is not None and jnp.issubdtype(kind, jnp.floating)
        dtype = jax.dtypes.canonicalize_dtype(kind if floating else float)
    x = as_numbers(x)
    if not is_concrete(x):
        return jax.lax.convert_element_type(x, dtype)
    with jax.ensure_compile_time_eval():  # also under jit a constant can be checked
        return jax.lax.convert_element_type(jnp.asarray(x, dtype), dtype)


def as_numbers(x: Any) -> Any:
    """An array of real numbers, or what holds such as one: no text, truth values, complex or missing ones.

    **Raises:** `TypeError`.
    """
    array: Any = x
    if not isinstance(x, (jax.Array, np.ndarray, np.generic)):
        try:
            array = np.asarray(x)
        except jax.errors.TracerArrayConversionError:
            array = jnp.asarray(x)  # a list of numbers of which some are traced
        except Exception:  # rows of different lengths, and what objects raise of their own
            raise TypeError(f"no numbers in rows of one length: {shown(x)}") from None
    if array.dtype == object and all(isinstance(v, Real) and not isinstance(v, bool) for v in array.flat):
        return array.astype(float)
    if isinstance(x, np.ma.MaskedArray) and np.ma.is_masked(x):
        raise TypeError("numbers of which some are masked")
    if not (jnp.issubdtype(array.dtype, jnp.floating) or jnp.issubdtype(array.dtype, jnp.integer)):
        raise TypeError(f"no real numbers: {shown(x)}")
    return array


def named(convert: Callable[[Any], Any], name: str, x: Any, allowed: str) -> Any:
    """What `convert` makes of the argument of that name.

    **Raises:** `TypeError` that names it where `convert` raises one.
    """
    try:
        return convert(x)
    except TypeError:
        raise TypeError(f"`{name}` must be {allowed}, got {shown(x)}.") from None


def as_real(name: str, x: Any) -> Any:
    """`x`, which must hold real numbers, as an array of JAX."""
    named(as_numbers, name, x, "a number or an array")
    return jnp.asarray(x)


def shown(x: Any) -> str:
    """What was given, in few words, for the end of a message."""
    if isinstance(x, type):
        return f"the class {x.__name__}: write {x.__name__}(...)"
    text = " ".join(repr(x).split())
    return text if len(text) <= 120 else f"{text[:119]}…"


def param(
    default: Any = dataclasses.MISSING,
    *,
    unit: str = "",
    minimum: float | None = None,
    maximum: float | None = None,
    positive: bool = False,
    finite: bool | None = None,
    otherwise: float | None = None,
    optional: bool = False,
    per: str | None = None,
    kw_only: bool = False,
) -> Any:
    """A field of an `equinox.Module` that holds a model parameter: `tau: hh.Parameter = hh.param(5.0)`.

    The value may be a number or an array with one entry per neuron; it is stored as a
    strongly typed array, so that it can be differentiated and changed without
    recompilation.

    **Arguments:**

    - `default`: the default value.
    - `unit`: its unit, used in messages.
    - `minimum`, `maximum`: smallest and largest value allowed.
    - `positive`: whether it must be greater than zero.
    - `finite`: whether it must be finite; by default if it has a unit other than ms and no infinite default.
    - `otherwise`: for a parameter with the default `None`, which the neuron may set: its value where
        nothing sets it.
    - `optional`: whether it may be `None`, as it may with that default.
    - `per`: what an array has a value for: by default each neuron; of a coupling `"post"` or `"pre"` for
        those that receive or send, by default either; `"sample"` for any other shape.
    - `kw_only`: whether it must be given by name.
    """
    if finite is None:
        finite = not np.isinf(_default(default)).any() and unit not in ("", "ms")
    metadata: dict[str, Any] = {"param": True, "unit": unit, "otherwise": otherwise, "per": per}
    metadata |= {"minimum": minimum, "maximum": maximum, "positive": positive, "finite": finite}
    metadata["optional"] = optional or default is None
    return eqx.field(default=default, converter=_as_parameter, metadata=metadata, kw_only=kw_only)


def _default(default: Any) -> Any:
    if default is None or default is dataclasses.MISSING:
        return 0.0
    try:
        return np.asarray(as_numbers(default))
    except TypeError:
        raise TypeError(f"`default` must be a number or an array of numbers, got {shown(default)}.") from None


def _as_parameter(x: Any) -> Any:
    """What is no number stays, for `check_own` to refuse it by its name."""
    try:
        return as_float_array(x)
    except TypeError:
        return x


def settle(module: Any, **known: Any) -> Any:
    """The module with values for those of its parameters that are `None`.

    A value is taken from `known` by the parameter's name, else from its `otherwise`; without either it
    stays `None`.
    """
    found = {}
    for f in dataclasses.fields(module):
        if getattr(module, f.name) is None:
            value = known.get(f.name)
            found[f.name] = f.metadata.get("otherwise") if value is None else value
    return put(module, **found) if any(x is not None for x in found.values()) else module


def put(module: Any, **fields: Any) -> Any:
    """The module with other fields, unchecked: for use inside compiled functions."""
    made = object.__new__(type(module))
    for f in dataclasses.fields(module):
        object.__setattr__(made, f.name, fields.get(f.name, getattr(module, f.name)))
    return made


def is_concrete(x: Any) -> bool:
    """Whether the value of `x` can be read now, that is, `x` is not being traced."""
    return not isinstance(x, Tracer)


MOST = 2**31 - 1
"""The greatest count: arrays are indexed by 32 bits."""


def check_size(name: str, n: Any, least: int = 1, most: int = MOST) -> int:
    """`n` as an int, or a `ValueError` if it is no whole number from `least` to `most`."""
    if isinstance(n, (bool, np.bool_)) or not isinstance(n, (int, np.integer)) or n < least:
        raise ValueError(f"`{name}` must be a whole number of at least {least}, got {shown(n)}.")
    if n > most:
        raise ValueError(f"`{name}` must be between {least} and {most}, got {n}.")
    return int(n)


def check_flag(name: str, x: Any) -> bool:
    """`x`, which must be true or false."""
    if not isinstance(x, (bool, np.bool_)):
        raise ValueError(f"`{name}` must be True or False, got {shown(x)}.")
    return bool(x)


def check_own(module: Any) -> None:
    """Refuse a module's own parameters where they are no numbers, NaN or out of range, and warn of SI units.

    What is traced passes.
    """
    for f in dataclasses.fields(module):
        if not f.metadata.get("param"):
            continue
        value = getattr(module, f.name)
        check_type(value, f.name, f.metadata)
        if value is not None and is_concrete(value):
            check_value(value, f.name, f.metadata)
            if not f.metadata.get("positive"):  # a width or a standard deviation may be small
                warn_of_SI(value, f.name, f.metadata.get("unit", ""))


class Checked(eqx.Module):
    """A module whose own parameters are checked when it is made, and then what they make together."""

    def __check_init__(self) -> None:
        check_own(self)
        self._check_made()

    def _check_made(self) -> None:
        """Refuse what makes no sense, where all parameters are numbers."""

    def __setattr__(self, name: str, value: Any) -> None:
        try:
            super().__setattr__(name, value)
        except dataclasses.FrozenInstanceError:  # of a module that is made
            raise dataclasses.FrozenInstanceError(
                f"`{name}` of {type(self).__name__} cannot be assigned to. Make another one: of a model by "
                f"hh.replace(model, {{name: value}}), else by eqx.tree_at(lambda it: it.{name}, it, value)."
            ) from None


def check_type(value: Any, name: str, meta: Mapping[str, Any]) -> None:
    """Refuse what is no floating array and, where the field does not allow it, `None`."""
    kind = getattr(value, "dtype", None)
    fine = isinstance(value, float) or (kind is not None and jnp.issubdtype(kind, jnp.floating))
    if fine or (value is None and meta.get("optional", True)):
        return
    what = f"a number or an array{' in ' * bool(meta.get('unit'))}{meta.get('unit', '')}"
    if isinstance(value, int) or kind is not None:
        what = "a float, such as jnp.array(1.0)"
    raise TypeError(f"`{name}` must be {what}, got {shown(value)}.")


_SI = {"mV": ("volts", 0.2), "µA/cm²": ("amperes", 1e-6), "pA": ("amperes", 1e-6)}
"""What the values of a unit are taken for where none is so large, and one is not 0."""


def looks_like_SI(value: Any, unit: str) -> str:
    """The SI unit that the values seem to be in, "" if they do not."""
    name, below = _SI.get(unit, ("", 0.0))
    largest = np.max(np.abs(np.nan_to_num(np.asarray(value)))) if np.size(value) else 0.0
    return name if 0 < largest < below else ""


def warn_of_SI(value: Any, name: str, unit: str) -> None:
    """Warn of values that are far too small for their unit, as they are in SI units."""
    if is_concrete(value) and (si := looks_like_SI(value, unit)):
        largest = np.max(np.abs(np.nan_to_num(np.asarray(value))))
        warnings.warn(
            f"`{name}` is in {unit}, and the values given look like {si}: {largest:.3g} at most.",
            stacklevel=_outside(),
        )


def _outside() -> int:
    """How far up the stack the one is who called this package."""
    frame, level, found, inside = sys._getframe(1), 1, 1, (__name__.partition(".")[0], "equinox")
    while frame is not None:
        level += 1
        found = level if frame.f_globals.get("__name__", "").partition(".")[0] in inside else found
        frame = frame.f_back
    return found


def check_value(value: Any, name: str, meta: Mapping[str, Any]) -> None:
    """Refuse NaN and what is out of the range that `meta`, of a field, gives."""
    unit = f" {meta['unit']}" if meta.get("unit") else ""
    value = np.asarray(value)
    if np.isnan(value).any():
        raise ValueError(f"`{name}` contains NaN. Give finite numbers ({unit.strip() or 'no unit'}).")
    if meta.get("finite") and not np.isfinite(value).all():
        raise ValueError(f"`{name}` must be finite ({unit.strip() or 'no unit'}), got infinity.")
    if meta.get("positive") and not (value > 0).all():
        raise ValueError(f"`{name}` must be positive, got {value.min()}{unit}.")
    if meta.get("minimum") is not None and not (value >= meta["minimum"]).all():
        raise ValueError(f"`{name}` must be at least {meta['minimum']}{unit}, got {value.min()}{unit}.")
    if meta.get("maximum") is not None and not (value <= meta["maximum"]).all():
        raise ValueError(f"`{name}` must be at most {meta['maximum']}{unit}, got {value.max()}{unit}.")


def check_parameters(tree: Any, name: str, n: int | Mapping[str, int] | None = None) -> None:
    """Refuse NaN, values out of range and, with `n`, shapes that do not fit n neurons.

    `n` may be a dict of the sizes at the ends of a coupling, `"post"` and `"pre"`, see `param`.

    Walks through modules, dicts, lists and tuples, and names the offending leaf by its
    path below `name`. Leaves that are being traced are checked for shape and type alone.

    **Raises:** `ValueError`; `TypeError` for whole numbers, which a changed model may hold.
    """
    if dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        for f in dataclasses.fields(tree):
            value = getattr(tree, f.name, None)
            path = f"{name}.{f.name}"
            if f.metadata.get("param") and value is not None:
                check_type(value, path, f.metadata)
                shape, per = np.shape(value), f.metadata.get("per")
                fits = {per: n[per]} if per and isinstance(n, Mapping) and per in n else n
                sizes = fits.values() if isinstance(fits, Mapping) else [fits]
                free = n is None or per == "sample" or shape == ()
                if not free and shape not in [(size,) for size in sizes]:
                    sizes = " or ".join(str(size) for size in dict.fromkeys(sizes))
                    end = {"post": " that receive", "pre": " that send"}.get(per or "", "")
                    raise ValueError(
                        f"`{path}` has shape {shape}, which does not fit n={sizes} neurons{end}: "
                        f"give a scalar or shape ({sizes},)."
                    )
                if is_concrete(value):
                    check_value(value, path, f.metadata)
            else:
                check_parameters(value, path, n)
    elif isinstance(tree, dict):
        for key, value in tree.items():
            check_parameters(value, f"{name}[{key!r}]", n)
    elif isinstance(tree, (list, tuple)):
        for i, value in enumerate(tree):
            check_parameters(value, f"{name}[{i}]", n)
    elif isinstance(tree, (float, np.ndarray, np.floating, jax.Array)) and is_concrete(tree):
        if jnp.issubdtype(jnp.result_type(tree), jnp.floating):
            check_value(tree, name, {})


def run_dtype(tree: Any) -> Any:
    """The float type of a run: the widest among the floating leaves of `tree`."""
    leaves = [x for x in jax.tree.leaves(tree) if eqx.is_inexact_array(x)]
    return jnp.result_type(*(x.dtype for x in leaves)) if leaves else jnp.result_type(float)


def cast_floats(tree: Any, dtype: Any) -> Any:
    """`tree` with every floating leaf, Python floats included, as an array of `dtype`."""

    def cast(x: Any) -> Any:
        floating = isinstance(x, (float, np.floating)) or (
            isinstance(x, (np.ndarray, jax.Array)) and jnp.issubdtype(x.dtype, jnp.floating)
        )
        return as_float_array(x, dtype) if floating else x

    return jax.tree.map(cast, tree)
