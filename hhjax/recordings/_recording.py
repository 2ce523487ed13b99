"""Sweeps of a recording."""

import warnings
from pathlib import Path
from typing import Any, Literal

import equinox as eqx
import numpy as np

from .._base.arguments import as_host, as_number, check_kind
from .._base.parameters import check_flag, check_size, Checked, shown, warn_of_SI
from .._base.tables import facts, is_known, Printed, span, Table
from .._base.windows import takes_samples
from ._features import features_of, FeatureTable


def read_only(name: str, x: Any, unit: str) -> np.ndarray:
    x = np.array(as_host(name, x, unit, missing=True, finite=False))
    x.flags.writeable = False
    return x


def check_ts(ts: np.ndarray) -> None:
    """Refuse times of samples that are not evenly spaced."""
    if ts.ndim != 1 or ts.size < 2:
        raise ValueError(f"`ts` must have shape (times,) with at least 2 times, got {ts.shape}.")
    step = (ts[-1] - ts[0]) / (ts.size - 1)
    if not np.isfinite(ts).all() or step <= 0 or np.abs(np.diff(ts) - step).max() > 1e-3 * step:
        raise ValueError("`ts` must increase in even steps (ms). Resample the recording first.")


class Recording(Printed, Checked):
    """Sweeps of a current-clamp recording, sampled evenly at the same times.

    Kept in float64 on the host. Without a unit a current density (µA/cm²) is meant.

    **Fields:**

    - `ts`: sample times from the start of a sweep, ms, shape (times,).
    - `current`: injected current, shape (sweeps, times), or (sweeps, times, n) for one per
        neuron; shape (times,) is one sweep.
    - `V`: membrane potential, mV, shape (sweeps, times), or (sweeps, times, n) for n
        neurons; NaN where missing.
    - `current_unit`: `"pA"` or `"µA/cm²"`.
    - `name`: where it came from.
    - `held`: whether each value of the current holds until the next sample, as the commands of an
        amplifier do; otherwise the current is linear between samples.
    - `current_known`: whether `current` is what was injected. If not, because a file lacks it,
        [`hh.fit`][] and [`hh.replay`][] refuse the recording.

    **Raises:** `ValueError` for shapes that do not match, uneven times, currents that are
    not finite, infinite V.
    """

    ts: np.ndarray
    current: np.ndarray
    V: np.ndarray
    current_unit: Literal["pA", "µA/cm²"] = eqx.field(default="µA/cm²", static=True)
    name: str = eqx.field(default="", static=True)
    held: bool = eqx.field(default=False, static=True)
    current_known: bool = eqx.field(default=True, static=True)

    def __init__(
        self,
        ts: Any,
        current: Any,
        V: Any,
        current_unit: Any = "µA/cm²",
        name: str = "",
        held: bool = False,
        current_known: bool = True,
    ):
        units = (("ts", ts, "ms"), ("current", current, f"{current_unit}"), ("V", V, "mV"))
        self.ts, current, V = (read_only(*it) for it in units)
        self.current = current[None] if current.ndim == 1 else current
        self.V = V[None] if V.ndim == 1 else V
        self.current_unit, self.name = current_unit, name
        self.held, self.current_known = held, current_known

    def _check_made(self) -> None:
        ts, V, current = self.ts, self.V, self.current
        check_ts(ts)
        if V.ndim not in (2, 3) or V.shape[1] != ts.size or V.shape[0] < 1:
            raise ValueError(
                f"`V` must have shape (sweeps, {ts.size}) or (sweeps, {ts.size}, n) to match `ts`, "
                f"got {V.shape}."
            )
        fits = current.ndim in (2, 3) and current.shape[:2] == V.shape[:2]
        if not fits or (current.ndim == 3 and current.shape != V.shape):
            raise ValueError(
                f"`current` must have shape {V.shape[:2]}, (sweeps, times), or that of `V`, {V.shape}, "
                f"got {current.shape}."
            )
        if self.current_unit not in ("pA", "µA/cm²"):
            raise ValueError(f"`current_unit` must be 'pA' or 'µA/cm²', got {self.current_unit!r}.")
        if not np.isfinite(current).all():
            raise ValueError("`current` must be finite: what was injected has to be known at every sample.")
        for name in ("held", "current_known"):
            check_flag(name, getattr(self, name))
        check_kind("name", self.name, str, "a string")
        if np.isinf(V).any():
            raise ValueError("`V` must be finite or, where it is missing, NaN; got infinity.")

        warn_of_SI(V, "V", "mV")
        warn_of_SI(current, "current", self.current_unit)

    def __len__(self) -> int:
        return self.V.shape[0]

    def _tables(self) -> list[Table]:
        said = {"name": self.name, "sweeps": str(len(self))}
        said["neurons"] = str(self.V.shape[2]) if self.V.ndim == 3 else ""
        said["samples"] = f"{self.ts.size} each, {span(self.ts, 'ms')}"
        current = span(self.current, self.current_unit) + ", held between samples" * self.held
        said["current"] = current if self.current_known else "not in the file"
        said["V"] = span(self.V, "mV")
        if is_known(self.V) and (missing := np.isnan(self.V).mean()):
            said["missing"] = f"{100 * missing:.3g} % of V"
        return [facts("Recording", said)]

    @property
    def dt(self) -> float:
        """Sampling interval, ms."""
        return float((self.ts[-1] - self.ts[0]) / (self.ts.size - 1))

    def _with(self, ts: Any, current: Any, V: Any) -> "Recording":
        return Recording(
            ts, current, V, self.current_unit, self.name, held=self.held, current_known=self.current_known
        )

    def __getitem__(self, sweeps: Any) -> "Recording":
        """Some of the sweeps: `recording[3]`, `recording[::2]`, `recording[[0, 5]]`."""
        number: Any = [sweeps] if isinstance(sweeps, (int, np.integer)) else sweeps
        try:
            sweeps = np.arange(len(self))[number]
        except IndexError:
            raise IndexError(
                f"`sweeps` must be numbers of some of the {len(self)} sweeps, got {shown(sweeps)}."
            ) from None
        return self._with(self.ts, self.current[sweeps], self.V[sweeps])

    def between(self, start: float, stop: float) -> "Recording":
        """The samples from `start` to `stop` (ms, both included)."""
        start, stop = (as_number(*it, "ms", finite=False) for it in (("start", start), ("stop", stop)))
        inside = takes_samples(self.ts, start, stop, apart=1e-6 * self.dt)
        if inside.sum() < 2:
            raise ValueError(
                f"`start` = {start} and `stop` = {stop} ms leave fewer than two samples of "
                f"{self.ts[0]:g} to {self.ts[-1]:g} ms."
            )
        return self._with(self.ts[inside], self.current[:, inside], self.V[:, inside])

    def as_neurons(self) -> "Recording":
        """The sweeps of one neuron as one sweep of as many uncoupled neurons.

        With `hh.Network(neuron, n=len(recording))` a fit can then give every sweep a value of
        its own for what drifts from sweep to sweep, such as the leak, and share the rest.
        """
        if self.V.ndim != 2 or self.current.ndim != 2:
            raise ValueError("`as_neurons` takes sweeps of one neuron; this recording has several already.")
        return self._with(self.ts, self.current.T[None], self.V.T[None])

    def features(
        self, *, start: float | None = None, stop: float | None = None, threshold: float = 0.0
    ) -> FeatureTable:
        """Features of the response to a step of the current, by sweep, which `print` shows as a table.

        Spike count, rate, latency, height, half-width, threshold, depth and time of the
        afterhyperpolarisation, adaptation; rest, sag, input resistance, time constant: see
        [`hh.features.extract`][].

        **Arguments:** `start`, `stop`: the step, ms, by default the one in which the currents of the sweeps
        differ most, or, if they do not, that is farthest from how they begin; without steps all of a sweep;
        `threshold`: of a spike, mV.

        **Returns:** an [`hh.recordings.FeatureTable`][].
        """
        return features_of(self, start, stop, threshold)

    def every(self, k: int) -> "Recording":
        """Every k-th sample of V, with a mean of the current that carries the same charge.

        A held current is averaged from each kept sample to the next one. A current that is linear between
        samples is averaged with weights that fall to 0 at the kept samples on either side.
        """
        k, length = check_size("k", k), self.ts.size
        j = np.arange(k) if self.held else np.arange(1 - k, k)
        weights = np.full(k, 1 / k) if self.held else (k - np.abs(j)) / k**2
        around = [(0, 0), (k - 1, k - 1)] + [(0, 0)] * (self.current.ndim - 2)
        padded = np.pad(self.current, around, mode="edge")
        current = sum(w * padded[:, k - 1 + i :][:, :length:k] for i, w in zip(j, weights))
        return self._with(self.ts[::k], current, self.V[:, ::k])


