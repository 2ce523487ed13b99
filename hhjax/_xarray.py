"""Labelled arrays as an `xarray.Dataset`."""

from typing import Any

import numpy as np

from ._labels import Labelled


def dataset(variables: dict[str, Labelled], coords: dict[str, Labelled], about: dict[str, Any]) -> Any:
    """An `xarray.Dataset`; `ImportError` that says what to install."""
    try:
        import xarray
    except ImportError as error:
        raise ImportError("`to_xarray` needs xarray: pip install 'hhjax[xarray]'.") from error
    read = lambda found: {name: (x.dims, np.asarray(x.values), x.attrs) for name, x in found.items()}
    return xarray.Dataset(read(variables), read(coords), about)
