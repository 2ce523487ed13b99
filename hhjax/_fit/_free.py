"""Which numbers of a model are free, and how they map to unbounded unknowns."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .._model.names import HIDDEN


@dataclasses.dataclass(frozen=True)
class _Leaf:
    """One leaf of the model, with what its field says about it."""

    index: int
    name: str
    unit: str
    low: float


class Free(eqx.Module):
    """The free parameters of a model, as a vector.

    **Fields:**

    - `leaves`: for each array with free entries its number among the model's leaves.
    - `entries`: for each of them the flat indices of its free entries.
    - `names`, `units`: one for each free parameter.
    - `low`, `high`, `scale`, `reference`: what maps a parameter to an unknown u: bounded
        on both sides value = low + (high − low)·sigmoid(u), on one side
        value = low + scale·exp(u), on none value = reference + scale·u.
    """

    leaves: tuple[int, ...] = eqx.field(static=True)
    entries: tuple[tuple[int, ...], ...] = eqx.field(static=True)
    names: tuple[str, ...] = eqx.field(static=True)
    units: tuple[str, ...] = eqx.field(static=True)
    low: Array
    high: Array
    reference: Array
    scale: Array

    def values(self, model: Any) -> Array:
        """The free parameters of `model`, shape (P,)."""
        flat = jax.tree.leaves(model)
        parts = [jnp.ravel(flat[i])[np.array(at)] for i, at in zip(self.leaves, self.entries)]
        return jnp.concatenate(parts)

    def put(self, model: Any, values: Array) -> Any:
        """`model` with other free parameters, shape (P,)."""
        flat, structure = jax.tree.flatten(model)
        start = 0
        for i, at in zip(self.leaves, self.entries):
            leaf, part = flat[i], values[start : start + len(at)]
            flat[i] = jnp.ravel(leaf).at[np.array(at)].set(part.astype(leaf.dtype)).reshape(leaf.shape)
            start += len(at)
        return jax.tree.unflatten(structure, flat)

    @property
    def _below(self) -> Array:
        return jnp.isfinite(self.low)

    @property
    def _above(self) -> Array:
        return jnp.isfinite(self.high)

    def to_values(self, u: Array) -> Array:
        """Parameters from unknowns, shape (P,)."""
        low, high = jnp.where(self._below, self.low, 0.0), jnp.where(self._above, self.high, 0.0)
        between = low + (high - low) * jax.nn.sigmoid(u)
        exp = self.scale * jnp.exp(jnp.where(self._below ^ self._above, u, 0.0))
        one_sided = jnp.where(self._below, low + exp, high - exp)
        free = self.reference + self.scale * u
        return jnp.where(
            self._below & self._above, between, jnp.where(self._below | self._above, one_sided, free)
        )

    def to_unknowns(self, values: Array) -> Array:
        """Unknowns from parameters strictly within their bounds, shape (P,)."""
        low, high = jnp.where(self._below, self.low, 0.0), jnp.where(self._above, self.high, 0.0)
        both, one = self._below & self._above, self._below ^ self._above
        fraction = jnp.where(both, (values - low) / jnp.where(both, high - low, 1.0), 0.5)
        distance = jnp.where(self._below, values - low, high - values)
        one_sided = jnp.log(jnp.where(one, distance / self.scale, 1.0))
        free = (values - self.reference) / self.scale
        return jnp.where(both, jnp.log(fraction / (1 - fraction)), jnp.where(one, one_sided, free))

    def starts(self, values: Array, starts: Any, spread: float, key: Array | None) -> Array:
        """Starting parameters, shape (starts, P): the model's own and random ones."""
        if not isinstance(starts, (int, np.integer)):
            return self._check_starts(jnp.asarray(starts, values.dtype))
        if isinstance(starts, bool) or starts < 1:
            raise ValueError(f"`starts` must be at least 1, or an array of starts, got {starts!r}.")
        if starts == 1:
            return self._check_starts(values[None])
        if key is None:
            raise ValueError("`key` is missing: pass key=jax.random.key(0), for example, for random starts.")
        if not spread > 0:
            raise ValueError(f"`spread` must be positive, a fraction of each parameter, got {spread!r}.")
        draw = jax.random.uniform(
            key, (int(starts) - 1, values.size), dtype=values.dtype, minval=-spread, maxval=spread
        )
        size = jnp.where(values == 0, 1.0, jnp.abs(values))
        drawn = values[None] + draw * size[None]
        # Within the bounds: at most nine tenths of the way from the model's own value.
        least = self.low + 0.1 * jnp.where(self._below, values - self.low, 0.0)
        most = self.high - 0.1 * jnp.where(self._above, self.high - values, 0.0)
        drawn = jnp.clip(drawn, least[None], most[None])
        return self._check_starts(jnp.concatenate([values[None], drawn]))

    def _check_starts(self, starts: Array) -> Array:
        if starts.ndim != 2 or starts.shape[1] != len(self.names):
            raise ValueError(
                f"`starts` must be a whole number or have shape (starts, {len(self.names)}), one column for "
                f"each of {', '.join(self.names)}, got shape {starts.shape}."
            )
        starts_, low, high = (np.asarray(x) for x in (starts, self.low, self.high))
        outside = ~((starts_ > low) & (starts_ < high) & np.isfinite(starts_))
        if outside.any():
            row, column = np.argwhere(outside)[0]
            raise ValueError(
                f"`bounds` exclude a start: {self.names[column]} starts at {starts_[row, column]:g}, "
                f"which is not inside ({low[column]:g}, {high[column]:g}) {self.units[column]}. "
                "Widen `bounds` or change the model's value."
            )
        return starts


