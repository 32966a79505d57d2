"""Gray images for networks that were trained on color: three equal channels, asked for or as the weights need them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_makers import error_of, make_labels, make_npz, make_pixels, png, same
from nas.arch.blocks import lower
from nas.data import load_dataset
from nas.nn.network import init
from nas.nn.weights import save_weights
from nas.workflows.starting import start_of
from small_training import SMALL

GRAY = make_pixels(channels=1)


def folder(root: Path) -> dict[str, Any]:
    for i, (pixels, label) in enumerate(zip(GRAY, make_labels(), strict=True)):
        file = root / f"part/{'ab'[label]}/{i:03}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(png(pixels))
    return {"name": "folder", "path": str(root / "part")}


def archive(root: Path) -> dict[str, Any]:
    return make_npz(root, x_train=GRAY, x_test=make_pixels(10, channels=1))


@pytest.mark.parametrize(
    "make, more", [(folder, {"stream": False}), (folder, {"stream": True}), (archive, {}), (archive, {"resolution": 4})]
)
def test_three_channels_are_equal_and_the_image_the_same(make: Any, more: dict[str, Any], tmp_path: Path) -> None:
    settings = {**make(tmp_path), **more}
    gray, color = load_dataset(settings), load_dataset({**settings, "channels": 3})
    assert (gray.channels, color.channels, len(color.mean)) == (1, 3, 3)
    assert np.array_equal(np.repeat(gray.train.images[: len(gray.train)], 3, 3), color.train.images[: len(color.train)])


def test_color_images_stay_as_they_are(tmp_path: Path) -> None:
    settings = make_npz(tmp_path)
    assert same(load_dataset(settings), load_dataset({**settings, "channels": 3}))


@pytest.mark.parametrize("channels", [0, 1, 2, 4])
def test_other_numbers_of_channels_are_refused(channels: int) -> None:
    assert "dataset.channels: expected 3, or null for the images' own" in error_of({"name": "digits", "channels": channels})


@pytest.mark.parametrize(
    "given, color, expected",
    [
        ((6, 3, 2), {}, r"stem/conv: kernel: expected .* dataset\.channels=3 gives gray ones 3 equal channels$"),
        ((6, 1, 2), {"channels": 3}, r"stem/conv: kernel: expected shape \(3, 3, 3, 6\), got shape \(3, 3, 1, 6\) from the file$"),
        ((6, 3, 2), {"channels": 3}, None),
        ((6, 1, 2), {}, None),
    ],
)
def test_weights_of_color_images_say_what_gray_ones_need(given: Any, color: Any, expected: str | None, tmp_path: Path) -> None:
    save_weights(tmp_path / "weights.npz", init(lower(SMALL.with_io(*given)), 0))
    data = load_dataset({**archive(tmp_path), **color})
    arch = SMALL.with_io(6, data.channels, 2)
    if expected is None:
        assert start_of(str(tmp_path / "weights.npz"), arch, data, 0).fresh == ()
        return
    with pytest.raises(ValueError, match=expected):
        start_of(str(tmp_path / "weights.npz"), arch, data, 0)
