"""A neuron with dendrites and axon: membranes on a tree of compartments."""

from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from .._base.arguments import as_array
from .._base.parameters import check_parameters, is_concrete, param, Parameter, put
from .._base.tables import Printed, Table
from ..cells._axial import Tree
from ..cells._morphology import Morphology, Section
from .neuron import Neuron
from .tables import parameter_table

Membrane = Neuron | Callable[[np.ndarray], Neuron]


class Geometry(eqx.Module):
    """What of the shape of a cell is a parameter.

    **Fields:**

    - `morphology`: how the compartments are joined.
    - `length`, `diameter`: of each compartment, µm, shape (compartments,); the diameter of a tapering one is
        that of the cylinder of its area.
    - `resistivity`: of the axoplasm, Ω·cm, scalar or one for each compartment.
    """

    morphology: Morphology = eqx.field(static=True)
    length: Parameter = param(unit="µm", positive=True)
    diameter: Parameter = param(unit="µm", positive=True)
    resistivity: Parameter = param(unit="Ω·cm", positive=True)

    def __check_init__(self) -> None:
        check_parameters(self, "cell", self.morphology.n)

    @property
    def area(self) -> Float[Array, " compartments"]:
        """Of the membrane, µm²."""
        return jnp.pi * self.diameter * self.length

    def conductance(self) -> Float[Array, " links"]:
        """Of each link between compartments or branch points, µS.

        Its resistance is Σ R·∫dx/(πr²) over the halves of compartments between two nodes.
        """
        joints = self.morphology.joints
        # A half beyond a tip of radius 0 has none, and no link.
        halves = np.where(np.isfinite(joints.halves), joints.halves, 0.0)
        of_cylinder = self.resistivity * (self.length / 2) / (jnp.pi * self.diameter**2 / 4)
        resistance = jnp.append((0.01 * of_cylinder[:, None] * halves).ravel(), 0.0)  # MΩ
        return 1 / (resistance[joints.of_links[:, 0]] + resistance[joints.of_links[:, 1]])


class Cell(Printed, eqx.Module):
    r"""A neuron of many compartments, each with the membrane of a [`hh.Neuron`][].

    $C_i\,dV_i/dt = I_i - \sum_k I_{k,i} + \sum_j G_{ij} (V_j - V_i)/A_i$ over the neighbours j, with the
    axial conductances G and the areas A (W. Rall, Exp. Neurol. 1 (1959) 491-527).

    ```python
    sections = {"soma": hh.cells.Section(20, 20), "dend": hh.cells.Section(500, 2, parent="soma", at=0.5)}
    cell = hh.Cell(sections, {"soma": hh.squid_axon(), "dend": passive}, resistivity=150)
    ```

    It can replace a neuron everywhere, in [`hh.simulate`][], [`hh.Network`][] and so on. V, and everything
    with one value for each neuron, then has one for each compartment, numbered as in
    [`hh.cells.Morphology`][].

    **Arguments:**

    - `morphology`: a [`hh.cells.Morphology`][], or sections of which to make one.
    - `membranes`: a neuron for all of it, or one by each region. Its parameters are scalars or have one
        value for each compartment of the region. A function is called with the way of each from the
        middle of the root section (µm), and returns such a neuron.
    - `resistivity`: Ω·cm, scalar or one for each compartment.

    **Raises:** `ValueError` for regions without a membrane, and membranes without a region.
    """

    membranes: Neuron | dict[str, Neuron]
    geometry: Geometry

    def __init__(
        self,
        morphology: Morphology | Mapping[str, Section],
        membranes: Membrane | Mapping[str, Membrane],
        *,
        resistivity: ArrayLike = 100.0,
    ):
        if is_concrete(resistivity):
            limits = {"positive": True, "finite": True}
            resistivity = as_array("resistivity", resistivity, "Ω·cm", **limits)
        if isinstance(morphology, Mapping):
            mean = float(np.mean(resistivity)) if is_concrete(resistivity) else 100.0
            morphology = Morphology(morphology, resistivity=mean)
        if not isinstance(morphology, Morphology):
            raise TypeError(
                f"`morphology` must be an hh.cells.Morphology, or a dict of sections, got {morphology!r}."
            )
        of = morphology.compartments
        self.geometry = Geometry(morphology, of.length, of.diameter, resistivity)
        if isinstance(membranes, Mapping):
            if set(membranes) != set(morphology.regions):
                raise ValueError(
                    f"`membranes` must have a neuron for each of the regions {list(morphology.regions)}, "
                    f"got {list(membranes)}."
                )
            at = lambda region: of.distance[of.region == region]
            self.membranes = {k: _membrane(membranes[k], at(k), k) for k in morphology.regions}
        else:
            self.membranes = _membrane(membranes, of.distance, None)

    @property
    def morphology(self) -> Morphology:
        return self.geometry.morphology

    @property
    def n(self) -> int:
        """How many compartments there are."""
        return self.morphology.n

    @property
    def area(self) -> Float[Array, " compartments"]:
        """Membrane area of each compartment, µm²."""
        return self.geometry.area

    def index(self, place: str | int) -> int:
        """The number of the compartment at a place, see [`hh.cells.Morphology`][]."""
        return self.morphology.index(place)

    def _tables(self) -> list[Table]:
        return [*self.morphology._tables(), parameter_table(self)]


