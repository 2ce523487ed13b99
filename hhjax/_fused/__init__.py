"""The loop over time inside one GPU kernel, whose lanes are neurons or small networks.

`_make.py` traces a step for one lane and `_unroll.py` (with `_rules.py`, `_moves.py`, `_draw.py`)
takes it apart into elements; `_kernels.py`, `_derivatives.py` and `_pullback.py` put it into loops,
`_primitives.py` says how these are batched and differentiated, `_run.py` runs them.
"""

from ._errors import NotFused as NotFused
from ._run import fused as fused
