"""Recorded sweeps: times, injected current and membrane potential."""

from typing import Any, Literal

import equinox as eqx
import numpy as np

from ._parameters import check_size


def _read_only(x: Any) -> np.ndarray:
    x = np.array(x, dtype=float)
    x.flags.writeable = False
    return x


class Recording(eqx.Module):
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

    **Raises:** `ValueError` for shapes that do not match, uneven times, currents that are
    not finite, infinite V.
    """

    ts: np.ndarray
    current: np.ndarray
    V: np.ndarray
    current_unit: Literal["pA", "µA/cm²"] = eqx.field(default="µA/cm²", static=True)
    name: str = eqx.field(default="", static=True)

    def __init__(self, ts: Any, current: Any, V: Any, current_unit: Any = "µA/cm²", name: str = ""):
        self.ts, current, V = _read_only(ts), _read_only(current), _read_only(V)
        self.current = current[None] if current.ndim == 1 else current
        self.V = V[None] if V.ndim == 1 else V
        self.current_unit, self.name = current_unit, name

    def __check_init__(self) -> None:
        ts, V, current = self.ts, self.V, self.current
        if ts.ndim != 1 or ts.size < 2:
            raise ValueError(f"`ts` must have shape (times,) with at least 2 times, got {ts.shape}.")
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
        step = (ts[-1] - ts[0]) / (ts.size - 1)
        if not np.isfinite(ts).all() or step <= 0 or np.abs(np.diff(ts) - step).max() > 1e-3 * step:
            raise ValueError("`ts` must increase in even steps (ms). Resample the recording first.")
        if not np.isfinite(current).all():
            raise ValueError("`current` must be finite: what was injected has to be known at every sample.")
        if np.isinf(V).any():
            raise ValueError("`V` must be finite or, where it is missing, NaN; got infinity.")

    def __len__(self) -> int:
        return self.V.shape[0]

    @property
    def dt(self) -> float:
        """Sampling interval, ms."""
        return float((self.ts[-1] - self.ts[0]) / (self.ts.size - 1))

    def _with(self, ts: Any, current: Any, V: Any) -> "Recording":
        return Recording(ts, current, V, self.current_unit, self.name)

    def __getitem__(self, sweeps: Any) -> "Recording":
        """Some of the sweeps: `recording[3]`, `recording[::2]`, `recording[[0, 5]]`."""
        sweeps = [sweeps] if isinstance(sweeps, (int, np.integer)) else sweeps
        return self._with(self.ts, self.current[sweeps], self.V[sweeps])

    def between(self, start: float, stop: float) -> "Recording":
        """The samples from `start` to `stop` (ms, both included)."""
        inside = (self.ts >= start - 1e-6 * self.dt) & (self.ts <= stop + 1e-6 * self.dt)
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

    def every(self, k: int) -> "Recording":
        """Every k-th sample of V, with a mean of the current around it.

        The weights fall to nothing at the next sample that is kept on either side: a current that is
        linear between samples then carries the same charge as before.
        """
        k = check_size("k", k)
        around = [(0, 0), (k - 1, k - 1)] + [(0, 0)] * (self.current.ndim - 2)
        padded, length = np.pad(self.current, around, mode="edge"), self.ts.size
        current = sum((k - abs(j)) / k**2 * padded[:, k - 1 + j :][:, :length:k] for j in range(1 - k, k))
        return self._with(self.ts[::k], current, self.V[:, ::k])
