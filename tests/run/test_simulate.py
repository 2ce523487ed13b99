import re

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hhjax as hh
from hhjax._base.parameters import cast_floats
from hhjax._run.run import count_steps, make_plan

AXON = hh.squid_axon()


def test_spike_times_and_states_of_rk4(reference):
    run = hh.simulate(AXON, t1=200.0, dt=0.01, stimulus=10.0, solver="rk4")
    np.testing.assert_allclose(run.spike_times()[0], reference["I10"]["spike_times_ms"], atol=1e-5)
    for t, (V, *_) in reference["I10"]["state_Vmhn_at"].items():
        assert float(run.V[round(float(t) / 0.01), 0]) == pytest.approx(V, abs=1e-4)


def test_firing_rates(reference):
    currents = jnp.array([6.2, 6.3, 7.0, 10.0, 20.0])
    cells = hh.Network(AXON, n=5)
    run = hh.simulate(cells, t1=1000.0, dt=0.02, stimulus=currents, solver="rk4")
    times = hh.spike_times(run.ts, run.V)
    rates = np.asarray(hh.firing_rate(times, start=500.0))
    expected = [reference["fI"][i] for i in ("7", "10", "20")]
    np.testing.assert_allclose(rates[2:], expected, atol=1e-3)
    counts = (~jnp.isnan(times)).sum(axis=1)
    assert int(counts[0]) == reference["nspikes_1000ms_step_from_rest"]["6.2"] == 3
    assert int(counts[1]) == reference["nspikes_1000ms_step_from_rest"]["6.3"] == 53
    assert rates[0] == 0


def test_float32_and_float64_count_the_same_spikes():
    cells = hh.Network(AXON, n=151)
    single = jax.tree.map(lambda x: x.astype(jnp.float32), cells)
    currents = jnp.linspace(5.0, 20.0, 151)
    runs = [hh.simulate(net, t1=100.0, dt=0.025, stimulus=currents) for net in (cells, single)]
    assert runs[1].V.dtype == jnp.float32
    counts = [[len(s) for s in run.spike_times()] for run in runs]
    assert counts[0] == counts[1]
    assert sum(counts[0]) > 900


def test_steps_in_a_turn_of_the_loop():
    """They change nothing but the program, where neither the steps nor the rows are a multiple of them."""
    axons = cast_floats(hh.Network(AXON, n=5), jnp.float32)
    given = dict(t1=25.05, dt=0.025, saveat=diffrax.SaveAt(steps=4), reduce=hh.SpikeCount())
    given["stimulus"] = jnp.linspace(5.0, 20.0, 5, dtype=jnp.float32)
    one, three = hh.simulate(axons, **given), hh.simulate(axons, **given, unroll=3)
    assert one.reduced.tolist() == three.reduced.tolist() and 1 <= one.reduced.min() < one.reduced.max()
    np.testing.assert_allclose(three.V, one.V, rtol=0, atol=1e-3)
    told = str(jax.make_jaxpr(lambda: hh.simulate(axons, **given, unroll=3).V)())
    assert {int(n) for n in re.findall(r"unroll=(\d+)", told)} == {3, 1, 2}  # a row's, the rows', the rest's


def test_nothing_recompiles_but_a_new_number_of_steps():
    traces = []

    class Counting(hh.Leak):
        def rates(self, V):
            traces.append(V)
            return {}

        def linear_current(self, V, states, ions):
            traces.append(V)
            return super().linear_current(V, states, ions)

    def run(g, amplitude, dt, v0, stimulus=None):
        neuron = hh.Neuron({**AXON.channels, "leak": Counting(g=g)})
        stimulus = stimulus or hh.Step(amplitude, 1.0, 5.0)
        return hh.simulate(neuron, t1=100 * dt, dt=dt, stimulus=stimulus, v0=v0)

    first = run(0.3, 10.0, 0.02, -65.0)
    count = len(traces)
    assert count > 0
    second = run(0.5, 12.0, 0.03, -60)
    changed = eqx.tree_at(
        lambda n: n.channels["leak"].g, hh.Neuron({**AXON.channels, "leak": Counting()}), 0.7
    )
    hh.simulate(changed, t1=2.0, dt=0.02, stimulus=hh.Step(1.0, 2.0, 3.0))
    assert len(traces) == count
    assert float(first.V[-1, 0]) != float(second.V[-1, 0])


