"""A training of embeddings of well under a second: bars, each of whose places is a class, on 6 x 6 pixels."""

from __future__ import annotations

import dataclasses

import numpy as np

from nas.arch import Block, Stage
from nas.data import Dataset, Split
from nas.recipe import Augment, EmbeddingLoss, Recipe
from nas.records import IDENTITY
from small_training import SMALL

EMBEDDER = dataclasses.replace(
    SMALL, stages=(Stage((Block.of("conv", width=4),), stride=2),), head=Block.of("embedding", size=4, pool=False), classes=4
)
RECIPE = Recipe(epochs=2, batch=16, lr=0.05, augment=Augment(), embedding=EmbeddingLoss(per_class=4))
CLASSES = {"train": range(6), "valid": range(6, 9), "test": range(9, 12)}


def places(classes: range, each: int, seed: int) -> Split:
    """Images (n, 6, 6, 1) with a bright row (classes 0 to 5) or column (6 to 11)."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.array(classes, np.int32), each)
    images = rng.integers(0, 60, (len(labels), 6, 6, 1), np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[(label,) if label < 6 else (slice(None), label - 6)] = 255
    return Split(images, labels)


def dataset() -> Dataset:
    train, valid, test = (places(classes, 8 if part == "train" else 4, i) for i, (part, classes) in enumerate(CLASSES.items()))
    return Dataset("places", (), train, valid, test, 6, 1, (0.3,), (0.3,), IDENTITY)
