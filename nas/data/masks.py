"""Masks: the class of each pixel, from PNG files or arrays, made square by nearest neighbor as their images are.

    parts = {"train": Part(Masks(fetch, count, place), images, place)}
    parts, names = with_numbers(parts, ("sky", "road", "void"), ignore="void")     # 0: sky, 1: road, 2 and 255: ignored
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from nas.core.settings import did_you_mean
from nas.data.forms import Chosen, Part, Spatial, sizes_of
from nas.data.images import check_memory, listed
from nas.data.pixels import Encoded, Resize, mask_numbers, squared
from nas.records import TargetSpec

IGNORED = 255  # pixels that do not count: in masks of the source, and in those that a network is trained on
MOST = 255  # classes, numbered from 0
LEVELS = 2**16  # numbers that a pixel of a PNG can have
UNKNOWN = -1
SOME = 8  # numbers that a line names

Names = Sequence[str] | Mapping[int | str, str] | None
Ignore = int | str | Sequence[int | str] | None


@dataclass(frozen=True, eq=False)
class Numbers:
    """What the numbers of pixels mean.

    Args:
        names: Of the classes.
        table: (65536,) int16: the class of each number, 255 where it is ignored, -1 where it means nothing.
    """

    names: tuple[str, ...]
    table: np.ndarray

    @classmethod
    def of(cls, classes: Names, ignore: Ignore = None, instances: bool = False, found: Iterable[int] = ()) -> Numbers:
        """The meaning that settings give.

        Args:
            classes: Names by number: a list from 0 on, or a mapping where numbers have gaps; None: the numbers that masks have.
            ignore: Numbers, or names of classes, whose pixels do not count; 255 never does.
            instances: Whether each object has a number of its own: all above 0 are class 1.
            found: The numbers that masks have, for `classes` of None.

        Raises:
            ValueError: Naming the setting: numbers out of range, names that are unknown or appear twice, fewer than two classes.
        """
        if classes is None:
            classes = ["background", "object"] if instances else {number: str(number) for number in found}
        numbered = classes.items() if isinstance(classes, Mapping) else enumerate(classes)
        named = dict(sorted((_number(key), name) for key, name in numbered))
        _check_names(named)
        if instances and [*named] != [0, 1]:
            raise ValueError(f"classes: expected two, what is 0 and what is not, with instances=true, got {len(named)}")
        ignored = _ignored(ignore, named)
        kept = {number: name for number, name in named.items() if number not in ignored}
        if not 2 <= len(kept) <= MOST:
            raise ValueError(f"classes: expected 2 to {MOST} that are not ignored, got {len(kept)} ({_listed(kept.values())})")
        table = np.full(LEVELS, UNKNOWN, np.int16)
        table[[*kept]] = np.arange(len(kept))
        if instances:
            table[1:] = 1
        table[[*ignored]] = IGNORED
        return cls(tuple(kept.values()), table)

    def classes_of(self, found: np.ndarray, place: str) -> np.ndarray:
        """(h, w) uint8 classes of (h, w) numbers. Raises ValueError naming `place` and the first number that means nothing."""
        classes = self.table[found]
        if classes.min(initial=0) < 0:
            y, x = np.argwhere(classes == UNKNOWN)[0]
            number = found[y, x]
            raise ValueError(
                f"{place}: the pixel in row {y}, column {x} has the number {number}; expected {self._known()}; "
                f"dataset.classes names it, dataset.ignore={number} leaves it out"
            )
        return classes.astype(np.uint8)

    def _known(self) -> str:
        known = np.flatnonzero((self.table != UNKNOWN) & (self.table != IGNORED))
        run = f"0 to {known[-1]}" if len(known) == known[-1] + 1 else _listed(map(str, known))
        return f"{run} ({len(self.names)} classes) or {IGNORED}"


def _number(key: int | str) -> int:
    """The number of a class; JSON has it as text."""
    try:
        return int(key)
    except ValueError:
        raise ValueError(f"classes: {key!r:.40} is no number of a class; expected a list of names, or names by number") from None


def _check_names(named: Mapping[int, str]) -> None:
    for number in named:
        if not 0 <= number < LEVELS or number == IGNORED:
            raise ValueError(f"classes: {number} is no number of a class; expected 0 to {LEVELS - 1}, but {IGNORED}, which is ignored")
    names = [*named.values()]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"classes: the name {twice[0]!r} appears twice")


def _ignored(ignore: Ignore, named: Mapping[int, str]) -> set[int]:
    """The numbers whose pixels do not count."""
    given = [] if ignore is None else [ignore] if isinstance(ignore, int | str) else ignore
    by_name = {name: number for number, name in named.items()}
    for one in given:
        if isinstance(one, str) and one not in by_name:
            raise ValueError(f"ignore: no class {one!r}{did_you_mean(one, by_name)} (classes: {_listed(by_name)})")
        if isinstance(one, int) and not 0 <= one < LEVELS:
            raise ValueError(f"ignore: expected 0 to {LEVELS - 1}, or the name of a class, got {one}")
    return {by_name[one] if isinstance(one, str) else one for one in given} | {IGNORED}


def _listed(names: Iterable[str]) -> str:
    shown = [*names]
    return ", ".join(shown[:SOME]) + (", .." if len(shown) > SOME else "") or "none"


@dataclass(frozen=True, eq=False)
class Masks(Spatial):
    """Masks not yet read.

    Args:
        fetch: Sorted row numbers -> their masks: PNG files, or (h, w) whole numbers.
        count: How many there are.
        place: Row number -> its name for errors.
        numbers: What their numbers mean; `with_numbers` sets it.
    """

    fetch: Callable[[np.ndarray], Sequence[Encoded | np.ndarray]]
    count: int
    place: Callable[[int], str]
    numbers: Numbers | None = None

    def __len__(self) -> int:
        return self.count

    def placed(self, chosen: Chosen, size: int, rule: Resize) -> tuple[TargetSpec, dict[str, np.ndarray], list[str]]:
        """(n, size, size) uint8, resized by nearest neighbor; what is padded is 255."""
        count = sum(len(rows) for _, rows in chosen.values())
        check_memory(count * size * size, f"masks of {count} images of {size}x{size}")
        found = {key: _stack(part, rows, size, rule) for key, (part, rows) in chosen.items()}
        if wrong := [text for _, some in found.values() for text in some]:
            raise ValueError(listed(wrong, "masks"))
        arrays = {key: stack for key, (stack, _) in found.items()}
        return TargetSpec("mask", (size, size), "uint8"), arrays, []


def with_numbers(
    parts: Mapping[str, Part], classes: Names, ignore: Ignore = None, instances: bool = False
) -> tuple[dict[str, Part], tuple[str, ...]]:
    """Parts whose masks mean what `Numbers.of` says of the settings, and the names of the classes."""
    found = _numbers_of(parts.values()) if classes is None and not instances else ()
    numbers = Numbers.of(classes, ignore, instances, found)
    return {key: replace(part, targets=replace(_masks(part), numbers=numbers)) for key, part in parts.items()}, numbers.names


def _masks(part: Part) -> Masks:
    assert isinstance(part.targets, Masks)
    return part.targets


def _numbers_of(parts: Iterable[Part]) -> list[int]:
    """The numbers that any mask has, in order, without 255; every mask is read. Raises ValueError naming the broken ones."""
    seen, wrong = np.zeros(LEVELS, bool), []
    for part in parts:
        masks = _masks(part)
        for rows in part.pieces(np.arange(len(masks))):
            for row, mask in zip(rows, _read(masks.fetch(rows)), strict=True):
                if isinstance(mask, str):
                    wrong.append(mask)
                else:
                    seen[: int(mask.max(initial=0)) + 1] |= np.bincount(_checked(mask, masks.place(int(row))).ravel()) > 0
    if wrong:
        raise ValueError(listed(wrong, "masks"))
    seen[IGNORED] = False
    return np.flatnonzero(seen).tolist()


def _stack(part: Part, rows: np.ndarray, size: int, rule: Resize) -> tuple[np.ndarray, list[str]]:
    """(masks, what is wrong with those that are broken)."""
    masks = _masks(part)
    out, wrong, done = np.empty((len(rows), size, size), np.uint8), [], 0
    for some in part.pieces(rows):
        for row, mask, shape in zip(some, _read(masks.fetch(some)), sizes_of(part, some), strict=True):
            try:
                out[done] = _square(mask, masks, int(row), shape, size, rule)
            except ValueError as error:
                wrong.append(str(error))
            done += 1
    return out, wrong


def _read(found: Iterable[Encoded | np.ndarray]) -> Iterable[np.ndarray | str]:
    """The numbers of each mask, or what is wrong with it."""
    for item in found:
        if isinstance(item, np.ndarray):
            yield item
            continue
        try:
            yield mask_numbers(item)
        except ValueError as error:
            yield str(error)


def _checked(mask: np.ndarray, place: str) -> np.ndarray:
    if mask.size and (mask.min() < 0 or mask.max() >= LEVELS):
        raise ValueError(f"{place}: numbers from {mask.min()} to {mask.max()}; expected 0 to {LEVELS - 1}")
    return mask


def _square(mask: np.ndarray | str, masks: Masks, row: int, shape: np.ndarray, size: int, rule: Resize) -> np.ndarray:
    """(size, size) uint8 of one mask, whose image has this height and width. Raises ValueError for what does not fit."""
    if isinstance(mask, str):
        raise ValueError(mask)
    place, (height, width) = masks.place(row), shape
    if mask.shape != (height, width):
        raise ValueError(f"{place}: {mask.shape[1]}x{mask.shape[0]} pixels, where the image has {width}x{height}")
    assert masks.numbers is not None, "`with_numbers` comes first"
    classes = masks.numbers.classes_of(_checked(mask, place), place)
    return np.asarray(squared(Image.fromarray(classes), size, rule, Image.Resampling.NEAREST))
