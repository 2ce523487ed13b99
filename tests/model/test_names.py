"""One name for a parameter, whoever asks for it."""

from collections.abc import Mapping
from typing import ClassVar

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hhjax as hh
from hhjax._cli._common import make_model
from hhjax._fit._free import resolve
from hhjax._model.names import parameters
from hhjax._run.axes import unit_of

AXON = hh.squid_axon()
PAIR = (AXON, hh.Electrode(area=2000.0))


def two_kinds():
    return hh.Network(
        {"e": AXON, "i": hh.with_channel_noise(hh.wang_buzsaki(), model="subunit", count=1000)},
        n={"e": 2, "i": 1},
        coupling={"ampa": hh.synapses.AMPA(hh.connect.from_dense([[0.1, 0.2]]), pre="e", post="i")},
        noise=(hh.CurrentNoise(1.0), hh.OUCurrent(5.0, 2.0)),
    )


WHERE = {
    "e.C": lambda n: n.neuron.neurons["e"].C,
    "e.na.g": lambda n: n.neuron.neurons["e"].channels["na"].g,
    "i.na.g": lambda n: n.neuron.neurons["i"].channels["na"].channel.g,
    "i.na.count": lambda n: n.neuron.neurons["i"].channels["na"].count,
    "coupling.ampa.T_max": lambda n: n.coupling.parts["ampa"].T_max,
    "coupling.ampa.weights.weight": lambda n: n.coupling.parts["ampa"].weights.weight,
    "noise.1.tau": lambda n: n.noise[1].tau,
}


@pytest.mark.parametrize("name", WHERE)
def test_a_name_stands_for_the_same_everywhere(name):
    network, where = two_kinds(), WHERE[name]
    assert hh.get(network, name) is where(network) and name in parameters(network)
    value = 1.1 * where(network)
    assert eqx.tree_equal(hh.replace(network, {name: value}), eqx.tree_at(where, network, value))
    by_name, by_function = (resolve(network, x, None, None, jnp.float64) for x in (name, where))
    assert by_name.leaves == by_function.leaves and by_name.names == by_function.names
    assert {shown.partition("[")[0] for shown in by_name.names} == {name}
    assert set(by_name.units) == {unit_of(network, name)}


def test_all_that_take_a_name_run_the_same_model():
    strong = hh.replace(AXON, {"na.g": 150.0})
    run = dict(t1=5.0, dt=0.05, stimulus=10.0, reduce=hh.Mean())
    want = hh.simulate(strong, **run).reduced
    np.testing.assert_allclose(hh.sweep(AXON, over={"na.g": [150.0]}, **run).reduced[0], want, rtol=1e-12)
    axis = {"gNa": hh.Axis("na.g", [150.0])}
    np.testing.assert_allclose(hh.sweep(AXON, over=axis, **run).reduced[0], want, rtol=1e-12)
    assert eqx.tree_equal(make_model("squid_axon", ["na.g=150"]), strong)
    volume = lambda neuron: neuron.channels["na"].g * neuron.C
    for where in ("na.g", ["na.g"], {"gNa": "na.g"}, lambda neuron: neuron.channels["na"].g):
        table = hh.analysis.sensitivity(hh.replace(AXON, {"C": 3.0}), volume, where)
        assert table.names == (("gNa",) if isinstance(where, dict) else ("na.g",))
        assert table.derivative.tolist() == [3.0]
    info = hh.analysis.fisher_information(PAIR, 5.0, where=["leak.E", "electrode.offset"], t1=1.0)
    assert info.names == ("leak.E", "electrode.offset") and info.units == ("mV", "µA/cm²")


def test_pairs_stimuli_and_single_arrays():
    assert float(hh.get(PAIR, "electrode.area")) == 2000.0 and hh.get(PAIR, "na.g") is AXON.channels["na"].g
    neuron, electrode = hh.replace(PAIR, {"electrode.offset": 0.5, "leak.E": -60})
    assert (float(electrode.offset), float(electrode.area)) == (0.5, 2000.0)
    assert float(neuron.channels["leak"].E) == -60.0 and float(AXON.channels["leak"].E) == -54.387
    assert float(hh.replace(hh.Step(1.0, 5.0), {"amplitude": 2.0})(6.0)) == 2.0
    assert float(hh.get(hh.Network(AXON, noise=hh.CurrentNoise(3.0)), "noise.sigma")) == 3.0
    weights = np.array([[0.0, 0.2], [0.1, 0.0]])
    network = hh.Network(AXON, n=2, coupling=hh.synapses.GapJunction(jnp.zeros((2, 2))))
    assert hh.replace(network, {"coupling.weights": weights}).coupling.weights.tolist() == weights.tolist()
    single = jax.tree.map(lambda x: x.astype(jnp.float32), AXON)
    assert hh.get(hh.replace(single, {"na.g": np.float64(100.0)}), "na.g").dtype == jnp.float32


