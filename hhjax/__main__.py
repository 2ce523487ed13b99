"""The command line, `python -m hhjax`: see `--help`."""

from ._cli import main

if __name__ == "__main__":
    import matplotlib

    matplotlib.use("Agg")
    main()
