"""Mean and standard deviation of images per channel, by which a network's input is normalized."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from nas.data.stream import Streamed, prefetched

SURVEYED = 20_000  # images of a streamed part that are looked at before it is used
PIECE = 64  # images at a time: counting takes eight bytes a pixel


def evenly(rows: np.ndarray, count: int) -> np.ndarray:
    """All rows where there are no more than `count`, else so many evenly over them."""
    return rows if len(rows) <= count else rows[np.linspace(0, len(rows) - 1, count).astype(int)]


def pieces(rows: np.ndarray) -> list[np.ndarray]:
    return np.array_split(rows, -(-len(rows) // PIECE))


def channel_statistics(images: np.ndarray | Streamed) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel of (n, h, w, c) uint8 images / 255, from their histograms.

    Exact, but for streamed images beyond `SURVEYED`, of which so many are looked at.
    """
    levels, counts = np.arange(256) / 255, np.zeros((images.shape[3], 256))
    for part in _looked_at(images):
        counts += [np.bincount(part[..., channel].ravel(), minlength=256) for channel in range(images.shape[3])]
    means, stds = [], []
    for weights in counts / counts.sum(1, keepdims=True):
        mean = float(weights @ levels)
        means.append(mean)
        stds.append(max(float(np.sqrt(weights @ (levels - mean) ** 2)), 1 / 255))
    return tuple(means), tuple(stds)


def _looked_at(images: np.ndarray | Streamed) -> Iterator[np.ndarray]:
    if isinstance(images, np.ndarray):
        yield from (images[start : start + PIECE] for start in range(0, len(images), PIECE))
        return
    rows = evenly(np.arange(len(images)), SURVEYED)
    yield from prefetched(images, PIECE, lambda mine: images[mine], pieces(rows))
