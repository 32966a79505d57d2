"""Scales of SSD's default boxes for the boxes of a dataset, and what is missing where no scales reach them.

The published scales, 0.2 to 0.95, suit COCO at 300 pixels. Objects that are smaller than the first map's cells can match no box
whatever its size, so they need a finer map or larger images: `fit_scales` says which.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from nas.arch.anchors import HIGH, LOW, Sizes, ssd_scales, ssd_sizes
from nas.data.statistics import evenly
from nas.tasks.boxes.anchors import best_ious, coverage

ENOUGH = 0.95  # of the truths of each class
PLENTY = 0.98  # beyond which more of a class is no reason to reach fewer of another
TRIED = 1500  # truths that scales are tried on; of more, some of each class
LEAST = 30  # of a class, where it has so many
GROWTH = (1.25, 1.5, 2.0, 3.0, 4.0)  # of the resolution, tried in this order where a finer map is not enough
FINEST = 8  # pixels: the stride of the finest map that is proposed

Rule = Callable[[Sequence[float]], Sizes]  # from the scales of maps to their boxes


@dataclass(frozen=True)
class FittedScales:
    """Scales for the boxes of a dataset.

    Args:
        low: Of the first map.
        high: Of the last.
        coverage: By class, the fraction of truths that some default box reaches at an IoU of 0.5.
        remedy: What would reach 95 % of each class where these scales do not: `stride` of the first map and `resolution`, both
            in pixels; None where nothing is missing, or nothing that was tried is enough.
    """

    low: float
    high: float
    coverage: Mapping[int, float]
    remedy: tuple[int, int] | None = None

    @property
    def enough(self) -> bool:
        """Whether 95 % of the truths of each class are reached."""
        return min(self.coverage.values()) >= ENOUGH


def pyramid(resolution: int, stride: int, levels: int) -> tuple[int, ...]:
    """Pixels a side of feature maps: the first of a stride, each other half of the one before, until one has 1 pixel.

    Example:
        >>> pyramid(320, 16, 6), pyramid(128, 16, 6)
        ((20, 10, 5, 3, 2, 1), (8, 4, 2, 1))
    """
    maps = [-(-resolution // stride)]
    while len(maps) < levels and maps[-1] > 1:
        maps.append(-(-maps[-1] // 2))
    return tuple(maps)


def fit_scales(
    truths: np.ndarray,
    classes: np.ndarray,
    maps: Sequence[int],
    rule: Rule = ssd_sizes,
    *,
    resolution: int | None = None,
) -> FittedScales:
    """The scales whose default boxes reach most truths, each class counting alike and what is over 98 % of it not.

    Where the published scales reach 95 % of each class, these are taken. Otherwise rows of scales from and to many are tried,
    without chance; of those that reach as many, the one of the highest mean IoU is taken.

    Args:
        truths: (n, 4) boxes in fractions of the image, n at least 1.
        classes: (n,) their classes.
        maps: Pixels a side of each feature map.
        rule: From scales to boxes: `ssd_sizes` with the head's ratios.
        resolution: Of the images in pixels, to find a remedy where scales alone are not enough; None: none is looked for.

    Raises:
        ValueError: Without a truth.
    """
    if not len(truths):
        raise ValueError("scales: the dataset has no box to fit them to")
    if (usual := given(truths, classes, maps, (LOW, HIGH), rule)).enough:
        return usual
    some = _some(classes)
    ends = _best(truths[some], classes[some], maps, rule)
    found = given(truths, classes, maps, ends, rule)
    if found.enough or resolution is None:
        return found
    return replace(found, remedy=_remedy(truths[some], classes[some], maps, rule, resolution))


def given(
    truths: np.ndarray, classes: np.ndarray, maps: Sequence[int], ends: tuple[float, float], rule: Rule = ssd_sizes
) -> FittedScales:
    """What default boxes with scales from and to `ends` reach; other arguments as `fit_scales` has them."""
    return FittedScales(*ends, coverage(best_ious(truths, maps, rule(ssd_scales(len(maps), *ends))), classes))


def _best(truths: np.ndarray, classes: np.ndarray, maps: Sequence[int], rule: Rule) -> tuple[float, float]:
    def merit(ends: tuple[float, float]) -> tuple[float, float]:
        best = best_ious(truths, maps, rule(ssd_scales(len(maps), *ends)))
        found = coverage(best, classes).values()
        return sum(min(fraction, PLENTY) for fraction in found), float(best.mean())

    return max(_candidates(truths), key=merit)


def _candidates(truths: np.ndarray) -> list[tuple[float, float]]:
    """Between sides that the truths have; the first maximum counts, so their order is part of the rule."""
    sides = np.sqrt(np.maximum(truths[:, 2:] - truths[:, :2], 0).prod(1))
    smallest, largest = (float(np.quantile(sides, q)) for q in (0.01, 0.99))
    lows = np.geomspace(max(smallest / 1.5, 0.005), LOW, 16)
    highs = np.linspace(min(max(largest, 0.3), HIGH), HIGH, 6)
    return [(round(float(low), 4), round(float(high), 4)) for low in lows for high in highs]


def _remedy(
    truths: np.ndarray, classes: np.ndarray, maps: Sequence[int], rule: Rule, resolution: int
) -> tuple[int, int] | None:
    """(stride of the first map, resolution): a finer map first, since larger images cost more."""
    stride = max(resolution // maps[0], 1)
    sizes = [resolution, *(-(-round(resolution * growth) // 32) * 32 for growth in GROWTH)]
    strides = [stride] if stride <= FINEST else [stride, FINEST]
    for size, step in [(size, step) for size in sizes for step in strides][1:]:
        levels = pyramid(size, step, len(maps) + (step < stride))
        if given(truths, classes, levels, _best(truths, classes, levels, rule), rule).enough:
            return step, size
    return None


def _some(classes: np.ndarray) -> np.ndarray:
    """Numbers of at most about `TRIED` truths: of each class evenly, and no fewer than `LEAST` of those it has."""
    found = np.unique(classes)
    each = max(TRIED // len(found), LEAST)
    return np.sort(np.concatenate([evenly(np.flatnonzero(classes == label), each) for label in found]))
