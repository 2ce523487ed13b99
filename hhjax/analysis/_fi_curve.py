"""Firing rate against current, and how firing sets in."""

from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int

from .._base.arguments import as_array, as_number
from .._base.host import number, Settings, table
from .._base.parameters import cast_floats, is_concrete, run_dtype
from .._base.renames import renamed
from .._base.swings import warn_of_swings
from .._model.network import Network
from .._model.neuron import Neuron
from .._run.reducers import Swings
from .._run.simulate import save_V, simulate
from .._run.spikes import firing_rate, spikes_within
from ._current_clamp import check_currents, check_duration
from ._rheobase import check_tol, refine
from ._steady import first_fold
from ._system import one_neuron

_FASTEST = 1.0  # ms from spike to spike: how many times a run keeps room for


_RISE = 1.4  # of the rate, for a current four times as far from the fold; 2 by the square-root law


class FICurve(eqx.Module):
    """Steady firing rate against current, see [`hh.analysis.fi_curve`][].

    **Fields:**

    - `currents`: µA/cm², shape (steps,); `rates`: Hz, 0 where the cell does not go on firing, NaN where
        its run turned infinite or NaN.
    - `threshold`: the smallest current with which it goes on firing, µA/cm²; NaN if it lies
        outside the currents given.
    - `onset_rate`: the rate there, Hz. With class 1 it is the lowest that the run can tell.
    - `fold`: the current at which the resting state is lost in a fold, µA/cm²; infinite if it
        never is.
    - `hodgkin_class`: 1, 2, or 0 where there is no threshold, see [`hh.analysis.fi_curve`][].
    """

    currents: Float[Array, " steps"]
    rates: Float[Array, " steps"]
    threshold: Float[Array, ""]
    onset_rate: Float[Array, ""]
    fold: Float[Array, ""]
    hodgkin_class: Int[Array, ""]

    def __str__(self) -> str:
        rows = zip(np.asarray(self.currents), np.asarray(self.rates))
        lines = table(["current (µA/cm²)", "rate (Hz)"], [[number(float(x)) for x in row] for row in rows])
        if not int(self.hodgkin_class):
            return f"{lines}\nno onset of firing among these currents"
        kind = "from arbitrarily low rates" if int(self.hodgkin_class) == 1 else "with a jump"
        return (
            f"{lines}\nfires from {float(self.threshold):.6g} µA/cm² and {float(self.onset_rate):.4g} Hz on: "
            f"class {int(self.hodgkin_class)}, {kind}"
        )


@eqx.filter_jit
def _rates(
    neuron: Neuron, currents: Array, v0: Array, threshold: Array, start: float, options: Settings
) -> tuple[Array, Array]:
    """The rates, NaN where a run blew up, and whether V rises and falls below the threshold."""
    run = simulate(
        Network(neuron, n=currents.size),
        stimulus=currents,
        v0=v0,
        throw=False,
        saveat=diffrax.SaveAt(t0=True, steps=True, fn=save_V),
        reduce=Swings(threshold, start),
        **options.options,
    )
    room = max(int(options.options["t1"] / _FASTEST), 2)
    rates = firing_rate(spikes_within(run.ts, run.V - threshold, start, jnp.inf, room))
    return jnp.where(run.finite, rates, jnp.nan), run.reduced


