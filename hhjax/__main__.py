"""The command line, `python -m hhjax`: see `--help`."""

from ._base.devices import use_cores
from ._cli import main

if __name__ == "__main__":
    import matplotlib

    matplotlib.use("Agg")
    use_cores()  # before JAX starts
    main()
