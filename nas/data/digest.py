"""A hash of what a dataset holds: images, targets, names of classes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import TypeAlias

import numpy as np

from nas.data.statistics import evenly
from nas.data.stream import Streamed

PIECE = 1024  # images that are hashed at a time
SAMPLED = 16  # streamed images whose content is looked at
Part: TypeAlias = tuple[np.ndarray | Streamed, np.ndarray]


def content_digest(form: object, parts: Iterable[Part]) -> str:
    """16 hexadecimal digits that differ where images, labels, their order or the names of classes do.

    Of images in memory every pixel counts. Of streamed ones the names and sizes of files, or the sizes of row groups, and the
    bytes of 16 images a part: times of files do not count, so that a copy is the same.

    Args:
        form: Whatever else counts, such as names of classes.
        parts: (images, targets) of each split.
    """
    digest = hashlib.sha256(repr(form).encode())
    for images, targets in parts:
        array = np.ascontiguousarray(targets)
        digest.update(repr((len(array), array.dtype.str, array.shape)).encode())
        digest.update(array.data)
        for piece in _pieces(images):
            digest.update(piece)
    return digest.hexdigest()[:16]


def _pieces(images: np.ndarray | Streamed) -> Iterator[bytes | memoryview]:
    if isinstance(images, Streamed):
        yield from _streamed(images)
        return
    yield from (np.ascontiguousarray(images[start : start + PIECE]).data for start in range(0, len(images), PIECE))


def _streamed(images: Streamed) -> Iterator[bytes]:
    if images.groups is not None:
        yield np.ascontiguousarray(images.rows).tobytes() + np.ascontiguousarray(images.groups.bytes).tobytes()
    else:
        yield from (item.described.encode() for item in images.fetch(images.rows) if not isinstance(item, np.ndarray))
    for item in images.fetch(evenly(images.rows, SAMPLED)):
        yield np.ascontiguousarray(item).tobytes() if isinstance(item, np.ndarray) else item.content
