"""Features of steps: against closed forms, eFEL and finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hhjax as hh
from hhjax.features import extract
from hhjax.features._extract import FEATURES

TS = np.arange(0.0, 300.05, 0.05)


def spikes(peaks, ts=TS, base=-65.0, width=1.0, height=100.0, ahp=8.0):
    """Spikes of the form of a Gauss curve on a base, each with a hollow 5 ms after its peak."""
    bump = lambda at, width: np.exp(-(((ts - at) / width) ** 2) / 2)
    V = np.full(ts.size, base)
    for at in peaks:
        V = V + height * bump(at, width) - ahp * bump(at + 8.0, 1.5)
    return V


def of(V, **options):
    found = extract(TS, V[:, None], **{"max_spikes": 8} | options)
    assert list(found) == list(FEATURES) and all(x.shape == (1,) for x in found.values())
    return {name: float(x[0]) for name, x in found.items()}


def test_spikes_that_are_known():
    """Gauss curves of 1 ms and 100 mV, with a hollow of 8 mV after 8 ms."""
    peaks = np.array([112.5, 130.02, 150.01, 175.03, 205.0])
    found = of(spikes(peaks), start=100.0, stop=250.0)
    assert found["count"] == 5
    assert found["rate"] == pytest.approx(5000 / 105.0, rel=1e-6)
    assert found["latency"] == pytest.approx(12.5, abs=1e-6)
    # The slope is 10 mV/ms where 100·t·exp(−t²/2) = 10, at t = √(2·ln(10·t)), and V 10/t mV above the base.
    t = 2.5
    for _ in range(20):
        t = np.sqrt(2 * np.log(10 * t))
    rise = 10 / t
    assert found["threshold"] == pytest.approx(-65 + rise, abs=0.02)
    assert found["spike_height"] == pytest.approx(100 - rise, abs=0.02)
    half = np.sqrt(2 * np.log(100 / (50 + rise / 2)))
    assert found["half_width"] == pytest.approx(2 * half, abs=1e-3)
    assert found["ahp_depth"] == pytest.approx(8.0, abs=1e-3)
    assert found["ahp_time"] == pytest.approx(8.0, abs=0.02)
    isi = np.diff(peaks)[1:]
    assert found["adaptation"] == pytest.approx(np.mean(np.diff(isi) / (isi[1:] + isi[:-1])), abs=1e-6)
    assert found["rest"] == pytest.approx(-65.0, abs=1e-9)
    for name in ("sag", "input_resistance", "time_constant"):
        assert np.isnan(found[name])
    # The window takes three of them, whose last has no hollow before its end.
    part = of(spikes(peaks), start=100.0, stop=155.0)
    assert part["count"] == 3 and np.isnan(part["adaptation"])
    assert part["rate"] == pytest.approx(3000 / 50.01, rel=1e-6)
    assert part["ahp_depth"] == pytest.approx(8.0, abs=1e-3)
    none = of(spikes(peaks), start=210.0, stop=250.0)
    assert none["count"] == 0 and none["rate"] == 0 and np.isnan(none["latency"])


def test_what_has_no_room_is_counted():
    peaks = 105.0 + 20.0 * np.arange(9)
    found, fewer = of(spikes(peaks), start=100.0), of(spikes(peaks[:8]), start=100.0)
    assert found["count"] == 9 and fewer["count"] == 8  # with room for 8
    assert found["latency"] == pytest.approx(5.0, abs=1e-6)
    assert found["half_width"] == pytest.approx(fewer["half_width"], rel=1e-9)


def exponential(amplitude=-10.0, tau=20.0, sag=0.0, slow=60.0):
    since = np.maximum(TS - 100.0, 0.0)
    return -65 + amplitude * (1 - np.exp(-since / tau)) - sag * (1 - np.exp(-since / slow))


def test_a_step_without_spikes():
    step = {"start": 100.0, "stop": 300.0, "amplitude": -40.0}
    found = of(exponential(), **step)
    assert found["count"] == 0 and np.isnan(found["spike_height"])
    settled = -10 * (1 - 20 / 20 * (np.exp(-180 / 20) - np.exp(-200 / 20)))
    assert found["rest"] == pytest.approx(-65.0, abs=1e-9)
    assert found["input_resistance"] == pytest.approx(1000 * settled / -40.0, rel=1e-6)
    assert found["time_constant"] == pytest.approx(20.0, rel=1e-5)
    assert found["sag"] == pytest.approx(0.0, abs=2e-3)
    V = exponential(tau=10.0, sag=-4.0)
    late = V[(TS >= 280 - 1e-9) & (TS < 300 - 1e-9)].mean()
    with_sag = of(V, **step)
    assert with_sag["sag"] == pytest.approx(late - V.min(), abs=1e-9) and with_sag["sag"] > 1
    # 1 mV of noise leaves the time constant within 10 %.
    noise = np.random.default_rng(0).standard_normal(TS.size)
    assert of(exponential() + noise, **step)["time_constant"] == pytest.approx(20.0, rel=0.1)
    # Upwards there is a resistance, and no sag; without an amplitude or a start there is less.
    up = of(exponential(10.0), start=100.0, stop=300.0, amplitude=40.0)
    assert up["input_resistance"] == pytest.approx(found["input_resistance"], rel=1e-9)
    assert np.isnan(up["sag"]) and np.isnan(up["time_constant"])
    assert np.isnan(of(exponential(), start=100.0)["input_resistance"])
    assert np.isnan(of(exponential(), stop=200.0)["rest"])


def test_missing_samples_leave_nothing_known():
    V = spikes([150.0])
    options = {"start": 100.0, "stop": 200.0}
    gap = lambda at: np.where(np.abs(TS - at) < 0.1, np.nan, V)
    assert all(np.isnan(x) for x in of(gap(120.0), **options).values())
    assert all(np.isnan(x) for x in of(gap(95.0), **options).values())
    for at in (20.0, 250.0):
        np.testing.assert_equal(of(gap(at), **options), of(V, **options))


def test_slopes_are_those_of_finite_differences():
    """V moved along another trace, of spikes and of a step downwards, each feature by itself."""
    ts = jnp.asarray(TS)
    firing = jnp.asarray(spikes([112.51, 130.02, 150.03, 175.04, 205.01]))
    resting = jnp.asarray(exponential(tau=10.0, sag=-4.0))
    away = jnp.asarray(3 * np.cos(TS / 7) + 0.05 * TS * np.sin(TS / 3))

    def features(x):
        V = jnp.stack([firing, resting], axis=-1) + (x * away)[:, None]
        options = {"start": 100.0, "stop": 250.0, "amplitude": jnp.array([40.0, -40.0]), "max_spikes": 8}
        return extract(ts, V, **options)

    x, h = 0.05, 1e-5
    all_of = jax.jit(lambda x: (features(x), jax.jacfwd(features)(x), jax.jacrev(features)(x)))
    (_, slopes, backward), (high, *_), (low, *_) = map(all_of, (x, x + h, x - h))
    seen = 0
    for name in FEATURES:
        for k in range(2):
            if np.isnan(high[name][k]):
                continue
            wanted = float(high[name][k] - low[name][k]) / (2 * h)
            assert float(slopes[name][k]) == pytest.approx(wanted, rel=1e-4, abs=1e-6), name
            assert float(backward[name][k]) == pytest.approx(wanted, rel=1e-4, abs=1e-6), name
            seen += wanted != 0
    assert seen >= len(FEATURES) - 1  # the count has none


@pytest.mark.filterwarnings("ignore")  # eFEL's own
@pytest.mark.parametrize("name, current", [("pospischil_rs", 6.0), ("pospischil_fs", 3.0)])
def test_definitions_are_those_of_efel(name, current):
    """Within the rise of one sample where eFEL takes samples, which are 0.05 ms apart."""
    efel = pytest.importorskip("efel")
    amplitude = jnp.array([current, -0.5])
    network = hh.Network(getattr(hh, name)(), n=2)
    run = hh.simulate(network, t1=350.0, dt=0.05, stimulus=hh.Step(amplitude, 100.0, 300.0))
    ts, V = np.asarray(run.ts), np.asarray(run.V)
    found = extract(ts, V, start=100.0, stop=300.0, amplitude=amplitude, max_spikes=32)
    efel.reset()
    for setting, value in {"interp_step": 0.05, "Threshold": 0.0, "strict_stiminterval": True}.items():
        efel.set_setting(setting, value)
    means = lambda k, names: efel.get_mean_feature_values(
        [{"T": ts, "V": V[:, k], "stim_start": [100.0], "stim_end": [300.0], "stimulus_current": [-0.5]}],
        names,
    )[0]
    firing = {
        "count": ("Spikecount_stimint", 0.0),
        "rate": ("mean_frequency", 0.01),
        "latency": ("time_to_first_spike", 0.03),
        "spike_height": ("AP_amplitude", 0.5),
        "half_width": ("AP_duration_half_width", 0.05),
        "threshold": ("AP_begin_voltage", 0.5),
        "ahp_time": ("AHP_time_from_peak", 0.05),
        "adaptation": ("adaptation_index2", 2e-3),
        "rest": ("voltage_base", 1e-4),
    }
    theirs = means(0, [theirs for theirs, _ in firing.values()] + ["AHP_depth"])
    for ours, (of, within) in firing.items():
        assert float(found[ours][0]) == pytest.approx(theirs[of], abs=within), ours
    assert float(found["ahp_depth"][0]) == pytest.approx(-theirs["AHP_depth"], abs=0.02)
    resting = {"sag": "sag_amplitude", "input_resistance": "ohmic_input_resistance_vb_ssse"}
    theirs = means(1, [*resting.values(), "time_constant"])
    for ours, of in resting.items():
        scale = 1000 if ours == "input_resistance" else 1
        assert float(found[ours][1]) == pytest.approx(scale * theirs[of], rel=1e-3, abs=1e-3), ours
    assert float(found["time_constant"][1]) == pytest.approx(theirs["time_constant"], rel=0.05)
