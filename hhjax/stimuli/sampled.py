"""Recorded currents, voltage clamps, and the electrode between amplifier and cell."""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array

from .._base.arguments import check_kind
from .._base.parameters import (
    check_flag,
    Checked,
    is_concrete,
    OptionalParameter,
    param,
    Parameter,
    warn_of_SI,
)
from ._base import _Line, as_stimulus, PointCurrent, Scaled, Stimulus


def _between(x: Any, low: Any, high: Any) -> Array:
    """`jnp.clip`, with the derivative 1 at both ends."""
    x = jnp.where(x < low, low, x)
    return jnp.where(x > high, high, x)


class Sampled(Stimulus):
    """A recorded current, linear or held between samples, and held at its ends.

    Each step of `hh.simulate` gets the exact mean over the step, so it may be sampled more finely than
    dt. `diffrax.diffeqsolve` sees its values at the times of its own steps only.

    **Fields:**

    - `ts`: times, ms, shape (samples,), increasing.
    - `values`: µA/cm², shape (samples,) or (samples, n).
    - `held`: whether each value holds until the next sample, as the commands of an amplifier do;
        by default the current is linear between samples.
    """

    ts: Parameter = param(unit="ms", finite=True, per="sample")
    values: Parameter = param(finite=True, per="sample")
    held: bool = eqx.field(default=False, static=True)

    def check(self) -> None:
        check_flag("Sampled.held", self.held)
        if self.ts.ndim != 1 or self.ts.shape[0] < 2:
            raise ValueError(f"`Sampled.ts` must have shape (samples,) with at least 2, got {self.ts.shape}.")
        if self.values.ndim not in (1, 2) or self.values.shape[0] != self.ts.shape[0]:
            raise ValueError(
                f"`Sampled.values` must have shape ({self.ts.shape[0]},) or ({self.ts.shape[0]}, n) "
                f"to match `ts`, got {self.values.shape}."
            )
        if is_concrete(self.ts) and not (np.diff(np.asarray(self.ts)) > 0).all():
            raise ValueError("`Sampled.ts` must increase from sample to sample.")

    def _check_made(self) -> None:
        super()._check_made()
        warn_of_SI(self.values, "Sampled.values", "µA/cm²")

    def __call__(self, t: ArrayLike) -> Array:
        last = self.ts.shape[0] - 2
        if self.held:
            return self.values[jnp.clip(jnp.searchsorted(self.ts, t, side="right") - 1, 0, last + 1)]
        i = jnp.clip(jnp.searchsorted(self.ts, t, side="right") - 1, 0, last)
        u = _between((t - self.ts[i]) / (self.ts[i + 1] - self.ts[i]), 0.0, 1.0)
        u = jnp.reshape(u, jnp.shape(t) + (1,) * (self.values.ndim - 1))
        return self.values[i] * (1 - u) + self.values[i + 1] * u

    def table(self, edges: Array) -> tuple[Array, Array]:
        # Trapezium rule on the union of samples and step edges, where it is exact.
        # A sample on an edge counts as just before it, for the derivative too. Hence samples are sorted
        # before edges, and steps are told by the number of edges, not by times.
        ts = jnp.concatenate([_between(self.ts, edges[0], edges[-1]), edges])
        order = jnp.argsort(ts)
        ts, step = ts[order], jnp.cumsum(order >= self.ts.shape[0])
        per_time = lambda x: x.reshape((-1,) + (1,) * (self.values.ndim - 1))
        if self.held:  # read between the times, where rounding does not matter
            heights = self((ts[1:] + ts[:-1]) / 2)
        else:
            values = self(ts)
            heights = (values[1:] + values[:-1]) / 2
        areas = per_time(jnp.diff(ts)) * heights
        total = lambda x: jax.ops.segment_sum(x, step[:-1], edges.shape[0])[1:]  # 0: before the first edge
        means = total(areas) / per_time(total(jnp.diff(ts)))
        if self.held:
            return means, jnp.zeros_like(means)
        return means, jnp.diff(self(edges), axis=0) / per_time(jnp.diff(edges))

    def within(self, t: Array, dt: Array, end: Array, row: Any = None) -> Stimulus:
        return self if row is None else _Line(row[0], row[1], t + dt / 2)

    def edges(self, t0: float, t1: float) -> Array:
        return self.ts

    def longest_step(self, dt: float) -> Array | float:
        return np.inf


