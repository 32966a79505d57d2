"""How images are made ready for the weights that a training starts from: what states it, and what `normalization=` may say."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nas.arch.files import load_arch
from nas.core.settings import build
from nas.data import Dataset, Split
from nas.data.conventions import NORMALIZATIONS, convention_of
from nas.data.published import as_published
from nas.data.record import record_of
from nas.workflows.prepared import Normalization, prepared, with_resize_of
from nas.workflows.train import TrainCommand

IMAGENET, HALVES = NORMALIZATIONS["imagenet"], NORMALIZATIONS["inception"]
OTHER = [0.1, 0.2, 0.3], [0.4, 0.5, 0.6]
STATED = {"mean": OTHER[0], "std": OTHER[1], "input_size": [3, 256, 256], "crop_pct": 0.9}
NUMBERS = tuple(map(tuple, OTHER))


def dataset(channels: int = 3) -> Dataset:
    split = Split(np.zeros((2, 4, 4, channels), np.uint8), np.array([0, 1], np.int32))
    return Dataset("two", ("a", "b"), split, split, split, 4, channels, (0.7,) * channels, (0.2,) * channels)


def asked(chosen: Any) -> Normalization:
    """As the command has it."""
    return build(TrainCommand, {"arch": "a", "dataset": {}, "recipe": {}, "normalization": chosen}, "").normalization


@pytest.mark.parametrize(
    "source, config, expected, resize",
    [
        ("torchvision:resnet50.pth", None, IMAGENET, "crop:0.875 at 240"),
        ("torchvision:resnet50-11ad3fa6.pth", None, IMAGENET, "crop:0.9655 at 240"),  # IMAGENET1K_V2
        ("torchvision:resnet50.pth", STATED, IMAGENET, "crop:0.875 at 240"),  # the file is another library's
        ("torchvision:efficientnet_b2_rwightman-c35c1473.pth", None, IMAGENET, "crop at 288"),
        ("torchvision:googlenet-1378be20.pth", None, HALVES, "crop:0.875 at 240"),
        ("timm:models--timm--tf_efficientnet_lite0.in1k/snapshots/a1b2/model.safetensors", None, HALVES, "crop:0.8824 at 240"),
        ("timm:mobilenetv2_100.pth", None, IMAGENET, "crop:0.875 at 240"),
        ("timm:tf_efficientnet_b0.pth", None, IMAGENET, "crop:0.8824 at 240"),
        ("timm:tf_efficientnetv2_m.in1k/model.safetensors", None, HALVES, "squash at 240"),
        ("timm:resnet50.a1_in1k/model.safetensors", None, IMAGENET, "crop:0.95 at 240"),
        ("timm:tf_efficientnet_lite0-0aa007d2.pth", None, HALVES, "crop:0.8824 at 240"),
        ("timm:tf_mobilenetv3_small_minimal_100/model.safetensors", None, HALVES, "crop:0.875 at 240"),
        ("timm:tf_efficientnet_lite0/model.safetensors", {"pretrained_cfg": STATED}, NUMBERS, "crop:0.9 at 256"),
        ("timm:tf_efficientnet_lite0/model.safetensors", {**STATED, "crop_mode": "squash"}, NUMBERS, "squash:0.9 at 256"),
        ("timm:a.pth", {**STATED, "crop_pct": 1.0}, NUMBERS, "crop at 256"),
        ("timm:mixnet_s.pth", {"mean": OTHER[0], "std": OTHER[1]}, NUMBERS, "crop:0.875 at 240"),
        ("timm:a.pth", {"pretrained_cfg": {**STATED, "crop_mode": "border"}}, NUMBERS, "None at 256"),
    ],
)
def test_each_library_has_its_convention(source: str, config: Any, expected: Any, resize: str, tmp_path: Path) -> None:
    """Of an architecture of 240 pixels, where neither the file nor the library has another size."""
    origin, _, name = source.partition(":")
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if config:
        path.with_name("config.json").write_text(json.dumps(config))
    found = convention_of(f"{origin}:{path}", 240)
    assert found is not None
    assert ((found.mean, found.std), f"{found.resize} at {found.side}") == (expected, resize)
    assert (convention_of(str(path)), convention_of(f"keras:{path}")) == (None, None)
    ours, line = prepared(dataset(), f"{origin}:{path}")
    assert (ours.mean, ours.std) == expected
    assert (line or "").endswith(f"{found.said}; normalization=dataset takes those of two")


@pytest.mark.parametrize(
    "content, message",
    [
        ("{", "Expecting property name"),
        ("[]", "expected a mapping"),
        ("{}", "mean: expected a list of numbers, got None"),
        (json.dumps({"pretrained_cfg": {**STATED, "std": ["a"]}}), "std: expected a list of numbers, got ['a']"),
        (json.dumps({**STATED, "std": [0, 1, 1]}), "mean, std: expected as many of each, std above 0"),
        (json.dumps({**STATED, "mean": [0.5]}), "mean, std: expected as many of each, std above 0"),
        (json.dumps({**STATED, "input_size": [3, 224]}), "input_size: expected channels and equal sides of at most 4096 pixels"),
        (json.dumps({**STATED, "input_size": [3, 224, 192]}), "input_size: expected channels and equal sides"),
        (json.dumps({**STATED, "input_size": [3, 99999, 99999]}), "input_size: expected channels and equal sides"),
        (json.dumps({**STATED, "crop_pct": 87.5}), "crop_pct: expected a fraction of at most 1, got 87.5"),
        (json.dumps({**STATED, "crop_pct": "all"}), "crop_pct: expected a list of numbers, got ['all']"),
    ],
)
def test_a_config_that_cannot_be_read_is_one_line(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        convention_of(f"timm:{tmp_path / 'model.safetensors'}")
    assert str(caught.value).startswith(f"weights: {tmp_path / 'config.json'}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "chosen, source, expected",
    [
        (None, None, None),
        (None, "lite0.npz", None),
        ("dataset", "torchvision:a.pth", None),
        ("imagenet", None, IMAGENET),
        ("inception", "torchvision:a.pth", HALVES),
        ({"mean": OTHER[0], "std": OTHER[1]}, "torchvision:a.pth", NUMBERS),
    ],
)
def test_the_users_word_goes_before_that_of_the_weights(chosen: Any, source: str | None, expected: Any) -> None:
    ours, line = prepared(given := dataset(), source, asked(chosen))
    assert (ours.mean, ours.std) == (expected or (given.mean, given.std))
    assert (line is None) == (expected is None)


@pytest.mark.parametrize(
    "chosen, message",
    [
        ("imagnet", "normalization: expected one of dataset, imagenet, inception or a mapping or null, got 'imagnet'"),
        ({"mean": [0.5] * 3}, "normalization: expected mean and std, got mean"),
        ({"mean": [0.5], "std": [0.5]}, "normalization: expected 3 numbers each, as two has channels"),
        ({"mean": [0.5] * 3, "std": [0.5, 0, 0.5]}, "normalization.std: expected numbers above 0"),
    ],
)
def test_a_wrong_normalization_is_one_line(chosen: Any, message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        prepared(dataset(), None, asked(chosen))
    assert message in str(caught.value)


def test_gray_images_keep_their_own(tmp_path: Path) -> None:
    """Such weights do not fit; their reader says so."""
    assert prepared(given := dataset(channels=1), "torchvision:a.pth") == (given, None)


@pytest.mark.parametrize("record, file", [("result.json", "weights.npz"), ("bundle.json", "weights.safetensors")])
@pytest.mark.parametrize("by_folder", [False, True])
def test_the_record_beside_our_weights_decides(record: str, file: str, by_folder: bool, tmp_path: Path) -> None:
    trained = dataclasses.replace(dataset(), mean=(0.1, 0.2, 0.3), resize="pad", classes=("x", "y"))
    (tmp_path / record).write_text(json.dumps(record_of(trained).plain()))
    (tmp_path / file).touch()
    weights = tmp_path if by_folder else tmp_path / file
    ours, line = prepared(dataset(), str(weights))
    assert (ours.mean, ours.std) == (trained.mean, trained.std)
    assert "as recorded beside them" in (line or "")
    assert with_resize_of({"name": "folder"}, str(weights)) == {"name": "folder", "resize": "pad", "channels": 3}


@pytest.mark.parametrize("settings, resize", [({}, "crop"), ({"resolution": 6}, "crop:0.875"), ({"resize": "squash"}, "squash")])
def test_images_that_keep_their_size_stay_whole(settings: dict[str, Any], resize: str, tmp_path: Path) -> None:
    """As a training that began with a library's weights recorded them: nothing says that those of now are larger."""
    trained = dataclasses.replace(dataset(), resize="crop:0.875")
    (tmp_path / "result.json").write_text(json.dumps(record_of(trained).plain()))
    (tmp_path / "weights.npz").touch()
    assert with_resize_of(settings, str(tmp_path / "weights.npz"))["resize"] == resize


