"""Arrays of the caller as a dataset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from nas.core.settings import build, did_you_mean
from nas.data.array_parts import NAMES, Array, from_arrays
from nas.data.dataset import Dataset, DatasetSettings

SETTINGS = ("resolution", "resize")


@dataclass(frozen=True)
class ArraySettings(DatasetSettings):
    """How arrays are split; they are in memory already."""

    def load(self) -> Dataset:
        raise ValueError("arrays: have no settings to load them by; pass the arrays themselves")


def dataset_of_arrays(arrays: tuple[Array, Array] | Mapping[str, Any], name: str = "arrays") -> Dataset:
    """A dataset of images and their targets.

    Args:
        arrays: `(x, y)`, of which a fifth becomes the test split and a fifth of the rest validation; or a mapping with
            `x_train`, `y_train`, and optionally `x_valid`, `y_valid`, `x_test`, `y_test`, `classes` (names), `resolution` and
            `resize` (as those of a dataset). Images are uint8 of shape (n, h, w) or (n, h, w, 1 or 3), or a list of (h, w) or
            (h, w, 1 or 3) where they differ in size. Targets are labels, whole numbers of shape (n,) from 0 on; or masks: (n, h, w)
            whole numbers, 255 where a pixel does not count, or a list of (h, w); or boxes: a list of (k, 5) for each image, x0, y0,
            x1, y1 of the edges in pixels and the class from 0 on.
        name: What it is called.

    Raises:
        ValueError: Naming the array that is wrong.
    """
    if isinstance(arrays, tuple):
        if len(arrays) != 2:
            raise ValueError(f"dataset: expected the arrays (x, y), got {len(arrays)}")
        arrays = {"x_train": arrays[0], "y_train": arrays[1]}
    known = (*NAMES, *SETTINGS)
    for key in arrays:
        if key not in known:
            raise ValueError(f"dataset: unknown array {key!r}{did_you_mean(key, known)} (known: {', '.join(known)})")
    if missing := [key for key in ("x_train", "y_train") if key not in arrays]:
        raise ValueError(f"dataset: missing array {missing[0]!r}")
    settings = build(ArraySettings, {key: arrays[key] for key in SETTINGS if key in arrays}, "dataset")
    return from_arrays({key: _array(arrays[key]) for key in arrays if key not in SETTINGS}, settings, name, "dataset")


def _array(value: Array) -> Array:
    """One array; a list of arrays stays one, since they may differ in size."""
    if isinstance(value, list | tuple) and any(np.ndim(item) >= 2 for item in value):
        return [np.asarray(item) for item in value]
    return np.asarray(value)
