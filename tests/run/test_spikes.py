import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hhjax as hh

TS = jnp.linspace(0.0, 20.0, 401)


def test_crossings_of_a_sine_under_every_way_of_calling():
    # sin crosses 0.3 upward at asin(0.3) + 2πk.
    V = jnp.sin(TS)
    exact = np.arcsin(0.3) + 2 * np.pi * np.arange(4)
    exact = exact[exact < 20]
    plain = hh.spike_times(TS, V, 0.3)
    # The quintic's error is V⁽⁶⁾h⁶·15²/6!/64 ≈ 1e-10 at h = 0.05.
    np.testing.assert_allclose(plain, exact, atol=1e-9)
    jitted = jax.jit(hh.spike_times)(TS, V, 0.3)
    np.testing.assert_allclose(jitted[: len(exact)], exact, atol=1e-9)
    assert jitted.shape == (200,) and bool(jnp.isnan(jitted[len(exact) :]).all())
    padded = hh.spike_times(TS, V, 0.3, max_spikes=10)
    np.testing.assert_allclose(padded[: len(exact)], exact, atol=1e-9)
    hermite = hh.spike_times(TS, V, 0.3, slopes=jnp.cos(TS))
    np.testing.assert_allclose(hermite, exact, atol=1e-6)
    np.testing.assert_allclose(hh.spike_times(TS, V, 0.3, 5, slopes=jnp.cos(TS))[:3], hermite[:3], rtol=1e-12)


def test_one_row_per_neuron_padded_with_nan():
    V = jnp.stack([jnp.sin(TS), -jnp.ones_like(TS), jnp.sin(2 * TS)], axis=1)
    times = hh.spike_times(TS, V, 0.1)
    assert [int(x) for x in (~jnp.isnan(times)).sum(axis=1)] == [4, 0, 7]
    np.testing.assert_allclose(hh.spike_times(TS, V, 0.1, max_spikes=7), times, rtol=1e-12)


def test_no_crossing_no_spike():
    assert bool(jnp.isnan(hh.spike_times(TS, -jnp.ones_like(TS))).all())


@pytest.mark.parametrize("length", [2, 3, 4, 5, 7])
def test_short_traces(length):
    ts = jnp.arange(length).astype(float)
    assert float(hh.spike_times(ts, ts - 0.5)[0]) == pytest.approx(0.5)


def test_derivative_of_a_crossing():
    # d/da of the crossing of sin(t) + a is −1/cos(t*), d/dthreshold the negative of it.
    first = lambda a, threshold: hh.spike_times(TS, jnp.sin(TS) + a, threshold, max_spikes=6)[0]
    slope = 1 / np.cos(np.arcsin(0.3))
    by_a, by_threshold = jax.grad(first, argnums=(0, 1))(0.0, 0.3)
    assert float(by_a) == pytest.approx(-slope, rel=1e-6)
    assert float(by_threshold) == pytest.approx(slope, rel=1e-6)


def test_higher_derivatives_of_a_crossing():
    """t² crosses p at √p, and so does its interpolant."""
    ts = jnp.linspace(0.0, 3.0, 13)

    def crossing(p):
        return hh.spike_times(ts, ts**2, p, max_spikes=1)[0]

    second, third = jax.jit(lambda p: jax.jvp(jax.hessian(crossing), (p,), (1.0,)))(2.0)
    np.testing.assert_allclose((second, third), (-(2**-1.5) / 4, 2**-2.5 * 3 / 8), rtol=1e-10)


def test_rate_isi_and_cv():
    times = jnp.array([[10.0, 20.0, 40.0, jnp.nan], [5.0, jnp.nan, jnp.nan, jnp.nan]])
    np.testing.assert_allclose(hh.isi(times)[0], [10.0, 20.0, jnp.nan])
    np.testing.assert_allclose(hh.firing_rate(times), [2 / 30 * 1000, 0.0])
    np.testing.assert_allclose(hh.firing_rate(times, start=15.0), [50.0, 0.0])
    np.testing.assert_allclose(hh.isi_cv(times), [5 / 15, jnp.nan])
    slope = jax.grad(lambda t: hh.firing_rate(t))(jnp.array([10.0, 20.0, 40.0, jnp.nan]))
    np.testing.assert_allclose(slope, [2000 / 900, 0.0, -2000 / 900, 0.0])
    assert bool(jnp.isfinite(jax.grad(hh.isi_cv)(jnp.array([10.0, 20.0, 30.0, jnp.nan]))).all())


