"""Exported files stand alone: what they say of themselves is enough for the answers of `nas predict`."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from PIL import Image

from nas.data import Split
from nas.workflows.export import load_bundle, make_bundle
from nas.workflows.export.bundle import calibration_rows
from nas.workflows.predict import Prediction, predict
from small_bundle import ARCH, DATA, WEIGHTS

NAMES = ("käse", 'a "quoted" name', "c")
PAD = replace(DATA, classes=NAMES, resize="pad")


def photo(path: Path) -> Path:
    """Wide, turned by its EXIF orientation, and half clear."""
    image = Image.fromarray(np.random.default_rng(3).integers(0, 256, (12, 20, 3), np.uint8))
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(path, "PNG", exif=exif)
    return path


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "whole"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bool]:
    """(a bundle, whether its files normalize images themselves)."""
    folder = tmp_path_factory.mktemp("bundle") / "b"
    formats = ["onnx", "tflite", *(["stablehlo"] if request.param else [])]
    make_bundle(folder, ARCH, WEIGHTS, PAD, formats, with_int8=True, preprocess=request.param)
    return folder, request.param


def facts_of(folder: Path, name: str) -> dict[str, Any]:
    if name.endswith(".tflite"):
        return json.loads(zipfile.ZipFile(folder / name).read("metadata.json"))
    return {one.key: json.loads(one.value) for one in onnx.load(folder / name).metadata_props}


@pytest.mark.parametrize("name", ["model.onnx", "model_int8.onnx", "model.tflite", "model_int8.tflite"])
def test_a_file_says_what_it_is(made: tuple[Path, bool], name: str) -> None:
    folder, whole = made
    facts = facts_of(folder, name)
    assert facts["classes"] == list(NAMES)
    assert (facts["mean"], facts["std"], facts["resize"], facts["resolution"]) == ([0.5], [0.3], "pad", 8)
    assert (facts["input_type"], facts["output"]) == (("uint8", "probabilities") if whole else ("float32", "logits"))
    assert np.ravel(facts["input_range"]) == pytest.approx([0, 255] if whole else [-0.5 / 0.3, 0.5 / 0.3])
    if name.endswith(".tflite"):
        assert zipfile.ZipFile(folder / name).read("labels.txt").decode().splitlines() == list(NAMES)


@pytest.mark.parametrize("name", ["model.onnx", "model_int8.onnx"])
def test_a_file_asks_for_no_operators_that_it_does_not_use(made: tuple[Path, bool], name: str) -> None:
    """ONNX Runtime 1.16 and 1.17 refuse a model with an operator set that they do not know, used or not."""
    model = onnx.load(made[0] / name)
    assert [one.domain for one in model.opset_import] == [""]
    assert (model.ir_version, model.opset_import[0].version) <= (9, 19)


def blocks(folder: Path) -> Sequence[str]:
    """The code of the card: reading a photo, ONNX Runtime, LiteRT."""
    return re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(encoding="utf-8"), re.DOTALL)


def test_following_the_card_gives_the_answers_of_nas(made: tuple[Path, bool]) -> None:
    folder, _ = made
    (expected,) = predict(load_bundle(folder), photo(folder / "photo.jpg"))
    reading, *runs = blocks(folder)
    code = "import sys\nsys.modules['nas'] = None\n" + reading + "\n".join(runs).replace("print({", "print('ANSWER', {")
    command, environment = [sys.executable, "-c", code], {**os.environ, "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr
    answers = [line.removeprefix("ANSWER ") for line in done.stdout.splitlines() if line.startswith("ANSWER ")]
    assert len(answers) == 2
    for answer in answers:
        assert close(answer, expected), (answer, expected)


def close(answer: str, expected: Prediction) -> bool:
    found: dict[str, float] = ast.literal_eval(answer)
    return found == pytest.approx(dict(expected.probabilities), abs=1e-5)


def test_calibration_images_are_spread_over_classes() -> None:
    """They were the first, all of one class where a folder is read class by class."""
    targets = np.repeat(np.arange(4), [100, 50, 30, 20])
    assert np.bincount(targets[calibration_rows(targets, 20)]).tolist() == [10, 5, 3, 2]
    assert calibration_rows(np.linspace(0, 1, 9, dtype=np.float32), 3).tolist() == [0, 4, 8]


def test_images_of_another_size_than_the_network_takes(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    larger = replace(DATA, resolution=12, test=Split(rng.integers(0, 256, (9, 12, 12, 1), np.uint8), np.arange(9, dtype=np.int32) % 3))
    larger = replace(larger, train=larger.test, valid=larger.test)
    done = make_bundle(tmp_path / "b", ARCH, WEIGHTS, larger, ["onnx", "tflite"], preprocess=True)
    assert max(done.differences.values()) < 1e-5
    assert facts_of(tmp_path / "b", "model.onnx")["input_side"] == 12
    with pytest.raises(ValueError, match="preprocess: gives probabilities of classes"):
        make_bundle(tmp_path / "c", ARCH, WEIGHTS, replace(larger, classes=()), ["onnx"], preprocess=True)
