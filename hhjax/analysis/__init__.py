"""What an experimenter and a theorist ask of a model: protocols, sensitivities, information."""

from ._current_clamp import current_clamp as current_clamp, CurrentClamp as CurrentClamp
from ._fi_curve import fi_curve as fi_curve, FICurve as FICurve
from ._fisher import fisher_information as fisher_information, FisherInformation as FisherInformation
from ._gating import (
    activation_curve as activation_curve,
    gate_kinetics as gate_kinetics,
    GateCurve as GateCurve,
    GatingCurve as GatingCurve,
    inactivation_curve as inactivation_curve,
)
from ._rheobase import rheobase as rheobase
from ._sensitivity import Sensitivity as Sensitivity, sensitivity as sensitivity
from ._voltage_clamp import (
    IVCurve as IVCurve,
    voltage_clamp as voltage_clamp,
    VoltageClamp as VoltageClamp,
)
