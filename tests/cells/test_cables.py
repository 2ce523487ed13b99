"""Impedances and velocities of cells, against closed forms of the cable equation."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

import hhjax as hh

from .test_cells import PASSIVE, STICK, TAPER, TWO


@pytest.mark.parametrize(
    "sections, soma, far, transferred",  # MΩ, closed formulas
    [
        (STICK, 263.602204, "dend(1)", 188.417653),
        (TWO, 187.670697, "br2(1)", 150.731393),
        (TAPER, 282.344222, "dend(1)", 264.205286),
    ],
)
def test_resistances(sections, soma, far, transferred):
    cell = hh.Cell(sections, PASSIVE, resistivity=150)
    found = hh.analysis.transfer(cell, at="soma")
    assert float(found.to("soma")[0].real) == pytest.approx(soma, rel=2e-5)
    assert float(found.to(far)[0].real) == pytest.approx(transferred, rel=2e-5)
    assert float(found.attenuation(far)[0]) == pytest.approx(transferred / soma, rel=2e-5)
    np.testing.assert_array_equal(found.Z.imag, 0)


def test_a_long_passive_cable():
    """Z = R∞/√(1 + iωτ), and V falls by e^(−x√(1 + iωτ)/λ)."""
    cell = hh.Cable(PASSIVE, 10_000.0, 2.0, resistivity=100.0, n=4001)
    space = math.sqrt(2e-4 / 4 / (100 * 0.1e-3)) * 1e4  # µm
    np.testing.assert_allclose(hh.analysis.space_constant(cell), space, rtol=1e-12)
    input_resistance = 100 * space * 1e-4 / (math.pi * 1e-8) * 1e-6  # R λ/(π r²), MΩ
    frequencies = np.array([0.0, 10.0, 100.0, 1000.0])
    root = np.sqrt(1 + 2j * math.pi * frequencies / 1000 * 10.0)  # τ = 10 ms
    found = hh.analysis.transfer(cell, at=0, frequencies=frequencies)
    np.testing.assert_allclose(found.to(0), input_resistance / root, rtol=2e-2)
    along = found.to("cable(0.05)") / found.to("cable(0.02)")
    way = (cell.index("cable(0.05)") - cell.index("cable(0.02)")) * 10_000 / 4001
    np.testing.assert_allclose(along, np.exp(-way / space * root), rtol=1e-3)


def test_one_compartment_is_the_impedance_of_the_neuron():
    """mV over nA, of 10,000 µm²."""
    cell = hh.Cable(hh.squid_axon(), 100.0, 100 / math.pi, n=1)
    frequencies = jnp.array([1.0, 67.0, 300.0])
    found = hh.analysis.transfer(cell, at="cable", frequencies=frequencies)
    point = hh.analysis.impedance(hh.squid_axon(), frequencies)
    np.testing.assert_allclose(found.to("cable"), 10 * point.Z[:, 0, 0], rtol=1e-6)


def test_rest_of_a_mixed_cell():
    """Nothing flows in the state that it is around."""
    cell = hh.Cell(STICK, {"soma": hh.squid_axon(), "dend": PASSIVE})
    found = hh.analysis.transfer(cell, at="dend(1)", frequencies=[0.0, 50.0])
    slope = hh.vector_field(0.0, found.rest, (hh.Network(cell), 0.0))
    assert np.abs(slope.V).max() < 1e-6
    assert -65.5 < float(found.rest.V[0]) < -64.5


def test_velocity():
    cell = hh.Cable(hh.squid_axon(celsius=18.5), 30_000, 476, resistivity=35.4, n=301)
    pulse = hh.PointCurrent(hh.Step(20_000.0, 0.0, 0.5), at=0)
    run = hh.simulate(cell, t1=1.6, dt=0.0025, stimulus=pulse, solver="strang")  # as in test_cells.py
    velocity = hh.analysis.conduction_velocity(run, cell, "cable(0.25)", "cable(0.75)")
    assert velocity == pytest.approx(18.70, rel=2e-3)
    back = hh.analysis.conduction_velocity(run, cell, "cable(0.75)", "cable(0.25)")
    assert back == pytest.approx(-velocity)
    with pytest.raises(ValueError, match="`stop` must be on one way from the root with `start`"):
        branched = hh.Cell(TWO, hh.squid_axon())
        hh.analysis.conduction_velocity(run, branched, "br1", "br2")
