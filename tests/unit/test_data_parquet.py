"""Parquet files in the layout of the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_makers import N, error_of, make_labels, make_parquet, make_pixels, png, same, write_parquet
from nas.data import load_dataset

Y = make_labels()


def test_parquet_reads_only_the_rows_it_takes(tmp_path: Path) -> None:
    settings = make_parquet(tmp_path)
    images = [b"broken"] * N
    taken = load_dataset({**settings, "train_size": 8})
    known = {pixels.tobytes(): row for row, pixels in enumerate(make_pixels())}
    rows = [known[image.tobytes()] for part in (taken.train, taken.valid) for image in part.images[:]]
    for row in rows:
        images[row] = png(make_pixels()[row])
    for file in tmp_path.glob("train*"):
        file.unlink()
    write_parquet(tmp_path / "train.parquet", list(images), Y, ["cat", "dog"])
    assert same(load_dataset({**settings, "train_size": 8}), taken)
    assert "train.parquet: row " in error_of(settings)


def test_parquet_in_a_data_folder_with_texts_and_validation(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    words = np.array(["dog", "ant"])
    for name, n in (("train-0", N), ("validation-0", 6), ("test-0", 10)):
        write_parquet(
            tmp_path / "data" / f"{name}.parquet", [png(p) for p in make_pixels(n)], words[make_labels(n)], id=range(n)
        )
    settings = {"name": "parquet", "path": str(tmp_path), "label_column": "label"}
    data = load_dataset(settings)
    assert data.classes == ("ant", "dog")
    assert data.train.targets[0] == 1
    assert [len(part) for part in (data.train, data.valid, data.test)] == [N, 6, 10]
    write_parquet(tmp_path / "data" / "test-0.parquet", [png(make_pixels()[0])] * 2, ["ant", "dogg"])
    assert "test-0.parquet: row 1: no class dogg in the training part; did you mean dog?" in error_of(settings)


PNG = png(make_pixels(1)[0])


def _parquet(root: Path, images: Sequence[bytes | None] | None = None, labels: Any = Y, **more: Any) -> None:
    write_parquet(root / "train.parquet", images or [PNG] * N, labels, **more)


def _bytes_column(root: Path) -> None:
    pq.write_table(pa.table({"image": [PNG] * N, "label": Y}), root / "train.parquet")


PARQUET_ERRORS: list[tuple[Callable[[Path], Any], dict[str, Any], str]] = [
    (lambda r: None, {}, "dataset.path: "),
    (lambda r: (r / "train.parquet").write_bytes(b"no parquet"), {}, "train.parquet: not a readable Parquet file"),
    (lambda r: (r / "train.parquet").write_bytes(b""), {}, "train.parquet: not a readable Parquet file"),
    (_parquet, {"image_column": "image"}, "dataset.image_column: "),
    (_parquet, {"image_column": "imgs"}, "has no column imgs; did you mean img? (columns: img, label)"),
    (_parquet, {"image_column": "label"}, "column label of"),
    (_parquet, {"label_column": "labels"}, "has no column labels; did you mean label?"),
    (_parquet, {"label_column": "img"}, "does not hold labels"),
    (lambda r: _parquet(r, labels=Y * 0.5), {}, "dataset.label_column: "),
    (lambda r: _parquet(r, labels=Y * 2), {}, "class 1 has no image"),
    (lambda r: _parquet(r, labels=Y - (np.arange(N) == 9) * 5), {}, "train.parquet: row 9: label -4 is out of range"),
    (lambda r: _parquet(r, labels=[None, *Y[1:].tolist()]), {}, "train.parquet: row 0: label is null"),
    (lambda r: _parquet(r, [None] + [PNG] * (N - 1)), {}, "train.parquet: row 0: img has no image bytes"),
    (lambda r: _parquet(r, [PNG] * (N - 1) + [PNG[:70]]), {}, "train.parquet: row 39: corrupt image"),
    (
        lambda r: (_parquet(r), pq.write_table(pa.table({"lable": [1]}), r / "test.parquet")),
        {},
        "test.parquet has no column img (columns: lable)",
    ),
    (
        lambda r: (_parquet(r), pq.write_table(pa.table({"img": [PNG], "lable": [1]}), r / "test.parquet")),
        {},
        "test.parquet has no column label; did you mean lable?",
    ),
    (
        lambda r: pq.write_table(pa.table({"image": [PNG] * N, "fine": Y, "coarse": Y}), r / "train.parquet"),
        {},
        "several columns of labels (whole numbers or texts) (fine, coarse); name one",
    ),
]


@pytest.mark.parametrize("write, change, message", PARQUET_ERRORS)
def test_broken_parquet(tmp_path: Path, write: Callable[[Path], Any], change: dict[str, Any], message: str) -> None:
    write(tmp_path)
    assert message in error_of({"name": "parquet", "path": str(tmp_path), **change})


def test_parquet_with_a_plain_column_of_bytes(tmp_path: Path) -> None:
    _bytes_column(tmp_path)
    assert load_dataset({"name": "parquet", "path": str(tmp_path)}).classes == ("0", "1")
