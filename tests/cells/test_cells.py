"""Cells of many compartments, against NEURON, the cable equation and themselves.

Numbers of NEURON 9.0.2 are of converged runs with exact rates (`usetable_hh = 0`).
"""

import functools
import math

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hhjax as hh
from hhjax.cells import Section

PASSIVE = hh.Neuron({"leak": hh.Leak(g=0.1, E=-65.0)})


END = diffrax.SaveAt(t1=True)


def steady(cell, place, nA):
    """V of a passive cell after a long time, less that without the current."""
    network = hh.Network(cell)
    rate = network.V_form(0.0, network.init(), 0.0)[1]
    into = np.zeros(network.n)
    into[cell.index(place)] = 1e5 * nA / float(cell.area[cell.index(place)])
    solve = eqx.filter_jit(lambda network, rate, into: network.V_operator().solve(rate, into)[0])
    return np.asarray(solve(network, rate, jnp.asarray(into)))


@pytest.mark.parametrize("solver", ["strang", "crank_nicolson"])
def test_the_propagated_action_potential_of_1952(solver):
    """NEURON with 301 compartments and dt 0.0025 ms; Hodgkin and Huxley computed 18.8 m/s."""
    cell = hh.Cable(hh.squid_axon(celsius=18.5), 30_000, 476, resistivity=35.4, n=301)
    pulse = hh.PointCurrent(hh.Step(20_000.0, 0.0, 0.5), at=0)
    run = hh.simulate(cell, t1=1.6, dt=0.0025, stimulus=pulse, solver=solver)
    places = [cell.index(f"cable({x})") for x in (0.25, 0.5, 0.75)]
    times = np.array([run.spike_times()[place][0] for place in places])
    np.testing.assert_allclose(times, [0.4922536, 0.8931023, 1.2923514], atol=3e-5)
    # Between the middles of compartments, not the quarters of the cable.
    way = (places[2] - places[0]) * 30_000 / 301 / 1000
    assert way / (times[2] - times[0]) == pytest.approx(18.70, rel=2e-3)


def tree_step(n):
    dend = functools.partial(Section, n=n, region="dend")
    sections = {
        "soma": Section(20, 20, n=n),
        "d0": dend(150, 3, "soma"),
        "d1": dend(200, 1.5, "d0"),
        "d2": dend(120, 2, "d0"),
        "d3": dend(300, 1, "d2"),
        "axon": Section(400, 1, "soma", at=0, n=n),
    }
    axon = hh.squid_axon()
    return hh.Cell(sections, {"soma": axon, "dend": PASSIVE, "axon": axon}, resistivity=100)


def test_a_branched_cell_fires_as_in_neuron():
    """`tree_step`: NEURON with 135 compartments a section, dt 0.001 ms."""
    cell = tree_step(45)
    step = hh.PointCurrent(hh.Step(0.5, 5.0, 65.0), at="soma")
    run = hh.simulate(cell, t1=80.0, dt=0.01, stimulus=step)
    spikes = lambda place: run.spike_times()[cell.index(place)]
    soma = [6.7476811, 20.5764006, 33.9487237, 47.2792217, 60.6031755]
    axon = [7.5768504, 21.3319252, 34.6886156, 48.0146305, 61.3379239]
    np.testing.assert_allclose(spikes("soma"), soma, atol=4e-3)
    np.testing.assert_allclose(spikes("axon(1)"), axon, atol=4e-3)
    V = {
        "soma": (-64.99732, -50.92861, -67.65564, -37.20738, -63.27134, -36.13838, -67.11817),
        "d1": (-64.99844, -60.23582, -49.11167, -49.82419, -64.25384, -49.12827, -67.40559),
    }
    at = np.array([2, 6, 10, 20, 40, 60, 75]) * 100
    for place, values in V.items():
        np.testing.assert_allclose(run.V[at, cell.index(place)], values, atol=0.1)
    assert run.V[:, cell.index("d1")].max() == pytest.approx(-4.19710, abs=0.05)


