import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hhjax as hh

TAU = 5.0  # ms, of a passive membrane with C = 1 and g = 0.2


def charge(stimulus, t1, dt, n=1):
    """What a pure capacitor of 1 µF/cm² has collected by t1, in mV."""
    network = hh.Network(hh.Neuron({}), n=n)
    return np.asarray(hh.simulate(network, t1=t1, dt=dt, stimulus=stimulus, v0=0.0).final.V)


SAMPLES = np.linspace(0.0, 10.0, 301)


@pytest.mark.parametrize(
    "stimulus, exact",
    [
        (hh.Constant(3.0), 30.0),
        (hh.Step(2.0, 1.03, 4.456), 2.0 * (4.456 - 1.03)),
        (hh.Step(2.0, 1.03, 1.04), 2.0 * 0.01),  # shorter than a step, between grid points
        (hh.Pulses(4.0, start=0.513, width=0.03, period=1.7), 4.0 * 0.03 * 6),
        (hh.Pulses(4.0, start=0.5, width=0.7, period=1.3, count=3), 4.0 * 0.7 * 3),
        (hh.Pulses(4.0, start=0.01, width=0.02, period=0.05), 4.0 * 0.02 * 200),  # many in a step
        (hh.Ramp(2.0, 1.03, 4.456), 2.0 * ((4.456 - 1.03) / 2 + 10 - 4.456)),
        (hh.Sampled(SAMPLES, np.sin(SAMPLES) ** 2), np.trapezoid(np.sin(SAMPLES) ** 2, SAMPLES)),
        (hh.Sampled(SAMPLES, np.sin(SAMPLES), held=True), np.sin(SAMPLES[:-1]).sum() / 30),
        (hh.Sampled([1.03, 4.456], [2.0, 0.0], held=True), 2.0 * 4.456),  # held before its first sample too
        (hh.Step(2.0, 1.03, 4.456) + hh.Ramp(1.0, 0.0, 10.0) + 1, 2.0 * 3.426 + 5.0 + 10.0),
    ],
)
def test_no_charge_is_lost_between_grid_points(stimulus, exact):
    for dt in (0.37, 0.3701):  # of 28 steps each, of which the last is shorter
        np.testing.assert_allclose(charge(stimulus, 10.0, dt), exact, rtol=1e-10)


def test_float32_steps_have_their_exact_amplitude_late_in_a_run():
    inside = hh.Step(3.0, 5.0, 1e6)
    inside = jax.tree.map(lambda x: x.astype(jnp.float32), inside)
    seen = inside.within(jnp.float32(9999.97), jnp.float32(0.025), jnp.float32(9999.995))
    assert float(seen(jnp.float32(0))) == 3.0


def test_pointwise_values():
    at = lambda s, *ts: [float(s(jnp.asarray(t))) for t in ts]
    assert at(hh.Step(2.0, 1.0, 3.0), 0.99, 1.0, 2.99, 3.0) == [0.0, 2.0, 2.0, 0.0]
    assert at(hh.Pulses(2.0, 1.0, 0.5, 2.0, 2), 0.9, 1.0, 1.49, 1.5, 3.2, 5.2) == [0, 2, 2, 0, 2, 0]
    assert at(hh.Ramp(2.0, 1.0, 3.0), 0.0, 1.5, 3.0, 9.0) == [0.0, 0.5, 2.0, 2.0]
    assert at(hh.Sine(2.0, frequency=250.0, offset=1.0), 0.0, 1.0) == pytest.approx([1.0, 3.0])
    assert at(hh.Sampled([0.0, 1.0, 3.0], [0.0, 2.0, 0.0]), -1.0, 0.5, 2.0, 4.0) == [0, 1, 1, 0]
    held = hh.Sampled([0.0, 1.0, 3.0], [1.0, 2.0, 0.0], held=True)
    assert at(held, -1.0, 0.0, 0.99, 1.0, 2.99, 3.0, 4.0) == [1, 1, 1, 2, 2, 0, 0]


