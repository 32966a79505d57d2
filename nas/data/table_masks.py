"""Parquet and Arrow files with a column of masks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nas.core.settings import did_you_mean
from nas.data.columns import find_image_column, groups_of, placer, rows_of
from nas.data.dataset import Dataset, Part, assemble
from nas.data.masks import Masks, with_numbers
from nas.data.table_settings import TableSettings
from nas.data.tables import find_tables, guarded


def load_masks(settings: TableSettings, root: Path) -> Dataset:
    """The dataset of a folder of files whose `mask_column` holds PNG files. Raises ValueError as `Parquet.load`."""
    files, left_out = find_tables(root)
    first, column = files["train"][0], settings.mask_column or ""
    schema = guarded(first, lambda file: file.schema_arrow)
    find_image_column(first, schema, column, key="mask_column")
    images = find_image_column(first, schema, settings.image_column, but=column)
    left_out += without_targets(files, column, "masks")
    parts = {key: _part(paths, images, column) for key, paths in files.items()}
    parts, names = with_numbers(parts, settings.classes, settings.ignore, settings.instances)
    return assemble("parquet", settings, parts, names, left_out=left_out)


def without_targets(files: dict[str, list[Path]], column: str, what: str) -> list[str]:
    """Takes a test part away that has no such column, nor one like it; returns the line that says so, or none."""

    def lacks(file: Any) -> bool:
        names = file.schema_arrow.names
        return column not in names and not did_you_mean(column, names)

    if "test" not in files or not all(guarded(path, lacks) for path in files["test"]):
        return []
    count = sum(rows_of(files.pop("test")))
    return [f"{count:,} image{'s' * (count != 1)} of the test part without {what}"]


def _part(paths: Sequence[Path], image_column: str, mask_column: str) -> Part:
    for path in paths:
        schema = guarded(path, lambda file: file.schema_arrow)
        find_image_column(path, schema, image_column)
        find_image_column(path, schema, mask_column, key="mask_column")
    counts = rows_of(paths)
    images = groups_of(paths, image_column, sum(counts))
    masks = groups_of(paths, mask_column, sum(counts), f": {mask_column}")
    place = placer(paths, counts)
    targets = Masks(masks.fetch, sum(counts), lambda row: f"{place(row)}: {mask_column}")
    return Part(targets, images.fetch, place, images, encoded=True)