STICK = {"soma": Section(20, 20, n=1), "dend": Section(500, 2, "soma", at=0.5, n=243)}
TWO = {
    "soma": Section(20, 20, n=1),
    "trunk": Section(200, 4, "soma", at=0.5, n=81),
    "br1": Section(150, 2, "trunk", n=81),
    "br2": Section(250, 1.2, "trunk", n=81),
}
TAPER = {"soma": Section(20, 20, n=1), "dend": Section(300, [4, 1], "soma", at=0.5, n=243)}


@pytest.mark.parametrize(
    "sections, resistances",  # MΩ, closed formulas of the cable; of the taper an integration
    [
        (STICK, {"soma": 263.602204, "dend(1)": 188.417653}),
        (TWO, {"soma": 187.670697, "br1(1)": 169.161536, "br2(1)": 150.731393}),
        (TAPER, {"soma": 282.344222, "dend(1)": 264.205286}),
    ],
)
def test_resistances_of_passive_cells(sections, resistances):
    cell = hh.Cell(sections, PASSIVE, resistivity=150)
    moved = steady(cell, "soma", 1.0)
    for place, expected in resistances.items():
        assert moved[cell.index(place)] == pytest.approx(expected, rel=2e-5)
    # What a current here does there, it does here from there.
    far = list(resistances)[-1]
    assert steady(cell, far, 1.0)[cell.index("soma")] == pytest.approx(moved[cell.index(far)], rel=1e-10)


@pytest.mark.parametrize(
    "sections, spikes",  # ms; NEURON extrapolated in space, its own leak of -54.3 mV
    [
        (STICK, {"soma": [6.216880, 18.932013, 31.307781, 43.665464], "dend(1)": [6.991924, 19.760633]}),
        (TWO, {"soma": [6.788285, 21.917738, 36.782696, 51.636593], "br1(1)": [6.988558, 22.064192]}),
        (TAPER, {"soma": [6.489137, 19.838087, 32.823586, 45.789634], "dend(1)": [6.635090, 19.944378]}),
    ],
)
def test_spikes_of_hand_made_cells(sections, spikes):
    axon = hh.replace(hh.squid_axon(), {"leak.E": -54.3})
    cell = hh.Cell(sections, axon, resistivity=100)
    step = hh.PointCurrent(hh.Step(0.5, 5.0, 55.0), at="soma")
    run = hh.simulate(cell, t1=60.0, dt=0.01, stimulus=step)
    for place, expected in spikes.items():
        found = run.spike_times()[cell.index(place)]
        assert len(found) == len(spikes["soma"])
        np.testing.assert_allclose(found[: len(expected)], expected, atol=5e-3)


RALLPACK = hh.Neuron({"leak": hh.Leak(g=0.025, E=-65.0)})  # 40,000 Ω·cm²


def cable_potential(x, t, nA):
    """V (mV) less rest at x (µm) of a sealed cable of 1 mm × 1 µm with a current at 0: the sum over
    modes of the cable equation, C 1 µF/cm², tau 40 ms, Ra 100 Ω·cm."""
    length, diameter, tau, Ra, Rm = 1000.0, 1.0, 40.0, 100.0, 40_000.0
    lam2 = diameter / 4 * Rm / Ra * 1e4  # µm²
    r_input = Rm / (math.pi * diameter * length * 1e-8) * 1e-6  # MΩ
    k = np.arange(20_000)
    rate = 1 + lam2 * (k * np.pi / length) ** 2
    weight = np.where(k == 0, 1.0, 2.0) * np.cos(k * np.pi * x / length) / rate
    return nA * r_input * (weight * (1 - np.exp(-t / tau * rate))).sum()


