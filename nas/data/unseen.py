"""Splits by classes: those of validation and test are unseen in training, as recognizing new people or characters needs it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Protocol

import numpy as np

from nas.data.split import TEST_FRACTION, TEST_SEED, Sizes, check_size, subset
from nas.data.targets import check_range, whole_labels

LEAST = 2  # classes of a part, and images of a class, without which there are no two to compare


class LabeledPart(Protocol):
    """What is read of a part: labels, and how errors name a row."""

    @property
    def array(self) -> np.ndarray: ...
    @property
    def place(self) -> Callable[[int], str]: ...


def identities(parts: Mapping[str, LabeledPart], classes: Sequence[str] | None) -> dict[str, np.ndarray]:
    """Labels (n,) by part, checked. Raises ValueError naming a row, or a class that two parts have."""
    labels = {key: whole_labels(part.array, part.place) for key, part in parts.items()}
    for key, part in parts.items():
        check_range(labels[key], 2**31 if classes is None else len(classes), part.place)
    for one, other in combinations(labels, 2):
        if len(both := np.intersect1d(labels[one], labels[other])):
            name = both[0] if classes is None else classes[both[0]]
            raise ValueError(f"split: class {name} has images in {one} and in {other}; with split=classes a class is in one part alone")
    return labels


def choose_by_class(labels: Mapping[str, np.ndarray], settings: Sizes) -> dict[str, np.ndarray]:
    """The rows of each split: of the parts that there are, and whole classes that are split off the training part.

    Args:
        labels: (n,) by part.
        settings: Sizes. `valid_fraction` is of classes; sizes are of images.

    Returns:
        Sorted row numbers by split. The test classes do not depend on `split_seed`.

    Raises:
        ValueError: For sizes that do not fit, and too few classes.
    """
    rows = {key: np.arange(len(part)) for key, part in labels.items()}
    train = labels["train"]
    if "test" not in rows:
        count = max(LEAST, round(TEST_FRACTION * len(np.unique(train))))
        rows["test"], rows["train"] = _classes_off(train, rows["train"], count, TEST_SEED, "test")
    if settings.train_size is not None:
        least = LEAST * len(np.unique(train[rows["train"]]))
        check_size("train_size", settings.train_size, least, len(rows["train"]), "images of the training part")
        rows["train"] = subset(train, rows["train"], settings.train_size, (settings.split_seed, 1))
    if "valid" not in rows:
        rows["valid"], rows["train"] = _validation(train, rows["train"], settings)
    for key, seed in (("valid", (settings.split_seed, 3)), ("test", TEST_SEED)):
        of, size = labels.get(key, train), getattr(settings, f"{key}_size")
        if size is not None:
            check_size(f"{key}_size", size, LEAST * LEAST, len(rows[key]), f"images of the {key} part")
            rows[key] = subset(of, rows[key], size, seed)
        _check_pairs(key, of[rows[key]])
    _check_pairs("train", train[rows["train"]])
    return rows


def numbered(labels: Mapping[str, np.ndarray], rows: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Labels by part with new numbers: those of the training split from 0 on, so that a loss may have an entry for each."""
    order = [np.unique(labels.get(key, labels["train"])[rows[key]]) for key in ("train", "valid", "test")]
    known = np.unique(np.concatenate([*labels.values()]))
    number = np.full(len(known), -1)
    for place, label in enumerate(dict.fromkeys(np.concatenate(order).tolist())):
        number[np.searchsorted(known, label)] = place
    return {key: number[np.searchsorted(known, part)] for key, part in labels.items()}


def _validation(labels: np.ndarray, rows: np.ndarray, settings: Sizes) -> tuple[np.ndarray, np.ndarray]:
    """Classes for validation: a fraction of them, or as many as it takes for so many images."""
    classes, counts = np.unique(labels[rows], return_counts=True)
    count = round(settings.valid_fraction * len(classes))
    seed = (settings.split_seed, 2)
    if settings.valid_size is not None:
        check_size("valid_size", settings.valid_size, LEAST * LEAST, len(rows), "images for validation")
        have = np.cumsum(counts[np.random.default_rng(seed).permutation(len(classes))])
        count = int(np.searchsorted(have, settings.valid_size)) + 1
    return _classes_off(labels, rows, max(LEAST, count), seed, "validation")


def _classes_off(
    labels: np.ndarray, rows: np.ndarray, count: int, seed: Sequence[int], part: str
) -> tuple[np.ndarray, np.ndarray]:
    """The rows of `count` classes, and the rest."""
    classes = np.unique(labels[rows])
    if len(classes) - count < LEAST:
        raise ValueError(
            f"split: {len(classes)} classes to share between training and {part}, where {part} takes {count}; too few"
        )
    taken = np.isin(labels[rows], classes[np.random.default_rng(seed).permutation(len(classes))[:count]])
    return rows[taken], rows[~taken]


def _check_pairs(part: str, labels: np.ndarray) -> None:
    counts = np.unique(labels, return_counts=True)[1]
    if len(counts) < LEAST or counts.max() < LEAST:
        raise ValueError(f"split: the {part} part has {len(counts)} classes of at most {counts.max()} images; pairs need two of each")
