"""Which numbers of a model are free, and how they map to unbounded unknowns."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .._base.arguments import as_array, as_number
from .._base.host import known_are
from .._base.parameters import as_numbers, check_size
from .._model.names import Leaf, leaves, look_up

_INSIDE = 1e-3  # random starts keep this part of the way from one bound to the other away from both

Where = Callable | str | Sequence[str] | Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class _Group:
    """One of the things that `where` selects: what it is called, its leaves, and what is shown for them."""

    key: str | None
    leaves: list[Leaf]
    shown: list[str]


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

    def log_slopes(self, u: Array) -> Array:
        """Logarithms of the derivatives of parameters by their unknowns, without sign, shape (P,)."""
        both, one = self._below & self._above, self._below ^ self._above
        width = jnp.log(jnp.where(both, self.high - self.low, self.scale))
        inside = -jax.nn.softplus(u) - jax.nn.softplus(-u)
        return width + jnp.where(both, inside, jnp.where(one, u, 0.0))

    def to_unknowns(self, values: Array) -> Array:
        """Unknowns from parameters strictly within their bounds, shape (P,)."""
        low, high = jnp.where(self._below, self.low, 0.0), jnp.where(self._above, self.high, 0.0)
        both, one = self._below & self._above, self._below ^ self._above
        odds = jnp.where(both, values - low, 1.0) / jnp.where(both, high - values, 1.0)
        distance = jnp.where(self._below, values - low, high - values)
        one_sided = jnp.log(jnp.where(one, distance / self.scale, 1.0))
        free = (values - self.reference) / self.scale
        return jnp.where(both, jnp.log(odds), jnp.where(one, one_sided, free))

    def starts(self, values: Array, starts: Any, spread: float, key: Array | None) -> Array:
        """Starting parameters, shape (starts, P): the model's own and random ones."""
        if not isinstance(starts, (int, np.integer)):
            return self._check_starts(
                as_array("starts", starts, dtype=values.dtype, axes="(starts, parameters)")
            )
        check_size("starts", starts)
        spread = as_number("spread", spread, positive=True)
        if starts == 1:
            return self._check_starts(values[None])
        if key is None:
            raise ValueError("`key` is missing: pass key=jax.random.key(0), for example, for random starts.")
        share = jax.random.uniform(
            key, (int(starts) - 1, values.size), dtype=values.dtype, minval=_INSIDE, maxval=1 - _INSIDE
        )
        both = self._below & self._above
        low, high = jnp.where(both, self.low, 0.0)[None], jnp.where(both, self.high, 1.0)[None]
        by_log = low > 0
        ratio = jnp.where(by_log, high, 1.0) / jnp.where(by_log, low, 1.0)
        between = jnp.where(by_log, low * ratio**share, low + (high - low) * share)
        size = jnp.where(values == 0, 1.0, jnp.abs(values))
        around = values[None] + spread * (2 * share - 1) * size[None]
        # Within a bound on one side: at most nine tenths of the way from the model's own value.
        least = self.low + 0.1 * jnp.where(self._below, values - self.low, 0.0)
        most = self.high - 0.1 * jnp.where(self._above, self.high - values, 0.0)
        drawn = jnp.where(both[None], between, jnp.clip(around, least[None], most[None]))
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


@eqx.filter_jit
def values_of(free: Free, u: Array) -> Array:
    """The parameters of several vectors of unknowns, of which they are the first: shape (starts, P)."""
    return jax.vmap(free.to_values)(u[:, : len(free.names)])


def resolve(model: Any, where: Where, bounds: Any, mask: Any, dtype: Any) -> Free:
    """The free parameters that `where` selects, with their limits."""
    groups, single = _groups(model, where)
    free = [leaf for group in groups for leaf in group.leaves]
    if len({leaf.index for leaf in free}) != len(free):
        raise ValueError("`where` returns the same parameter twice: " + ", ".join(leaf.name for leaf in free))
    for leaf in free:
        if not eqx.is_inexact_array(leaf.value):
            raise TypeError(f"`where`: {leaf.name} is not a floating array, got {leaf.value!r}.")
    bounds = _per_leaf("bounds", bounds, groups, _is_pair)
    mask = _per_leaf("mask", mask, groups, lambda m: single or not _is_list(m))

    shown = [name for group in groups for name in group.shown]
    entries, names, units, low, high = [], [], [], [], []
    for leaf, name, bound, chosen in zip(free, shown, bounds, mask):
        shape = leaf.value.shape
        at = _entries(leaf.value, chosen, name)
        entries.append(tuple(int(i) for i in at))
        names += [_entry_name(name, shape, i) for i in at]
        units += [leaf.unit] * len(at)
        sides = zip((None, None) if bound is None else bound, _limits(leaf))
        least, most = (own if side is None else side for side, own in sides)
        low.append(_side("bounds", least, shape, at, name))
        high.append(_side("bounds", most, shape, at, name))
    low, high = np.concatenate(low), np.concatenate(high)
    if not (low < high).all():
        worst = int(np.argmin(low < high))
        raise ValueError(
            f"`bounds` of {names[worst]} must be (low, high), got ({low[worst]}, {high[worst]})."
        )
    as_array = lambda x: jnp.asarray(x, dtype)
    found = Free(
        tuple(leaf.index for leaf in free),
        tuple(entries),
        tuple(names),
        tuple(units),
        *map(as_array, (low, high, np.zeros_like(low), np.ones_like(low))),
    )
    return eqx.tree_at(lambda f: (f.reference, f.scale), found, _reference(found, model))


