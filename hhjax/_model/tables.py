"""What neurons and networks print."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from .._base.tables import facts, is_known, shape, Table, value
from .names import leaves


def parameter_table(model: Any, title: str = "") -> Table:
    """Every parameter by the name under which sweeps and fits know it."""
    floating = lambda x: jnp.issubdtype(getattr(x, "dtype", type(x)), jnp.floating)
    rows = [(leaf.name, value(leaf.value), leaf.unit) for leaf in leaves(model) if floating(leaf.value)]
    return Table(("parameter", "value", "unit"), rows, title, left=(0, 2))


def neuron_tables(neuron: Any) -> list[Table]:
    parts = [part for field in ("channels", "ions") for part in getattr(neuron, field).items()]
    named = ", ".join(sorted(f"{name} ({type(part).__name__})" for name, part in parts))
    return [parameter_table(neuron, f"Neuron: {named}")]


def populations_tables(populations: Any) -> list[Table]:
    sizes = {name: str(size) for name, size in populations.sizes}
    return [facts("Populations", sizes), parameter_table(populations)]


def network_tables(network: Any) -> list[Table]:
    """What a network is made of, and its parameters."""
    said = {"neurons": str(network.n)}
    said |= {f"  {name}": f"{part.stop - part.start}" for name, part in network.ranges.items()}
    if (coupling := network.coupling) is not None:
        parts = getattr(coupling, "parts", None)
        said |= {"coupling": _coupled(coupling)} if parts is None else {"couplings": str(len(parts))}
        said |= {f"  {name}": _coupled(part) for name, part in (parts or {}).items()}
    said["noise"] = ", ".join(type(noise).__name__ for noise in network.noise)
    said["channel noise"] = ", ".join(network.noisy_channels)
    return [facts(type(network).__name__, said), parameter_table(network)]


def _coupled(part: Any) -> str:
    """The kind of a coupling, between whom, and how many connections it has."""
    given = getattr(part, "input", None)
    sent = (part.pre or "all") if given is None else type(given).__name__
    weights = getattr(part, "weights", getattr(part, "E", None))
    count = "" if weights is None else f", {_connections(weights)}"
    return f"{type(part).__name__}, {sent} → {part.post or 'all'}{count}"


def _connections(weights: Any) -> str:
    values = getattr(weights, "targets", weights)  # of sparse weights
    if not is_known(values) or np.ndim(values) != 2:
        return f"weights of shape {shape(weights)}"
    return f"{weights.count if values is not weights else np.count_nonzero(values)} connections"
