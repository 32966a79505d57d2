"""Datasets larger than memory: images that are read when a batch asks for them, some batches ahead of the step, in threads.

Labels and an index of files or rows are all that is held. A folder's images are shuffled over the whole training part, as they
are in memory. Parquet files are read a row group at a time: groups come in random order, and rows are shuffled over a window
of as many groups as the memory allows; where all of them fit, that is the order in memory too. The order is a function
of seed and epoch alone, so that a killed training resumes within an epoch.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import DTypeLike

from nas.data.images import Fetched, decoded
from nas.data.pixels import Encoded, Resize

MIB = 2**20
Group: TypeAlias = Any  # a row group that was read, as its source has it
THREADS = 8  # at most so many decode at a time
SPARE = 2  # row groups held beyond the window, for threads that run ahead

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, eq=False)
class Groups:
    """Rows that are read together. of: (n,) the group of each row; bytes: (groups,), uncompressed.

    load: group -> what `pick` takes; pick: (group, that, sorted rows) -> their images.
    """

    of: np.ndarray
    bytes: np.ndarray
    load: Callable[[int], Group]
    pick: Callable[[int, Group, np.ndarray], list[Encoded]]

    def fetch(self, rows: np.ndarray, load: Callable[[int], Group] | None = None) -> list[Encoded]:
        """The images of sorted rows, one group after the other."""
        groups, starts = np.unique(self.of[rows], return_index=True)
        parts = zip(groups.tolist(), np.split(rows, starts[1:]), strict=True)
        return [image for group, mine in parts for image in self.pick(group, (load or self.load)(group), mine)]


class _Held:
    """The groups used last. Threads that want one that is being read wait for it."""

    def __init__(self, groups: Groups, count: int):
        self._groups, self._count, self._lock = groups, count, threading.Lock()
        self._held: OrderedDict[int, Future[Group]] = OrderedDict()

    def load(self, group: int) -> Group:
        with self._lock:
            found = self._held.get(group)
            mine = found is None
            if found is None:
                found = self._held[group] = Future()
            self._held.move_to_end(group)
            while len(self._held) > self._count:
                self._held.popitem(last=False)
        if mine:
            try:
                found.set_result(self._groups.load(group))
            except BaseException as error:
                found.set_exception(error)
                with self._lock:
                    self._held.pop(group, None)
        return found.result()


@dataclass(frozen=True, eq=False)
class Streamed:
    """Stands where a split has its array of images: `images[rows]` reads them, (len(rows), h, w, c) uint8.

    rows: those of the source that the split has, sorted. fetch: sorted rows -> images not yet decoded. memory_bytes: for row
    groups that are shuffled together, and for batches read ahead. as_found: images of another size are an error, not resized.
    rule: how images become square.
    """

    rows: np.ndarray
    size: int
    channels: int
    fetch: Callable[[np.ndarray], Fetched]
    groups: Groups | None
    memory_bytes: int
    as_found: bool = False
    rule: Resize = "squash"
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return len(self.rows), self.size, self.size, self.channels

    @property
    def nbytes(self) -> int:
        """What is held, without row groups."""
        return self.rows.nbytes

    def __getitem__(self, which: slice | np.ndarray | Sequence[int]) -> np.ndarray:
        expected = self.rows[which]
        order = np.argsort(expected, kind="stable")
        found = self.groups.fetch(expected[order], self._held.load) if self.groups else self.fetch(expected[order])
        images = decoded(found, self.size, self.channels, self.as_found, self.rule)
        back = np.empty_like(order)
        back[order] = np.arange(len(order))
        return images[back]

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype)

    def take(self, rows: np.ndarray) -> Streamed:
        """A part of it, as an array's rows are; they are read when they are asked for."""
        return replace(self, rows=self.rows[rows], _lock=threading.Lock())

    @cached_property
    def window(self) -> int:
        """Row groups that rows are shuffled over; 0: over all rows."""
        if self.groups is None:
            return 0
        used = np.unique(self.groups.of[self.rows])
        fit = max(int(self.memory_bytes // max(self.groups.bytes[used].max(), 1)) - SPARE, 2)
        return fit if fit < len(used) else 0

    @cached_property
    def _held(self) -> _Held:
        assert self.groups is not None
        return _Held(self.groups, (self.window or len(self.groups.bytes)) + SPARE)

    def order(self, rng: np.random.Generator) -> np.ndarray:
        """(n,) row numbers, shuffled; those of a group come within a window of `window` groups."""
        if not self.window or self.groups is None:
            return rng.permutation(len(self.rows))
        used, group = np.unique(self.groups.of[self.rows], return_inverse=True)
        place = rng.permutation(len(used))[group]
        return np.argsort(place + self.window * rng.random(len(self.rows)), kind="stable")

    def pace(self, rows: int) -> tuple[int, int]:
        """(threads, batches of `rows` images that are made ahead), within the memory."""
        threads = min(THREADS, os.cpu_count() or 1)
        batches = int(self.memory_bytes // max(2 * rows * self.size**2 * self.channels, 1))
        return threads, max(1, min(threads + 1, batches))


def prefetched(images: object, rows: int, make: Callable[[T], R], items: Iterable[T]) -> Generator[R]:
    """`make` of each item, in order; where images are streamed, some batches of `rows` images ahead, in threads."""
    if not isinstance(images, Streamed):
        yield from map(make, items)
        return
    threads, depth = images.pace(rows)
    pending: deque[Future[R]] = deque()
    with ThreadPoolExecutor(threads, "nas-read") as pool:
        try:
            for item in items:
                pending.append(pool.submit(make, item))
                if len(pending) > depth:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
