"""Members of a front that are no better than another one by what can be told: one image, or a few percent of a measured latency.

    steps = steps_of(objectives, images=287, measured={"onnxruntime"})
    stand_ins(values, steps)        # row 3 stands for row 1: [0, 3, 2, 3]
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nas.objectives.metrics import LATENCY
from nas.objectives.objectives import Objectives

COUNTED = ("accuracy", "top5_accuracy")  # fractions of images that are right
LATENCY_STEP = 0.08  # two latencies that each repeat within 5 % differ by up to sqrt(2) * 5 = 7 % of their own


@dataclass(frozen=True)
class Step:
    """Differences of an objective below this do not count: `absolute`, and `relative` to the value that is compared."""

    absolute: float = 0.0
    relative: float = 0.0


def steps_of(objectives: Objectives, images: int, measured: Container[str]) -> tuple[Step, ...]:
    """What counts as a difference, by objective.

    Args:
        objectives: d objectives.
        images: Of the validation split; 0 where that is not known. An accuracy of one image more is not better.
        measured: Devices whose latency was measured, which does not repeat exactly. Costs that are counted do, and those of
            published tables.

    Returns:
        d steps.
    """
    return tuple(_step(name, images, measured) for name in objectives.names)


def _step(name: str, images: int, measured: Container[str]) -> Step:
    kind, _, device = name.partition("/")
    if kind in COUNTED and images:
        return Step(absolute=1.5 / images)
    return Step(relative=LATENCY_STEP) if kind == LATENCY and device in measured else Step()


def stand_ins(values: NDArray[np.float64], steps: Sequence[Step]) -> NDArray[np.int64]:
    """The row that stands for each row of a front, its own number where it stays.

    One objective after the other: a row is left off where one that stays is no worse in all other objectives, and in this one by
    less than a step. Those that stay are compared, so that a chain of small steps keeps every second one, not only its end.

    Args:
        values: (n, d) values to be minimized.
        steps: Of the d objectives.

    Returns:
        (n,) numbers of rows.

    Source:
        Additive and relative epsilon-dominance: Laumanns et al. 2002, "Combining convergence and diversity in evolutionary
        multi-objective optimization".

    Example:
        >>> front = np.array([[-0.90, 1.0], [-0.95, 2.0], [-0.951, 3.0], [-0.97, 3.1]])
        >>> stand_ins(front, [Step(absolute=0.005), Step(relative=0.08)])
        array([0, 1, 1, 3])
    """
    found = np.arange(len(values))
    for i, step in enumerate(steps):
        if step == Step():
            continue
        staying = np.flatnonzero(found == np.arange(len(values)))
        found[staying] = staying[_along(values[staying], i, step)]
    while not np.array_equal(found, found[found]):
        found = found[found]
    return found


def _along(values: NDArray[np.float64], i: int, step: Step) -> NDArray[np.int64]:
    """`stand_ins` by one objective alone."""
    others = np.delete(values, i, axis=1)
    found, kept = np.arange(len(values)), np.zeros(len(values), bool)
    for row in np.lexsort((values[:, i], *others.T[::-1])):  # the best in the others first
        least = values[row, i] + step.absolute + step.relative * abs(values[row, i])
        near = np.flatnonzero(kept & (others <= others[row]).all(axis=1) & (values[:, i] < least))
        if len(near):
            found[row] = near[values[near, i].argmin()]
        else:
            kept[row] = True
    return found
