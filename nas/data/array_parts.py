"""Arrays as the parts of a dataset: images with labels, masks or boxes."""

from __future__ import annotations

import io
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np
from PIL import Image

from nas.data.boxes import MOST, Boxes, objects_of
from nas.data.dataset import Dataset, DatasetSettings, Part, assemble
from nas.data.images import Fetched
from nas.data.masks import Masks, with_numbers
from nas.data.pixels import Encoded

NAMES = ("x_train", "y_train", "x_valid", "y_valid", "x_test", "y_test", "classes")
PARTS = ("train", "valid", "test")
Array: TypeAlias = np.ndarray | Sequence[np.ndarray]  # one array, or one for each image
TargetsOf: TypeAlias = Literal["label", "mask", "boxes"]
KINDS: dict[TargetsOf, str] = {"label": "labels", "mask": "masks", "boxes": "boxes"}
BOX = ("x0", "y0", "x1", "y1", "class")  # columns of boxes, in pixels


@dataclass(frozen=True)
class Kind:
    """Shape and type of an array that need not be read."""

    shape: tuple[int, ...]
    dtype: np.dtype

    def __str__(self) -> str:
        return f"{self.dtype} of shape {self.shape}"


def from_arrays(arrays: Mapping[str, Array], settings: DatasetSettings, name: str, where: str) -> Dataset:
    """The dataset of arrays by the names of `NAMES`; `where` begins errors. Raises ValueError naming the array that is wrong.

    Images are one array, or a list of arrays where they differ in size; targets are labels (n,), masks (n, h, w) of whole numbers, or
    a list of masks, or boxes: (k, 5) numbers for each image, `BOX`, as a list or as floats (n, most, 5) with class -1 in rows without
    an object.
    """
    check_kinds(where, {key: Kind(value.shape, value.dtype) for key, value in arrays.items() if isinstance(value, np.ndarray)})
    classes = arrays.get("classes")
    names = None if classes is None else [str(name) for name in classes]
    keys = [key for key in PARTS if _has(where, arrays, key)]
    images = {key: _images(f"{where}: x_{key}", arrays[f"x_{key}"]) for key in keys}
    kinds: dict[str, TargetsOf] = {key: _kind(f"{where}: y_{key}", arrays[f"y_{key}"], arrays[f"x_{key}"]) for key in keys}
    for key, kind in kinds.items():
        if kind != kinds["train"]:
            raise ValueError(f"{where}: y_{key}: expected {KINDS[kinds['train']]}, as y_train has, got {KINDS[kind]}")
    parts = {key: _part(f"{where}: y_{key}", kinds[key], images[key], arrays[f"y_{key}"]) for key in keys}
    if kinds["train"] == "mask":
        parts, names = with_numbers(parts, names)
    if kinds["train"] == "boxes":
        parts, names = _with_boxes(parts, {key: arrays[f"y_{key}"] for key in keys}, names)
    return assemble(name, settings, parts, names)


def check_kinds(where: str, kinds: Mapping[str, Kind]) -> None:
    """Raises ValueError for arrays that are no images, targets or names of classes: before a byte of them is read, of a file."""
    for key in PARTS:
        if f"x_{key}" in kinds and f"y_{key}" in kinds:
            _check_part(where, key, kinds[f"x_{key}"], kinds[f"y_{key}"])
    classes = kinds.get("classes")
    if classes is not None and (classes.dtype.kind != "U" or len(classes.shape) != 1):
        raise ValueError(f"{where}: classes: expected a list of texts, got {classes}")


def _check_part(where: str, key: str, images: Kind, targets: Kind) -> None:
    shape = (*images.shape, 1) if len(images.shape) == 3 else images.shape
    if images.dtype != np.uint8 or len(shape) != 4 or shape[3] not in (1, 3) or 0 in shape:
        raise ValueError(f"{where}: x_{key}: expected uint8 of shape (n, h, w) or (n, h, w, 1 or 3), got {images}")
    if not targets.shape or targets.shape[0] != shape[0]:
        raise ValueError(f"{where}: y_{key}: expected {shape[0]} labels as x_{key} has images, got {targets}")
    if len(targets.shape) == 3 and targets.dtype.kind in "iu" and targets.shape != shape[:3]:
        raise ValueError(f"{where}: y_{key}: expected masks of shape {shape[:3]}, as the images of x_{key}, got {targets}")


def _has(where: str, arrays: Collection[str], key: str) -> bool:
    has_images, has_targets = f"x_{key}" in arrays, f"y_{key}" in arrays
    if has_images != has_targets:
        raise ValueError(f"{where}: has only one of x_{key} and y_{key}")
    return has_images


