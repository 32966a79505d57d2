"""Average precision of detections, exactly as COCO and PASCAL VOC compute it. NumPy.

Source:
    COCO: pycocotools 2.0, `COCOeval` for boxes. VOC: the devkit of 2007 and 2012, as py-faster-rcnn's `voc_eval` has it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from nas.tasks.boxes.geometry import area, intersection, iou

LEVELS = np.linspace(0.5, 0.95, 10)  # IoUs
RECALLS = np.linspace(0, 1, 101)
MOST = 100  # detections of a class in an image that count
RANGES = {
    "all": (0, 1e10),
    "small": (0, 32**2),
    "medium": (32**2, 96**2),
    "large": (96**2, 1e10),
}  # pixels, both included


@dataclass(frozen=True, eq=False)
class Objects:
    """Boxes of a whole split, detected or true.

    Args:
        images: (n,) numbers of the images that they are in; images count in this order where scores are equal.
        classes: (n,) from 0 on.
        boxes: (n, 4), of any unit that is the same within an image.
        areas: (n,) in pixels of the original image.
        scores: (n,) of detections; zeros of truths.
        ignored: (n,) bool of truths: whether one is neither to be found nor wrong to find, a crowd for instance.
    """

    images: np.ndarray
    classes: np.ndarray
    boxes: np.ndarray
    areas: np.ndarray
    scores: np.ndarray
    ignored: np.ndarray

    def take(self, rows: np.ndarray | slice) -> Objects:
        """Those of the rows, in this order."""
        return Objects(
            self.images[rows],
            self.classes[rows],
            self.boxes[rows],
            self.areas[rows],
            self.scores[rows],
            self.ignored[rows],
        )

    @property
    def order(self) -> np.ndarray:
        """(n,) row numbers by class, image and falling score; equal ones stay in their order."""
        return np.lexsort((-self.scores, self.images, self.classes))

    def sorted(self) -> Objects:
        """In this order."""
        return self.take(self.order)

    def spans(self) -> dict[tuple[int, int], slice]:
        """(class, image) -> its rows, where sorted."""
        keys = np.stack([self.classes, self.images], 1).astype(np.int64)
        starts = (
            [0, *(np.flatnonzero((np.diff(keys, axis=0) != 0).any(1)) + 1).tolist(), len(keys)] if len(keys) else []
        )
        return {(int(keys[a, 0]), int(keys[a, 1])): slice(a, b) for a, b in itertools.pairwise(starts)}


@dataclass(frozen=True, eq=False)
class Coco:
    """What COCO's evaluation finds, -1 where a class has no truth in a range of areas.

    Args:
        classes: (K,) the classes that detections or truths have.
        precision: (K, areas, IoUs, recalls) precision at 101 recalls; areas as in `RANGES`.
        score: (K, areas, IoUs, recalls) score of the detection there; 0 beyond the recall that is reached.
        recall: (K, areas, IoUs) of at most 100 detections of a class in an image.
        recall_1: (K, IoUs) of at most one, of objects of all areas.
        recall_10: (K, IoUs) of at most 10.
    """

    classes: np.ndarray
    precision: np.ndarray
    score: np.ndarray
    recall: np.ndarray
    recall_1: np.ndarray
    recall_10: np.ndarray

    def numbers(self) -> dict[str, float]:
        """The 12 numbers by name, -1 where there is no truth to count."""
        p, r = self.precision, self.recall
        ap = {"map": p[:, 0], "ap50": p[:, 0, 0], "ap75": p[:, 0, 5]}
        ap |= {f"ap_{name}": p[:, i] for i, name in enumerate(RANGES) if i}
        ar = {"ar_1": self.recall_1, "ar_10": self.recall_10, "ar_100": r[:, 0]}
        ar |= {f"ar_{name}": r[:, i] for i, name in enumerate(RANGES) if i}
        return {name: _mean(values) for name, values in (ap | ar).items()}

    def of_classes(self) -> dict[int, dict[str, float]]:
        """`ap`, `ap50` and `ar_100` of each class that has truths."""
        found = zip(self.classes.tolist(), self.precision, self.recall, strict=True)
        return {
            label: {"ap": _mean(p[0]), "ap50": _mean(p[0, 0]), "ar_100": _mean(r[0])}
            for label, p, r in found
            if r[0, 0] > -1
        }


def coco(detections: Objects, truths: Objects) -> Coco:
    """COCO's evaluation.

    Detections of a class in an image, by falling score, take the free truth of the highest IoU, at 10 IoUs; one that is taken
    is free no more, but an ignored one is. What takes an ignored truth, and what takes none and has an area out of range, is
    neither right nor wrong. IoU with an ignored truth is the intersection over the detection's area.

    Args:
        detections: Of all images.
        truths: Of all images.

    Returns:
        Precision and recall by class.
    """
    found, truths = detections.sorted(), truths.sorted()
    rank = _ranks(found)
    found, rank = found.take(rank < MOST), rank[rank < MOST]
    outside = _outside(found.areas)
    matched = np.zeros((len(rank), len(RANGES), len(LEVELS)), bool)
    ignored = np.repeat(outside[:, :, None], len(LEVELS), 2)
    where, theirs = found.spans(), truths.spans()
    for key in where.keys() & theirs.keys():
        _match(found.take(where[key]), truths.take(theirs[key]), matched[where[key]], ignored[where[key]])
    classes = np.union1d(found.classes, truths.classes).astype(np.int64)
    counted = ~(_outside(truths.areas) | truths.ignored[:, None])
    rows = [
        _of_class(found, rank, matched, ignored, found.classes == label, counted[truths.classes == label])
        for label in classes
    ]
    shape = len(RANGES), len(LEVELS), len(RECALLS)
    empty = np.zeros((0, *shape)), np.zeros((0, *shape)), np.zeros((0, *shape[:2])), *[np.zeros((0, shape[1]))] * 2
    return Coco(classes, *(np.stack(each) for each in zip(*rows, strict=True)) if rows else empty)


def _match(found: Objects, truths: Objects, matched: np.ndarray, ignored: np.ndarray) -> None:
    """Of one class in one image: fills (detections, areas, IoUs) of what took a truth, and of what counts neither way."""
    common = intersection(found.boxes[:, None], truths.boxes[None])
    mine, theirs = area(found.boxes)[:, None], area(truths.boxes)[None]
    with np.errstate(invalid="ignore", divide="ignore"):
        ious = np.where(common > 0, common / np.where(truths.ignored, mine, mine + theirs - common), 0)
    excluded = (_outside(truths.areas) | truths.ignored[:, None]).T  # (areas, truths)
    free = np.ones((len(RANGES), len(LEVELS), len(theirs[0])), bool)
    levels = np.minimum(LEVELS, 1 - 1e-10)[None, :, None]
    areas, steps = np.indices(free.shape[:2])
    for i in np.flatnonzero((ious >= LEVELS[0]).any(1)):
        order = np.argsort(np.argsort(ious[i], kind="stable"))  # of equal ones the last is the best
        merit = order + np.where(excluded, 0, len(order))[:, None]
        merit = np.where(free & (ious[i] >= levels), merit, -1)
        best = merit.argmax(2)
        taken = merit.max(2) >= 0
        matched[i] = taken
        ignored[i] = np.where(taken, excluded[areas, best], ignored[i])
        free[areas, steps, best] &= ~taken | truths.ignored[best]


def _of_class(
    found: Objects, rank: np.ndarray, matched: np.ndarray, ignored: np.ndarray, mine: np.ndarray, counted: np.ndarray
) -> tuple[np.ndarray, ...]:
    """(precision, score, recall, recall_1, recall_10) of one class, the fields of `Coco` without its first axis."""
    rows = np.flatnonzero(mine)
    rows = rows[np.argsort(-found.scores[rows], kind="stable")]
    right = matched[rows] & ~ignored[rows]
    positives = counted.sum(0).astype(float)
    known = positives > 0
    total = np.where(known, positives, 1)[:, None]
    at_most = [np.where(known[0], right[rank[rows] < most, 0].sum(0) / total[0], -1) for most in (1, 10)]
    hits, misses = (np.cumsum(each, 0).astype(float) for each in (right, ~matched[rows] & ~ignored[rows]))
    precision, score = np.zeros((2, len(RANGES), len(LEVELS), len(RECALLS)))
    for a, t in itertools.product(range(len(RANGES)), range(len(LEVELS))):
        tp, fp = hits[:, a, t], misses[:, a, t]
        falling = _falling(tp / (fp + tp + np.spacing(1)))
        at = np.searchsorted(tp / total[a], RECALLS, side="left")
        reached = at < len(rows)
        precision[a, t, reached], score[a, t, reached] = falling[at[reached]], found.scores[rows][at[reached]]
    recall = right.sum(0) / total
    blank = ~known
    precision[blank], score[blank], recall[blank] = -1, -1, -1
    return precision, score, recall, *at_most


def voc(
    detections: Objects, truths: Objects, level: float = 0.5, strict: bool = True, pixel: np.ndarray | None = None
) -> dict[int, tuple[float, float]]:
    """VOC's average precisions of each class that has truths that count.

    A detection belongs to the truth of the highest IoU, also where another one has taken that: then it is wrong.

    Args:
        detections: Of all images.
        truths: Of all images; ignored ones (marked as difficult) neither count nor punish.
        level: IoU that counts as found.
        strict: Whether only what is above it counts, as in the devkit, or what is equal too.
        pixel: (images, 2) height and width of a pixel of each image in the unit of the boxes, by which the devkit, whose last
            pixel is within the box, has boxes larger; None: boxes are as they are.

    Returns:
        By class: the mean of the best precisions at recalls 0, 0.1 .. 1 (2007), and the area under the curve of precision,
        made falling, over recall (since 2010).
    """
    order, truths = detections.order, truths.sorted()
    found, best, truth = detections.take(order), np.zeros(len(order)), np.full(len(order), -1)
    where, theirs = found.spans(), truths.spans()
    for key in where.keys() & theirs.keys():
        more = 0 if pixel is None else np.concatenate([[0, 0], pixel[key[1]]])
        ious = iou(found.boxes[where[key], None] + more, truths.boxes[None, theirs[key]] + more)
        best[where[key]], truth[where[key]] = ious.max(1), ious.argmax(1) + theirs[key].start
    back = np.argsort(order)  # equal scores count in the order that detections came in
    hit = (best > level if strict else best >= level) & (truth >= 0)
    return dict(_voc_classes(detections, truths, hit[back], truth[back]))


def _voc_classes(
    found: Objects, truths: Objects, hit: np.ndarray, truth: np.ndarray
) -> Iterator[tuple[int, tuple[float, float]]]:
    for label in np.unique(truths.classes[~truths.ignored]).tolist():
        rows = np.flatnonzero(found.classes == label)
        rows = rows[np.argsort(-found.scores[rows], kind="stable")]
        hits = hit[rows]
        skipped = np.zeros(len(rows), bool)
        skipped[hits] = truths.ignored[truth[rows][hits]]
        first = np.zeros(len(rows), bool)
        first[np.flatnonzero(hits)[np.unique(truth[rows][hits], return_index=True)[1]]] = True
        right = first & ~skipped
        tp, fp = np.cumsum(right), np.cumsum(~right & ~skipped)
        yield label, _voc_aps(tp / (~truths.ignored[truths.classes == label]).sum(), tp / np.maximum(tp + fp, 1))


def _voc_aps(recall: np.ndarray, precision: np.ndarray) -> tuple[float, float]:
    points = [float(precision[recall >= level].max(initial=0)) for level in np.arange(0, 1.1, 0.1)]
    steps = np.diff(recall, prepend=0)
    return sum(points) / 11, float((steps * _falling(precision)).sum())


def _falling(precision: np.ndarray) -> np.ndarray:
    """The best precision from each place on."""
    return np.maximum.accumulate(precision[::-1])[::-1]


def _ranks(found: Objects) -> np.ndarray:
    """(n,) place of each within its class and image, from 0, where sorted."""
    out = np.zeros(len(found.scores), np.int64)
    for rows in found.spans().values():
        out[rows] = np.arange(rows.stop - rows.start)
    return out


def _outside(areas: np.ndarray) -> np.ndarray:
    """(n,) -> (n, ranges) whether an area is out of each range."""
    low, high = np.array(list(RANGES.values()), float).T
    return (areas[:, None] < low) | (areas[:, None] > high)


def _mean(values: np.ndarray) -> float:
    known = values[values > -1]
    return float(known.mean()) if len(known) else -1.0
