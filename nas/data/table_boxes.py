"""Parquet and Arrow files with a column of boxes: lists of four numbers, or the hub's structs of bbox and category."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.data.boxes import MOST, Boxes, Objects, numbered, objects_of
from nas.data.columns import chosen_column, features_of, find_image_column, groups_of, names_of, placer, rows_of
from nas.data.dataset import Dataset, Part, assemble
from nas.data.files import composed
from nas.data.table_masks import without_targets
from nas.data.table_settings import TableSettings
from nas.data.tables import find_tables, guarded

if TYPE_CHECKING:
    import pyarrow as pa

ONE_CLASS = "object"  # where nothing names it
# Fields of structs: the first that is there.
BOXES = ("bbox", "bboxes", "box", "boxes")
CLASSES = ("category", "categories", "label", "labels", "class", "classes", "category_id")
AREAS = ("area", "areas")
CROWDS = ("iscrowd", "is_crowd", "crowd")
DEEPEST = 8  # of a description of a column


@dataclass(frozen=True)
class _Row:
    """The objects of an image before classes have numbers."""

    boxes: list[list[float]]
    classes: list[Any]
    area: list[float] | None
    ignored: list[bool] | None


def load_boxes(settings: TableSettings, root: Path) -> Dataset:
    """The dataset of a folder of files whose `boxes_column` holds the objects of each image. Raises ValueError as `Parquet.load`."""
    files, left_out = find_tables(root)
    first, column = files["train"][0], settings.boxes_column or ""
    schema = guarded(first, lambda file: file.schema_arrow)
    images = find_image_column(first, schema, settings.image_column)
    left_out += without_targets(files, column, "boxes")
    rows = {key: [row for path in paths for row in _rows(path, settings)] for key, paths in files.items()}
    names = _class_names(settings, features_of(schema), rows["train"])
    parts = {key: _part(paths, rows[key], images, names, settings.strict) for key, paths in files.items()}
    return assemble("parquet", settings, parts, names, left_out=left_out)


def _rows(path: Path, settings: TableSettings) -> list[_Row]:
    """What a file has of each image, checked."""
    column, labels = settings.boxes_column or "", settings.label_column

    def use(file: Any) -> tuple[list[Any], list[Any]]:
        schema = file.schema_arrow
        find_image_column(path, schema, settings.image_column)
        chosen_column(path, "boxes_column", column, schema.names, _box_columns(schema), "boxes")
        if labels is not None:
            chosen_column(path, "label_column", labels, schema.names, schema.names, "labels")
        found = file.read(column).to_pylist()
        return found, [None] * len(found) if labels is None else file.read(labels).to_pylist()

    found, classes = guarded(path, use)
    return [_row(one, some, f"{path}: row {row}", settings) for row, (one, some) in enumerate(zip(found, classes, strict=True))]


def _box_columns(schema: pa.Schema) -> list[str]:
    import pyarrow.types as pt

    def is_list(kind: pa.DataType) -> bool:
        return pt.is_list(kind) or pt.is_large_list(kind) or pt.is_fixed_size_list(kind)

    return [field.name for field in schema if is_list(field.type) or (pt.is_struct(field.type) and _first(_fields(field.type), BOXES))]


def _fields(kind: pa.DataType) -> list[str]:
    return [kind.field(i).name for i in range(kind.num_fields)]


def _first(names: Sequence[str], known: Sequence[str]) -> str | None:
    return next((name for name in known if name in names), None)


def _row(found: Any, labels: Any, place: str, settings: TableSettings) -> _Row:
    items, column = _columns(found, place), settings.boxes_column
    boxes, classes = items["boxes"], items.get("classes") if labels is None else labels
    if classes is not None and (not isinstance(classes, list) or len(classes) != len(boxes)):
        got = f"{len(classes)}" if isinstance(classes, list) else repr(classes)[:40]
        raise ValueError(f"{place}: expected {len(boxes)} labels, as {column} has boxes, got {got}")
    if len(boxes) > MOST:
        raise ValueError(f"{place}: {len(boxes):,} objects; expected at most {MOST:,}")
    for i, box in enumerate(boxes, 1):
        if not isinstance(box, list) or len(box) != 4 or not all(isinstance(value, int | float) for value in box):
            raise ValueError(f"{place}: {column}: object {i}: expected four numbers, got {repr(box)[:60]}")
    as_corners = settings.box_format == "xyxy" or (settings.box_format is None and not items["is_struct"])
    edges = [_edges(box, as_corners, settings.one_based) for box in boxes]
    area = [float("nan") if value is None else float(value) for value in items["area"]] if items.get("area") else None
    ignored = [bool(value) for value in items["ignored"]] if items.get("ignored") else None
    return _Row(edges, classes if classes is not None else [0] * len(boxes), area, ignored)


def _columns(found: Any, place: str) -> dict[str, Any]:
    """Lists of boxes and of what else is known of objects, of a list of boxes, a struct of lists, or a list of structs."""
    if found is None:
        return {"boxes": [], "is_struct": False}
    if isinstance(found, list) and found and isinstance(found[0], dict):
        found = {key: [item[key] if item else None for item in found] for key in found[0]}
    if isinstance(found, list):
        return {"boxes": found, "is_struct": False}
    named = {"boxes": BOXES, "classes": CLASSES, "area": AREAS, "ignored": CROWDS}
    columns = {key: found.get(_first([*found], fields) or "") for key, fields in named.items()}
    if not isinstance(columns["boxes"], list):
        raise ValueError(f"{place}: expected a list of boxes ({', '.join(BOXES)}), got fields {', '.join(found)}")
    for key in ("area", "ignored"):
        if columns[key] is not None and (not isinstance(columns[key], list) or len(columns[key]) != len(columns["boxes"])):
            raise ValueError(f"{place}: expected as many values of {key} as boxes")
    return {**columns, "is_struct": True}


def _edges(box: Sequence[float], as_corners: bool, one_based: bool) -> list[float]:
    x, y, right, bottom = map(float, box)
    x, y = (x - 1, y - 1) if one_based else (x, y)
    return [x, y, right, bottom] if as_corners else [x, y, x + right, y + bottom]


def _class_names(settings: TableSettings, features: Mapping[str, Any], rows: Sequence[_Row]) -> tuple[str, ...]:
    """As settings or the file say, or those of the training part."""
    if settings.classes is not None:
        return tuple(map(str, settings.classes))
    if settings.label_column is None:
        described = _described(features.get(settings.boxes_column or ""), CLASSES)
    else:
        described = _described({settings.label_column: features.get(settings.label_column)}, (settings.label_column,))
    if described:
        return described
    found = {value for row in rows for value in row.classes}
    if any(isinstance(value, str) for value in found):
        return tuple(sorted(composed(str(value)) for value in found))
    if settings.label_column is None and found <= {0}:
        return (ONE_CLASS,)
    most = max((value for value in found if isinstance(value, int)), default=0)
    if most >= MOST:
        raise ValueError(f"label_column: class {most} is too large without names; set classes")
    return tuple(map(str, range(most + 1)))


def _described(feature: Any, fields: Sequence[str], depth: int = 0) -> tuple[str, ...] | None:
    """Names of classes in the description of one of the fields, wherever it is."""
    if depth > DEEPEST:
        return None
    inner = feature if isinstance(feature, list) else [*feature.items()] if isinstance(feature, dict) else []
    for item in inner:
        key, value = item if isinstance(item, tuple) else (None, item)
        names = _names_within(value) if key in fields else _described(value, fields, depth + 1)
        if names:
            return names
    return None


def _names_within(feature: Any, depth: int = 0) -> tuple[str, ...] | None:
    if (names := names_of(feature)) is not None or depth > DEEPEST:
        return tuple(names or ()) or None
    inner = feature if isinstance(feature, list) else [*feature.values()] if isinstance(feature, dict) else []
    return next((found for one in inner if (found := _names_within(one, depth + 1))), None)


def _part(paths: Sequence[Path], rows: Sequence[_Row], image_column: str, names: tuple[str, ...], strict: bool) -> Part:
    place, groups = placer(paths, rows_of(paths)), groups_of(paths, image_column, len(rows))
    objects = [_objects(row, names, place(i)) for i, row in enumerate(rows)]
    return Part(Boxes(objects, names, place, strict), groups.fetch, place, groups, encoded=True)


def _objects(row: _Row, names: tuple[str, ...], place: str) -> Objects:
    if any(isinstance(value, str) for value in row.classes):
        classes = numbered([composed(str(value)) for value in row.classes], names, place)
    else:
        for i, value in enumerate(row.classes, 1):
            if not isinstance(value, int) or not 0 <= value < len(names):
                raise ValueError(f"{place}: object {i}: class {value!r:.40} is out of range; expected 0 to {len(names) - 1}")
        classes = row.classes
    return objects_of(row.boxes, classes, row.ignored, row.area)
