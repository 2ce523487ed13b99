"""Fits of cells to what one electrode recorded."""

import diffrax
import jax.numpy as jnp
import numpy as np
import pytest

import hhjax as hh

TS = np.linspace(0.0, 15.0, 151)  # ms
QUICK = {"dt": 0.05, "solver": "backward_euler"}  # to compile
CURRENT = np.where(TS < 3.0, 0.0, 500.0)  # pA


def cell(g):
    sections = {"soma": hh.cells.Section(20.0, 20.0, n=1), "dend": hh.cells.Section(200.0, 2.0, "soma", n=3)}
    return hh.Cell(sections, {"soma": hh.squid_axon(), "dend": hh.replace(hh.squid_axon(), {"na.g": g})})


def recorded(model, place):
    current = hh.PointCurrent(hh.Sampled(TS, 1e-3 * CURRENT), at=place)
    every_other = diffrax.SaveAt(t0=True, steps=2, fn=hh.save_V)
    run = hh.simulate(model, t1=15.0, stimulus=current, saveat=every_other, v0=-64.0, **QUICK)
    return np.asarray(run.V[:, model.index(place)])


def test_a_density_in_the_dendrite_by_an_electrode_in_the_soma():
    V = recorded(cell(60.0), "soma")
    assert V.max() > 30.0  # it fires
    data = (TS, CURRENT, V + 0.2 * np.random.default_rng(1).standard_normal(V.size))
    model = (cell(90.0), hh.Electrode(at="soma"))
    fit = hh.fit(model, data, where="dend.na.g", guide=hh.Nudging((3.0,)), **QUICK)
    assert fit.names == ("dend.na.g",) and fit.V.shape == fit.data.shape == (1, 151, 1)
    assert abs(fit.values[0] - 60.0) < 4 * fit.standard_errors[0] < 6.0
    assert fit.rmse()[0, 0] == pytest.approx(0.2, rel=0.15) and fit.v0[0, 0] == pytest.approx(-64.0, abs=0.2)


def test_a_replay_is_the_run_at_that_place():
    model = cell(60.0)
    V = recorded(model, "dend(1)")
    found = hh.replay((model, hh.Electrode(at="dend(1)")), (TS, CURRENT, V), v0=-64.0, **QUICK)
    np.testing.assert_allclose(found[0, :, 0], V, atol=1e-9)


@pytest.mark.usefixtures("as_users_run_it")
@pytest.mark.parametrize(
    "make, message",
    [
        (lambda V: (cell(60.0), (TS, CURRENT, V)), "or say where it was recorded: model=.cell, hh.Electrode"),
        (
            lambda V: ((cell(60.0), hh.Electrode(at="soma")), hh.Recording(TS, CURRENT, V, "µA/cm²")),
            "`data` must have currents in pA for an electrode at 'soma', got µA/cm²",
        ),
        (
            lambda V: ((cell(60.0), hh.Electrode(at="axon")), (TS, CURRENT, V)),
            "`place` must be on a section, got 'axon'",
        ),
        (
            lambda V: ((hh.Network(cell(60.0), n=2), hh.Electrode(at="soma")), (TS, CURRENT, V)),
            "`electrode.at` must be a place of one cell, got 'soma' of 2",
        ),
        (lambda V: hh.Electrode(area=100.0, at="soma"), "`area` must be left out with `at`, .*: got both"),
    ],
)
def test_what_does_not_go_together_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        hh.fit(*make(np.full(TS.size, -65.0)), where="dend.na.g")
    with pytest.raises(ValueError, match="`guide` must be hh.Nudging.. or None for V of one place"):
        hh.fit(
            (cell(60.0), hh.Electrode(at="soma")),
            (TS, CURRENT, jnp.full(TS.size, -65.0)),
            where="dend.na.g",
            guide=hh.MultipleShooting(),
        )