def test_jit_vmap_and_grad():
    def peak(g):
        neuron = eqx.tree_at(lambda n: n.channels["na"].g, AXON, g)
        return hh.simulate(neuron, t1=5.0, dt=0.05, stimulus=10.0).V.max()

    gs = jnp.array([100.0, 120.0, 140.0])
    one_by_one = jnp.stack([peak(g) for g in gs])
    np.testing.assert_allclose(jax.vmap(peak)(gs), one_by_one, rtol=1e-12)
    np.testing.assert_allclose(jax.jit(peak)(gs[0]), one_by_one[0], rtol=1e-12)
    slope = jax.jit(jax.grad(peak))(gs[1])
    difference = (peak(gs[1] + 1e-4) - peak(gs[1] - 1e-4)) / 2e-4
    assert float(slope) == pytest.approx(float(difference), rel=1e-7)
    assert float(jax.jvp(peak, (gs[1],), (1.0,))[1]) == pytest.approx(float(slope), rel=1e-10)


def test_in_a_shard_map():
    """Values, gradients and the error of a run in each shard, as outside."""
    mesh = jax.make_mesh((1,), ("x",), axis_types=(jax.sharding.AxisType.Auto,))
    by_x = jax.sharding.PartitionSpec("x")
    mean_square = lambda I: jnp.mean(hh.simulate(AXON, t1=2.0, dt=0.05, stimulus=I).V ** 2)
    run = jax.vmap(jax.value_and_grad(mean_square))
    sharded = eqx.filter_jit(jax.shard_map(run, mesh=mesh, in_specs=by_x, out_specs=by_x))
    currents = jnp.array([5.0, 10.0])
    for got, wanted in zip(sharded(currents), run(currents)):
        np.testing.assert_allclose(got, wanted, rtol=1e-12)
    with pytest.raises(RuntimeError, match="The run turned infinite or NaN"):
        sharded(jnp.array([5.0, jnp.inf]))


def test_a_key_for_each_shard():
    """Noise and Poisson inputs in one network, where nothing else differs from shard to shard."""
    mesh = jax.make_mesh((1,), ("x",), axis_types=(jax.sharding.AxisType.Auto,))
    by_x = jax.sharding.PartitionSpec("x")
    weights = jnp.array([[0.1]])
    drive = hh.synapses.ExponentialSynapse(weights, input=hh.synapses.Poisson(1, 2000.0))
    network = hh.Network(AXON, coupling={"drive": drive}, noise=hh.CurrentNoise(1.0))

    def run(key):
        run = hh.simulate(network, t1=2.0, dt=0.05, key=key)
        return run.V, run.final.s["drive"]["g"]["g"]

    run = jax.vmap(run)
    sharded = jax.jit(jax.shard_map(run, mesh=mesh, in_specs=by_x, out_specs=by_x))
    keys = jax.random.split(jax.random.key(0), 2)
    for found, (one, other) in zip(sharded(keys), run(keys)):
        assert np.abs(one - other).max() > 0.01  # mV, mS/cm²
        np.testing.assert_allclose(found, jnp.stack([one, other]), rtol=1e-11)


