"""Scores a trained network on a split of a dataset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

from nas.arch.blocks import lower
from nas.data import Dataset
from nas.tasks import task_of
from nas.workflows.export import Bundle

SplitName = Literal["train", "valid", "test"]
BATCH = 256


def evaluate(bundle: Bundle, dataset: Dataset, split: SplitName = "test") -> Mapping[str, float]:
    """Scores a trained network on a split, whose images are normalized as its training images were.

    Args:
        bundle: A network from `load_bundle` or `trained_bundle`.
        dataset: Images and targets, with the classes and channels of the network.
        split: `train`, `valid` or `test`.

    Returns:
        The metrics of the network's task by name, such as accuracy as a fraction and loss in nats.

    Raises:
        ValueError: The classes or channels differ from the network's, or the split is unknown.
    """
    from nas.train import evaluate as score

    trained, splits = bundle.trained, {"train": dataset.train, "valid": dataset.valid, "test": dataset.test}
    if split not in splits:
        raise ValueError(f"split: expected one of {', '.join(splits)}, got {split!r}")
    named = bundle.numbered and len(dataset.classes) == len(bundle.data.classes)
    alike = (replace(bundle.data, classes=dataset.classes) if named else bundle.data).normalized(dataset)
    return score(lower(bundle.arch), trained.variables, splits[split], alike, BATCH, "float32", task=task_of(bundle.arch))