def test_the_passive_cable_against_its_closed_form():
    """Rallpack 1 (U. S. Bhalla et al., Trends Neurosci. 15 (1992) 453-458)."""
    cell = hh.Cable(RALLPACK, 1000, 1, resistivity=100, n=1000)
    save = diffrax.SaveAt(steps=100)
    run = hh.simulate(cell, t1=250.0, dt=0.05, stimulus=hh.PointCurrent(0.1, at=0), saveat=save)
    # From the middle of the first compartment to the end where the current enters.
    to_end = 0.1 * 1e-2 * 100 * 0.5 / (math.pi / 4)
    for index, x, end in ((0, 0.5, 101.935 - to_end), (-1, 999.5, 43.096)):
        assert float(run.V[-1, index]) == pytest.approx(end, abs=2e-3)
        exact = np.array([cable_potential(x, t, 0.1) for t in np.asarray(run.ts)])
        error = np.sqrt(np.mean((run.V[:, index] + 65 - exact) ** 2))
        assert error / (exact.max() - exact.min()) < 1e-3


def test_a_tree_of_ten_levels():
    """Rallpack 2: 1,023 cylinders that together are a cable, by Rall's rule."""
    sections, above = {"0": Section(32, 16, n=1, region="tree")}, ["0"]
    for level in range(1, 10):
        own = []
        for parent in above:
            for side in "01":
                length, diameter = 32 * 2 ** (-level / 3), 16 * 2 ** (-2 * level / 3)
                sections[parent + side] = Section(length, diameter, parent, n=1, region="tree")
                own.append(parent + side)
        above = own
    cell = hh.Cell(sections, RALLPACK, resistivity=100)
    assert cell.n == 1023
    run = hh.simulate(cell, t1=250.0, dt=0.05, stimulus=hh.PointCurrent(0.1, at=0), saveat=END)
    to_end = 0.1 * 1e-2 * 100 * 16 / (math.pi / 4 * 16**2)
    assert float(run.V[-1, 0]) + to_end == pytest.approx(-40.127, abs=2e-3)
    assert float(run.V[-1, cell.index(above[0])]) == pytest.approx(-40.207, abs=2e-3)


def test_an_axon_of_1000_compartments_fires_18_times():
    """Rallpack 3, with the sodium and potassium of 1952."""
    membrane = hh.replace(hh.squid_axon(), {"leak.g": 0.025, "leak.E": -65.0})
    cell = hh.Cable(membrane, 1000, 1, resistivity=100, n=1000)
    reduce = hh.SpikeTimes(20)
    current = hh.PointCurrent(0.1, at=0)
    run = hh.simulate(cell, t1=250.0, dt=0.025, stimulus=current, saveat=END, reduce=reduce)
    near, far = np.asarray(run.reduced.times)[[0, -1]]
    np.testing.assert_allclose(near[:3], [1.35, 16.05, 30.6], atol=0.05)
    assert (np.isfinite(near).sum(), np.isfinite(far).sum()) == (18, 17)
    assert run.reduced.count[jnp.array([0, -1])].tolist() == [18, 17]


def at_end(dt, n, solver="strang"):
    """V of a third of a cable in which a current rises in the middle, at a place that is a
    compartment's middle for n = 9, 27 and so on."""
    cell = hh.Cable(hh.squid_axon(), 2000.0, 100.0, resistivity=100.0, n=n)
    current = hh.PointCurrent(hh.Sine(200.0, 100.0), at="cable(0.5)")
    steps = max(round(4.0 / dt), 400)  # the same for some dt: one compilation
    run = hh.simulate(cell, t1=steps * dt, dt=dt, stimulus=current, solver=solver)
    return float(run.V[round(4.0 / dt), cell.index(f"cable({7 / 18})")])


@pytest.mark.parametrize("solver, order", [("strang", 2), ("crank_nicolson", 2), ("backward_euler", 1)])
def test_order_in_time(solver, order):
    exact = at_end(0.00125, 27)
    errors = [abs(at_end(dt, 27, solver) - exact) for dt in (0.02, 0.01)]
    assert 0.85 * order < np.log2(errors[0] / errors[1]) < 1.3 * order


def test_order_in_space():
    exact = at_end(0.01, 243)
    errors = [abs(at_end(0.01, n) - exact) for n in (9, 27)]
    assert 1.7 < np.log(errors[0] / errors[1]) / np.log(3) < 2.4


