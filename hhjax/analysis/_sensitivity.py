"""How much a feature depends on each parameter of a model."""

from collections.abc import Callable
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._base.arguments import as_number, check_function
from .._base.host import number, Settings, table
from .._base.parameters import as_float_array, cast_floats, run_dtype
from .._fit._free import Free, resolve, Where
from .._fit._protocol import check_model, split
from .._model.network import Model as OneModel
from .._run.simulate import simulate
from ..stimuli._base import as_stimulus, check_stimulus
from ..stimuli.sampled import Electrode

_MOST = 2000  # parameters, each of which takes a tangent


_SHOWN = 8  # entries of a feature in a table


Model = OneModel | tuple[OneModel, Electrode]


class Sensitivity(eqx.Module):
    """Derivatives of a feature by the P parameters of a model, see [`hh.analysis.sensitivity`][].

    **Fields:**

    - `names`, `units`, `values`: of the parameters.
    - `feature`: its value, any shape (..., ).
    - `derivative`: of the feature by each parameter, in its unit per that of the parameter,
        shape (P, ...).
    """

    names: tuple[str, ...] = eqx.field(static=True)
    units: tuple[str, ...] = eqx.field(static=True)
    values: Float[Array, " P"]
    feature: Array
    derivative: Array

    @property
    def elasticity(self) -> Array:
        """The relative change of the feature by that of the parameter, (p/f)·∂f/∂p, shape (P, ...).

        0.5 says that 1 % more of the parameter makes the feature 0.5 % larger.
        """
        return self.derivative * self._over(self.values) / self.feature[None]

    @property
    def per_percent(self) -> Array:
        """The change of the feature, in its unit, for 1 % more of each parameter, shape (P, ...)."""
        return self.derivative * self._over(self.values) / 100

    def _over(self, x: Array) -> Array:
        return x.reshape((-1,) + (1,) * self.feature.ndim)

    def __getitem__(self, name: str) -> Array:
        """The derivative by the parameter of this name."""
        if name not in self.names:
            raise KeyError(f"{name!r}; the parameters are {', '.join(self.names)}.")
        return self.derivative[self.names.index(name)]

    def __str__(self) -> str:
        flat, size = self.derivative.reshape(len(self.names), -1), self.feature.size
        columns = [np.asarray(flat[:, k]) for k in range(min(size, _SHOWN))]
        labels = ["derivative"] if size == 1 else [f"derivative [{k}]" for k in range(len(columns))]
        if size == 1:
            columns.append(np.asarray(self.elasticity).ravel())
            labels.append("elasticity")
        rows = [
            [name, number(float(value)), unit, *(number(float(column[k])) for column in columns)]
            for k, (name, value, unit) in enumerate(zip(self.names, np.asarray(self.values), self.units))
        ]
        shown = [number(float(x)) for x in np.ravel(self.feature)[:_SHOWN]]
        more = f" and {size - _SHOWN} more" if size > _SHOWN else ""
        head = f"feature: {', '.join(shown)}{more}"
        return f"{head}\n{table(['parameter', 'value', 'unit', *labels], rows)}"


def free_parameters(model: Any, where: Where | None, dtype: Any) -> Free:
    """The parameters that `where` names, by default all floating arrays of the model."""
    if where is None:
        floating = [eqx.is_inexact_array(x) for x in jax.tree.leaves(model)]
        where = lambda *marked: [x for x, good in zip(jax.tree.leaves(marked), floating) if good]
    free = resolve(model, where, None, None, dtype)
    if len(free.names) > _MOST:
        raise ValueError(
            f"`where` leaves {len(free.names)} parameters, of which each takes a tangent of its own: "
            f"name at most {_MOST}, or use jax.grad for a feature that is one number."
        )
    return free


def run_model(model: Any, stimulus: Any, options: dict[str, Any]) -> Any:
    """A forward-mode run of a network, or of a network and its electrode."""
    network, electrode = split(model)
    adjoint = diffrax.ForwardMode()
    return simulate(network, stimulus=electrode.stimulus(stimulus), adjoint=adjoint, throw=False, **options)


@eqx.filter_jit
def _derivatives(
    model: Any, free: Free, feature: Callable, stimulus: Any, v0: Array, options: Settings | None
) -> tuple[Array, Array]:
    def of_values(values: Array) -> tuple[Array, Array]:
        moved = free.put(model, values)
        given = moved if options is None else run_model(moved, stimulus, {**options.options, "v0": v0})
        out = feature(*given) if isinstance(given, tuple) else feature(given)
        if not hasattr(out, "dtype") or not jnp.issubdtype(out.dtype, jnp.floating):
            raise TypeError(f"`feature` must return one floating array, got {out!r}.")
        return out, out

    derivative, out = jax.jacfwd(of_values, has_aux=True)(free.values(model))
    return out, jnp.moveaxis(derivative, -1, 0)


def sensitivity(
    model: Model,
    feature: Callable,
    where: Where | None = None,
    *,
    t1: float | None = None,
    dt: float = 0.025,
    stimulus: Any = 0.0,
    v0: Any = -65.0,
    solver: Any = None,
    saveat: diffrax.SaveAt | None = None,
) -> Sensitivity:
    """The derivative of a feature by every parameter of a model, in one forward-mode batch.

    ```python
    third = lambda run: hh.spike_times(run.ts, run.V, max_spikes=3)[0, 2]
    table = hh.analysis.sensitivity(hh.squid_axon(), third, t1=40.0, stimulus=10.0)
    print(table)
    table["na.g"]  # ms per mS/cm²
    ```

    **Arguments:**

    - `model`: an [`hh.Neuron`][] or [`hh.Network`][], or a pair of one and an
        [`hh.Electrode`][], whose offset is then a parameter as well. V is that of the membrane, not
        what the electrode reads.
    - `feature`: a function of the run (an [`hh.Solution`][]) or, without `t1`, of the model (of both,
        for a pair), which returns a floating array of any shape. Define it once: each new
        function compiles anew. See `hh.features`, and mind that a count has no slope.
    - `where`: which parameters, as for [`hh.fit`][]; by default all.
    - `t1`, `dt`, `stimulus`, `v0`, `solver`, `saveat`: of the run, see [`hh.simulate`][].

    **Returns:** an [`hh.analysis.Sensitivity`][].

    **Raises:** `ValueError` and `TypeError` for bad input.
    """
    model = check_model(model)
    network, _ = split(model)
    dtype = run_dtype(network)
    model = cast_floats(model, dtype)
    check_function("feature", feature, "a run or the model")
    options = None
    if t1 is not None:
        t1 = as_number("t1", t1, "ms")
        dt = as_number("dt", dt, "ms", positive=True)
        options = Settings(t1=t1, dt=dt, solver=solver, saveat=saveat)
    stimulus = cast_floats(as_stimulus(stimulus), dtype)
    check_stimulus(stimulus, network.n)
    network.check_v0(v0, warn=True)
    free = free_parameters(model, where, dtype)
    out, derivative = _derivatives(model, free, feature, stimulus, as_float_array(v0, dtype), options)
    return Sensitivity(free.names, free.units, free.values(model), out, derivative)
