"""The published models against reference values, and what every channel has to keep to."""

import inspect
import json
from pathlib import Path

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hhjax as hh

LIBRARY = json.loads((Path(__file__).parents[1] / "data" / "model_library.json").read_text())
NEURONS = {
    "traub_miles": hh.traub_miles(),
    "wang_buzsaki": hh.wang_buzsaki(),
    "pospischil_rs": hh.pospischil_rs(),
    "pospischil_fs": hh.pospischil_fs(),
    "pospischil_ib": hh.pospischil_ib(),
    "pospischil_lts": hh.pospischil_lts(),
    "connor_stevens": hh.connor_stevens(),
    "morris_lecar": hh.morris_lecar("hopf"),
    "morris_lecar_snic": hh.morris_lecar("snic"),
}
KINDS = {k: v for k, v in vars(hh.channels).items() if inspect.isclass(v) and issubclass(v, hh.Channel)}


@pytest.mark.parametrize("name", NEURONS)
def test_rest_rates_and_spike_times_match_the_reference(name):
    neuron, expected = NEURONS[name], LIBRARY[name]
    network = hh.Network(neuron, n=len(expected["equilibria"]))
    slope = hh.vector_field(0.0, network.init(jnp.array(expected["equilibria"])), (network, 0.0))
    np.testing.assert_allclose(slope.V, 0.0, atol=1e-9)

    # One run: the traced current first, then those of the rates. Slow models take long steps.
    trace, rates = expected["trace"], expected["rates"]
    currents = jnp.array([trace["I"], *map(float, rates)])
    t1 = max(trace["T"], *(r[0] for r in rates.values()))
    dt, every = (0.05, 1) if name.startswith("morris") else (0.005, 4)
    run = hh.simulate(
        hh.Network(neuron, n=currents.size),
        t1=t1,
        dt=dt,
        stimulus=currents,
        v0=expected["V0"],
        solver="rk4",
        saveat=diffrax.SaveAt(t0=True, steps=every, fn=hh.save_V),
    )
    traced, *others = run.spike_times()
    np.testing.assert_allclose(traced[traced <= trace["T"]], trace["spike_times"], rtol=0, atol=1e-4)
    for spikes, (until, rate, count) in zip(others, rates.values()):
        spikes = spikes[spikes <= until]
        assert len(spikes) == count
        measured = 1000 / (spikes[-1] - spikes[-2]) if rate else 0.0
        assert measured == pytest.approx(rate, abs=1e-3)


def test_morris_lecar_loses_rest_where_the_reference_says():
    """The real part of the eigenvalues at rest, and the determinant, vanish at the given currents."""
    for name, key in (("morris_lecar", "hopf_currents"), ("morris_lecar_snic", "saddle_node_currents")):
        network = hh.Network(NEURONS[name])

        def current_and_matrix(V):
            y = network.init(V)
            field = lambda x: jnp.concatenate(
                jax.tree.leaves(
                    hh.vector_field(0.0, hh.State(x[:1], {**y.gates, "k": {"w": x[1:]}}), (network, 0.0))
                )
            )
            x = jnp.concatenate([y.V, y.gates["k"]["w"]])
            slope = field(x)  # dV/dt last or first: leaves come in the order V, w
            return -20.0 * slope[0], jax.jacfwd(field)(x)

        V = jnp.linspace(-60.0, 20.0, 8001)
        I, J = map(np.asarray, jax.jit(jax.vmap(current_and_matrix))(V))
        test = np.trace(J, axis1=1, axis2=2) if key == "hopf_currents" else np.linalg.det(J)
        (zero,) = np.nonzero(np.diff(np.sign(test)))
        zero = [k for k in zero if key != "hopf_currents" or np.linalg.det(J[k]) > 0]
        found = sorted(float(I[k] + (I[k + 1] - I[k]) * test[k] / (test[k] - test[k + 1])) for k in zero)
        np.testing.assert_allclose(found, sorted(LIBRARY[name][key]), atol=1e-3)


