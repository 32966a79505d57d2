"""Overlaps of boxes, and the code by which a network states a box relative to a default box.

One source for NumPy and JAX: functions take arrays of either, traced or not, and return the same kind. Boxes are (.., 4) of y0,
x0, y1, x1 in any unit; leading axes are broadcast, so `iou(a[:, None], b)` compares every a with every b.

Source:
    GIoU: Rezatofighi et al. 2019 (arXiv:1902.09630). Codes: Girshick et al. 2014 (arXiv:1311.2524), app. C, with the factors of
    SSD (Liu et al. 2016, arXiv:1512.02325), where they are the inverse of "variances" 0.1 and 0.2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

Boxes: TypeAlias = Any  # (.., 4) of NumPy or JAX

SCALE = (10.0, 10.0, 5.0, 5.0)  # of the four numbers of a code
LARGEST = math.log(
    1000 / 16
)  # of the logarithms of sizes that are decoded, so that no box of an untrained network is infinite
TINY = 1e-6  # side of a box without one, such as padding, so that its code is finite


def area(boxes: Boxes) -> Any:
    """(.., 4) -> (..); 0 of boxes that are inside out."""
    xp = boxes.__array_namespace__()
    sides = xp.maximum(boxes[..., 2:] - boxes[..., :2], 0)
    return sides[..., 0] * sides[..., 1]


def intersection(a: Boxes, b: Boxes) -> Any:
    """The area that two boxes have in common: (.., 4), (.., 4) -> (..)."""
    xp, (a, b) = a.__array_namespace__(), aligned(a, b)
    corners = xp.maximum(a[..., :2], b[..., :2]), xp.minimum(a[..., 2:], b[..., 2:])
    return area(xp.concatenate(corners, axis=-1))


def iou(a: Boxes, b: Boxes) -> Any:
    """Intersection over union: (.., 4), (.., 4) -> (..) from 0 to 1; 0 where both have no area.

    Example:
        >>> import numpy as np
        >>> iou(np.array([0.0, 0.0, 1.0, 1.0]), np.array([[0.0, 0.0, 0.5, 1.0], [0.0, 0.5, 1.0, 1.5]])).round(3)
        array([0.5  , 0.333])
    """
    a, b = aligned(a, b)
    common = intersection(a, b)
    return _ratio(common, area(a) + area(b) - common)


def giou(a: Boxes, b: Boxes) -> Any:
    """Generalized IoU: IoU less the part of the smallest box around both that neither covers; from -1 to 1."""
    xp, (a, b) = a.__array_namespace__(), aligned(a, b)
    common = intersection(a, b)
    union = area(a) + area(b) - common
    around = xp.minimum(a[..., :2], b[..., :2]), xp.maximum(a[..., 2:], b[..., 2:])
    hull = area(xp.concatenate(around, axis=-1))
    return _ratio(common, union) - _ratio(hull - union, hull)


def centers(boxes: Boxes) -> tuple[Any, Any]:
    """(centers, sizes) of boxes, both (.., 2), y first."""
    return (boxes[..., :2] + boxes[..., 2:]) / 2, boxes[..., 2:] - boxes[..., :2]


def corners(center: Any, size: Any) -> Boxes:
    """Boxes (.., 4) of centers and sizes, both (.., 2), y first."""
    xp = center.__array_namespace__()
    return xp.concatenate((center - size / 2, center + size / 2), axis=-1)


def encode(boxes: Boxes, anchors: Boxes, scale: Sequence[float] = SCALE) -> Any:
    """Codes of boxes relative to default boxes.

    Args:
        boxes: (.., 4).
        anchors: (.., 4), in the same unit, with an area.
        scale: What the four numbers are multiplied by.

    Returns:
        (.., 4): ty, tx, the distances of centers in sizes of the default box; th, tw, the logarithms of the ratios of sizes.
    """
    xp = boxes.__array_namespace__()
    boxes, anchors, factors = aligned(boxes, anchors, xp.asarray(scale, dtype=boxes.dtype))
    (center, size), (base, unit) = centers(boxes), centers(anchors)
    parts = (center - base) / unit, xp.log(xp.maximum(size, TINY) / unit)
    return xp.concatenate(parts, axis=-1) * factors


def decode(codes: Any, anchors: Boxes, scale: Sequence[float] = SCALE) -> Boxes:
    """The boxes that codes stand for: the inverse of `encode`, but that no side is longer than 62.5 default boxes.

    Args:
        codes: (.., 4).
        anchors: (.., 4).
        scale: As `encode` had it.

    Returns:
        (.., 4), in the unit of the default boxes; they may reach beyond the image.
    """
    xp = codes.__array_namespace__()
    codes, anchors, factors = aligned(codes, anchors, xp.asarray(scale, dtype=codes.dtype))
    (base, unit), plain = centers(anchors), codes / factors
    return corners(base + plain[..., :2] * unit, xp.exp(xp.minimum(plain[..., 2:], LARGEST)) * unit)


def aligned(*arrays: Any) -> tuple[Any, ...]:
    """With as many axes each, as JAX can be set to demand."""
    most = max(array.ndim for array in arrays)
    return tuple(array.reshape((1,) * (most - array.ndim) + array.shape) for array in arrays)


def _ratio(part: Any, whole: Any) -> Any:
    xp = part.__array_namespace__()
    return xp.where(whole > 0, part / xp.where(whole > 0, whole, 1), 0)
