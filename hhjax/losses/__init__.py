"""Losses for [`hh.fit`][]: small functions of a fitted and a recorded trace, to be added up.

A loss gives residuals, in units of a standard deviation and divided by the square root of
their number, so that their sum of squares is a mean: 1 where the fit is as far from the data
as `sd` says. `hh.losses.Trace(sd=1.0) + 0.1 * hh.losses.SpikeTimes(sd=2.0)` adds two of them.
"""

from ._base import (  # the private ones too: files know them under this name
    _Function as _Function,
    _Sum as _Sum,
    _Weighted as _Weighted,
    AbstractLoss as AbstractLoss,
    as_loss as as_loss,
)
from ._features import Feature as Feature, Features as Features
from ._firing import Firing as Firing
from ._spikes import SpikeTimes as SpikeTimes
from ._traces import Current as Current, Prediction as Prediction, Trace as Trace