IONS = {"ca": hh.calcium()}  # for channels that sense it


def all_rates(channel, V):
    """Steady states, and rates of the gates that have a state."""
    ions = jax.tree.map(lambda x: x.astype(V.dtype), IONS)
    kinetics = channel.kinetics(V, ions).values()
    rates = [k for x in kinetics if not isinstance(x, hh.Instantaneous) for k in x.linear_form(1.0)]
    values = [x.inf for x in kinetics] + rates
    return jnp.stack([jnp.broadcast_to(x, V.shape) for x in values])


def derivative(channel, V):
    """By V; operation by operation, which costs less than to compile so many channels."""
    return jax.jvp(lambda V: all_rates(channel, V), (V,), (jnp.ones_like(V),))[1]


@pytest.mark.parametrize("name", [k for k, v in KINDS.items() if v.gates])
def test_every_channel(name):
    channel = KINDS[name]()
    # Every removable singularity of the library is at a whole or a tenth of a mV.
    V = jnp.asarray(np.round(np.arange(-2000, 2001) / 10, 1))
    value = all_rates(channel, V)
    slope = derivative(channel, V)
    assert bool(jnp.isfinite(value).all() & jnp.isfinite(slope).all())
    assert bool((value >= 0).all() & (value[: len(channel.gates)] <= 1.013).all())
    step = 1e-4
    central = (all_rates(channel, V + step) - all_rates(channel, V - step)) / (2 * step)
    np.testing.assert_allclose(slope, central, rtol=1e-5, atol=1e-7 * float(jnp.abs(central).max()))

    single = jax.tree.map(lambda x: x.astype(jnp.float32), channel)
    V32 = V.astype(jnp.float32)
    value32 = all_rates(single, V32)
    slope32 = derivative(single, V32)
    assert value32.dtype == slope32.dtype == jnp.float32
    # V itself is rounded by up to 1e-5 mV.
    np.testing.assert_allclose(value32, value, rtol=3e-5, atol=1e-30)
    np.testing.assert_allclose(slope32, slope, rtol=1e-4, atol=1e-4 * float(jnp.abs(slope).max()))

    gates = channel.steady_state(V, IONS)
    drive, rate = channel.linear_form(V, gates, IONS)
    for gate in gates:
        np.testing.assert_allclose(drive[gate] - rate[gate] * gates[gate], 0, atol=1e-14 * rate[gate].max())


@pytest.mark.parametrize(
    "name, q10", [("TCalcium", 3.0), ("ReticularTCalcium", 2.5), ("HCurrent", 3.0), ("Sodium", 3.0)]
)
def test_ten_degrees_speed_a_channel_up_by_its_q10(name, q10):
    cold = KINDS[name](celsius=26.0).linear_form(jnp.array([-60.0]))
    warm = KINDS[name](celsius=36.0).linear_form(jnp.array([-60.0]))
    for slow, fast in zip(jax.tree.leaves(cold), jax.tree.leaves(warm)):
        np.testing.assert_allclose(fast, q10 * slow, rtol=1e-14)


def test_the_t_current_is_the_authors_own():
    # 8.76 ms at -40 mV in the files of the authors; a tenth of it in a widespread port.
    tau = 1 / hh.channels.TCalcium().linear_form(jnp.asarray(-40.0))[1]["u"]
    assert float(tau) == pytest.approx(8.76, abs=0.005)


def test_an_unknown_set_of_morris_lecar_is_refused():
    with pytest.raises(ValueError, match="`onset` must be one of 'hopf', 'snic', got 'saddle'"):
        hh.morris_lecar("saddle")


# Ions


