"""The images among the files of a folder, and what is left out of the others."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from nas.data.pixels import SUFFIXES

NAMED = 3  # files that a line names
ARCHIVE_FOLDER = "__MACOSX"  # what a Mac adds to archives
PARTS = {
    "train": "train", "training": "train", "test": "test", "testing": "test", "valid": "valid", "validation": "valid", "val": "valid",
    "dev": "valid",
}  # fmt: skip
NUMBER = re.compile(r"[-_.]?\d+$")  # behind the name of a part: train2017
# Folders that hold images, beside others with their annotations or masks.
IMAGE_FOLDERS = {"images", "image", "imgs", "img", "jpegimages", "leftimg8bit", "photos"}


@dataclass(frozen=True)
class Found:
    """The files below a folder, in order of their paths.

    Args:
        images: By their suffix.
        others: Files of other kinds.
        hidden: Files and folders whose names begin with a dot, as `._photo.jpg`, and `__MACOSX`.
    """

    images: tuple[Path, ...]
    others: tuple[Path, ...]
    hidden: tuple[Path, ...]

    def left_out(self) -> list[str]:
        """A line on each kind of file that is not used."""
        return [*counted("hidden file", self.hidden), *counted("file of another kind", self.others, "files of other kinds")]


def find_images(root: Path) -> Found:
    """All files below a folder, also in folders within folders; links to folders are followed once."""
    images: list[Path] = []
    others: list[Path] = []
    hidden: list[Path] = []
    for path in _files(root):
        kept = hidden if is_hidden(path.relative_to(root)) else images if path.suffix.lower() in SUFFIXES else others
        kept.append(path)
    return Found(*(tuple(sorted(some)) for some in (images, others, hidden)))


def folders(root: Path) -> list[Path]:
    """Those in a folder, sorted, without hidden ones."""
    if not root.is_dir():
        return []
    return sorted(entry for entry in root.iterdir() if entry.is_dir() and not is_hidden(Path(entry.name)))


def is_hidden(path: Path) -> bool:
    """Whether it, or a folder that it is in, begins with a dot or is `__MACOSX`."""
    return any(name.startswith(".") or name == ARCHIVE_FOLDER for name in path.parts)


def composed(name: str) -> str:
    """A name in composed form (NFC): what one system writes as e and an accent, another writes as one letter."""
    return unicodedata.normalize("NFC", name)


def part_of(name: str) -> str | None:
    """The part of a dataset that a name stands for, in any case: train, valid or test; None for other names."""
    return PARTS.get(name.lower())


def part_of_folders(path: Path) -> str | None:
    """The part that the first of the folders on the way to a file says, also with a number behind it, such as train2017."""
    return next((part for name in path.parts[:-1] if (part := part_of(NUMBER.sub("", name)))), None)


def counted(what: str, paths: Iterable[Path], plural: str | None = None) -> list[str]:
    """One line on files, such as `3 files of other kinds (.txt 3): a.txt, b.txt, c.txt`; none where there are none."""
    names = [path.name for path in paths]
    if not names:
        return []
    kinds = Counter(Path(name).suffix.lower() or "no suffix" for name in names)
    noun = what if len(names) == 1 else plural or f"{what}s"
    shown = ", ".join(f"{kind} {count}" for kind, count in kinds.most_common(5))
    return [f"{len(names):,} {noun} ({shown}): {', '.join(names[:NAMED])}{', ..' if len(names) > NAMED else ''}"]


def inventory(root: Path) -> str:
    """What there is in a folder, for errors: kinds of files with their numbers, and folders."""
    found = find_images(root)
    kinds = Counter(path.suffix.lower() or "no suffix" for path in (*found.images, *found.others))
    shown = [f"{count:,} {kind}" for kind, count in kinds.most_common(5)]
    names = [folder.name for folder in folders(root)]
    inside = f"folders {', '.join(names[:5])}{', ..' if len(names) > 5 else ''}" if names else ""
    return "; ".join(filter(None, (", ".join(shown), inside))) or "nothing"


def _files(root: Path) -> Iterator[Path]:
    seen = set()
    for place, inner, names in os.walk(root, followlinks=True):
        if (real := os.path.realpath(place)) in seen:
            inner.clear()
            continue
        seen.add(real)
        yield from (Path(place, name) for name in names)
