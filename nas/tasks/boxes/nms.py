"""Non-maximum suppression: of boxes that show the same object, the one with the highest score. NumPy.

Source:
    Soft-NMS: Bodla et al. 2017 (arXiv:1704.04503).
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from nas.tasks.boxes.geometry import iou


def nms(
    boxes: np.ndarray,
    scores: np.ndarray,
    classes: np.ndarray | None = None,
    overlap: float = 0.5,
    most: int | None = None,
) -> np.ndarray:
    """Keeps the best box, drops those that overlap it by more, and so on.

    Args:
        boxes: (n, 4).
        scores: (n,); of equal ones the first is the better.
        classes: (n,); boxes of two classes do not suppress each other. None: all are of one.
        overlap: IoU above which a box is dropped.
        most: Boxes that are kept; None: all.

    Returns:
        (kept,) row numbers by falling score.

    Example:
        >>> boxes = np.array([[0, 0, 1, 1], [0, 0, 1, 0.9], [0, 0, 1, 0.4]])
        >>> nms(boxes, np.array([0.5, 0.9, 0.1])), nms(boxes, np.array([0.5, 0.9, 0.1]), np.array([0, 1, 1]))
        (array([1, 2]), array([1, 0, 2]))
    """
    left, kept = np.argsort(-scores, kind="stable"), list[int]()
    while len(left) and len(kept) != most:
        best, left = left[0], left[1:]
        kept.append(int(best))
        near = iou(boxes[best], boxes[left]) > overlap
        left = left[~near if classes is None else ~near | (classes[left] != classes[best])]
    return np.array(kept, np.int64)


def soft_nms(
    boxes: np.ndarray, scores: np.ndarray, classes: np.ndarray | None = None, how: Literal["linear", "gaussian"] = "gaussian",
    overlap: float = 0.3, sigma: float = 0.5, least: float = 0.001, most: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Lowers the scores of boxes by their overlap with better ones, instead of dropping them.

    Args:
        boxes: (n, 4).
        scores: (n,), 0 or more.
        classes: As `nms` has it.
        how: `linear`, by 1 - IoU where the IoU is `overlap` or more; `gaussian`, by exp(-IoU² / sigma).
        overlap: Of `linear`.
        sigma: Of `gaussian`.
        least: Boxes with scores below are dropped.
        most: Boxes that are kept; None: all.

    Returns:
        (kept,) row numbers by falling new score, and these scores.
    """
    ious, left = _overlaps(boxes, classes), np.array(scores, np.float64)
    factors = np.where(ious >= overlap, 1 - ious, 1) if how == "linear" else np.exp(-(ious**2) / sigma)
    kept, found = list[int](), list[float]()
    while len(left) and (most is None or len(kept) < most):
        best = int(left.argmax())
        if left[best] < max(least, 0):
            break
        kept.append(best)
        found.append(float(left[best]))
        left *= factors[best]
        left[best] = -1
    return np.array(kept, np.int64), np.array(found)


def _overlaps(boxes: np.ndarray, classes: np.ndarray | None) -> np.ndarray:
    """(n, n) IoUs, 0 between two classes."""
    ious = iou(boxes[:, None], boxes[None])
    return ious if classes is None else np.where(classes[:, None] == classes[None], ious, 0)