def test_the_nernst_potential_and_the_filling_of_a_shell():
    ion = hh.calcium("t")
    # kT/2e ln(2/2.4e-4) at 36 °C, with k/e = 8.617333262e-5 V/K.
    expected = 1000 * 8.617333262e-5 * 309.15 / 2 * np.log(2 / 2.4e-4)
    assert float(ion.E) == pytest.approx(expected, rel=1e-8)
    # 1 µA/cm² into 1 µm, over 1 ms: 1e-9 C/cm² / (2·96485 C/mol) / 1e-4 cm = 5.18e-5 mM.
    drive, rate = ion.linear_form(jnp.asarray(-1.0), ion.inside)
    assert float(drive - rate * 2.4e-4) == pytest.approx(1e-9 / (2 * 96485.33212) / 1e-4 * 1e6, rel=1e-9)
    drive, rate = ion.linear_form(jnp.asarray(5.0), ion.inside)
    assert float(drive / rate) == pytest.approx(2.4e-4)  # outward empties nothing


@pytest.mark.parametrize("V", [-90.0, -60.0, 0.0])
def test_ions_and_what_senses_them_rest_together(V):
    channels = {
        **hh.thalamic_reticular().channels,
        "ahp": hh.channels.CalciumActivatedPotassium(),
        "l": hh.channels.LCalcium(),
    }
    network = hh.Network(hh.Neuron(channels, ions={"ca": hh.calcium(["t", "l"])}))
    y = network.init(V)
    slope = hh.vector_field(0.0, y, (network, 0.0))
    still = jax.tree.leaves((slope.gates, slope.concentrations))
    assert max(float(jnp.abs(x).max()) for x in still) < 1e-12
    c = float(y.concentrations["ca"][0])
    opening = 0.03 * (c / 0.025) ** 2
    assert float(y.gates["ahp"]["m"][0]) == pytest.approx(opening / (opening + 0.03), rel=1e-12)


def test_solvers_keep_their_order_with_an_ion():
    """A low-threshold spike and its AHP, against a tight adaptive solution."""
    channels = {
        "t": hh.channels.ReticularTCalcium(),
        "ahp": hh.channels.CalciumActivatedPotassium(half=0.002),
        "leak": hh.Leak(g=0.05, E=-90.0),
    }
    cell = hh.Neuron(channels, ions={"ca": hh.calcium("t")})
    exact = hh.reference(cell, t1=20.0, stimulus=3.0, v0=-90.0).final
    assert float(exact.concentrations["ca"][0]) > 2 * 2.4e-4
    for solver in ("strang", "exp_euler"):
        # 400 steps of either size
        run = lambda dt: hh.simulate(cell, t1=400 * dt, dt=dt, stimulus=3.0, v0=-90.0, solver=solver)
        coarse, fine = (abs(float((run(dt).V[round(20 / dt)] - exact.V)[0])) for dt in (0.1, 0.05))
        assert coarse / fine > 3.4, solver


def test_ions_that_act_on_each_other_rest_together():
    """Two ions, each of which shuts the channel that the other one comes in by, and potassium that leaves."""

    class Shut(hh.Channel):
        senses = ("b",)
        gates = {"m": 1}

        def rates(self, V, b):
            return {"m": hh.InfTau(1 / (1 + b / 1e-3), 5.0 + 0 * V)}

    class Other(Shut):
        senses = ("a",)

    channels = {"x": Shut(g=0.1), "y": Other(g=0.001), "k": hh.Potassium(E=None), "leak": hh.Leak()}
    ions = {
        "a": hh.calcium("x", depth=0.1, tau=20.0),
        "b": hh.calcium("y", depth=0.1, tau=20.0),
        "kk": hh.Ion("k", valence=1, inside=140.0, outside=8.0, depth=0.02, tau=100.0),
    }
    cell = hh.Neuron(channels, ions=ions, celsius=6.3)
    y, (drive, rate) = jax.jit(lambda V: (y := cell.steady_state(V), cell.others_form(y)))(
        jnp.array([-60.0, -40.0])
    )
    for name, c in y.concentrations.items():
        np.testing.assert_allclose(drive.concentrations[name], rate.concentrations[name] * c, rtol=1e-9)
    assert float(y.concentrations["kk"][1]) < 139.0
    (rest,) = hh.analysis.equilibria(cell, 0.0, V=(-90.0, -20.0))
    slope = hh.vector_field(0.0, rest.state, (hh.Network(cell), 0.0))
    assert max(float(jnp.abs(x).max()) for x in jax.tree.leaves(slope)) < 1e-8


