"""Batches of P classes with K images each, for losses that compare the images of a batch."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np


def class_batches(labels: np.ndarray, batch: int, per_class: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """One epoch of row numbers: as many batches as the images fill, no image twice in one.

    Classes come in random order, each as often as another, however many images it has; the images of a class come one after the
    other. A class with fewer than `per_class` images gives all of them; where a batch has room for more than that of every
    class, they give more.

    Args:
        labels: (n,) class of each image.
        batch: Rows at a time; of fewer images, all of them are one batch.
        per_class: Images of each class in a batch, of the last one perhaps fewer.
        rng: The order.

    Yields:
        (batch,) row numbers, those of a class side by side.

    Raises:
        ValueError: Where no class has two images, so that there are no pairs, or there is one class.

    Example:
        >>> labels = np.repeat(np.arange(5), 4)
        >>> [np.unique(labels[rows], return_counts=True)[1].tolist() for rows in class_batches(labels, 6, 3, np.random.default_rng(0))]
        [[3, 3], [3, 3], [3, 3]]
    """
    order = rng.permutation(len(labels))
    by_label = order[np.argsort(labels[order], kind="stable")]
    _, starts, counts = np.unique(labels[by_label], return_index=True, return_counts=True)
    if len(counts) < 2 or counts.max() < 2:
        raise ValueError("batches of pairs need two classes, and one with two images or more")
    decks, size = _Decks(np.split(by_label, starts[1:]), rng), min(batch, len(labels))
    for _ in range(len(labels) // size):
        yield decks.batch(size, per_class)


class _Decks:
    """The images of each class, dealt one after the other, and the classes that come next."""

    def __init__(self, decks: list[np.ndarray], rng: np.random.Generator):
        self._decks, self._rng = decks, rng
        self._next = [0] * len(decks)
        self._queue: list[int] = []

    def batch(self, size: int, per_class: int) -> np.ndarray:
        dealt = [0] * len(self._decks)
        used: set[int] = set()
        parts, left = [], size
        while left:
            deck = self._class(used)
            used.add(deck)
            count = min(per_class, len(self._decks[deck]) - dealt[deck], left)
            parts.append(self._deal(deck, count))
            dealt[deck] += count
            left -= count
            if len(used) == len(self._decks):  # all are in it: they give more, but those that have no more
                used = {i for i, cards in enumerate(self._decks) if dealt[i] == len(cards)}
        return np.concatenate(parts)

    def _class(self, used: set[int]) -> int:
        """The next class that is not in the batch."""
        found = next((i for i in self._queue if i not in used), None)
        if found is None:
            self._queue += self._rng.permutation(len(self._decks)).tolist()
            found = next(i for i in self._queue if i not in used)
        self._queue.remove(found)
        return found

    def _deal(self, deck: int, count: int) -> np.ndarray:
        cards, first = self._decks[deck], self._next[deck]
        self._next[deck] = (first + count) % len(cards)
        return cards[(first + np.arange(count)) % len(cards)]
