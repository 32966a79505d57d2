"""Columns of Parquet and Arrow files: which one holds images, names of classes, and the row groups by which they are read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nas.core.jsonio import parse_json
from nas.core.settings import did_you_mean
from nas.data.files import composed
from nas.data.pixels import Encoded
from nas.data.stream import Groups
from nas.data.tables import guarded

if TYPE_CHECKING:
    import pyarrow as pa


def features_of(schema: pa.Schema) -> dict[str, Any]:
    """Column -> its Hugging Face description (with `names` for class labels), where the file carries one."""
    try:
        described = parse_json((schema.metadata or {}).get(b"huggingface", b"{}"))
        return dict(described["info"]["features"])
    except (ValueError, KeyError, TypeError):
        return {}


def chosen_column(path: Path, key: str, expected: str | None, columns: Sequence[str], fitting: Sequence[str], what: str) -> str:
    """The column `expected`, or the only fitting one."""
    if expected is not None:
        if expected not in columns:
            near = did_you_mean(expected, columns)
            raise ValueError(f"{key}: {path} has no column {expected}{near} (columns: {', '.join(columns)})")
        if expected not in fitting:
            raise ValueError(f"{key}: column {expected} of {path} does not hold {what}")
        return expected
    if len(fitting) == 1:
        return fitting[0]
    listed = ", ".join(fitting or columns)
    raise ValueError(f"{key}: {path} has {'several' if fitting else 'no'} columns of {what} ({listed}); name one")


def find_image_column(path: Path, schema: pa.Schema, expected: str | None, but: str | None = None, key: str = "image_column") -> str:
    """The column of encoded images that is expected, or the only one; `but`: one that holds something else, masks."""
    import pyarrow.types as pt

    def is_bytes(kind: pa.DataType) -> bool:
        return pt.is_binary(kind) or pt.is_large_binary(kind)

    def is_image(kind: pa.DataType) -> bool:
        if pt.is_struct(kind):
            return any(kind.field(i).name == "bytes" and is_bytes(kind.field(i).type) for i in range(kind.num_fields))
        return is_bytes(kind)

    fitting = [field.name for field in schema if is_image(field.type) and field.name != but]
    return chosen_column(path, key, expected, schema.names, fitting, "encoded images")


def names_of(feature: Any) -> list[str] | None:
    """Names of classes in the description of a column."""
    names = feature.get("names") if isinstance(feature, dict) else None
    return [composed(str(name)) for name in names] if isinstance(names, list) else None


def placer(paths: Sequence[Path], counts: Sequence[int]) -> Callable[[int], str]:
    """Row of all files -> its file and row there, for errors; `counts`: rows of each file."""
    starts = np.cumsum([0, *counts])

    def place(row: int) -> str:
        file = int(np.searchsorted(starts, row, side="right")) - 1
        return f"{paths[min(file, len(paths) - 1)]}: row {row - starts[file]}"

    return place


def rows_of(paths: Sequence[Path]) -> list[int]:
    """Rows of each file."""
    return [sum(rows for rows, _ in guarded(path, lambda file: file.sizes())) for path in paths]


def groups_of(paths: Sequence[Path], column: str, count: int, shown: str = "") -> Groups:
    """The row groups of all files, by which images are read; `shown` ends the names of images in errors."""
    about = [(path, i, *one) for path in paths for i, one in enumerate(guarded(path, lambda file: file.sizes()))]
    starts = np.cumsum([0, *(rows for _, _, rows, _ in about)])
    first_of = {path: int(starts[g]) for g, (path, i, _, _) in enumerate(about) if i == 0}

    def load(group: int) -> pa.ChunkedArray:
        path, i, _, _ = about[group]
        return guarded(path, lambda file: file.read_group(i, column))

    def pick(group: int, found: pa.ChunkedArray, rows: np.ndarray) -> list[Encoded]:
        path = about[group][0]
        images = []
        for row, item in zip(rows - first_of[path], found.take(rows - starts[group]).to_pylist(), strict=True):
            content = item["bytes"] if isinstance(item, dict) else item
            if not content:
                raise ValueError(f"{path}: row {row}: {column} has no image bytes")
            images.append(Encoded(f"{path}: row {row}{shown}", content))
        return images

    of = np.repeat(np.arange(len(about), dtype=np.int32), np.diff(starts))
    assert len(of) == count, "the footers count the rows that were read"
    return Groups(of, np.array([size for _, _, _, size in about]), load, pick)