@pytest.mark.parametrize(
    "solver, order", [("strang", 2), ("exp_euler", 2), ("strang4", 4), ("rk4", 4), (diffrax.Tsit5(), 4)]
)
def test_a_smooth_stimulus_keeps_the_order(solver, order):
    """A passive membrane driven by a sine: V relaxes to a known phasor."""
    neuron = hh.Neuron({"leak": hh.Leak(g=1 / TAU, E=0.0)})
    frequency, t1 = 40.0, 10.0
    omega = 2 * np.pi * frequency / 1000
    phasor = 1 / (1 / TAU + 1j * omega)
    exact = (phasor * np.exp(1j * omega * t1)).imag - phasor.imag * np.exp(-t1 / TAU)
    stimulus = hh.Sine(1.0, frequency)
    run = lambda dt: hh.simulate(neuron, t1=20 * dt, dt=dt, v0=0.0, stimulus=stimulus, solver=solver)
    error = lambda dt: abs(float(run(dt).V[round(t1 / dt), 0]) - exact)  # 20 steps of either size
    assert np.log2(error(1.0) / error(0.5)) > order - 0.3


@pytest.mark.parametrize("solver", ["strang4", "rk4", diffrax.Tsit5()])
def test_edges_off_the_grid_barely_matter(solver):
    """The spikes of a step that begins and ends between grid points are the exact ones."""
    stimulus = hh.Step(12.0, 5.0131, 40.0077) + hh.Pulses(30.0, 60.003, 0.517, 25.0, count=2)
    exact = hh.reference(hh.squid_axon(), t1=100.0, stimulus=stimulus).spike_times()[0]
    run = hh.simulate(hh.squid_axon(), t1=100.0, dt=0.02, stimulus=stimulus, solver=solver)
    assert len(exact) == 5
    # The charge is right and its place within the step is not: an error of dt² at most.
    np.testing.assert_allclose(run.spike_times()[0], exact, atol=5e-4)


def test_reference_steps_onto_edges():
    """A pulse of a hundredth of a millisecond in a long rest is not stepped over."""
    pulse = hh.Step(1500.0, 50.0, 50.01)
    run = hh.reference(hh.squid_axon(), t1=60.0, stimulus=pulse, v0=-64.99637933119206)
    jump = float(run.V[5001, 0] - run.V[5000, 0])
    assert jump == pytest.approx(15.0, abs=0.1)  # 1500 µA/cm² · 0.01 ms / 1 µF/cm²


class Own(hh.Stimulus):
    """A stimulus of a user's, which does not tell its edges."""

    amplitude: hh.Parameter = hh.param(1500.0)

    def __call__(self, t):
        return jnp.where((t >= 50.0) & (t < 50.01), self.amplitude, 0.0)


PULSES = {
    "step": hh.Step(1500.0, 50.0, 50.01),
    "step of each neuron": hh.Step([1500.0, 750.0], [50.0, 50.01], [50.01, 50.03]),
    "pulses": hh.Pulses(1500.0, 50.0, 0.01, 1000.0),
    "held samples": hh.Sampled([0.0, 50.0, 50.01, 60.0], [0.0, 1500.0, 0.0, 0.0], held=True),
    "samples": hh.Sampled([0.0, 50.0, 50.01, 50.02, 60.0], [0.0, 0.0, 1500.0, 0.0, 0.0]),
    "scaled sum": 2.0 * (hh.Step(300.0, 50.0, 50.01) + hh.Pulses(450.0, 50.0, 0.01, 100.0) + 0.0),
    "function": lambda t: jnp.where((t >= 50.0) & (t < 50.01), 1500.0, 0.0),
    "sum with a function": hh.Constant(0.0) + (lambda t: jnp.where((t >= 50.0) & (t < 50.01), 1500.0, 0.0)),
    "own class": Own(),
}