@pytest.mark.parametrize("solver", [*hh.steppers.by_name, diffrax.Tsit5()])
def test_gradients_equal_central_differences(solver):
    """For every parameter, the stimulus and the initial state, along random directions."""
    network = hh.Network(AXON, n=2, coupling=hh.GradedSynapse(jnp.array([[0.0, 0.2], [0.1, 0.0]])))
    start = (network, hh.Step(10.0, 0.33, 7.77), network.init(jnp.array([-65.0, -60.0])))

    def mean_square(inputs):
        network, stimulus, y0 = inputs
        run = hh.simulate(network, t1=8.0, dt=0.04, stimulus=stimulus, y0=y0, solver=solver)
        return jnp.mean(run.V**2)

    value_and_slope = jax.jit(jax.value_and_grad(mean_square))
    value, slope = value_and_slope(start)
    leaves, structure = jax.tree.flatten(start)
    rng = np.random.default_rng(0)
    direction = [jnp.asarray(rng.normal(size=x.shape)) for x in leaves]
    along = sum(float(jnp.sum(d * s)) for d, s in zip(direction, jax.tree.leaves(slope)))
    moved = lambda h: jax.tree.unflatten(structure, [x + h * d for x, d in zip(leaves, direction)])
    shifted = lambda h: value_and_slope(moved(h))[0]
    h = 1e-6
    difference = (shifted(h) - shifted(-h)) / (2 * h)
    assert along == pytest.approx(float(difference), rel=1e-6)


def test_spike_times_follow_the_initial_voltage_exactly():
    """With gates at rest for V0, dt_k/dV0 = −1/(I − I_ion(V0)) for every spike k."""
    network = hh.Network(AXON)
    y0 = network.init(-65.0)

    def times(V0):
        run = hh.simulate(network, t1=40.0, dt=0.005, y0=y0.replace_V(V0[None]), stimulus=10.0, solver="rk4")
        return hh.spike_times(run.ts, run.V[:, 0], max_spikes=3)

    # Since the gates' own equations vanish at V0, moving along the orbit moves V alone.
    np.testing.assert_allclose(jax.jacfwd(times)(jnp.asarray(-65.0)), -0.09995778074, rtol=1e-6)


@pytest.mark.parametrize("v0", [-40.0, -55.0])
def test_float32_gradients_at_the_removable_singularities(v0):
    def mean_square(g, dtype):
        neuron = eqx.tree_at(lambda n: n.channels["na"].g, AXON, g)
        neuron = jax.tree.map(lambda x: x.astype(dtype), neuron)
        return jnp.mean(hh.simulate(neuron, t1=5.0, dt=0.025, v0=v0, stimulus=10.0).V ** 2)

    single, double = (jax.grad(mean_square)(120.0, dtype) for dtype in (jnp.float32, jnp.float64))
    assert float(single) == pytest.approx(float(double), rel=1e-3)


@pytest.fixture(scope="module")
def full():
    """A run that saved the whole state."""
    return hh.simulate(AXON, t1=10.0, dt=0.1, stimulus=10.0, saveat=diffrax.SaveAt(t0=True, steps=True))


@pytest.mark.parametrize(
    "saveat, indices",
    [
        (diffrax.SaveAt(t1=True), [100]),
        (diffrax.SaveAt(t0=True, t1=True), [0, 100]),
        (diffrax.SaveAt(steps=True), range(1, 101)),
        (diffrax.SaveAt(t0=True, steps=7), range(0, 101, 7)),
        (diffrax.SaveAt(steps=7, t1=True), [*range(7, 101, 7), 100]),
        (diffrax.SaveAt(t0=True, steps=101), [0]),
        (diffrax.SaveAt(ts=jnp.array([1.0, 2.5, 10.0])), [10, 25, 100]),
        (diffrax.SaveAt(ts=jnp.array([0.0, 0.3])), [0, 3]),
        (diffrax.SaveAt(t0=True, ts=jnp.array([0.3, 0.7]), t1=True), [0, 3, 7, 100]),
    ],
)
def test_saveat(saveat, indices, full):
    run = hh.simulate(AXON, t1=10.0, dt=0.1, stimulus=10.0, saveat=saveat)
    indices = np.array(indices)
    np.testing.assert_allclose(run.ts, indices * 0.1, rtol=1e-14)
    for got, all_of in zip(jax.tree.leaves(run.ys), jax.tree.leaves(full.ys), strict=True):
        np.testing.assert_allclose(got, all_of[indices], rtol=1e-11)
    np.testing.assert_allclose(run.final.V, full.final.V, rtol=1e-12)


