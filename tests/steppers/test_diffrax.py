import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hhjax as hh

AXON = hh.squid_axon()
NETWORK = hh.Network(AXON, n=2, coupling=hh.GradedSynapse([[0.0, 0.1], [0.1, 0.0]]))


def solve(solver, network, stimulus, t1, dt, saveat, **options):
    return diffrax.diffeqsolve(
        diffrax.ODETerm(hh.vector_field),
        solver,
        t0=0.0,
        t1=t1,
        dt0=dt,
        y0=network.init(),
        args=(network, stimulus),
        saveat=saveat,
        max_steps=100_000,
        **options,
    )


@pytest.mark.parametrize("solver", list(hh.steppers.by_name))
def test_our_steppers_under_diffeqsolve_are_our_own_loop(solver):
    dt, stimulus = 2.0**-5, hh.Step(10.0, 1.01, 15.0)
    theirs = solve(hh.as_diffrax(solver), NETWORK, stimulus, 20.0, dt, diffrax.SaveAt(steps=True))
    ours = hh.simulate(
        NETWORK, t1=20.0, dt=dt, stimulus=stimulus, solver=solver, saveat=diffrax.SaveAt(steps=True)
    )
    for a, b in zip(jax.tree.leaves(theirs.ys), jax.tree.leaves(ours.ys), strict=True):
        np.testing.assert_allclose(a[:640], b, rtol=1e-11, atol=1e-11)  # of mV, as V passes 0


def test_a_tight_adaptive_solve_of_the_field(reference):
    network = hh.Network(AXON)
    controller = diffrax.PIDController(rtol=1e-10, atol=1e-10)
    ts = jnp.array([float(t) for t in reference["I10"]["state_Vmhn_at"]])
    saveat = diffrax.SaveAt(ts=ts)
    run = solve(diffrax.Dopri8(), network, 10.0, 100.0, 0.01, saveat, stepsize_controller=controller)
    expected = np.array(list(reference["I10"]["state_Vmhn_at"].values()))
    np.testing.assert_allclose(run.ys.V[:, 0], expected[:, 0], atol=1e-4)
    np.testing.assert_allclose(run.ys.gates["na"]["m"][:, 0], expected[:, 1], atol=1e-6)


def test_reference_run(reference):
    run = hh.reference(AXON, t1=100.0, stimulus=10.0)
    np.testing.assert_allclose(run.spike_times()[0], reference["I10"]["spike_times_ms"][:7], atol=1e-5)
    assert run.ts.shape == (10_001,) and bool(run.finite.all())
    V100 = reference["I10"]["state_Vmhn_at"]["100.0"][0]
    assert float(run.final.V[0]) == pytest.approx(V100, abs=1e-7)


@pytest.mark.parametrize("solver", [diffrax.Tsit5(), diffrax.Dopri8(), diffrax.Kvaerno5()])
def test_diffrax_solvers_in_our_loop(solver, reference):
    run = hh.simulate(AXON, t1=20.0, dt=0.025, stimulus=10.0, solver=solver)
    np.testing.assert_allclose(run.spike_times()[0], reference["I10"]["spike_times_ms"][:2], atol=1e-5)


@pytest.mark.usefixtures("as_users_run_it")
def test_an_implicit_solver_in_float32(reference):
    """Its root finder asks for no more digits of a slope than there are."""
    single = jax.tree.map(lambda x: x.astype(jnp.float32), AXON)
    run = hh.simulate(single, t1=20.0, dt=0.025, stimulus=10.0, solver=diffrax.Kvaerno3())
    assert run.V.dtype == jnp.float32
    np.testing.assert_allclose(run.spike_times()[0], reference["I10"]["spike_times_ms"][:2], atol=1e-4)


def test_what_a_reference_run_cannot_save_is_refused():
    for saveat in (diffrax.SaveAt(steps=True), diffrax.SaveAt(dense=True)):
        with pytest.raises(ValueError, match="`saveat` must be a diffrax.SaveAt of t0, t1, ts and fn"):
            hh.reference(AXON, t1=1.0, saveat=saveat)


def test_another_vector_field_is_refused():
    other = diffrax.ODETerm(lambda t, y, args: jax.tree.map(jnp.zeros_like, y))
    with pytest.raises(ValueError, match="integrates `diffrax.ODETerm"):
        diffrax.diffeqsolve(
            other, hh.as_diffrax("strang"), 0.0, 1.0, 0.1, NETWORK.init(), args=(NETWORK, 0.0)
        )


def test_backward_in_time_is_refused():
    # A term that diffeqsolve runs backward reaches a stepper with t1 − t0 > 0 all the same.
    network = hh.Network(hh.Neuron({}))
    with pytest.raises(Exception, match="cannot run backward in time"):
        term = diffrax.ODETerm(hh.vector_field)
        diffrax.diffeqsolve(term, hh.as_diffrax("rk4"), 1.0, 0.0, -0.1, network.init(), args=(network, 1.0))
