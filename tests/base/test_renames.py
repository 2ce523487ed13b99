"""What the changelog's table says is called otherwise now raises an error that names the new name."""

import pytest

import hhjax as hh
from hhjax._base.renames import also_called, renamed

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
]


@pytest.mark.usefixtures("as_users_run_it")
@pytest.mark.parametrize("function, old, told", MOVED, ids=lambda x: x if isinstance(x, str) else "")
def test_an_argument_by_its_old_name(function, old, told):
    with pytest.raises(TypeError, match=rf"^`{old}` of {told}, got {old}=30.0\.$"):
        function(**{old: 30.0})


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
