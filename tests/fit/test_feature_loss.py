"""The loss of features: what counts as 1, what is missing, and a fit."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hhjax as hh
from hhjax import losses
from hhjax.features._reference import measure, same_current, spreads

TS = np.arange(0.0, 300.05, 0.1)


def sweep(current, peaks=(), rest=-65.0, depth=0.1):
    """A step from 100 to 200 ms, with spikes of 1 ms and 100 mV or a deflection of `depth` mV/pA."""
    during = (TS >= 100.0) & (TS < 200.0)
    V = np.full(TS.size, rest) + (0.0 if len(peaks) else depth * current) * during
    for at in peaks:
        V = V + 100 * np.exp(-(((TS - at) / 1.0) ** 2) / 2)
    return np.where(during, current, 0.0), V


def stack(sweeps):
    currents, V = map(np.stack, zip(*sweeps))
    return currents, V[..., None]


def test_what_varies_between_sweeps_counts_as_one():
    """By hand: three sweeps of one current, and a fourth; then neighbours only."""
    currents, V = stack(
        [sweep(50.0, (120.0, 150.0)), sweep(50.0, (126.0, 150.0)), sweep(50.0, (129.0,)), sweep(-50.0)]
    )
    found = measure(TS, jnp.asarray(V), currents, None, None, 0.0, 16)
    assert (found.start, found.stop) == (pytest.approx(100.0), pytest.approx(200.0))
    np.testing.assert_allclose(found.amplitude[:, 0], [50, 50, 50, -50])
    varies = spreads(found, same_current(TS, currents, found.start, found.stop))
    assert varies["latency"][0] == pytest.approx(np.std([20.0, 26.0, 29.0], ddof=1), rel=1e-4)
    assert varies["count"][0] == pytest.approx(np.std([2, 2, 1], ddof=1), rel=1e-6)
    assert varies["adaptation"][0] == 0.0
    # Of 10, 20, 40 and 50 pA. Lines through the neighbours: 28 + (18 − 28)/3, 24.6667 and (24 + 2·16)/3.
    currents, V = stack([sweep(i, (100 + at,)) for i, at in ((10, 28), (20, 24), (40, 18), (50, 16))])
    found = measure(TS, jnp.asarray(V), currents, None, None, 0.0, 16)
    none = same_current(TS, currents, found.start, found.stop)
    assert not none.any()
    squares = [(24 - (28 - 10 / 3)) ** 2, (18 - (24 + 2 * 16) / 3) ** 2]
    scale = 1 + 1 / 9 + 4 / 9
    assert spreads(found, none)["latency"][0] == pytest.approx(np.sqrt(np.mean(squares) / scale), rel=1e-3)


def made(loss, sweeps):
    currents, V = stack(sweeps)
    return loss.made_for(jnp.asarray(TS), jnp.asarray(V), jnp.asarray(currents)), jnp.asarray(V)


def total(loss, V, target):
    return float((loss(jnp.asarray(TS), jnp.asarray(V), target) ** 2).sum())


def test_differences_count_by_what_varies_and_missing_features_too():
    data = [sweep(50.0, (120.0, 150.0, 180.0)), sweep(-50.0), sweep(0.0), sweep(10.0)]
    model = [sweep(50.0, (123.0, 150.0, 180.0)), sweep(-50.0, depth=0.12), sweep(0.0, rest=-62.0), data[3]]
    one = lambda name, **options: made(losses.Features(name, **options), data)
    other = stack(model)[1]
    # Latencies of 20 and 23 ms, of which 10 % are 2 ms; only one sweep has any.
    loss, V = one("latency")
    assert total(loss, V, V) == 0.0
    assert total(loss, other, V) == pytest.approx((3 / 2) ** 2, rel=1e-3)
    assert total(one("latency", sd={"latency": 6.0})[0], other, V) == pytest.approx(0.25, rel=1e-3)
    # 100 and 120 MΩ in one of the two sweeps of a step without spikes; −65 and −62 mV in one of all four.
    assert total(one("input_resistance")[0], other, V) == pytest.approx(4.0 / 2, rel=1e-3)
    assert total(one("rest")[0], other, V) == pytest.approx(9 / 4, rel=1e-4)
    # No spikes where there are three, and one where there is none.
    silent = stack([sweep(50.0), sweep(-50.0), sweep(0.0, (150.0,)), data[3]])[1]
    assert total(loss, silent, V) == pytest.approx(5.0**2)
    assert total(one("latency", missing=2.0)[0], silent, V) == pytest.approx(2.0**2)
    assert total(one("count")[0], silent, V) == pytest.approx((9 + 0 + 1) / 4)
    both = made(losses.Features(["count", "latency"]), data)[0]
    assert total(both, silent, V) == pytest.approx((9 + 0 + 1 + 2 * 25) / 6)
    # A sweep of which samples are missing is left out, a model that blows up is not.
    gap = V.at[0, 1500].set(jnp.nan)
    partly = losses.Features("count").made_for(jnp.asarray(TS), gap, jnp.asarray(stack(data)[0]))
    assert total(partly, silent, gap) == pytest.approx((0 + 1) / 3)
    assert np.isnan(total(both, V.at[1, 2000:].set(jnp.nan), V))


def test_the_count_has_the_slope_of_a_smooth_one():
    of_spikes = [sweep(50.0, (120.0, 140.0, 160.0)[:k]) for k in (0, 1, 2, 3)]
    loss, V = made(losses.Features("count", sd={"count": 1.0}), of_spikes)
    shift = lambda x: loss(jnp.asarray(TS), V + x, V)[0]
    smooth = lambda x: hh.features.spike_count(TS, V + x, start=100.0, stop=200.0)[:, 0]
    slopes = jax.jacfwd(shift)(0.0)[:, 0] * np.sqrt(4)
    np.testing.assert_allclose(slopes, jax.jacfwd(smooth)(0.0), rtol=1e-6)
    assert float(jnp.abs(slopes[1:]).min()) > 0


@pytest.mark.usefixtures("as_users_run_it")
@pytest.mark.parametrize(
    "make, error, message",
    [
        (lambda: losses.Features("width"), ValueError, "`names` must be one of 'count', 'rate'"),
        (lambda: losses.Features(3), TypeError, "`names` must be a list of names of features, got 3"),
        (lambda: losses.Features(sd={"widths": 1.0}), ValueError, "`sd` must be one of"),
        (lambda: losses.Features(sd={"sag": 0.0}), ValueError, r"`sd\['sag'\]` must be positive, got 0"),
        (lambda: losses.Features(missing=-1.0), ValueError, "`missing` must be at least 0.0, got -1.0"),
        (
            lambda: losses.Features()(TS, V3, V3),
            ValueError,
            "`loss` of features must be made for",
        ),
    ],
)
def test_wrong_arguments(make, error, message):
    with pytest.raises(error, match=message):
        make()


V3 = jnp.zeros((1, TS.size, 1))


def test_a_fit_of_features():
    """The conductance and the capacitance of a leak, from the resistance and the time constant of a step."""
    neuron = hh.Neuron({"leak": hh.Leak(g=0.1, E=-70.0)}, C=1.0)
    step = np.where((TS >= 50.0) & (TS < 150.0), -1.0, 0.0)[:2001]
    run = hh.simulate(neuron, t1=200.0, dt=0.1, stimulus=hh.Sampled(TS[:2001], step, held=True), v0=-70.0)
    names = ["input_resistance", "time_constant"]
    found = hh.fit(
        hh.replace(neuron, {"leak.g": 0.15, "C": 1.3}),
        hh.Recording(TS[:2001], step, run.V[:, 0], held=True),
        where=["leak.g", "C"],
        loss=losses.Features(names),
        v0=-70.0,
        dt=0.1,
        progress_meter=diffrax.NoProgressMeter(),
    )
    np.testing.assert_allclose(found.values, [0.1, 1.0], rtol=1e-4)
    assert found.loss < 1e-6
