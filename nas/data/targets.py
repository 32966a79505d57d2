"""Checks of targets when a dataset is read: labels, numbers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from nas.records import TargetSpec


def numbers(targets: np.ndarray, place: Callable[[int], str], target: TargetSpec) -> np.ndarray:
    """Targets that are no labels. Raises ValueError naming the first row that is not finite."""
    if targets.dtype.kind not in "iuf" or targets.shape[1:] != target.shape or not len(targets):
        expected = f"numbers of shape (n, *{target.shape})"
        raise ValueError(f"{place(0)}: expected {expected}, got {targets.dtype} of shape {targets.shape}")
    bad = np.flatnonzero(~np.isfinite(targets).all(tuple(range(1, targets.ndim))))
    if len(bad):
        raise ValueError(f"{place(int(bad[0]))}: expected finite numbers, got {targets[bad[0]]}")
    return targets


def whole_labels(labels: np.ndarray, place: Callable[[int], str]) -> np.ndarray:
    """Labels as (n,) int64; (n, 1) and whole floats are taken too. Raises ValueError naming the first bad row."""
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or labels.dtype.kind not in "iuf" or not len(labels):
        raise ValueError(
            f"{place(0)}: expected labels as whole numbers of shape (images,), got {labels.dtype} of shape {labels.shape}"
        )
    bad = np.flatnonzero(~(np.isfinite(labels) & (labels == np.floor(labels)) & (labels < 2**31)))
    if len(bad):
        raise ValueError(f"{place(int(bad[0]))}: label {labels[bad[0]]} is not a whole number below 2**31")
    return labels.astype(np.int64)


def names_from(labels: np.ndarray, place: Callable[[int], str]) -> tuple[str, ...]:
    """The labels themselves as names. Raises ValueError where they are not 0, 1, 2 .. without a gap."""
    check_range(labels, int(labels.max()) + 1, place)
    found = np.unique(labels)
    # Compared with the labels that exist, not counted up to the largest, which may be absurd.
    gaps = np.flatnonzero(found != np.arange(len(found)))
    if len(gaps):
        raise ValueError(
            f"class {gaps[0]} has no image: labels run from {found[0]} to {found[-1]}, expected every number from 0 on"
        )
    return tuple(str(label) for label in found)


def check_range(labels: np.ndarray, count: int, place: Callable[[int], str]) -> None:
    """Raises ValueError naming the first row whose label is not from 0 to `count` - 1."""
    bad = np.flatnonzero((labels < 0) | (labels >= count))
    if len(bad):
        expected = f"0 to {count - 1} ({count} classes)" if labels[bad[0]] >= 0 else "0 or more"
        raise ValueError(f"{place(int(bad[0]))}: label {labels[bad[0]]} is out of range; expected {expected}")
