"""What a model does, and what can be learnt of it: as a dynamical system (equilibria, bifurcations,
orbits, responses to small inputs) and as an experimenter meets it (protocols, sensitivities,
information)."""

from ._branches import Branches as Branches, branches as branches
from ._cables import (
    conduction_velocity as conduction_velocity,
    space_constant as space_constant,
    Transfer as Transfer,
    transfer as transfer,
)
from ._continuation import continue_orbit as continue_orbit, OrbitBranch as OrbitBranch
from ._current_clamp import current_clamp as current_clamp, CurrentClamp as CurrentClamp
from ._equilibria import (
    equilibria as equilibria,
    Equilibrium as Equilibrium,
    equilibrium as equilibrium,
    Impedance as Impedance,
    impedance as impedance,
)
from ._fi_curve import fi_curve as fi_curve, FICurve as FICurve
from ._fisher import fisher_information as fisher_information, FisherInformation as FisherInformation
from ._gating import (
    activation_curve as activation_curve,
    gate_kinetics as gate_kinetics,
    GateCurve as GateCurve,
    GatingCurve as GatingCurve,
    inactivation_curve as inactivation_curve,
)
from ._lyapunov import Lyapunov as Lyapunov, lyapunov as lyapunov
from ._orbit import periodic_orbit as periodic_orbit, PeriodicOrbit as PeriodicOrbit
from ._phase import (
    period_feature as period_feature,
    PeriodFeature as PeriodFeature,
    phase_response as phase_response,
    PhaseResponse as PhaseResponse,
)
from ._rheobase import rheobase as rheobase
from ._sensitivity import Sensitivity as Sensitivity, sensitivity as sensitivity
from ._voltage_clamp import IVCurve as IVCurve, voltage_clamp as voltage_clamp, VoltageClamp as VoltageClamp