def test_a_step_loses_no_charge():
    """What flows along a cell without channels stays in it."""
    still = hh.Neuron({"leak": hh.Leak(g=0.0, E=-65.0)})
    cell = hh.Cell(TWO, still, resistivity=150)
    v0 = -65.0 + 20.0 * np.random.default_rng(0).normal(size=cell.n)
    charge = lambda V: float((np.asarray(cell.area) * (np.asarray(V) + 65.0)).sum())
    for solver in ("strang", "crank_nicolson", "backward_euler"):
        run = hh.simulate(cell, t1=1.0, dt=0.025, v0=v0, solver=solver, saveat=END)
        scale = float((np.asarray(cell.area) * abs(v0 + 65)).sum())
        assert charge(run.V[-1]) == pytest.approx(charge(v0), abs=1e-11 * scale)


def test_the_order_of_sections_does_not_matter():
    step = hh.PointCurrent(0.5, at="soma")
    runs = []
    for names in (list(TWO), list(TWO)[::-1]):
        cell = hh.Cell({name: TWO[name] for name in names}, hh.squid_axon(), resistivity=150)
        run = hh.simulate(cell, t1=10.0, dt=0.025, stimulus=step)
        runs.append({name: run.V[:, cell.index(f"{name}(0.9)")] for name in TWO})
    for name in TWO:
        np.testing.assert_allclose(runs[0][name], runs[1][name], atol=1e-8)


@pytest.mark.parametrize("solver", [None, "crank_nicolson", "exp_euler", "rk4"])
def test_one_compartment_is_the_neuron_itself(solver):
    cell = hh.Cable(hh.squid_axon(), 100, 100 / math.pi, n=1)  # 10,000 µm²
    point = hh.simulate(hh.squid_axon(), t1=20.0, dt=0.025, stimulus=hh.Step(10.0, 2.0), solver=solver)
    run = hh.simulate(cell, t1=20.0, dt=0.025, stimulus=hh.Step(10.0, 2.0), solver=solver)
    np.testing.assert_array_equal(run.V, point.V)
    if solver in (None, "rk4"):
        placed = hh.PointCurrent(hh.Step(1.0, 2.0), at="cable")  # nA
        run = hh.simulate(cell, t1=20.0, dt=0.025, stimulus=placed, solver=solver)
        np.testing.assert_allclose(run.V, point.V, atol=2e-3)


def test_an_even_current_makes_every_compartment_a_neuron():
    point = hh.simulate(hh.squid_axon(), t1=20.0, dt=0.01, stimulus=10.0)
    cell = hh.Cell(TWO, hh.squid_axon(), resistivity=150)
    run = hh.simulate(cell, t1=20.0, dt=0.01, stimulus=10.0)
    np.testing.assert_allclose(run.V, np.broadcast_to(point.V, run.V.shape), atol=0.3)


def test_explicit_solvers_and_diffrax():
    cell = hh.Cable(hh.squid_axon(), 1000, 2, resistivity=100, n=11)
    current = hh.PointCurrent(0.2, at=0)
    exact = hh.reference(cell, t1=2.5, stimulus=current)
    for solver in ("strang", "rk4", "exp_euler", diffrax.Heun(), diffrax.Kvaerno5()):
        run = hh.simulate(cell, t1=2.5, dt=0.005, stimulus=current, solver=solver)
        np.testing.assert_allclose(run.V[-1], exact.V[-1], atol=0.2)
    fine = hh.Cable(hh.squid_axon(), 1000, 2, resistivity=100, n=101)
    with pytest.raises(ValueError, match=r"`network` has links .* or dt = 0.0\d+ ms, got dt = 0.025 ms"):
        hh.simulate(fine, t1=5.0, dt=0.025, stimulus=current, solver="rk4")


def loss(network, v0, current):
    """The mean of V squared, which every parameter moves."""
    run = hh.simulate(
        network,
        t1=2.0,
        dt=0.025,
        v0=v0,
        stimulus=hh.PointCurrent(hh.Step(current, 0.5), at="soma"),
        saveat=diffrax.SaveAt(steps=20),
    )
    return (run.V**2).mean() / 1e3