TOLD, NOT_TOLD = "step of each neuron", "sum with a function"  # edges


@pytest.mark.parametrize(
    "name, solver",
    [(name, diffrax.Tsit5()) for name in PULSES] + [(name, diffrax.Kvaerno5()) for name in (TOLD, NOT_TOLD)],
)
def test_no_adaptive_solver_steps_over_a_pulse(name, solver):
    """15 mV on a capacitor of 1 µF/cm² in a hundredth of a millisecond after a long rest."""
    cells = hh.Network(hh.Neuron({}), n=2)
    end = diffrax.SaveAt(t1=True, fn=hh.save_V)
    run = hh.reference(
        cells, t1=60.0, stimulus=PULSES[name], v0=0.0, solver=solver, saveat=end, rtol=1e-7, atol=1e-7
    )
    np.testing.assert_allclose(run.V[0], 15.0, rtol=2e-5)


def test_a_users_own_adaptive_solve_takes_its_steps_from_us():
    network, pulse = hh.Network(hh.Neuron({})), hh.Step(1500.0, 50.0, 50.01)
    controller = diffrax.PIDController(rtol=1e-6, atol=1e-6)

    def end(stimulus, controller):
        term, y0 = diffrax.ODETerm(hh.vector_field), network.init(0.0)
        out = diffrax.diffeqsolve(
            term, diffrax.Tsit5(), 0.0, 60.0, None, y0, (network, stimulus), stepsize_controller=controller
        )
        return float(out.ys.V[0, 0])

    assert end(pulse, controller) == 0.0  # which is why
    assert end(pulse, hh.steps_onto(controller, pulse, t1=60.0, dt=0.025)) == pytest.approx(15.0, rel=1e-6)
    assert hh.steps_onto(controller, 10.0, t1=60.0, dt=0.025).dtmax is None
    assert hh.steps_onto(controller, lambda t: 0.0, t1=60.0, dt=0.025).dtmax == 0.05
    shorter = diffrax.PIDController(rtol=1e-6, atol=1e-6, dtmax=0.01)
    assert hh.steps_onto(shorter, lambda t: 0.0, t1=60.0, dt=0.025).dtmax == 0.01
    assert hh.steps_onto(controller, hh.Sine(1.0, [50.0, 100.0]), t1=60.0, dt=0.025).dtmax == 2.5
    into = hh.PointCurrent(lambda t: 0.0, at=0) + hh.Step(1.0)
    assert hh.steps_onto(controller, into, t1=60.0, dt=0.025).controller.dtmax == 0.05


def test_pulses_at_the_ends_of_a_run_and_longer_than_it():
    """The charge that lies within the run, of edges on its first and last grid points."""
    for stimulus, exact in (
        (hh.Step(2.0, 0.0, 10.0), 20.0),
        (hh.Step(2.0, -5.0, 0.0), 0.0),
        (hh.Step(2.0, 10.0, 20.0), 0.0),
        (hh.Pulses(4.0, start=0.0, width=0.5, period=5.0), 4.0),
        (hh.Pulses(4.0, start=-0.25, width=0.5, period=5.0), 4.0 * (0.25 + 0.5 + 0.25)),
        (hh.Pulses(4.0, start=0.0, width=0.01, period=10.0), 0.04),
    ):
        for dt in (0.1, 0.1009):  # of 100 steps each, of which the last is shorter
            np.testing.assert_allclose(charge(stimulus, 10.0, dt), exact, rtol=1e-9, atol=1e-9)


