"""Labels in a CSV beside the images: a column of files and a column of labels."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from nas.data.files import composed, part_of

LABELS = ("label", "labels", "class", "class_name", "category", "target")
SPLITS = ("split", "part", "set", "subset")
NAMED = 3


@dataclass(frozen=True)
class Labeled:
    """An image and its label, of a part of the dataset. place: file and line of the CSV, for errors."""

    file: Path
    label: str
    part: str
    place: str


def read_csv(path: Path, images: Sequence[Path], part: str) -> tuple[list[Labeled], str]:
    """(what the rows say, why none of them is used: nothing where they are).

    The column of files is the one whose first value is the name of an image, its path, or its name without a suffix. That
    of labels is called label, class, category or target, or is the only other one. A column `split` says which part a row is
    of; without it all are of `part`.

    Raises:
        ValueError: Naming the file and the line that are wrong.
    """
    head, rows = _rows(path)
    if not rows:
        return [], "has no rows"
    known = _Known(path.parent, images)
    files = [i for i, value in enumerate(rows[0]) if known.find(value) is not None]
    if not files:
        return [], "has no column of files that are there"
    splits = [i for i, name in enumerate(head) if name in SPLITS]
    left = [i for i in range(len(head)) if i not in (files[0], *splits)]
    labels = [i for i in left if head[i] in LABELS] or left
    if len(labels) != 1:
        return [], "has no labels" if not labels else f"has several columns that could be labels ({', '.join(head[i] for i in labels)})"
    return [_labeled(path, i, row, known, files[0], labels[0], splits, part) for i, row in enumerate(rows)], ""


def _labeled(path: Path, i: int, row: Sequence[str], known: _Known, file: int, label: int, splits: Sequence[int], part: str) -> Labeled:
    place = f"{path}: line {i + 2}"
    if len(row) <= max(file, label, *splits):
        raise ValueError(f"{place}: {len(row)} columns, fewer than the first line names")
    found, name = known.find(row[file]), composed(row[label].strip())
    if found is None:
        raise ValueError(f"{place}: no image {row[file]!r}")
    if not name:
        raise ValueError(f"{place}: {row[file]} has no label")
    named = part_of(row[splits[0]].strip()) if splits else part
    if named is None:
        raise ValueError(f"{place}: {row[splits[0]]!r} is no part; expected train, valid or test")
    return Labeled(found, name, named, place)


def _rows(path: Path) -> tuple[list[str], list[list[str]]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: cannot be read as UTF-8 text: {error}") from None
    first = text.partition("\n")[0]
    try:
        rows = [row for row in csv.reader(text.splitlines(), delimiter=max(",;\t", key=first.count)) if any(row)]
    except csv.Error as error:
        raise ValueError(f"{path}: not a CSV: {error}") from None
    return ([name.strip().lower() for name in rows[0]], rows[1:]) if rows else ([], [])


class _Known:
    """Images by their path from a folder, by their name, and by their name without its suffix."""

    def __init__(self, root: Path, images: Iterable[Path]):
        self._by: dict[str, Path | None] = {}
        for path in images:
            for key in {composed(path.name), composed(path.stem)}:
                self._by[key] = None if key in self._by else path
        inside = (path for path in images if path.is_relative_to(root))
        self._by |= {composed(path.relative_to(root).as_posix()): path for path in inside}

    def find(self, name: str) -> Path | None:
        """None where there is no such image, or several."""
        return self._by.get(composed(name.strip().removeprefix("./")))
