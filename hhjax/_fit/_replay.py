"""A model on the sweeps of a recording that it was not fitted to."""

from typing import Any

import diffrax
import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array

from .._base.parameters import cast_floats, run_dtype
from ._protocol import check_model, Protocol, protocol_of, run, split


def replay(
    model: Any, data: Any, *, dt: float | None = None, solver: Any = "strang", v0: Any = None
) -> Array:
    """The membrane potential of a free-running model in the current of every sweep.

    **Arguments:** `model`, `data`, `dt` and `solver`: see [`hh.fit`][]; `v0`: initial
    membrane potential, mV, scalar or (sweeps, n), by default the first sample.

    **Returns:** mV at the times of the recording, shape (sweeps, times, n). NaN where a
    run blew up.

    **Raises:** `ValueError` and `TypeError` for a model and data that do not go together.
    """
    network, electrode = split(check_model(model))
    dtype = run_dtype(network)
    protocol = protocol_of(data, network, electrode, dt, solver, v0, dtype)
    return _run(protocol, cast_floats(model, dtype))


@eqx.filter_jit
def _run(protocol: Protocol, model: Any) -> Array:
    return run(protocol, model, protocol.v0, jnp.zeros((), protocol.v0.dtype), diffrax.ForwardMode()).V
