"""A trained network and its images, as `nas export` gets them."""

from __future__ import annotations

import numpy as np

from nas.arch import Arch, Block, Stage
from nas.arch.blocks import lower
from nas.data import Dataset, Split
from networks import settled

ARCH = Arch(
    name="net",
    resolution=8,
    stem=Block.of("conv", width=8, act="hswish"),
    stages=(Stage((Block.of("mbconv", width=8, expand=2, se=0.25),) * 2, stride=2),),
    head=Block.of("classifier", width=16, dropout=0.2),
    channels=1,
    classes=3,
)


def split(count: int, seed: int) -> Split:
    rng = np.random.default_rng(seed)
    return Split(rng.integers(0, 256, (count, 8, 8, 1), np.uint8), np.arange(count, dtype=np.int32) % 3)


DATA = Dataset("noise", ("a", "b", "c"), split(40, 0), split(9, 1), split(20, 2), 8, 1, (0.5,), (0.3,))

WEIGHTS = settled(lower(ARCH))
