"""Default boxes: the boxes of fixed sizes, a few at each pixel of each feature map, relative to which a detector answers.

Feature maps are square: map k has `maps[k]` pixels a side, and at the center of each of its cells lie boxes of `sizes[k]`,
((height, width), ..). All is in fractions of the image, so nothing here depends on its resolution but through the maps.

Source:
    k-means: Redmon and Farhadi 2017 (arXiv:1612.08242), sec. 2.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nas.arch.anchors import Sizes
from nas.tasks.boxes.geometry import centers, corners

REACH = 0.5  # IoU at which a default box and a truth match
ROUNDS, STARTS = 100, 8  # of k-means, which ends earlier where nothing changes


def default_boxes(maps: Sequence[int], sizes: Sizes) -> np.ndarray:
    """All default boxes.

    Args:
        maps: Pixels a side of each feature map.
        sizes: (height, width) of the boxes at each of its cells.

    Returns:
        (boxes, 4) float32 in the order map, row, column, box. They may reach beyond the image.
    """
    parts = []
    for side, pairs in zip(maps, sizes, strict=True):
        ticks = (np.arange(side) + 0.5) / side
        at = np.stack(np.meshgrid(ticks, ticks, indexing="ij"), -1)[:, :, None]
        parts.append(corners(at, np.array(pairs)).reshape(-1, 4))
    return np.concatenate(parts).astype(np.float32)


def best_ious(truths: np.ndarray, maps: Sequence[int], sizes: Sizes) -> np.ndarray:
    """How well the best default box fits each truth: (n, 4) -> (n,) IoUs.

    Exact, though only the nearest cell of each map is looked at: with its size, a box's overlap falls with its distance.
    """
    at, size = centers(truths)
    best = np.zeros(len(truths))
    for side, pairs in zip(maps, sizes, strict=True):
        cell = (np.clip(np.floor(at * side), 0, side - 1) + 0.5) / side
        best = np.maximum(best, _shifted_ious(size, np.array(pairs), np.abs(at - cell)).max(1))
    return best


def coverage(best: np.ndarray, classes: np.ndarray, reach: float = REACH) -> dict[int, float]:
    """The fraction of the truths of each class that some default box reaches.

    Args:
        best: (n,), of `best_ious`.
        classes: (n,).
        reach: The IoU that counts.

    Returns:
        Fraction by class, of those that have truths.
    """
    return {int(label): float((best[classes == label] >= reach).mean()) for label in np.unique(classes)}


def kmeans(sizes: np.ndarray, k: int, seed: int = 0) -> np.ndarray:
    """The k sizes that fit the boxes of a dataset best, by k-means with 1 - IoU as distance.

    Args:
        sizes: (n, 2) heights and widths.
        k: How many.
        seed: Of the sizes that it starts from. The best of 8 starts is returned.

    Returns:
        (k, 2) by rising area; fewer where there are no k different sizes.

    Raises:
        ValueError: Without a box to fit.
    """
    if not len(sizes):
        raise ValueError("anchors: no box to fit them to")
    rng = np.random.default_rng(seed)
    k = min(k, len(np.unique(sizes, axis=0)))
    found = [_lloyd(sizes, _spaced(sizes, k, rng)) for _ in range(STARTS)]
    best = max(found, key=lambda each: mean_iou(sizes, each))
    return best[np.argsort(best.prod(1), kind="stable")]


def mean_iou(sizes: np.ndarray, anchors: np.ndarray) -> float:
    """The mean over boxes (n, 2) of the IoU with the best of k sizes (k, 2), centers laid on each other."""
    return float(shape_ious(sizes, anchors).max(1).mean())


def shape_ious(sizes: np.ndarray, anchors: np.ndarray) -> np.ndarray:
    """(n, k) IoUs of boxes of sizes (n, 2) and (k, 2), centers laid on each other."""
    return _shifted_ious(sizes, anchors)


def _shifted_ious(sizes: np.ndarray, anchors: np.ndarray, apart: np.ndarray | None = None) -> np.ndarray:
    """(n, k) IoUs of boxes of sizes (n, 2) and (k, 2) whose centers are apart (n, 2)."""
    common = np.ones((len(sizes), len(anchors)))
    for axis in range(2):
        mine, theirs = sizes[:, axis, None], anchors[None, :, axis]
        both = np.minimum(mine, theirs)
        if apart is not None:
            both = np.maximum(np.minimum(both, (mine + theirs) / 2 - apart[:, axis, None]), 0)
        common *= both
    return common / (sizes.prod(-1)[:, None] + anchors.prod(-1)[None] - common)


def _spaced(sizes: np.ndarray, k: int, rng: np.random.Generator) -> np.ndarray:
    """k boxes, each drawn by the square of its distance from those before it (k-means++)."""
    chosen = [sizes[rng.integers(len(sizes))]]
    while len(chosen) < k:
        chance = (1 - _shifted_ious(sizes, np.array(chosen)).max(1)) ** 2
        chosen.append(sizes[rng.choice(len(sizes), p=chance / chance.sum())])
    return np.array(chosen, np.float64)


def _lloyd(sizes: np.ndarray, anchors: np.ndarray) -> np.ndarray:
    nearest = np.full(len(sizes), -1)
    for _ in range(ROUNDS):
        before, nearest = nearest, _shifted_ious(sizes, anchors).argmax(1)
        if (before == nearest).all():
            break
        anchors = np.array([_center(sizes[nearest == i], anchors[i]) for i in range(len(anchors))])
    return anchors


def _center(members: np.ndarray, before: np.ndarray) -> np.ndarray:
    return np.median(members, 0) if len(members) else before