def test_interpolation_is_no_less_accurate_than_the_trace(reference):
    exact = np.array(reference["I10"]["spike_times_ms"])
    run = hh.simulate(hh.squid_axon(), t1=200.0, dt=0.025, stimulus=10.0, solver="rk4")
    # The method itself is 1.1e-5 ms off at the 10th spike; the quintic adds 6e-7.
    np.testing.assert_allclose(run.spike_times()[0], exact, atol=1.6e-5)


def test_windows_of_a_rate_share_no_spike():
    times = jnp.array([0.0, 10.0, 30.0, 60.0, 100.0])
    rates = [float(hh.firing_rate(times, *window)) for window in ((-1, 30), (30, 100), (0, 30), (29.9, 100))]
    np.testing.assert_allclose(rates, [2000 / 30, 1000 / 40, 1000 / 20, 2000 / 70])


def test_first_spikes_of_more_are_taken_with_a_warning():
    V = jnp.sin(TS)
    with pytest.warns(UserWarning, match="1 of 1 trains have more spikes, up to 4, than the 2 that were"):
        assert hh.spike_times(TS, V, 0.3, max_spikes=2).shape == (2,)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        jax.jit(lambda V: hh.spike_times(TS, V, 0.3, max_spikes=2))(V)
        hh.spike_times(TS, V, 0.3, max_spikes=4)


def test_firing_below_the_threshold_is_told_everywhere():
    """The squid axon at 63 µA/cm² fires at 126 Hz with peaks below 0 mV; at 2 µA/cm² it rings by some mV."""
    cells, told = hh.Network(hh.squid_axon(), n=2), "V of one neuron|V of 1 of 2 "
    options = dict(t1=100.0, dt=0.025, stimulus=jnp.array([2.0, 63.0]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run = hh.simulate(cells, **options)
        assert "; V of 1 rises and falls by more than 10 mV below" in str(run)
        rest = {"stimulus": jnp.array([2.0, 2.0])}
        quiet = hh.simulate(cells, **options | rest, reduce=hh.SpikeCount())
        assert "rises" not in str(quiet) and not quiet.reduced.any()
        rate = hh.firing_rate(hh.spike_times(run.ts, run.V, -20.0), start=50.0)
        assert float(rate[1]) == pytest.approx(126.46, abs=0.05)
        low = hh.simulate(cells, **options, reduce=hh.SpikeCount(-20.0, start=50.0))
        assert low.reduced.tolist() == [0, 6]
    for call in (
        lambda: run.spike_times(),
        lambda: hh.spike_times(run.ts, run.V),
        lambda: hh.plot.raster(run),
        lambda: hh.plot.raster_and_rate(run),
        lambda: hh.simulate(cells, **options, reduce=hh.SpikeCount()),
        lambda: hh.simulate(cells, **options, reduce=[hh.SpikeTimes(3), hh.Mean()]),
        lambda: hh.sweep(hh.squid_axon(), over={"stimulus": [2.0, 63.0]}, t1=100.0, dt=0.025),
        lambda: hh.features.spike_count(run.ts, run.V),
        lambda: hh.analysis.current_clamp(hh.squid_axon(), [0.0, 63.0], duration=50.0, dt=0.05),
        lambda: hh.analysis.fi_curve(hh.squid_axon(), [0.0, 2.0, 63.0], duration=100.0, tol=0.9, dt=0.05),
    ):
        with pytest.warns(UserWarning, match=f"{told}|V of 1 of 3 currents"):
            call()


def test_derivatives_by_the_threshold_of_what_fires_below_it():
    """A threshold is traced here, V is not: nothing can be told, and nothing fails."""
    cell = hh.squid_axon()

    def first(threshold):
        run = hh.simulate(cell, t1=30.0, dt=0.05, stimulus=63.0, reduce=hh.SpikeTimes(2, threshold))
        return run.reduced.times[0, 1]

    slope = float(jax.grad(first)(-10.0))
    assert slope == pytest.approx(float(first(-9.99) - first(-10.01)) / 0.02, rel=1e-3)
    latency = lambda threshold: hh.analysis.current_clamp(
        cell, jnp.array([63.0]), duration=30.0, before=10.0, after=5.0, dt=0.05, threshold=threshold
    ).latency[0]
    assert float(jax.grad(latency)(-10.0)) > 0


@pytest.mark.usefixtures("as_users_run_it")
def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="`V` must have shape"):
        hh.spike_times(TS, jnp.ones(3))
    with pytest.raises(ValueError, match="`ts` must have shape"):
        hh.spike_times(jnp.ones(1), jnp.ones(1))
    with pytest.raises(ValueError, match="`max_spikes`"):
        hh.spike_times(TS, TS, max_spikes=0)
    with pytest.raises(ValueError, match="`slopes`"):
        hh.spike_times(TS, TS, slopes=jnp.ones(3))
