"""Published data sets of masks and boxes are read as their authors counted them; NAS_TEST_DATA names the folder that holds them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from nas.data import load_dataset
from nas.data.masks import IGNORED

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
    assert found[IGNORED] == pytest.approx(3.9, abs=0.06)


def test_penn_fudan(tmp_path: Path) -> None:
    shutil.copy(folder("pennfudan") / "all.parquet", tmp_path / "train.parquet")
    settings = {"name": "parquet", "path": str(tmp_path), "resolution": 96, "resize": "pad"}
    data = load_dataset({**settings, "mask_column": "mask", "instances": True, "classes": ("background", "person")})
    assert sum(len(part) for part in (data.train, data.valid, data.test)) == 170
    assert set(np.unique(data.train.targets)) == {0, 1, IGNORED}


def test_semantic_masks_of_coco() -> None:
    data = load_dataset({"name": "masks", "path": str(folder("coco128")), "ignore": 0, "resolution": 64})
    assert [len(part) for part in (data.train, data.valid, data.test)] == [80, 100, 20]
    assert data.left_out[0].startswith("56 images without masks")
    assert "1" in data.classes  # person
