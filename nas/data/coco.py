"""COCO's annotations: a JSON file a part, with images, categories and the boxes of objects."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from nas.core.jsonio import parse_json
from nas.core.settings import did_you_mean
from nas.data.boxes import FARTHEST, MOST, Boxes, BoxSettings, Objects, numbered, objects_of
from nas.data.dataset import Dataset, Part, assemble, existing_path
from nas.data.files import PARTS, Found, composed, counted, find_images, inventory, part_of, part_of_folders
from nas.data.forms import part_of_files

EXPECTED = "a folder with annotations/instances_train*.json, instances_val*.json and the images, or train/*.json beside images"
MAX_BYTES = 2**31
KEYS = ("images", "annotations", "categories")


@dataclass(frozen=True)
class Coco(BoxSettings):
    """Boxes of COCO JSON files.

    Args:
        path: A folder with JSON files whose name, or folder, says their part: annotations/instances_train2017.json; and the images.
        annotations: Files by part, from `path`, where their names do not say it: {train: a.json, valid: b.json}.
    """

    path: str | None = None
    annotations: Mapping[str, str] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for key in self.annotations or ():
            if part_of(key) is None:
                raise ValueError(f"annotations: {key!r} is no part{did_you_mean(key, PARTS)}; expected train, valid or test")
        if self.annotations is not None and "train" not in map(part_of, self.annotations):
            raise ValueError("annotations: expected a file for train, or null")

    def load(self) -> Dataset:
        root = existing_path(self.path, EXPECTED)
        found = find_images(root)
        files = _stated(root, self.annotations) if self.annotations else _files(root, found.others)
        read = {part: _File(path, _read(path)) for part, path in files.items()}
        left_out = [line for part in [*read] if part != "train" for line in _without(read, part)]
        names = self.classes or tuple(read["train"].categories.values())
        images = _Images(found.images, root)
        parts = {part: self._part(file, part, images, names) for part, file in read.items()}
        unused = [path for path in found.images if path not in images.used]
        others = tuple(path for path in found.others if path not in files.values())
        left_out += counted("image without an annotation", unused, "images without annotations")
        return assemble("coco", self, parts, names, left_out=[*left_out, *Found((), others, found.hidden).left_out()])

    def _part(self, file: _File, part: str, images: _Images, names: Sequence[str]) -> Part:
        entries = [*file.images()]
        paths = [images.of(entry, file.path, part) for entry in entries]
        objects = file.objects(entries, names)

        def place(row: int) -> str:
            return f"{file.path}: image {entries[row].name}"

        return part_of_files(paths, Boxes(objects, tuple(names), place, self.strict, noun="annotation"), place)


def _stated(root: Path, annotations: Mapping[str, str]) -> dict[str, Path]:
    files = {part: root / name for key, name in annotations.items() if (part := part_of(key))}
    for part, path in files.items():
        if not path.is_file():
            raise ValueError(f"annotations: {part}: no file {path}")
    return files


def _files(root: Path, others: Sequence[Path]) -> dict[str, Path]:
    """The JSON file of each part: by the words of its name, or its folder; of several, that of instances."""
    found = [path for path in others if path.suffix.lower() == ".json"]
    if len(found) == 1:
        return {"train": found[0]}
    parts: dict[str, list[Path]] = {}
    for path in found:
        words = re.findall(r"[a-z]+", path.stem.lower())
        part = next(filter(None, map(part_of, words)), None) or part_of_folders(path.relative_to(root))
        if part:
            parts.setdefault(part, []).append(path)
    if "train" not in parts:
        raise ValueError(f"path: {root} has no JSON file of a training part; expected {EXPECTED}; found {inventory(root)}")
    return {part: _one(part, paths, root) for part, paths in parts.items()}


def _one(part: str, paths: Sequence[Path], root: Path) -> Path:
    chosen = [path for path in paths if "instances" in path.stem.lower()] if len(paths) > 1 else paths
    if len(chosen) != 1:
        shown = ", ".join(str(path.relative_to(root)) for path in paths[:4])
        raise ValueError(f"path: {root} has several JSON files of the part {part} ({shown}); set dataset.annotations")
    return chosen[0]


def _read(path: Path) -> Any:
    try:
        if (size := path.stat().st_size) > MAX_BYTES:
            raise ValueError(f"{path}: {size / 1e9:,.1f} GB of JSON; files of up to {MAX_BYTES / 1e9:.1f} GB are read")
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from None
    try:
        return parse_json(content)
    except ValueError as error:
        raise ValueError(f"{path}: not JSON: {' '.join(str(error).split())[:120]}") from None


def _without(read: dict[str, _File], part: str) -> list[str]:
    """Takes a part away whose file has no annotations, such as image_info_test.json; returns the line that says so."""
    file = read[part]
    if not isinstance(file.data, dict) or "annotations" in file.data or not isinstance(file.data.get("images"), list):
        return []
    del read[part]
    return [f"{len(file.data['images']):,} images of the {part} part without annotations: {file.path.name}"]


@dataclass(frozen=True)
class _Entry:
    """An image as a file lists it."""

    id: object
    name: str
    size: tuple[int, int] | None


@dataclass
class _File:
    """What a JSON file holds, checked where it is used."""

    path: Path
    data: Any
    categories: dict[object, str] = field(init=False)

    def __post_init__(self) -> None:
        if not isinstance(self.data, dict):
            raise ValueError(f"{self.path}: expected a mapping with {', '.join(KEYS)}, got {type(self.data).__name__}")
        self.categories = {}
        if "annotations" in self.data:
            self.categories = dict(sorted(self._categories(), key=lambda one: (str(type(one[0])), one[0])))
            if len(set(self.categories.values())) < len(self.categories) or not self.categories:
                raise ValueError(f"{self.path}: categories: expected one or more, each of another name")

    def _items(self, key: str) -> Iterator[tuple[str, dict[str, Any]]]:
        items = self.data.get(key)
        if not isinstance(items, list):
            raise ValueError(f"{self.path}: {key}: expected a list, got {type(items).__name__}")
        for i, item in enumerate(items):
            if not isinstance(item, dict):
                raise ValueError(f"{self.path}: {key}[{i}]: expected a mapping, got {type(item).__name__}")
            yield f"{self.path}: {key}[{i}]", item

    def _categories(self) -> Iterator[tuple[Any, str]]:
        seen = set()
        for place, item in self._items("categories"):
            name, number = composed(" ".join(_text(item, "name", place).split())), _id(item, "id", place)
            if number in seen:
                raise ValueError(f"{place}: id: {number!r} appears twice")
            seen.add(number)
            yield number, name

    def images(self) -> Iterator[_Entry]:
        seen = set()
        for place, item in self._items("images"):
            number = _id(item, "id", place)
            if number in seen:
                raise ValueError(f"{place}: id: {number!r} appears twice")
            seen.add(number)
            yield _Entry(number, _text(item, "file_name", place), _size(item, place))
        if not seen:
            raise ValueError(f"{self.path}: images: names no image")

    def objects(self, entries: Sequence[_Entry], names: Sequence[str]) -> list[Objects]:
        """The objects of each image, in the order of their annotations."""
        found: dict[object, list[tuple[list[float], str, bool, float, int]]] = {entry.id: [] for entry in entries}
        for i, (place, item) in enumerate(self._items("annotations")):
            image, category = _id(item, "image_id", place), _id(item, "category_id", place)
            if image not in found:
                raise ValueError(f"{place}: image_id: no image has the id {image!r}")
            if category not in self.categories:
                raise ValueError(f"{place}: category_id: no category has the id {category!r}")
            x, y, width, height = _numbers(item, place)
            number = item["id"] if _is_whole(item.get("id")) else i
            one = [x, y, x + width, y + height], self.categories[category], bool(item.get("iscrowd")), _area(item), number
            found[image].append(one)
            if len(found[image]) > MOST:
                raise ValueError(f"{place}: image {image!r} has more than {MOST:,} objects")
        return [self._of_image(entry, found[entry.id], names) for entry in entries]

    def _of_image(self, entry: _Entry, some: Sequence[tuple[list[float], str, bool, float, int]], names: Sequence[str]) -> Objects:
        boxes, found, crowd, area, number = zip(*some, strict=True) if some else ((),) * 5
        classes = numbered(found, names, f"{self.path}: image {entry.name}")
        return objects_of(boxes, classes, crowd, area, number, entry.size)


class _Images:
    """Images by the name and folders that annotations give."""

    def __init__(self, images: Sequence[Path], root: Path):
        self._root, self._by_name, self.used = root, dict[str, list[Path]](), set[Path]()
        for path in images:
            self._by_name.setdefault(composed(path.name), []).append(path)

    def of(self, entry: _Entry, file: Path, part: str) -> Path:
        """The image of an entry. Raises ValueError where there is none, or several."""
        parts = [composed(one) for one in PurePosixPath(entry.name.replace("\\", "/")).parts if one not in (".", "/")]
        named = self._by_name.get(parts[-1], []) if parts else []
        found = [path for path in named if [*map(composed, path.parts[-len(parts) :])] == parts]
        if not found:
            raise ValueError(f"{file}: image {entry.name[:80]}: no such file in {self._root}")
        near = [path for path in found if part_of_folders(path.relative_to(self._root)) == part]
        fitting = next(some for some in (near, found) if some)
        if len(fitting) > 1:
            raise ValueError(f"{file}: image {entry.name}: several files: {fitting[0]}, {fitting[1]}")
        if fitting[0] in self.used:
            raise ValueError(f"{file}: image {entry.name}: its file is that of another entry: {fitting[0]}")
        self.used.add(fitting[0])
        return fitting[0]


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _id(item: Mapping[str, Any], key: str, place: str) -> Any:
    value = item.get(key)
    if not _is_whole(value) and not isinstance(value, str):
        raise ValueError(f"{place}: {key}: expected a whole number, got {_shown(value)}")
    return value


def _text(item: Mapping[str, Any], key: str, place: str) -> str:
    value = item.get(key)
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{place}: {key}: expected text, got {_shown(value)}")
    return value


def _numbers(item: Mapping[str, Any], place: str) -> list[float]:
    box = item.get("bbox")
    if not isinstance(box, list) or len(box) != 4 or not all(_is_number(value) and abs(value) < FARTHEST for value in box):
        raise ValueError(f"{place}: bbox: expected four numbers, x, y, width and height, got {_shown(box)}")
    return [float(value) for value in box]


def _area(item: Mapping[str, Any]) -> float:
    """Of the object's mask, where the file has it; otherwise NaN."""
    area = item.get("area", 0)
    return float(area) if _is_number(area) and 0 < area < FARTHEST else float("nan")


def _size(item: Mapping[str, Any], place: str) -> tuple[int, int] | None:
    """(height, width), where the file has them."""
    height, width = item.get("height"), item.get("width")
    if height is None and width is None:
        return None
    for key, side in (("height", height), ("width", width)):
        if not _is_whole(side) or not 0 < int(side or 0) < 2**31:
            raise ValueError(f"{place}: {key}: expected pixels, got {_shown(side)}")
    return int(height or 0), int(width or 0)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