def test_the_grid_of_a_long_run():
    assert count_steps(0.0, 12500.012, 0.025) == (500_001, pytest.approx(0.012))
    assert count_steps(0.0, 1e5, 0.1) == (1_000_000, 0.1)
    _, indices = make_plan(diffrax.SaveAt(ts=[19999.99]), 0.0, 20000.0, 0.01, 2_000_000)
    assert indices.tolist() == [1_999_999]
    with pytest.raises(ValueError, match="must lie on the grid"):
        make_plan(diffrax.SaveAt(ts=[29999.985]), 0.0, 30000.0, 0.025, 1_200_000)


def test_saveat_fn_and_the_default(full):
    save = diffrax.SaveAt(steps=True, fn=lambda t, y, args: (t, y.V.max(), args[1](t)))
    ts, peak, current = hh.simulate(AXON, t1=10.0, dt=0.1, stimulus=hh.Ramp(10.0, 0.0, 10.0), saveat=save).ys
    np.testing.assert_allclose(current, ts, rtol=1e-12)
    run = hh.simulate(AXON, t1=10.0, dt=0.1, stimulus=10.0)
    np.testing.assert_allclose(run.V, full.V, rtol=1e-12)
    assert run.V.shape == (101, 1) and run.ts.shape == (101,)


def test_the_last_step_ends_at_t1():
    run = hh.simulate(AXON, t1=1.0, dt=0.3, stimulus=10.0, solver="strang4")
    np.testing.assert_allclose(run.ts, [0, 0.3, 0.6, 0.9, 1.0], rtol=1e-14)
    uneven, even = (hh.simulate(AXON, t1=1.0, dt=dt, stimulus=10.0, solver="rk4") for dt in (0.03, 0.02))
    assert float(uneven.final.V[0]) == pytest.approx(float(even.final.V[0]), abs=1e-6)


def test_a_run_goes_on_from_its_final_state():
    whole = hh.simulate(AXON, t1=20.0, dt=0.1, stimulus=hh.Step(10.0, 5.0, 15.0))
    half = hh.simulate(AXON, t1=10.0, dt=0.1, stimulus=hh.Step(10.0, 5.0, 15.0))
    rest = hh.simulate(AXON, t0=10.0, t1=20.0, dt=0.1, stimulus=hh.Step(10.0, 5.0, 15.0), y0=half.final)
    np.testing.assert_allclose(rest.V, whole.V[100:], rtol=1e-10)


def test_progress_meter(capfd):
    hh.simulate(AXON, t1=10.0, dt=0.1, progress_meter=diffrax.TextProgressMeter(minimum_increase=0.25))
    jax.effects_barrier()
    out = capfd.readouterr().out
    assert "0.00%" in out and "100.00%" in out


def test_parameters_may_differ_from_neuron_to_neuron():
    gs = jnp.array([80.0, 120.0, 160.0])
    neuron = hh.Neuron({**AXON.channels, "na": hh.Sodium(g=gs)}, C=jnp.array([1.0, 1.1, 0.9]))
    together = hh.simulate(hh.Network(neuron, n=3), t1=20.0, dt=0.05, stimulus=10.0)
    for k in range(3):
        alone = hh.Neuron({**AXON.channels, "na": hh.Sodium(g=gs[k])}, C=neuron.C[k])
        run = hh.simulate(alone, t1=20.0, dt=0.05, stimulus=10.0)
        np.testing.assert_allclose(together.V[:, k], run.V[:, 0], rtol=1e-9)


