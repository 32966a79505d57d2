"""Object detection: boxes with classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from nas.arch import AUTO, Arch
from nas.arch.anchors import Sizes, ssd_sizes
from nas.arch.blocks import lower
from nas.data.dataset import Dataset
from nas.objectives import Direction
from nas.recipe import DetectionLoss, Recipe
from nas.records import JSON
from nas.tasks.base import BaseTask, HostOutputs, MetricState
from nas.tasks.boxes.anchors import best_ious, coverage, default_boxes
from nas.tasks.boxes.auto import ENOUGH, fit_scales
from nas.tasks.boxes.drawing import boxed
from nas.tasks.boxes.losses import focal_loss, giou_loss, smooth_l1, softmax_loss
from nas.tasks.boxes.matching import match
from nas.tasks.boxes.selection import candidates, selected
from nas.tasks.detection_scores import IGNORED, LABEL, DetectionScores
from nas.tasks.palette import hex_color

if TYPE_CHECKING:
    from nas.tasks.base import Array, Outputs

BOXES = {"smooth_l1": smooth_l1, "giou": giou_loss}
SUMS = ("loss", "positives")


@dataclass(frozen=True, eq=False)
class Head:
    """What the answers of a head mean.

    Args:
        maps: Pixels a side of each of its feature maps.
        sizes: Of each map, (height, width) of the default boxes at each pixel, in fractions of the image.
        sigmoid: Whether classes are trained and scored each by itself, or by a softmax with the background.
    """

    maps: tuple[int, ...]
    sizes: Sizes
    sigmoid: bool = False

    @cached_property
    def anchors(self) -> np.ndarray:
        """(A, 4) float32 default boxes."""
        return default_boxes(self.maps, self.sizes)


@lru_cache(maxsize=16)
def head_of(arch: Arch) -> Head:
    """The head of an architecture, from its graph, which the exported files are made of too."""
    graph = lower(arch)
    maps, sizes = zip(*graph.nodes[graph.outputs["boxes"]].attr["anchors"], strict=True)
    return Head(maps, sizes, arch.head.get("scores", "softmax") == "sigmoid")


def rule_of(arch: Arch) -> Callable[[Sequence[float]], Sizes]:
    """From scales to default boxes, as the head of an architecture has it."""
    return partial(ssd_sizes, **{key: value for key, value in arch.head.knobs if key in ("ratios", "form", "lowest")})


def objects_of(targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n, most, 8) targets -> boxes (k, 4) and classes (k,) of all objects that count."""
    rows = targets[(targets[..., LABEL] >= 0) & (targets[..., IGNORED] == 0)].astype(np.float64)
    return rows[:, :4], rows[:, LABEL].astype(np.int64)


class Detected(DetectionScores):
    """Of candidates, what is left after suppression; the loss over all images by their positive default boxes."""

    def update(self, part: Mapping[str, np.ndarray], targets: np.ndarray) -> None:
        found = {name: np.asarray(part[name])[part["valid"]] for name in ("boxes", "scores", "classes")}
        super().update({**part, **selected(found)}, targets)

    def compute(self) -> dict[str, float]:
        found = super().compute()
        return {**{name: found[name] for name in Detection.metrics if name != "loss"}, "loss": self.loss}

    @property
    def loss(self) -> float:
        """That of the whole split, whatever batches it came in."""
        return self.sums["loss"] / max(self.sums["positives"], 1)


