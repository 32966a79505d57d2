"""What stands beside weights of the data that they were trained with."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from nas.data.dataset import Dataset
from nas.data.pixels import Resize, parsed

KEY = "data"  # under which settings of workers and journals hold a record
MAX_SIDE = 8192


@dataclass(frozen=True)
class DataRecord:
    """What a network was trained with. It travels with the weights, and everything later asks it instead of the dataset.

    Args:
        classes: Names by label; empty where targets are no labels.
        mean: Per channel, of images / 255.
        std: The same.
        resolution: Side of the images in pixels.
        channels: 1 for gray images, 3 for color.
        resize: The rule by which images are made square.
        digest: Of the content, as `Dataset.digest` gives it.

    Raises:
        ValueError: For values that no training leaves.
    """

    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resolution: int
    channels: int
    resize: Resize
    digest: str

    def __post_init__(self) -> None:
        if not all(isinstance(name, str) for name in self.classes):
            raise ValueError("classes: expected names")
        if not all(_is_number(value) for value in (*self.mean, *self.std)) or 0 in self.std:
            raise ValueError("mean, std: expected numbers, std other than 0")
        for key, most in (("resolution", MAX_SIDE), ("channels", MAX_SIDE)):
            value = getattr(self, key)
            if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
                raise ValueError(f"{key}: expected 1 to {most}, got {value!r}")
        if not len(self.mean) == len(self.std) == self.channels:
            raise ValueError(f"mean, std: expected {self.channels} numbers each, as there are channels")
        parsed(self.resize)
        if not isinstance(self.digest, str):
            raise ValueError("digest: expected text")

    def plain(self) -> dict[str, Any]:
        """As JSON has it; `record_from` reads it."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    def check(self, dataset: Dataset) -> None:
        """Raises ValueError where the dataset has other classes or channels: its labels would mean something else."""
        if dataset.classes != self.classes:
            raise ValueError(
                f"dataset: {dataset.name} has the classes {_listed(dataset.classes)}, the network was trained on {_listed(self.classes)}"
            )
        if dataset.channels != self.channels:
            raise ValueError(
                f"dataset: {dataset.name} has {dataset.channels} channels, the network was trained on {self.channels}"
            )

    def same(self, dataset: Dataset) -> Dataset:
        """The dataset, normalized as the record says. Raises ValueError where its content is another."""
        if dataset.digest != self.digest:
            raise ValueError(f"dataset: the images or labels of {dataset.name} changed since the run began")
        return self.normalized(dataset)

    def normalized(self, dataset: Dataset) -> Dataset:
        """The dataset with the mean and std of the training. Raises ValueError as `check`."""
        self.check(dataset)
        return replace(dataset, mean=self.mean, std=self.std)


def record_of(dataset: Dataset) -> DataRecord:
    """The record of a training on the dataset."""
    d = dataset
    return DataRecord(d.classes, d.mean, d.std, d.resolution, d.channels, d.resize, d.digest)


def record_from(found: Mapping[str, Any]) -> DataRecord:
    """The record among the keys of a result.json or a bundle.json. Raises ValueError naming what is missing or wrong."""
    keys = DataRecord.__dataclass_fields__
    if missing := [key for key in keys if key not in found]:
        raise ValueError(f"has no {missing[0]}, which this nas reads; train the network anew")
    for key in ("classes", "mean", "std"):
        if not isinstance(found[key], list | tuple):
            raise ValueError(f"{key}: expected a list")
    values: dict[str, Any] = {key: tuple(found[key]) if isinstance(found[key], list) else found[key] for key in keys}
    return DataRecord(**values)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _listed(classes: tuple[str, ...]) -> str:
    return ", ".join(classes[:5]) + (", .." if len(classes) > 5 else "")