def gradient_case():
    sections = {
        "soma": Section(20, 20, n=1),
        "trunk": Section(200, [4, 2], "soma", at=0.5, n=3),
        "br1": Section(150, 2, "trunk", n=2, region="dend"),
        "br2": Section(250, 1.2, "trunk", n=2, region="dend"),
    }
    axon = hh.squid_axon()
    cell = hh.Cell(sections, {"soma": axon, "trunk": axon, "dend": PASSIVE}, resistivity=150)
    network = hh.Network(cell)
    names = ("soma.na.g", "trunk.k.g", "dend.leak.g", "resistivity", "diameter", "length", "trunk.C")
    values = {name: hh.get(network, name) for name in names}
    return network, values, np.linspace(-65.0, -55.0, network.n)


@functools.cache
def value_and_gradient():
    """The loss as a function of parameters, V at the start and current, these, and its gradient there."""
    network, values, v0 = gradient_case()
    of = lambda values, v0, current: loss(hh.replace(network, values), v0, current)
    both = jax.jit(jax.value_and_grad(of, argnums=(0, 1, 2)))
    given = (values, jnp.asarray(v0), jnp.asarray(0.8))
    return of, lambda *given: both(*given)[0], given, both(*given)[1]


def test_gradients_equal_central_differences():
    of, value, given, found = value_and_gradient()
    along = jax.tree.map(lambda x: x * np.random.default_rng(1).normal(size=x.shape), given)
    forward = jax.jit(lambda *given: jax.jvp(of, given, along)[1])(*given)
    inner = sum(jax.tree.leaves(jax.tree.map(lambda a, b: (a * b).sum(), found, along)))
    assert float(forward) == pytest.approx(float(inner), rel=1e-9)
    for k, x in enumerate(jax.tree.leaves(given)):
        direction = jnp.ones_like(x) * jnp.maximum(jnp.abs(x), 0.1)

        def moved(step):
            leaves = jax.tree.leaves(given)
            leaves[k] = leaves[k] + step * direction
            return value(*jax.tree.unflatten(jax.tree.structure(given), leaves))

        difference = (moved(1e-5) - moved(-1e-5)) / 2e-5
        slope = (jax.tree.leaves(found)[k] * direction).sum()
        assert float(slope) == pytest.approx(float(difference), rel=1e-6)


def test_gradients_in_float32():
    *_, (exact, _, _) = value_and_gradient()
    with jax.enable_x64(False):
        network, values, v0 = gradient_case()
        of = jax.jit(jax.grad(lambda values: loss(hh.replace(network, values), v0, 0.8)))
        single = jax.tree.map(lambda x: np.asarray(x, float), of(values))
    for name, x in exact.items():
        np.testing.assert_allclose(single[name], x, rtol=0.01, atol=0.01 * np.abs(x).max())


def test_networks_of_cells():
    """Equal cells in one network are the cell alone, beside another kind and with a synapse far out."""
    cell = tree_step(3)
    step = hh.PointCurrent(hh.Step(0.5, 5.0), at="soma")
    alone = hh.simulate(cell, t1=20.0, dt=0.025, stimulus=step)
    together = hh.simulate(hh.Network(cell, n=3), t1=20.0, dt=0.025, stimulus=step)
    each = together.V.reshape(-1, cell.n, 3)
    np.testing.assert_allclose(each, np.broadcast_to(alone.V[..., None], each.shape), atol=1e-9)

    network = hh.Network(
        {"pyr": cell, "int": hh.wang_buzsaki()},
        n={"pyr": 2, "int": 1},
        coupling={
            "out": hh.GradedSynapse(np.array([[0.3, 0.0]]), pre="pyr.axon(1)", post="int"),
            "back": hh.GradedSynapse(np.array([[0.0], [5.0]]), pre="int", post="pyr.d3(1)"),
        },
    )
    V = hh.simulate(network, t1=20.0, dt=0.025, stimulus=hh.PointCurrent(hh.Step(0.5, 5.0), at="pyr.soma")).V
    at = lambda place, k: V[:, network.index(place)][:, k]
    np.testing.assert_allclose(at("pyr.soma", 0), alone.V[:, cell.index("soma")], atol=1e-9)
    assert V[:, -1].max() > 0  # the other one was made to fire
    assert (at("pyr.d3(1)", 1) - at("pyr.d3(1)", 0)).max() > 2.0
    with pytest.raises(ValueError, match=r"`place` must be on a section, got 'nose'.*Known are soma, d0"):
        network.index("pyr.nose")


