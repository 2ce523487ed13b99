"""A channel written as the documentation says works with everything there is; for fits see test_synapses."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hhjax as hh


class SlowPotassium(hh.Channel):
    gates = {"p": 1}

    def rates(self, V):  # mV
        tau = 1000 / (3.3 * jnp.exp((V + 35) / 20) + jnp.exp(-(V + 35) / 20))
        return {"p": hh.InfTau(inf=jax.nn.sigmoid((V + 35) / 10), tau=tau)}


CELL = hh.Neuron({**hh.squid_axon().channels, "m": SlowPotassium(g=0.5, E=-90.0)}, C=1.0)
REST = -65.0


def exact_p(t, V=-20.0):
    """p after t ms at V, from its steady state at −65 mV."""
    inf = lambda V: 1 / (1 + np.exp(-(V + 35) / 10))
    tau = 1000 / (3.3 * np.exp((V + 35) / 20) + np.exp(-(V + 35) / 20))
    return inf(V) + (inf(REST) - inf(V)) * np.exp(-t / tau)


@pytest.mark.parametrize("solver", list(hh.steppers.by_name))
def test_every_solver(solver):
    """With V held, by a huge capacitance, the gate follows its exact solution."""
    cell = hh.Neuron(CELL.channels, C=1e9)
    y0 = hh.Network(cell).init(REST).replace_V(jnp.array([-20.0]))
    run = hh.simulate(cell, t1=10.0, dt=0.05, y0=y0, solver=solver, saveat=diffrax.SaveAt(t1=True))
    lag = 0.025 if solver == "staggered" else 0.0  # reports the gates of half a step ago
    assert float(run.final.gates["m"]["p"][0]) == pytest.approx(exact_p(10.0 - lag), abs=2e-5)


@pytest.mark.parametrize("model", ["subunit", "conductance", "ou_conductance", "tau_leap", "exact"])
def test_every_model_of_noise(model):
    """Many neurons held at −65 mV for two time constants: mean and variance of the open fraction."""
    n, count = 400, 50
    cell = hh.Neuron({"m": SlowPotassium(g=0.5, E=-90.0)}, C=1e9)
    noisy = hh.Network(hh.with_channel_noise(cell, model=model, count=count), n=n)
    run = hh.simulate(
        noisy, t1=200.0, dt=1.0, key=jax.random.key(1), v0=-20.0, saveat=diffrax.SaveAt(t1=True)
    )
    opened = noisy.neuron.channels["m"].open_fraction(run.final.V, run.final.gates["m"])
    p = 1 / (1 + np.exp(-1.5))
    assert float(opened.mean()) == pytest.approx(p, abs=4 * np.sqrt(p * (1 - p) / count / n))
    variance = p * (1 - p) / count  # one gate to the first power: right for the subunit model too
    assert float(opened.var()) == pytest.approx(variance, rel=4 * np.sqrt(2 / n))


def test_sweep():
    sweep = hh.sweep(
        CELL, over={"m.g": np.array([0.0, 0.5])}, t1=30.0, dt=0.05, stimulus=10.0, reduce=hh.Mean()
    )
    for k, g in enumerate((0.0, 0.5)):
        cell = hh.Neuron({**CELL.channels, "m": SlowPotassium(g=g, E=-90.0)}, C=1.0)
        V = hh.simulate(cell, t1=30.0, dt=0.05, stimulus=10.0).V[1:]
        assert float(sweep.reduced[k, 0]) == pytest.approx(float(V.mean()), rel=1e-10)


def test_a_sweep_of_several_populations():
    """Names reach into a population."""
    network = hh.Network({"a": CELL, "b": hh.squid_axon()}, n={"a": 1, "b": 1})
    over = {"a.m.g": np.array([0.0, 0.5])}
    sweep = hh.sweep(network, over=over, t1=20.0, dt=0.05, stimulus=10.0, reduce=hh.Mean())
    single = hh.sweep(CELL, over={"m.g": over["a.m.g"]}, t1=20.0, dt=0.05, stimulus=10.0, reduce=hh.Mean())
    np.testing.assert_allclose(sweep.reduced[:, 0], single.reduced[:, 0], rtol=1e-10)
    assert sweep.reduced[0, 1] == sweep.reduced[1, 1]


def test_channel_noise_beside_a_calcium_pool():
    """With ever more channels a noisy cell follows the one without noise, pool included."""
    cell = hh.thalamic_reticular()
    calcium = {}
    for count in (1e4, 1e8, np.inf):
        noisy = hh.with_channel_noise(cell, model="conductance", count={"t": count})
        run = hh.simulate(noisy, t1=20.0, dt=0.05, stimulus=1.0, v0=-80.0, key=jax.random.key(0))
        calcium[count] = float(run.final.concentrations["ca"][0])
    off = {count: abs(c / calcium[np.inf] - 1) for count, c in calcium.items()}
    assert off[1e8] < 1e-3 and 10 * off[1e8] < off[1e4]  # as 1/√count
    plain = hh.simulate(cell, t1=20.0, dt=0.05, stimulus=1.0, v0=-80.0)
    assert calcium[np.inf] == pytest.approx(float(plain.final.concentrations["ca"][0]), rel=0.01)


@pytest.mark.parametrize("model", ["subunit", "tau_leap", "exact"])
def test_channel_noise_in_several_populations(model):
    """A step moves each population as one of a network of its own, by the same random numbers."""
    noisy = hh.with_channel_noise(hh.squid_axon(), model=model, count={"k": 180})
    also = hh.with_channel_noise(CELL, model="conductance", count={"k": 1800})
    kinds, sizes = {"a": noisy, "b": CELL, "c": also}, {"a": 2, "b": 1, "c": 3}
    mixed = hh.Network(kinds, n=sizes, noise=hh.CurrentNoise(2.0))
    dt, key = jnp.array(0.05), jax.random.key(3)
    stepper, current = hh.steppers.stochastic_by_name["strang_maruyama"], hh.Step(10.0)
    assert hh.brownian_shape(mixed) == (5, 6)  # of the current, and four transitions of n⁴
    dW = jnp.sqrt(dt) * jax.random.normal(jax.random.key(4), (5, 6))
    step = jax.jit(lambda net, y, dW: stepper.driven_step(net, 0 * dt, dt, y, current, dW, key))
    after = step(mixed, mixed.init(), dW)
    for name, part in mixed.ranges.items():
        if name == "c" and model != "subunit":
            continue  # its draws are those of its own key
        own = hh.Network(kinds[name], n=sizes[name], noise=mixed.noise)
        rows = dW[: hh.brownian_shape(own)[0], part]
        alone = step(own, own.init(), rows)
        np.testing.assert_allclose(after.V[part], alone.V, rtol=1e-12)
        jax.tree.map(
            lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-10), after.gates[name], alone.gates
        )
    if model != "subunit":
        total = sum(after.gates["a"]["k"].values())
        assert total.tolist() == [180, 180]
    with pytest.raises(TypeError, match="give each neuron its noise"):
        hh.with_channel_noise(mixed, model=model, count=100)
