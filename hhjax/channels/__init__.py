"""Ion channels, one paper per file; those with free kinetics, for fits, begin with `Boltzmann`."""

from .boltzmann import (
    BoltzmannCalcium as BoltzmannCalcium,
    BoltzmannChannel as BoltzmannChannel,
    BoltzmannH as BoltzmannH,
    BoltzmannKv1 as BoltzmannKv1,
    BoltzmannKv3 as BoltzmannKv3,
    BoltzmannM as BoltzmannM,
    BoltzmannSlowSodium as BoltzmannSlowSodium,
    BoltzmannSodium as BoltzmannSodium,
)
from .butera import PersistentSodium as PersistentSodium
from .connor_stevens import (
    ACurrent as ACurrent,
    ConnorStevensPotassium as ConnorStevensPotassium,
    ConnorStevensSodium as ConnorStevensSodium,
)
from .destexhe import (
    CalciumActivatedPotassium as CalciumActivatedPotassium,
    HCurrent as HCurrent,
    PotassiumLeak as PotassiumLeak,
    ReticularTCalcium as ReticularTCalcium,
)
from .hodgkin_huxley import Leak as Leak, Potassium as Potassium, Sodium as Sodium
from .morris_lecar import (
    MorrisLecarCalcium as MorrisLecarCalcium,
    MorrisLecarPotassium as MorrisLecarPotassium,
)
from .pospischil import LCalcium as LCalcium, MCurrent as MCurrent, TCalcium as TCalcium
from .traub_miles import TraubMilesPotassium as TraubMilesPotassium, TraubMilesSodium as TraubMilesSodium
from .wang_buzsaki import WangBuzsakiPotassium as WangBuzsakiPotassium, WangBuzsakiSodium as WangBuzsakiSodium
