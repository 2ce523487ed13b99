"""Analysis of models as dynamical systems: equilibria, bifurcations, orbits, response to small inputs."""

from ._branches import Branches as Branches, branches as branches
from ._equilibria import Equilibrium as Equilibrium, equilibria as equilibria, equilibrium as equilibrium
from ._orbit import periodic_orbit as periodic_orbit, PeriodicOrbit as PeriodicOrbit
