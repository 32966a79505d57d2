"""How good detections are: COCO's 12 numbers, VOC's two average precisions, and the same class by class.

Boxes are fractions of the resized square image, which changes no IoU. Areas, which decide what is small, medium and large, are in
pixels of the original image. Truths that are marked as ignored (COCO's crowds, VOC's difficult objects) are treated as crowds by
COCO's numbers and as difficult ones by VOC's.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

import numpy as np

from nas.data.boxes import AREA, CLASS, COLUMNS, IGNORED, PIXELS
from nas.records import JSON
from nas.tasks.base import Means
from nas.tasks.boxes.geometry import area
from nas.tasks.boxes.precision import LEVELS, Coco, Objects, coco, voc

FOUND, TRUE = 7, 1 + COLUMNS  # columns that are kept: image, box and class, then the score, or what else a truth has
METRICS = (
    "map", "ap50", "ap75", "ap_small", "ap_medium", "ap_large",
    "ar_1", "ar_10", "ar_100", "ar_small", "ar_medium", "ar_large", "voc07_ap", "voc_ap",
)  # fmt: skip


@dataclass
class DetectionScores(Means):
    """The detections and truths of a split as they come in, and sums of what is a mean over images, such as the loss.

    Attributes:
        images: How many came in.
        found: Each (n, 7): image, y0, x0, y1, x1, class, score.
        true: Each (m, 9): image, and the eight columns of a truth.
    """

    images: int = 0
    found: list[np.ndarray] = field(default_factory=list)
    true: list[np.ndarray] = field(default_factory=list)
    sizes: list[np.ndarray] = field(default_factory=list)

    @classmethod
    def of(cls, names: tuple[str, ...], kept: JSON = None) -> Self:
        """The state before the first batch, or that which `to_json` gave."""
        if not kept:
            return cls(names)
        found, true, sizes = _array(kept["found"], FOUND), _array(kept["true"], TRUE), _array(kept["sizes"], 1)[:, 0]
        return cls(names, kept["sums"], kept["count"], kept["images"], [found], [true], [sizes])

    def update(self, part: Mapping[str, np.ndarray], targets: np.ndarray) -> None:
        """Adds images.

        Args:
            part: `boxes` (n, k, 4), `scores` (n, k) and `classes` (n, k), -1 where there is no detection; and the sums of `names`.
            targets: (n, m, 8): y0, x0, y1, x1, class (-1 where there is no object), ignored, area in pixels of the original
                image, and the pixels of the original image that the whole square covers.
        """
        super().update(part, targets)
        boxes, scores, labels = (np.asarray(part[name]) for name in ("boxes", "scores", "classes"))
        image, place = np.nonzero(labels >= 0)
        columns = image + self.images, boxes[image, place], labels[image, place], scores[image, place]
        self.found.append(np.column_stack(columns).astype(np.float64))
        image, place = np.nonzero(targets[:, :, CLASS] >= 0)
        self.true.append(np.column_stack([image + self.images, targets[image, place]]).astype(np.float64))
        self.sizes.append(targets[:, 0, PIXELS].astype(np.float64))
        self.images += len(targets)

    def merge(self, other: Means) -> None:
        assert isinstance(other, DetectionScores)
        super().merge(other)
        after = self.images
        self.found += [rows + np.eye(1, FOUND) * after for rows in other.found]
        self.true += [rows + np.eye(1, TRUE) * after for rows in other.true]
        self.sizes += other.sizes
        self.images += other.images

    def compute(self) -> dict[str, float]:
        """`METRICS`, COCO's being -1 where there is no truth to count, and the means."""
        return {**self.coco().numbers(), **self._voc_means(), **super().compute()}

    def coco(self) -> Coco:
        """All of COCO's evaluation."""
        return coco(self.detections, self.truths)

    def voc(
        self, level: float = 0.5, strict: bool = True, pixel: np.ndarray | None = None
    ) -> dict[int, tuple[float, float]]:
        """VOC's average precisions by class: see `nas.tasks.boxes.precision.voc`."""
        return voc(self.detections, self.truths, level, strict, pixel)

    def of_classes(self) -> dict[int, dict[str, float]]:
        """`ap`, `ap50`, `ar_100`, `voc_ap`, and how many `truths` and `detections` each class has; of classes with truths."""
        found, true, aps = self.detections, self.truths, self.voc()
        return {
            label: {
                **figures, "voc_ap": aps[label][1],
                "truths": int(((true.classes == label) & ~true.ignored).sum()), "detections": int((found.classes == label).sum()),
            }
            for label, figures in self.coco().of_classes().items()
        }  # fmt: skip

    def curves(self, level: float = 0.5) -> dict[int, tuple[np.ndarray, np.ndarray]]:
        """Precision over recall of each class with truths.

        Args:
            level: IoU that counts as found, one of COCO's ten: 0.5, 0.55 .. 0.95.

        Returns:
            By class: precision (101,) at recalls 0, 0.01 .. 1, and the score (101,) from which detections count there; both are 0
            beyond the recall that is reached.
        """
        at, whole = int(np.abs(LEVELS - level).argmin()), self.coco()
        every = zip(whole.classes.tolist(), whole.precision[:, 0, at], whole.score[:, 0, at], strict=True)
        return {label: (precision, score) for label, precision, score in every if precision[0] > -1}

    @property
    def detections(self) -> Objects:
        """All detections."""
        rows = np.concatenate([np.zeros((0, FOUND)), *self.found])
        image, boxes = rows[:, 0].astype(np.int64), rows[:, 1:5]
        pixels = np.concatenate([np.zeros(0), *self.sizes])[image]
        return Objects(image, rows[:, 5], boxes, area(boxes) * pixels, rows[:, 6], np.zeros(len(rows), bool))

    @property
    def truths(self) -> Objects:
        """All objects."""
        rows = np.concatenate([np.zeros((0, TRUE)), *self.true])
        boxes, others = rows[:, 1:5], rows[:, 1:]
        image, ignored = rows[:, 0].astype(np.int64), others[:, IGNORED] > 0
        return Objects(image, others[:, CLASS], boxes, others[:, AREA], np.zeros(len(rows)), ignored)

    def to_json(self) -> JSON:
        arrays = (("found", self.found, FOUND), ("true", self.true, TRUE), ("sizes", self.sizes, 1))
        rows = {
            name: np.concatenate([np.zeros((0, width)), *(part.reshape(-1, width) for part in parts)])
            for name, parts, width in arrays
        }
        return {
            "sums": self.sums,
            "count": self.count,
            "images": self.images,
            **{name: _text(each) for name, each in rows.items()},
        }

    def _voc_means(self) -> dict[str, float]:
        aps = list(self.voc().values())
        return {name: float(np.mean([ap[i] for ap in aps])) if aps else -1.0 for i, name in enumerate(METRICS[-2:])}


def _text(rows: np.ndarray) -> str:
    return base64.b64encode(rows.astype("<f8").tobytes()).decode()


def _array(text: str, width: int) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), "<f8").reshape(-1, width)