def test_one_current_per_neuron():
    amplitude = jnp.array([1.0, 2.0, 3.0])
    assert charge(amplitude, 10.0, 0.1, n=3).tolist() == pytest.approx([10.0, 20.0, 30.0])
    steps = hh.Step(amplitude, start=jnp.array([0.0, 5.0, 9.95]))
    assert charge(steps, 10.0, 0.1, n=3).tolist() == pytest.approx([10.0, 10.0, 0.15])
    recorded = hh.Sampled(SAMPLES, np.outer(np.ones(301), [1.0, 2.0, 3.0]))
    assert charge(recorded, 10.0, 0.1, n=3).tolist() == pytest.approx([10.0, 20.0, 30.0])


def test_any_callable_of_t():
    assert charge(lambda t: 2.0, 10.0, 0.1)[0] == pytest.approx(20.0)
    assert charge(lambda t: jnp.where(t < 5.0, 1.0, 0.0), 10.0, 0.1)[0] == pytest.approx(5.0)


@pytest.mark.parametrize(
    "kind, values, exact",
    [
        (hh.Step, [2.0, 1.0, 4.456], [3.456, -2.0, 2.0]),  # edges on the grid and off it
        (hh.Step, [2.0, 0.33, 5.0], [4.67, -2.0, 2.0]),
        (hh.Pulses, [2.0, 1.0, 0.5, 2.75], [2.0, 0.0, 8.0, 0.0]),
        (hh.Pulses, [2.0, 1.01, 0.5, 3.0, 2.0], [1.0, 0.0, 4.0, 0.0]),
        (hh.Pulses, [2.0, 1.0, 0.5, 4.0], [1.5, 0.0, 6.0, 0.0]),
        (hh.Ramp, [2.0, 1.0, 5.0], [7.0, -1.0, -1.0]),
    ],
)
def test_derivatives_of_the_charge(kind, values, exact):
    """By every parameter but the count, for a capacitor: the charge in closed form."""
    network, k = hh.Network(hh.Neuron({})), len(exact)

    def charge(dt, *values):
        return hh.simulate(network, t1=10.0, dt=dt, v0=0.0, stimulus=kind(*values)).final.V[0]

    for dt in (0.1, 0.1009):  # of 100 steps each, of which the last is shorter
        slopes = jax.grad(charge, argnums=tuple(range(1, k + 1)))(dt, *values)
        np.testing.assert_allclose(np.array(slopes), exact, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("dt", [0.1, 0.125])
def test_derivatives_by_the_times_of_samples(dt):
    """The charge up to 5 ms, with a sample at the start of the run, within, there, and later."""

    def charge(ts):
        stimulus = hh.Sampled(ts, [1.0, 3.0, -1.0, 4.0])
        run = hh.simulate(hh.Neuron({}), t1=10.0, dt=dt, v0=0.0, stimulus=stimulus)
        return run.V[round(5.0 / dt), 0]

    # Between samples dQ/dt_k = (I_{k−1} − I_{k+1})/2, where I stays at its ends; of the third up to itself.
    slopes = jax.grad(charge)(jnp.array([0.0, 2.0, 5.0, 10.0]))
    np.testing.assert_allclose(slopes, [-1.0, 1.0, 2.0, 0.0], rtol=1e-9, atol=1e-9)


def test_held_samples_are_the_steps_that_they_are():
    """A step sampled at 0.1 ms; linear between samples it would begin 0.05 ms early."""
    ts = np.arange(101) * 0.1
    values = np.where((ts > 1.95) & (ts < 6.95), 20.0, 0.0)
    run = lambda stimulus: hh.simulate(hh.squid_axon(), t1=10.0, dt=0.025, stimulus=stimulus).V[:, 0]
    step, held, linear = map(
        run, (hh.Step(20.0, 2.0, 7.0), hh.Sampled(ts, values, True), hh.Sampled(ts, values))
    )
    np.testing.assert_allclose(held, step, atol=1e-9)
    assert np.abs(linear - step).max() > 1.0

    def charge(values):
        stimulus = hh.Sampled([0.0, 2.0, 5.03], values, True)
        return hh.simulate(hh.Neuron({}), t1=10.0, dt=0.1, v0=0.0, stimulus=stimulus).final.V[0]

    np.testing.assert_allclose(jax.grad(charge)(jnp.ones(3)), [2.0, 3.03, 4.97], rtol=1e-9)


@pytest.mark.usefixtures("as_users_run_it")
@pytest.mark.parametrize(
    "stimulus, message",
    [
        (jnp.ones(4), r"`stimulus.amplitude` has shape \(4,\)"),
        (float("nan"), "`stimulus.amplitude` contains NaN"),
        ("ten", "`stimulus` must be a number"),
        (lambda t: jnp.ones(4), r"`stimulus` must give a scalar or shape \(3,\)"),
        (hh.Step(jnp.ones(2)), r"`stimulus.amplitude` has shape \(2,\)"),
    ],
)
def test_bad_stimuli_are_refused(stimulus, message):
    with pytest.raises((TypeError, ValueError), match=message):
        hh.simulate(hh.Network(hh.squid_axon(), n=3), t1=1.0, dt=0.1, stimulus=stimulus)


@pytest.mark.usefixtures("as_users_run_it")
def test_bad_samples_and_pulses_are_refused():
    with pytest.raises(TypeError, match="`controller` must be a diffrax.PIDController, got Constant"):
        hh.steps_onto(diffrax.ConstantStepSize(), 10.0, t1=60.0, dt=0.025)
    with pytest.raises(ValueError, match="must increase"):
        hh.Sampled([0.0, 2.0, 1.0], [0.0, 0.0, 0.0])
    with pytest.raises(ValueError, match="`Step.stop` must not come before `start`"):
        hh.Step(1.0, 5.0, 3.0)
    with pytest.raises(ValueError, match="`Ramp.stop` must come after `start`"):
        hh.Ramp(1.0, 5.0, 5.0)
    with pytest.raises(ValueError, match="`Pulses.width` must be at most the `period`"):
        hh.Pulses(1.0, 0.0, width=3.0, period=1.0)
    with pytest.raises(ValueError, match="`Sampled.held` must be True or False, got 1"):
        hh.Sampled([0.0, 1.0], [0.0, 0.0], held=1)
    with pytest.raises(ValueError, match="to match `ts`"):
        hh.Sampled([0.0, 1.0, 2.0], [0.0, 0.0])
    with pytest.raises(ValueError, match="`period` must be positive"):
        hh.simulate(hh.squid_axon(), t1=1.0, dt=0.1, stimulus=hh.Pulses(1.0, 0.0, 0.0, period=0.0))


@pytest.mark.parametrize("solver", ["strang", "exp_euler", "rk4"])
def test_a_clamp_holds_a_passive_membrane_where_ohms_law_says(solver):
    passive = hh.Network(hh.Neuron({"L": hh.Leak(g=0.3, E=-60.0)}), n=2)
    clamp = hh.Clamp(hh.Step(20.0, start=1.0), g=[0.0, 2.7]) + 0.6
    run = hh.simulate(passive, t1=60.0, dt=0.05, stimulus=clamp, solver=solver)
    # g_L (V − E_L) + g (V − 20) = 0.6
    np.testing.assert_allclose(run.final.V, [-58.0, (0.3 * -60 + 2.7 * 20 + 0.6) / 3.0], rtol=1e-6)


def test_a_scaled_stimulus_is_the_stimulus_times_its_factor():
    half = 0.5 * hh.Pulses(4.0, start=0.513, width=0.03, period=1.7)
    np.testing.assert_allclose(charge(half, 10.0, 0.05), 0.5 * 4.0 * 0.03 * 6, rtol=1e-9)
    clamp = hh.Clamp(hh.Sine(1.0, 40.0), g=2.0) * 3.0
    assert float(clamp.conductance()) == 6.0
    assert float(clamp(5.0)) == pytest.approx(6.0 * np.sin(2 * np.pi * 40.0 * 5e-3))
