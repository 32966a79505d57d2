"""Which family a detector's head is of, and heads whose default boxes follow the data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple, TypeAlias

import numpy as np

from nas.arch import AUTO, Arch, Knob
from nas.data.boxes import CLASS, IGNORED
from nas.tasks.boxes.base import Head
from nas.tasks.boxes.ssd import SsdHead, fitted_ssd, ssd_lines
from nas.tasks.boxes.yolo import YoloHead, fitted_yolo, yolo_lines

Fitted: TypeAlias = Callable[[Arch, np.ndarray, np.ndarray], Mapping[str, Knob]]
Lines: TypeAlias = Callable[[Arch, np.ndarray, np.ndarray, Sequence[str]], tuple[str, ...]]


class Family(NamedTuple):
    """Heads of one op (`nas.arch.blocks.HEADS`): what answers mean, knobs in place of `auto`, and how default boxes suit objects."""

    of: Callable[[Arch], Head]
    fitted: Fitted
    lines: Lines


FAMILIES = {
    "ssdlite": Family(SsdHead.of, fitted_ssd, ssd_lines),
    "yolo": Family(YoloHead.of, fitted_yolo, yolo_lines),
}


@lru_cache(maxsize=16)
def head_of(arch: Arch) -> Head:
    """The head of an architecture."""
    return FAMILIES[arch.head.op].of(arch)


def objects_of(targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n, most, 8) targets -> boxes (k, 4) and classes (k,) of all objects that count."""
    rows = targets[(targets[..., CLASS] >= 0) & (targets[..., IGNORED] == 0)].astype(np.float64)
    return rows[:, :4], rows[:, CLASS].astype(np.int64)


def follows_data(arch: Arch) -> bool:
    """Whether a head leaves some of its default boxes to the data."""
    return any(value == AUTO for _, value in arch.head.knobs)


def fitted_head(arch: Arch, truths: np.ndarray, labels: np.ndarray) -> Mapping[str, Knob]:
    """Values of the head's knobs in place of `auto`.

    Args:
        arch: The architecture.
        truths: (k, 4) boxes of the training split, k at least 1.
        labels: (k,) their classes.

    Raises:
        ValueError: Without a box.
    """
    return FAMILIES[arch.head.op].fitted(arch, truths, labels)


def reach_lines(arch: Arch, truths: np.ndarray, labels: np.ndarray, names: Sequence[str]) -> tuple[str, ...]:
    """Lines for people: how many objects of each class the default boxes of a head reach, and what would reach more."""
    return FAMILIES[arch.head.op].lines(arch, truths, labels, names)
