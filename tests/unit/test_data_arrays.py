"""IDX folders and NumPy archives."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_makers import N, error_of, make_idx, make_labels, make_npz, make_pixels, same, spoil
from nas.data import load_dataset


def test_idx_without_gzip_is_the_same(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    assert same(load_dataset(make_idx(tmp_path / "a")), load_dataset(make_idx(tmp_path / "b", "")))


IDX_ERRORS: list[tuple[str, str, Callable[[bytes], bytes], str]] = [
    ("", "train-images-idx3-ubyte", lambda b: b[:-5], "truncated"),
    ("", "train-images-idx3-ubyte", lambda b: b + b"x", "too long"),
    ("", "train-images-idx3-ubyte", lambda b: b[:9], "not an IDX file"),
    ("", "train-images-idx3-ubyte", lambda b: b"\0\0\x0d\3" + b[4:], "not an IDX file"),
    ("", "train-images-idx3-ubyte", lambda b: b[:4] + b"\xff" * 12 + b[16:], "truncated: the header tells of"),
    ("", "train-images-idx3-ubyte", lambda b: b[:4] + b"\0" * 12, "empty"),
    ("", "t10k-labels-idx1-ubyte", lambda b: b[:-1] + b"\x09", "item 9: label 9 is out of range; expected 0 to 1"),
    ("", "t10k-labels-idx1-ubyte", lambda b: b[:7] + b"\x09" + b[8:-1], "9 labels, but t10k-images"),
    (".gz", "train-images-idx3-ubyte", lambda b: b[:-30], "broken or truncated"),
    (".gz", "train-images-idx3-ubyte", lambda b: b"not gzip at all", "broken or truncated"),
]


@pytest.mark.parametrize("suffix, file, change, message", IDX_ERRORS)
def test_broken_idx(tmp_path: Path, suffix: str, file: str, change: Callable[[bytes], bytes], message: str) -> None:
    settings = make_idx(tmp_path, suffix)
    spoil(tmp_path / f"{file}{suffix}", change)
    error = error_of(settings)
    assert file in error
    assert message in error


def test_idx_file_missing(tmp_path: Path) -> None:
    settings = make_idx(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte.gz").unlink()
    assert "has no t10k-labels-idx1-ubyte and no t10k-labels-idx1-ubyte.gz" in error_of(settings)


Y = make_labels()
NPZ_ERRORS: list[tuple[dict[str, Any], str]] = [
    ({"x_train": None}, "no array x_train; did you mean y_train?"),
    ({"x_test": None}, "has only one of x_test and y_test"),
    ({"x_train": make_pixels().astype(np.float32)}, "x_train: expected uint8 of shape (n, h, w) or"),
    ({"x_train": make_pixels().reshape(N, 3, 6, 6)}, "x_train: expected uint8 of shape"),
    ({"x_train": make_pixels(0)}, "x_train: expected uint8 of shape"),
    ({"y_train": Y[:-1]}, "y_train: expected 40 labels as x_train has images, got int64 of shape (39,)"),
    ({"y_train": np.eye(2)[Y]}, "y_train[0]: expected labels as whole numbers of shape (images,)"),
    ({"y_train": Y.astype(str)}, "y_train[0]: expected labels as whole numbers"),
    ({"y_train": np.where(np.arange(N) == 3, np.nan, Y)}, "y_train[3]: label nan is not a whole number"),
    ({"y_train": np.where(np.arange(N) == 5, 1.5, Y)}, "y_train[5]: label 1.5 is not a whole number"),
    ({"y_train": np.where(np.arange(N) == 5, -1, Y)}, "y_train[5]: label -1 is out of range; expected 0 or more"),
    ({"y_train": Y + 1}, "class 0 has no image: labels run from 1 to 2"),
    ({"y_train": Y * 10**9}, "class 1 has no image: labels run from 0 to 1000000000"),
    ({"y_train": Y * 10**12}, "y_train[1]: label 1000000000000 is not a whole number below 2**31"),
    ({"y_train": Y * 0, "x_test": None, "y_test": None}, "only one class (0)"),
    ({"y_test": np.full(10, 2)}, "y_test[0]: label 2 is out of range; expected 0 to 1 (2 classes)"),
    ({"classes": np.array(["a", "b", "c"]), "y_test": np.full(10, 2)}, "class c has no image in the training part"),
    ({"classes": np.array([1, 2])}, "classes: expected a list of texts, got int64"),
    ({"y_train": np.array([None, 1] * 20, dtype=object)}, "y_train: holds Python objects, which are not loaded"),
    ({"y_train": (np.arange(N) == 0).astype(int), "x_test": None, "y_test": None}, "class 1: 1 image to share"),
    ({"x_test": make_pixels(10, 7)}, "test images: 7x7 pixels where train images has 6x6"),
]


@pytest.mark.parametrize("arrays, message", NPZ_ERRORS)
def test_broken_npz(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    assert message in error_of(make_npz(tmp_path, **arrays))


OF_A_KIND = ("x_train: expected", "y_train: expected", "classes: expected")


@pytest.mark.parametrize("arrays, message", [case for case in NPZ_ERRORS if case[1].startswith(OF_A_KIND)])
def test_an_npz_is_refused_by_its_headers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arrays: dict[str, Any], message: str
) -> None:
    """A gigabyte of zeros in a megabyte is not read to find that it is no images."""
    settings = make_npz(tmp_path, **arrays)
    monkeypatch.setattr(np.lib.npyio.NpzFile, "__getitem__", lambda self, name: pytest.fail(f"read {name}"))
    assert message in error_of(settings)


def test_npz_variants(tmp_path: Path) -> None:
    names = np.array(["cat", "dog"])
    settings = make_npz(
        tmp_path, x_train=make_pixels(channels=1)[..., 0], y_train=Y[:, None].astype(float), classes=names
    )
    data = load_dataset(settings)
    assert data.classes == ("cat", "dog")
    assert data.channels == 3
    settings = make_npz(tmp_path, x_test=None, y_test=None, x_valid=make_pixels(6), y_valid=make_labels(6))
    data = load_dataset({**settings, "train_size": 10})
    assert [len(part) for part in (data.train, data.valid, data.test)] == [10, 6, 8]
    assert len(load_dataset({**settings, "valid_size": 4}).valid) == 4


def test_files_that_are_no_npz(tmp_path: Path) -> None:
    settings = make_npz(tmp_path)
    path = tmp_path / "data.npz"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert "data.npz: not a readable .npz file" in error_of(settings)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x_train.npy", b"nonsense")
        archive.writestr("y_train.npy", b"nonsense")
    assert "x_train: not a NumPy array" in error_of(settings)


def test_an_npz_header_that_asks_for_too_much(tmp_path: Path) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (10**12, 6, 6, 3)})
    with zipfile.ZipFile(tmp_path / "data.npz", "w") as archive:
        archive.writestr("x_train.npy", header.getvalue())
        archive.writestr("y_train.npy", header.getvalue())
    assert "x_train: truncated" in error_of({"name": "npz", "path": str(tmp_path / "data.npz")})
