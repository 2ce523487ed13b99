"""Analysis of models as dynamical systems: equilibria, bifurcations, orbits, response to small inputs."""

from ._branches import Branches as Branches, branches as branches
from ._continuation import continue_orbit as continue_orbit, OrbitBranch as OrbitBranch
from ._equilibria import equilibria as equilibria, Equilibrium as Equilibrium, equilibrium as equilibrium
from ._impedance import Impedance as Impedance, impedance as impedance
from ._lyapunov import Lyapunov as Lyapunov, lyapunov as lyapunov
from ._orbit import periodic_orbit as periodic_orbit, PeriodicOrbit as PeriodicOrbit
from ._phase import phase_response as phase_response, PhaseResponse as PhaseResponse