def test_gradients_through_replace_are_those_through_tree_at():
    def last(neuron):
        return hh.simulate(neuron, t1=2.0, dt=0.05, stimulus=10.0).V[-1, 0]

    where = lambda n: (n.channels["na"].g, n.C)
    named = lambda g, C: last(hh.replace(AXON, {"na.g": g, "C": C}))
    picked = lambda g, C: last(eqx.tree_at(where, AXON, (g, C)))
    at = jnp.array(110.0), jnp.array(1.1)
    both = [jax.jit(jax.grad(f, (0, 1)))(*at) for f in (named, picked)]
    assert np.abs(both[0]).min() > 0
    np.testing.assert_allclose(*both, rtol=1e-12)
    many = jax.vmap(lambda g: hh.get(hh.replace(AXON, {"na.g": g}), "na.g"))(jnp.arange(3.0))
    assert many.tolist() == [0.0, 1.0, 2.0]


class Scaled(hh.synapses.GapJunction):
    """A coupling with a parameter that has another name besides."""

    factor: jax.Array = hh.param(1.0, minimum=0.0)
    half: jax.Array = hh.param(2.0)

    aliases: ClassVar[Mapping[str, str]] = {"scale": "factor", "half": "factor"}


def test_another_name_for_the_same():
    network = hh.Network(AXON, n=2, coupling={"gap": Scaled(jnp.zeros((2, 2)))})
    assert hh.get(network, "coupling.gap.scale") is network.coupling.parts["gap"].factor
    assert float(hh.get(network, "coupling.gap.half")) == 2.0  # a field's own name goes first
    assert "coupling.gap.scale" not in parameters(network)
    new = hh.replace(network, {"coupling.gap.scale": 3.0})
    assert float(hh.get(new, "coupling.gap.factor")) == 3.0
    with pytest.raises(ValueError, match="`values` has 'coupling.gap.factor' twice"):
        hh.replace(network, {"coupling.gap.factor": 1.0, "coupling.gap.scale": 2.0})
    E = jnp.array([[0.0, 1.0], [2.0, 0.0]])
    graded = hh.Network(AXON, n=2, coupling=hh.GradedSynapse(E))
    assert hh.get(graded, "coupling.E").tolist() == E.tolist()


LEAK = hh.Leak(1.0, -60.0)


@pytest.mark.usefixtures("as_users_run_it")
@pytest.mark.parametrize(
    "values, error, message",
    [
        ({"na.g": -1.0}, ValueError, "`na.g` must be at least 0.0 mS/cm², got -1.0"),
        ({"na.g": np.nan}, ValueError, "`na.g` contains NaN"),
        ({"C": 0.0}, ValueError, "`C` must be positive, got 0.0 µF/cm²"),
        ({"na.g": [1.0, 2.0, 3.0]}, ValueError, r"has shape \(3,\), which does not fit n=2 neurons"),
        ({"coupling.weights": np.zeros((3, 3))}, ValueError, r"`coupling.weights` must have shape"),
        ({"na.gg": 1.0}, ValueError, "`values` names 'na.gg', which is no parameter. Did you mean 'na.g'"),
        ({"na": 1.0}, ValueError, "`values` names 'na', which is no parameter. .* Known are .*, na.g, na.E"),
        ({"coupling.delay": 1.0}, ValueError, "names 'coupling.delay', which is None"),
        ({"na.g": "much"}, TypeError, r"`values\['na.g'\]` must be a number or an array, got 'much'"),
        ({1: 1.0}, TypeError, "`values` must name a parameter, such as 'na.g', got 1"),
        ([("na.g", 1.0)], TypeError, "`values` must be a dict"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(values, error, message):
    coupling = hh.synapses.ExponentialSynapse(jnp.zeros((2, 2)), tau=5.0)
    with pytest.raises(error, match=message):
        hh.replace(hh.Network(AXON, n=2, coupling=coupling), values)


def test_traced_values_are_checked_for_their_shape():
    network = hh.Network(AXON, n=2)
    with pytest.raises(ValueError, match=r"has shape \(3,\), which does not fit n=2"):
        jax.jit(lambda g: hh.replace(network, {"na.g": g}))(jnp.ones(3))


def test_get_names_the_nearest():
    with pytest.raises(ValueError, match="`name` names 'leak.e', which is no parameter. Did you mean 'leak"):
        hh.get(AXON, "leak.e")


@pytest.mark.usefixtures("as_users_run_it")
@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: hh.Neuron({"noise": LEAK}), "`channels` must not have a name that names .*, got 'noise'"),
        (lambda: hh.Neuron({"C": LEAK}), "`channels` must not .* got 'C'"),
        (lambda: hh.Neuron({"channels": LEAK}), "`channels` must not .* got 'channels'"),
        (lambda: hh.Neuron({"a.b": LEAK}), r"`channels` must have names without any of .*, got 'a.b'"),
        (lambda: hh.Neuron({"": LEAK}), "`channels` must have names without .*, got ''"),
        (lambda: hh.Network({"coupling": AXON}, n={"coupling": 1}), "`neuron` must not .* got 'coupling'"),
        (lambda: hh.Network({"v0": AXON}, n={"v0": 1}), "`neuron` must not .* got 'v0'"),
        (lambda: hh.Network({"e[0]": AXON}, n={"e[0]": 1}), "`neuron` must have names .* got 'e"),
        (
            lambda: hh.Network(AXON, n=2, coupling={"a.b": hh.synapses.GapJunction(jnp.zeros((2, 2)))}),
            "`coupling` must have names without .*, got 'a.b'",
        ),
    ],
)
def test_names_that_would_stand_for_two_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    "where, names",
    [
        ("na.g", ("na.g",)),
        (("na.g", "C"), ("na.g", "C")),
        ({"gNa": "na.g", "C": "C"}, ("gNa", "C")),
        ({"sodium": ["na.g", "na.E"]}, ("sodium.g", "sodium.E")),
        ({"g": ["na.g", "k.g"]}, ("g.na.g", "g.k.g")),
        (lambda n: n.channels["leak"], ("leak.g", "leak.E")),
        (lambda n: {"gNa": n.channels["na"].g}, ("gNa",)),
        (lambda n: {"rest": n.channels["leak"]}, ("rest.g", "rest.E")),
        (lambda n: {"all": [n.channels["leak"], n.C]}, ("all.leak.g", "all.leak.E", "all.C")),
    ],
)
def test_what_a_fit_calls_its_parameters(where, names):
    assert resolve(AXON, where, None, None, jnp.float64).names == names


