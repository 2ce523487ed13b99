"""The currents of a run."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

import diffrax
import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Float

from .._base.host import known_are
from .._base.parameters import cast_floats, shown
from .._base.tables import facts, is_known, Printed, shape, span, Table
from .._io.labels import dataset, label_neurons, label_times, Labelled
from .._model.currents import currents
from .._model.network import as_network, Network
from .._model.neuron import State
from ..stimuli._base import as_stimulus, check_stimulus, Stimulus

_SIGNS = "outward, of the stimulus inward"


def save_currents(t: Array, y: State, args: tuple[Network, Any]) -> dict[str, Array]:
    """Save all currents and nothing else; for `diffrax.SaveAt(fn=...)`.

    ```python
    currents = diffrax.SaveAt(t0=True, steps=4, fn=hh.save_currents)
    run = hh.simulate(hh.squid_axon(), t1=20.0, dt=0.025, stimulus=10.0, saveat=currents)
    run.ys["na"]  # µA/cm², shape (times, 1)
    ```

    In [`hh.sweep`][] as well, and for runs to disk. Of a single run `run.currents()` gives
    the same without asking beforehand, see [`hh.Currents`][] for names and signs.

    **Arguments:** `t`: ms; `y`: the state; `args`: `(network, stimulus)`.

    **Returns:** a dict of arrays by name, µA/cm².
    """
    return currents(args[0], t, y, args[1])


class Currents(Printed, eqx.Module, Mapping[str, Any]):
    r"""All currents of a run, a mapping from their names to arrays in µA/cm².

    ```python
    run = hh.simulate(hh.squid_axon(), t1=20.0, dt=0.025, stimulus=10.0)
    found = run.currents()
    found["na"], found["stimulus"]  # shape (times, 1), at the times found.ts
    ```

    | name | current |
    |---|---|
    | `"na"`, `"e.na"` | of a channel, in the population `e`, of whose neurons it has the shape |
    | `"coupling"`, `"coupling.ampa"` | into all n neurons, of the coupling named `ampa` |
    | `"noise"`, `"noise.1"` | of a noise with a state, the second of several; white noise has no current |
    | `"stimulus"` | what is injected, that of a clamp included |

    As usual, what flows out of the neuron is positive, but of the stimulus what is injected:
    $C\,dV/dt$ = stimulus − sum of all others.

    **Fields:** `ts`: times, ms, shape (times,); `names`: of the currents; `arrays`: in that order, shape
    (times, n) or, in populations, (times, neurons of one); `populations`: name, start and stop of each
    in V.
    """

    ts: Float[Array, "..."]
    names: tuple[str, ...] = eqx.field(static=True)
    arrays: tuple[Any, ...]
    populations: tuple[tuple[str, int, int], ...] = eqx.field(default=(), static=True)

    unit: ClassVar[str] = "µA/cm²"

    def __getitem__(self, name: str) -> Any:
        if name not in self.names:
            raise KeyError(f"{name!r} is no current.{known_are(str(name), self.names)}")
        return self.arrays[self.names.index(name)]

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)

    def _tables(self) -> list[Table]:
        from_to = f"from {span(self.ts, 'ms')}" if is_known(self.ts) else ""
        said = {"times": f"{np.shape(self.ts)[-1]} {from_to}", "positive": _SIGNS}
        rows = [(name, shape(x), span(x) if is_known(x) else "", self.unit) for name, x in self.items()]
        return [
            facts("Currents", said),
            Table(("current", "shape", "values", "unit"), rows, left=(0, 1, 2, 3)),
        ]

    def to_xarray(self) -> Any:
        """The currents as an `xarray.Dataset` (needs `pip install 'hhjax[xarray]'`).

        Dimensions are `time` (ms) and `neuron`, of channels in populations such as `neuron_e`, whose
        coordinate is the number among all neurons.

        **Raises:** `ImportError` that says what to install; `ValueError` for a batch of runs.
        """
        if np.ndim(self.ts) != 1:
            raise ValueError(f"`to_xarray` takes the currents of one run, got `ts` of shape {self.ts.shape}.")
        coords = label_times(self.ts) | label_neurons(self["stimulus"].shape[-1])
        for name, start, stop in self.populations:
            coords[f"neuron_{name}"] = Labelled((f"neuron_{name}",), np.arange(start, stop), {})
        own = {name: f"neuron_{name}" for name, _, _ in self.populations}
        label = lambda name, x: Labelled(
            ("time", own.get(name.split(".")[0], "neuron")), x, {"units": self.unit}
        )
        variables = {name: label(name, x) for name, x in self.items()}
        return dataset(variables, coords, {"positive": _SIGNS})


_WHOLE = diffrax.SubSaveAt(t1=True).fn
"""What saves the whole state."""


_LAST = ("coupling", "noise", "stimulus")  # after the channels


def remember(solution: Any, run: Any, again: Callable[[Any], Any]) -> Any:
    """The solution, which itself, but none made of it, knows from now on what was run.

    **Arguments:** `run`: with `network`, `stimulus` and `save`; `again`: makes one like it.
    """
    object.__setattr__(solution, "_again", (run, again))
    return solution


def currents_of(solution: Any, network: Any, stimulus: Any) -> Currents:
    """See [`hh.Solution.currents`][]."""
    if network is not None or stimulus is not None:
        network, stimulus = _given(solution, network, stimulus)
        found = _of_states(solution.ts, _in_memory(solution.ys), network, stimulus)
    elif not hasattr(solution, "_again"):
        raise ValueError(
            "This solution does not know any more what was run: it came out of a file, jit, vmap or the "
            "like, or not from hh.simulate. If it holds the whole state, ask for run.currents(network, "
            "stimulus); else ask before that, or run with saveat=diffrax.SaveAt(..., fn=hh.save_currents)."
        )
    else:
        run, again = solution._again
        network = run.network
        if run.save is _WHOLE:
            found = _of_states(solution.ts, _in_memory(solution.ys), network, run.stimulus)
        else:
            found = again(dataclasses.replace(run, save=save_currents, reduce=None)).ys
    names = tuple(sorted(found, key=lambda name: (name.split(".")[0] in _LAST, name)))
    populations = tuple((name, at.start, at.stop) for name, at in network.ranges.items())
    return Currents(solution.ts, names, tuple(found[name] for name in names), populations)


def _given(solution: Any, network: Any, stimulus: Any) -> tuple[Network, Stimulus]:
    """What was run, as the user says."""
    if network is None or stimulus is None:
        missing, other = ("network", "stimulus") if network is None else ("stimulus", "network")
        raise ValueError(f"`{missing}` is missing: give what the run was given, as for `{other}`.")
    network = as_network(network)
    if not isinstance(network, Network):
        raise TypeError(f"`network` must be an hh.Network or hh.Neuron, got {shown(network)}.")
    shapes = lambda tree, lead: (jax.tree.structure(tree), [x.shape[lead:] for x in jax.tree.leaves(tree)])
    if shapes(solution.ys, 1) != shapes(eqx.filter_eval_shape(network.init), 0):
        raise ValueError(
            "`network` goes with a solution of it that holds the whole state, as "
            f"saveat=diffrax.SaveAt(t0=True, steps=True) saves it, got one of {solution.ys!r}."
        )
    stimulus = as_stimulus(stimulus)
    check_stimulus(stimulus, network.n)
    dtype = solution.final.V.dtype
    return cast_floats(network, dtype), cast_floats(stimulus, dtype)


@eqx.filter_jit
def _of_states(ts: Array, ys: State, network: Network, stimulus: Stimulus) -> dict[str, Array]:
    return jax.vmap(lambda t, y: save_currents(t, y, (network, stimulus)))(ts, ys)


def _in_memory(ys: Any) -> Any:
    """What may lie on disk, as arrays."""
    return jax.tree.map(lambda x: x if eqx.is_array(x) else np.asarray(x), ys)