class Tabulated(Stimulus):
    """A `Sampled` current on the grid of a run, of which the table is made already.

    **Fields:** `means`, `slopes`: in every step, µA/cm² and µA/cm²/ms, shape (steps,) or (steps, n);
    `dt`: the length of a step, ms, the first of which begins at 0.
    """

    means: Array
    slopes: Array
    dt: float = eqx.field(static=True)

    def table(self, edges: Array) -> tuple[Array, Array]:
        return self.means, self.slopes

    def within(self, t: Array, dt: Array, end: Array, row: Any = None) -> Stimulus:
        return self if row is None else _Line(row[0], row[1], t + dt / 2)

    def __call__(self, t: ArrayLike) -> Array:
        i = jnp.clip(jnp.floor(jnp.asarray(t) / self.dt).astype(jnp.int32), 0, self.means.shape[0] - 1)
        middle = (i.astype(self.means.dtype) + 0.5) * self.dt
        return self.means[i] + self.slopes[i] * (t - middle)

    def edges(self, t0: float, t1: float) -> Array:
        return self.dt * jnp.arange(self.means.shape[0] + 1)

    def longest_step(self, dt: float) -> Array | float:
        return np.inf


class Clamp(Stimulus):
    """An electrode that draws V towards a command: I = g·(command(t) − V).

    A voltage clamp whose series resistance is 1/g, or, with a small g, a nudge. V and the current that
    `run.currents()["stimulus"]` gives are right to the order of the solver, however large dt·g/C is. Put
    the edges of the command on the grid: within a step, the current at the end of that step is wrong.
    In float32 rounding of V makes an error of some g·4e-6 mV. Explicit solvers need dt·g/C below 2.

    **Fields:**

    - `command`: the command potential, mV, a number or a stimulus in mV, such as
        `hh.Sampled(ts, V)`.
    - `g`: mS/cm², scalar or shape (n,).
    """

    command: Stimulus = eqx.field(converter=lambda command: as_stimulus(command, "Clamp.command", "mV"))
    g: Parameter = param(unit="mS/cm²", minimum=0.0)

    def check(self) -> None:
        self.command.check()

    def __call__(self, t: ArrayLike) -> Array:
        return self.g * self.command(t)

    def conductance(self) -> Array:
        return self.g

    @property
    def holds_V(self) -> bool:
        return True

    def within(self, t: Array, dt: Array, end: Array, row: Any = None) -> Stimulus:
        return type(self)(self.command.within(t, dt, end, row), self.g)

    def table(self, edges: Array) -> Any:
        return self.command.table(edges)

    def edges(self, t0: float, t1: float) -> Array:
        return self.command.edges(t0, t1)

    def longest_step(self, dt: float) -> Array | float:
        return self.command.longest_step(dt)


_PA_PER_UM2 = 100.0  # 1 pA/µm² = 100 µA/cm²


_MV_PER_PA_MOHM = 1e-3  # 1 pA·MΩ = 1 µV
_MS_PER_MOHM_PF = 1e-3  # 1 MΩ·pF = 1 µs


