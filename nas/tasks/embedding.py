"""Embeddings: points on a sphere, near each other where images show the same person or thing, also one that is new."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

import numpy as np

from nas.arch import Arch
from nas.data.by_class import class_batches
from nas.data.dataset import Dataset, Split
from nas.objectives import Direction
from nas.recipe import Recipe
from nas.records import JSON, TargetSpec
from nas.tasks.base import BaseTask, HostOutputs, MetricState, single
from nas.tasks.embedding_losses import IN_BATCH, MARGIN, MARGINS, arcface
from nas.tasks.embedding_scores import scores

if TYPE_CHECKING:
    from nas.tasks.base import Array, Outputs

SIZE = 128  # of the head where it states none
CENTERS = "kernel"  # of classes, as the optimizer knows an array that weight decay pulls
COLLAPSED = 0.1  # mean distance of two images, of at most 2, under which all are in one point


@dataclass
class Embedded:
    """The embeddings of a split, kept as they come: a pair may have its images in two batches."""

    rows: list[np.ndarray] = field(default_factory=list)
    labels: list[np.ndarray] = field(default_factory=list)

    def update(self, part: Mapping[str, np.ndarray], targets: np.ndarray) -> None:
        self.rows.append(np.asarray(part["embedding"], np.float32)[part["valid"]])
        self.labels.append(np.asarray(targets))

    def merge(self, other: Embedded) -> None:
        self.rows += other.rows
        self.labels += other.labels

    def compute(self) -> dict[str, float]:
        return scores(np.concatenate(self.rows), np.concatenate(self.labels))

    def to_json(self) -> JSON:
        if not self.rows:
            return {}
        rows = np.concatenate(self.rows)
        kept = base64.b64encode(rows.astype("<f4").tobytes()).decode()
        return {"size": rows.shape[1], "embeddings": kept, "labels": np.concatenate(self.labels).tolist()}


class Embedding(BaseTask):
    """Embeddings (n, d) of length 1, trained by triplets, pairs or ArcFace, as `recipe.embedding` says.

    Classes of the validation and the test split are unseen in training, so the metrics tell how it recognizes new ones:
    retrieval (`recall_at_1`, `recall_at_5`), verification (`auc`, `tar_at_far`), `knn_accuracy` and `one_shot`.
    `active_triplets` and `mean_distance` show how a training fares.
    """

    name = "embedding"
    metrics: Mapping[str, Direction] = {
        "auc": "max", "recall_at_1": "max", "recall_at_5": "max", "tar_at_far": "max", "knn_accuracy": "max", "one_shot": "max",
        "active_triplets": "min", "mean_distance": "max",
    }  # fmt: skip
    heads = ("embedding",)
    kind = "identity"
    compares = True
    settings = ("embedding",)

    def __init__(self, classes: int | None = None, centers: Array | None = None):
        self.classes, self.centers = classes, centers  # of the training split; of arcface, within a step

    def targets(self, dataset: Dataset) -> TargetSpec:
        if dataset.target.kind == "label":
            raise ValueError(
                f"{dataset.name}: has class labels; the task embedding expects identities, whose classes are unseen in "
                "training where they are scored: set dataset.split=classes"
            )
        return super().targets(dataset)

    def weighed(self, recipe: Recipe, dataset: Dataset) -> Self:
        return type(self)(int(dataset.train.targets.max()) + 1)

    def fit_head(self, arch: Arch, dataset: Dataset) -> Arch:
        return arch.with_io(classes=arch.head.get("size", dict(arch.defaults).get("size", SIZE)))

    def batches(self, split: Split, rows: int, recipe: Recipe, rng: np.random.Generator) -> Iterator[np.ndarray]:
        if recipe.embedding.loss == "arcface":
            return super().batches(split, rows, recipe, rng)
        return class_batches(split.targets, rows, recipe.embedding.per_class, rng)

    def arrays(self, recipe: Recipe, arch: Arch, seed: int) -> Mapping[str, np.ndarray]:
        if recipe.embedding.loss != "arcface":
            return {}
        assert self.classes is not None, "a training asks the task that `weighed` gave"
        shape = (arch.classes, self.classes)
        return {CENTERS: np.random.default_rng([seed, 2]).standard_normal(shape, np.float32) / np.float32(np.sqrt(shape[0]))}

    def with_arrays(self, arrays: Mapping[str, Array]) -> Self:
        return type(self)(self.classes, arrays[CENTERS]) if CENTERS in arrays else self

    def loss(self, outputs: Outputs, targets: Array, valid: Array | None, recipe: Recipe) -> Mapping[str, Array]:
        settings = recipe.embedding
        margin = MARGINS.get(settings.loss, MARGIN) if settings.margin is None else settings.margin
        if settings.loss != "arcface":
            return {settings.loss: IN_BATCH[settings.loss](single(outputs), targets, margin)}
        assert self.centers is not None, "a step gives its arrays to the task"
        return {"arcface": arcface(single(outputs), self.centers, targets, margin, settings.scale, recipe.label_smoothing)}

    def reduce(self, outputs: Outputs, targets: Array, valid: Array) -> Mapping[str, Array]:
        return {"embedding": single(outputs), "valid": valid}

    def new_metrics(self, kept: JSON = None) -> MetricState:
        if not kept:
            return Embedded()
        rows = np.frombuffer(base64.b64decode(kept["embeddings"]), "<f4").reshape(-1, kept["size"])
        return Embedded([rows], [np.asarray(kept["labels"], np.int32)])

    def advice(self, metrics: Mapping[str, float]) -> Sequence[str]:
        if metrics.get("mean_distance", 2.0) >= COLLAPSED:
            return ()
        return (
            f"collapsed: all images are at nearly one point (mean distance {metrics['mean_distance']:.3f} of at most 2); a smaller "
            "recipe.lr, a larger recipe.batch, or recipe.embedding.loss=batch_all or arcface helps",
        )

    def postprocess(self, outputs: HostOutputs) -> Mapping[str, np.ndarray]:
        """`embedding`: (n, d)."""
        assert isinstance(outputs, np.ndarray)
        return {"embedding": outputs}


EMBEDDING = Embedding()
