"""A detector is trained, exported and asked: what it learned finds objects, at the size of the images, from every form alike."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from PIL import Image

import nas
import small_detection
from nas.recipe import Augment
from nas.tasks import DETECTION, task_of
from nas.tasks.boxes.geometry import iou
from nas.workflows.drawn import draw_all
from nas.workflows.export.postprocess import run_whole
from nas.workflows.predict import Prediction
from small_detection import DETECTOR, SIDE

DATA = small_detection.dataset()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Any:
    heard: list[str] = []
    folder = tmp_path_factory.mktemp("detector")
    found = nas.train(
        DETECTOR,
        DATA,
        recipe=small_detection.RECIPE,
        run=folder / "net",
        executor="local",
        progress=lambda one: heard.append(one.text),
    )
    assert any(line.startswith("default boxes reach, at an IoU of 0.5: square ") for line in heard)
    return found


def test_a_detector_learns(trained: Any) -> None:
    assert list(trained.metrics) == list(DETECTION.metrics)
    assert trained.metrics["ap50"] > 0.8
    assert isinstance(trained.arch.head.get("scales"), tuple)  # what the data decided stands in the architecture


@pytest.fixture(scope="module")
def bundle(trained: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files without post-processing, compared with the network itself."""
    return trained.export(tmp_path_factory.mktemp("plain") / "bundle", formats=["onnx", "source", "tflite"]).folder


@pytest.fixture(scope="module")
def whole(trained: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files with post-processing."""
    return trained.export(tmp_path_factory.mktemp("whole") / "bundle", formats=["onnx"], preprocess=True, postprocess=True).folder


def test_objects_are_found_at_the_size_of_the_images(trained: Any, bundle: Path, tmp_path: Path) -> None:
    """Of a file twice as wide and three times as high; squashed, it is the image of the test split."""
    row = int((DATA.test.targets[..., 4] >= 0).sum(1).argmax())
    image = np.asarray(DATA.test.images[row : row + 1])[0]
    Image.fromarray(image[..., 0].repeat(3, 0).repeat(2, 1)).save(tmp_path / "one.png")
    truth = DATA.test.targets[row]
    expected = truth[truth[:, 4] >= 0][:, :4] * ([3 * SIDE, 2 * SIDE] * 2)
    for weights in (trained.run, bundle):
        (found,) = nas.predict(weights, tmp_path / "one.png", threshold=0.3)
        boxes = np.array([one.box for one in found.objects or ()])[:, [1, 0, 3, 2]]
        assert (iou(expected[:, None], boxes[None]).max(1) > 0.5).all()
        assert {one.label for one in found.objects or ()} <= {"square", "bar"}
    (drawn,) = draw_all(trained.arch, [found], tmp_path / "drawn")
    assert np.asarray(Image.open(drawn)).shape[2] == 3


def objects_of(one: Prediction) -> list[tuple[Any, ...]]:
    return [(found.label, *found.box, found.score) for found in one.objects or ()]


def test_a_file_with_post_processing_gives_the_objects_of_predict(whole: Path) -> None:
    """Of all test images at once; some have no object."""
    images = np.asarray(DATA.test.images[:])
    found, predicted = run_whole(whole / "model.onnx", images), nas.predict(whole, images)
    names = [*DATA.classes, "none"]
    for i, one in enumerate(predicted):
        rows = range(found["count"][i])
        got = [(names[found["classes"][i, k]], *(SIDE * found["boxes"][i, k]), found["scores"][i, k]) for k in rows]
        assert [label for label, *_ in got] == [label for label, *_ in objects_of(one)]
        np.testing.assert_allclose([row[1:] for row in got], [row[1:] for row in objects_of(one)], atol=1e-4)
    assert 0 in found["count"]
    assert found["count"].max() > 1
    says = {one.key: json.loads(one.value) for one in onnx.load(whole / "model.onnx").metadata_props}
    assert says["output"].startswith("boxes: x0, y0, x1, y1")
    assert "default_boxes" not in says


def test_following_the_card_gives_the_objects_of_predict(bundle: Path, whole: Path, tmp_path: Path) -> None:
    """In ONNX Runtime and LiteRT without post-processing, and with it."""
    row = int((DATA.test.targets[..., 4] >= 0).sum(1).argmax())
    image = np.asarray(DATA.test.images[row : row + 1])[0, ..., 0]
    Image.fromarray(image.repeat(3, 0).repeat(2, 1)).save(tmp_path / "photo.png")
    (expected,) = nas.predict(bundle, tmp_path / "photo.png")
    for folder, count in ((bundle, 2), (whole, 1)):
        reading, *runs = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(encoding="utf-8"), re.DOTALL)
        assert len(runs) == count
        for code in runs:
            answers: list[Any] = []
            text = (reading + code).replace('"photo.jpg"', repr(str(tmp_path / "photo.png"))).replace('"model.', f'"{folder}/model.')
            exec(text, {"print": answers.append})
            got = [(label, *box, score) for label, score, box in answers[0]]
            assert [label for label, *_ in got] == [label for label, *_ in objects_of(expected)]
            np.testing.assert_allclose([one[1:] for one in got], [one[1:] for one in objects_of(expected)], atol=1e-3)


def test_the_card_of_a_detector(bundle: Path, trained: Any) -> None:
    card = (bundle / "README.md").read_text(encoding="utf-8")
    value, valid = trained.test["ap50"], trained.metrics["ap50"]
    for words in ("Detects: square, bar, in 12x12 images", f"| test ap50 | {value:.4f} on 12 images; validation {valid:.4f} |", "codes"):
        assert words in card
    assert "Classifies" not in card


def test_images_and_boxes_move_together() -> None:
    images, targets = np.asarray(DATA.train.images[:8]), DATA.train.targets[:8]
    moved, found = task_of(DETECTOR).augment(
        images, targets, np.random.default_rng(0), Augment(flip=True, crop_padding=0)
    )
    mirrored = targets[..., [0, 3, 2, 1]] * [1, -1, 1, -1] + [0, 1, 0, 1]
    turned = (moved == images[:, :, ::-1]).all((1, 2, 3))
    assert 0 < turned.sum() < 8
    real = targets[..., 4] >= 0
    for i in range(8):
        np.testing.assert_allclose(
            found[i][real[i], :4], (mirrored if turned[i] else targets)[i][real[i], :4], atol=1e-6
        )
