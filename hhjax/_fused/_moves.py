"""Operations that move elements about: done to their numbers, which tells where each one goes."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

MOVES = frozenset(
    "broadcast_in_dim concatenate dynamic_slice dynamic_update_slice expand_dims gather pad reshape rev "
    "scatter scatter-add slice split squeeze stack transpose unstack".split()
)
# How many of the operands hold elements; those that follow say where, and must be known.
_MOVED = {"dynamic_slice": 1, "dynamic_update_slice": 2, "gather": 1}


class Mover:
    """Where the elements of arrays go when `primitive` moves them.

    An element's code tells which it is and, along an axis of `lanes`, which lane it belongs to: from
    one lane to another nothing may go. Code 0 is a zero that comes from nowhere.

    **Arguments:** `lanes`: the size that marks the axis of lanes; `refusal`: makes the error.
    """

    def __init__(self, lanes: int, refusal: Callable[[], Exception]):
        self.lanes, self.refusal = lanes, refusal

    def __call__(
        self, primitive: Any, params: dict, values: list[np.ndarray], shapes: list[tuple], outs: list[tuple]
    ) -> list[np.ndarray]:
        """The moved elements, of operands of `shapes`, as results of the shapes `outs`."""
        name = primitive.name
        held = [0, 2] if name.startswith("scatter") else list(range(_MOVED.get(name, len(values))))
        codes, elements = [], [None]
        for k, (value, shape) in enumerate(zip(values, shapes)):
            if k in held:
                codes.append(self.coded(value.size, len(elements), shape))
                elements.extend(value.flat)
            else:
                codes.append(self.known(value))
        if name == "scatter-add":
            return [self.scatter_add(params, codes, elements, outs[0])]
        out = _NUMPY[name](codes, params) if name in _NUMPY else _on_numbers(primitive, codes, params)
        return [self.decoded(np.asarray(x), elements) for x in out]

    def known(self, value: np.ndarray) -> np.ndarray:
        """Indices, which must not depend on what the kernel finds."""
        if not all(isinstance(x, np.generic) for x in value.flat):
            raise self.refusal()
        return np.array([x.item() for x in value.flat], np.int32).reshape(value.shape)

    def coded(self, count: int, first: int, shape: Sequence[int]) -> np.ndarray:
        step = self.lanes + 1
        one = tuple(1 if size == self.lanes else size for size in shape)
        codes = np.asarray(step * (first + np.arange(count, dtype=np.int32).reshape(one)))
        if self.lanes not in shape:
            return codes
        axis = shape.index(self.lanes)
        if self.lanes in shape[axis + 1 :]:
            raise self.refusal()
        lane = np.arange(1, self.lanes + 1, dtype=np.int32)
        return codes + lane.reshape((-1,) + (1,) * (len(shape) - axis - 1))

    def numbers(self, codes: np.ndarray) -> np.ndarray:
        """Which element each code is, once nothing has changed its lane."""
        number, lane = map(np.asarray, np.divmod(codes, self.lanes + 1))
        if (codes < 0).any():
            raise self.refusal()
        if codes.shape.count(self.lanes) > 1:
            raise self.refusal()
        if self.lanes not in codes.shape:
            if (lane > 0).any():
                raise self.refusal()
            return number
        axis = codes.shape.index(self.lanes)
        number, lane = np.moveaxis(number, axis, -1), np.moveaxis(lane, axis, -1)
        if ((lane > 0) & (lane != np.arange(1, self.lanes + 1))).any() or (number != number[..., :1]).any():
            raise self.refusal()
        return np.moveaxis(number[..., :1], -1, axis)

    def decoded(self, codes: np.ndarray, elements: list[Any]) -> np.ndarray:
        number = self.numbers(codes)
        out = np.empty(number.shape, object)
        for index in np.ndindex(*number.shape):
            k = int(number[index])
            out[index] = elements[k] if k else _zero_like(elements[1])
        return out

    def scatter_add(self, params: dict, codes: list[np.ndarray], elements: list[Any], shape: tuple) -> Any:
        target, at, added = codes
        params = params | {"update_jaxpr": None, "update_consts": ()}
        place = lambda codes: _on_numbers(jax.lax.scatter_p, [np.zeros_like(target), at, codes], params)[0]
        out = self.decoded(target, elements)
        whole = place(added)
        if np.unique(whole[whole > 0]).size == np.unique(added).size:
            places = [whole]
        else:  # several go to one place
            step = self.lanes + 1
            places = [place(np.where(added // step == k, added, 0)) for k in np.unique(added // step)]
        for codes_of_some in places:
            number = self.numbers(codes_of_some)
            for index in zip(*np.nonzero(number)):
                out[index] = out[index] + elements[int(number[index])]
        return out


def _zero_like(x: Any) -> Any:
    return np.dtype(x.dtype).type(0)


def _on_numbers(primitive: Any, codes: list[np.ndarray], params: dict) -> list[np.ndarray]:
    with jax.ensure_compile_time_eval():
        out = primitive.bind(*map(jax.numpy.asarray, codes), **params)
        return [np.asarray(x) for x in (out if primitive.multiple_results else [out])]


def _broadcast(codes: list[np.ndarray], params: dict) -> list[np.ndarray]:
    (x,), shape = codes, params["shape"]
    sizes = [1] * len(shape)
    for axis, size in zip(params["broadcast_dimensions"], x.shape):
        sizes[axis] = size
    return [np.broadcast_to(x.reshape(sizes), shape)]


def _slice(codes: list[np.ndarray], params: dict) -> list[np.ndarray]:
    strides = params["strides"] or (1,) * codes[0].ndim
    return [codes[0][tuple(map(slice, params["start_indices"], params["limit_indices"], strides))]]


def _split(codes: list[np.ndarray], params: dict) -> list[np.ndarray]:
    return np.split(codes[0], np.cumsum(params["sizes"])[:-1], params["axis"])


# The commonest, without JAX, which would compile each for every shape.
_NUMPY: dict[str, Callable[[list[np.ndarray], dict], list[np.ndarray]]] = {
    "broadcast_in_dim": _broadcast,
    "concatenate": lambda codes, params: [np.concatenate(codes, params["dimension"])],
    "reshape": lambda codes, params: [codes[0].reshape(params["new_sizes"])],
    "rev": lambda codes, params: [np.flip(codes[0], params["dimensions"])],
    "slice": _slice,
    "split": _split,
    "squeeze": lambda codes, params: [np.squeeze(codes[0], tuple(params["dimensions"]))],
    "transpose": lambda codes, params: [codes[0].transpose(params["permutation"])],
}