def _groups(model: Any, where: Where) -> tuple[list[_Group], bool]:
    """What `where` selects, and whether that is one thing and neither a list nor a dict."""
    chosen = _asked(model, where) if callable(where) else _named(model, where)
    if isinstance(chosen, Mapping):
        keyed = [(str(key), group) for key, group in chosen.items()]
    else:
        keyed = [(None, group) for group in (chosen if _is_list(chosen) else [chosen])]
    if not keyed:
        raise ValueError(f"`where` must select at least one parameter, got {chosen!r}.")
    groups = []
    for key, group in keyed:
        found = jax.tree.leaves(group)
        if not found or not all(isinstance(x, Leaf) for x in found):
            raise ValueError(
                f"`where` must return parameters of the model it is given, got {group!r}. "
                "A field that is None must be set in the model before it can be free."
            )
        groups.append(_Group(key, found, _shown(key, found)))
    return groups, not isinstance(chosen, Mapping) and not _is_list(chosen)


def _named(model: Any, where: Any) -> Any:
    """The leaves in place of their names."""
    if isinstance(where, Mapping):
        return {key: _named(model, names) for key, names in where.items()}
    one = lambda name: look_up(model, name, "where")
    return [one(name) for name in where] if _is_list(where) else one(where)


def _asked(model: Any, where: Callable) -> Any:
    """What a function selects of a model whose leaves are marks."""
    marks = leaves(model)
    marked = jax.tree.unflatten(jax.tree.structure(model), marks)
    try:
        return where(*marked) if isinstance(model, tuple) else where(marked)
    except (AttributeError, KeyError, IndexError, TypeError) as error:
        names = ", ".join(leaf.name for leaf in marks)
        raise ValueError(
            f"`where` asks for something the model does not have: {error!r}. Its parameters are: {names}."
        ) from error


def _shown(key: str | None, found: list[Leaf]) -> list[str]:
    """What leaves are called: under a key of the user's by it, and by what tells them apart."""
    if key is None:
        return [leaf.name for leaf in found]
    if len(found) == 1:
        return [key]
    parts = [leaf.name.split(".") for leaf in found]
    shared = 0
    while shared < min(map(len, parts)) - 1 and len({part[shared] for part in parts}) == 1:
        shared += 1
    return [".".join([key, *part[shared:]]) for part in parts]


def _limits(leaf: Leaf) -> tuple[float, float]:
    """The least and the greatest value that a leaf's field allows."""
    least, most = (leaf.said.get(name) for name in ("minimum", "maximum"))
    least = 0.0 if leaf.said.get("positive") else least
    return -np.inf if least is None else least, np.inf if most is None else most


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


def _entry_name(name: str, shape: tuple[int, ...], flat: Any) -> str:
    if not shape:
        return name
    return f"{name}[{','.join(str(int(i)) for i in np.unravel_index(int(flat), shape))}]"


def _entries(value: Any, mask: Any, name: str) -> np.ndarray:
    if mask is None:
        return np.arange(value.size)
    try:
        mask = np.asarray(mask)
    except (TypeError, ValueError):  # rows of different lengths, keys
        mask = np.empty(())
    if mask.dtype != bool or mask.shape != value.shape:
        raise ValueError(
            f"`mask` of {name} must be a boolean array of shape {value.shape}, true where it is free, "
            f"got shape {mask.shape} of {mask.dtype}."
        )
    if not mask.any():
        raise ValueError(f"`mask` leaves nothing of {name} free.")
    return np.flatnonzero(mask)


def _side(argument: str, bound: Any, shape: tuple, at: np.ndarray, name: str) -> np.ndarray:
    try:
        bound = np.asarray(as_numbers(bound), float)
        return np.broadcast_to(bound, shape).ravel()[at]
    except (TypeError, ValueError):
        raise ValueError(
            f"`{argument}` of {name} must be a pair of numbers or arrays that fit {shape}."
        ) from None


def _per_leaf(argument: str, given: Any, groups: list[_Group], is_single: Callable[[Any], bool]) -> list[Any]:
    """One entry of `given` for each leaf."""
    if isinstance(given, Mapping):
        names = [
            [x for x in (shown, group.key, *leaf.names) if x]
            for group in groups
            for leaf, shown in zip(group.leaves, group.shown)
        ]
        known = dict.fromkeys(x for some in names for x in some)
        for name in given:
            if name not in known:
                told = known_are(str(name), known)
                raise ValueError(f"`{argument}` names {name!r}, which `where` does not.{told}")
        return [next((given[x] for x in some if x in given), None) for some in names]
    if given is None:
        given = [None] * len(groups)
    elif len(groups) == 1 and is_single(given):
        given = [given]
    elif not _is_list(given) or len(given) != len(groups):
        raise ValueError(
            f"`{argument}` must have one entry (or None) for each of the {len(groups)} things that `where` "
            f"selects, got {given!r}."
        )
    return [x for x, group in zip(given, groups) for _ in group.leaves]
