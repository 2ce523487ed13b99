"""A first guess of a cell from its small steps of current, and a model scaled by it."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array

from .._base.arguments import as_number, check_kind
from .._base.parameters import put, run_dtype, shown
from .._base.tables import Printed, Table
from .._model.names import get, Leaf, leaves, parameters, replace
from .._model.network import as_network, Network, vector_field
from .._model.neuron import Neuron
from .._run.simulate import simulate
from ..channels import Leak
from ..recordings import Recording
from ..stimuli._base import as_stimulus
from ..stimuli.sampled import Electrode
from ._passive import few, measured, spikes_of, traces
from ._protocol import check_model, check_SI

_LEAK = 0.1  # at least so much of the conductance at rest is leak
_REVERSAL = (-110.0, -10.0)  # mV, between which the leak reverses
_DT = 0.025  # ms, of the run that shows at which V the model's spikes begin
_ABOUT = -30.0  # mV, where the threshold of spikes is if it is not known
_MOST = 8.0  # by how much time constants of gates are multiplied or divided
_FAST = 5.0  # ms, below which a time constant at the threshold is that of a channel that makes spikes
_NAMES = {
    "rest": "resting potential",
    "resistance": "input resistance",
    "tau": "membrane time constant",
    "capacitance": "capacitance",
    "area": "membrane area",
    "bridge": "bridge error",
    "threshold": "spike threshold",
    "width": "spike half-width",
}


@dataclasses.dataclass(frozen=True)
class Guess(Printed):
    """What [`hh.guess`][] found; `print` shows it as a table.

    **Fields:**

    - `model`: the pair of the scaled model and its [`hh.Electrode`][], for [`hh.fit`][].
    - `rest`: V without current, mV; `resistance`: MΩ, or kΩ·cm² for currents in µA/cm²; `tau`: membrane
        time constant, ms; `capacitance`: pF, or µF/cm²; `area`: µm², or `None`; `bridge`: MΩ, or `None`.
        Each the median over sweeps or steps.
    - `threshold`: V at which spikes begin to rise by 10 mV/ms, mV; `width`: how long they are above half of
        the way from there to their peak, ms; NaN without a spike.
    - `ranges`: between which the middle half of the sweeps or steps is, by name; `sources`: of which sweeps.
    - `free`: the names of what a fit may estimate: conductances and permeabilities, free kinetics but for
        skews, voltages `VT`, the leak's reversal, and the area or C. For `where` of [`hh.fit`][].
    - `changes`: the parameters of the model that are not as they were: before and after, by name.
    - `notes`: what to beware of.
    """

    model: Any
    rest: float
    resistance: float
    tau: float
    capacitance: float
    area: float | None
    bridge: float | None
    threshold: float
    width: float
    ranges: dict[str, tuple[float, float]]
    sources: dict[str, tuple[int, ...]]
    free: tuple[str, ...]
    changes: dict[str, tuple[float, float]]
    units: dict[str, str]
    notes: tuple[str, ...] = ()

    def _tables(self) -> list[Table]:
        rows = []
        for field, name in _NAMES.items():
            value = getattr(self, field)
            if value is None or np.isnan(value):
                continue
            low, high = self.ranges.get(field, (value, value))
            spread = f"{low:.4g} … {high:.4g}" if high > low else ""
            source = f"sweeps {few(self.sources[field])}" if field in self.sources else ""
            if field == "area":
                source = f"at {self.capacitance / (0.01 * value):.3g} µF/cm²"
            rows.append((name, f"{value:.4g}", spread, self.units[field], source))
        cell = Table(("cell", "median", "middle half", "unit", "from"), rows, left=(0, 3, 4))
        rows = [(name, f"{a:.4g}", f"{b:.4g}", self.units[name]) for name, (a, b) in self.changes.items()]
        return [cell, Table(("model", "was", "is", "unit"), rows, "", self.notes, left=(0, 3))]


def guess(recording: Recording, model: Any, *, C: float | None = None) -> Guess:
    """A first guess of a cell from the small steps of current in a recording, and a model that fits it.

    The input resistance, time constant and capacitance are those of exponentials fitted to V after steps
    without spikes within 15 mV of rest, or else after the smallest ones; the bridge error is the jump of V
    with the current. The model's leak is then set so that the model rests where the cell does and its steady
    V moves as much in such a step, and its capacitance and area are the cell's. The other conductances stay
    as they are per capacitance, but for a model that could not rest there with a leak of its own: there
    they are made smaller, the slow ones first, and a note says so. Of fast channels with a `VT` or
    half-activations, such as `m_half`, these are moved together, so that the model's spikes begin at the V
    at which the cell's do; and time constants of their fast gates that are parameters, such as `h_tau`, are
    multiplied by one number, so that its spikes are about as wide.

    ```py
    found = hh.guess(recording, hh.pospischil_rs())
    print(found)
    fit = hh.fit(found.model, recording, where=found.free)
    ```

    **Arguments:**

    - `recording`: steps of current from rest, some of them without spikes.
    - `model`: an [`hh.Neuron`][] or an [`hh.Network`][] of one kind, with an `hh.Leak`; or a pair of
        one and an [`hh.Electrode`][], whose junction potential, bridge and area are then taken as known.
    - `C`: capacitance of the membrane, µF/cm², by default 1, for currents in pA. With the area known it
        follows.

    **Returns:** an [`hh.Guess`][].

    **Raises:** `ValueError` for a recording that has no such step, and says what it has; for a model
    without a leak.
    """
    check_kind("recording", recording, Recording, "an hh.Recording")
    check_model(model)
    if not recording.current_known:
        raise ValueError(f"`recording` must hold the current that was injected, got {recording.name}.")
    check_SI(recording)
    network, electrode = model if isinstance(model, tuple) else (model, Electrode())
    in_pA = recording.current_unit == "pA"
    if electrode.area is not None and not in_pA:
        raise ValueError(f"`recording` must have currents in pA for an area, got {recording.current_unit}.")
    if C is not None and (not in_pA or electrode.area is not None):
        raise ValueError(
            f"`C` follows from the recording where the area is known or not needed, got {shown(C)}."
        )
    per_cm2 = 1.0 if C is None else as_number("C", C, "µF/cm²", positive=True)
    neuron = _one_kind(network)
    leak = _leak(neuron)

    V, current = traces(recording)
    V = V - (0.0 if electrode.junction is None else float(electrode.junction))
    found = measured(recording, V, current, electrode.bridge)
    area, per_area, per_cm2 = None, 1.0, found["capacitance"] if not in_pA else per_cm2
    if in_pA:  # 1 µF/cm² is 0.01 pF/µm², 1 pA/µm² is 100 µA/cm²
        area = float(electrode.area or found["capacitance"] / (0.01 * per_cm2))
        per_area, per_cm2 = 100 / area, found["capacitance"] / (0.01 * area)
    moved, fast = _moved(neuron, found["threshold"], found["width"])
    new, notes = _scaled(replace(neuron, moved), leak, fast, per_cm2, found, per_area)
    new = moved | new
    dtype = run_dtype(network)
    changes = {}
    for name, value in new.items():
        before = float(get(neuron, name))
        if not np.isclose(before, value, rtol=1e-6):
            changes[name] = (before, value)
    parts = {"area": area, "bridge": found["bridge"]} if in_pA else {}
    electrode = put(electrode, **{name: jnp.asarray(x, dtype) for name, x in parts.items()})
    return Guess(
        model=(replace(network, new), electrode),
        area=area,
        free=(*_free(replace(neuron, new), leak), "electrode.area" if in_pA else "C"),
        changes=changes,
        units=_units(neuron, in_pA),
        notes=(*found["notes"], *notes),
        **{name: found[name] for name in ("ranges", "sources", *_NAMES) if name != "area"},
    )


_FREE = (".g", ".P", ".VT", "_half", "_slope", "_tau", "_tau_min")  # ends of names


def _free(neuron: Neuron, leak: str) -> list[str]:
    """Names of parameters for a fit, of those that lie within their limits."""

    def fine(leaf: Leaf) -> bool:
        asked = leaf.name.endswith(_FREE) or leaf.name == f"{leak}.E"
        low, high = leaf.said.get("minimum"), leaf.said.get("maximum")
        value = float(leaf.value)
        return asked and (low is None or value > low) and (high is None or value < high)

    return [leaf.name for leaf in leaves(neuron) if fine(leaf)]


def _units(neuron: Neuron, in_pA: bool) -> dict[str, str]:
    own = {"rest": "mV", "tau": "ms", "area": "µm²", "bridge": "MΩ", "threshold": "mV", "width": "ms"}
    whole, by_area = (("MΩ", "pF"), ("kΩ·cm²", "µF/cm²"))
    own["resistance"], own["capacitance"] = whole if in_pA else by_area
    return own | {leaf.name: leaf.unit for leaf in leaves(neuron)}


def _one_kind(network: Any) -> Neuron:
    kinds = as_network(network).kinds
    neuron = kinds[0][1]
    if len(kinds) > 1 or any(np.ndim(x) for x in jax.tree.leaves(neuron)):
        raise ValueError("`model` must be one kind of neuron, each parameter one number, got several.")
    if as_network(network).cells or "C" not in parameters(network):
        raise ValueError(
            "`model` must be a point neuron without a name, for an hh.Cell has areas of its own, got "
            f"{shown(network)}."
        )
    return neuron


def _leak(neuron: Neuron) -> str:
    """The name of the leak."""
    bare = {name: getattr(channel, "channel", channel) for name, channel in neuron.channels.items()}
    leaks = [name for name, channel in bare.items() if type(channel) is Leak and channel.E is not None]
    if not leaks:
        raise ValueError(
            f"`model` must have a leak, hh.Leak, to be set by the recording, got channels {', '.join(bare)}."
        )
    return "leak" if "leak" in leaks else leaks[0]


def _moved(neuron: Neuron, threshold: float, width: float) -> tuple[dict[str, float], set[str]]:
    """What of fast channels makes spikes begin at `threshold` (mV) and `width` ms wide, by name.

    The VT and half-activations all move alike, and slow channels stay; time constants of fast gates are
    multiplied alike. And the names of the fast channels.
    """
    ends = (".VT", "_half", "_tau", "_tau_min")
    places = [leaf for leaf in leaves(neuron) if leaf.name.endswith(ends)]
    own = spikes_of(np.asarray(_steps(neuron)).T, _DT) if places and not np.isnan(threshold) else []
    at = own[0].threshold if own else _ABOUT
    rates = jax.device_get(_rates(neuron, jnp.asarray([at], neuron.C.dtype)))
    fast = {(name, gate) for name, gates in rates.items() for gate, x in gates.items() if x.max() > 1 / _FAST}
    channels = {name for name, _ in fast}
    if not own:
        return {}, channels
    new, slower = {}, float(np.clip(width / own[0].width, 1 / _MOST, _MOST))
    for leaf in places:
        channel, _, field = leaf.name.rpartition(".")
        value = float(leaf.value)
        if field.endswith(("_tau", "_tau_min")):
            if (channel, field.split("_")[0]) in fast:
                new[leaf.name] = _between(value * slower, leaf.said, 0.01 * value)
        elif channel in channels:
            new[leaf.name] = _between(value + threshold - at, leaf.said, 1.0)
    return new, channels


def _between(value: float, said: Mapping[str, Any], inside: float) -> float:
    """The value, kept at least `inside` away from the limits of its field."""
    low, high = (said.get("minimum"), said.get("maximum"))
    value = value if low is None else max(value, low + inside)
    return value if high is None else min(value, high - inside)


@eqx.filter_jit
def _rates(neuron: Neuron, V: Array) -> Any:
    """The rates of all gates at V, 1/ms, by channel."""
    return neuron.others_form(neuron.steady_state(V))[1].gates


@eqx.filter_jit
def _steps(neuron: Neuron) -> Array:
    """V of the neuron in eight steps of current, the weakest first, mV, shape (times, 8)."""
    currents = neuron.C * jnp.geomspace(0.5, 64.0, 8, dtype=neuron.C.dtype)
    return simulate(Network(neuron, n=8), t1=100.0, dt=_DT, stimulus=currents, throw=False).V


def _scaled(
    neuron: Neuron, leak: str, fast: set[str], C: float, found: dict[str, Any], per_area: float
) -> tuple[dict[str, float], list[str]]:
    """The conductances of the neuron and its C, by name, and notes."""
    known = parameters(neuron)
    names = [f"{k}.{f}" for k in neuron.channels for f in ("g", "P") if k != leak and f"{k}.{f}" in known]
    own = {name: float(get(neuron, name)) * C / float(neuron.C) for name in names}
    Vs = jnp.asarray([found["rest"], found["rest"] + found["moved"]], run_dtype(neuron))
    injected = found["change"] * per_area  # µA/cm²

    def made(share: float, of: list[str]) -> dict[str, float]:
        new = own | {name: own[name] * share for name in of}
        others = np.asarray(_current(replace(neuron, new | {f"{leak}.g": 0.0}), Vs))
        g = float(injected - others[1] + others[0]) / found["moved"]
        return new | {f"{leak}.g": g, f"{leak}.E": found["rest"] + float(others[0]) / g, "C": C}

    def fine(new: dict[str, float]) -> bool:
        enough = new[f"{leak}.g"] >= _LEAK * injected / found["moved"]
        between = _REVERSAL[0] <= new[f"{leak}.E"] <= _REVERSAL[1]
        return bool(enough and between) and (found["fires"] or _is_stable(replace(neuron, new), Vs[0]))

    if fine(new := made(1.0, names)):
        return new, []
    # Slow channels go first: without the fast ones there are no spikes.
    slow = [name for name in names if name.split(".")[0] not in fast]
    of = slow if slow and fine(made(0.0, slow)) else names
    low, high = 0.0, 1.0
    for _ in range(12):
        share = (low + high) / 2
        low, high = (share, high) if fine(made(share, of)) else (low, share)
    return made(low, of), [
        f"of {', '.join(of)} only {low:.3g} are left: with more the model would not rest at "
        f"{found['rest']:.4g} mV with a leak of its own"
    ]


@eqx.filter_jit
def _current(neuron: Neuron, V: Array) -> Array:
    """What flows through the membrane in the steady state at V, µA/cm², outward."""
    currents = neuron.currents(neuron.steady_state(V)).values()
    return sum((g * V - drive for drive, g in currents), start=jnp.zeros_like(V))


def _is_stable(neuron: Neuron, V: Array) -> bool:
    """Whether the neuron stays at its rest V."""
    A = np.asarray(_linearised(Network(neuron), V[None]))
    return bool(np.linalg.eigvals(A).real.max() < 1e-6)


@eqx.filter_jit
def _linearised(network: Network, V: Array) -> Array:
    flat, back = ravel_pytree(network.init(V))
    none = as_stimulus(jnp.zeros((), V.dtype))
    return jax.jacfwd(
        lambda x: ravel_pytree(vector_field(jnp.zeros((), V.dtype), back(x), (network, none)))[0]
    )(flat)