def resolve(model: Any, where: Callable, bounds: Any, mask: Any, dtype: Any) -> Free:
    """Find the leaves that `where` selects, by handing it a model whose leaves are marks."""
    paths, structure = jax.tree.flatten_with_path(model)
    leaves = [_describe(model, i, path) for i, (path, _) in enumerate(paths)]
    marked = jax.tree.unflatten(structure, leaves)
    try:
        chosen = where(*marked) if isinstance(model, tuple) else where(marked)
    except (AttributeError, KeyError, IndexError, TypeError) as error:
        names = ", ".join(leaf.name for leaf in leaves)
        raise ValueError(
            f"`where` asks for something the model does not have: {error!r}. Its parameters are: {names}."
        ) from error
    keys = list(chosen) if isinstance(chosen, Mapping) else None
    groups = list(chosen.values()) if keys else list(chosen) if _is_list(chosen) else [chosen]
    selected = []
    for group in groups:
        found = jax.tree.leaves(group)
        if not found or not all(isinstance(x, _Leaf) for x in found):
            raise ValueError(
                f"`where` must return parameters of the model it is given, got {group!r}. "
                "A field that is None must be set in the model before it can be free."
            )
        selected.append(found)
    flat = [leaf for group in selected for leaf in group]
    if len({leaf.index for leaf in flat}) != len(flat):
        raise ValueError("`where` returns the same parameter twice: " + ", ".join(leaf.name for leaf in flat))

    values = [value for _, value in paths]
    for leaf in flat:
        if not eqx.is_inexact_array(values[leaf.index]):
            raise TypeError(f"`where`: {leaf.name} is not a floating array, got {values[leaf.index]!r}.")
    one_mask = not _is_list(chosen) and keys is None
    bounds = _per_group("bounds", bounds, keys, len(groups), _is_pair)
    mask = _per_group("mask", mask, keys, len(groups), lambda m: one_mask or not _is_list(m))

    entries, names, units, low, high = [], [], [], [], []
    for found, bound, chosen_mask in zip(selected, bounds, mask):
        for leaf in found:
            value = values[leaf.index]
            at = _entries(value, chosen_mask, leaf.name)
            entries.append(tuple(int(i) for i in at))
            names += [_entry_name(leaf.name, value.shape, i) for i in at]
            units += [leaf.unit] * len(at)
            least, most = (leaf.low, np.inf) if bound is None else bound
            low.append(_side("bounds", least, -np.inf, value.shape, at, leaf.name))
            high.append(_side("bounds", most, np.inf, value.shape, at, leaf.name))
    low, high = np.concatenate(low), np.concatenate(high)
    if not (low < high).all():
        worst = int(np.argmin(low < high))
        raise ValueError(
            f"`bounds` of {names[worst]} must be (low, high), got ({low[worst]}, {high[worst]})."
        )
    as_array = lambda x: jnp.asarray(x, dtype)
    indices = tuple(leaf.index for leaf in flat)
    free = Free(
        indices,
        tuple(entries),
        tuple(names),
        tuple(units),
        *map(as_array, (low, high, np.zeros_like(low), np.ones_like(low))),
    )
    return eqx.tree_at(lambda f: (f.reference, f.scale), free, _reference(free, model))


