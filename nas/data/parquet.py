"""Parquet files as the Hugging Face hub has them: a column of encoded images and a column of labels.

The label column is read first and rows are chosen by it; of the images only those rows are kept and decoded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from nas.core.jsonio import parse_json
from nas.core.settings import did_you_mean
from nas.data.dataset import Dataset, Part, StreamSettings, assemble, existing_path
from nas.data.pixels import Encoded
from nas.data.stream import Groups

if TYPE_CHECKING:
    import pyarrow as pa

PATTERNS = {"train": "train*.parquet", "valid": "val*.parquet", "test": "test*.parquet"}

T = TypeVar("T")


@dataclass(frozen=True)
class Parquet(StreamSettings):
    """A folder (or its sub-folder data) with train*.parquet and, where there, validation*.parquet and test*.parquet.

    image_column holds structs with `bytes`, or bytes; label_column whole numbers or texts. None: found by type.
    """

    path: str | None = None
    image_column: str | None = None
    label_column: str | None = None

    def load(self) -> Dataset:
        root = existing_path(self.path, f"a folder with {PATTERNS['train']} and {PATTERNS['test']}")
        files = _find_files(root)
        first = files["train"][0]
        schema = _guarded(first, lambda file: file.schema_arrow)
        features = _features(schema)
        image_column = _image_column(first, schema, self.image_column)
        label_column = _label_column(first, schema, features, self.label_column)
        columns = {key: [_labels(file, label_column, image_column) for file in paths] for key, paths in files.items()}
        classes = _class_names(features.get(label_column), columns["train"])
        parts = {key: _part(files[key], columns[key], image_column, classes) for key in files}
        return assemble("parquet", self, parts, classes)


def _find_files(root: Path) -> dict[str, list[Path]]:
    for folder in (root, root / "data"):
        found = {key: sorted(folder.glob(pattern)) for key, pattern in PATTERNS.items()}
        if found["train"]:
            return {key: paths for key, paths in found.items() if paths}
    raise ValueError(f"path: {root} has no {PATTERNS['train']}")


def _guarded(path: Path, use: Callable[[Any], T]) -> T:
    """`use(opened file)`; what Arrow cannot read becomes a ValueError naming the file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            return use(file)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path}: not a readable Parquet file: {' '.join(str(error).split())[:160]}") from error


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
    return [str(name) for name in names] if isinstance(names, list) else None


def _labels(path: Path, column: str, image_column: str) -> np.ndarray:
    def use(file: Any) -> pa.ChunkedArray:
        _image_column(path, file.schema_arrow, image_column)
        _label_column(path, file.schema_arrow, {}, column)
        return file.read(columns=[column]).column(column)

    found = _guarded(path, use)
    if found.null_count:
        raise ValueError(f"{path}: row {found.is_null().to_pylist().index(True)}: {column} is null")
    return np.array(found.to_pylist())


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
    about = [(path, i, *one) for path in paths for i, one in enumerate(_guarded(path, _sizes))]
    starts = np.cumsum([0, *(rows for _, _, rows, _ in about)])
    first_of = {path: int(starts[g]) for g, (path, i, _, _) in enumerate(about) if i == 0}

    def load(group: int) -> pa.ChunkedArray:
        path, i, _, _ = about[group]
        return _guarded(path, lambda file: _column(file, i, column))

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


def _sizes(file: Any) -> list[tuple[int, int]]:
    """(rows, bytes uncompressed) of each row group."""
    groups = (file.metadata.row_group(i) for i in range(file.num_row_groups))
    return [(group.num_rows, group.total_byte_size) for group in groups]


def _column(file: Any, group: int, column: str) -> pa.ChunkedArray:
    is_struct = file.schema_arrow.field(column).type.num_fields > 0
    return file.read_row_group(group, columns=[f"{column}.bytes" if is_struct else column]).column(column)
