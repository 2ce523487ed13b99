"""What the changelog's table says is called otherwise now raises an error that names the new name."""

import re
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

import hhjax as hh
from hhjax._base.renames import also_called, renamed
from hhjax.channels import CalciumActivatedPotassium

MOVED = [
    (hh.firing_rate, "t0", "hh.firing_rate is now `start`"),
    (hh.firing_rate, "t1", "hh.firing_rate is now `stop`"),
    (hh.features.rest, "before", "hh.features.rest is now `stop`"),
    (hh.features.rest, "window", "hh.features.rest is now `start`"),
    (hh.analysis.fi_curve, "discard", "hh.analysis.fi_curve is now `start`"),
    (hh.simulate, "backend", "hh.simulate is no more, leave it out"),
    (hh.sweep, "backend", "hh.sweep is no more, leave it out"),
    (hh.Solution, "backend", "hh.Solution is no more, leave it out"),
    (hh.Sweep, "backend", "hh.Sweep is no more, leave it out"),
    (hh.simulate, "folder", "hh.simulate is now `hh.simulate_to(folder, network, ...)`"),
    (hh.simulate, "chunk", "hh.simulate is now `hh.simulate_to(folder, ..., chunk=...)`"),
    (hh.sweep, "folder", "hh.sweep is now `hh.sweep_to(folder, network, ...)`"),
    (hh.Neuron, "pools", "hh.Neuron is now `ions, of hh.calcium(...) or hh.Ion(...)`"),
    (hh.calcium, "rest", "hh.calcium is now `inside`"),
    (
        CalciumActivatedPotassium,
        "calcium",
        "hh.channels.CalciumActivatedPotassium is now `inside, of the neuron's hh.Ion`",
    ),
]

NEURON = hh.squid_axon()
NETWORK = hh.Network(NEURON)
READ = [
    (NEURON, "pools", "hh.Neuron is now `ions, of hh.calcium(...) or hh.Ion(...)`"),
    (NEURON, "steady_gates", "hh.Neuron is now `steady_state`"),
    (NEURON, "gates_form", "hh.Neuron is now `others_form`"),
    (NEURON, "linear_form", "hh.Neuron is now `others_form, or V_form`"),
    (NEURON, "channels_at", "hh.Neuron is now `surroundings`"),
    (NEURON, "gates_are_independent", "hh.Neuron is now `flow_is_exact`"),
    (NETWORK, "gates_are_independent", "hh.Network is now `flow_is_exact`"),
    (NETWORK, "map_gates", "hh.Network is now `map_kinds`"),
    (NEURON.channels["na"], "pool", "hh.AbstractChannel is now `senses`"),
    (
        NEURON.channels["na"],
        "has_instantaneous_gates",
        "hh.AbstractChannel is now `conductance_depends_on_V`",
    ),
    (hh.Step(1.0), "on_grid", "hh.Stimulus is now `table(edges)`"),
    (hh.KeptSpikes(jnp.zeros((1, 2)), jnp.ones(1, int)), "shape", "hh.KeptSpikes is now `times.shape`"),
]


@pytest.mark.usefixtures("as_users_run_it")
@pytest.mark.parametrize("function, old, told", MOVED, ids=lambda x: x if isinstance(x, str) else "")
def test_an_argument_by_its_old_name(function, old, told):
    with pytest.raises(TypeError, match=f"^{re.escape(f'`{old}` of {told}, got {old}=30.0.')}$"):
        function(**{old: 30.0})


@pytest.mark.parametrize("thing, old, told", READ, ids=lambda x: x if isinstance(x, str) else "")
def test_an_attribute_by_its_old_name(thing, old, told):
    with pytest.raises(AttributeError, match=f"^{re.escape(f'`{old}` of {told}.')}$"):
        getattr(thing, old)
    new = re.search(r"now `(\w+)", told)[1]
    assert hasattr(thing, new) or new == "table"


def test_what_was_an_array_says_what_it_is_now():
    for use in (lambda kept: kept[0], np.asarray):
        with pytest.raises(TypeError, match=r"^hh.KeptSpikes is no array: take `.times`, ms, or `.count`\.$"):
            use(READ[-1][0])


def test_names_of_parameters_by_their_old_names():
    noisy = hh.with_channel_noise(NEURON, model="conductance", density={"na": 60, "k": 18}, area=10.0)
    one = hh.Network(NEURON, noise=(hh.CurrentNoise(1.0),))
    for model, old, told in [
        (NEURON, "na.celsius", "or take the neuron's 'celsius'"),
        (noisy, "na.channel.g", "na.g"),
        (one, "noise.0.sigma", "Did you mean 'noise.sigma'?"),
    ]:
        with pytest.raises(ValueError, match=rf"^`name` names '{old}', which is .*{re.escape(told)}"):
            hh.get(model, old)
    with pytest.raises(AttributeError, match="hh.CalciumPool is now hh.Ion: write ions="):
        hh.CalciumPool


def test_all_that_is_tried_here_is_in_the_changelog():
    text = (Path(__file__).parents[2] / "CHANGELOG.md").read_text()
    table = text.partition("| what moved |")[2].partition("\n\n")[0]
    missing = [old for _, old, _ in MOVED + READ if not re.search(rf"\b{old}\b", table)]
    assert missing == ["shape"]  # which stands there as "an array"


def test_a_field_by_its_old_name():
    run = hh.simulate(hh.Neuron({}), t1=1.0, dt=0.5)
    with pytest.raises(AttributeError, match=r"^`backend` of hh.Solution is no more, leave it out\.$"):
        run.backend
    assert not hasattr(run, "backend") and run.V.shape == (3, 1)


def test_what_has_another_name_works_by_its_new_one():
    """On functions and on classes, whose subclasses have arguments of their own."""

    @renamed(old="new")
    def double(new):
        return 2 * new

    assert double(3) == double(new=3) == 6 and double.__name__ == "double"
    tau = hh.InfTau(1.0, 2.0)

    @also_called(second="beta")
    class Both(hh.Synapse):
        beta: hh.Parameter = hh.param(1.0)

        def rates(self, V):
            return tau

    class Below(Both):
        gamma: hh.Parameter = hh.param(0.0)

    assert float(Both([[1.0]], 0.0, second=4.0).beta) == float(Below([[1.0]], 0.0, beta=4.0).beta) == 4.0
    with pytest.raises(TypeError, match="unexpected keyword argument 'third'"):
        Both([[1.0]], 0.0, third=4.0)