def test_an_emptied_shell_is_never_below_zero():
    channels = {"k": hh.Potassium(E=None), "na": hh.Sodium(), "leak": hh.Leak()}
    thin = hh.Ion("k", valence=1, inside=140.0, outside=4.0, depth=1e-3, tau=100.0)
    cell = hh.Neuron(channels, ions={"kk": thin}, celsius=6.3)
    run = hh.simulate(cell, t1=20.0, dt=0.025, stimulus=30.0, saveat=diffrax.SaveAt(steps=True))
    assert float(run.ys.concentrations["kk"].min()) > 0


def test_two_ions_and_two_channels_that_sense_one():
    """Potassium that piles up in a thin shell pulls its Nernst potential and, by it, V with it."""

    class Sensor(hh.channels.CalciumActivatedPotassium):
        senses = ("ca",)

    channels = {
        "kdr": hh.Potassium(E=None),
        "na": hh.Sodium(),
        "t": hh.channels.TCalcium(),
        "ahp": hh.channels.CalciumActivatedPotassium(),
        "sk": Sensor(g=1.0, half=0.001),
        "leak": hh.Leak(),
    }
    ions = {
        "ca": hh.calcium("t"),
        "k": hh.Ion("kdr", valence=1, inside=140.0, outside=6.0, depth=0.05, tau=500.0),
    }
    cell = hh.Neuron(channels, ions=ions, celsius=20.0)
    run = hh.simulate(cell, t1=20.0, dt=0.01, stimulus=15.0, solver="rk4")
    exact = hh.reference(cell, t1=20.0, stimulus=15.0)
    assert float(jnp.abs(run.V - exact.V).max()) < 1e-3
    assert float(run.final.concentrations["k"][0]) < 139.9  # potassium has left
    settled, found = cell.surroundings(run.final.concentrations)
    expected = 8.617333262e-2 * 293.15 * np.log(6.0 / float(run.final.concentrations["k"][0]))
    assert float(settled["kdr"].E[0]) == pytest.approx(expected, rel=1e-8)
    sensed = jnp.asarray(0.002)
    ahp, sk = (settled[name].rates(-65.0, sensed)["m"] for name in ("ahp", "sk"))
    assert float(sk.alpha / ahp.alpha) == pytest.approx((0.025 / 0.001) ** 2)


def test_an_ion_whose_concentration_stays_sets_a_reversal_potential():
    channels = {"kdr": hh.Potassium(E=None), "na": hh.Sodium(), "leak": hh.Leak()}
    ion = hh.Ion("kdr", valence=1, inside=140.0, outside=5.0)
    cell = hh.Neuron(channels, ions={"k": ion}, celsius=6.3)
    E = 8.617333262e-2 * (273.15 + 6.3) * np.log(5.0 / 140.0)
    plain = hh.Neuron(channels | {"kdr": hh.Potassium(E=E)}, celsius=6.3)
    V = [hh.simulate(it, t1=20.0, dt=0.025, stimulus=10.0).V for it in (cell, plain)]
    assert hh.Network(cell).init().concentrations == {}
    np.testing.assert_allclose(*V, atol=1e-5)