def test_blow_up_is_reported_with_its_beginning():
    coarse = diffrax.SaveAt(t1=True)
    with pytest.raises(hh.NonFiniteError, match=r"at t = 2.6 ms, first in neuron 1 .*smaller dt") as raised:
        hh.simulate(
            hh.Network(AXON, n=2),
            t1=50.0,
            dt=0.1,
            stimulus=jnp.array([0.0, 10.0]),
            solver="rk4",
            saveat=coarse,
        )
    assert raised.value.time == pytest.approx(2.6) and raised.value.neuron == 1
    assert "a solver that stays bounded, such as 'strang';" in str(raised.value)


def test_a_blow_up_advises_no_solver_that_is_in_use():
    late = lambda t: jnp.where(t > 0.5, jnp.nan, 10.0)  # of the user's own, whose values are not checked
    options = dict(t1=1.0, dt=0.1, stimulus=late)
    with pytest.raises(
        hh.NonFiniteError, match="'strang' .* a stimulus or rates that are not finite"
    ) as raised:
        hh.simulate(AXON, **options)
    assert "such as" not in str(raised.value)
    noisy = hh.Network(AXON, noise=hh.CurrentNoise(1.0))
    with pytest.raises(hh.NonFiniteError, match="such as 'strang_maruyama'"):
        hh.simulate(noisy, solver="euler_maruyama", key=jax.random.key(0), **options)


def test_blow_up_as_a_flag_or_inside_jit():
    cells = hh.Network(AXON, n=2)
    run = lambda I, throw: hh.simulate(cells, t1=50.0, dt=0.1, stimulus=I, solver="rk4", throw=throw)
    bad = jnp.array([0.0, 10.0])
    assert jax.jit(lambda I: run(I, False).finite)(bad).tolist() == [True, False]
    with pytest.raises(Exception, match="turned infinite or NaN"):
        jax.block_until_ready(jax.jit(lambda I: run(I, True).V)(bad))
    assert bool(jnp.isfinite(jax.jit(lambda I: run(I, True).V)(0 * bad)).all())


BAD = [
    (dict(dt=0.0), "`dt` must be a positive finite number in ms, got 0.0"),
    (dict(dt=-0.1), "`dt`"),
    (dict(dt=float("nan")), "`dt`"),
    (dict(dt="fast"), "`dt` must be a number"),
    (dict(t1=0.0), "`t1` must be later than `t0` = 0.0 ms, got 0.0"),
    (dict(t1=float("inf")), "`t1`"),
    (dict(v0=jnp.ones(2)), r"`v0` must be a scalar or have shape \(3,\)"),
    (dict(v0=float("nan")), "`v0` must be finite"),
    (dict(v0="rest"), "`v0` must be a number or an array .*, got 'rest'"),
    (dict(y0=hh.Network(AXON, n=2).init()), r"`y0.V` must have shape \(3,\), got \(2,\)"),
    (dict(y0=jnp.ones(3)), "`y0` must be a state of this network"),
    (dict(saveat=diffrax.SaveAt(dense=True)), "`saveat` with dense"),
    (dict(saveat=diffrax.SaveAt(subs=[diffrax.SubSaveAt(t1=True)])), "`saveat` with several `subs`"),
    (dict(saveat=diffrax.SaveAt()), "`saveat` must save something: give it any of t0, t1, ts and steps"),
    (dict(saveat=diffrax.SaveAt(steps=11)), "`saveat.steps` must be .* the 10 steps of the run.* got 11"),
    (dict(saveat=diffrax.SaveAt(steps=-1)), "`saveat.steps` .* got -1"),
    (dict(saveat=diffrax.SaveAt(t0=True, steps=2.5)), "`saveat.steps` .* got 2.5"),
    (dict(saveat=diffrax.SaveAt(ts=[0.5, 0.3])), "`saveat.ts` must increase"),
    (dict(solver=diffrax.SemiImplicitEuler()), "does not solve ODEs as a single term"),
    (
        dict(adjoint=diffrax.RecursiveCheckpointAdjoint(checkpoints=0)),
        "`adjoint.checkpoints` must be a whole number of at least 1",
    ),
    (dict(saveat=diffrax.SaveAt(ts=[0.15])), "`saveat.ts` must lie on the grid"),
    (dict(saveat="all"), "`saveat` must be a diffrax.SaveAt"),
    (dict(network=4), "`network` must be an hh.Network"),
    (
        dict(network=eqx.tree_at(lambda n: n.channels["na"].g, AXON, -1.0)),
        r"channels\['na'\].g` must be at least 0",
    ),
    (dict(network=eqx.tree_at(lambda n: n.C, AXON, 0.0)), "neuron.C` must be positive"),
    (dict(network=eqx.tree_at(lambda n: n.channels["k"].E, AXON, float("nan"))), r"\['k'\].E` contains NaN"),
    (dict(network=eqx.tree_at(lambda n: n.C, AXON, jnp.ones(4))), r"shape \(4,\), which does not fit n=1"),
    (
        dict(network=eqx.tree_at(lambda n: n.channels["na"].g, AXON, 90)),
        r"g` must be a float, such .*, got 90",
    ),
    (dict(key=0), r"`key` must be a key such as jax.random.key\(0\)"),
    (  # 2¹⁹ ms at 23 bits of mantissa
        dict(network=cast_floats(hh.Network(AXON), jnp.float32), t0=1e6, t1=1e6 + 1, dt=0.025),
        "`t1` = 1000001.0 ms is too far from 0 .* 0.0625 ms apart there",
    ),
]


