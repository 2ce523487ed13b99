"""Every public formula in float32 against itself in float64, derivatives too, over its whole range.

What holds in float64 is tested elsewhere against closed forms and other programs; here no digits may be lost
to 0/0, ∞/∞, underflow or a difference of nearly equal numbers. Errors are relative to the value, but for
`floor` of the largest one.
"""

import inspect

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hhjax as hh
from hhjax._base.math import exprel, relax, vtrap
from hhjax._base.parameters import cast_floats, settle

S = hh.synapses
CELLS = {
    name: make()
    for name, make in inspect.getmembers(hh.neurons, inspect.isfunction)
    if make.__module__ == "hhjax.neurons" and not name.startswith("_")
}
CELLS["butera"] = hh.Neuron({"nap": hh.channels.PersistentSodium()})
POTENTIALS = np.concatenate([np.linspace(-800.0, 800.0, 401), np.linspace(-150.0, 150.0, 1201)])


def agree(formula, x, rtol=2e-5, floor=1e-6):
    """`formula` of a scalar in single precision is that in double."""
    x = np.asarray(x, np.float32)
    single, double = (jax.vmap(formula)(jnp.asarray(x, dtype)) for dtype in (jnp.float32, jnp.float64))
    for found, wanted in zip(jax.tree.leaves(single), jax.tree.leaves(double)):
        assert found.dtype == jnp.float32
        found, wanted = np.asarray(found, float), np.asarray(wanted)
        assert np.isfinite(found).all(), x[~np.isfinite(found)]
        error = np.abs(found - wanted) / (np.abs(wanted) + floor * np.abs(wanted).max() + 1e-30)
        worst = error.argmax()
        assert error[worst] < rtol, (x[worst], found[worst], wanted[worst])


def both_agree(formula, x, rtol=2e-5, floor=1e-6, slope_rtol=2e-4, slope_floor=1e-2):
    agree(formula, x, rtol, floor)
    agree(jax.jacfwd(formula), x, slope_rtol, slope_floor)


@pytest.mark.parametrize("name", CELLS)
def test_channels(name):
    neuron = CELLS[name]

    def formulas(V):
        held = {ion: jnp.asarray(2.4e-4, V.dtype) for ion in neuron.moving_ions}
        channels, ions = cast_floats(neuron, V.dtype).surroundings(held)
        found = {}
        for key, channel in channels.items():
            rest = channel.steady_state(V, ions)
            part = {gate: jnp.full_like(V, 0.3) for gate in rest}
            current = channel.current(V, part, ions) / channel.g
            found[key] = rest, channel.linear_form(V, part, ions), current
        return found

    both_agree(formulas, POTENTIALS, rtol=2e-4)


def test_scalar_functions():
    # Between, what is added against 0/0 is as large as x; V − V½ of 1e-14 mV is 0 in floating point.
    x = np.concatenate([-np.logspace(3, -14, 400), [-1e-30, 0.0, 1e-30], np.logspace(-14, 1.9, 400)])
    for function in (exprel, lambda x: vtrap(x, 1.0), lambda x: vtrap(x, -7.0)):
        both_agree(function, x, rtol=1e-6, slope_rtol=1e-6, slope_floor=1e-6)
    rates = np.append(np.logspace(-14, 30, 400), [0.0, 1e-30])
    ones = jnp.ones_like
    for drive in (lambda rate: 0.7 * rate, ones):
        both_agree(
            lambda rate: relax(0.3 * ones(rate), drive(rate), rate, 0.02 * ones(rate)), rates, floor=1e-2
        )


class Open(hh.GHKChannel):
    gates = {}

    def rates(self, V):
        return {}


@pytest.mark.parametrize("inside, outside", [(2.4e-4, 2.0), (1.0, 1.0), (140.0, 4.0), (1e-9, 2.0)])
def test_currents_in_a_constant_field(inside, outside):
    def current(V, c=inside):
        ion = settle(cast_floats(hh.calcium(outside=outside), V.dtype))
        ion = eqx.tree_at(lambda ion: ion.inside, ion, jnp.asarray(c, V.dtype))
        return cast_floats(Open(P=1e-4), V.dtype).current(V, {}, {"ca": ion})

    both_agree(current, np.append(POTENTIALS, [1e-6, -1e-6, 1e-20]), floor=1e-4)
    both_agree(lambda c: current(jnp.asarray(-20.0, c.dtype), c), np.logspace(-9, 2, 100))


def test_nernst_potentials():
    def E(c):
        ion = settle(cast_floats(hh.Ion(valence=2, inside=1.0, outside=2.0), c.dtype))
        return eqx.tree_at(lambda ion: ion.inside, ion, c).E

    both_agree(
        E,
        np.append(np.logspace(-9, 3, 200), [1.999, 1.9999, 2.0, 2.0001]),
        rtol=1e-4,
        floor=1e-4,
        slope_floor=1e-12,
    )


@pytest.mark.parametrize("kind", [S.GradedSynapse, S.AMPA, S.GABAA, S.NMDA, S.GABAB])
def test_kinetic_synapses(kind):
    def formulas(V):
        synapse, V = cast_floats(kind(jnp.ones((1, 1))), V.dtype), V[None]
        rest = synapse.steady_state(V)
        return rest, synapse.linear_form(V, rest), synapse.conductance(V, rest)

    both_agree(formulas, POTENTIALS)


@pytest.mark.parametrize("single", [True, False])
def test_what_a_plastic_synapse_releases(single):
    def released(U):
        plasticity = eqx.tree_at(lambda p: p.U, cast_floats(S.TsodyksMarkram(), U.dtype), U)
        s, total = plasticity.rest(1), 0.0
        for spikes in (1.0, 0.0, 1.0 if single else 3.0):
            s, more = plasticity.release(s, jnp.full(1, spikes, U.dtype), single)
            total = total + more
        return total, s

    uses = np.append(np.logspace(-20, 0, 200), 0.0)
    agree(lambda U: released(U)[0], uses, rtol=2e-6, floor=0.0)
    both_agree(released, uses, floor=1e-2)


def test_edges_late_in_a_run():
    """Single precision knows the time to 1e-3 ms there, and the mean over a step to its last digits."""
    of = lambda x: jnp.asarray(x, jnp.float32)
    at = lambda shape, t: float(shape.within(of(t), of(0.25), of(t + 0.25))(of(t + 0.125)))
    step = cast_floats(hh.Step(1.0, 0.3, 10000.125), jnp.float32)
    assert [at(step, t) for t in (9999.75, 10000.0, 10000.25)] == [1.0, 0.5, 0.0]
    ramp = cast_floats(hh.Ramp(1.0, 0.3, 10000.125), jnp.float32)
    wanted = [1 - 0.25 / 9999.825, 1 - 0.0625 / 2 / 9999.825, 1.0]
    np.testing.assert_allclose([at(ramp, t) for t in (9999.75, 10000.0, 10000.25)], wanted, rtol=3e-7)
