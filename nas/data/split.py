"""Which rows go where: stratified, seeded, and a pure function of labels and seed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


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
