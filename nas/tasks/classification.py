"""Image classification: one class an image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

import numpy as np

from nas.arch import Arch
from nas.data.dataset import Dataset
from nas.objectives import Direction
from nas.recipe import Recipe
from nas.records import JSON
from nas.tasks.base import BaseTask, HostOutputs, Means, MetricState, Mixed, single

if TYPE_CHECKING:
    from nas.tasks.base import Array, Outputs


@dataclass
class ClassMeans(Means):
    """Means over images, and counts by class: images, and those that were answered right."""

    right: list[float] = field(default_factory=list)
    seen: list[float] = field(default_factory=list)

    def update(self, part: Mapping[str, np.ndarray], targets: np.ndarray) -> None:
        super().update(part, targets)
        self._add(part["right"].tolist(), part["seen"].tolist())

    def merge(self, other: Means) -> None:
        assert isinstance(other, ClassMeans)
        super().merge(other)
        self._add(other.right, other.seen)

    def _add(self, right: list[float], seen: list[float]) -> None:
        self.right = [a + b for a, b in zip(self.right or [0.0] * len(right), right, strict=True)] if right else self.right
        self.seen = [a + b for a, b in zip(self.seen or [0.0] * len(seen), seen, strict=True)] if seen else self.seen

    def compute(self) -> dict[str, float]:
        of_class = [right / seen for right, seen in zip(self.right, self.seen, strict=True) if seen]
        return {**super().compute(), "balanced_accuracy": sum(of_class) / len(of_class)}

    def to_json(self) -> JSON:
        return {"sums": self.sums, "count": self.count, "right": self.right, "seen": self.seen}


class Classification(BaseTask):
    """Cross-entropy with label smoothing. Outputs are logits (n, classes).

    Accuracy is a fraction of images; balanced accuracy the mean of the accuracies of the classes that have images, so that a
    rare class counts as much as a frequent one.
    """

    name = "classification"
    metrics: Mapping[str, Direction] = {"accuracy": "max", "loss": "min", "balanced_accuracy": "max"}
    heads = ("classifier", "mobilenet_v3", "mlp", "spp")
    kind = "label"
    mixes = distills = weighs = True

    def __init__(self, weights: tuple[float, ...] | None = None):
        self.weights = weights  # of the losses of each class; None: 1

    def weighed(self, recipe: Recipe, dataset: Dataset) -> Self:
        if recipe.class_weights == "none":
            return self
        counts = np.bincount(dataset.train.targets, minlength=len(dataset.classes))
        return type(self)(tuple((counts.sum() / (len(counts) * np.maximum(counts, 1))).tolist()))

    def fit_head(self, arch: Arch, dataset: Dataset) -> Arch:
        return arch.with_io(classes=len(dataset.classes))

    def loss(self, outputs: Outputs, targets: Array, valid: Array | None, recipe: Recipe) -> Mapping[str, Array]:
        import jax.numpy as jnp

        losses = cross_entropy(single(outputs), targets, recipe.label_smoothing)
        return {"cross_entropy": losses if self.weights is None else losses * jnp.array(self.weights, losses.dtype)[targets]}

    def reduce(self, outputs: Outputs, targets: Array, valid: Array) -> Mapping[str, Array]:
        import jax
        import jax.numpy as jnp

        logits = single(outputs)
        right = is_right(logits, targets)
        rows = {"accuracy": right, "loss": cross_entropy(logits, targets)}
        of_class = jnp.where(valid[:, None], jax.nn.one_hot(targets, logits.shape[1]), 0)
        counts = {"right": (of_class * right[:, None]).sum(0), "seen": of_class.sum(0)}
        return {name: jnp.where(valid, values, 0).sum() for name, values in rows.items()} | counts

    def new_metrics(self, kept: JSON = None) -> MetricState:
        return ClassMeans(("accuracy", "loss"), **(kept or {}))

    def mix(self, recipe: Recipe, images: Array, targets: Array, key: Array) -> Mixed:
        from nas.tasks.mixing import mixed

        return mixed(recipe, images, targets, key)

    def distill(self, outputs: Outputs, teacher_outputs: Outputs, losses: Array, recipe: Recipe) -> Array:
        """(1 - w) losses + w T^2 KL(softmax(teacher / T) || softmax(outputs / T)), w and T being the recipe's.

        T^2 keeps the gradient's size whatever T is.

        Source: section 2 of Hinton et al. 2015 (arXiv:1503.02531).
        """
        import jax
        import jax.numpy as jnp

        temperature, weight = recipe.temperature, recipe.distill
        expected = jax.nn.log_softmax(single(teacher_outputs) / temperature)
        got = jax.nn.log_softmax(single(outputs) / temperature)
        soft = (jnp.exp(expected) * (expected - got)).sum(1)
        return (1 - weight) * losses + weight * temperature**2 * soft

    def agree(self, outputs: Outputs, teacher_outputs: Outputs) -> Array:
        return single(outputs).argmax(1) == single(teacher_outputs).argmax(1)

    def postprocess(self, outputs: HostOutputs) -> Mapping[str, np.ndarray]:
        """`class`: (n,) numbers; `probability`: (n, classes)."""
        assert isinstance(outputs, np.ndarray)
        shifted = np.exp(outputs - outputs.max(1, keepdims=True))
        return {"class": outputs.argmax(1), "probability": shifted / shifted.sum(1, keepdims=True)}


def cross_entropy(logits: Array, labels: Array, smoothing: float = 0.0) -> Array:
    """(n, classes), (n,) -> (n,); the target is 1 - smoothing for the label plus smoothing / classes for every class."""
    import jax

    classes = logits.shape[1]
    targets = jax.nn.one_hot(labels, classes) * (1 - smoothing) + smoothing / classes
    return -(targets * jax.nn.log_softmax(logits)).sum(1)


def is_right(logits: Array, labels: Array) -> Array:
    """(n, classes), (n,) -> (n,): 1 where the largest logit is the label's, else 0."""
    import jax.numpy as jnp

    return (logits.argmax(1) == labels).astype(jnp.float32)


CLASSIFICATION = Classification()
