"""Given weights scored on a split of a dataset."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Literal

from nas.arch.blocks import lower
from nas.data import Dataset
from nas.tasks import task_of
from nas.workflows.export import Bundle

SplitName = Literal["train", "valid", "test"]
BATCH = 256


def evaluate(bundle: Bundle, dataset: Dataset, split: SplitName = "test") -> Mapping[str, float]:
    """The metrics of a trained network on a split; its images are normalized as the network's training images were.

    Raises:
        ValueError: For classes or channels that are not the network's, and for an unknown split.
    """
    from nas.train import evaluate as score

    trained, splits = bundle.trained, {"train": dataset.train, "valid": dataset.valid, "test": dataset.test}
    if split not in splits:
        raise ValueError(f"split: expected one of {', '.join(splits)}, got {split!r}")
    if dataset.classes != trained.classes:
        raise ValueError(f"dataset: {dataset.name} has the classes {_listed(dataset.classes)}, the network {_listed(trained.classes)}")
    if dataset.channels != bundle.arch.channels:
        raise ValueError(f"dataset: {dataset.name} has {dataset.channels} channels, the network {bundle.arch.channels}")
    alike = dataclasses.replace(dataset, mean=trained.mean, std=trained.std)
    return score(lower(bundle.arch), trained.variables, splits[split], alike, BATCH, "float32", task=task_of(bundle.arch))


def _listed(classes: tuple[str, ...]) -> str:
    return ", ".join(classes[:5]) + (", .." if len(classes) > 5 else "")
