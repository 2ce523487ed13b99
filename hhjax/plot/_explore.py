"""A neuron under sliders, in a notebook."""

from collections.abc import Iterable, Mapping
from io import BytesIO
from typing import Any

import diffrax
import numpy as np
from matplotlib.figure import Figure

from .._base.arguments import as_range, check_kind
from .._model.names import Leaf, leaves, look_up, replace
from .._model.neuron import Neuron
from .._run.simulate import simulate
from .._run.solution import Solution
from ..stimuli._base import as_stimulus
from ._traces import gates, saved_gates, traces


class Explorer:
    """What [`explore`][hhjax.plot.explore] shows.

    **Fields:**

    - `sliders`: a dict of `ipywidgets.FloatSlider`s by the name of the parameter; setting the `value` of
        one runs the neuron again.
    - `run`: the [`hh.Solution`][] of the present values, with the whole state.
    - `figure`: the matplotlib figure of V and, below, the gates.
    - `widget`: sliders and figure, an `ipywidgets.Box`.
    """

    def __init__(self, neuron: Neuron, stimulus: Any, sliders: dict[str, Any], options: dict[str, Any]):
        import ipywidgets

        self.neuron, self.stimulus, self.sliders, self._options = neuron, stimulus, sliders, options
        self.run = self._simulate()
        self.figure = Figure(figsize=(8, 5), layout="constrained")
        has_gates = len(self._curves()) > 1
        above, *below = np.atleast_1d(self.figure.subplots(1 + has_gates, 1, sharex=True))
        self.lines = traces(self.run, ax=above) + [x for ax in below for x in gates(self.run, ax=ax)]
        above.set_xlabel("" if below else "Time (ms)")
        self._image = ipywidgets.Image(format="png", layout={"max_width": "75%"})
        self.widget = ipywidgets.HBox([ipywidgets.VBox(list(sliders.values())), self._image])
        for slider in sliders.values():
            slider.observe(self._update, "value")
        self._draw()

    def _simulate(self) -> Solution:
        values = {name: slider.value for name, slider in self.sliders.items()}
        stimulus = replace(self.stimulus, {"amplitude": values.pop("stimulus")})
        return simulate(replace(self.neuron, values), stimulus=stimulus, throw=False, **self._options)

    def _curves(self) -> list[Any]:
        found = saved_gates(self.run) if self.run.ys.gates else {}
        return [self.run.V[:, 0], *(x[:, 0] for states in found.values() for x in states.values())]

    def _update(self, change: Any) -> None:
        self.run = self._simulate()
        for line, y in zip(self.lines, self._curves(), strict=True):
            line.set_ydata(np.asarray(y))
        self.lines[0].axes.relim()
        self.lines[0].axes.autoscale_view()
        self._draw()

    def _draw(self) -> None:
        picture = BytesIO()
        self.figure.savefig(picture, format="png", dpi=100)
        self._image.value = picture.getvalue()

    def _repr_mimebundle_(self, **options: Any) -> Any:
        return self.widget._repr_mimebundle_(**options)


def explore(
    neuron: Neuron,
    parameters: Iterable[str] | Mapping[str, tuple[float, float]] | None = None,
    *,
    stimulus: Any = 10.0,
    t1: float = 100.0,
    dt: float = 0.025,
    **options: Any,
) -> Explorer:
    """Sliders for a current and for parameters of a neuron, and V and the gates that follow them.

    For notebooks: `pip install 'hhjax[explore]'`.

    ```python
    plot.explore(hh.squid_axon(), {"na.g": (60.0, 180.0), "stimulus": (0.0, 50.0)})
    ```

    **Arguments:**

    - `neuron`: with one value for each parameter.
    - `parameters`: names of numbers, see [`hh.get`][], or a dict of the range of each by name; by default all
        conductances and permeabilities. `"stimulus"` is the amplitude, which always has a slider.
    - `stimulus`: µA/cm², a number or a stimulus with an `amplitude`, such as an [`hh.Step`][].
    - `t1`, `dt`: ms.
    - `options`: passed on to [`hh.simulate`][].

    **Returns:** what a notebook shows as the last value of a cell. Its `sliders` by name can be set, `run` is
    the solution for their values, and `figure` is the figure.

    **Raises:** `ImportError` that says what to install; `ValueError` for a name that is no parameter, or one
    of several values; `TypeError` for what is no neuron or has no amplitude.
    """
    check_kind("neuron", neuron, Neuron, "an hh.Neuron")
    stimulus = as_stimulus(stimulus)
    if not hasattr(stimulus, "amplitude"):
        raise TypeError(f"`stimulus` must have an `amplitude`, as an hh.Step has, got {stimulus!r}.")
    if parameters is None:
        parameters = [leaf.name for leaf in leaves(neuron) if leaf.unit in ("mS/cm²", "cm/s")]
    parameters = [parameters] if isinstance(parameters, str) else parameters
    ranges = parameters if isinstance(parameters, Mapping) else dict.fromkeys(parameters)
    found = {"stimulus": look_up(stimulus, "amplitude", "stimulus")}
    found |= {name: look_up(neuron, name, "parameters") for name in ranges if name != "stimulus"}
    try:
        import ipywidgets
    except ImportError as error:
        raise ImportError("`plot.explore` needs ipywidgets: pip install 'hhjax[explore]'.") from error
    sliders = {}
    for name, leaf in found.items():
        if np.shape(leaf.value):
            raise ValueError(f"`parameters` names {name!r}, which must be one number, got {leaf.value}.")
        given = ranges.get(name)
        ends = _range(leaf) if given is None else given
        low, high = as_range(f"parameters[{name!r}]", ends, leaf.unit)
        sliders[name] = ipywidgets.FloatSlider(
            float(leaf.value),
            min=min(low, float(leaf.value)),
            max=max(high, float(leaf.value)),
            step=(high - low) / 200,
            description=f"{name} ({leaf.unit})" if leaf.unit else name,
            style={"description_width": "initial"},
            readout_format=".4g",
        )
    saveat = diffrax.SaveAt(t0=True, steps=True)
    return Explorer(neuron, stimulus, sliders, {"t1": t1, "dt": dt, "saveat": saveat} | options)


def _range(leaf: Leaf) -> tuple[float, float]:
    """Where a slider ends: 30 mV to either side, or from nearly 0 to three times the value, within limits."""
    value = float(leaf.value)
    if leaf.unit == "mV":
        low, high = value - 30, value + 30
    elif leaf.unit == "µA/cm²":
        low, high = min(-10.0, 3 * value), max(30.0, 3 * value)
    else:
        low, high = (0.05 * value if leaf.said.get("positive") else 0.0), 3 * value or 1.0
    least, most = leaf.said.get("minimum"), leaf.said.get("maximum")
    return low if least is None else max(low, least), high if most is None else min(high, most)
