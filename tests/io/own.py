"""Classes and functions of a user, which a file of 0.1.0 names as those of a module `own`."""

import equinox as eqx
import jax
import jax.numpy as jnp

import hhjax as hh


class Slow(hh.Channel):
    gates = {"p": 1}
    tau: jax.Array = hh.param(20.0, unit="ms", positive=True)
    label: str = eqx.field(default="slow", static=True)

    def rates(self, V):
        return {"p": hh.InfTau(jax.nn.sigmoid((V + 35) / 10), self.tau + 0 * V)}


class Chirp(eqx.Module):
    """A callable of t that is traced."""

    rate: jax.Array

    def __call__(self, t):
        return jnp.sin(self.rate * t**2)


def twice(t, y, args):
    return 2 * y.V


def start(t, y, args):
    return 0 * y.V


def add(carry, t, y, args):
    return carry + y.V


def last(carry):
    return carry[:1]


def na_g(point):
    return point.neuron.channels["na"].g
