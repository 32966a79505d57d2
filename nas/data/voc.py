"""VOC's annotations: an XML file an image, with the name and the box of each object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np

from nas.core.settings import did_you_mean
from nas.data.boxes import Boxes, BoxSettings, Objects, numbered, objects_of
from nas.data.dataset import Dataset, Part, assemble, existing_path
from nas.data.files import IMAGE_FOLDERS, Found, composed, counted, find_images, inventory, part_of_folders
from nas.data.forms import part_of_files
from nas.data.split_lists import FOLDER, split_lists
from nas.data.xml_tree import read_xml

EXPECTED = "a folder with Annotations/*.xml, JPEGImages/ and ImageSets/Main/train.txt, or train/ and val/ of images and XML files"
CORNERS = ("xmin", "ymin", "xmax", "ymax")


@dataclass(frozen=True)
class Voc(BoxSettings):
    """Boxes of VOC XML files.

    Args:
        path: A folder with Annotations/, JPEGImages/ and, where there, ImageSets/Main/{train,val,test}.txt; or with train/, val/ and
            test/ of images and XML files.
        one_based: Whether pixels count from 1 and the last one is within the box, as in VOC's own files: its edges are xmin - 1 and
            xmax then. Otherwise the numbers are the edges.
    """

    path: str | None = None
    one_based: bool = False

    def load(self) -> Dataset:
        root = existing_path(self.path, EXPECTED)
        found = find_images(root)
        files = [path for path in found.others if path.suffix.lower() == ".xml"]
        if not files:
            raise ValueError(f"path: {root} has no *.xml; expected {EXPECTED}; found {inventory(root)}")
        parts, left_out = _parts(root, files)
        images = _Images(found.images, root)
        read = {key: [_annotation(path) for path in paths] for key, paths in parts.items()}
        names = self.classes or tuple(sorted({name for one in read["train"] for name in one.names}))
        if not names:
            raise ValueError(f"path: {root}: no image of the training part has an object")
        made = {key: self._part(paths, read[key], images, names) for key, paths in parts.items()}
        unused = [path for path in found.images if path not in images.used]
        others = tuple(path for path in found.others if path not in set(files) and FOLDER not in path.relative_to(root).parts)
        left_out += counted("image without an annotation", unused, "images without annotations")
        return assemble("voc", self, made, names, left_out=[*left_out, *Found((), others, found.hidden).left_out()])

    def _part(self, paths: Sequence[Path], read: Sequence[_Annotation], images: _Images, names: Sequence[str]) -> Part:
        files = [images.of(path, one.filename) for path, one in zip(paths, read, strict=True)]
        objects = [_objects(path, one, names, self.one_based) for path, one in zip(paths, read, strict=True)]

        def place(row: int) -> str:
            return str(paths[row])

        return part_of_files(files, Boxes(objects, tuple(names), place, self.strict), place)


@dataclass(frozen=True)
class _Annotation:
    """What a file says, before classes have numbers."""

    names: list[str]
    boxes: list[list[float]]
    difficult: list[bool]
    size: tuple[int, int] | None
    filename: str


def _parts(root: Path, files: Sequence[Path]) -> tuple[dict[str, list[Path]], list[str]]:
    """(XML files by part, lines on those of no part): of the lists, or of folders, or all for training."""
    lists = split_lists(root, "Main")
    if not lists:
        parts: dict[str, list[Path]] = {}
        for path in files:
            parts.setdefault(part_of_folders(path.relative_to(root)) or "", []).append(path)
        loose = parts.pop("", [])
        if parts and "train" not in parts:
            raise ValueError(f"path: {root} has no training part; expected {EXPECTED}; found {', '.join(sorted(parts))}")
        return (parts, counted("annotation of no part", loose, "annotations of no part")) if parts else ({"train": loose}, [])
    by_name: dict[str, Path] = {}
    for path in files:
        if (name := composed(path.stem)) in by_name:
            raise ValueError(f"{path}: has the name of {by_name[name]}")
        by_name[name] = path
    for ids in lists.values():
        for name, place in ids.items():
            if name not in by_name:
                raise ValueError(f"{place}: {name} has no annotation {name}.xml{did_you_mean(name, by_name)}")
    used = {name for ids in lists.values() for name in ids}
    unlisted = [path for name, path in by_name.items() if name not in used]
    lines = counted("annotation in no list", unlisted, "annotations in no list")
    return {part: [by_name[name] for name in ids] for part, ids in lists.items()}, lines


class _Images:
    """Images by the names of their annotations."""

    def __init__(self, images: Sequence[Path], root: Path):
        self._root, self._by_name, self.used = root, dict[str, list[Path]](), set[Path]()
        for path in images:
            self._by_name.setdefault(composed(path.stem), []).append(path)

    def of(self, annotation: Path, filename: str) -> Path:
        """The image of an annotation's name, or that which it names. Raises ValueError where there is none, or several."""
        names = (composed(annotation.stem), composed(Path(filename).stem))
        found = next((self._by_name[name] for name in names if name in self._by_name), [])
        if not found:
            raise ValueError(f"{annotation}: no image {annotation.stem}.jpg, .png or the like")
        rules = (
            lambda path: path.parent == annotation.parent,
            lambda path: path.parent.name.lower() in IMAGE_FOLDERS and self._part(path) == self._part(annotation),
            lambda path: self._part(path) == self._part(annotation),
            lambda path: True,
        )
        fitting = next(some for rule in rules if (some := [path for path in found if rule(path)]))
        if len(fitting) > 1:
            raise ValueError(f"{annotation}: has several images: {fitting[0]}, {fitting[1]}")
        self.used.add(fitting[0])
        return fitting[0]

    def _part(self, path: Path) -> str | None:
        return part_of_folders(path.relative_to(self._root))


def _annotation(path: Path) -> _Annotation:
    root = read_xml(path)
    if root.tag != "annotation":
        raise ValueError(f"{path}: expected <annotation>, got <{root.tag:.40}>")
    found = _Annotation([], [], [], _size(root, path), (root.findtext("filename") or "").strip())
    for i, item in enumerate(root.findall("object"), 1):
        place = f"{path}: object {i}"
        box = item.find("bndbox")
        if box is None:
            raise ValueError(f"{place}: missing <bndbox>")
        found.names.append(composed(_text(item, "name", place)))
        found.boxes.append([_number(box, tag, place) for tag in CORNERS])
        found.difficult.append(item.find("difficult") is not None and _number(item, "difficult", place) != 0)
    return found


def _size(root: Element, path: Path) -> tuple[int, int] | None:
    """(height, width) of the image; 0, as some tools write where they do not know it, counts as none."""
    size = root.find("size")
    if size is None:
        return None
    height, width = (_number(size, tag, f"{path}: size") for tag in ("height", "width"))
    return (int(height), int(width)) if min(height, width) > 0 and max(height, width) < 2**31 else None


def _text(item: Element, tag: str, place: str) -> str:
    text = (item.findtext(tag) or "").strip()
    if not text:
        raise ValueError(f"{place}: {'missing' if item.find(tag) is None else 'empty'} <{tag}>")
    return " ".join(text.split())


def _number(item: Element, tag: str, place: str) -> float:
    text = _text(item, tag, place)
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{place}: {tag}: expected a number, got {text[:40]!r}") from None


def _objects(path: Path, found: _Annotation, names: Sequence[str], one_based: bool) -> Objects:
    boxes = np.array(found.boxes, np.float64).reshape(-1, 4) - (np.array([1, 1, 0, 0]) if one_based else 0)
    return objects_of(boxes, numbered(found.names, names, str(path)), found.difficult, size=found.size)
