"""A segmenter's bundle: its files, the code in its card and `nas predict` have the same masks; what has no post-processing says so."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nas.arch import Arch, Block, Stage
from nas.arch.blocks import lower
from nas.data import Dataset, Split
from nas.records import TargetSpec
from nas.workflows.export import load_bundle, make_bundle
from nas.workflows.export.card import card
from nas.workflows.export.postprocess import run_whole
from nas.workflows.export.run import ExportCommand
from nas.workflows.predict import predict
from networks import settled
from small_bundle import ARCH, DATA, WEIGHTS

SIDE, CLASSES = 8, ("sky", "road", "tree")
SEGMENTER = Arch(
    name="segmenter", resolution=SIDE, stem=Block.of("conv", width=8, stride=1), stages=(Stage((Block.of("conv", width=8),), stride=2),),
    head=Block.of("unet", widths=(8,)), channels=1, classes=3,
)  # fmt: skip


def masks(count: int, seed: int) -> Split:
    rng = np.random.default_rng(seed)
    return Split(rng.integers(0, 256, (count, SIDE, SIDE, 1), np.uint8), rng.integers(0, 3, (count, SIDE, SIDE), np.uint8))


SPEC = TargetSpec("mask", (SIDE, SIDE), "uint8")
STREET = Dataset("street", CLASSES, masks(9, 0), masks(3, 1), masks(5, 2), SIDE, 1, (0.5,), (0.3,), SPEC)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("segmenter") / "bundle"
    formats, origin = ["onnx", "tflite"], {"valid": {"miou": 0.25}}
    variables = settled(lower(SEGMENTER))
    variables["params"]["head/logits"]["kernel"] = 100 * variables["params"]["head/logits"]["kernel"]  # they begin near 0: one class
    make_bundle(folder, SEGMENTER, variables, STREET, formats, preprocess=True, postprocess=True, origin=origin,
                latencies={"host": 0.5})  # fmt: skip
    return folder


def test_masks_are_those_of_predict(made: Path) -> None:
    images = np.asarray(STREET.test.images[:])
    found = run_whole(made / "model.onnx", images)["mask"]
    expected = np.stack([np.asarray(one.mask) for one in predict(load_bundle(made), images)])
    assert np.array_equal(found, expected)
    assert len(np.unique(found)) > 1


def test_following_the_card_gives_them_too(made: Path, tmp_path: Path) -> None:
    Image.fromarray(np.asarray(STREET.test.images[:1])[0, ..., 0]).save(tmp_path / "photo.png")
    (expected,) = predict(load_bundle(made), tmp_path / "photo.png")
    reading, *runs = re.findall(r"```python\n(.*?)```", (made / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert len(runs) == 2
    for code in runs:
        places = {"photo.jpg": tmp_path / "photo.png", "mask.png": tmp_path / "mask.png"}
        text = reading + code.replace('"model.', f'"{made}/model.')
        for name, path in places.items():
            text = text.replace(f'"{name}"', repr(str(path)))
        answers: list[Any] = []
        exec(text, {"print": answers.append})
        assert {name: share for name, share in answers[0].items() if share} == dict(expected.shares)
        with Image.open(tmp_path / "mask.png") as mask:
            assert np.array_equal(np.asarray(mask), np.asarray(expected.mask))


def test_the_card_says_what_a_segmenter_is(made: Path) -> None:
    text = (made / "README.md").read_text(encoding="utf-8")
    says = "Segments: sky, road, tree, in 8x8 images of 1 channel", "`mask` (n, h, w) uint8"
    for words in (*says, "; validation 0.2500 |", "| test pixel_accuracy |", "measured, without the post-processing"):
        assert words in text, words
    assert not re.search("Classifies|probabilities|accuracy on", text)
    assert ast.literal_eval(re.findall(r"\| test miou \| (\S+) on 5 images", text)[0]) > 0


@pytest.mark.parametrize(
    "task, does, run",
    [
        ("classification", "Classifies 8x6 images of 3 channels into 2 classes.", "runs it."),
        ("detection", "Detects: a, b, in 8x6 images of 3 channels.", "runs it, `draw=<folder>` draws what it finds."),
        ("embedding", "Compares 8x6 images of 3 channels: gives a vector", "runs it with `compare=<file>` or `gallery=<folder>`."),
        ("regression", "A network for regression from 8x6 images of 3 channels.", "runs it."),
    ],
)
def test_a_card_says_what_each_network_is_for(task: str, does: str, run: str) -> None:
    facts: dict[str, Any] = {
        "name": "net", "input": (6, 8, 3), "task": {"name": task, "primary": "x"}, "test": {"metrics": {"x": 0.5, "y": -1.0}, "images": 4},
        "params": 1, "macs": 2, "latencies": {}, "files": [], "int8": {}, "origin": {},
    }  # fmt: skip
    text = card(facts, None, ["a", "b"])
    for words in (does, run, "| test x | 0.5000 on 4 images |", "| test y | - on 4 images |"):
        assert words in text, words


def test_settings_of_other_tasks_are_refused(made: Path) -> None:
    bundle, images = load_bundle(made), np.asarray(STREET.test.images[:1])
    with pytest.raises(ValueError, match=r"threshold: is of .* scores of objects, and segmentation gives a class for every pixel"):
        predict(bundle, images, threshold=0.5)
    with pytest.raises(ValueError, match="calibrated: is of the probabilities of a classifier, and the network is for segmentation"):
        predict(bundle, images, calibrated=True)
    with pytest.raises(ValueError, match="label: 0 as a whole has no class"):
        _ = predict(bundle, images)[0].label


@pytest.mark.parametrize(
    "arch, dataset, formats, words",
    [
        (ARCH, DATA, ["onnx"], "postprocess: is for segmentation and detection, this network is for classification; preprocess=true gives"),
        (SEGMENTER, STREET, ["tflite"], "postprocess: is in files of ONNX; formats: expected onnx among them"),
    ],
)
def test_what_has_no_post_processing_is_refused(arch: Arch, dataset: Dataset, formats: list[str], words: str, tmp_path: Path) -> None:
    weights = WEIGHTS if arch is ARCH else settled(lower(arch))
    with pytest.raises(ValueError, match=words):
        make_bundle(tmp_path / "b", arch, weights, dataset, formats, postprocess=True)
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="postprocess: is of a trained network"):
        ExportCommand(arch="unet", postprocess=True)