@eqx.filter_jit  # as are others here that are called once: operations one by one take longer to compile
def _reference(free: Free, model: Any) -> tuple[Array, Array]:
    """Where the unknowns that have no bounds begin, and the scale of all."""
    reference = free.values(model).astype(free.low.dtype)
    distance = jnp.where(
        jnp.isfinite(free.low),
        reference - free.low,
        jnp.where(jnp.isfinite(free.high), free.high - reference, reference),
    )
    return reference, jnp.where(distance == 0, 1.0, jnp.abs(distance))


def _is_list(x: Any) -> bool:
    return isinstance(x, (list, tuple))


def _is_pair(x: Any) -> bool:
    return isinstance(x, tuple) and len(x) == 2 and not any(_is_list(side) for side in x)


def _describe(model: Any, index: int, path: tuple) -> _Leaf:
    """Name, unit and smallest value of a leaf, read off the fields on the way to it."""
    node, parts, unit, low = model, [], "", -np.inf
    for step, entry in enumerate(path):
        if isinstance(entry, jax.tree_util.GetAttrKey):
            fields = {f.name: f for f in dataclasses.fields(node)} if dataclasses.is_dataclass(node) else {}
            meta = fields[entry.name].metadata if entry.name in fields else {}
            unit = meta.get("unit", "")
            least = meta.get("minimum")
            low = 0.0 if meta.get("positive") else -np.inf if least is None else least
            node, part = getattr(node, entry.name), entry.name
        elif isinstance(entry, (jax.tree_util.DictKey, jax.tree_util.SequenceKey)):
            key = entry.key if isinstance(entry, jax.tree_util.DictKey) else entry.idx
            node, part = node[key], str(key)
            if step == 0 and isinstance(model, tuple):
                part = ("", "electrode")[key]
        else:
            part = str(entry)
        if part and part not in HIDDEN:
            parts.append(part)
    return _Leaf(index, ".".join(parts), unit, low)


def _entry_name(name: str, shape: tuple[int, ...], flat: Any) -> str:
    if not shape:
        return name
    return f"{name}[{','.join(str(int(i)) for i in np.unravel_index(int(flat), shape))}]"


def _entries(value: Any, mask: Any, name: str) -> np.ndarray:
    if mask is None:
        return np.arange(value.size)
    mask = np.asarray(mask)
    if mask.dtype != bool or mask.shape != value.shape:
        raise ValueError(
            f"`mask` of {name} must be a boolean array of shape {value.shape}, true where it is free, "
            f"got shape {mask.shape} of {mask.dtype}."
        )
    if not mask.any():
        raise ValueError(f"`mask` leaves nothing of {name} free.")
    return np.flatnonzero(mask)


def _side(argument: str, bound: Any, missing: float, shape: tuple, at: np.ndarray, name: str) -> np.ndarray:
    try:
        bound = np.asarray(missing if bound is None else bound, float)
        return np.broadcast_to(bound, shape).ravel()[at]
    except (TypeError, ValueError):
        raise ValueError(
            f"`{argument}` of {name} must be a pair of numbers or arrays that fit {shape}."
        ) from None


def _per_group(
    argument: str, given: Any, keys: list | None, count: int, is_single: Callable[[Any], bool]
) -> Sequence[Any]:
    """One entry of `given` for each thing that `where` returns."""
    if given is None:
        return [None] * count
    if isinstance(given, Mapping):
        unknown = set(given) - set(keys or ())
        if unknown:
            raise ValueError(
                f"`{argument}` names {sorted(map(str, unknown))}, but `where` returns {keys or 'no dict'}."
            )
        return [given.get(key) for key in keys or ()]
    if count == 1 and is_single(given):
        return [given]
    if not _is_list(given) or len(given) != count:
        raise ValueError(
            f"`{argument}` must have one entry (or None) for each of the {count} things that `where` "
            f"returns, got {given!r}."
        )
    return list(given)
