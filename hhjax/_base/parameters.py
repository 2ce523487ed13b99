"""Parameters as differentiable arrays, and the checks on them that need no compilation."""

import dataclasses
from collections.abc import Mapping
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
    """
    if isinstance(x, jax.Array) and not x.weak_type and x.dtype == dtype:
        return x
    if dtype is None:
        kind = getattr(x, "dtype", None)
        floating = kind is not None and jnp.issubdtype(kind, jnp.floating)
        dtype = jax.dtypes.canonicalize_dtype(kind if floating else float)
    if not is_concrete(x):
        return jax.lax.convert_element_type(x, dtype)
    with jax.ensure_compile_time_eval():  # also under jit a constant can be checked
        return jax.lax.convert_element_type(jnp.asarray(x, dtype), dtype)


def param(
    default: Any = dataclasses.MISSING,
    *,
    unit: str = "",
    minimum: float | None = None,
    maximum: float | None = None,
    positive: bool = False,
    otherwise: float | None = None,
    optional: bool = False,
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
    - `otherwise`: for a parameter with the default `None`, which the neuron may set: its value where
        nothing sets it.
    - `optional`: whether it may be `None`, as it may with that default.
    - `kw_only`: whether it must be given by name.
    """
    metadata: dict[str, Any] = {"param": True, "unit": unit, "otherwise": otherwise}
    metadata |= {"minimum": minimum, "maximum": maximum, "positive": positive}
    converter = _as_float_or_none if optional or default is None else as_float_array
    return eqx.field(default=default, converter=converter, metadata=metadata, kw_only=kw_only)


def _as_float_or_none(x: Any) -> Array | None:
    return None if x is None else as_float_array(x)


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


def check_size(name: str, n: Any, least: int = 1) -> int:
    """`n` as an int, or a `ValueError` if it is no whole number of at least `least`."""
    if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < least:
        raise ValueError(f"`{name}` must be a whole number of at least {least}, got {n!r}.")
    return int(n)


def check_own(module: Any) -> None:
    """Refuse a module's own parameters where they are NaN or out of range; what is traced passes."""
    for f in dataclasses.fields(module):
        value = getattr(module, f.name)
        if f.metadata.get("param") and value is not None and is_concrete(value):
            check_value(value, f.name, f.metadata)


def check_value(value: Any, name: str, meta: Mapping[str, Any]) -> None:
    """Refuse NaN and what is out of the range that `meta`, of a field, gives."""
    unit = f" {meta['unit']}" if meta.get("unit") else ""
    value = np.asarray(value)
    if np.isnan(value).any():
        raise ValueError(f"`{name}` contains NaN. Give finite numbers ({unit.strip() or 'no unit'}).")
    if meta.get("positive") and not (value > 0).all():
        raise ValueError(f"`{name}` must be positive, got {value.min()}{unit}.")
    if meta.get("minimum") is not None and not (value >= meta["minimum"]).all():
        raise ValueError(f"`{name}` must be at least {meta['minimum']}{unit}, got {value.min()}{unit}.")
    if meta.get("maximum") is not None and not (value <= meta["maximum"]).all():
        raise ValueError(f"`{name}` must be at most {meta['maximum']}{unit}, got {value.max()}{unit}.")


def check_parameters(tree: Any, name: str, n: int | tuple[int, ...] | None = None) -> None:
    """Refuse NaN, values out of range and, with `n`, shapes that do not fit n neurons.

    `n` may be several sizes, any of which will do.

    Walks through modules, dicts, lists and tuples, and names the offending leaf by its
    path below `name`. Leaves that are being traced are checked for shape and type alone.

    **Raises:** `ValueError`; `TypeError` for whole numbers, which a changed model may hold.
    """
    if dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        for f in dataclasses.fields(tree):
            value = getattr(tree, f.name, None)
            path = f"{name}.{f.name}"
            if f.metadata.get("param") and value is not None:
                if not jnp.issubdtype(jnp.result_type(value), jnp.floating):
                    raise TypeError(f"`{path}` must be a float, such as jnp.array(1.0), got {value!r}.")
                shape = np.shape(value)
                sizes = n if isinstance(n, tuple) else (n,)
                if n is not None and shape != () and shape not in [(size,) for size in sizes]:
                    sizes = " or ".join(str(size) for size in dict.fromkeys(sizes))
                    raise ValueError(
                        f"`{path}` has shape {shape}, which does not fit n={sizes} neurons: "
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
