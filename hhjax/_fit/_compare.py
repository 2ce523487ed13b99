"""Which of several fits to believe."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import equinox as eqx
import numpy as np

from .._base.parameters import shown
from .._base.tables import Printed, Table
from ._likelihood import criteria, problem_of
from ._result import Fit


@dataclasses.dataclass(frozen=True)
class Comparison(Printed):
    """What [`hh.compare`][] returns, the best model by AIC first.

    **Fields:** `names`: of the fits, M of them; `parameters`: how many numbers each estimated, initial
    potentials and the variance of the residuals too; `loss`; `log_likelihood`; `aic`, `bic`; `weights`: of
    Akaike, which add up to 1. All of shape (M,).
    """

    names: tuple[str, ...]
    parameters: np.ndarray
    loss: np.ndarray
    log_likelihood: np.ndarray
    aic: np.ndarray
    bic: np.ndarray
    weights: np.ndarray

    def _tables(self) -> list[Table]:
        numbers = zip(
            self.parameters, self.loss, self.log_likelihood, self.aic - self.aic.min(),
            self.bic - self.bic.min(), self.weights,
        )  # fmt: skip
        rows = [
            (name, f"{k}", f"{loss:.6g}", f"{log:.2f}", f"{aic:.2f}", f"{bic:.2f}", f"{weight:.3f}")
            for name, (k, loss, log, aic, bic, weight) in zip(self.names, numbers)
        ]
        headers = ("fit", "estimated", "loss", "log likelihood", "ΔAIC", "ΔBIC", "weight")
        return [Table(headers, rows, "", [], most=len(rows))]


def compare(fits: Mapping[str, Any] | Sequence[Any]) -> Comparison:
    """Which of several models of the same data to believe: AIC, BIC and Akaike's weights.

    ```python
    print(hh.compare({"without M current": fit, "with": other}))
    ```

    The residuals are taken as independent and normal, of one unknown variance. Those of a model that
    is wrong go together, which makes differences look surer than they are.

    **Arguments:** `fits`: [`hh.Fit`][]s by names of your own, or a list of them. They must be of the same
    data, with the same loss.

    **Returns:** an [`hh.Comparison`][], which prints as a table.
    """
    if not isinstance(fits, Mapping):
        if not isinstance(fits, (list, tuple)):
            raise TypeError(f"`fits` must be a dict or a list of hh.Fit, got {shown(fits)}.")
        fits = {f"fit {k}": fit for k, fit in enumerate(fits)}
    if len(fits) < 2:
        raise ValueError(f"`fits` must hold two fits at least, got {len(fits)}.")
    for name, fit in fits.items():
        if not isinstance(fit, Fit):
            raise TypeError(f"`fits` must hold hh.Fit alone, got {shown(fit)} as {name!r}.")
        problem_of(fit, "compare")
    names, all_fits = tuple(map(str, fits)), list(fits.values())
    for name, fit in zip(names[1:], all_fits[1:]):
        if not _comparable(all_fits[0], fit):
            raise ValueError(
                f"`fits` must be of the same data with the same loss: {names[0]!r} and {name!r} are not."
            )
    log, aic, bic = np.array([criteria(fit) for fit in all_fits]).T
    weights = np.exp(-(aic - aic.min()) / 2)
    order = np.argsort(aic)
    sizes = np.array([fit.u.size + 1 for fit in all_fits])
    loss = np.array([fit.loss for fit in all_fits])
    columns = (x[order] for x in (sizes, loss, log, aic, bic, weights / weights.sum()))
    return Comparison(tuple(names[k] for k in order), *columns)


def _comparable(one: Any, other: Any) -> bool:
    data = [np.asarray(fit.data) for fit in (one, other)]
    losses = [getattr(fit.problem, "objective", None) for fit in (one, other)]
    same = data[0].shape == data[1].shape and np.array_equal(*data, equal_nan=True)
    return same and one.count == other.count and bool(eqx.tree_equal(*losses))
