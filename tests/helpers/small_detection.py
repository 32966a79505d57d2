"""A training of a detector of about a second: bright squares and bars on 12 x 12 pixels, found on one map by four boxes a pixel."""

from __future__ import annotations

import numpy as np

from nas.arch import Arch, Block, Stage
from nas.data import Dataset, Split
from nas.recipe import Augment, Recipe
from nas.records import TargetSpec

SIDE, MOST = 12, 2


DETECTOR = Arch(
    name="detector",
    resolution=SIDE,
    stem=Block.of("conv", width=8, stride=2),
    stages=(Stage((Block.of("conv", width=16),)),),
    head=Block.of("ssdlite", scales="auto", widths=(), boxes=4),
    channels=1,
    classes=2,
)
RECIPE = Recipe(
    epochs=10, batch=16, lr=0.02, optimizer="adamw", dtype="float32", augment=Augment(flip=False, crop_padding=0)
)


def objects(count: int, seed: int) -> Split:
    """Images (count, 12, 12, 1) with up to two objects: squares of 4 pixels, class 0, and bars of 4 x 8, class 1."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 60, (count, SIDE, SIDE, 1), np.uint8)
    targets = np.zeros((count, MOST, 8), np.float32)
    targets[..., 4], targets[..., 7] = -1, SIDE * SIDE
    for i in range(count):
        for j in range(int(rng.integers(0, MOST + 1))):
            label = int(rng.integers(2))
            h, w = (4, 4) if label == 0 else (4, 8)
            y, x = 6 * j + int(rng.integers(0, 3)), int(rng.integers(0, SIDE - w + 1))
            images[i, y : y + h, x : x + w] = 255
            targets[i, j, :7] = y / SIDE, x / SIDE, (y + h) / SIDE, (x + w) / SIDE, label, 0, h * w
    return Split(images, targets)


def dataset() -> Dataset:
    parts = objects(128, 0), objects(24, 1), objects(12, 2)
    spec = TargetSpec("boxes", (MOST, 8), "float32")
    return Dataset("objects", ("square", "bar"), *parts, SIDE, 1, (0.3,), (0.3,), spec)
