"""What a dataset holds, as a command prints it before it trains."""

from __future__ import annotations

from nas.data.dataset import Dataset

NAMED = 10


def described(dataset: Dataset) -> list[str]:
    """Lines: images of each part and the classes, then what was left out and why.

    Example:
        >>> from nas.data import load_dataset
        >>> described(load_dataset({"name": "digits", "train_size": 500}))[0]
        'images: 400 train, 100 valid, 360 test; 8x8, gray; 10 classes: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9'
    """
    parts = ", ".join(f"{len(getattr(dataset, part)):,} {part}" for part in ("train", "valid", "test"))
    size = f"{dataset.resolution}x{dataset.resolution}, {'gray' if dataset.channels == 1 else 'color'}"
    names = f"; {len(dataset.classes)} classes: {_listed(dataset.classes)}" if dataset.classes else ""
    return [f"images: {parts}; {size}{names}", *(f"left out: {line}" for line in dataset.left_out)]


def _listed(classes: tuple[str, ...]) -> str:
    return ", ".join(classes[:NAMED]) + (", .." if len(classes) > NAMED else "")