def test_entries_and_bounds_go_by_the_same_names():
    weights = np.array([[0.0, 0.2], [0.1, 0.0]])
    network = hh.Network(AXON, n=2, coupling=hh.synapses.GapJunction(weights))
    mask = ~np.eye(2, dtype=bool)
    free = resolve(network, {"W": "coupling.weights"}, None, {"W": mask}, jnp.float64)
    assert free.names == ("W[0,1]", "W[1,0]")
    free = resolve(network, ["coupling.weights", "C"], {"C": (0.5, 2.0)}, [mask, None], jnp.float64)
    assert free.names == ("coupling.weights[0,1]", "coupling.weights[1,0]", "C")
    assert free.low.tolist() == [-np.inf, -np.inf, 0.5] and free.high.tolist() == [np.inf, np.inf, 2.0]
    where = {"sodium": ["na.g", "na.E"]}
    one = resolve(AXON, where, {"sodium.E": (0.0, 90.0)}, None, jnp.float64)
    assert one.low.tolist() == [0.0, 0.0] and one.high.tolist() == [np.inf, 90.0]
    both = resolve(AXON, where, {"sodium": (1.0, 200.0), "sodium.E": (0.0, 90.0)}, None, jnp.float64)
    assert both.low.tolist() == [1.0, 0.0] and both.high.tolist() == [200.0, 90.0]
    with pytest.raises(ValueError, match="`bounds` names 'sodium.g2', .* Did you mean 'sodium.g'"):
        resolve(AXON, where, {"sodium.g2": (0.0, 1.0)}, None, jnp.float64)


def test_a_fit_keeps_the_names():
    """E of a membrane that relaxes from −40 to −60 mV."""
    ts = np.linspace(0.0, 20.0, 41)
    data = (ts, np.zeros(41), -60 + 20 * np.exp(-ts / 5))
    neuron = hh.Neuron({"leak": hh.Leak(g=0.2, E=-55.0)})
    options = dict(v0=-40.0, dt=0.1, guide=None, progress_meter=diffrax.NoProgressMeter())
    where = {"rest": "leak.E", "leak.g": "leak.g"}
    fit = hh.fit(neuron, data, where=where, bounds={"rest": (-90.0, -50.0)}, **options)
    assert fit.names == ("rest", "leak.g") and fit.summary().splitlines()[1].startswith("rest ")
    np.testing.assert_allclose(fit.values, [-60.0, 0.2], rtol=2e-4)
    assert fit.free.high.tolist() == [-50.0, np.inf]
    assert [float(hh.get(fit.model, name)) for name in where.values()] == fit.values.tolist()
    for where, near in (("leak.gg", "leak.g"), ({"g": "leak.gg"}, "leak.g"), (["C", "leakE"], "leak.E")):
        with pytest.raises(ValueError, match=f"`where` names 'leak.*', .* Did you mean '{near}'"):
            hh.fit(neuron, data, where=where, **options)
    with pytest.raises(ValueError, match="`where` must select at least one parameter"):
        hh.fit(neuron, data, where=[], **options)
