"""Parquet files as the Hugging Face hub has them: a column of encoded images and a column of labels.

The label column is read first and rows are chosen by it; of the images only those rows are kept and decoded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nas.core.settings import did_you_mean
from nas.data.columns import chosen_column, features_of, find_image_column, groups_of, names_of, placer
from nas.data.dataset import Dataset, Part, assemble, existing_path
from nas.data.files import composed
from nas.data.table_boxes import load_boxes
from nas.data.table_masks import load_masks
from nas.data.table_settings import TableSettings
from nas.data.tables import EXPECTED, find_tables, guarded

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Parquet(TableSettings):
    """A folder with train*.parquet and, where there, validation*.parquet and test*.parquet, also in folders within it.

    Beside that the layout of the hub's own conversion, <config>/train/0000.parquet, and folders of save_to_disk (*.arrow).
    """

    def load(self) -> Dataset:
        root = existing_path(self.path, f"a folder with {EXPECTED}")
        if self.mask_column is not None:
            return load_masks(self, root)
        if self.boxes_column is not None:
            return load_boxes(self, root)
        files, left_out = find_tables(root)
        first = files["train"][0]
        schema = guarded(first, lambda file: file.schema_arrow)
        features = features_of(schema)
        image_column = find_image_column(first, schema, self.image_column)
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
    return names_of(guarded(path, lambda file: features_of(file.schema_arrow)).get(label_column))


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


def _label_column(path: Path, schema: pa.Schema, features: dict[str, Any], expected: str | None) -> str:
    import pyarrow.types as pt

    def is_label(kind: pa.DataType) -> bool:
        kind = kind.value_type if pt.is_dictionary(kind) else kind
        return pt.is_integer(kind) or pt.is_string(kind) or pt.is_large_string(kind)

    fitting = [field.name for field in schema if is_label(field.type)]
    if expected is None:
        described = [name for name in fitting if names_of(features.get(name))]
        integers = [name for name in fitting if pt.is_integer(schema.field(name).type)]
        usual = [name for name in fitting if name in ("label", "labels")]
        fitting = next((group for group in (described, usual, integers) if len(group) == 1), fitting)
    return chosen_column(path, "label_column", expected, schema.names, fitting, "labels (whole numbers or texts)")


def _labels(path: Path, column: str, image_column: str) -> np.ndarray:
    def use(file: Any) -> pa.ChunkedArray:
        find_image_column(path, file.schema_arrow, image_column)
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
    return names_of(feature)


def _part(paths: Sequence[Path], labels: Sequence[np.ndarray], image_column: str, classes: list[str] | None) -> Part:
    place = placer(paths, [len(column) for column in labels])
    joined = np.concatenate(labels)
    if joined.dtype.kind == "U":
        joined = _numbered(joined, classes or [], place)
    groups = groups_of(paths, image_column, len(joined))
    return Part(joined, groups.fetch, place, groups, encoded=True)


def _numbered(labels: np.ndarray, classes: Sequence[str], place: Callable[[int], str]) -> np.ndarray:
    number = {name: i for i, name in enumerate(classes)}
    for row, label in enumerate(labels):
        if str(label) not in number:
            raise ValueError(f"{place(row)}: no class {label} in the training part{did_you_mean(label, classes)}")
    return np.array([number[str(label)] for label in labels])
