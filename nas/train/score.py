"""Scoring a network on a split, and the way from stored images to what a network takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nas.arch.graph import Graph
from nas.data.dataset import Dataset, Split
from nas.data.stream import made
from nas.nn.network import Variables, apply
from nas.nn.ops import Array
from nas.tasks.classification import CLASSIFICATION, Task

Score = Callable[[Any, Any, Any, Any], dict[str, Array]]


def prepare(images: Array, graph: Graph, dataset: Dataset) -> Array:
    """(n, h, w, c) uint8 -> float32, normalized by the dataset's mean and std, resized (bilinear) to the network's input."""
    return resized(normalized(images, dataset), graph)


def normalized(images: Array, dataset: Dataset) -> Array:
    """(n, h, w, c) uint8 -> float32 of the same shape."""
    mean, std = (jnp.array(v, jnp.float32).reshape(1, 1, 1, -1) for v in (dataset.mean, dataset.std))
    return (images.astype(jnp.float32) / 255 - mean) / std


def resized(images: Array, graph: Graph) -> Array:
    """(n, h, w, c) float32 -> the height and width that the network takes."""
    height, width, channels = graph.input_shape
    if images.shape[1:3] == (height, width):
        return images
    return jax.image.resize(images, (len(images), height, width, channels), "bilinear")


def evaluate(graph: Graph, variables: Variables, split: Split, dataset: Dataset, batch: int = 256,
             dtype: str = "float32", task: Task = CLASSIFICATION) -> dict[str, float]:  # fmt: skip
    """The task's metrics, means over a split; `dataset` gives the normalization. Compiles one program, of `batch` images."""
    rows = min(batch, len(split))
    return run_score(compile_score(graph, variables, dataset, rows, dtype, task), variables, split, rows)


def compile_score(graph: Graph, variables: Variables, dataset: Dataset, rows: int, dtype: str, task: Task) -> Score:
    """(variables, images, labels, which of them count) -> sums of the metrics, for `rows` images."""

    def score(variables: Variables, images: Array, labels: Array, counts: Array) -> dict[str, Array]:
        inputs = prepare(images, graph, dataset)
        logits, _ = apply(graph, variables["params"], variables["stats"], inputs, train=False, dtype=jnp.dtype(dtype))
        return {name: jnp.where(counts, metric(logits, labels), 0).sum() for name, metric in task.metrics.items()}

    image = jax.ShapeDtypeStruct((rows, dataset.resolution, dataset.resolution, dataset.channels), jnp.uint8)
    label, counts = jax.ShapeDtypeStruct((rows,), jnp.int32), jax.ShapeDtypeStruct((rows,), jnp.bool)
    return jax.jit(score).lower(variables, image, label, counts).compile()


def run_score(score: Score, variables: Variables, split: Split, rows: int) -> dict[str, float]:
    """Means over a split. The last batch is filled up with images that do not count, so that one program serves all."""
    on_device = jax.device_put(variables)

    def filled(start: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        images, labels = split.images[start : start + rows], split.labels[start : start + rows]
        missing = rows - len(labels)
        images = np.pad(images, ((0, missing), (0, 0), (0, 0), (0, 0))) if missing else images
        return images, np.pad(labels, (0, missing)), np.arange(rows) < len(labels)

    sums = [score(on_device, *batch) for batch in made(split.images, rows, filled, range(0, len(split), rows))]
    return {name: sum(float(part[name]) for part in sums) / len(split) for name in sums[0]}
