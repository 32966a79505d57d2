"""Parquet files as the Hugging Face hub has them: a column of encoded images and a column of labels.

The label column is read first and rows are chosen by it; of the images only those rows are kept and decoded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nas.core.jsonio import parse_json
from nas.core.settings import did_you_mean
from nas.data.dataset import Dataset, Part, StreamSettings, assemble, existing_path
from nas.data.files import composed
from nas.data.pixels import Encoded
from nas.data.stream import Groups
from nas.data.tables import EXPECTED, find_tables, guarded

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Parquet(StreamSettings):
    """A folder with train*.parquet and, where there, validation*.parquet and test*.parquet, also in folders within it.

    Beside that the layout of the hub's own conversion, <config>/train/0000.parquet, and folders of save_to_disk (*.arrow).

    image_column holds structs with `bytes`, or bytes; label_column whole numbers or texts. None: found by type.
    """

    path: str | None = None
    image_column: str | None = None
    label_column: str | None = None

    def load(self) -> Dataset:
        root = existing_path(self.path, f"a folder with {EXPECTED}")
        files, left_out = find_tables(root)
        first = files["train"][0]
        schema = guarded(first, lambda file: file.schema_arrow)
        features = _features(schema)
        image_column = _image_column(first, schema, self.image_column)
        label_column = _label_column(first, schema, features, self.label_column)
        if (count := _without_labels(files.get("test", ()), label_column)) is not None:
            del files["test"]
            left_out.append(f"{count:,} image{'s' * (count != 1)} of the test part without labels")
        columns = {key: [_labels(file, label_column, image_column) for file in paths] for key, paths in files.items()}
        columns = _named(files, columns, label_column)
        known = [column for some in columns.values() for column in some] if self.split == "classes" else columns["train"]
        classes = _class_names(features.get(label_column), known)
        parts = {key: _part(files[key], columns[key], image_column, classes) for key in columns}
        return assemble("parquet", self, parts, classes, left_out=left_out)


def _named(
    files: Mapping[str, Sequence[Path]], columns: Mapping[str, Sequence[np.ndarray]], label_column: str
) -> dict[str, list[np.ndarray]]:
    """Labels by part; where files give numbers other names than the first training file does, numbers are turned into names."""
    first = _names_of(files["train"][0], label_column)
    names = {path: _names_of(path, label_column) or first for some in files.values() for path in some}
    if first is None or all(found == first for found in names.values()):
        return {key: list(some) for key, some in columns.items()}
    return {
        key: [_texts(path, column, names[path] or []) for path, column in zip(files[key], some, strict=True)]
        for key, some in columns.items()
    }


def _names_of(path: Path, label_column: str) -> list[str] | None:
    return _names(guarded(path, lambda file: _features(file.schema_arrow)).get(label_column))


def _texts(path: Path, column: np.ndarray, names: Sequence[str]) -> np.ndarray:
    if column.dtype.kind == "U" :
        return column
    bad = np.flatnonzero((column < 0) | (column >= len(names)))
    if len(bad):
        expected = f"0 to {len(names) - 1} ({len(names)} classes)"
        raise ValueError(f"{path}: row {bad[0]}: label {column[bad[0]]} is out of range; expected {expected}")
    return np.array(names)[column]


def _without_labels(paths: Sequence[Path], label_column: str) -> int | None:
    """The rows of a part that no label is known of: it has no such column, nor one like it, or holds -1 alone; else None."""

    def rows(file: Any) -> int | None:
        names = file.schema_arrow.names
        if label_column in names:
            values = set(file.read(label_column).to_pylist())
            return sum(rows for rows, _ in file.sizes()) if values == {-1} else None
        return None if did_you_mean(label_column, names) else sum(rows for rows, _ in file.sizes())

    found = [guarded(path, rows) for path in paths]
    return sum(count or 0 for count in found) if found and None not in found else None


def _features(schema: pa.Schema) -> dict[str, Any]:
    """Column -> its Hugging Face description (with `names` for class labels), where the file carries one."""
    try:
        described = parse_json((schema.metadata or {}).get(b"huggingface", b"{}"))
        return dict(described["info"]["features"])
    except (ValueError, KeyError, TypeError):
        return {}


def _chosen(path: Path, key: str, expected: str | None, columns: Sequence[str], fitting: Sequence[str], what: str) -> str:
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


def _image_column(path: Path, schema: pa.Schema, expected: str | None) -> str:
    import pyarrow.types as pt

    def is_bytes(kind: pa.DataType) -> bool:
        return pt.is_binary(kind) or pt.is_large_binary(kind)

    def is_image(kind: pa.DataType) -> bool:
        if pt.is_struct(kind):
            return any(kind.field(i).name == "bytes" and is_bytes(kind.field(i).type) for i in range(kind.num_fields))
        return is_bytes(kind)

    fitting = [field.name for field in schema if is_image(field.type)]
    return _chosen(path, "image_column", expected, schema.names, fitting, "encoded images")


def _label_column(path: Path, schema: pa.Schema, features: dict[str, Any], expected: str | None) -> str:
    import pyarrow.types as pt

    def is_label(kind: pa.DataType) -> bool:
        kind = kind.value_type if pt.is_dictionary(kind) else kind
        return pt.is_integer(kind) or pt.is_string(kind) or pt.is_large_string(kind)

    fitting = [field.name for field in schema if is_label(field.type)]
    if expected is None:
        described = [name for name in fitting if _names(features.get(name))]
        integers = [name for name in fitting if pt.is_integer(schema.field(name).type)]
        usual = [name for name in fitting if name in ("label", "labels")]
        fitting = next((group for group in (described, usual, integers) if len(group) == 1), fitting)
    return _chosen(path, "label_column", expected, schema.names, fitting, "labels (whole numbers or texts)")


def _names(feature: Any) -> list[str] | None:
    names = feature.get("names") if isinstance(feature, dict) else None
    return [composed(str(name)) for name in names] if isinstance(names, list) else None


def _labels(path: Path, column: str, image_column: str) -> np.ndarray:
    def use(file: Any) -> pa.ChunkedArray:
        _image_column(path, file.schema_arrow, image_column)
        _label_column(path, file.schema_arrow, {}, column)
        return file.read(column)

    found = guarded(path, use)
    if found.null_count:
        raise ValueError(f"{path}: row {found.is_null().to_pylist().index(True)}: {column} is null")
    return _composed(np.array(found.to_pylist()))


def _composed(labels: np.ndarray) -> np.ndarray:
    return np.array([composed(str(label)) for label in labels]) if labels.dtype.kind == "U" else labels


def _class_names(feature: Any, labels: Sequence[np.ndarray]) -> list[str] | None:
    if any(column.dtype.kind == "U" for column in labels):
        return sorted({str(label) for column in labels for label in column})
    return _names(feature)


def _part(paths: Sequence[Path], labels: Sequence[np.ndarray], image_column: str, classes: list[str] | None) -> Part:
    starts = np.cumsum([0, *(len(column) for column in labels)])

    def place(row: int) -> str:
        file = int(np.searchsorted(starts, row, side="right")) - 1
        return f"{paths[min(file, len(paths) - 1)]}: row {row - starts[file]}"

    joined = np.concatenate(labels)
    if joined.dtype.kind == "U":
        joined = _numbered(joined, classes or [], place)
    groups = _groups(paths, image_column, len(joined))
    return Part(joined, groups.fetch, place, groups)


def _numbered(labels: np.ndarray, classes: Sequence[str], place: Callable[[int], str]) -> np.ndarray:
    number = {name: i for i, name in enumerate(classes)}
    for row, label in enumerate(labels):
        if str(label) not in number:
            raise ValueError(f"{place(row)}: no class {label} in the training part{did_you_mean(label, classes)}")
    return np.array([number[str(label)] for label in labels])


def _groups(paths: Sequence[Path], column: str, count: int) -> Groups:
    """The row groups of all files, by which images are read."""
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
            images.append(Encoded(f"{path}: row {row}", content))
        return images

    of = np.repeat(np.arange(len(about), dtype=np.int32), np.diff(starts))
    assert len(of) == count, "the footers count the rows that were read"
    return Groups(of, np.array([size for _, _, _, size in about]), load, pick)