class Cable(Cell):
    """An unbranched cell of one membrane: its only section is `"cable"`.

    ```python
    hh.Cable(hh.squid_axon(celsius=18.5), length=30_000, diameter=476, resistivity=35.4, n=300)
    ```

    **Arguments:** `membrane`: see [`hh.Cell`][]; `length`, `diameter`: µm; `resistivity`: Ω·cm; `n`: the
    number of compartments, by default so many that each is a tenth of the space constant at 100 Hz.
    """

    def __init__(
        self,
        membrane: Membrane,
        length: ArrayLike,
        diameter: Any,
        *,
        resistivity: ArrayLike = 100.0,
        n: int | None = None,
    ):
        super().__init__({"cable": Section(length, diameter, n=n)}, membrane, resistivity=resistivity)


def _membrane(membrane: Any, distance: np.ndarray, region: str | None) -> Neuron:
    made = membrane
    if callable(membrane) and not isinstance(membrane, Neuron | type):
        made = membrane(distance)
    if not isinstance(made, Neuron):
        name = "membranes" if region is None else f"membranes[{region!r}]"
        raise TypeError(f"`{name}` must be an hh.Neuron, or a function that returns one, got {made!r}.")
    return made


class Placed(eqx.Module):
    """Equal cells in a network: V has `count` of each compartment in turn, from `start` on.

    **Fields:** `known`: conductances of links and areas of compartments, once they are worked out.
    """

    geometry: Geometry
    start: int = eqx.field(static=True)
    count: int = eqx.field(static=True)
    known: tuple[Array, Array] | None = None

    @property
    def n(self) -> int:
        return self.geometry.morphology.n * self.count

    def settled(self) -> "Placed":
        """The same with what does not change in a run worked out."""
        return put(self, known=(self.geometry.conductance(), self.area))

    @property
    def area(self) -> Float[Array, " n"]:
        """Membrane area of each compartment of all cells, µm²."""
        # Repeated before the loop, so that a gradient is summed over the cells once, after the loop.
        return jnp.repeat(self.geometry.area, self.count) if self.known is None else self.known[1]

    def tree(self, C: Float[Array, " n"]) -> Tree | None:
        """How they are joined, for capacitances C (µF/cm²) of a whole network; `None` for one compartment."""
        shape = self.geometry.morphology
        if shape.n == 1:
            return None
        return Tree(shape.joints.links, *_sizes(self, C), self.start)

    def index(self, place: str | int) -> slice:
        """Where in V the compartments at a place are, one for each cell."""
        first = self.start + self.geometry.morphology.index(place) * self.count
        return slice(first, first + self.count)


@eqx.filter_jit  # operations one by one, for every new shape, take longer to compile
def _sizes(cell: Placed, C: Float[Array, " n"]) -> tuple[Array, Array]:
    """Conductances of links, µS, and capacities of compartments, shape (compartments, count)."""
    shape = (cell.geometry.morphology.n, cell.count)
    capacity = (1e-5 * cell.area * C[cell.start : cell.start + cell.n]).reshape(shape)
    return cell.geometry.conductance() if cell.known is None else cell.known[0], capacity


def places_of(cells: Mapping[str, Placed], n: int) -> dict[str, np.ndarray]:
    """Where each of n V is, as arrays of shape (n,): `section`, `along` it from 0 to 1, `distance` (µm) from
    the middle of the root section, and `cell`, a number. A point has a number and no place.

    Empty where all are points.
    """
    found: dict[str, list[Any]] = {"section": [], "along": [], "distance": [], "cell": []}
    add = lambda *values: [column.append(x) for column, x in zip(found.values(), values)]
    stop = numbered = 0
    for cell in sorted(cells.values(), key=lambda cell: cell.start):
        points = cell.start - stop
        add(np.full(points, ""), *np.full((2, points), np.nan), numbered + np.arange(points))
        numbered += points
        of = cell.geometry.morphology.compartments
        each = lambda x: np.repeat(x, cell.count)
        numbers = np.tile(numbered + np.arange(cell.count), cell.geometry.morphology.n)
        add(each(of.section), each(of.along), each(of.distance), numbers)
        stop, numbered = cell.start + cell.n, numbered + cell.count
    if cells:
        points = n - stop
        add(np.full(points, ""), *np.full((2, points), np.nan), numbered + np.arange(points))
    return {name: np.concatenate(parts) for name, parts in found.items() if parts}


def lay_out(cell: Cell, name: str, start: int, count: int) -> tuple[dict[str, tuple[Neuron, int]], Placed]:
    """The membranes of equal cells by region, each with the number of compartments, and where they are."""
    shape = cell.morphology
    membranes = {"": cell.membranes} if isinstance(cell.membranes, Neuron) else cell.membranes
    sizes = shape.regions if isinstance(cell.membranes, dict) else {"": shape.n}

    def over(x: Any, n: int) -> Any:
        if not eqx.is_array(x) or x.ndim == 0 or count == 1 and x.shape == (n,):
            return x
        by_compartment = x if x.ndim == 2 else x[:, None]
        return jnp.broadcast_to(by_compartment, (n, count)).reshape(-1)

    found = {}
    for region, n in sizes.items():  # in their order in V, which a dict that went through JAX has lost
        whole = ".".join(part for part in (name, region) if part)
        spread = jax.tree.map(lambda x, n=n: over(x, n), membranes[region])
        found[whole] = spread, n * count
    return found, Placed(cell.geometry, start, count)