def test_regions_keep_their_order():
    """JAX sorts the names of a dict, of a cell that is changed or goes through jit."""
    cell = tree_step(3)
    step = hh.PointCurrent(0.5, at="soma")
    run = hh.simulate(cell, t1=5.0, dt=0.025, stimulus=step)
    changed = hh.replace(cell, {"soma.na.g": 120.0})
    inside = jax.jit(lambda cell: hh.simulate(cell, t1=5.0, dt=0.025, stimulus=step).V)
    for V in (hh.simulate(changed, t1=5.0, dt=0.025, stimulus=step).V, inside(cell)):
        np.testing.assert_allclose(V, run.V, atol=1e-9)


def test_gap_junctions_between_cells():
    cell = tree_step(3)
    weights = np.zeros((2, 2))
    weights[0, 1] = weights[1, 0] = 50.0
    joined = {"gap": hh.synapses.GapJunction(weights, pre="pyr.soma(0.5)", post="pyr.soma(0.5)")}
    network = hh.Network({"pyr": cell}, n={"pyr": 2}, coupling=joined)

    @jax.jit
    def solved(rate, b):
        L = network.V_operator()
        x, again = L.solve(rate, b)
        return jax.vmap(L.times)(jnp.eye(network.n)).T, x, again(2 * b)

    b = np.random.default_rng(0).normal(size=network.n)
    dense, x, twice = solved(jnp.full(network.n, 40.0), jnp.asarray(b))
    np.testing.assert_allclose(x, np.linalg.solve(dense + 40 * np.eye(network.n), b), atol=1e-10)
    np.testing.assert_allclose(twice, 2 * x, atol=1e-10)
    into_one = hh.PointCurrent(jnp.array([0.5, 0.0]), at="pyr.soma")
    run = hh.simulate(network, t1=20.0, dt=0.025, stimulus=into_one, solver="backward_euler")
    soma = run.V[:, network.index("pyr.soma(0.5)")]
    assert np.abs(soma[:, 0] - soma[:, 1]).max() < 30
    assert soma[:, 1].max() > 0  # which only the junction drives


def test_a_clamp_at_a_place():
    """V of a passive cable held at one end falls as cosh of the way from the other (W. Rall, 1959)."""
    cell = hh.Cable(PASSIVE, 1000.0, 2.0, resistivity=100.0, n=201)
    clamp = hh.Clamp(hh.Constant(-25.0), 1e3)  # µS
    run = hh.simulate(cell, t1=100.0, dt=0.025, stimulus=hh.PointCurrent(clamp, at=0), saveat=END)
    space = math.sqrt(2e-4 / 4 / (100 * 0.1e-3)) * 1e4  # µm
    x = np.asarray(cell.morphology.compartments.along) * 1000
    exact = -65 + 40 * np.cosh((1000 - x) / space) / np.cosh((1000 - x[0]) / space)
    np.testing.assert_allclose(run.V[-1], exact, atol=2e-3)


def test_sweeps_and_noise():
    cell = tree_step(3)
    swept = hh.sweep(
        cell,
        over={"soma.na.g": jnp.array([100.0, 120.0]), "resistivity": jnp.array([80.0, 150.0, 300.0])},
        t1=10.0,
        dt=0.025,
        stimulus=hh.PointCurrent(0.5, at="soma"),
        saveat=END,
    )
    one = hh.simulate(
        hh.replace(hh.Network(cell), {"soma.na.g": 100.0, "resistivity": 300.0}),
        t1=10.0,
        dt=0.025,
        stimulus=hh.PointCurrent(0.5, at="soma"),
        saveat=END,
    )
    np.testing.assert_allclose(swept.ys.V[0, 2, -1], one.V[-1], atol=2e-3)
    noisy = hh.Network(cell, noise=hh.CurrentNoise(0.5))
    run = hh.simulate(noisy, t1=5.0, dt=0.025, key=jax.random.key(0))
    assert np.isfinite(run.V).all() and np.asarray(run.V).std(axis=1)[-1] > 0.01


