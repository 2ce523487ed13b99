"""What those who look into traced functions, and make operations of them, have in common."""

from collections.abc import Sequence
from typing import Any, no_type_check

from jax.extend.core import Literal

# What acts on each element by itself, as far as Pallas translates it to Triton.
ELEMENTWISE = frozenset(
    "abs acos acosh add add_any and asin asinh atan atan2 atanh bitcast_convert_type cbrt ceil clamp "
    "convert_element_type cos cosh div eq erf_inv exp exp2 expm1 floor ge gt integer_pow is_finite le log "
    "log1p logistic lt max min mul ne neg nextafter not or pow rem rsqrt select_n shift_left "
    "shift_right_arithmetic shift_right_logical sign sin sinh sqrt square stop_gradient sub tan tanh "
    "xor".split()
)
CALLS = frozenset(["jit", "closed_call", "custom_jvp_call", "custom_vjp_call", "checkpoint", "remat2"])


def inner_jaxpr(equation: Any) -> tuple[Any, Any]:
    """The jaxpr that a call calls, and its constants."""
    params = equation.params
    inner = params.get("jaxpr") or params.get("call_jaxpr") or params["fun_jaxpr"]
    return getattr(inner, "jaxpr", inner), getattr(inner, "consts", ())


# These are called for each operation: the run-time type checks of the tests take longer than they do.
@no_type_check
def aval(variable: Any) -> Any:
    """The shape and type of a variable of a jaxpr."""
    return variable.aval


@no_type_check
def value(variable: Any, known: dict) -> Any:
    """What a variable of a jaxpr stands for where these are known."""
    if isinstance(variable, Literal):
        return aval(variable).dtype.type(variable.val)
    return known[variable]


@no_type_check
def variables(of: Sequence[Any]) -> list[Any]:
    """Those of an operation's arguments that are not literals."""
    return [v for v in of if not isinstance(v, Literal)]


@no_type_check
def bind(primitive: Any, params: dict, values: Sequence[Any]) -> list[Any]:
    """The results of an operation."""
    out = primitive.bind(*values, **params)
    return list(out) if primitive.multiple_results else [out]


@no_type_check
def is_elementwise(equation: Any) -> bool:
    """Whether each element of the result depends on the same one of every argument, or on numbers."""
    shapes = equation.outvars[0].aval.shape, ()
    alike = all(getattr(v.aval, "shape", None) in shapes for v in equation.invars)
    return equation.primitive.name in ELEMENTWISE and alike


@no_type_check
def spreads_number(equation: Any) -> bool:
    """Whether an operation makes an array of a number."""
    return equation.primitive.name == "broadcast_in_dim" and aval(equation.invars[0]).shape == ()


def split(xs: Sequence[Any], *counts: int) -> list[list[Any]]:
    """Lists of these lengths, and of the rest."""
    parts, start = [], 0
    for count in counts:
        parts.append(list(xs[start : start + count]))
        start += count
    return [*parts, list(xs[start:])]
