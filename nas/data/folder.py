"""Folders of PNG and JPEG files, one folder a class: <path>/<class>/*.png, or <path>/train/<class> and so on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nas.core.settings import did_you_mean
from nas.data.dataset import Dataset, Part, StreamSettings, assemble, existing_path
from nas.data.pixels import SUFFIXES, Encoded

PART_FOLDERS = {"train": "train", "test": "test", "valid": "valid", "validation": "valid", "val": "valid"}


@dataclass(frozen=True)
class Folder(StreamSettings):
    """The user's own images. With <path>/train/<class> there may be test/<class> and valid/<class> beside it."""

    path: str | None = None

    def load(self) -> Dataset:
        expected = f"a folder with a folder of images a class (*{', *'.join(SUFFIXES)}), or train/ and test/ of such"
        root = existing_path(self.path, expected)
        roots = _part_roots(root)
        classes = [folder.name for folder in _folders(roots["train"])]
        if not classes:
            raise ValueError(f"path: {roots['train']} has no class folders; expected {expected}")
        parts = {key: _part(part_root, classes) for key, part_root in roots.items()}
        return assemble("folder", self, parts, classes)


def _part_roots(root: Path) -> dict[str, Path]:
    """Part -> its folder. A `train` that holds images itself is a class that happens to be called so."""
    if not _folders(root / "train"):
        return {"train": root}
    roots: dict[str, Path] = {}
    for folder in _folders(root):
        part = PART_FOLDERS.get(folder.name)
        if part is None or part in roots:
            raise ValueError(f"{folder}: beside {root / 'train'} expected only test and valid")
        roots[part] = folder
    return roots


def _part(root: Path, classes: Sequence[str]) -> Part:
    files: list[Path] = []
    labels: list[int] = []
    for folder in _folders(root):
        if folder.name not in classes:
            raise ValueError(f"{folder}: no such class in the training part{did_you_mean(folder.name, classes)}")
        images = sorted(file for file in folder.iterdir() if _is_image(file))
        if not images:
            raise ValueError(f"{folder}: class without images; expected *{', *'.join(SUFFIXES)}")
        files += images
        labels += [classes.index(folder.name)] * len(images)
    if not files:
        raise ValueError(f"{root}: no class folders")

    def fetch(rows: np.ndarray) -> list[Encoded]:
        return [Encoded(str(files[row]), files[row]) for row in rows]

    return Part(np.array(labels), fetch, lambda row: str(files[row]))


def _folders(root: Path) -> list[Path]:
    if not root.is_dir():
        return []
    return sorted(entry for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _is_image(file: Path) -> bool:
    return file.suffix.lower() in SUFFIXES and not file.name.startswith(".")
