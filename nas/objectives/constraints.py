"""Constraints: which candidates satisfy them, and which are violated, in words."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nas.objectives.metrics import metric_of


@dataclass(frozen=True)
class Constraint:
    """A bound on an objective's value: from below with `at_least`, otherwise from above."""

    name: str
    bound: float
    at_least: bool = False

    def satisfied(self, values: NDArray[np.float64]) -> NDArray[np.bool_]:
        """(n,) mask; a nan violates."""
        return values >= self.bound if self.at_least else values <= self.bound

    def describe(self, metric: str, value: float) -> str:
        """`params 2.31 M > constraint 2.00 M`."""
        shown, short = _both(value, self.bound)
        return f"{metric} {shown} {'<' if self.at_least else '>'} constraint {short}"


def violations(
    constraints: Sequence[Constraint], metrics: Mapping[str, float], read: Callable[[str], str] = metric_of
) -> list[str]:
    """The violated constraints in words; those whose metric is absent do not count.

    Args:
        constraints: Named after objectives.
        metrics: Values by metric.
        read: The metric that holds an objective's value.
    """
    found = [(each, read(each.name)) for each in constraints if read(each.name) in metrics]
    return [
        each.describe(metric, metrics[metric])
        for each, metric in found if not each.satisfied(np.asarray(metrics[metric], float))
    ]  # fmt: skip


def feasible(constraints: Sequence[Constraint], costs: Mapping[str, ArrayLike]) -> NDArray[np.bool_]:
    """Which candidates satisfy the constraints.

    Args:
        constraints: Bounds; those on metrics that `costs` lacks do not count.
        costs: An (n,) array by metric.

    Returns:
        (n,) mask.
    """
    arrays = {name: np.asarray(column, float) for name, column in costs.items()}
    mask = np.ones(next(iter(arrays.values())).shape, bool)
    for each in constraints:
        if (column := arrays.get(metric_of(each.name))) is not None:
            mask &= each.satisfied(column)
    return mask


def _both(value: float, bound: float) -> tuple[str, str]:
    """Both with unit prefixes, unless these hide the difference."""
    short = _short(value), _short(bound)
    return short if short[0] != short[1] else (f"{value:.12g}", f"{bound:.12g}")


def _short(value: float) -> str:
    for size, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size and math.isfinite(value):
            return f"{value / size:.2f} {prefix}"
    return f"{value:.4g}"
