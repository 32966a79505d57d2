"""Folders of images: a folder a class, in parts or not, or a CSV of files and labels beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from nas.core.settings import did_you_mean
from nas.data.csv_labels import Labeled, read_csv
from nas.data.dataset import Dataset, Part, StreamSettings, assemble, existing_path
from nas.data.files import Found, composed, counted, find_images, folders, inventory, part_of
from nas.data.forms import part_of_files
from nas.data.pixels import SUFFIXES

EXPECTED = (
    f"a folder with a folder of images a class (*{', *'.join(SUFFIXES)}), or train/ and test/ of such, or a CSV of files and labels"
)
# What else may lie there, and the dataset that reads it.
READ_BY = {".parquet": "parquet", ".arrow": "parquet", ".npz": "npz", ".gz": "fashion_mnist"}


@dataclass(frozen=True)
class Folder(StreamSettings):
    """Your own images. With <path>/train/<class> there may be test/<class> and valid/<class> beside it."""

    path: str | None = None

    def load(self) -> Dataset:
        root = existing_path(self.path, EXPECTED)
        labeled, left_out = _labeled(root, _part_roots(root))
        known = [*labeled.values()] if self.split == "classes" else [labeled["train"]]
        classes = sorted({one.label for some in known for one in some})
        parts = {key: _part(some, classes) for key, some in labeled.items() if some}
        return assemble("folder", self, parts, classes, left_out=left_out)


def _labeled(root: Path, roots: Mapping[str, Path]) -> tuple[dict[str, list[Labeled]], list[str]]:
    """(images and labels by part, lines on what is left out): of class folders, or where there are not two, of a CSV."""
    listed, everything = _Listed(), find_images(root)
    has_csv = any(path.suffix.lower() == ".csv" for path in everything.others)
    try:
        labeled = {key: listed.classes(part_root, key != "train") for key, part_root in roots.items()}
    except ValueError:
        if everything.images and not has_csv:
            raise
        labeled = {"train": []}
    if not labeled["train"] or (has_csv and len({one.label for one in labeled["train"]}) < 2):
        labeled, listed = _from_csv(root, roots)
    return labeled, listed.left_out


def _part_roots(root: Path) -> dict[str, Path]:
    """Part -> its folder. A `train` that holds images itself is a class that happens to be called so."""
    named = [folder for folder in folders(root) if part_of(folder.name) == "train"]
    has_csv = named and (_has_csv(root) or _has_csv(named[0])) and all(part_of(folder.name) for folder in folders(root))
    if not named or not (folders(named[0]) or has_csv):
        return {"train": root}
    roots: dict[str, Path] = {}
    for folder in folders(root):
        part = part_of(folder.name)
        if part is None or part in roots:
            raise ValueError(f"{folder}: beside {named[0]} expected only test and valid")
        roots[part] = folder
    return roots


@dataclass
class _Listed:
    """What was found, file by file, and lines on what is left out."""

    left_out: list[str] = field(default_factory=list)

    def classes(self, root: Path, may_lack_labels: bool) -> list[Labeled]:
        """Images of the class folders of a part. Raises ValueError for a folder without images."""
        everything = find_images(root)
        named = folders(root)
        loose = [path for path in everything.images if path.parent == root]
        if not named:
            if may_lack_labels and loose:
                self.left_out += counted(f"image of {root.name}/ without a label", loose, f"images of {root.name}/ without labels")
                return []
            if may_lack_labels and not _has_csv(root):
                raise ValueError(f"{root}: no class folders")
            return []
        labeled = [Labeled(path, composed(folder.name), "", str(path)) for folder in named for path in self._images(folder)]
        self.left_out += Found((), everything.others, everything.hidden).left_out()
        self.left_out += counted("image beside the class folders", loose, "images beside the class folders")
        return labeled

    def _images(self, folder: Path) -> Sequence[Path]:
        found = find_images(folder).images
        if not found:
            raise ValueError(f"{folder}: class without images; expected *{', *'.join(SUFFIXES)}, found {inventory(folder)}")
        return found


def _has_csv(folder: Path) -> bool:
    return any(path.suffix.lower() == ".csv" for path in folder.iterdir())


def _from_csv(root: Path, roots: Mapping[str, Path]) -> tuple[dict[str, list[Labeled]], _Listed]:
    """Images and labels by part. Raises ValueError where no CSV has labels of images that are there."""
    everything, listed, labeled = find_images(root), _Listed(), {}
    why = [_read_csv(path, everything, roots, labeled) for path in everything.others if path.suffix.lower() == ".csv"]
    if not labeled.get("train"):
        raise ValueError(f"path: {root} has no class folders; expected {EXPECTED}; found {inventory(root)}{_hint(everything)}{_lines(why)}")
    used = {one.file for some in labeled.values() for one in some}
    others = [path for path in everything.others if path.suffix.lower() != ".csv"]
    listed.left_out += [line for line in why if line]
    listed.left_out += Found((), tuple(others), everything.hidden).left_out()
    unlabeled = [path for path in everything.images if path not in used]
    listed.left_out += counted("image without a label", unlabeled, "images without labels")
    return labeled, listed


def _read_csv(path: Path, everything: Found, roots: Mapping[str, Path], labeled: dict[str, list[Labeled]]) -> str:
    """Adds the rows of a file; returns why it is not used, or nothing."""
    inside = next((key for key, folder in roots.items() if len(roots) > 1 and path.is_relative_to(folder)), None)
    part = inside or part_of(path.stem) or "train"
    within = roots.get(part, path.parent) if len(roots) > 1 else path.parent
    rows, why = read_csv(path, [image for image in everything.images if image.is_relative_to(within)], part)
    for row in rows:
        labeled.setdefault(row.part, []).append(row)
    return f"{path.name}: {why}" if why else ""


def _hint(everything: Found) -> str:
    kind = next((READ_BY[path.suffix] for path in everything.others if path.suffix in READ_BY), None)
    return f"; dataset={kind} reads such files" if kind else ""


def _lines(why: Sequence[str]) -> str:
    return "".join(f"; {line}" for line in why if line)


def _part(labeled: Sequence[Labeled], classes: Sequence[str]) -> Part:
    number = {name: i for i, name in enumerate(classes)}
    for one in labeled:
        if one.label not in number:
            where = one.place if one.part else _class_folder(one)
            raise ValueError(f"{where}: no such class in the training part{did_you_mean(one.label, classes)}")
    ordered = sorted(labeled, key=lambda one: number[one.label])
    return part_of_files([one.file for one in ordered], np.array([number[one.label] for one in ordered]))


def _class_folder(one: Labeled) -> str:
    return str(next((folder for folder in one.file.parents if composed(folder.name) == one.label), one.file))
