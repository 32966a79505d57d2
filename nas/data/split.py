"""Which rows go where: stratified, seeded, and a pure function of labels and seed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import numpy as np

TEST_FRACTION = 0.2
TEST_SEED = (20, 0)  # fixed: whatever split_seed is, the test images are the same and none is trained on


class Sizes(Protocol):
    """The settings that say how many images each part has."""

    @property
    def train_size(self) -> int | None: ...
    @property
    def test_size(self) -> int | None: ...
    @property
    def valid_size(self) -> int | None: ...
    @property
    def valid_fraction(self) -> float: ...
    @property
    def split_seed(self) -> int: ...


def stratified_order(labels: np.ndarray, seed: Sequence[int]) -> np.ndarray:
    """All rows, ordered so that every prefix holds the classes in proportion; returns (n,) int64 row numbers.

    The r-th row of a class with m rows is placed at (r + 1/2) / m, so a prefix is an apportionment by
    Sainte-Lague; the first row of every class comes before all others. Shorter prefixes lie within longer ones.
    """
    rows = np.random.default_rng(seed).permutation(len(labels))
    by_class = rows[np.argsort(labels[rows], kind="stable")]
    _, starts, counts = np.unique(labels[by_class], return_index=True, return_counts=True)
    rank = np.arange(len(rows)) - np.repeat(starts, counts)
    key = (rank + 0.5) / np.repeat(counts, counts) - (rank == 0)
    return by_class[np.argsort(key, kind="stable")]


def split_off(
    labels: np.ndarray, rows: np.ndarray, count: int, seed: Sequence[int], classes: Sequence[str], part: str
) -> tuple[np.ndarray, np.ndarray]:
    """`count` of the `rows` for `part`, and the rest; both sorted, both with at least one row of every class.

    `labels` are those of all rows, (n,). Raises ValueError naming a class that is too small to be in both.
    """
    order = rows[stratified_order(labels[rows], seed)]
    taken, rest = np.sort(order[:count]), np.sort(order[count:])
    for side in (taken, rest):
        missing = np.setdiff1d(np.arange(len(classes)), labels[side])
        if len(missing):
            have = int(np.sum(labels[rows] == missing[0]))
            raise ValueError(
                f"class {classes[missing[0]]}: {have} image{'s' * (have != 1)} to share between training and {part}, "
                f"where {part} takes {count} of {len(rows)}; too few"
            )
    return taken, rest


def subset(labels: np.ndarray, rows: np.ndarray, count: int, seed: Sequence[int]) -> np.ndarray:
    """`count` of the `rows`, sorted, the classes in proportion."""
    return np.sort(rows[stratified_order(labels[rows], seed)[:count]])


def choose_rows(
    labels: Mapping[str, np.ndarray], settings: Sizes, names: Sequence[str]
) -> dict[str, np.ndarray]:
    """The rows of each split: of the parts that there are, and of those that are split off them."""
    rows = {key: np.arange(len(part)) for key, part in labels.items()}
    train = labels["train"]
    if "test" not in rows:
        count = max(len(names), round(TEST_FRACTION * len(train)))
        rows["test"], rows["train"] = split_off(train, rows["train"], count, TEST_SEED, names, "test")
    if settings.train_size is not None:
        least = len(names) * (1 if "valid" in rows else 2)
        check_size("train_size", settings.train_size, least, len(rows["train"]), "images of the training part")
        rows["train"] = subset(train, rows["train"], settings.train_size, (settings.split_seed, 1))
    if "valid" not in rows:
        rows["valid"], rows["train"] = _split_validation(train, rows["train"], settings, names)
    elif settings.valid_size is not None:
        seed = (settings.split_seed, 3)
        rows["valid"] = _shrunk("valid", settings.valid_size, labels["valid"], rows["valid"], seed)
    if settings.test_size is not None:
        rows["test"] = _shrunk("test", settings.test_size, labels.get("test", train), rows["test"], TEST_SEED)
    return rows


def _split_validation(
    labels: np.ndarray, rows: np.ndarray, settings: Sizes, names: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    key, count = "valid_size", settings.valid_size
    if count is None:
        key, count = "valid_fraction", max(len(names), round(settings.valid_fraction * len(rows)))
    check_size(key, count, len(names), len(rows) - len(names), "images for validation")
    return split_off(labels, rows, count, (settings.split_seed, 2), names, "validation")


def _shrunk(part: str, size: int, labels: np.ndarray, rows: np.ndarray, seed: Sequence[int]) -> np.ndarray:
    check_size(f"{part}_size", size, 1, len(rows), f"images of the {part} part")
    return subset(labels, rows, size, seed)


def check_size(key: str, size: int, least: int, most: int, what: str) -> None:
    """Raises ValueError naming the setting where a size is out of range."""
    if not least <= size <= most:
        raise ValueError(f"{key}: expected {least} to {most} {what}, got {size}")


def not_taken(settings: Sizes, sizes: Mapping[str, int], rows: Mapping[str, np.ndarray]) -> Iterator[str]:
    """Lines on images that the settings leave out."""
    of = {key: [key, *(other for other in rows if other not in sizes)] if key == "train" else [key] for key in sizes}
    for key, sources in of.items():
        if left := sizes[key] - sum(len(rows[source]) for source in sources if source in rows):
            named = [f"dataset.{part}_size" for part in sources if getattr(settings, f"{part}_size") is not None]
            yield f"{left:,} of {sizes[key]:,} images of the {key} part by {' and '.join(named)}"
