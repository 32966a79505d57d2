"""What a dataset holds, as a command prints it before it trains."""

from __future__ import annotations

import numpy as np

from nas.data.boxes import CLASS, counts_of
from nas.data.boxes import IGNORED as IGNORED_BOX
from nas.data.dataset import Dataset
from nas.data.masks import IGNORED
from nas.data.statistics import PIECE

NAMED = 10
UNEQUAL = 3  # times
PARTS = ("train", "valid", "test")


def described(dataset: Dataset) -> list[str]:
    """Lines: images of each part and the classes, then what was left out and why.

    Example:
        >>> from nas.data import load_dataset
        >>> described(load_dataset({"name": "digits", "train_size": 500}))[0]
        'images: 400 train, 100 valid, 359 test; 8x8, gray; 10 classes: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9'
    """
    parts = ", ".join(f"{len(getattr(dataset, part)):,} {part}" for part in PARTS)
    size = f"{dataset.resolution}x{dataset.resolution}, {'gray' if dataset.channels == 1 else 'color'}"
    names = f"; {len(dataset.classes)} classes: {_listed(dataset.classes)}" if dataset.classes else ""
    if dataset.target.kind == "identity":
        names = f"; classes that no other part has: {', '.join(f'{_classes(dataset, part)} {part}' for part in PARTS)}"
    return [f"images: {parts}; {size}{names}", *_about_targets(dataset), *(f"left out: {line}" for line in dataset.left_out)]


def _classes(dataset: Dataset, part: str) -> str:
    return f"{len(np.unique(getattr(dataset, part).targets)):,}"


def _about_targets(dataset: Dataset) -> list[str]:
    if dataset.target.kind == "mask":
        return [_pixels(dataset)]
    if dataset.target.kind == "boxes":
        return [_objects(dataset)]
    return _imbalance(dataset) if dataset.target.kind == "label" else []


def _objects(dataset: Dataset) -> str:
    """Objects of each part, and in training of each class, the largest first."""
    counts = {part: counts_of(getattr(dataset, part).targets, dataset.classes) for part in PARTS}
    parts = ", ".join(f"{sum(found.values()):,} {part}" for part, found in counts.items())
    order = sorted(counts["train"].items(), key=lambda item: -item[1])
    shown = ", ".join(f"{name} {count:,}" for name, count in order[:NAMED])
    none = [name for name, count in order if not count]
    more = f"; without one: {_listed(tuple(none))}" if none else ""
    targets = dataset.train.targets
    empty = int((targets[..., CLASS] < 0).all(1).sum())
    without = f"; {empty:,} training image{'s' * (empty != 1)} without objects" if empty else ""
    ignored = sum(int((getattr(dataset, part).targets[..., IGNORED_BOX] > 0).sum()) for part in PARTS)
    crowds = f"; {ignored:,} ignored" if ignored else ""
    most = f"at most {targets.shape[1]} an image"
    return f"objects: {parts}; {most}; in training {shown}{', ..' if len(order) > NAMED else ''}{more}{without}{crowds}"


def _pixels(dataset: Dataset) -> str:
    """Fractions of the training pixels, the largest classes first."""
    masks, counts = dataset.train.targets, np.zeros(IGNORED + 1, np.int64)
    for start in range(0, len(masks), PIECE):
        counts += np.bincount(masks[start : start + PIECE].ravel(), minlength=IGNORED + 1)
    fractions = 100 * counts / max(counts.sum(), 1)
    order = np.argsort(-fractions[: len(dataset.classes)], kind="stable").tolist()
    shown = ", ".join(f"{dataset.classes[i]} {fractions[i]:.3g}" for i in order[:NAMED])
    none = [dataset.classes[i] for i in order if not counts[i]]
    more = f"; without a pixel: {_listed(tuple(none))}" if none else ""
    return f"pixels in training, %: {shown}{', ..' if len(order) > NAMED else ''}; ignored {fractions[IGNORED]:.3g}{more}"


def _imbalance(dataset: Dataset) -> list[str]:
    """A line where the largest class has `UNEQUAL` times the images of the smallest."""
    if not dataset.classes:
        return []
    counts = np.bincount(dataset.train.targets, minlength=len(dataset.classes))
    low, high = int(counts.argmin()), int(counts.argmax())
    if counts[high] < UNEQUAL * counts[low]:
        return []
    sizes = ", ".join(f"{dataset.classes[i]} {counts[i]:,}" for i in (high, low))
    return [f"classes of unequal size: {sizes} training images; balanced_accuracy counts all classes alike"]


def _listed(classes: tuple[str, ...]) -> str:
    return ", ".join(classes[:NAMED]) + (", .." if len(classes) > NAMED else "")
