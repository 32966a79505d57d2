"""Boxes of objects: the columns of their targets, and the way from pixels of an image to fractions of the square that it becomes.

A target has `COLUMNS` numbers for each of `most` rows, the objects first: Y0, X0, Y1, X1 in fractions of the resized image; CLASS from
0 on, -1 in rows without an object; IGNORED, 1 for what counts neither for nor against a network (COCO's crowds, VOC's difficult
objects); AREA of the object in pixels of the original image, 0 without one; PIXELS of the original that the whole square covers, the
same in all rows of an image, so that the area of any box there is its fraction times PIXELS.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from nas.core.settings import did_you_mean
from nas.data.dataset import StreamSettings
from nas.data.forms import Chosen, Spatial, sizes_of
from nas.data.images import check_memory
from nas.data.pixels import Resize, window
from nas.records import TargetSpec

Y0, X0, Y1, X1, CLASS, IGNORED, AREA, PIXELS = range(8)
COLUMNS = 8
MOST = 10_000  # objects of an image: one image sets the size of all targets
FARTHEST = 1e18  # pixels, beyond which a number is no place in an image
ROUNDED = 0.5  # pixels beyond the border that are taken for rounding: clipped, not counted
NAMED = 3  # objects, or classes, that a line names


@dataclass(frozen=True)
class BoxSettings(StreamSettings):
    """The settings of boxes.

    Args:
        classes: Names of the classes in their order; None: as the annotations have them.
        strict: Whether boxes that would be dropped or clipped, and counted, are an error.
    """

    classes: tuple[str, ...] | None = None
    strict: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_classes(self.classes)


def check_classes(classes: Sequence[str] | None) -> None:
    """Raises ValueError for names that appear twice, and for none."""
    names = list(classes or ())
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"classes: the name {twice[0]!r} appears twice")
    if classes is not None and not names:
        raise ValueError("classes: expected one or more names, or null")


class Objects(NamedTuple):
    """The objects of one image, as its annotation has them.

    boxes: (k, 4) float64, x0, y0, x1, y1 of their edges in pixels of the upright image, or fractions of it. classes: (k,) int64.
    ignored: (k,) bool. area: (k,) float64 in pixels; NaN: that of the box. numbers: (k,) int64, which errors name. size: height and
    width of the image, where the annotation has them.
    """

    boxes: np.ndarray
    classes: np.ndarray
    ignored: np.ndarray
    area: np.ndarray
    numbers: np.ndarray
    size: tuple[int, int] | None = None


def objects_of(
    boxes: ArrayLike, classes: ArrayLike, ignored: ArrayLike | None = None, area: ArrayLike | None = None,
    numbers: ArrayLike | None = None, size: tuple[int, int] | None = None,
) -> Objects:  # fmt: skip
    """`Objects` of lists; by default nothing is ignored, areas are those of the boxes, and objects are numbered from 1 on."""
    edges = np.array(boxes, np.float64).reshape(-1, 4)
    count = len(edges)
    return Objects(
        edges,
        np.array(classes, np.int64),
        np.zeros(count, bool) if ignored is None else np.array(ignored, bool),
        np.full(count, np.nan) if area is None else np.array(area, np.float64),
        np.arange(1, count + 1) if numbers is None else np.array(numbers, np.int64),
        size,
    )


def numbered(found: Sequence[str], names: Sequence[str], place: str, noun: str = "object") -> list[int]:
    """Numbers of the classes that objects are of. Raises ValueError naming the first that is of none."""
    number = {name: i for i, name in enumerate(names)}
    for i, name in enumerate(found, 1):
        if name not in number:
            known = ", ".join(names[:NAMED]) + (", .." if len(names) > NAMED else "")
            raise ValueError(f"{place}: {noun} {i}: no class {name[:40]!r}{did_you_mean(name, names)} (classes: {known})")
    return [number[name] for name in found]


@dataclass
class _Faults:
    """Objects that are dropped or clipped: how many for each reason, and the first of them."""

    counts: dict[str, int] = field(default_factory=dict)
    first: dict[str, list[str]] = field(default_factory=dict)

    def add(self, reason: str, which: np.ndarray, named: Callable[[int], str]) -> None:
        found = np.flatnonzero(which).tolist()
        if found:
            self.counts[reason] = self.counts.get(reason, 0) + len(found)
            shown = self.first.setdefault(reason, [])
            shown += [named(i) for i in found[: NAMED - len(shown)]]

    def lines(self) -> list[str]:
        return [
            f"{count:,} {SAID[reason][count != 1]}: {'; '.join(self.first[reason])}{'; ..' if count > NAMED else ''}"
            for reason, count in self.counts.items()
        ]


FLAT, OUTSIDE, BEYOND, CROPPED = "flat", "outside", "beyond", "cropped"
SAID = {
    FLAT: ("box without area", "boxes without area"),
    OUTSIDE: ("box outside its image", "boxes outside their images"),
    BEYOND: ("box beyond the border of its image, clipped", "boxes beyond the border of their images, clipped"),
    CROPPED: ("box whose center dataset.resize crops", "boxes whose center dataset.resize crops"),
}


@dataclass(frozen=True, eq=False)
class Boxes(Spatial):
    """The objects of the images of a part.

    Args:
        objects: Of each image.
        names: Of the classes.
        place: Row number -> the name of its annotation for errors.
        strict: Whether a box without area, or beyond the border of its image, is an error.
        relative: Whether boxes are fractions of their image.
        noun: What `Objects.numbers` number.

    Raises:
        ValueError: Naming an object whose box is nowhere, or an image with too many.
    """

    objects: Sequence[Objects]
    names: tuple[str, ...]
    place: Callable[[int], str]
    strict: bool = False
    relative: bool = False
    noun: str = "object"

    def __post_init__(self) -> None:
        for row, one in enumerate(self.objects):
            if len(one.boxes) > MOST:
                raise ValueError(f"{self.place(row)}: {len(one.boxes):,} objects; expected at most {MOST:,}")
            bad = np.flatnonzero(~(np.abs(one.boxes) < FARTHEST).all(1))
            if len(bad):
                raise ValueError(f"{self._named(row, int(bad[0]))}; expected numbers of pixels, below {FARTHEST:.0e}")

    def __len__(self) -> int:
        return len(self.objects)

    def placed(self, chosen: Chosen, size: int, rule: Resize) -> tuple[TargetSpec, dict[str, np.ndarray], list[str]]:
        """(n, most, 8) float32, with the `most` objects that an image of any split has, at least 1.

        Boxes are clipped to the image, and then to what `rule` keeps of it; those without area, outside, or whose center is cropped
        are dropped. What is ignored is kept wherever it can be seen.
        """
        faults = _Faults()
        found = {key: [*_of(part.targets)._rows(rows, sizes_of(part, rows), rule, faults)] for key, (part, rows) in chosen.items()}
        most = max(1, *(len(rows) for some in found.values() for rows, _ in some))
        count = sum(len(some) for some in found.values())
        check_memory(count * most * COLUMNS * 4, f"{most} boxes for each of {count} images")
        arrays = {key: _padded(some, most) for key, some in found.items()}
        return TargetSpec("boxes", (most, COLUMNS), "float32"), arrays, faults.lines()

    def _rows(
        self, rows: np.ndarray, sizes: np.ndarray, rule: Resize, faults: _Faults
    ) -> Iterator[tuple[np.ndarray, int]]:
        """(objects as rows of targets, pixels of the square) of each image."""
        for row, (height, width) in zip(rows.tolist(), sizes.tolist(), strict=True):
            one = self.objects[row]
            if one.size not in (None, (height, width)):
                stated = f"{one.size[1]}x{one.size[0]}"
                raise ValueError(f"{self.place(row)}: states {stated} pixels, where the image has {width}x{height}")
            yield self._of_image(one, row, height, width, rule, faults), int(np.prod(window(width, height, rule)[2:]))

    def _of_image(self, one: Objects, row: int, height: int, width: int, rule: Resize, faults: _Faults) -> np.ndarray:
        whole = np.array([width, height, width, height], np.float64)
        boxes = one.boxes * whole if self.relative else one.boxes
        inside = boxes.clip(0, whole)
        flat, empty = _area(boxes, signed=True) <= 0, _area(inside) <= 0
        beyond = (np.abs(inside - boxes) > ROUNDED).any(1)
        of_crop, seen, cropped = _cropped(inside, one.ignored, width, height, rule)
        fates = {FLAT: flat, OUTSIDE: empty & ~flat, BEYOND: beyond & ~empty & ~flat}
        for reason, which in fates.items():
            if self.strict and which.any():
                first = self._named(row, int(np.flatnonzero(which)[0]))
                raise ValueError(f"{first}: {SAID[reason][0]} of {width}x{height}; dataset.strict=false drops or clips it")
            faults.add(reason, which, lambda i: self._named(row, i))
        faults.add(CROPPED, cropped & ~empty & ~flat, lambda i: self._named(row, i))
        kept = ~(flat | empty | cropped)
        area = np.where(np.isnan(one.area), _area(inside), one.area) * seen
        columns = of_crop[:, [1, 0, 3, 2]], one.classes[:, None], one.ignored[:, None], area[:, None]
        return np.concatenate(columns, 1)[kept]

    def _named(self, row: int, i: int) -> str:
        """Where an object is, for errors."""
        one = self.objects[row]
        box = ", ".join(f"{value:g}" for value in one.boxes[i])
        return f"{self.place(row)}: {self.noun} {one.numbers[i]} ({self.names[one.classes[i]]}): {box}"


def _of(targets: object) -> Boxes:
    assert isinstance(targets, Boxes)
    return targets


def _area(boxes: np.ndarray, signed: bool = False) -> np.ndarray:
    """(k,) of (k, 4); 0 or less where a side is; `signed`: below 0 where one is inverted."""
    sides = boxes[:, 2:] - boxes[:, :2]
    return np.where((sides > 0).all(1), sides.prod(1), -1.0 if signed else 0.0)


def _cropped(
    boxes: np.ndarray, ignored: np.ndarray, width: int, height: int, rule: Resize
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(boxes in fractions of the square, the fraction of each that can be seen, whether it is dropped)."""
    left, top, wide, high = window(width, height, rule)
    corner, side = np.array([left, top]), np.array([wide, high])
    center = ((boxes[:, :2] + boxes[:, 2:]) / 2 - corner) / side
    moved = (boxes - np.tile(corner, 2)) / np.tile(side, 2)
    clipped = moved.clip(0, 1)
    seen = _area(clipped) / np.maximum(_area(moved), np.finfo(float).tiny)
    lost = ((center < 0) | (center > 1)).any(1) & ~ignored
    return clipped, seen, lost | ((seen <= 0) & (_area(moved) > 0))


def _padded(found: Sequence[tuple[np.ndarray, int]], most: int) -> np.ndarray:
    out = np.zeros((len(found), most, COLUMNS), np.float32)
    out[..., CLASS] = -1
    for target, (rows, pixels) in zip(out, found, strict=True):
        target[: len(rows), :PIXELS] = rows
        target[:, PIXELS] = pixels
    return out


def counts_of(targets: np.ndarray, names: Sequence[str]) -> Mapping[str, int]:
    """Objects of each class in (n, most, 8) targets, without those that are ignored."""
    counted = targets[(targets[..., CLASS] >= 0) & (targets[..., IGNORED] == 0)]
    return dict(zip(names, np.bincount(counted[:, CLASS].astype(int), minlength=len(names)).tolist(), strict=True))
