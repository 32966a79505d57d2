"""A closer look at a network, for people: a classifier's confusion matrix and images with its answers and what they rest on; of
other tasks what `nas.evaluators.pictures` has."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from nas.arch import Arch
from nas.arch.blocks import lower
from nas.data import Dataset
from nas.evaluators.pictures import pictured
from nas.nn.weights import Variables
from nas.records import JSON
from nas.space import Space
from nas.tasks import task_of

if TYPE_CHECKING:
    import jax

    Answered: TypeAlias = tuple[np.ndarray, list[jax.Array]]

IMAGES = 5000  # of the validation split, evenly, that are looked at
BATCH = 32  # images at a time, at most: the samples fill up one batch again, which then costs less than to compile another
MATRIX = 30  # classes at most, of which a matrix can be read
SAMPLES = 12
SIDE = 64  # pixels of a sample, at most


def inspectable(network: Arch | Space, dataset: Dataset) -> bool:
    """Whether there is something to look at: probabilities of the dataset's classes, or pictures of what is predicted."""
    return task_of(network).pictures or _classifies(network, dataset)


def _classifies(network: Arch | Space, dataset: Dataset) -> bool:
    count = len(dataset.classes)
    return bool(count) and not task_of(network).pictures and "probability" in task_of(network).postprocess(np.zeros((1, count)))


def inspected(arch: Arch, variables: Variables, dataset: Dataset, batch: int) -> dict[str, JSON]:
    """What a trained network answers on the validation split. Compiles one program.

    Args:
        arch: The network.
        variables: Its weights and statistics.
        dataset: What it was trained on.
        batch: Images at a time, at most.

    Returns:
        `classes` (names), `accuracy` by class (None where a class has no image), `confusion` (counts, a row a true class; None
        for more than `MATRIX` classes) and `samples`: `png` and `map` (base64; the image, and Grad-CAM of the answer over it),
        `label`, `class`, `probability`. Of a task with pictures, what `nas.evaluators.pictures.pictured` gives.

    Raises:
        ValueError: The task has neither classes nor pictures.
    """
    from nas.explain.shown import grad_cam_pictures

    if task_of(arch).pictures:
        return pictured(arch, variables, dataset, min(batch, BATCH))
    if not _classifies(arch, dataset):
        raise ValueError("inspect: the task has no classes")
    count = len(dataset.valid)
    rows = np.arange(count) if count <= IMAGES else np.linspace(0, count - 1, IMAGES).astype(int)
    run = _program(arch, variables, dataset, min(batch, count, BATCH))
    probability = task_of(arch).postprocess(np.concatenate([logits for logits, _ in run(rows)]))["probability"]
    labels, found = np.asarray(dataset.valid.targets)[rows], probability.argmax(1)
    classes = len(dataset.classes)
    matrix = np.bincount(labels * classes + found, minlength=classes**2).reshape(classes, classes)
    images = matrix.sum(1)
    samples = chosen(labels, found, probability)
    pixels, of_samples = dataset.valid.images[rows[samples]], zip(*(maps for _, maps in run(rows[samples])), strict=True)
    maps = grad_cam_pictures(lower(arch), variables, pixels, [np.concatenate(parts) for parts in of_samples], found[samples], SIDE)
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


def _program(arch: Arch, variables: Variables, dataset: Dataset, size: int) -> Callable[[np.ndarray], Iterator[Answered]]:
    """From rows of the validation split to (logits, values of the last feature map) of `size` images at a time."""
    import jax

    from nas.explain.taps import logits_and_maps
    from nas.train.score import prepare

    graph, on_device = lower(arch), jax.device_put(variables)

    @jax.jit
    def outputs(variables: Variables, images: jax.Array) -> tuple[jax.Array, list[jax.Array]]:
        return logits_and_maps(graph, variables, prepare(images, graph, dataset))

    def run(rows: np.ndarray) -> Iterator[Answered]:
        for start in range(0, len(rows), size):
            images = dataset.valid.images[rows[start : start + size]]
            filled = np.concatenate([images, np.zeros((size - len(images), *images.shape[1:]), images.dtype)])
            logits, maps = outputs(on_device, filled)
            yield np.asarray(logits)[: len(images)], [one[: len(images)] for one in maps]

    return run


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

