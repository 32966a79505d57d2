"""Images not yet read: how large they become, and whether they are read at once or as batches need them, from their headers."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np

from nas.core.memory import machine_memory
from nas.data.images import Fetched, common_form, formats_of
from nas.data.pixels import Encoded, Format, Resize, parsed, upright_size
from nas.data.statistics import SURVEYED, evenly, pieces
from nas.data.stream import Groups, Streamed
from nas.records import TargetSpec

STREAM_ABOVE = 0.5  # fraction of this machine's memory
GUESSED = 16  # images whose headers say how large a dataset is


@dataclass(frozen=True)
class Part:
    """Images not yet read, with their targets.

    Args:
        targets: (n,) labels or numbers, or (n, ...); or `Spatial`.
        fetch: Sorted row numbers -> their images.
        place: Row number -> its name for errors.
        groups: Where rows are read in groups.
        encoded: Whether images are files, or rows of files, as cameras and programs write them; arrays are not.
    """

    targets: np.ndarray | Spatial
    fetch: Callable[[np.ndarray], Fetched]
    place: Callable[[int], str]
    groups: Groups | None = None
    encoded: bool = False

    @property
    def array(self) -> np.ndarray:
        """Targets that are no `Spatial`."""
        assert isinstance(self.targets, np.ndarray), "asked of labels and numbers alone"
        return self.targets

    def pieces(self, rows: np.ndarray) -> Iterator[np.ndarray]:
        """Sorted rows, few at once, so that memory stays small; those that are read in groups, group by group."""
        if self.groups is None:
            yield from pieces(rows) if len(rows) else ()
            return
        starts = np.unique(self.groups.of[rows], return_index=True)[1]
        yield from np.split(rows, starts[1:]) if len(rows) else ()


class Spatial(ABC):
    """Targets that lie in the image: masks, boxes. They become square as it does, so they are made when its rule is known."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def placed(self, chosen: Chosen, size: int, rule: Resize) -> tuple[TargetSpec, dict[str, np.ndarray], list[str]]:
        """The targets of all splits; called of those of the training part.

        Args:
            chosen: The part and the sorted rows of each split. The targets of every part are of this class.
            size: Side of the square images in pixels.
            rule: How they become square.

        Returns:
            What the targets are, those of each split, and lines on what is left out.

        Raises:
            ValueError: Naming the file, row or object that is wrong.
        """


def part_of_files(files: Sequence[Path], targets: np.ndarray | Spatial, place: Callable[[int], str] | None = None) -> Part:
    """A part whose images are files; `place`: None: errors name the file of the image."""

    def fetch(rows: np.ndarray) -> list[Encoded]:
        return [Encoded(str(files[row]), files[row]) for row in rows]

    return Part(targets, fetch, place or (lambda row: str(files[row])), encoded=True)


Chosen: TypeAlias = Mapping[str, tuple[Part, np.ndarray]]  # by part: where its images are, and which rows it has


def sized(chosen: Chosen, resolution: int | None, published: int | None, rule: Resize) -> tuple[int | None, Resize]:
    """(resolution, rule) with the published side as resolution where images need one; those that stay as found stay whole."""
    if resolution is not None or published is None:
        return resolution, rule
    try:
        sides = {side for one in _surveyed(chosen) for side in (one.height, one.width)}
    except ValueError:
        return None, rule  # reading them all names every broken image
    if len(sides) == 1 and max(sides) <= published:
        return None, parsed(rule)[0]
    return published, rule


def _surveyed(chosen: Chosen) -> Iterator[Format]:
    """Size and colors of all images, or `SURVEYED` of each part; few at once, so that memory stays small."""
    for key, (part, rows) in chosen.items():
        for some in part.pieces(evenly(rows, SURVEYED)):
            yield from formats_of(key, part.fetch(some))


def sizes_of(part: Part, rows: np.ndarray) -> np.ndarray:
    """(rows, 2) int64 height and width of upright images, from their headers. Raises ValueError naming a broken one."""
    sizes: list[tuple[int, int]] = []
    for some in part.pieces(rows):
        found = part.fetch(some)
        sizes += [found.shape[1:3]] * len(some) if isinstance(found, np.ndarray) else [upright_size(item) for item in found]
    return np.array(sizes, np.int64).reshape(-1, 2)


def is_streamed(chosen: Chosen, resolution: int | None, stream: bool | None) -> bool:
    """What `stream` says, or whether the images, by a few of them, would take more than half of the memory."""
    if stream is not None:
        return stream
    part, rows = chosen["train"]
    try:
        formats = formats_of("train", part.fetch(evenly(rows, GUESSED)))
    except ValueError:
        return False  # reading them all names every broken image
    size = resolution or max(max(one.height, one.width) for one in formats)
    channels = max(one.channels for one in formats)
    count = sum(len(rows) for _, rows in chosen.values())
    expected, have = count * size * size * channels, machine_memory()
    if expected <= STREAM_ABOVE * have:
        return False
    logging.getLogger("nas").warning(
        "dataset: %s images of %dx%dx%d would take %.1f of %.1f GiB of memory: they are streamed (dataset.stream=false reads them all)",
        f"{count:,}", size, size, channels, expected / 2**30, have / 2**30,
    )  # fmt: skip
    return True


def streamed(chosen: Chosen, resolution: int | None, rule: Resize, memory: int, channels: int | None = None) -> dict[str, Streamed]:
    """Size and colors are those of the images looked at: all, or `SURVEYED` of each part; what differs later is an error then."""
    size, channels = common_form(list(_surveyed(chosen)), resolution, channels)
    return {
        key: Streamed(rows, size, channels, part.fetch, part.groups, memory, resolution is None, rule)
        for key, (part, rows) in chosen.items()
    }
