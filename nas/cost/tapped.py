"""What heads that read several feature maps add to the costs of many genomes: which maps there are, and how long they stay in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from nas.arch.blocks import TapShapes
from nas.arch.graph import Node, Shape
from nas.cost.count import alive_bytes, product

NONE, UNREAD = -1, -2  # in place of a shape that there is not, and of one that a head does not read
Used: TypeAlias = frozenset[tuple[int, bool]]  # (stride, whether it is the expansion) of the taps that a head reads


@dataclass(frozen=True)
class Event:
    """A place where a map is halved: before a stage, in some of the genomes.

    Args:
        position: The row of the layer that halves it.
        there: (n,) whether a genome halves it here.
        stride: (n,) of the map before.
        shape: (n,) number of the shape before.
        expansion: (n,) number of the shape of the layer's expansion, or `NONE`.
    """

    position: int
    there: np.ndarray
    stride: np.ndarray
    shape: np.ndarray
    expansion: np.ndarray


@dataclass
class TapWalk:
    """The events of many genomes as their layers are walked along, and what feeds the head in the end.

    Args:
        image: (n,) pixels of the image's side.
        stride: (n,) of the image to the layer that was walked last.
        events: In the order of the stages.
        shape: (n,) number of the shape that feeds the head.
    """

    image: np.ndarray
    stride: np.ndarray
    events: list[Event] = field(default_factory=list)
    shape: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))

    def stage(self, position: int, stride: np.ndarray, shape: np.ndarray, expansion: np.ndarray) -> None:
        """Notes the first layer of a stage: its strides, the shapes before it and its expansions'."""
        self.events.append(Event(position, stride > 1, self.stride.copy(), shape.copy(), expansion))
        self.stride = self.stride * stride

    def rows(self) -> np.ndarray:
        """(n, 3 + 3 events) what the taps of each genome are: image, stride and shape of the last map, then of each other.

        Of each other its stride, shape and expansion, `NONE` where there is none.
        """
        columns = [self.image, self.stride, self.shape]
        for event in self.events:
            columns += [np.where(event.there, values, NONE) for values in (event.stride, event.shape, event.expansion)]
        return np.stack(columns, 1)


def structure_of(rows: np.ndarray) -> np.ndarray:
    """(n, columns) image and strides, and where there are expansions: what decides which taps a head reads."""
    return np.concatenate([rows[:, :2], rows[:, 3::3], rows[:, 5::3] != NONE], 1)


def reduced(rows: np.ndarray, used: Used) -> np.ndarray:
    """Rows of one structure, with `UNREAD` in place of shapes that a head does not read, so that few are different."""
    out = rows.copy()
    for column in range(3, rows.shape[1], 3):
        stride = int(rows[0, column])
        for at, inner in ((column + 1, False), (column + 2, True)):
            if (stride, inner) not in used:
                out[:, at] = np.where(out[:, at] == NONE, NONE, UNREAD)
    return out


def shapes_of(row: Sequence[int], shapes: Sequence[Shape]) -> TapShapes:
    """The taps that a row of `TapWalk.rows` stands for; those that are not read have one channel."""
    image, stride, last, *rest = row

    def shape(number: int, at: int) -> Shape:
        return shapes[number] if number != UNREAD else (-(-image // at), -(-image // at), 1)

    levels = [(rest[i], rest[i + 1], rest[i + 2]) for i in range(0, len(rest), 3) if rest[i] != NONE]
    found = [(at, shape(own, at), shape(inner, at) if inner != NONE else None) for at, own, inner in levels]
    return TapShapes((image, image), (*found, (stride, shapes[last], None)))


def unread(row: Sequence[int]) -> Used:
    """The taps that a row of `reduced` has no shapes of."""
    rest = row[3:]
    return frozenset((rest[i], inner) for i in range(0, len(rest), 3) for inner in (False, True) if rest[i + 1 + inner] == UNREAD)


def used_by(nodes: Sequence[Node], taps: TapShapes) -> Used:
    """The taps that a head built by itself reads, but for the one that feeds it, which every head may."""
    names = [(stride, inner) for stride, _, shape in taps.levels for inner in ((False, True) if shape is not None else (False,))]
    read = {i for node in nodes for i in node.inputs}
    return frozenset(name for i, name in enumerate(names[:-1]) if i in read)


def peaks_of(nodes: Sequence[Node], out: int, inner: int | None) -> tuple[int, int, int, int]:
    """The most bytes alive in a layer: as it is, where its input stays to the end, where its expansion does, and where both do."""
    kept = [[], [0], [] if inner is None else [inner], [0] if inner is None else [0, inner]]
    first, second, third, fourth = (max(alive_bytes(nodes, [out, *more])[1:], default=0) for more in kept)
    return first, second, third, fourth


def memory(
    rows: np.ndarray, walk: TapWalk, peaks: np.ndarray, used: Sequence[Used], combination: np.ndarray, shapes: Sequence[Shape]
) -> np.ndarray:
    """(n,) the most bytes that are alive at once, taps kept until the head has read them.

    Args:
        rows: (positions, n) numbers of layers, the head's last.
        walk: Of the same genomes.
        peaks: (layers, 4) as `peaks_of` has them.
        used: What each combination of taps and head reads.
        combination: (n,) which of them a genome has.
        shapes: By their numbers.
    """
    n, sizes = rows.shape[1], np.array([4 * product(shape) for shape in shapes] or [0])
    events: Mapping[int, Event] = {event.position: event for event in walk.events}
    kept, best = np.zeros(n, np.int64), np.zeros(n, np.int64)
    for position, row in enumerate(rows[:-1]):
        outer, inner = np.zeros(n, bool), np.zeros(n, bool)
        if event := events.get(position):
            outer, inner = (_reads(event, used, combination, of) for of in (False, True))
        np.maximum(best, peaks[row, outer + 2 * inner] + kept, out=best)
        if event:
            kept = kept + np.where(outer, sizes[event.shape], 0) + np.where(inner, sizes[event.expansion], 0)
    return np.maximum(best, peaks[rows[-1], 0])  # the head's taps are among its inputs


def _reads(event: Event, used: Sequence[Used], combination: np.ndarray, expansion: bool) -> np.ndarray:
    """(n,) whether the head of a genome reads a tap of an event."""
    found = np.zeros(len(combination), bool)
    for number, names in enumerate(used):
        strides = [stride for stride, inner in names if inner == expansion]
        found |= (combination == number) & np.isin(event.stride, strides)
    return found & event.there & ((event.expansion != NONE) | (not expansion))
