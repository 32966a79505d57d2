"""Folders of image files: layouts, kinds of pixels, and what can be wrong with a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from PIL import Image

from data_makers import error_of, make_folder, make_labels, make_pixels, png, spoil
from nas.data import Encoded, load_dataset
from nas.data.images import read_images


def test_folder_keeps_files_and_classes_in_order(tmp_path: Path) -> None:
    data = load_dataset(make_folder(tmp_path))
    assert data.classes == ("cat", "dog")
    known = {pixels.tobytes(): label for pixels, label in zip(make_pixels(), make_labels(), strict=True)}
    for part in (data.train, data.valid):
        assert [known[image.tobytes()] for image in part.images[:]] == part.targets.tolist()


def test_flat_folder_and_a_class_called_train(tmp_path: Path) -> None:
    for name in ("train", "bus"):
        (tmp_path / name).mkdir()
        for i, pixels in enumerate(make_pixels(10)):
            (tmp_path / name / f"{i}.JPG").write_bytes(png(pixels, "JPEG"))
    data = load_dataset({"name": "folder", "path": str(tmp_path)})
    assert data.classes == ("bus", "train")
    assert [len(part) for part in (data.train, data.valid, data.test)] == [13, 3, 4]


def test_gray_and_color_become_color(tmp_path: Path) -> None:
    settings = make_folder(tmp_path)
    for file in (tmp_path / "train" / "cat").iterdir():
        Image.open(file).convert("L").save(file)
    data = load_dataset(settings)
    gray = data.train.images[data.train.targets == 0]
    assert data.channels == 3
    assert np.array_equal(gray[..., 0], gray[..., 2])
    for file in tmp_path.glob("*/*/*.png"):
        Image.open(file).convert("L").save(file)
    assert load_dataset(settings).channels == 1


@pytest.mark.parametrize("mode", ["P", "RGBA", "LA", "1", "CMYK", "I;16"])
def test_other_kinds_of_pixels(tmp_path: Path, mode: str) -> None:
    settings = make_folder(tmp_path)
    file = tmp_path / "train" / "cat" / "000.png"
    if mode == "I;16":
        Image.fromarray(np.full((6, 6), 65535, np.uint16)).save(file)
    elif mode == "CMYK":
        Image.open(file).convert(mode).save(file, "JPEG")
    else:
        Image.open(file).convert(mode).save(file)
    data = load_dataset(settings)
    assert data.channels == 3
    if mode == "I;16":
        assert any(np.all(image == 255) for image in np.concatenate([data.train.images, data.valid.images]))


def _folder_error(change: Callable[[Path], Any]) -> Callable[[Path], str]:
    def run(root: Path) -> str:
        settings = make_folder(root)
        change(root)
        return error_of(settings)

    return run


def _empty(folder: Path) -> None:
    for file in folder.iterdir():
        file.unlink()


def _remove(folder: Path) -> None:
    _empty(folder)
    folder.rmdir()


FOLDER_ERRORS: list[tuple[Callable[[Path], Any], str]] = [
    (lambda r: spoil(r / "train/cat/000.png", lambda b: b[:60]), "train/cat/000.png: corrupt image"),
    (lambda r: spoil(r / "train/cat/000.png", lambda b: b""), "train/cat/000.png: corrupt image"),
    (lambda r: spoil(r / "test/dog/001.png", lambda b: b"GARBAGE" * 9), "test/dog/001.png: corrupt image"),
    (lambda r: spoil(r / "test/dog/001.png", lambda b: b[:50] + b"\0\0" + b[52:]), "test/dog/001.png: corrupt"),
    (lambda r: _empty(r / "train/dog"), "train/dog: class without images; expected *.png"),
    (lambda r: _empty(r / "test/dog"), "test/dog: class without images"),
    (lambda r: _remove(r / "train/dog"), "test/dog: no such class in the training part"),
    (lambda r: (_remove(r / "train/dog"), _remove(r / "test/dog")), "only one class (cat)"),
    (
        lambda r: (r / "test/dog").rename(r / "test/dogs"),
        "test/dogs: no such class in the training part; did you mean dog?",
    ),
    (lambda r: (r / "horse").mkdir(), "horse: beside"),
    (lambda r: (r / "val").mkdir(), "val: no class folders"),
    (
        lambda r: (r / "train/cat/000.png").write_bytes(png(make_pixels(1, 7)[0])),
        "train/cat/000.png: 7x7 pixels where",
    ),
    (
        lambda r: [(f.unlink(), f.write_bytes(png(make_pixels()[0, :5]))) for f in sorted(r.glob("*/*/*.png"))],
        "6x5 pixels, not square: set dataset.resolution",
    ),
]


@pytest.mark.parametrize("change, message", FOLDER_ERRORS)
def test_broken_folder(tmp_path: Path, change: Callable[[Path], Any], message: str) -> None:
    assert message in _folder_error(change)(tmp_path)


def test_folder_with_nothing_in_it(tmp_path: Path) -> None:
    assert "has no class folders; expected a folder with a folder of images a class" in error_of(
        {"name": "folder", "path": str(tmp_path)}
    )


def test_images_of_many_sizes_are_resized(tmp_path: Path) -> None:
    settings = make_folder(tmp_path)
    (tmp_path / "train/cat/000.png").write_bytes(png(make_pixels(1, 17)[0]))
    assert "images differ in size: set dataset.resolution" in error_of(settings)
    assert load_dataset({**settings, "resolution": 6}).resolution == 6


def test_a_picture_of_absurd_size_is_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = make_folder(tmp_path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 30)
    assert "more than 30 pixels" in error_of(settings)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@hypothesis_settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    places=st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), min_size=1, max_size=4),
    cut=st.integers(0, 400),
)
def test_spoilt_bytes_give_an_image_or_one_clear_line(kind: str, places: list[tuple[int, int]], cut: int) -> None:
    content = bytearray(png(make_pixels(1)[0], kind))
    for place, value in places:
        content[place % len(content)] = value
    image = Encoded("a.png", bytes(content[: len(content) - cut]))
    message = ""
    try:
        assert read_images({"train": [image]}, 6)["train"].shape[:3] == (1, 6, 6)
    except ValueError as error:
        message = str(error)
    assert not message or message.startswith(("a.png: corrupt image: ", "a.png: more than ", "a.png: pixels of kind "))
