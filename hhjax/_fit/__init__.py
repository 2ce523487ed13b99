from ._fit import fit as fit
from ._guide import MultipleShooting as MultipleShooting, Nudging as Nudging
from ._replay import replay as replay, Score as Score, score as score
from ._result import Fit as Fit
