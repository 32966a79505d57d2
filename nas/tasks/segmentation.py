"""Semantic segmentation: a class for each pixel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Self

import numpy as np

from nas.arch import Arch
from nas.data.dataset import Dataset
from nas.data.masks import IGNORED
from nas.objectives import Direction
from nas.recipe import Recipe
from nas.records import JSON
from nas.tasks.base import HostOutputs, MetricState, single
from nas.tasks.palette import hex_color, overlaid
from nas.tasks.segmentation_scores import SegmentationScores, reduce
from nas.tasks.spatial import SpatialTask

if TYPE_CHECKING:
    from nas.tasks.base import Array, Outputs

SMOOTH = 1.0  # pixels added to both sides of the Dice ratio, so that a class that is in neither counts as right


class Segmentation(SpatialTask):
    """Cross-entropy of each pixel that has a class, and Dice loss where the recipe asks for it. Outputs are logits (n, h, w, classes).

    Where network and masks differ in size, logits are resized to the masks (bilinear), in training and in scoring alike. Mean
    IoU is of one confusion matrix over the split; pixels that are ignored count nowhere.

    Source: Long et al. 2015 (arXiv:1411.4038). Balanced weights: median frequency, Eigen and Fergus 2015 (arXiv:1411.4734).
    Dice: Milletari et al. 2016 (arXiv:1606.04797).
    """

    name = "segmentation"
    metrics: Mapping[str, Direction] = {"miou": "max", "pixel_accuracy": "max", "class_accuracy": "max", "loss": "min"}
    heads = ("lr_aspp", "deeplab_v3", "unet")
    kind = "mask"
    distills = weighs = True
    settings = ("dice",)

    def __init__(self, weights: tuple[float, ...] | None = None):
        self.weights = weights  # of the losses of each class's pixels; None: 1

    def weighed(self, recipe: Recipe, dataset: Dataset) -> Self:
        if recipe.class_weights == "none":
            return self
        return type(self)(median_frequency_weights(dataset.train.targets, len(dataset.classes)))

    def fit_head(self, arch: Arch, dataset: Dataset) -> Arch:
        if arch.head.get("valid", False):
            raise ValueError(f"{arch.name}: head.valid: answers for the center of an image alone, where masks are whole; expected false")
        return arch.with_io(classes=len(dataset.classes))

    def loss(self, outputs: Outputs, targets: Array, valid: Array | None, recipe: Recipe) -> Mapping[str, Array]:
        logits = at_size_of(single(outputs), targets)
        parts = {"cross_entropy": pixel_cross_entropy(logits, targets, self.weights, recipe.label_smoothing)}
        if recipe.dice:
            parts["dice"] = recipe.dice * dice_loss(logits, targets)
        return parts

    def reduce(self, outputs: Outputs, targets: Array, valid: Array) -> Mapping[str, Array]:
        import jax.numpy as jnp

        logits = at_size_of(single(outputs), targets)
        losses = jnp.where(valid, pixel_cross_entropy(logits, targets), 0)
        return {"confusion": reduce(logits, targets, valid), "loss": losses.sum()}

    def new_metrics(self, kept: JSON = None) -> MetricState:
        return SegmentationScores(("loss",), **(kept or {}))

    def distill(self, outputs: Outputs, teacher_outputs: Outputs, losses: Array, recipe: Recipe) -> Array:
        """As classification has it, its second term the mean over an image's pixels."""
        import jax
        import jax.numpy as jnp

        temperature, weight = recipe.temperature, recipe.distill
        ours = single(outputs)
        theirs = resized(single(teacher_outputs), ours.shape[1:3])
        expected, got = jax.nn.log_softmax(theirs / temperature), jax.nn.log_softmax(ours / temperature)
        soft = (jnp.exp(expected) * (expected - got)).sum(3).mean((1, 2))
        return (1 - weight) * losses + weight * temperature**2 * soft

    def agree(self, outputs: Outputs, teacher_outputs: Outputs) -> Array:
        ours = single(outputs)
        return (ours.argmax(3) == resized(single(teacher_outputs), ours.shape[1:3]).argmax(3)).mean((1, 2)) > 0.5

    def postprocess(self, outputs: HostOutputs) -> Mapping[str, np.ndarray]:
        """`mask`: (n, h, w) uint8 numbers of classes; `scores`: (n, h, w, classes), the logits."""
        assert isinstance(outputs, np.ndarray)
        return {"mask": outputs.argmax(3).astype(np.uint8), "scores": outputs}

    def details(self, state: MetricState, classes: Sequence[str]) -> Mapping[str, JSON]:
        assert isinstance(state, SegmentationScores)
        found = state.class_scores()
        order = np.argsort(-found["pixels"], kind="stable")
        total = max(found["pixels"].sum(), 1)
        columns = found["iou"], found["accuracy"], found["pixels"] / total
        rows = [[classes[i], hex_color(i), *(share(float(one[i])) for one in columns)] for i in order.tolist()]
        return {"table": [["class", "color", "IoU", "accuracy", "pixels"], *rows], "note": "Left the prediction, right the truth."}

    def draw(
        self, image: np.ndarray, prediction: Mapping[str, np.ndarray], target: np.ndarray | None = None,
        classes: Sequence[str] = (),
    ) -> np.ndarray:  # fmt: skip
        """The image under the predicted classes; beside it, where they are known, the image under the true ones."""
        return np.concatenate([overlaid(image, mask) for mask in (prediction["mask"], target) if mask is not None], 1)