def test_saving(tmp_path):
    network = hh.Network({"pyr": tree_step(3)}, n={"pyr": 2})
    run = hh.simulate(network, t1=2.0, dt=0.025, stimulus=hh.PointCurrent(0.5, at="pyr.soma"))
    hh.save(tmp_path / "run.npz", (network, run))
    again, loaded = hh.load(tmp_path / "run.npz")
    assert eqx.tree_equal(again, network) and jax.tree.structure(again) == jax.tree.structure(network)
    np.testing.assert_array_equal(loaded.V, run.V)
    assert again.index("pyr.d3(1)") == network.index("pyr.d3(1)")


def test_parameters_by_distance_and_by_name():
    falling = lambda distance: hh.replace(hh.squid_axon(), {"na.g": 120 * np.exp(-distance / 200)})
    cell = hh.Cell(TWO, {"soma": hh.squid_axon(), "trunk": falling, "br1": PASSIVE, "br2": PASSIVE})
    g = hh.get(cell, "trunk.na.g")
    assert g.shape == (81,)
    assert g[0] == pytest.approx(120 * math.exp(-(0.5 * 200 / 81) / 200))
    wide = hh.Network({"pyr": cell}, n={"pyr": 4})
    np.testing.assert_array_equal(hh.get(wide, "pyr.trunk.na.g").reshape(81, 4), np.stack([g] * 4, axis=1))
    assert hh.get(wide, "pyr.resistivity") == 100.0


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Section(-1, 2), "`length` must be positive"),
        (lambda: Section("20", 2), "`length` must be a number or an array in µm, got '20'"),
        (lambda: Section(20, 2, at=None), "`at` must be a number, got None"),
        (lambda: Section(20, 2, parent=3), "`parent` must be the name of a section, got 3"),
        (lambda: hh.cells.Morphology(3), "`sections` must be a dict"),
        (lambda: hh.Cell(STICK, PASSIVE, resistivity="100"), "`resistivity` must be a number or an array"),
        (lambda: hh.Cell(STICK, hh.Neuron), "`membranes` must be an hh.Neuron, or a function"),
        (lambda: hh.PointCurrent("1", at=0), "`PointCurrent.current` must be a number"),
        (lambda: hh.PointCurrent(1.0, at=None), "`at` must be a place such as 'dend"),
        (lambda: hh.cells.load(3), "`path` must be a path, such as a string, got 3"),
        (lambda: Section(10, 0), "`diameter` must be positive"),
        (lambda: Section([10, 10], [1, 2]), "`diameter` must be one number or 3"),
        (lambda: Section(10, 1, n=0), "`n` must be a whole number"),
        (lambda: Section(10, 1, "soma", at=2), "`at` must be between 0 and 1, got 2"),
        (lambda: hh.Cell({"a": Section(1, 1, "b")}, PASSIVE), r"`sections\['a'\].parent` must be a section"),
        (
            lambda: hh.Cell(
                {"r": Section(1, 1), "a": Section(1, 1, "b"), "b": Section(1, 1, "a")},
                PASSIVE,
            ),
            r"`sections` must hang together: \['a', 'b'\]",
        ),
        (lambda: hh.Cell({"a": Section(1, 1), "b": Section(1, 1)}, PASSIVE), "`sections` must have one"),
        (lambda: hh.Cell(STICK, {"soma": PASSIVE}), r"`membranes` must have .*\['soma', 'dend'\]"),
        (lambda: hh.Cell(STICK, hh.Leak), "`membranes` must be an hh.Neuron"),
        (
            lambda: hh.Cell(STICK, PASSIVE, resistivity=-1),
            "`resistivity` must be positive, got -1.0",
        ),
        (lambda: hh.Cell(STICK, PASSIVE).index("dent"), "Did you mean 'dend'"),
        (lambda: hh.Cell(STICK, PASSIVE).index("dend(1.5)"), "`place` must be from 0 to 1 along"),
        (lambda: hh.Cell(STICK, PASSIVE).index(9999), "`place` must be a number from 0 to 243"),
        (
            lambda: hh.simulate(hh.squid_axon(), t1=1.0, dt=0.1, stimulus=hh.PointCurrent(1.0, at="soma")),
            "`place` must be on a cell",
        ),
    ],
)
def test_wrong_arguments(make, message, as_users_run_it):
    with pytest.raises((ValueError, TypeError), match=message):
        make()


