"""Sweeps of a voltage-clamp recording."""

from pathlib import Path
from typing import Any, Literal

import equinox as eqx
import numpy as np

from .._base.arguments import as_host, as_number, check_kind
from .._base.parameters import Checked, looks_like_SI, shown, warn_of_SI
from .._base.tables import facts, is_known, Printed, span, Table
from .._base.windows import takes_samples
from ._recording import check_ts, read_only, stacked


class VoltageClampRecording(Printed, Checked):
    """Sweeps of a voltage-clamp recording, sampled evenly at the same times.

    The model gets the command and makes the current, which [`hh.fit`][] compares. The clamp is ideal,
    unless the model has an `hh.Electrode(area=..., series=...)`.

    ```python
    ts = np.arange(0.0, 20.0, 0.05)  # ms
    V = np.where(ts < 5.0, -80.0, np.arange(-60.0, 41.0, 20.0)[:, None])  # mV
    recording = hh.VoltageClampRecording(ts, V, current, "pA").blanked(0.2)
    ```

    **Fields:**

    - `ts`: sample times from the start of a sweep, ms, shape (times,).
    - `V`: the command, mV, shape (sweeps, times); shape (times,) is one sweep. Each value holds until the
        next sample. Each sweep begins at rest at its first value.
    - `current`: measured current, outward positive, shape (sweeps, times); NaN where missing.
    - `current_unit`: `"pA"` or `"µA/cm²"`.
    - `name`: where it came from.
    - `compensation`: the part of the series resistance that the amplifier compensates, from 0 to below 1.
    - `leak_pulses`: n of the P/n leak subtraction of the amplifier, 0 for none, negative for pulses in the
        other direction. (The responses to n pulses of 1/n of the size were summed and subtracted.) The
        same is done to the model's current.
    - `leak_holding`: the potential from which those pulses start, mV; by default the sweep's first value.

    **Raises:** `ValueError` for shapes that do not match, uneven times, commands that are not
    finite, an infinite current.
    """

    ts: np.ndarray
    V: np.ndarray
    current: np.ndarray
    current_unit: Literal["pA", "µA/cm²"] = eqx.field(default="µA/cm²", static=True)
    name: str = eqx.field(default="", static=True)
    compensation: float = eqx.field(default=0.0, static=True)
    leak_pulses: int = eqx.field(default=0, static=True)
    leak_holding: float | None = eqx.field(default=None, static=True)

    def __init__(
        self,
        ts: Any,
        V: Any,
        current: Any,
        current_unit: Any = "µA/cm²",
        name: str = "",
        *,
        compensation: float = 0.0,
        leak_pulses: int = 0,
        leak_holding: float | None = None,
    ):
        units = (("ts", ts, "ms"), ("V", V, "mV"), ("current", current, f"{current_unit}"))
        self.ts, V, current = (read_only(*it) for it in units)
        self.V = V[None] if V.ndim == 1 else V
        self.current = current[None] if current.ndim == 1 else current
        self.current_unit, self.name = current_unit, name
        self.compensation = as_number("compensation", compensation, least=0.0)
        self.leak_pulses = leak_pulses
        self.leak_holding = None if leak_holding is None else as_number("leak_holding", leak_holding, "mV")

    def _check_made(self) -> None:
        ts, V, current = self.ts, self.V, self.current
        check_ts(ts)
        if current.ndim != 2 or current.shape[1] != ts.size or current.shape[0] < 1:
            raise ValueError(
                f"`current` must have shape (sweeps, {ts.size}) to match `ts`, got {current.shape}."
            )
        if V.shape != current.shape:
            raise ValueError(f"`V` must have the shape of `current`, {current.shape}, got {V.shape}.")
        if self.current_unit not in ("pA", "µA/cm²"):
            raise ValueError(f"`current_unit` must be 'pA' or 'µA/cm²', got {self.current_unit!r}.")
        if not np.isfinite(V).all():
            raise ValueError("`V` must be finite: the command has to be known at every sample.")
        if np.isinf(current).any():
            raise ValueError("`current` must be finite or, where it is missing, NaN; got infinity.")
        if self.compensation >= 1:
            raise ValueError(f"`compensation` must be from 0 to below 1, got {self.compensation:g}.")
        if isinstance(self.leak_pulses, bool) or not isinstance(self.leak_pulses, (int, np.integer)):
            raise ValueError(
                f"`leak_pulses` must be a whole number, the n of P/n, got {shown(self.leak_pulses)}."
            )
        check_kind("name", self.name, str, "a string")
        warn_of_SI(V, "V", "mV")
        warn_of_SI(current, "current", self.current_unit)

    def __len__(self) -> int:
        return self.V.shape[0]

    def _tables(self) -> list[Table]:
        said = {"name": self.name, "sweeps": str(len(self))}
        said["samples"] = f"{self.ts.size} each, {span(self.ts, 'ms')}"
        said["command"] = span(self.V, "mV")
        said["current"] = span(self.current, self.current_unit)
        if is_known(self.current) and (missing := np.isnan(self.current).mean()):
            said["missing"] = f"{100 * missing:.3g} % of the current"
        said["compensation"] = f"{100 * self.compensation:g} %" * bool(self.compensation)
        said["leak"] = f"P/{self.leak_pulses} subtracted" * bool(self.leak_pulses)
        return [facts("Voltage-clamp recording", said)]

    @property
    def dt(self) -> float:
        """Sampling interval, ms."""
        return float((self.ts[-1] - self.ts[0]) / (self.ts.size - 1))

    def _with(self, ts: Any, V: Any, current: Any) -> "VoltageClampRecording":
        more = {name: getattr(self, name) for name in ("compensation", "leak_pulses", "leak_holding")}
        return VoltageClampRecording(ts, V, current, self.current_unit, self.name, **more)

    def __getitem__(self, sweeps: Any) -> "VoltageClampRecording":
        """Some of the sweeps: `recording[3]`, `recording[::2]`, `recording[[0, 5]]`."""
        number: Any = [sweeps] if isinstance(sweeps, (int, np.integer)) else sweeps
        try:
            sweeps = np.arange(len(self))[number]
        except IndexError:
            raise IndexError(
                f"`sweeps` must be numbers of some of the {len(self)} sweeps, got {shown(sweeps)}."
            ) from None
        return self._with(self.ts, self.V[sweeps], self.current[sweeps])

    def only(self, start: float, stop: float) -> "VoltageClampRecording":
        """The current from `start` to `stop` (ms, both included) alone; the rest is missing.

        The command before it stays, since the gates come from there.
        """
        start, stop = (as_number(*it, "ms", finite=False) for it in (("start", start), ("stop", stop)))
        inside = takes_samples(self.ts, start, stop, apart=1e-6 * self.dt)
        if not inside.any():
            raise ValueError(
                f"`start` = {start:g} and `stop` = {stop:g} ms must hold a sample of {self.ts[0]:g} to "
                f"{self.ts[-1]:g} ms."
            )
        until = int(np.flatnonzero(inside)[-1]) + 1
        current = np.where(inside, self.current, np.nan)
        until = max(until, 2)
        return self._with(self.ts[:until], self.V[:, :until], current[:, :until])

    def blanked(self, after: float) -> "VoltageClampRecording":
        """Without the current within `after` ms of each jump of the command, as if it were missing.

        For transients of the membrane's capacitance, which an ideal clamp does not have.
        """
        after = as_number("after", after, "ms", least=0.0)
        jumps = np.abs(np.diff(self.V, axis=1, prepend=self.V[:, :1])) > 0
        count = int(np.floor(after / self.dt + 1e-6)) + 1
        jumped = np.cumsum(jumps, axis=1)  # how often until a sample, and until that time before it
        before = np.pad(jumped, ((0, 0), (count, 0)))[:, : self.ts.size]
        return self._with(self.ts, self.V, np.where(jumped > before, np.nan, self.current))


def check_SI_of_clamp(recording: VoltageClampRecording) -> None:
    """Refuse values that are far too small for their units, as they are in volts and amperes."""
    for name, x, unit in (("V", recording.V, "mV"), ("current", recording.current, recording.current_unit)):
        if si := looks_like_SI(as_host(name, x, unit, missing=True), unit):
            raise ValueError(f"`data.{name}` must be in {unit}, and its values look like {si}.")


def assemble_clamp(
    path: Path, interval: float, sweeps: list[tuple[np.ndarray, np.ndarray]], **said: Any
) -> VoltageClampRecording:
    """A recording of (command in mV, current in pA) of every sweep; `said`: its other fields."""
    V, current = stacked(path, sweeps)
    return VoltageClampRecording(interval * np.arange(V.shape[1]), V, current, "pA", path.name, **said)
