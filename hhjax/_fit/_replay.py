"""A model on the sweeps of a recording that it was not fitted to."""

from typing import Any

import diffrax
import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array

from .._base.parameters import cast_floats, run_dtype
from ..recordings import VoltageClampRecording
from ._clamp import clamped, current_of
from ._protocol import check_model, Protocol, protocol_of, run, split


def replay(
    model: Any,
    data: Any,
    *,
    dt: float | None = None,
    solver: Any = "strang",
    v0: Any = None,
    initial: Any = "rest",
    held: bool | None = None,
    holding: Any = 0.0,
) -> Array:
    """The membrane potential of a free-running model in the current of every sweep.

    **Arguments:** `model`, `data`, `dt`, `solver`, `initial`, `held` and `holding`: see [`hh.fit`][], whose
    `initial` takes the sweeps up where a fit began them; `v0`: initial membrane potential, mV, scalar,
    (sweeps, n) or `"rest"`, by default that of the first sample.

    **Returns:** what the electrode reads at the times of the recording, mV, shape (sweeps, times, n). NaN
    where a run blew up. Of an [`hh.VoltageClampRecording`][] the current at its commands, in its unit, shape
    (sweeps, times).

    **Raises:** `ValueError` and `TypeError` for a model and data that do not go together.
    """
    network, electrode = split(check_model(model))
    dtype = run_dtype(network)
    if isinstance(data, VoltageClampRecording):
        return current_of(clamped(data, model, dt, solver), cast_floats(model, dtype))
    drive = {"initial": initial, "held": held, "holding": holding}
    protocol = protocol_of(data, network, electrode, dt, solver, v0, dtype, **drive)
    return _run(protocol, cast_floats(model, dtype))


@eqx.filter_jit
def _run(protocol: Protocol, model: Any) -> Array:
    begin = protocol.start.unknown
    return run(protocol, model, begin, jnp.zeros((), begin.dtype), diffrax.ForwardMode())
