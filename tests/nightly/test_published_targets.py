"""Published data sets of masks and boxes are read as their authors counted them; NAS_TEST_DATA names the folder that holds them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from nas.data import load_dataset
from nas.data.boxes import CLASS, IGNORED, X0, X1, Y0, Y1, counts_of
from nas.data.masks import IGNORED as IGNORED_PIXEL

pytestmark = pytest.mark.nightly
DATA = Path(os.environ.get("NAS_TEST_DATA", "") or "nowhere")


def folder(name: str) -> Path:
    if not (DATA / name).is_dir():
        pytest.skip(f"NAS_TEST_DATA names no folder with {name}")
    return DATA / name


def test_camvid() -> None:
    """Fractions of the training pixels as counted at full size, in percent; 11 is unlabelled."""
    settings = {"name": "parquet", "path": str(folder("camvid")), "mask_column": "label", "ignore": 11, "resolution": 160}
    data = load_dataset({**settings, "classes": None})
    assert [len(part) for part in (data.train, data.valid, data.test)] == [367, 101, 233]
    assert len(data.classes) == 11
    found = 100 * np.bincount(data.train.targets.ravel(), minlength=256) / data.train.targets.size
    assert found[:11] == pytest.approx([16.8, 23.3, 0.98, 31.7, 4.5, 9.7, 1.2, 1.1, 5.9, 0.64, 0.29], abs=0.06)
    assert found[IGNORED_PIXEL] == pytest.approx(3.9, abs=0.06)


def test_penn_fudan(tmp_path: Path) -> None:
    shutil.copy(folder("pennfudan") / "all.parquet", tmp_path / "train.parquet")
    settings = {"name": "parquet", "path": str(tmp_path), "resolution": 96, "resize": "pad"}
    data = load_dataset({**settings, "mask_column": "mask", "instances": True, "classes": ("background", "person")})
    assert sum(len(part) for part in (data.train, data.valid, data.test)) == 170
    assert set(np.unique(data.train.targets)) == {0, 1, IGNORED_PIXEL}


def test_semantic_masks_of_coco() -> None:
    data = load_dataset({"name": "masks", "path": str(folder("coco128")), "ignore": 0, "resolution": 64})
    assert [len(part) for part in (data.train, data.valid, data.test)] == [80, 100, 20]
    assert data.left_out[0].startswith("56 images without masks")
    assert "1" in data.classes  # person


def test_blood_cells_of_bccd() -> None:
    """2,382 red cells of the training part, one of them without area, and 968 of the validation part, one of them too."""
    data = load_dataset({"name": "voc", "path": str(folder("bccd")), "resolution": 96, "classes": ("RBC", "WBC", "Platelets")})
    counts = {part: [*counts_of(getattr(data, part).targets, data.classes).values()] for part in ("train", "valid", "test")}
    assert counts == {"train": [2381, 214, 209], "valid": [967, 87, 83], "test": [805, 71, 69]}
    assert [len(part) for part in (data.train, data.valid, data.test)] == [205, 87, 72]
    assert data.target.shape == (30, 8)
    assert next(line for line in data.left_out if "box" in line).startswith("2 boxes without area: ")
    # The median box of the training part at 320 pixels is 52.5 x 67.3.
    found = data.train.targets[data.train.targets[..., CLASS] >= 0]
    sides = np.median(320 * (found[:, [X1, Y1]] - found[:, [X0, Y0]]), 0)
    assert sides == pytest.approx([52.5, 67.3], abs=0.1)


def test_boxes_of_coco() -> None:
    data = load_dataset({"name": "coco", "path": str(folder("coco128")), "resolution": 64, "resize": "pad"})
    targets = np.concatenate([part.targets for part in (data.train, data.test)])
    assert (len(targets), len(data.valid), len(data.classes)) == (128, 128, 80)
    assert ((targets[..., CLASS] >= 0).sum(), (targets[..., IGNORED] > 0).sum()) == (939, 10)
    assert ((targets[..., CLASS] >= 0).any(1).sum(), (data.valid.targets[..., CLASS] >= 0).sum()) == (126, 898)
    assert len(np.unique(targets[targets[..., CLASS] >= 0][:, CLASS])) == 71


def test_boxes_of_penn_fudan(tmp_path: Path) -> None:
    """423 people; pixels count from 1."""
    shutil.copy(folder("pennfudan") / "all.parquet", tmp_path / "train.parquet")
    settings = {"name": "parquet", "path": str(tmp_path), "image_column": "image", "boxes_column": "boxes", "resolution": 64}
    data = load_dataset({**settings, "one_based": True, "classes": ("person",)})
    assert sum(counts_of(part.targets, data.classes)["person"] for part in (data.train, data.valid, data.test)) == 423
    assert data.left_out == ()