def test_places_are_coordinates(tmp_path):
    pytest.importorskip("xarray")
    cell = tree_step(1)
    network = hh.Network({"int": hh.wang_buzsaki(), "pyr": cell}, n={"int": 2, "pyr": 3})
    run = hh.simulate(network, t1=1.0, dt=0.1, stimulus=1.0)
    data = run.to_xarray()
    assert data.V.dims == ("time", "neuron") and data.distance.attrs["units"] == "µm"
    of = cell.morphology.compartments
    for place in ("soma", "d1(0.5)", "axon"):
        at = network.index(f"pyr.{place}")
        here = data.isel(neuron=at)
        section = place.partition("(")[0]
        assert here.section.values.tolist() == [section] * 3 and (here.along == 0.5).all()
        assert here.cell.values.tolist() == [2, 3, 4]
        assert (here.distance == of.distance[cell.index(place)]).all()
        chosen = data.V[:, (data.section == section).values]
        np.testing.assert_array_equal(chosen, run.V[:, at])
    points = data.isel(neuron=network.ranges["int"])
    assert points.cell.values.tolist() == [0, 1] and set(points.section.values) == {""}
    assert np.isnan(points.distance).all()
    hh.save(tmp_path / "run.npz", run)
    loaded = hh.load(tmp_path / "run.npz")
    assert "section" not in loaded.to_xarray().coords
    assert loaded.to_xarray(network).section.equals(data.section)
    with pytest.raises(ValueError, match="`network` must be what was run, of n = 20, got "):
        run.to_xarray(cell)
    swept = hh.sweep(cell, over={"resistivity": [50.0, 100.0]}, t1=1.0, dt=0.1).to_xarray()
    assert swept.section.values.tolist() == of.section.tolist()
    assert "section" not in hh.simulate(hh.squid_axon(), t1=1.0, dt=0.1).to_xarray().coords


def test_spikes_that_fade_in_dendrites_are_no_reason_to_warn(recwarn):
    """The passive end of a dendrite moves by 10 mV and more with each spike of the soma, below 0 mV."""
    far = functools.partial(Section, 300, 1, parent="soma", n=3)
    sections = {"soma": Section(20, 20, n=1), "d0": far(region="dend"), "d1": far(region="dend")}
    cell = hh.Cell(sections, {"soma": hh.squid_axon(), "dend": PASSIVE}, resistivity=100)
    current = hh.PointCurrent(jnp.array([1.0, 0.0]), at="soma")
    network = hh.Network(cell, n=2)
    count = {"count": hh.SpikeCount(), "times": hh.SpikeTimes(9)}
    options = dict(t1=20.0, dt=0.025, stimulus=current)
    run = hh.simulate(network, reduce=count, saveat=diffrax.SaveAt(t0=True, steps=1, fn=hh.save_V), **options)
    end = network.index("d0(1)")
    V = np.asarray(run.V[:, end])
    assert V[:, 0].max() < 0 and np.ptp(V[:, 0]) > 20 and np.ptp(V[:, 1]) < 1
    assert len(run.spike_times()[0]) == run.reduced["count"][0] == 1 and "below" not in str(run)
    hh.sweep(network, over={"resistivity": [100.0]}, **options)
    assert not [x for x in recwarn if "rises and falls" in str(x.message)]
    with pytest.warns(UserWarning, match="V of 7 of 14 neurons rises and falls"):
        run.spike_times(50.0)
    with pytest.warns(UserWarning, match="V of 7 of 14 neurons rises and falls"):
        hh.simulate(network, reduce=hh.SpikeCount(50.0), **options)
