"""From a detector's outputs to the objects that it finds: scores, the best boxes of each class, suppression.

Source:
    The limits are those of torchvision's SSDLite: scores above 0.001, 300 boxes of a class, NMS at 0.55, 300 boxes of an image.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nas.tasks.boxes.base import Head
from nas.tasks.boxes.nms import nms

LEAST = 0.001  # score of an object
OF_CLASS = 300  # boxes of a class that are looked at
LOOKED_AT = 1000  # boxes of all classes that are looked at, which with many classes are fewer than 300 of each
OVERLAP = 0.55  # IoU above which one of two objects of a class is dropped
MOST = 300  # objects of an image


def candidates(head: Head, codes: Any, logits: Any) -> dict[str, Any]:
    """The boxes with the highest scores, before suppression. Arrays of NumPy or JAX, which may be traced.

    Args:
        head: What these mean.
        codes: (n, A, 4).
        logits: (n, A, classes + 1).

    Returns:
        `boxes` (n, k, 4), cut off at the image's border, `scores` (n, k) and `classes` (n, k) int32, from 0 on without the
        background, by falling score.
    """
    xp = codes.__array_namespace__()
    scores = xp.swapaxes(head.scores(logits), 1, 2)  # (n, classes, A)
    each = min(OF_CLASS, scores.shape[2])
    of_class, anchor = _top(scores, each)
    flat = of_class.reshape(len(codes), -1)
    best, place = _top(flat, min(LOOKED_AT, flat.shape[1]))
    anchor = xp.take_along_axis(anchor.reshape(flat.shape), place, axis=1)
    boxes = head.decode(xp.take_along_axis(codes, anchor[..., None], axis=1), anchor)
    return {"boxes": xp.clip(boxes, 0, 1), "scores": best, "classes": (place // each).astype(xp.int32)}


def selected(found: dict[str, np.ndarray], overlap: float = OVERLAP) -> dict[str, np.ndarray]:
    """Candidates after suppression of each image, class by class.

    Args:
        found: `boxes` (n, k, 4), `scores` (n, k) and `classes` (n, k).
        overlap: IoU above which the one with the lower score is dropped.

    Returns:
        The same with at most `MOST` objects an image, by falling score; rows beyond have score 0 and class -1. k is at least 1.
    """
    kept = [_kept(*one, overlap) for one in zip(found["boxes"], found["scores"], found["classes"], strict=True)]
    most = max(1, *map(len, kept)) if kept else 1
    boxes, scores = np.zeros((len(kept), most, 4), np.float32), np.zeros((len(kept), most), np.float32)
    classes = np.full((len(kept), most), -1, np.int32)
    for i, rows in enumerate(kept):
        boxes[i, : len(rows)], scores[i, : len(rows)] = found["boxes"][i][rows], found["scores"][i][rows]
        classes[i, : len(rows)] = found["classes"][i][rows]
    return {"boxes": boxes, "scores": scores, "classes": classes}


def _kept(boxes: np.ndarray, scores: np.ndarray, classes: np.ndarray, overlap: float) -> np.ndarray:
    rows = np.flatnonzero((scores > LEAST) & (classes >= 0) & (boxes[:, 2:] > boxes[:, :2]).all(1))
    return rows[nms(boxes[rows], scores[rows], classes[rows], overlap, MOST)]


def _top(values: Any, k: int) -> tuple[Any, Any]:
    """(the k largest of the last axis, their places), equal ones in their order."""
    if isinstance(values, np.ndarray):
        place = np.argsort(-values, axis=-1, kind="stable")[..., :k]
        return np.take_along_axis(values, place, axis=-1), place
    import jax

    found, place = jax.lax.top_k(values, k)
    return found, place
