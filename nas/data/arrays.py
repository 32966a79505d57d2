"""Arrays of the caller as a dataset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from nas.core.settings import did_you_mean
from nas.data.dataset import Dataset, DatasetSettings
from nas.data.npz import NAMES, from_arrays


@dataclass(frozen=True)
class ArraySettings(DatasetSettings):
    """How arrays are split; they are in memory already."""

    def load(self) -> Dataset:
        raise ValueError("arrays: have no settings to load them by; pass the arrays themselves")


def dataset_of_arrays(arrays: tuple[np.ndarray, np.ndarray] | Mapping[str, np.ndarray], name: str = "arrays") -> Dataset:
    """A dataset of images and labels.

    Args:
        arrays: `(x, y)`, of which a fifth becomes the test split and a fifth of the rest validation; or a mapping with
            `x_train`, `y_train`, and optionally `x_valid`, `y_valid`, `x_test`, `y_test` and `classes` (names). Images are
            uint8 of shape (n, h, w) or (n, h, w, 1 or 3), labels whole numbers of shape (n,) from 0 on.
        name: What it is called.

    Raises:
        ValueError: Naming the array that is wrong.
    """
    if isinstance(arrays, tuple):
        if len(arrays) != 2:
            raise ValueError(f"dataset: expected the arrays (x, y), got {len(arrays)}")
        arrays = {"x_train": arrays[0], "y_train": arrays[1]}
    for key in arrays:
        if key not in NAMES:
            raise ValueError(f"dataset: unknown array {key!r}{did_you_mean(key, NAMES)} (known: {', '.join(NAMES)})")
    if missing := [key for key in ("x_train", "y_train") if key not in arrays]:
        raise ValueError(f"dataset: missing array {missing[0]!r}")
    return from_arrays({key: np.asarray(value) for key, value in arrays.items()}, ArraySettings(), name, "dataset")
