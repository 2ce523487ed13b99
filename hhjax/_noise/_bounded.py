"""A limit on what negative conductances, which a diffusion allows, do to the membrane."""

from collections.abc import Mapping

import jax.numpy as jnp
from jaxtyping import Array

Current = tuple[Array, Array]


def bounded(
    currents: Mapping[str, Current], noisy: Mapping[str, object], outside: Array | float
) -> dict[str, Current]:
    """Currents whose negative conductances are at most half of the positive ones together.

    A fluctuation may carry an open fraction below zero; for a few hundred channels and
    more, that is a small part of the membrane's conductance and nothing is changed. For a
    handful it could turn the membrane's conductance negative and blow V up: there the
    negative currents of noisy channels are scaled down in common.

    **Arguments:** `currents`: (drive, conductance) of each channel; `noisy`: the names that
    may be negative; `outside`: further conductance, mS/cm².
    """
    positive = outside + sum(jnp.maximum(g, 0.0) for _, g in currents.values())
    negative = sum(jnp.maximum(-currents[name][1], 0.0) for name in noisy)
    too_much = 2 * negative > positive
    scale = jnp.where(too_much, positive / jnp.where(too_much, 2 * negative, 1.0), 1.0)
    limited = dict(currents)
    for name in noisy:
        drive, g = currents[name]
        factor = jnp.where(g < 0, scale, 1.0)
        limited[name] = (drive * factor, g * factor)
    return limited