IN_PA = {"pA": 1.0, "nA": 1e3, "µA": 1e6, "mA": 1e9, "A": 1e12}
IN_MV = {"mV": 1.0, "V": 1e3, "µV": 1e-3}


def note(path: Path, text: str) -> None:
    """Warn of what was done to the recording in a file."""
    warnings.warn(f"{path.name}: {text}", stacklevel=5)


def is_even(ts: np.ndarray, rounding: float = 0.0) -> bool:
    """Whether times rise in even steps, but for 1 % of a step or for what they were rounded to.

    Rounding leaves steps that differ by one last digit at most. Steps that are hardly longer say nothing: a
    sample could be missing between them.
    """
    if ts.size < 2 or not np.isfinite(ts).all():
        return False
    step = (ts[-1] - ts[0]) / (ts.size - 1)
    steps = np.diff(ts)
    off = np.abs(ts - ts[0] - step * np.arange(ts.size)).max()
    even = max(np.abs(steps - step).max(), off) <= 0.01 * step
    rounded = step > 2.5 * rounding and max(np.ptp(steps), off) <= 1.01 * rounding
    return bool(step > 0 and (even or rounded))


def few(length: int) -> int:
    """By how many samples sweeps of one protocol may differ in length."""
    return max(3, length // 10)


def check_lengths(path: Path, lengths: list[int]) -> None:
    """Refuse sweeps that are not of one protocol."""
    if max(lengths) - min(lengths) > few(max(lengths)):
        raise ValueError(
            f"{path.name} has sweeps of different lengths, {sorted(set(lengths))} samples: load them by "
            "themselves and make an hh.Recording of each."
        )


def stacked(path: Path, sweeps: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Commands and responses of all sweeps, cut to what all of them have."""
    common = min(x.size for sweep in sweeps for x in sweep)
    if common < max(x.size for sweep in sweeps for x in sweep):
        note(path, f"currents and voltages differ in length; cut to the {common} samples that all have.")
    command, response = (np.stack([x[:common] for x in all_of]) for all_of in zip(*sweeps))
    return command, response


def assemble(
    path: Path, interval: float, sweeps: list[tuple[np.ndarray, np.ndarray]], **said: Any
) -> Recording:
    """A recording of (current in pA, V) of every sweep. Held, as commands of amplifiers are.

    `said`: its other fields.
    """
    current, V = stacked(path, sweeps)
    ts = interval * np.arange(V.shape[1])
    return Recording(ts, current, V, "pA", path.name, held=True, **said)
