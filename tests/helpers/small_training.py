"""A training of well under a second: three classes of bars on 6 x 6 pixels; and trainings that are killed."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import numpy as np

from nas.arch import Arch, Block, Stage
from nas.data import Dataset, Split
from nas.recipe import Augment, Recipe
from nas.train import Fit

SMALL = Arch(
    name="small",
    resolution=6,
    stem=Block.of("conv", width=6),
    stages=(Stage((Block.of("sepconv", width=6),), stride=2),),
    head=Block.of("classifier", dropout=0.1),
    channels=1,
    classes=3,
)

RECIPE = Recipe(epochs=3, batch=16, lr=0.1, dtype="float32", augment=Augment(crop_padding=1))


def bars(count: int, seed: int) -> Split:
    """Images (count, 6, 6, 1) with a bright row, a bright column or neither: classes 0, 1, 2."""
    rng = np.random.default_rng(seed)
    images, labels = rng.integers(0, 60, (count, 6, 6, 1), np.uint8), np.arange(count, dtype=np.int32) % 3
    for image, label, place in zip(images, labels, rng.integers(0, 6, count), strict=True):
        if label < 2:
            image[(place,) if label == 0 else (slice(None), place)] = 255
    return Split(images, labels)


def dataset(train: int = 96, valid: int = 21) -> Dataset:
    return Dataset("bars", ("row", "column", "none"), bars(train, 0), bars(valid, 1), bars(9, 2), 6, 1, (0.3,), (0.3,))


def equal(a: Any, b: Any) -> bool:
    return all(jax.tree.leaves(jax.tree.map(np.array_equal, a, b)))


EVERYTHING = dataclasses.replace(
    RECIPE, epochs=4, ema=0.9, optimizer="rmsprop", lr=0.01, schedule="staircase", validate_every=2, label_smoothing=0.1
)


class Killed(BaseException):
    pass


def killed_after(epoch: int | None, heard: list[float]) -> Any:
    def report(step: int, steps: int, metrics: dict[str, float]) -> None:
        if "epoch" in metrics:
            heard.append(metrics["epoch"])
        if epoch is not None and metrics.get("epoch") == epoch:
            raise Killed

    return report


def same(a: Fit, b: Fit) -> bool:
    return equal((a.params, a.stats), (b.params, b.stats)) and (a.metrics, a.curve) == (b.metrics, b.curve)
