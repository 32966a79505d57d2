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
from typing import TypeAlias

Sizes: TypeAlias = tuple[tuple[tuple[float, float], ...], ...]  # of each map, (height, width) of each of its boxes

LOW, HIGH = 0.2, 0.95  # scales of the first and the last map, as SSDLite has them


def ssd_scales(maps: int, low: float = LOW, high: float = HIGH) -> tuple[float, ...]:
    """Sides of the square boxes of each map, evenly from `low` to `high`, and the 1 that follows: (maps + 1,).

    Example:
        >>> ssd_scales(6)
        (0.2, 0.35, 0.5, 0.65, 0.8, 0.95, 1.0)
    """
    steps = max(maps - 1, 1)
    return (*(round(low + (high - low) * i / steps, 6) for i in range(maps)), 1.0)


def ssd_sizes(scales: Sequence[float], boxes: int = 6, first: int = 0) -> Sizes:
    """The boxes of each map by SSD's rule: a square of its scale s, one of sqrt(s s'), s' being the next, and s by 2, 1/2, 3, 1/3 ..

    Args:
        scales: Of each map, and the one after the last.
        boxes: How many a pixel of a map has: the first of these, cut to the image's size, as torchvision has them.
        first: How many the first map has; 0: as many. Otherwise as TensorFlow's object detection API has them: on the first map a
            square of s/2 and s by 2, 1/2 ..; on the others the square of sqrt(s s') last, and nothing is cut.

    Returns:
        (height, width) of each box of each map.

    Example:
        >>> [len(boxes) for boxes in ssd_sizes(ssd_scales(6), 6, 3)]
        [3, 6, 6, 6, 6, 6]
    """
    found = list[tuple[tuple[float, float], ...]]()
    for level, (scale, following) in enumerate(itertools.pairwise(scales)):
        between = sqrt(scale * following)
        shaped = [pair for ratio in range(2, 2 + boxes) for pair in _both(scale, ratio)]
        if not first:
            found.append(
                tuple((min(h, 1.0), min(w, 1.0)) for h, w in [(scale, scale), (between, between), *shaped][:boxes])
            )
        elif level == 0:
            found.append(((scale / 2, scale / 2), *shaped[: first - 1]))
        else:
            found.append(tuple([(scale, scale), *shaped[: max(boxes - 2, 0)], (between, between)][:boxes]))
    return tuple(found)


def _both(scale: float, ratio: float) -> tuple[tuple[float, float], tuple[float, float]]:
    """(height, width) of a wide box and of a tall one, both of the area scale²."""
    root = sqrt(ratio)
    return (scale / root, scale * root), (scale * root, scale / root)
