"""The plain reference: squid axons in JAX as one writes them by hand, without hhjax.

`step` is the default scheme: the gates a whole step, half a step behind V, then V a whole step, each by
its exact exponential. The others are `coupled` (a graded synapse with a dense E), `rk4` and `strang4`.
A step takes the parameters p, the current I, dt and the state; `run` takes many, with a checkpoint around
each for the gradient. Units as in hhjax.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

# g and E of Na, K and leak, C, and the temperatures of Na and K
PARAMETERS = (120.0, 36.0, 0.3, 50.0, -77.0, -54.387, 1.0, 6.3, 6.3)


def vtrap(x: Array, y: float) -> Array:
    z = x / y
    small = jnp.abs(z) < 1e-4
    return jnp.where(small, y * (1 - z / 2), x / jnp.expm1(jnp.where(small, 1.0, z)))


def rates(p: tuple, V: Array) -> tuple:
    """(drive, rate) of dx/dt = drive − rate·x for m, h and n."""
    na, k = (3 ** ((celsius - 6.3) / 10) for celsius in p[-2:])
    am, bm = 0.1 * vtrap(-(V + 40), 10.0), 4 * jnp.exp(-(V + 65) / 18)
    ah, bh = 0.07 * jnp.exp(-(V + 65) / 20), 1 / (1 + jnp.exp(-(V + 35) / 10))
    an, bn = 0.01 * vtrap(-(V + 55), 10.0), 0.125 * jnp.exp(-(V + 65) / 80)
    return (na * am, na * (am + bm)), (na * ah, na * (ah + bh)), (k * an, k * (an + bn))


def membrane(p: tuple, I: Array, gates: tuple) -> tuple[Array, Array]:
    """(drive, rate) of V."""
    g_na, g_k, g_leak, E_na, E_k, E_leak, C, *_ = p
    m, h, n = gates
    na, k = g_na * m**3 * h, g_k * n**4
    return (na * E_na + k * E_k + g_leak * E_leak + I) / C, (na + k + g_leak) / C


def relax(x: Array, drive: Array, rate: Array, dt: Array) -> Array:
    end = drive / rate
    return end + (x - end) * jnp.exp(-rate * dt)


def relax_gates(p: tuple, V: Array, gates: tuple, dt: Array) -> tuple:
    return tuple(relax(x, *form, dt) for x, form in zip(gates, rates(p, V)))


def step(p: tuple, I: Array, dt: Array, y: tuple) -> tuple:
    V, *gates = y
    gates = relax_gates(p, V, gates, dt)
    return relax(V, *membrane(p, I, gates), dt), *gates


def run(p: Any, I: Array, dt: Array, y: tuple, steps: int, step: Callable = step, unroll: int = 1) -> tuple:
    """The state after so many steps."""
    turn = jax.checkpoint(lambda y, _: (step(p, I, dt, y), None), prevent_cse=False)
    return jax.lax.scan(turn, y, None, length=steps, unroll=unroll)[0]


def rest(V: Array) -> tuple:
    """The state in which the gates rest at V."""
    return V, *(drive / rate for drive, rate in rates(PARAMETERS, V))


def synapse(V: Array) -> tuple[Array, Array]:
    """(drive, rate) of its activation s."""
    rise = 5 / (1 + jnp.exp(-(V + 3) / 8))
    return rise, rise + 1


def coupled(p: tuple, I: Array, dt: Array, y: tuple) -> tuple:
    """A step of a network; p is the parameters and E, and s is the last of y."""
    p, E = p
    V, *gates, s = y
    gates = relax_gates(p, V, gates, dt)
    s = relax(s, *synapse(V), dt)
    drive, rate = membrane(p, I, gates)
    g = (E @ s) / p[6]
    return relax(V, drive + 20 * g, rate + g, dt), *gates, s


def rest_coupled(V: Array) -> tuple:
    drive, rate = synapse(V)
    return *rest(V), drive / rate


def slope(p: tuple, I: Array, y: tuple) -> tuple:
    V, *gates = y
    forms = membrane(p, I, gates), *rates(p, V)
    return tuple(drive - rate * x for x, (drive, rate) in zip(y, forms))


def rk4(p: tuple, I: Array, dt: Array, y: tuple) -> tuple:
    moved = lambda dt, k: tuple(x + dt * dx for x, dx in zip(y, k))
    a = slope(p, I, y)
    b = slope(p, I, moved(dt / 2, a))
    c = slope(p, I, moved(dt / 2, b))
    d = slope(p, I, moved(dt, c))
    return moved(dt / 6, [a + 2 * b + 2 * c + d for a, b, c, d in zip(a, b, c, d)])


def strang(p: tuple, I: Array, dt: Array, y: tuple, count: int) -> tuple:
    """`count` steps in dt: half a step of the gates, V and gates in turn, half a step of the gates."""
    dt = dt / count
    V, *gates = y
    gates = relax_gates(p, V, gates, dt / 2)
    for k in range(count):
        V = relax(V, *membrane(p, I, gates), dt)
        gates = relax_gates(p, V, gates, dt if k < count - 1 else dt / 2)
    return V, *gates


def strang4(p: tuple, I: Array, dt: Array, y: tuple) -> tuple:
    """Richardson extrapolation of one step and two half steps."""
    coarse, fine = strang(p, I, dt, y, 1), strang(p, I, dt, y, 2)
    return tuple(f + (f - c) / 3 for f, c in zip(fine, coarse))