class Electrode(Checked):
    r"""What is between an amplifier and a cell: how a current reaches it, and how its V is read.

    The cell gets the density 100·current/area + offset, or the current itself at a place. The reading is
    V + bridge·current + junction, through a low-pass filter with the time constant series·capacitance if
    both are given. All numbers that you give can be free in [`hh.fit`][]: `"electrode.bridge"`.

    **Fields:**

    - `area`: membrane area, µm², for currents in pA; `None` for currents that are
        densities (µA/cm²) already.
    - `offset`: a constant current that the record does not show, µA/cm², everywhere.
    - `bridge`: the part of the series resistance that the amplifier does not balance, MΩ: all of it
        without a bridge balance, negative if it is balanced too far. Needs currents in pA.
    - `series`: series resistance of the pipette, MΩ, balanced or not, for the filter. In voltage
        clamp the membrane is charged through it; without it the clamp is ideal.
    - `capacitance`: of the pipette, pF, that the amplifier does not neutralise, for the filter. The current
        that charges it is left out: all of the current reaches the cell.
    - `junction`: liquid junction potential, mV, of the bath relative to the pipette. The reading is too
        high by it: V = reading − junction (P. H. Barry and J. W. Lynch, J. Membr. Biol. 121 (1991)
        101-117). About 10 to 16 mV for gluconate in the pipette; 0 if the recording is corrected
        already.
    - `at`: the place on an [`hh.Cell`][] where the current (pA) enters and V is recorded, see
        [`hh.cells.Morphology`][]. The cell has its own areas: leave out `area`.
    """

    area: OptionalParameter = param(None, unit="µm²", positive=True)
    offset: Parameter = param(0.0, unit="µA/cm²")
    bridge: OptionalParameter = param(None, unit="MΩ")
    series: OptionalParameter = param(None, unit="MΩ", positive=True)
    capacitance: OptionalParameter = param(None, unit="pF", positive=True)
    junction: OptionalParameter = param(None, unit="mV")
    at: str | int | None = eqx.field(default=None, static=True)

    beside_a_model: ClassVar[str] = "electrode"
    """What names of parameters call it in a pair with a model."""

    def _check_made(self) -> None:
        if self.at is not None:
            check_kind("at", self.at, (str, int), "a place such as 'dend(0.5)', or a compartment's number")
            if self.area is not None:
                raise ValueError("`area` must be left out with `at`, for the cell has its own: got both.")
        elif self.bridge is not None and self.area is None:
            raise ValueError(
                "`bridge` needs a current in pA: give the `area` of the membrane (µm²) too, got area=None."
            )
        if self.capacitance is not None and self.series is None:
            raise ValueError(
                "`capacitance` (pF) makes a filter with `series` (MΩ): give that too, got series=None."
            )

    def stimulus(self, current: Stimulus) -> Stimulus:
        """The recorded `current` (pA, or µA/cm² without area and place) as a stimulus."""
        if self.at is not None:
            return PointCurrent(Scaled(current, 1e-3), self.at) + self.offset
        return (current if self.area is None else Scaled(current, _PA_PER_UM2 / self.area)) + self.offset

    @property
    def lags(self) -> bool:
        """Whether V is read by way of a filter."""
        return self.capacitance is not None

    def reading(self, V: Array, current: Array) -> Array:
        """What is read of V (mV, shape (..., n)) while `current` (pA), without or with n, flows, but for the
        filter."""
        if self.bridge is not None:
            current = current[..., None] if current.ndim < V.ndim else current
            V = V + jnp.broadcast_to(_MV_PER_PA_MOHM * self.bridge, V.shape) * current
        return V if self.junction is None else V + jnp.broadcast_to(self.junction, V.shape)

    def lagged(self, V: Array, current: Tabulated) -> Array:
        """What is read of V (mV, shape (steps + 1, n)) at the ends of the steps of a current (pA).

        V is linear in a step; the filter starts at rest.
        """
        half = current.slopes * (current.dt / 2)
        begin = self.reading(V[:-1], current.means - half)
        rise = self.reading(V[1:], current.means + half) - begin
        steps = jnp.broadcast_to(current.dt / (_MS_PER_MOHM_PF * self.series * self.capacitance), V.shape[1:])
        kept = jnp.broadcast_to(jnp.exp(-steps), begin.shape)
        moved = (1 - kept) * begin + rise * (1 - (1 - kept) / jnp.broadcast_to(steps, begin.shape))

        def step(y: Array, moved: Array) -> tuple[Array, Array]:
            y = kept[0] * y + moved
            return y, y

        return jnp.concatenate([begin[:1], jax.lax.scan(step, begin[0], moved)[1]])

    def membrane(self, read: Array, current: Array) -> Array:
        """V (mV, shape (..., n)) of which `read` is the reading, but for the filter."""
        return read - self.reading(jnp.zeros_like(read), current)
