"""The loop over time inside one GPU kernel, for neurons that do not act on each other.

`_program.py` traces a step for one block of neurons, `_kernels.py` puts it into loops,
`_primitives.py` says how these are batched and differentiated, `_run.py` runs them.
"""

from ._errors import NotFused as NotFused
from ._run import fused as fused
