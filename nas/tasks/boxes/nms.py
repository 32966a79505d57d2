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
    order, kept = np.argsort(-scores, kind="stable"), list[int]()
    y0, x0, y1, x1 = np.ascontiguousarray(boxes[order].T)
    areas, alive = (y1 - y0) * (x1 - x0), np.ones(len(order), bool)
    of = None if classes is None else classes[order]
    for i in range(len(order)):
        if len(kept) == most:
            break
        if alive[i]:
            kept.append(i)
            rest = slice(i + 1, None)  # `iou` of so few boxes would spend its time on axes
            height = np.maximum(np.minimum(y1[i], y1[rest]) - np.maximum(y0[i], y0[rest]), 0)
            common = height * np.maximum(np.minimum(x1[i], x1[rest]) - np.maximum(x0[i], x0[rest]), 0)
            far = common <= overlap * (areas[i] + areas[rest] - common)
            alive[rest] &= far if of is None else far | (of[rest] != of[i])
    return order[np.array(kept, np.int64)]


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
