"""The sizes of default boxes by the rules of SSD and of YOLO, as heads of detectors have them.

A head answers relative to boxes of fixed sizes, a few at each pixel of each of its feature maps. Sizes are in fractions of the image.
The output `boxes` of a head states them: its node has `anchors`, of each map its side in pixels and the sizes of its boxes.

Source:
    Liu et al. 2016 (arXiv:1512.02325), sec. 2.2. Redmon and Farhadi 2018 (arXiv:1804.02767), sec. 2.3.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from math import sqrt
from typing import TypeAlias

Sizes: TypeAlias = tuple[tuple[tuple[float, float], ...], ...]  # of each map, (height, width) of each of its boxes

# (height, width), published as (width, height): of the network's input of 416 pixels (v3), of 13 cells (v2).
YOLO_V3 = tuple(
    (h / 416, w / 416)
    for w, h in ((10, 13), (16, 30), (33, 23), (30, 61), (62, 45), (59, 119), (116, 90), (156, 198), (373, 326))
)
YOLO_V2_VOC = tuple(
    (h / 13, w / 13)
    for w, h in ((1.3221, 1.73145), (3.19275, 4.00944), (5.05587, 8.09892), (9.47112, 4.84053), (11.2364, 10.0071))
)
YOLO_V2_COCO = tuple(
    (h / 13, w / 13)
    for w, h in ((0.57273, 0.677385), (1.87446, 2.06253), (3.33843, 5.47434), (7.88282, 3.52778), (9.77052, 9.16828))
)
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


def yolo_sizes(sizes: Sequence[tuple[float, float]], maps: int, boxes: int) -> Sizes:
    """The boxes of each map as YOLOv3 has them: sizes by rising area, the smallest on the first map, which is the finest.

    Args:
        sizes: (height, width) of `maps` times `boxes`; empty: those published for COCO, or where these are not nine, as many along
            the line through their logarithms.
        maps: How many maps there are.
        boxes: At each pixel of a map.

    Raises:
        ValueError: For another number of sizes.

    Example:
        >>> [[round(416 * height) for height, _ in level] for level in yolo_sizes((), 3, 3)]
        [[13, 30, 23], [61, 45, 119], [90, 198, 326]]
    """
    count = maps * boxes
    found = list(sizes) or along(YOLO_V3, count)
    if len(found) != count:
        counts = f"expected {count} sizes, {boxes} at each pixel of {maps} {'map' if maps == 1 else 'maps'}, got {len(found)}"
        raise ValueError(f"anchors: {counts}; a space whose networks differ in these numbers leaves anchors out")
    return tuple(tuple(found[i : i + boxes]) for i in range(0, count, boxes))


def along(sizes: Sequence[tuple[float, float]], count: int) -> list[tuple[float, float]]:
    """So many sizes, evenly along the line through the logarithms of some; the same where there are as many."""
    if len(sizes) == count:
        return list(sizes)
    found = list[tuple[float, float]]()
    for i in range(count):
        at = i * (len(sizes) - 1) / max(count - 1, 1)
        low, part = sizes[int(at)], at - int(at)
        high = sizes[min(int(at) + 1, len(sizes) - 1)]
        height, width = (round(a ** (1 - part) * b**part, 6) for a, b in zip(low, high, strict=True))
        found.append((height, width))
    return found
