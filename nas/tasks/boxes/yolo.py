"""YOLO's family of heads: codes within a cell, whether there is an object, and its classes, each by itself.

Of an object the cell of its center answers, on the map and with the box whose shape is nearest. Boxes that answer none are background,
but where what they give overlaps an object well already.

Source:
    v2: Redmon and Farhadi 2017 (arXiv:1612.08242), sec. 2. v3: Redmon and Farhadi 2018 (arXiv:1804.02767), sec. 2; weights by size and
    the threshold of 0.7 are those of darknet's yolo_layer.c and yolov3.cfg.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from nas.arch import Arch, Knob
from nas.arch.anchors import along
from nas.data.boxes import CLASS, IGNORED
from nas.data.statistics import evenly
from nas.recipe import DetectionLoss
from nas.tasks.boxes.anchors import REACH, kmeans, mean_iou, shape_ious
from nas.tasks.boxes.auto import ENOUGH
from nas.tasks.boxes.base import Head, Scoring, sigmoid, stated
from nas.tasks.boxes.geometry import LARGEST, TINY, aligned, centers, corners, giou, iou
from nas.tasks.boxes.losses import focal_terms, logistic_terms
from nas.tasks.boxes.matching import Matched, unsure

if TYPE_CHECKING:
    from nas.tasks.base import Array

TRIED = 5_000  # boxes that sizes are fitted to, evenly over more
BETTER = 0.02  # mean IoU by which other sizes must fit better to be proposed


def decode_yolo(codes: Any, anchors: Any, cells: Any) -> Any:
    """Boxes of codes: the center lies in the anchor's cell, at the logistic function of a code; sizes are exp of codes times the anchor's.

    Args:
        codes: (.., 4) of ty, tx, th, tw. NumPy or JAX.
        anchors: (.., 4), at the centers of their cells.
        cells: (.., 1) sides of the cells, in the same unit.

    Returns:
        (.., 4). No side is longer than 62.5 anchors.
    """
    xp, (codes, anchors, cells) = codes.__array_namespace__(), aligned(codes, anchors, cells)
    base, unit = centers(anchors)
    center = base + (sigmoid(codes[..., :2]) - 0.5) * cells
    return corners(center, xp.exp(xp.minimum(codes[..., 2:], LARGEST)) * unit)


@dataclass(frozen=True, eq=False)
class YoloHead(Head):
    """Logits of whether there is an object, and of each class if there is one. A score is the product of both chances."""

    @classmethod
    def of(cls, arch: Arch) -> YoloHead:
        """That of an architecture."""
        return cls(*stated(arch))

    @property
    def scoring(self) -> Scoring:
        return "objectness"

    @property
    def in_cells(self) -> np.ndarray:
        return self.cells

    @property
    def smooths(self) -> bool:
        return False

    @cached_property
    def cells(self) -> np.ndarray:
        """(A, 1) float32: of each default box the side of its cell, in fractions of the image."""
        counts = [side * side * len(sizes) for side, sizes in zip(self.maps, self.sizes, strict=True)]
        return np.repeat(1 / np.array(self.maps, np.float32), counts)[:, None]

    def scores(self, logits: Any) -> Any:
        return sigmoid(logits[..., :1]) * sigmoid(logits[..., 1:])

    def decode(self, codes: Any, places: Any) -> Any:
        xp = codes.__array_namespace__()
        return decode_yolo(codes, xp.asarray(self.anchors)[places], xp.asarray(self.cells)[places])

    def answering(self, boxes: Array) -> tuple[Array, Array]:
        """Which default box answers each object: that of the nearest shape, in the cell of the object's center. Traced.

        Args:
            boxes: (n, m, 4).

        Returns:
            (n, m) numbers of default boxes, and the IoUs of the shapes.
        """
        import jax.numpy as jnp

        sides, firsts, counts, ranks = jnp.asarray(self._places).T
        sizes = jnp.asarray(np.concatenate([np.array(level, np.float32) for level in self.sizes]))
        center, size = centers(boxes)
        own, anchors = aligned(size[..., None, :], sizes)
        common = jnp.minimum(own, anchors).prod(-1)
        fits = common / (own.prod(-1) + anchors.prod(-1) - common)
        best = fits.argmax(-1)
        side = sides[best]
        cell = jnp.clip(jnp.floor(center * side[..., None]).astype(jnp.int32), 0, side[..., None] - 1)
        place = firsts[best] + (cell[..., 0] * side + cell[..., 1]) * counts[best] + ranks[best]
        return place, fits.max(-1)

    @cached_property
    def _places(self) -> np.ndarray:
        """(k, 4) int32 of each size: its map's side, the number of the map's first box, its boxes at a pixel, and which of these it is."""
        rows, first = list[tuple[int, int, int, int]](), 0
        for side, sizes in zip(self.maps, self.sizes, strict=True):
            rows += [(side, first, len(sizes), rank) for rank in range(len(sizes))]
            first += side * side * len(sizes)
        return np.array(rows, np.int32)

    def matched(self, given: Array, targets: Array, ignore: float) -> Matched:
        """What each default box is trained towards. Of objects that one box is to answer, it answers that of the nearest shape. Traced.

        Args:
            given: (n, A, 4), the boxes that the network gives.
            targets: (n, m, 8).
            ignore: IoU with an object beyond which a box that answers none is no background either.
        """
        import jax.numpy as jnp

        boxes, there, left_out = targets[..., :4], targets[..., CLASS] >= 0, targets[..., IGNORED] > 0
        place, fit = self.answering(boxes)
        counted = (there & ~left_out)[..., None]
        here = (place[..., None] == jnp.arange(len(self.anchors))[None, None]) & counted  # (n, m, A)
        positive = here.any(1)
        overlaps = jnp.where(counted, iou(boxes[:, :, None], given[:, None]), 0)
        free = (overlaps.max(1) > ignore) | unsure(jnp.asarray(self.anchors), boxes, there & left_out)
        return Matched(jnp.where(here, fit[..., None], -1).argmax(1), positive, ~positive & ~free)

    def losses(
        self, codes: Array, logits: Array, targets: Array, settings: DetectionLoss, smoothing: float = 0.0
    ) -> tuple[Mapping[str, Array], Array]:
        import jax
        import jax.numpy as jnp

        given = self.decode(codes, np.arange(len(self.anchors)))
        found = self.matched(jax.lax.stop_gradient(given), targets, settings.ignore)
        truths = jnp.take_along_axis(targets, found.truth[..., None], axis=1)
        if settings.boxes == "giou":
            boxes = 1 - giou(given, truths[..., :4])
        else:
            boxes = self._of_codes(codes, truths[..., :4])
        label = jax.nn.one_hot(truths[..., CLASS].astype(jnp.int32), logits.shape[-1] - 1)
        classes = logistic_terms(logits[..., 1:], label).sum(-1)
        if settings.objectness == "focal":
            objects = focal_terms(logits[..., 0], found.positive, settings.alpha, settings.gamma)
        else:
            objects = logistic_terms(logits[..., 0], found.positive)
        parts = {
            "boxes": jnp.where(found.positive, boxes, 0), "objectness": jnp.where(found.positive | found.negative, objects, 0),
            "classes": jnp.where(found.positive, classes, 0),
        }  # fmt: skip
        return {name: part.sum(1) for name, part in parts.items()}, found.positive.sum(1)

    def _of_codes(self, codes: Array, boxes: Array) -> Array:
        """(n, A): logistic losses of offsets less what is inevitable, smooth L1 of logarithms of sizes; small objects weigh up to twice."""
        import jax.numpy as jnp

        (base, unit), (center, size) = centers(jnp.asarray(self.anchors)[None]), centers(boxes)
        offset = jnp.clip((center - base) / self.cells[None] + 0.5, 0, 1)
        apart = jnp.abs(codes[..., 2:] - jnp.log(jnp.maximum(size, TINY) / unit))
        terms = logistic_terms(codes[..., :2], offset) + jnp.where(apart < 1, apart**2 / 2, apart - 0.5)
        return (2 - size.prod(-1)) * terms.sum(-1)


def fitted_yolo(arch: Arch, truths: np.ndarray, labels: np.ndarray) -> Mapping[str, Knob]:
    """`anchors` in place of `auto`: the sizes that k-means finds for the boxes (k, 4) of the training split.

    Raises:
        ValueError: Without a box.
    """
    _, sizes = stated(arch)
    return {"anchors": _fit(truths, sum(map(len, sizes)))}


def _fit(truths: np.ndarray, count: int) -> tuple[tuple[float, float], ...]:
    found = kmeans(evenly(truths[:, 2:] - truths[:, :2], TRIED), count)
    rounded = [(max(round(float(h), 5), 0.001), max(round(float(w), 5), 0.001)) for h, w in found]
    return tuple(along(rounded, count))


def yolo_lines(arch: Arch, truths: np.ndarray, labels: np.ndarray, names: Sequence[str]) -> tuple[str, ...]:
    """Lines for people: how well the shapes of a head's boxes fit the objects, and whether others would fit better."""
    _, levels = stated(arch)
    anchors, sizes = np.concatenate([np.array(level) for level in levels]), truths[:, 2:] - truths[:, :2]
    best = shape_ious(sizes, anchors).max(1)
    reached = {int(label): float((best[labels == label] >= REACH).mean()) for label in np.unique(labels)}
    shown = ", ".join(f"{names[label]} {100 * part:.1f} %" for label, part in reached.items())
    line = f"anchors fit objects with a mean IoU of {best.mean():.2f}; with one of {REACH:g} or more: {shown}"
    fitted = mean_iou(sizes, np.array(_fit(truths, len(anchors))))
    if fitted < best.mean() + BETTER:
        few = min(reached.values()) < ENOUGH
        return (line, "more of each class: a larger number of boxes a pixel (head boxes)") if few else (line,)
    return (line, f"head anchors: auto finds sizes with a mean IoU of {fitted:.2f}")