def test_one_temperature_for_channels_and_ions():
    """A neuron's `celsius` is that of all that has none of its own."""
    warm = hh.squid_axon(celsius=16.3)
    own = hh.Neuron({"na": hh.Sodium(celsius=16.3), "k": hh.Potassium(celsius=16.3), "leak": hh.Leak()})
    swept = hh.sweep(
        hh.squid_axon(), over={"celsius": [6.3, 16.3]}, t1=20.0, dt=0.025, stimulus=10.0, reduce=hh.Mean()
    )
    V = [hh.simulate(it, t1=20.0, dt=0.025, stimulus=10.0).V[1:] for it in (warm, own)]
    np.testing.assert_allclose(*V, atol=1e-10)
    assert float(swept.reduced[1, 0]) == pytest.approx(float(V[0].mean()), rel=1e-10)
    mixed = hh.Neuron({"na": hh.Sodium(celsius=6.3), "k": hh.Potassium(), "leak": hh.Leak()}, celsius=16.3)
    channels, _ = mixed.surroundings({})
    assert float(channels["na"].temperature_factor()) == pytest.approx(1.0)
    assert float(channels["k"].temperature_factor()) == pytest.approx(3.0)
    kinetics = hh.analysis.gate_kinetics(warm, -50.0, "na")["m"]
    cold = hh.analysis.gate_kinetics(hh.Sodium(), -50.0)["m"]
    assert float(cold.tau / kinetics.tau) == pytest.approx(3.0)


@pytest.mark.usefixtures("as_users_run_it")
def test_ions_that_do_not_fit_are_refused():
    cell = hh.thalamic_reticular()
    with pytest.raises(ValueError, match="`Neuron.ions` must have 'ca'"):
        hh.Neuron({"ahp": hh.channels.CalciumActivatedPotassium()})
    with pytest.raises(ValueError, match=r"`Neuron.ions\['ca'\].carriers` must be names of channels"):
        hh.Neuron(cell.channels, ions={"ca": hh.calcium("l")})
    with pytest.raises(ValueError, match="must be positive"):
        hh.Neuron(cell.channels, ions={"ca": hh.calcium("t", tau=0.0)})
    with pytest.raises(ValueError, match="`E` of channel 't' must be None, as ion 'ca' sets it, got 120.0"):
        hh.Neuron({"t": hh.channels.TCalcium(E=120.0)}, ions={"ca": hh.calcium("t")})
    with pytest.raises(ValueError, match="`E` of channel 'k' must be given"):
        hh.Neuron({"k": hh.Potassium(E=None)})
    with pytest.raises(ValueError, match="`Ion.valence` must be a whole number, not 0, got 0"):
        hh.Ion(valence=0, inside=1.0, outside=1.0)
    with pytest.raises(ValueError, match="`Neuron.celsius` must be given .* na 6.3, t 36, ca 36"):
        hh.Neuron({"na": hh.Sodium(), "t": hh.channels.TCalcium()}, ions={"ca": hh.calcium("t")})
    with pytest.raises(ValueError, match=r"`Ion.carriers` must be different names, got \['t', 't'\]"):
        hh.calcium(["t", "t"])
    with pytest.raises(ValueError, match="celsius` must be at least -273.15"):
        hh.Neuron({"na": hh.Sodium()}, celsius=-300.0)
    with pytest.raises(TypeError, match="`pools` of hh.Neuron is now `ions"):
        hh.Neuron(cell.channels, pools={})
    with pytest.raises(AttributeError, match="hh.CalciumPool is now hh.Ion"):
        hh.CalciumPool


def test_an_ion_and_what_senses_it_are_differentiated():
    channels = {"t": hh.channels.TCalcium(g=2.0), "leak": hh.Leak(g=0.05, E=-70.0)}
    channels["ahp"] = hh.channels.CalciumActivatedPotassium(half=0.002)
    cell = hh.Neuron(channels, ions={"ca": hh.calcium("t")})

    @jax.jit
    @jax.value_and_grad
    def final(tau):
        changed = hh.replace(cell, {"ca.tau": tau})
        return hh.simulate(changed, t1=30.0, dt=0.1, stimulus=1.0, v0=-85.0).final.V[0]

    tau, step = jnp.asarray(5.0), 1e-4
    central = (final(tau + step)[0] - final(tau - step)[0]) / (2 * step)
    assert abs(float(central)) > 1e-3
    assert float(final(tau)[1]) == pytest.approx(float(central), rel=1e-5)