class Detection(BaseTask):
    """Boxes relative to default boxes, and their classes, as SSD has it.

    Outputs are `boxes` (n, 1, A, 4), codes of A default boxes, and `classes` (n, 1, A, classes + 1), logits, the first of the
    background. `map` is COCO's AP, the mean over IoUs from 0.5 to 0.95; those of small, medium and large objects are -1 where
    there is none. `voc_ap` is that of VOC since 2010.

    Source: Liu et al. 2016 (arXiv:1512.02325). SSDLite: Sandler et al. 2018 (arXiv:1801.04381). Metrics: `nas.tasks.boxes.precision`.
    """

    name = "detection"
    metrics: Mapping[str, Direction] = {
        "map": "max", "ap50": "max", "ap75": "max", "ap_small": "max", "ap_medium": "max", "ap_large": "max", "ar_100": "max",
        "voc_ap": "max", "loss": "min",
    }  # fmt: skip
    heads = ("ssdlite",)
    kind = "boxes"
    pictures = True

    def __init__(self, arch: Arch | None = None, head: Head | None = None):
        self._arch, self._head = arch, head

    def of(self, arch: Arch) -> Self:
        return type(self)(arch)

    @property
    def head(self) -> Head:
        """That of the networks whose outputs it is given."""
        if self._head is not None:
            return self._head
        assert self._arch is not None, "outputs are those of an architecture, whose task `task_of` gives"
        return head_of(self._arch)

    def fit_head(self, arch: Arch, dataset: Dataset) -> Arch:
        """Classes, and where the head has `scales: auto`, scales of default boxes for the boxes of the training split."""
        fitted = arch.with_io(classes=len(dataset.classes))
        if fitted.head.get("scales") != AUTO:
            return fitted
        self.targets(dataset)
        truths, classes = objects_of(dataset.train.targets)
        found = fit_scales(truths, classes, head_of(fitted).maps, rule_of(fitted))
        return fitted.with_head({"scales": (found.low, found.high)})

    def notes(self, arch: Arch, dataset: Dataset) -> Sequence[str]:
        """How many objects of each class the default boxes reach, and what would reach more."""
        truths, classes = objects_of(dataset.train.targets)
        if not len(truths):
            return (f"{dataset.name}: no training image has an object",)
        head = head_of(arch)
        found = coverage(best_ious(truths, head.maps, head.sizes), classes)
        shown = ", ".join(f"{dataset.classes[label]} {100 * part:.1f} %" for label, part in sorted(found.items()))
        line = f"default boxes reach, at an IoU of 0.5: {shown}"
        if min(found.values()) >= ENOUGH:
            return (line,)
        best = fit_scales(truths, classes, head.maps, rule_of(arch), resolution=arch.resolution)
        if best.enough:
            low, high = best.low, best.high
            return (line, f"95 % of each class: head scales: [{low:g}, {high:g}], or auto, which finds them")
        if best.remedy is None:
            return (line, "no scales, nor a finer map, nor larger images that were tried reach 95 % of each class")
        stride, resolution = best.remedy
        larger = f"images of {resolution} pixels" if resolution != arch.resolution else ""
        finer = f"a first map of stride {stride}" if stride != arch.resolution // head.maps[0] else ""
        return (line, f"95 % of each class: {' and '.join(filter(None, [finer, larger]))}, with head scales: auto")

    def loss(self, outputs: Outputs, targets: Array, valid: Array | None, recipe: Recipe) -> Mapping[str, Array]:
        import jax.numpy as jnp

        boxes, classes, positives = self._sums(outputs, targets, recipe.detection, recipe.label_smoothing)
        counted = positives if valid is None else jnp.where(valid, positives, 0)
        factor = len(positives) / jnp.maximum(
            counted.sum(), 1
        )  # so that the mean over images is a sum over positive ones
        return {"boxes": recipe.detection.box_weight * boxes * factor, "classes": classes * factor}

    def reduce(self, outputs: Outputs, targets: Array, valid: Array) -> Mapping[str, Array]:
        import jax.numpy as jnp

        codes, logits = _flat(outputs)
        boxes, classes, positives = self._sums(outputs, targets, DetectionLoss())
        found = candidates(codes, logits, jnp.asarray(self.head.anchors), self.head.sigmoid)
        sums = {"loss": boxes + classes, "positives": positives}
        return {**found, "valid": valid, **{name: jnp.where(valid, values, 0).sum() for name, values in sums.items()}}

    def _sums(
        self, outputs: Outputs, targets: Array, settings: DetectionLoss, smoothing: float = 0.0
    ) -> tuple[Array, Array, Array]:
        """(loss of boxes, loss of classes, positive default boxes), (n,) each, sums over an image."""
        import jax.numpy as jnp

        codes, logits = _flat(outputs)
        anchors, labels = jnp.asarray(self.head.anchors), targets[..., LABEL].astype(jnp.int32)
        found = match(anchors, targets[..., :4], labels, targets[..., IGNORED] > 0)
        boxes = jnp.take_along_axis(targets[..., :4], found.truth[..., None], axis=1)
        label = jnp.take_along_axis(labels, found.truth, axis=1)
        given = found.positive, found.negative
        if self.head.sigmoid:
            classes = focal_loss(logits[..., 1:], label, *given, settings.alpha, settings.gamma)
        else:
            classes = softmax_loss(logits, label + 1, *given, settings.negatives, settings.least_negatives, smoothing)
        return BOXES[settings.boxes](codes, boxes, anchors, found.positive), classes, found.positive.sum(1)

    def new_metrics(self, kept: JSON = None) -> MetricState:
        return Detected.of(SUMS, kept)

    def postprocess(self, outputs: HostOutputs) -> Mapping[str, np.ndarray]:
        """`boxes` (n, k, 4): y0, x0, y1, x1 in fractions of the image, `scores` (n, k), `classes` (n, k), by falling score.

        Rows after the last object of an image have class -1.
        """
        codes, logits = _flat(outputs)
        return selected(candidates(codes, logits, self.head.anchors, self.head.sigmoid))

    def details(self, state: MetricState, classes: Sequence[str]) -> Mapping[str, JSON]:
        assert isinstance(state, DetectionScores)
        found = state.of_classes()
        order = sorted(found, key=lambda label: -found[label]["truths"])
        columns = {"AP": "ap", "AP50": "ap50", "VOC AP": "voc_ap", "AR": "ar_100"}
        rows = [
            [
                classes[i],
                hex_color(i),
                *(f"{100 * found[i][key]:.1f}" for key in columns.values()),
                f"{found[i]['truths']:.0f}",
            ]
            for i in order
        ]
        lines = {label: precision for label, (precision, _) in state.curves().items()}
        recalls = np.linspace(0, 1, 101)
        curves = [
            {"name": classes[i], "color": hex_color(i), "points": np.stack([recalls, lines[i]], 1).round(4).tolist()}
            for i in order
        ]
        return {
            "table": [["class", "color", *columns, "objects"], *rows], "curves": curves, "axes": ["recall", "precision at IoU 0.5"],
            "note": "Left the objects found, with scores in %; right the true ones.",
        }  # fmt: skip

    def draw(
        self, image: np.ndarray, prediction: Mapping[str, np.ndarray], target: np.ndarray | None = None,
        classes: Sequence[str] = (),
    ) -> np.ndarray:  # fmt: skip
        """The image with the objects found; beside it, where they are known, with the true ones."""
        found = boxed(image, prediction["boxes"], prediction["classes"], prediction["scores"], classes)
        if target is None:
            return found
        return np.concatenate([found, boxed(image, target[:, :4], target[:, LABEL].astype(int), None, classes)], 1)


def _flat(outputs: HostOutputs | Outputs) -> tuple[Any, Any]:
    """(codes (n, A, 4), logits (n, A, classes + 1))."""
    assert isinstance(outputs, Mapping), "a detector has the outputs boxes and classes"
    codes = outputs["boxes"].reshape(len(outputs["boxes"]), -1, 4)
    return codes, outputs["classes"].reshape(*codes.shape[:2], -1)


DETECTION = Detection()
