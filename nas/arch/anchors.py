"""The sizes of default boxes by SSD's rule, as heads of detectors have them.

A head answers relative to boxes of fixed sizes, a few at each pixel of each of its feature maps. Sizes are in fractions of the image.
The output `boxes` of a head states them: its node has `anchors`, of each map its side in pixels and the sizes of its boxes.

Source:
    Liu et al. 2016 (arXiv:1512.02325), sec. 2.2.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from math import sqrt
from typing import Literal, TypeAlias

Sizes: TypeAlias = tuple[tuple[tuple[float, float], ...], ...]  # of each map, (height, width) of each of its boxes
Form: TypeAlias = Literal["torchvision", "tensorflow"]

LOW, HIGH = 0.2, 0.95  # scales of the first and the last map, as SSDLite has them
RATIOS = (2.0, 3.0)  # of width and height, and their inverses


def ssd_scales(maps: int, low: float = LOW, high: float = HIGH) -> tuple[float, ...]:
    """Sides of the square boxes of each map, evenly from `low` to `high`, and the 1 that follows: (maps + 1,).

    Example:
        >>> ssd_scales(6)
        (0.2, 0.35, 0.5, 0.65, 0.8, 0.95, 1.0)
    """
    steps = max(maps - 1, 1)
    return (*(round(low + (high - low) * i / steps, 6) for i in range(maps)), 1.0)


def ssd_sizes(
    scales: Sequence[float], ratios: Sequence[float] = RATIOS, form: Form = "torchvision", lowest: int | None = None
) -> Sizes:
    """The boxes of each map by SSD's rule: squares of its scale s and of sqrt(s s'), s' being the next, and s with each ratio.

    Args:
        scales: Of each map, and the one after the last.
        ratios: Each of them and its inverse.
        form: Their order: `torchvision` has the two squares first, `tensorflow` the second square last. Boxes of `torchvision`
            are cut to the image's size.
        lowest: 3: the first map has three boxes, a square of s/2 and s with the first ratio, as TensorFlow's SSDLite; None: it
            has as many as the others.

    Returns:
        (height, width) of each box of each map.

    Example:
        >>> [len(boxes) for boxes in ssd_sizes(ssd_scales(6), lowest=3)]
        [3, 6, 6, 6, 6, 6]
    """
    found = list[tuple[tuple[float, float], ...]]()
    for level, (scale, following) in enumerate(itertools.pairwise(scales)):
        square, between = (scale, scale), (sqrt(scale * following),) * 2
        shaped = [pair for ratio in ratios for pair in _both(scale, ratio)]
        boxes = [square, between, *shaped] if form == "torchvision" else [square, *shaped, between]
        if lowest == 3 and level == 0:
            boxes = [(scale / 2, scale / 2), *shaped[:2]]
        found.append(tuple((min(h, 1.0), min(w, 1.0)) for h, w in boxes) if form == "torchvision" else tuple(boxes))
    return tuple(found)


def _both(scale: float, ratio: float) -> tuple[tuple[float, float], tuple[float, float]]:
    root = sqrt(ratio)
    return (scale / root, scale * root), (scale * root, scale / root)
