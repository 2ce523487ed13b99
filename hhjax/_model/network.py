"""A network of n neurons, and its vector field."""

from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float

from .._base.arguments import as_array, check_kind
from .._base.operators import AbstractOperator
from .._base.parameters import (
    as_float_array,
    check_parameters,
    check_size,
    Checked,
    put,
    run_dtype,
    shown,
)
from .._base.random import input_key
from .._base.renames import reads
from .._base.tables import Printed, Table
from .._noise.channels import AbstractNoisyChannel
from .._noise.currents import AbstractNoise
from ..cells._axial import Axial
from ..stimuli._base import as_stimulus
from ..synapses._coupling import AbstractCoupling, Couplings
from ..synapses._junctions import Junctions, OfCells
from .cell import Cell, lay_out, Placed
from .names import check_names
from .neuron import Neuron, Populations, State
from .tables import network_tables


@reads(gates_are_independent="flow_is_exact", map_gates="map_kinds")
class Network(Printed, Checked):
    """n neurons of one kind or of several, coupled or not.

    Neurons of several kinds are named, and so are the couplings within and between them:

    ```python
    hh.Network(
        {"e": hh.traub_miles(), "i": hh.wang_buzsaki()},
        n={"e": 80, "i": 20},
        coupling={"ampa": hh.synapses.AMPA(weights, pre="e", post="i")},  # shape (20, 80)
    )
    ```

    V then holds the populations one after the other, in the order in which they are named; a
    stimulus and `v0` are numbers or have shape (n,), all neurons together.

    **Fields:**

    - `neuron`: the neuron, or a dict of neurons by the name of their population; each of its
        parameters is a scalar or has one value for each neuron of the kind. The compartments of an
        [`hh.Cell`][] count as neurons and its regions as populations, such as `pyr.dend` of the
        population `pyr`; the first compartments of all cells come before the second ones.
    - `n`: how many there are; with several populations a dict, kept as the total. Of cells it is kept as
        the number of compartments.
    - `coupling`: how they act on each other: a coupling, a dict of couplings by name, or `None`
        for not at all.
    - `noise`: a noise such as [`hh.CurrentNoise`][], or a tuple of them; none by default.
        For channel noise see [`hh.with_channel_noise`][].
    """

    neuron: Neuron | Populations
    n: int = eqx.field(static=True)
    coupling: AbstractCoupling | None
    noise: tuple[AbstractNoise, ...]
    cells: dict[str, Placed] = eqx.field(default_factory=dict)

    def __init__(self, neuron: Any, n: Any = 1, coupling: Any = None, noise: Any = ()):
        self.cells = {}
        if isinstance(neuron, Cell):
            neuron, n, self.cells = _of_cells({"": neuron}, {"": check_size("n", n)})
        elif isinstance(neuron, Mapping):
            neuron, n, self.cells = _populations(neuron, n)
        elif isinstance(neuron, Populations):
            n = sum(size for _, size in neuron.sizes)
        if isinstance(coupling, Mapping):
            check_size("n", n)
            check_names(coupling=coupling)
            ranges = neuron.ranges if isinstance(neuron, Populations) else {}
            for part in coupling.values():
                for end in (getattr(part, "pre", None), getattr(part, "post", None)):
                    if isinstance(end, str) and end not in ranges and (at := _place(self.cells, end)):
                        ranges = ranges | {end: at}
            ranges = tuple((name, part.start, part.stop) for name, part in ranges.items())
            coupling = Couplings(dict(coupling), ranges, n)
        n = int(n) if isinstance(n, np.integer) else n
        self.neuron, self.n, self.coupling = neuron, n, coupling
        self.noise = noise if isinstance(noise, tuple) else () if noise is None else (noise,)

    def _check_made(self) -> None:
        if not isinstance(self.neuron, Neuron | Populations):
            raise TypeError(f"`neuron` must be an hh.Neuron, or a dict of them, got {shown(self.neuron)}.")
        check_size("n", self.n)
        if self.coupling is not None and not isinstance(self.coupling, AbstractCoupling):
            raise TypeError(
                "`coupling` must be a coupling such as hh.GradedSynapse(weights), or a dict of them, "
                f"got {shown(self.coupling)}."
            )
        for noise in self.noise:
            if not isinstance(noise, AbstractNoise):
                such = "a noise such as hh.CurrentNoise(sigma)"
                raise TypeError(f"`noise` must be {such}, got {shown(noise)}.")
        self.check()

    def _tables(self) -> list[Table]:
        return network_tables(self)

    def check(self) -> None:
        """Refuse parameters that are NaN, out of range or do not fit n neurons.

        Called on construction and again by [`hh.simulate`][], because `eqx.tree_at` can
        put anything into a module that exists.
        """
        if isinstance(self.neuron, Populations):
            for name, neuron, size in self.neuron.items():
                check_parameters(neuron, f"network.neuron[{name!r}]", size)
        else:
            check_parameters(self.neuron, "network.neuron", self.n)
        if isinstance(self.coupling, Couplings):
            self.coupling.check(self.n)
        elif self.coupling is not None:
            if self.coupling.pre is not None or self.coupling.post is not None:
                raise ValueError(
                    "`coupling` with `pre` or `post` needs a name: coupling={'name': hh.GradedSynapse(...)}."
                )
            self.coupling.check(self.n)
            check_parameters(self.coupling, "network.coupling", self.coupling.sizes(self.n, self.n))
        for name, cell in self.cells.items():
            check_parameters(cell.geometry, f"network.cells[{name!r}]", cell.geometry.morphology.n)
        check_parameters(self.noise, "network.noise", self.n)
        for noise in self.noise:
            noise.check(self.n)

    @property
    def ranges(self) -> dict[str, slice]:
        """Where each population lies in V, by name; empty if there is but one kind."""
        return self.neuron.ranges if isinstance(self.neuron, Populations) else {}

    @property
    def capacitance(self) -> Float[Array, " n"]:
        """Membrane capacitance of every neuron, µF/cm²."""
        if isinstance(self.neuron, Neuron):
            return jnp.broadcast_to(self.neuron.C, (self.n,))
        parts = [jnp.broadcast_to(neuron.C, (size,)) for _, neuron, size in self.neuron.items()]
        return jnp.concatenate(parts)

    @property
    def kinds(self) -> list[tuple[slice, Neuron]]:
        """The kinds of neurons, and where in V they lie."""
        if isinstance(self.neuron, Neuron):
            return [(slice(None), self.neuron)]
        return [(self.ranges[name], neuron) for name, neuron, _ in self.neuron.items()]

    def map_kinds(self, move: Callable[..., State], y: State, *more: State) -> State:
        """`y` with the gates and concentrations of what `move(part, neuron, y, *more)` gives for each kind.

        The states that `move` gets are of that kind of neurons alone.
        """
        moved = [move(*kind, *parts) for kind, *parts in zip(self.kinds, *map(self.split, (y, *more)))]
        return self.join(moved, y.s, y.noise).replace(V=y.V)

    @property
    def noisy_channels(self) -> dict[str, AbstractNoisyChannel]:
        """The channels with noise by name, which in several populations is such as `'e.na'`."""
        if isinstance(self.neuron, Neuron):
            return self.neuron.noisy_channels
        named = {name: neuron.noisy_channels for name, neuron, _ in self.neuron.items()}
        return {f"{name}.{k}": channel for name, channels in named.items() for k, channel in channels.items()}

    @property
    def is_noisy(self) -> bool:
        """Whether a run needs a stochastic solver and a key."""
        return bool(self.noise or self.noisy_channels)

    @property
    def V_is_linear(self) -> bool:
        """Whether dV/dt is linear in V at fixed gates, concentrations and s."""
        coupled = self.coupling is None or self.coupling.V_is_linear
        return coupled and all(neuron.V_is_linear for _, neuron in self.kinds)

    @property
    def flow_is_exact(self) -> bool:
        """Whether `flow` is exact, as it is where at fixed V nothing acts on another thing that it moves."""
        coupled = self.coupling is None or self.coupling.flow_is_exact
        return coupled and all(neuron.flow_is_exact for _, neuron in self.kinds)

    def V_operator(self) -> AbstractOperator | None:
        """V's own linear operator L, of the axial currents in cells and of gap junctions, if any."""
        trees = [tree for cell in self.cells.values() if (tree := cell.tree(self.capacitance))]
        along = Axial(tuple(trees), self.n) if trees else None
        joined = [] if self.coupling is None else self.coupling.junctions(self.n)
        if not joined:
            return along
        groups = tuple((at.start, at.stop) for at, _ in joined)
        through = Junctions(tuple(weights for _, weights in joined), groups, self.capacitance)
        return through if along is None else OfCells(along, through)

    @property
    def has_events(self) -> bool:
        """Whether something happens at the end of a step, see `after_step`."""
        return self.coupling is not None and self.coupling.has_events

    def with_keys(self, key: Array | None) -> "Network":
        """The network with random keys for a run, made from the run's `key`, where inputs have none.

        **Raises:** `ValueError` where `key` is `None` and an input needs one.
        """
        if self.coupling is None:
            return self
        return put(self, coupling=self.coupling.with_keys(None if key is None else input_key(key)))

    def after_step(self, t: Array, end: Array, dt: Array, before: State, after: State) -> State:
        """What spikes within a step do at its end, which the vector field does not show.

        **Arguments:** `t`, `end`: start and end of the step, ms; `dt`: its length, ms; `before`,
        `after`: the states at its start and end.

        **Returns:** the state with which the next step starts.
        """
        if self.coupling is None or not self.coupling.has_events:
            return after
        s = self.coupling.after_step(t, end, dt, before.V, after.V, after.s)
        return after.replace(s=s)

    def split(self, y: State) -> list[State]:
        """V, gates and concentrations of every kind by itself, without the coupling's state."""
        if not self.ranges:
            return [State(y.V, y.gates, concentrations=y.concentrations)]
        of = lambda name: y.concentrations.get(name, {})
        return [State(y.V[at], y.gates[k], concentrations=of(k)) for k, at in self.ranges.items()]

    def join(self, parts: list[State], s: Any, noise: Any = None) -> State:
        """The state of which `parts` are the kinds, with the state `s` of its coupling and its noises'."""
        if not self.ranges:
            return parts[0].replace(s=s, noise=noise)
        gates = {name: part.gates for name, part in zip(self.ranges, parts)}
        each = zip(self.ranges, parts)
        concentrations = {name: part.concentrations for name, part in each if part.concentrations}
        return State(jnp.concatenate([part.V for part in parts]), gates, s, noise, concentrations)

    def finite(self, y: State) -> Bool[Array, " n"]:
        """Which neurons' states are finite.

        What is amiss in a coupling's state of another shape than (n,) is laid to all.
        """
        every = lambda tree: jnp.stack([jnp.isfinite(x) for x in jax.tree.leaves(tree)]).all(axis=0)
        finite = jnp.concatenate([every(part) for part in self.split(y)])
        for x in jax.tree.leaves((y.s, y.noise)):
            good = jnp.isfinite(x)
            finite = finite & (good if x.shape == y.V.shape else good.all())
        return finite

    def check_diffusive(self) -> None:
        """Refuse channels that move by jumps, which no vector field describes."""
        for name, channel in self.noisy_channels.items():
            if channel.jumps:
                raise ValueError(
                    f"Channel {name!r} moves by jumps (model={channel.model!r}), not by a differential "
                    "equation: take solver='strang_maruyama'."
                )

    def init(self, v0: Float[ArrayLike, "..."] = -65.0) -> State:
        """The state with gates, concentrations and the coupling at rest for membrane potential `v0`.

        **Arguments:** `v0`: mV, scalar or shape (n,).
        """
        self.check_v0(v0)
        V = jnp.broadcast_to(as_float_array(v0, run_dtype(self)), (self.n,))
        s = None if self.coupling is None else self.coupling.steady_state(V)
        noise = tuple(noise.steady_state(self.n, V.dtype) for noise in self.noise) or None
        parts = [neuron.steady_state(V[part]) for part, neuron in self.kinds]
        return self.join(parts, s, noise).replace(V=V)

    def check_v0(self, v0: Any, name: str = "v0", warn: bool = False) -> None:
        """Refuse an initial membrane potential that is not finite or fits no n neurons."""
        as_array(name, v0, "mV", shapes=[(), (self.n,)], warn=warn)

    def linear_form(self, t: ArrayLike, y: State, stimulus: Any) -> tuple[State, State]:
        """The conditionally linear form (drive, rate) of dx/dt = drive − rate·x.

        For every leaf x of the state, `drive` and `rate` are free of x itself (but for
        conductances that depend on V, see `V_is_linear`). V's equation has the `V_operator` L
        besides, if there is one: dV/dt = drive − rate·V − L·V. The vector field and all exponential
        steppers derive from this one statement of the equations.

        **Arguments:** `t`: ms; `y`: the state; `stimulus`: see [`hh.simulate`][].

        **Returns:** two `State`s whose leaves have the shape of those of `y`; the rate
        in 1/ms, the drive in units of x per ms.
        """
        drive_V, rate_V = self.V_form(t, y, stimulus)
        drive, rate = self.others_form(y)
        return drive.replace(V=drive_V), rate.replace(V=rate_V)

    def V_form(self, t: ArrayLike, y: State, stimulus: Any) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
        """V's part of the `linear_form`, by itself, without the `V_operator`."""
        current, conductance = self.outside(t, y, stimulus)
        forms = [
            [jnp.broadcast_to(x, here.V.shape) for x in neuron.V_form(here, current[part], conductance[part])]
            for (part, neuron), here in zip(self.kinds, self.split(y))
        ]
        drive, rate = forms[0] if len(forms) == 1 else map(jnp.concatenate, zip(*forms))
        return drive, rate

    def outside(self, t: ArrayLike, y: State, stimulus: Any) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
        """(drive µA/cm², conductance mS/cm²) of stimulus, coupling and noise together.

        Their inward current is drive − conductance·V, without that of the `V_operator`.
        """
        stimulus = as_stimulus(stimulus)
        current, conductance = jnp.asarray(stimulus(t), y.V.dtype), stimulus.conductance()
        for place, injected, conducted in stimulus.points(t):
            current = current + self._density(place, injected)
            conductance = conductance + self._density(place, conducted)
        if self.coupling is not None:
            driven, conducted = self.coupling.linear_current(y.V, y.s)
            current, conductance = current + driven, conductance + conducted
        for noise, x in zip(self.noise, y.noise or ()):
            driven, conducted = noise.linear_current(x)
            current, conductance = current + driven, conductance + conducted
        return jnp.broadcast_to(current, y.V.shape), jnp.broadcast_to(conductance, y.V.shape)

    def index(self, place: str | int) -> slice:
        """Where in V the compartments at a place of its cells are, one for each cell.

        **Arguments:** `place`: such as `"dend(0.5)"`, or `"pyr.dend(0.5)"` in the population `pyr`, see
        [`hh.cells.Morphology`][].

        **Raises:** `ValueError` for a place that is none.
        """
        at = _place(self.cells, place)
        if at is None:
            known = list(self.cells) or "none, as the network has no hh.Cell"
            raise ValueError(f"`place` must be on a cell ({known}), got {place!r}.")
        return at

    def _density(self, place: str | int, injected: Array) -> Float[Array, " n"]:
        """The density (µA/cm², mS/cm²) of a current (nA) or conductance (µS) at a place."""
        at = self.index(place)
        cell = next(cell for cell in self.cells.values() if cell.start <= at.start < cell.start + cell.n)
        if injected.shape not in ((), (cell.count,)):
            raise ValueError(
                f"`stimulus` at {place!r} must be one current, or {cell.count}, one for each cell, got shape "
                f"{injected.shape}."
            )
        here = np.zeros(cell.n)
        here[at.start - cell.start : at.stop - cell.start] = 1e5
        # Divided for all compartments at once: a gradient by one area would make a vector of zeros each step.
        density = jnp.asarray(here, cell.area.dtype) / cell.area
        density = density * jnp.tile(injected, cell.n // jnp.size(injected))
        part = slice(cell.start, cell.start + cell.n)
        return density if cell.n == self.n else jnp.zeros(self.n, density.dtype).at[part].set(density)

    def settled(self) -> "Network":
        """The network with what does not change in a run worked out."""
        return put(self, cells={name: cell.settled() for name, cell in self.cells.items()})

    def others_form(self, y: State) -> tuple[State, State]:
        """The `linear_form` of all but V, for which the two states hold V itself."""
        coupling_form = (None, None) if self.coupling is None else self.coupling.linear_form(y.V, y.s)
        noise_form = [noise.linear_form(x) for noise, x in zip(self.noise, y.noise or ())]
        forms = [neuron.others_form(part) for (_, neuron), part in zip(self.kinds, self.split(y))]
        of_all = (
            self.join([form[k] for form in forms], coupling_form[k], tuple(f[k] for f in noise_form) or None)
            for k in (0, 1)
        )
        drive, rate = (
            jax.tree.map(lambda f, x: jnp.broadcast_to(f, x.shape), form.replace(V=y.V), y) for form in of_all
        )
        return drive, rate

    def flow(self, y: State, dt: Array, dt_s: Array | None = None, at: State | None = None) -> State:
        """All but V and noise after `dt` (ms) with V held, each with the others as they are in `at`.

        The coupling's state moves by `dt_s`.
        """
        at = y if at is None else at
        move = lambda part, neuron, here, there: neuron.flow(here, dt, there)
        y = self.map_kinds(move, y, at)
        if self.coupling is None:
            return y
        return y.replace(s=self.coupling.flow(at.V, y.s, dt if dt_s is None else dt_s, at.s))


Model = Network | Neuron | Cell
"""What a run takes."""


def as_network(model: Any) -> Any:
    """A neuron or a cell as a network of one; all else as it is."""
    return Network(model) if isinstance(model, Neuron | Cell) else model


def _populations(neurons: Mapping, n: Any) -> tuple[Any, int, dict[str, Placed]]:
    if not neurons:
        raise ValueError("`neuron` must be an hh.Neuron, or a dict of at least one, got {}.")
    for name, neuron in neurons.items():
        if not isinstance(neuron, Neuron | Cell):
            raise TypeError(f"`neuron[{name!r}]` must be an hh.Neuron or an hh.Cell, got {shown(neuron)}.")
    if not isinstance(n, Mapping) or set(n) != set(neurons) or not neurons:
        raise ValueError(
            f"`n` must be a dict with a number for each of the populations {list(neurons)}, got {n!r}."
        )
    check_names(neuron=neurons)
    return _of_cells(neurons, {name: check_size(f"n[{name!r}]", n[name]) for name in neurons})


def _of_cells(
    neurons: Mapping[str, Neuron | Cell], counts: Mapping[str, int]
) -> tuple[Neuron | Populations, int, dict[str, Placed]]:
    """The neurons of a network, how many V there are, and where its cells are."""
    parts: dict[str, tuple[Neuron, int]] = {}
    cells, n = {}, 0
    for name, neuron in neurons.items():
        if isinstance(neuron, Cell):
            more, cells[name] = lay_out(neuron, name, n, counts[name])
        else:
            more = {name: (neuron, counts[name])}
        parts |= more
        n += sum(size for _, size in more.values())
    if list(parts) == [""]:
        return parts[""][0], n, cells
    sizes = tuple((name, size) for name, (_, size) in parts.items())
    return Populations({name: neuron for name, (neuron, _) in parts.items()}, sizes), n, cells


def _place(cells: Mapping[str, Placed], name: str | int) -> slice | None:
    """Where in V a place is, such as `"dend(0.5)"`, behind the name of its population if that has one."""
    for population, cell in cells.items():
        before = f"{population}." if population else ""
        if not before or (isinstance(name, str) and name.startswith(before)):
            return cell.index(name[len(before) :] if isinstance(name, str) else name)
    return None


def vector_field(t: ArrayLike, y: State, args: tuple[Network, Any]) -> State:
    """The right-hand side dy/dt of the coupled system, as `diffrax.ODETerm` takes it.

    **Arguments:**

    - `t`: time, ms.
    - `y`: the state, see `Network.init`.
    - `args`: `(network, stimulus)`.

    **Returns:** a `State` of derivatives, in mV/ms and 1/ms; for a noisy network the drift,
    see [`hh.diffusion`][].

    **Raises:** `ValueError` for channels that move by jumps.
    """
    check_kind("y", y, State, "a state, such as network.init()")
    if not isinstance(args, (tuple, list)) or len(args) != 2 or not isinstance(args[0], Network):
        raise TypeError(f"`args` must be a pair (network, stimulus), got {shown(args)}.")
    network, stimulus = args
    network.check_diffusive()
    drive, rate = network.linear_form(t, y, stimulus)
    slope = jax.tree.map(lambda b, a, x: b - a * x, drive, rate, y)
    L = network.V_operator()
    return slope if L is None else slope.replace(V=slope.V - L.times(y.V))
