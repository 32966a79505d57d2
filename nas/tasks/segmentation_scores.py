"""How good masks are: one matrix over a whole split that counts pixels by true and by predicted class, and its figures.

Every figure is of all pixels of the split together. The mean of the IoUs of single images is another number, of higher variance.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from nas.records import JSON
from nas.tasks.base import Means

if TYPE_CHECKING:
    from nas.tasks.base import Array


def confusion(masks: Any, predicted: Any, classes: int, valid: Any = None) -> Any:
    """Pixels by true class (row) and predicted class (column).

    Args:
        masks: (n, h, w) true classes; pixels that are 255 count nowhere. NumPy or JAX arrays, which may be traced.
        predicted: (n, h, w) of 0 to classes - 1.
        classes: How many there are.
        valid: (n,) bool, which images count; None: all.

    Returns:
        (classes, classes) whole numbers, int64 in NumPy, int32 in JAX.

    Example:
        >>> confusion(np.array([[[0, 1, 255]]]), np.array([[[0, 0, 1]]]), 2)
        array([[1, 0],
               [1, 0]])
    """
    xp, cells = masks.__array_namespace__(), classes * classes
    counted = masks < classes if valid is None else (masks < classes) & valid[:, None, None]
    cell = xp.where(counted, masks.astype(xp.int32) * classes + predicted.astype(xp.int32), cells).reshape(-1)
    size = {"minlength": cells + 1} if xp is np else {"length": cells + 1}  # a traced count needs its length
    return xp.bincount(cell, **size)[:cells].reshape(classes, classes)


def reduce(logits: Array, masks: Array, valid: Array) -> Array:
    """(n, h, w, classes) logits, (n, h, w) masks and (n,) bool -> `confusion` of the classes with the largest logits. Traced."""
    return confusion(masks, logits.argmax(-1), logits.shape[-1], valid)


def class_scores(counts: np.ndarray) -> dict[str, np.ndarray]:
    """Figures of each class.

    Args:
        counts: (classes, classes or more); pixels in columns after those of the classes were predicted to be none of them.

    Returns:
        Each (classes,): `iou`, the intersection of truth and prediction over their union; `accuracy`, the fraction of a class'
        pixels that was found; `pixels`, how many it has in truth. NaN where a class has no pixel to divide by.
    """
    counts = np.asarray(counts, np.float64)
    right, truth = np.diagonal(counts), counts.sum(1)
    predicted = counts[:, : len(counts)].sum(0)
    with np.errstate(invalid="ignore"):
        return {"iou": right / (truth + predicted - right), "accuracy": right / truth, "pixels": truth}


def scores(counts: np.ndarray) -> dict[str, float]:
    """The figures of a whole split by the names of metrics, from 0 to 1.

    Args:
        counts: As `class_scores` has it.

    Returns:
        `miou`: the mean IoU of the classes that truth or prediction has, so that one that is predicted where none is counts as 0;
        `pixel_accuracy`: the fraction of all pixels that is right; `class_accuracy`: the mean accuracy of the classes that
        truth has. 0 where no pixel counts.

    Example:
        >>> scores(np.array([[3, 1, 0], [0, 4, 0], [0, 0, 0]]))["miou"]
        0.775
    """
    of_class = class_scores(counts)
    return {
        "miou": _mean(of_class["iou"]),
        "pixel_accuracy": float(np.diagonal(counts).sum() / max(of_class["pixels"].sum(), 1)),
        "class_accuracy": _mean(of_class["accuracy"]),
    }


@dataclass
class SegmentationScores(Means):
    """Counts of pixels by true and predicted class, and sums of what is a mean over images, such as the loss."""

    counts: list[list[int]] = field(default_factory=list)

    def update(self, part: Mapping[str, np.ndarray], targets: np.ndarray) -> None:
        """Adds a batch: `confusion`, and the sums of `names`."""
        super().update(part, targets)
        self._add(part["confusion"].tolist())

    def merge(self, other: Means) -> None:
        assert isinstance(other, SegmentationScores)
        super().merge(other)
        self._add(other.counts)

    def _add(self, counts: list[list[int]]) -> None:
        """Python's whole numbers have no largest one."""
        both = zip(self.counts, counts, strict=True) if self.counts and counts else ()
        self.counts = [[a + b for a, b in zip(*rows, strict=True)] for rows in both] or self.counts or counts

    def compute(self) -> dict[str, float]:
        return {**scores(np.array(self.counts)), **super().compute()}

    def class_scores(self) -> dict[str, np.ndarray]:
        """`class_scores` of what came in."""
        return class_scores(np.array(self.counts))

    def to_json(self) -> JSON:
        return {"sums": self.sums, "count": self.count, "counts": self.counts}


def _mean(values: np.ndarray) -> float:
    found = values[~np.isnan(values)]
    return float(found.mean()) if len(found) else 0.0