@renamed(discard="start")
def fi_curve(
    neuron: Neuron,
    currents: Any,
    *,
    duration: float = 1000.0,
    start: float | None = None,
    tol: float = 1e-3,
    dt: float = 0.025,
    solver: Any = None,
    v0: ArrayLike = -65.0,
    threshold: ArrayLike = 0.0,
) -> FICurve:
    r"""Firing rate against current, with the threshold and the class of its onset.

    The rate is that of the second half of the run, unless `start` says otherwise: a cell that fires a few
    times and then stops counts as silent. The current where firing begins is then refined.

    The class is that of A. L. Hodgkin, J. Physiol. 107 (1948) 165-181, by the rule: firing has
    class 1 if (i) the resting state is lost in a fold (the steady current has a maximum
    $I_f$ as V rises), (ii) the cell does not go on firing below $I_f$, and (iii) the rate falls
    towards the fold. Past a saddle-node on an invariant circle the rate grows as
    $\sqrt{I - I_f}$ (J. Rinzel and G. B. Ermentrout, 1998): at four times the distance of the
    threshold it is twice as high, while after a jump it is about the same. From a ratio of
    1.4 on it is class 1, else class 2.

    ```python
    curve = hh.analysis.fi_curve(hh.wang_buzsaki(), jnp.linspace(0.0, 2.0, 11))
    int(curve.hodgkin_class)  # 1
    ```

    The curve works under `jit` and `vmap`; `rates` and `fold` can be differentiated, `threshold`
    and the class cannot.

    **Arguments:**

    - `neuron`: an [`hh.Neuron`][].
    - `currents`: µA/cm², shape (steps,) with at least three, increasing. The lowest should leave
        the cell silent.
    - `duration`: of a run, ms. It sets the lowest rate that can be seen, two spikes in the part
        that counts.
    - `start`: spikes up to then are not counted, ms; by default half of the `duration`.
    - `tol`: how narrow the bracket of the threshold is in the end, as a fraction of the spacing of
        the currents.
    - `dt`, `solver`, `v0`: see [`hh.simulate`][].
    - `threshold`: of a spike, mV. Outside `jit` you are warned of currents with which V rises and falls by
        more than 10 mV below it.

    **Returns:** an [`hh.analysis.FICurve`][].
    """
    neuron = one_neuron(neuron)
    dtype = run_dtype(neuron)
    neuron = cast_floats(neuron, dtype)
    currents = check_currents(currents, dtype, least=3)
    if is_concrete(currents) and not (np.diff(np.asarray(currents, float)) > 0).all():
        raise ValueError(f"`currents` must increase, got {currents}.")
    duration = check_duration("duration", duration)
    start = duration / 2 if start is None else as_number("start", start, "ms")
    if not 0 <= start < duration:
        raise ValueError(f"`start` must lie within the duration, 0 to {duration:g} ms, got {start!r}.")
    tol = check_tol(tol)
    v0 = as_array("v0", v0, "mV", dtype, shapes=[(), currents.shape], warn=True)
    threshold = as_array("threshold", threshold, "mV", dtype, shapes=[()])
    options = Settings(t1=duration, dt=dt, solver=solver)
    rates_at = lambda neuron, currents: _rates(neuron, currents, v0, threshold, start, options)[0]

    rates, missed = _rates(neuron, currents, v0, threshold, start, options)
    if is_concrete(missed):
        warn_of_swings(missed, threshold, "current")
    fold = first_fold(neuron)
    still = jax.lax.stop_gradient(neuron)
    firing = rates > 0
    found = firing.any() & ~firing[0]
    k = jnp.maximum(jnp.argmax(firing), 1)
    points = currents.size
    fires = lambda currents: rates_at(still, currents) > 0
    low, high = refine(fires, *jax.lax.stop_gradient((currents[k - 1], currents[k])), points, tol)

    # In a run of as many currents, which compiles nothing: the threshold, and four times as far.
    known_fold = jnp.where(jnp.isfinite(fold), jax.lax.stop_gradient(fold), low)
    beyond = known_fold + 4 * (high - known_fold)
    pair = jnp.where(jnp.arange(points) == 0, high, beyond)
    onset_rate, further = rates_at(still, pair)[:2]
    slack = 2 * tol * (currents[k] - currents[k - 1])
    first_class = jnp.isfinite(fold) & (low >= known_fold - slack) & (further > _RISE * onset_rate)
    missing = lambda x: jnp.where(found, x, jnp.nan)
    kind = jnp.where(found, jnp.where(first_class, 1, 2), 0).astype(jnp.int32)
    return FICurve(currents, rates, missing(high), missing(onset_rate), fold, kind)