@pytest.mark.parametrize(
    "settings, source, resize",
    [
        ({}, "torchvision:a.pth", "crop:0.875 at 224"),
        ({"resize": None}, "torchvision:a.pth", "crop:0.875 at 224"),
        ({"resize": "squash"}, "torchvision:a.pth", "squash at 224"),
        ({"resolution": 96}, "torchvision:a.pth", "crop:0.875 at None"),
        ({"resize": None}, "a.pth", "None at None"),
        ({"resize": None}, None, "None at None"),
    ],
)
def test_images_become_as_those_of_the_weights_unless_the_user_says(settings: Any, source: str | None, resize: str) -> None:
    found = with_resize_of(settings, source, 224)
    assert f"{found.get('resize')} at {found.get('published')}" == resize
    assert found.get("channels") == (3 if source and source.startswith("torchvision:") else None)


def test_gray_images_stay_gray_for_weights_of_gray_ones(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text(json.dumps(record_of(dataset(channels=1)).plain()))
    (tmp_path / "weights.npz").touch()
    assert "channels" not in with_resize_of({"name": "folder"}, str(tmp_path))


@pytest.mark.parametrize(
    "source, arch, expected",
    [
        ("torchvision:mobilenet_v2-7ebf99e0.pth", "mobilenet_v2", ("torch", 1e-5)),
        ("torchvision:mobilenet_v3_large-8738ca79.pth", "mobilenet_v3_large", ("torch", 1e-3)),
        ("torchvision:renamed.pth", "mobilenet_v3_large", ("torch", 1e-3)),
        ("torchvision:efficientnet_b4_rwightman-23ab8bcd.pth", "efficientnet_b4", ("torch", 1e-5)),
        ("torchvision:efficientnet_b5_lukemelas-1a07897c.pth", "efficientnet_b5", ("torch", 1e-3)),
        ("timm:efficientnet_b0.safetensors", "efficientnet_b0", ("torch", 1e-5)),
        ("timm:tf_efficientnet_b0.safetensors", "efficientnet_b0", ("same", 1e-3)),
        ("timm:models--timm--tf_efficientnet_b0.ns_jft_in1k/snapshots/a1b2/model.safetensors", "resnet50", ("same", 1e-3)),
        ("timm:mobilenetv3_rw.pth", "mobilenet_v3_large", ("torch", 1e-3)),
        ("timm:renamed.pth", "efficientnet_b0", ("same", 1e-3)),  # nothing known: as the architecture has it
        ("efficientnet_b0.pth", "efficientnet_b0", ("same", 1e-3)),
        ("keras:efficientnet_b0.h5", "efficientnet_b0", ("same", 1e-3)),
    ],
)
def test_weights_of_a_library_bring_its_padding_and_eps(source: str, arch: str, expected: tuple[str, float]) -> None:
    ours = load_arch(arch)
    published, line = as_published(ours, source)
    assert (published.padding, published.norm_eps) == expected
    assert (line is None) == (expected == (ours.padding, ours.norm_eps))
    assert as_published(published, source) == (published, None)
