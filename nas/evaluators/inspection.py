"""A closer look at a classifier: its confusion matrix, and images with its answers and what they rest on, for people to look at."""

from __future__ import annotations

import base64
import io

import numpy as np

from nas.arch import Arch
from nas.arch.blocks import lower
from nas.data import Dataset
from nas.nn.weights import Variables
from nas.records import JSON
from nas.tasks import task_of

IMAGES = 5000  # of the validation split, evenly, that are looked at
MATRIX = 30  # classes at most, of which a matrix can be read
SAMPLES = 12
SIDE = 64  # pixels of a sample, at most


def inspected(arch: Arch, variables: Variables, dataset: Dataset, batch: int) -> dict[str, JSON]:
    """What a trained classifier answers on the validation split. Compiles two programs, of `batch` images and of the samples.

    Args:
        arch: The network.
        variables: Its weights and statistics.
        dataset: What it was trained on.
        batch: Images at a time.

    Returns:
        `classes` (names), `accuracy` by class (None where a class has no image), `confusion` (counts, a row a true class; None
        for more than `MATRIX` classes) and `samples`: `png` and `map` (base64; the image, and Grad-CAM of the answer over it),
        `label`, `class`, `probability`.

    Raises:
        ValueError: The task has no classes.
    """
    if not dataset.classes or "probability" not in task_of(arch).postprocess(np.zeros((1, max(len(dataset.classes), 1)))):
        raise ValueError("inspect: the task has no classes")
    count = len(dataset.valid)
    rows = np.arange(count) if count <= IMAGES else np.linspace(0, count - 1, IMAGES).astype(int)
    probability = _probabilities(arch, variables, dataset, rows, batch)
    labels, found = np.asarray(dataset.valid.targets)[rows], probability.argmax(1)
    classes = len(dataset.classes)
    matrix = np.bincount(labels * classes + found, minlength=classes**2).reshape(classes, classes)
    images = matrix.sum(1)
    samples = chosen(labels, found, probability)
    pixels = np.stack([dataset.valid.images[rows[i : i + 1]][0] for i in samples])
    maps = _maps(arch, variables, dataset, pixels, found[samples])
    return {
        "classes": list(dataset.classes),
        "accuracy": [float(matrix[i, i] / n) if (n := int(images[i])) else None for i in range(classes)],
        "confusion": matrix.tolist() if classes <= MATRIX else None,
        "samples": [
            {"png": _png(image), "map": _png(map_), "label": int(labels[i]), "class": int(found[i]),
             "probability": float(probability[i, found[i]])}
            for i, image, map_ in zip(samples, pixels, maps, strict=True)
        ],
    }  # fmt: skip


def _probabilities(arch: Arch, variables: Variables, dataset: Dataset, rows: np.ndarray, batch: int) -> np.ndarray:
    """(n, classes)"""
    import jax

    from nas.nn.network import apply
    from nas.train.score import prepare

    graph, task, size = lower(arch), task_of(arch), min(batch, len(rows))

    @jax.jit
    def outputs(variables: Variables, images: jax.Array) -> object:
        return apply(graph, variables["params"], variables["stats"], prepare(images, graph, dataset), train=False)[0]

    parts, on_device = [], jax.device_put(variables)
    for start in range(0, len(rows), size):
        images = dataset.valid.images[rows[start : start + size]]
        filled = np.concatenate([images, np.zeros((size - len(images), *images.shape[1:]), images.dtype)])
        parts.append(np.asarray(outputs(on_device, filled))[: len(images)])
    return task.postprocess(np.concatenate(parts))["probability"]


def _maps(arch: Arch, variables: Variables, dataset: Dataset, images: np.ndarray, classes: np.ndarray) -> list[np.ndarray]:
    """Grad-CAM of the answers over the images, (side, side, 3) uint8."""
    import jax.numpy as jnp

    from nas.explain.shown import pictures
    from nas.train.score import prepare

    graph = lower(arch)
    return pictures(graph, variables, images, np.asarray(prepare(jnp.asarray(images), graph, dataset)), classes)


def chosen(labels: np.ndarray, found: np.ndarray, probability: np.ndarray) -> list[int]:
    """Up to `SAMPLES` rows: half of them right, of as many classes as there are; half wrong, those that it was surest of."""
    sure = probability.max(1)
    wrong = [i for i in np.argsort(-sure, kind="stable").tolist() if labels[i] != found[i]][: SAMPLES // 2]
    right, seen = [], set[int]()
    for again in (False, True):  # the first of each class, and then others
        for i in np.flatnonzero(labels == found).tolist():
            if len(right) + len(wrong) < SAMPLES and i not in right and (again or int(labels[i]) not in seen):
                right.append(i)
                seen.add(int(labels[i]))
    return right + wrong


def _png(image: np.ndarray) -> str:
    from PIL import Image

    array = image[..., 0] if image.shape[2] == 1 else image
    picture, file = Image.fromarray(array), io.BytesIO()
    if max(picture.size) > SIDE:
        picture.thumbnail((SIDE, SIDE))
    picture.save(file, "png")
    return base64.b64encode(file.getvalue()).decode()