def _images(place: str, images: Array) -> Callable[[np.ndarray], Fetched]:
    if isinstance(images, np.ndarray):
        stack = images[..., None] if images.ndim == 3 else images
        return lambda rows: stack[rows]
    for row, image in enumerate(images):
        shape, dtype = np.shape(image), getattr(image, "dtype", None)
        if dtype != np.uint8 or len(shape) not in (2, 3) or (*shape, 1)[2] not in (1, 3) or 0 in shape:
            raise ValueError(f"{place}[{row}]: expected uint8 of shape (h, w) or (h, w, 1 or 3), got {dtype} of shape {shape}")
    return lambda rows: [Encoded(f"{place}[{row}]", _encoded(images[row])) for row in rows]


def _encoded(image: np.ndarray) -> bytes:
    """An image as a file that keeps every pixel, quickly, so that one of any size is read as those of folders are."""
    content = io.BytesIO()
    Image.fromarray(image[..., 0] if image.ndim == 3 and image.shape[2] == 1 else image).save(content, "BMP")
    return content.getvalue()


def _kind(place: str, targets: Array, images: Array) -> TargetsOf:
    if len(targets) != len(images):
        raise ValueError(f"{place}: expected {len(images)} targets, as there are images, got {len(targets)}")
    if isinstance(targets, np.ndarray):
        is_boxes = targets.ndim == 3 and targets.dtype.kind == "f" and targets.shape[2] == len(BOX)
        return "boxes" if is_boxes else "mask" if targets.ndim == 3 and targets.dtype.kind in "iu" else "label"
    shapes = [np.shape(image)[:2] for image in images]
    if all(np.shape(mask) == shape and np.asarray(mask).dtype.kind in "iu" for mask, shape in zip(targets, shapes, strict=True)):
        return "mask"
    for row, boxes in enumerate(targets):
        if np.size(boxes) and (np.ndim(boxes) != 2 or np.shape(boxes)[1] != len(BOX) or np.asarray(boxes).dtype.kind not in "iuf"):
            got = f"{np.asarray(boxes).dtype} of shape {np.shape(boxes)}"
            expected = f"boxes (k, 5), {', '.join(BOX)}, or a mask as large as its image, whole numbers"
            raise ValueError(f"{place}[{row}]: expected {expected}, got {got}")
    return "boxes"


def _part(place: str, kind: TargetsOf, fetch: Callable[[np.ndarray], Fetched], targets: Array) -> Part:
    def named(row: int) -> str:
        return f"{place}[{row}]"

    if kind == "mask":
        return Part(Masks(lambda rows: [np.asarray(targets[row]) for row in rows], len(targets), named), fetch, named)
    return Part(np.zeros(0) if kind == "boxes" else np.asarray(targets), fetch, named)


def _with_boxes(
    parts: Mapping[str, Part], arrays: Mapping[str, Array], names: Sequence[str] | None
) -> tuple[dict[str, Part], tuple[str, ...]]:
    """The parts with their boxes, and the names of classes: by default those numbers that the training part has."""
    found = {key: [_rows(boxes, parts[key].place(row)) for row, boxes in enumerate(some)] for key, some in arrays.items()}
    known = tuple(names) if names is not None else tuple(map(str, range(1 + max(int(b[:, 4].max(initial=0)) for b in found["train"]))))
    made = {}
    for key, some in found.items():
        part = parts[key]
        for row, boxes in enumerate(some):
            bad = np.flatnonzero(boxes[:, 4] >= len(known))
            if len(bad):
                expected = f"0 to {len(known) - 1} ({len(known)} classes)"
                raise ValueError(f"{part.place(row)}: object {bad[0] + 1}: class {boxes[bad[0], 4]:g} is out of range; expected {expected}")
        made[key] = replace(part, targets=Boxes([objects_of(boxes[:, :4], boxes[:, 4]) for boxes in some], known, part.place))
    return made, known


def _rows(boxes: np.ndarray, place: str) -> np.ndarray:
    """(k, 5) float64 of the objects, without rows of class -1."""
    rows = np.asarray(boxes, np.float64).reshape(-1, len(BOX))
    rows = rows[rows[:, 4] != -1]
    bad = np.flatnonzero(~((rows[:, 4] >= 0) & (rows[:, 4] < MOST) & (rows[:, 4] % 1 == 0)))
    if len(bad):
        raise ValueError(f"{place}: object {bad[0] + 1}: class {rows[bad[0], 4]:g}: expected a whole number from 0 on")
    return rows
