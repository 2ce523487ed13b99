"""The command line, `python -m hhjax`: see `--help`."""

import os
import warnings

from ._base.devices import use_cores
from ._cli import main

if __name__ == "__main__":
    os.environ["MPLBACKEND"] = "Agg"
    warnings.formatwarning = lambda message, *_, **__: f"Warning: {message}\n"
    use_cores()  # before JAX starts
    main()