@pytest.mark.usefixtures("as_users_run_it")
@pytest.mark.parametrize("arguments, message", BAD)
def test_bad_input_is_refused_before_compiling(arguments, message):
    arguments = {"network": hh.Network(AXON, n=3), "t1": 1.0, "dt": 0.1} | arguments
    with pytest.raises((TypeError, ValueError), match=message):
        hh.simulate(arguments.pop("network"), **arguments)


@pytest.mark.usefixtures("as_users_run_it")
def test_a_traced_dt_is_refused_with_a_hint():
    with pytest.raises(TypeError, match="`dt` decides what is compiled"):
        jax.jit(lambda dt: hh.simulate(AXON, t1=1.0, dt=dt).V)(0.1)


@pytest.mark.usefixtures("as_users_run_it")
def test_bad_models_are_refused_on_construction():
    with pytest.raises(ValueError, match="g` must be at least 0"):
        jax.jit(lambda I: hh.simulate(hh.Neuron({"l": hh.Leak(g=-1.0)}), t1=1.0, dt=0.1, stimulus=I).V)(1.0)
    with pytest.raises(ValueError, match="g` must be at least 0.0 mS/cm², got -1.0 mS/cm²"):
        hh.Neuron({"na": hh.Sodium(g=-1.0)})
    with pytest.raises(ValueError, match="`C` must be positive"):
        hh.Neuron({}, C=-1.0)
    with pytest.raises(TypeError, match="must be a dict of hh.Channel"):
        hh.Neuron([hh.Leak()])
    with pytest.raises(ValueError, match=r"does not fit n=3 neurons"):
        hh.Network(hh.Neuron({}, C=jnp.ones(2)), n=3)
    with pytest.raises(ValueError, match="`n` must be a whole number"):
        hh.Network(AXON, n=0)
    with pytest.raises(
        ValueError, match=r"`coupling.weights` must have shape \(post, pre\) = \(3, 3\).*got \(2, 2\)"
    ):
        hh.Network(AXON, n=3, coupling=hh.GradedSynapse(jnp.ones((2, 2))))
    with pytest.raises(ValueError, match="`coupling.weights` must be finite"):
        hh.Network(AXON, n=2, coupling=hh.GradedSynapse(jnp.full((2, 2), jnp.nan)))
