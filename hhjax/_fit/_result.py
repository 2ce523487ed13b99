"""What a fit returns."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .._base.tables import Printed, Table
from .._model.neuron import State
from ._clamp import ClampTraces
from ._doubts import doubts
from ._free import Free
from ._likelihood import Bootstrap, bootstrap, criteria, Profile, profile
from ._look import Noise
from ._problem import AbstractProblem
from ._sample import Posterior, sample
from ._uncertainty import Uncertainty

_KNOWN = 0.1  # relative standard error, up to which a combination of parameters is said to be known


@dataclasses.dataclass(frozen=True)
class Starts:
    """Every start of a fit: `before` and `after`, free parameters of shape (starts, P);
    `loss` of the free-running model, shape (starts,); `reasons` why each stopped."""

    before: np.ndarray
    after: np.ndarray
    loss: np.ndarray
    reasons: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Fit(Printed):
    """The result of [`hh.fit`][].

    **Fields:**

    - `model`: the fitted model, of the type that came in.
    - `names`, `units`, `values`: the free parameters, P of them, `values` of shape (P,).
    - `standard_errors`: shape (P,), in the units of the parameters, from the Jacobian J of
        the residuals at the optimum: the covariance is s²(JᵀJ)⁻¹ with s² the residual
        variance. Right if the residuals are independent; residuals of a model that is
        wrong are not, and the true errors are then larger. Infinite for parameters that
        the data cannot tell apart, such as a leak reversal and a current offset; what
        they add up to may still be known, see `derive`.
    - `correlation`: of the estimates, shape (P, P); `uncertainty`: what both come from.
    - `loss`: of the free-running model at the end: the mean squared residual in units of
        the loss's `sd`.
    - `history`: loss at every iteration of the best start, guided stages included.
    - `reason`: why the best start stopped.
    - `starts`: all starts.
    - `runs`: how many forward runs the whole fit came to, each sweep's run counted once
        per start: a Jacobian counts one for the run and one for each tangent it pushes
        through, a gradient five.
    - `ts`: ms, from the start of a sweep; `V` of the free-running fitted model, as its electrode reads
        it, and `data`, mV, shape (sweeps, times, n).
    - `initial`: the first state of every sweep, an [`hh.State`][] with arrays of shape (sweeps, n), for
        [`hh.replay`][]; `v0`: its V, mV.
    - `free`: the free parameters, as a vector and back.
    - `dt`: time step, ms; `solver`: the type of the solver.
    - `clamps`: for each voltage-clamp recording its `name`, `unit`, `ts` (ms), command `V` (mV) and,
        in that unit, `current` of the model and `data`, shape (sweeps, times). Without a recording in
        current clamp `V` and `data` of the fit are of two samples that count nothing.
    - `objective`: the class of the loss, and `why` it was taken, if [`hh.fit`][] chose it; `noise`: with
        [`hh.losses.Prediction`][], the noise in the cell (`process`, mV/√ms) and of a reading
        (`reading`, mV), each of shape (n,).
    - `problem`: what was minimised last, a function of unknowns; `u`: these at the end, shape (U,): the
        parameters' first, then others such as initial potentials; `count`: how many residuals there
        were. What `sample`, `profile` and `bootstrap` start from; `None` in a fit of an older file.
    """

    model: Any
    names: tuple[str, ...]
    units: tuple[str, ...]
    values: np.ndarray
    uncertainty: Uncertainty
    loss: float
    history: np.ndarray
    reason: str
    starts: Starts
    runs: int
    ts: Array
    V: Array
    data: Array
    v0: Array
    free: Free
    dt: float
    solver: str
    objective: str = "Trace"
    why: str = ""
    noise: Noise | None = None
    # Left out of a file that cannot hold it, as one with a loss of the user's own.
    problem: AbstractProblem | None = dataclasses.field(default=None, metadata={"spare": True})
    u: Array | None = None
    count: int | None = None
    initial: State | None = None  # of a fit in an older file
    clamps: tuple[ClampTraces, ...] = ()

    @property
    def standard_errors(self) -> np.ndarray:
        return self.uncertainty.standard_errors

    @property
    def correlation(self) -> np.ndarray:
        return self.uncertainty.correlation

    @property
    def undetermined(self) -> tuple[str, ...]:
        """The parameters whose standard error is larger than they are themselves, or than half the range
        of their bounds: what these data do not tell."""
        return tuple(
            n for n, error, size in zip(self.names, self.standard_errors, self._size) if error > size
        )

    @property
    def _size(self) -> np.ndarray:
        low, high = (np.asarray(x, float) for x in (self.free.low, self.free.high))
        value = np.where(self.values == 0, 1.0, np.abs(self.values))
        return np.where(np.isfinite(high - low), (high - low) / 2, value)

    @property
    def doubts(self) -> list[str]:
        """What speaks against the fit: the free-running model fires more than 20 % more or fewer spikes than
        the data, a parameter at a bound, a standard error wider than the bounds, values that no cell has."""
        return doubts(self.free, self.values, self.standard_errors, self.ts, self.V, self.data)

    def derive(self, fn: Callable[[Any], Any]) -> tuple[float, float]:
        """A quantity that follows from the parameters, and its standard error.

        ```python
        fit.derive(lambda neuron: neuron.channels["na"].g / neuron.C)
        ```

        **Arguments:** `fn`: a function of the model (of both, for a pair) that returns a
        scalar.

        **Returns:** its value, and its standard error to first order; infinite if the data
        do not determine it.
        """

        def of_values(values: Array) -> Array:
            model = self.free.put(self.model, values)
            return jnp.asarray(fn(*model) if isinstance(model, tuple) else fn(model))

        values = jnp.asarray(self.values)
        if jax.eval_shape(of_values, values).shape != ():
            raise ValueError("`fn` must return a scalar; call `derive` once for each quantity.")
        value, slope = jax.value_and_grad(of_values)(values)
        return float(value), float(self.uncertainty.errors(np.asarray(slope)[None])[0])

    def sample(
        self,
        key: Array,
        *,
        chains: int = 4,
        samples: int = 1000,
        warmup: int = 300,
        priors: Mapping[str, Any] | None = None,
        progress_meter: diffrax.AbstractProgressMeter = diffrax.TextProgressMeter(minimum_increase=0.1),
    ) -> Posterior:
        """Draw from the posterior of the parameters, by NUTS (`pip install 'hhjax[bayes]'`).

        ```python
        posterior = fit.sample(jax.random.key(0), priors={"na.g": ("lognormal", 100.0, 0.5)})
        print(posterior)
        ```

        Residuals are independent and normal, of one unknown variance, whose prior is 1/variance. Initial
        potentials that were free are drawn too. The sampler works on unknowns that the covariance of the
        fit has made about independent and of size one, in all chains at once.

        **Arguments:**

        - `key`: a `jax.random.key`.
        - `chains`, `samples`: how many of each are kept; `warmup`: transitions of each chain before
            those, in which the sampler adapts.
        - `priors`: by the names of parameters, `("normal", mean, sd)`, `("lognormal", median, sd of the
            logarithm)`, or the log density, a function of the value that JAX can differentiate. By
            default uniform within the bounds, which cut any other prior off too.
        - `progress_meter`: one of diffrax's.

        **Returns:** an [`hh.Posterior`][]. It warns where the chains do not agree.
        """
        return sample(self, key, chains, samples, warmup, priors, progress_meter)

    def profile(self, name: str, *, points: int = 12, level: float = 0.95) -> "Profile":
        """The profile likelihood of a parameter: all others are fitted anew on a grid of its values.

        Its interval needs no standard error, and so is right for curved and one-sided likelihoods too.

        **Arguments:** `name`: of the parameter; `points`: of the grid, which is made wider up to three
        times until it holds the interval; `level`: of the interval.

        **Returns:** an [`hh.Profile`][].
        """
        return profile(self, name, points, level)

    def bootstrap(self, key: Array, *, n: int = 100) -> "Bootstrap":
        """Fits to `n` data sets that are drawn from the fitted model and the residuals' variance.

        For fits that compared traces, by [`hh.losses.Trace`][hhjax.losses.Trace]. They start from this
        fit's optimum.

        **Returns:** an [`hh.Bootstrap`][].
        """
        return bootstrap(self, key, n)

    @property
    def aic(self) -> float:
        """Akaike's information criterion, of independent normal residuals; see [`hh.compare`][]."""
        return criteria(self)[1]

    @property
    def bic(self) -> float:
        """Schwarz's information criterion, of independent normal residuals; see [`hh.compare`][]."""
        return criteria(self)[2]

    def summary(self) -> str:
        """The estimates as a table, and how the fit ended."""
        return str(self)

    def _tables(self) -> list[Table]:
        each = zip(self.names, self.values, self.standard_errors, self.units)
        rows = [(name, f"{value:.6g}", f"{error:.2g}", unit) for name, value, error, unit in each]
        notes = [f"objective: {self.objective}" + f", since {self.why}" * bool(self.why)]
        if self.undetermined:
            notes.append(f"not identifiable from these data: {', '.join(self.undetermined)}")
            notes += self._combinations()
        if self.noise is not None:
            process, reading = (", ".join(f"{x:.2g}" for x in part) for part in self.noise)
            notes.append(f"noise in the cell {process} mV/√ms, of a reading {reading} mV")
        notes += [f"in doubt: {doubt}" for doubt in self.doubts]
        best = f"loss {self.loss:.6g} after {len(self.history)} iterations: {self.reason}"
        count = len(self.starts.reasons)
        if count > 1:
            near = int((self.starts.loss <= 1.01 * self.loss).sum())
            best += f"; {near} of {count} starts reached it within 1 %"
        headers = ("parameter", "estimate", "std. error", "unit")
        return [Table(headers, rows, "", [*notes, best], left=(0, 3), most=len(rows))]

    def _combinations(self) -> list[str]:
        """What the data do tell of those that are not identifiable one by one: products and ratios."""
        at = [self.names.index(name) for name in self.undetermined]
        found = []
        for i, j in ((i, j) for i in at for j in at if i < j):
            for sign, of in ((1, "·"), (-1, "/")):
                slope = np.zeros(len(self.names))
                slope[[i, j]] = 1 / self.values[i], sign / self.values[j]  # of its logarithm
                error = float(self.uncertainty.errors(slope[None])[0])
                if error < _KNOWN:
                    value = self.values[i] * self.values[j] ** sign
                    found.append(
                        f"{self.names[i]}{of}{self.names[j]} = {value:.4g} ± {error * abs(value):.1g}"
                    )
        return [f"known: {', '.join(found)}"] if found else []

    def rmse(self) -> np.ndarray:
        """Root mean squared error of V, mV, shape (sweeps, n), of the samples there are."""
        data = np.asarray(self.data)  # numpy keeps float64 where jax is set to float32
        error = np.where(np.isnan(data), np.nan, np.asarray(self.V) - data)
        return np.sqrt(np.nanmean(error**2, axis=1))

    @property
    def holds_currents_alone(self) -> bool:
        """Whether all recordings were in voltage clamp."""
        return bool(self.clamps) and np.shape(self.ts) == (2,)

    def plot(
        self,
        *,
        sweeps: Sequence[int] | None = None,
        neuron: int = 0,
        clamp: int | None = None,
        axes: Any = None,
        **style: Any,
    ) -> Any:
        """Data against fit; see [`hh.plot.fit`][]."""
        from .._draw import overlay  # and matplotlib with it

        ts, data, model = self.ts, *(np.asarray(x)[..., neuron] for x in (self.data, self.V))
        unit, label = "mV", "Membrane\npotential (mV)"
        if clamp is not None or self.holds_currents_alone:
            one = self.clamps[clamp or 0]
            ts, data, model, unit = one.ts, np.asarray(one.data), np.asarray(one.current), one.unit
            label = f"Current ({unit})"
        chosen = list(range(min(len(data), 4)) if sweeps is None else sweeps)
        data, model = data[chosen], model[chosen]
        errors = np.sqrt(np.nanmean((model - data) ** 2, axis=1))
        titles = [f"sweep {sweep}, RMSE {error:.2f} {unit}" for sweep, error in zip(chosen, errors)]
        return overlay(ts, data, model, titles, label=label, axes=axes, **style)
