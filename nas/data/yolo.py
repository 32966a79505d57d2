"""YOLO's annotations: a text file an image, with a line an object: class, center x, center y, width, height in fractions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas.core.yamlio import read_yaml
from nas.data.boxes import MOST, Boxes, BoxSettings, Objects, check_classes, objects_of
from nas.data.dataset import Dataset, Part, assemble, existing_path
from nas.data.files import IMAGE_FOLDERS, Found, composed, counted, find_images, inventory, part_of_folders
from nas.data.forms import part_of_files
from nas.data.split_lists import read_text

EXPECTED = "a folder with images/train and labels/train, or train/images and train/labels, and data.yaml or classes.txt"
LABELS = "labels"  # the folder that stands beside one of images
NAMES = ("classes.txt", "obj.names")
NUMBERS = ("class", "center x", "center y", "width", "height")
FRACTION = 2.0  # what no fraction of an image is, even of a box that leaves it


@dataclass(frozen=True)
class Yolo(BoxSettings):
    """Boxes of text files. A file of images/../x.jpg is labels/../x.txt, or x.txt beside it; an image without one has no objects.

    Args:
        path: A folder with images/ and labels/, in train/, val/ and test/, or these within the two. Names of classes are those of
            data.yaml, or the lines of classes.txt.
    """

    path: str | None = None

    def load(self) -> Dataset:
        root = existing_path(self.path, EXPECTED)
        found = find_images(root)
        texts = {path for path in found.others if path.suffix.lower() == ".txt" and path.name not in NAMES}
        if not found.images:
            raise ValueError(f"path: {root} has no images; expected {EXPECTED}; found {inventory(root)}")
        pairs = {image: _label_of(image, root, texts) for image in found.images}
        used = {label for label in pairs.values() if label}
        _check_labels(root, texts, used)
        names, source = (self.classes, None) if self.classes else _names(root, found.others)
        parts: dict[str, list[Path]] = {}
        for image in found.images:
            parts.setdefault(part_of_folders(image.relative_to(root)) or "", []).append(image)
        loose = parts.pop("", [])
        if parts and "train" not in parts:
            raise ValueError(f"path: {root} has no training part; expected {EXPECTED}; found {', '.join(sorted(parts))}")
        made = {key: self._part(images, pairs, names) for key, images in (parts or {"train": loose}).items()}
        others = tuple(path for path in found.others if path not in used and path != source)
        left_out = counted("image of no part", loose, "images of no part") if parts else []
        return assemble("yolo", self, made, names, left_out=[*left_out, *Found((), others, found.hidden).left_out()])

    def _part(self, images: Sequence[Path], pairs: dict[Path, Path | None], names: Sequence[str]) -> Part:
        objects = [_objects(pairs[image], names) for image in images]

        def place(row: int) -> str:
            return str(pairs[images[row]] or images[row])

        return part_of_files(images, Boxes(objects, tuple(names), place, self.strict, relative=True, noun="line"), place)


def _label_of(image: Path, root: Path, texts: set[Path]) -> Path | None:
    """The text file of an image: the last folder of images on the way there is one of labels; or beside it."""
    inner = image.relative_to(root).with_suffix(".txt")
    at = next((i for i in range(len(inner.parts) - 2, -1, -1) if inner.parts[i].lower() in IMAGE_FOLDERS), None)
    candidates = [root / inner]
    if at is not None:
        candidates.insert(0, root.joinpath(*inner.parts[:at], LABELS, *inner.parts[at + 1 :]))
    return next((path for path in candidates if path in texts), None)


def _check_labels(root: Path, texts: set[Path], used: set[Path]) -> None:
    """Raises ValueError where no image has objects, or a file in a folder of labels has no image."""
    if not used:
        raise ValueError(f"path: {root}: no image has a file of labels; expected {EXPECTED}; found {inventory(root)}")
    for path in sorted(texts - used):
        if LABELS in (name.lower() for name in path.relative_to(root).parts[:-1]):
            raise ValueError(f"{path}: no image {path.stem}.jpg, .png or the like")


def _names(root: Path, others: Sequence[Path]) -> tuple[tuple[str, ...], Path]:
    """(names of classes by number, the file that has them)."""
    yamls = [path for path in others if path.suffix.lower() in (".yaml", ".yml")]
    for path in sorted(yamls, key=lambda path: (path.stem != "data", len(path.parts), path)):
        if (names := _names_of(path, read_yaml(path))) is not None:
            return names, path
    for path in sorted(path for path in others if path.name in NAMES):
        names = tuple(composed(line.strip()) for line in read_text(path).splitlines() if line.strip())
        _checked(names, path)
        return names, path
    raise ValueError(f"classes: {root} has no data.yaml with names and no classes.txt; expected the names of the classes")


def _names_of(path: Path, data: Any) -> tuple[str, ...] | None:
    """`names` of a data.yaml: a list, or a mapping from numbers."""
    found = data.get("names") if isinstance(data, dict) else None
    if found is None:
        return None
    if isinstance(found, dict):
        by_number, numbers = {str(number): name for number, name in found.items()}, [str(i) for i in range(len(found))]
        if {*by_number} != {*numbers}:
            raise ValueError(f"{path}: names: expected a name for every number from 0 on")
        found = [by_number[number] for number in numbers]
    if not isinstance(found, list):
        raise ValueError(f"{path}: names: expected a list of texts, got {type(found).__name__}")
    names = tuple(composed(" ".join(str(name).split())) for name in found)
    _checked(names, path)
    return names


def _checked(names: tuple[str, ...], path: Path) -> None:
    try:
        check_classes(names)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _objects(label: Path | None, names: Sequence[str]) -> Objects:
    if label is None:
        return objects_of([], [])
    boxes, classes, numbers = [], [], []
    for number, line in enumerate(read_text(label).splitlines(), 1):
        if not (words := line.split()):
            continue
        place = f"{label}: line {number}"
        if len(words) != len(NUMBERS):
            raise ValueError(f"{place}: expected {len(NUMBERS)} numbers ({', '.join(NUMBERS)}), got {len(words)}")
        classes.append(_class(words[0], names, place))
        x, y, width, height = (_fraction(word, what, place) for word, what in zip(words[1:], NUMBERS[1:], strict=True))
        boxes.append([x - width / 2, y - height / 2, x + width / 2, y + height / 2])
        numbers.append(number)
        if len(boxes) > MOST:
            raise ValueError(f"{label}: more than {MOST:,} objects")
    return objects_of(boxes, classes, numbers=numbers)


def _class(word: str, names: Sequence[str], place: str) -> int:
    if not word.isascii() or not word.isdigit():
        raise ValueError(f"{place}: class: expected a whole number, got {word[:40]!r}")
    if len(word) > 9 or int(word) >= len(names):
        raise ValueError(f"{place}: class {word[:40]} is out of range; expected 0 to {len(names) - 1} ({len(names)} classes)")
    return int(word)


def _fraction(word: str, what: str, place: str) -> float:
    try:
        value = float(word)
    except ValueError:
        raise ValueError(f"{place}: {what}: expected a number, got {word[:40]!r}") from None
    if not abs(value) <= FRACTION:
        raise ValueError(f"{place}: {what}: expected a fraction of the image, 0 to 1, got {word[:40]}")
    return value