def share(value: float) -> str:
    """A fraction as people read it; a dash where there is none."""
    return "-" if np.isnan(value) else f"{100 * value:.1f} %"


def median_frequency_weights(masks: np.ndarray, classes: int) -> tuple[float, ...]:
    """Weights of classes: the median of their frequencies over their own, which are of the pixels of images that have the class.

    masks: (n, h, w) uint8. A class that no image has weighs 1.
    """
    pixels, within = np.zeros(classes), np.zeros(classes)
    for mask in masks:
        counts = np.bincount(mask.ravel(), minlength=IGNORED + 1)[:classes]
        pixels += counts
        within += np.where(counts > 0, counts.sum(), 0)
    known = pixels > 0
    frequency = pixels[known] / within[known]
    weights = np.ones(classes)
    weights[known] = np.median(frequency) / frequency
    return tuple(weights.tolist())


def at_size_of(logits: Array, masks: Array) -> Array:
    """(n, h, w, classes) resized to the masks (n, h', w')."""
    return resized(logits, masks.shape[1:])


def resized(values: Array, size: tuple[int, ...]) -> Array:
    """(n, h, w, c) -> (n, *size, c), bilinear where the size is another."""
    import jax

    shape = values.shape[0], *size, values.shape[3]
    return values if values.shape == shape else jax.image.resize(values, shape, "bilinear")


def pixel_cross_entropy(logits: Array, masks: Array, weights: tuple[float, ...] | None = None, smoothing: float = 0.0) -> Array:
    """(n, h, w, classes), (n, h, w) -> (n,): means over an image's pixels that are not ignored; 0 for one that has none."""
    import jax
    import jax.numpy as jnp

    classes = logits.shape[3]
    known = masks != IGNORED
    targets = jax.nn.one_hot(jnp.where(known, masks, 0), classes) * (1 - smoothing) + smoothing / classes
    losses = -(targets * jax.nn.log_softmax(logits)).sum(3)
    if weights is not None:
        losses = losses * jnp.array(weights, losses.dtype)[jnp.where(known, masks, 0)]
    return jnp.where(known, losses, 0).sum((1, 2)) / jnp.maximum(known.sum((1, 2)), 1)


def dice_loss(logits: Array, masks: Array) -> Array:
    """(n, h, w, classes), (n, h, w) -> (n,): 1 minus the mean over classes of 2 |A B| / (|A| + |B|), of probabilities and truth."""
    import jax
    import jax.numpy as jnp

    known = (masks != IGNORED)[..., None]
    truth = jnp.where(known, jax.nn.one_hot(jnp.where(known[..., 0], masks, 0), logits.shape[3]), 0)
    found = jnp.where(known, jax.nn.softmax(logits), 0)
    both, all_ = ((x.sum((1, 2))) for x in (truth * found, truth + found))
    return 1 - ((2 * both + SMOOTH) / (all_ + SMOOTH)).mean(1)


SEGMENTATION = Segmentation()
