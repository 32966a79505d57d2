"""ImageSets/Main/train.txt and its like: text files that say which images are of which part, as VOC has them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from nas.data.files import composed, part_of

FOLDER = "ImageSets"
BOTH = "trainval"  # the training part of a source that splits off no validation part
MAX_BYTES = 2**26


def split_lists(root: Path, kind: str) -> dict[str, dict[str, str]]:
    """The ids that each part has, from ImageSets/<kind>/*.txt; empty where there are none.

    A list has an id a line, and may have more behind it. train.txt goes before trainval.txt.

    Returns:
        By part, each id with its place for errors.

    Raises:
        ValueError: Naming the file and line of an id that is in two lists, or a file that cannot be read.
    """
    folder = root / FOLDER / kind
    files = {path.stem.lower(): path for path in sorted(folder.glob("*.txt"))} if folder.is_dir() else {}
    chosen = {part: path for name, path in files.items() if (part := part_of(name))}
    if "train" not in chosen and BOTH in files:
        chosen = {"train": files[BOTH], **{part: path for part, path in chosen.items() if part != "valid"}}
    lists = {part: _ids(path) for part, path in chosen.items()} if "train" in chosen else {}
    _check_apart(lists)
    return lists


def _ids(path: Path) -> dict[str, str]:
    ids: dict[str, str] = {}
    for number, line in enumerate(read_text(path).splitlines(), 1):
        for name in line.split()[:1]:
            ids.setdefault(composed(name), f"{path}: line {number}")
    if not ids:
        raise ValueError(f"{path}: names no image")
    return ids


def _check_apart(lists: Mapping[str, Mapping[str, str]]) -> None:
    seen: dict[str, str] = {}
    for ids in lists.values():
        for name, place in ids.items():
            if name in seen:
                raise ValueError(f"{place}: {name} is in another part too: {seen[name]}")
        seen |= ids


def read_text(path: Path, most: int = MAX_BYTES) -> str:
    """A text file. Raises ValueError naming one that cannot be read, is not UTF-8, or is larger than `most` bytes."""
    try:
        if (size := path.stat().st_size) > most:
            raise ValueError(f"{path}: {size / 1e6:,.0f} MB; such files of up to {most / 1e6:,.0f} MB are read")
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"{path}: not a text file in UTF-8") from None
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from None
