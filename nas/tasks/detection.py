"""Object detection: boxes with classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from nas.arch import Arch
from nas.data.boxes import CLASS
from nas.data.dataset import Dataset
from nas.objectives import Direction
from nas.recipe import DetectionLoss, Recipe
from nas.records import JSON
from nas.tasks.base import HostOutputs, MetricState
from nas.tasks.boxes.base import Head
from nas.tasks.boxes.drawing import boxed
from nas.tasks.boxes.heads import fitted_head, follows_data, head_of, objects_of, reach_lines
from nas.tasks.boxes.selection import candidates, selected
from nas.tasks.detection_scores import DetectionScores
from nas.tasks.palette import hex_color
from nas.tasks.spatial import SpatialTask

if TYPE_CHECKING:
    from nas.tasks.base import Array, Outputs

SUMS = ("loss", "positives")


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


class Detection(SpatialTask):
    """Boxes relative to default boxes, and their classes, as SSD and YOLO have it: the head says what its answers mean.

    Outputs are `boxes` (n, 1, A, 4), codes of A default boxes, and `classes` (n, 1, A, classes + 1), logits, the first of the
    background or, of YOLO, of an object. `map` is COCO's AP, the mean over IoUs from 0.5 to 0.95; those of small, medium and large
    objects are -1 where there is none. `voc_ap` is that of VOC since 2010.

    Source: Liu et al. 2016 (arXiv:1512.02325). SSDLite: Sandler et al. 2018 (arXiv:1801.04381). YOLO:
    Redmon and Farhadi 2018 (arXiv:1804.02767). Metrics: `nas.tasks.boxes.precision`.
    """

    name = "detection"
    metrics: Mapping[str, Direction] = {
        "map": "max", "ap50": "max", "ap75": "max", "ap_small": "max", "ap_medium": "max", "ap_large": "max", "ar_100": "max",
        "voc_ap": "max", "loss": "min",
    }  # fmt: skip
    heads = ("ssdlite", "yolo")
    kind = "boxes"
    settings = ("detection",)

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
        """Classes; and where the head leaves its default boxes to the data, `auto`, those for the boxes of the training split."""
        fitted = arch.with_io(classes=len(dataset.classes))
        if not follows_data(fitted):
            return fitted
        self.targets(dataset)
        return fitted.with_head(fitted_head(fitted, *objects_of(dataset.train.targets)))

    def notes(self, arch: Arch, dataset: Dataset) -> Sequence[str]:
        """How many objects of each class the default boxes reach, and what would reach more."""
        truths, labels = objects_of(dataset.train.targets)
        if not len(truths):
            return (f"{dataset.name}: no training image has an object",)
        return reach_lines(arch, truths, labels, dataset.classes)

    def weighed(self, recipe: Recipe, dataset: Dataset) -> Self:
        if recipe.label_smoothing and not self.head.smooths:
            raise ValueError("recipe.label_smoothing: has no meaning for a head with scores: sigmoid, nor for yolo; leave it at 0")
        return self

    def loss(self, outputs: Outputs, targets: Array, valid: Array | None, recipe: Recipe) -> Mapping[str, Array]:
        import jax.numpy as jnp

        parts, positives = self.head.losses(*_flat(outputs), targets, recipe.detection, recipe.label_smoothing)
        counted = positives if valid is None else jnp.where(valid, positives, 0)
        factor = len(positives) / jnp.maximum(
            counted.sum(), 1
        )  # so that the mean over images is a sum over positive ones
        weights = {"boxes": recipe.detection.box_weight}
        return {name: weights.get(name, 1.0) * part * factor for name, part in parts.items()}

    def reduce(self, outputs: Outputs, targets: Array, valid: Array) -> Mapping[str, Array]:
        import jax.numpy as jnp

        parts, positives = self.head.losses(*_flat(outputs), targets, DetectionLoss())
        found = candidates(self.head, *_flat(outputs))
        sums = {"loss": sum(parts.values()), "positives": positives}
        return {**found, "valid": valid, **{name: jnp.where(valid, values, 0).sum() for name, values in sums.items()}}

    def new_metrics(self, kept: JSON = None) -> MetricState:
        return Detected.of(SUMS, kept)

    def postprocess(self, outputs: HostOutputs) -> Mapping[str, np.ndarray]:
        """`boxes` (n, k, 4): y0, x0, y1, x1 in fractions of the image, `scores` (n, k), `classes` (n, k), by falling score.

        Rows after the last object of an image have class -1.
        """
        return selected(candidates(self.head, *_flat(outputs)))

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
        return np.concatenate([found, boxed(image, target[:, :4], target[:, CLASS].astype(int), None, classes)], 1)


def _flat(outputs: HostOutputs | Outputs) -> tuple[Any, Any]:
    """(codes (n, A, 4), logits (n, A, classes + 1))."""
    assert isinstance(outputs, Mapping), "a detector has the outputs boxes and classes"
    codes = outputs["boxes"].reshape(len(outputs["boxes"]), -1, 4)
    return codes, outputs["classes"].reshape(*codes.shape[:2], -1)


DETECTION = Detection()
