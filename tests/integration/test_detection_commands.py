"""A detector is trained, exported and asked: what it learned finds objects, at the size of the images, from every form alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import nas
import small_detection
from nas.recipe import Augment
from nas.tasks import DETECTION, task_of
from nas.tasks.boxes.geometry import iou
from nas.workflows.drawn import draw_all
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


def test_objects_are_found_at_the_size_of_the_images(trained: Any, tmp_path: Path) -> None:
    """Of a file twice as wide and three times as high; squashed, it is the image of the test split."""
    row = int((DATA.test.targets[..., 4] >= 0).sum(1).argmax())
    image = np.asarray(DATA.test.images[row : row + 1])[0]
    Image.fromarray(image[..., 0].repeat(3, 0).repeat(2, 1)).save(tmp_path / "one.png")
    truth = DATA.test.targets[row]
    expected = truth[truth[:, 4] >= 0][:, :4] * ([3 * SIDE, 2 * SIDE] * 2)
    bundle = trained.export(tmp_path / "bundle", formats=["onnx", "source"])  # compared with the network itself
    for weights in (trained.run, bundle.folder):
        (found,) = nas.predict(weights, tmp_path / "one.png", threshold=0.3)
        boxes = np.array([one.box for one in found.objects or ()])[:, [1, 0, 3, 2]]
        assert (iou(expected[:, None], boxes[None]).max(1) > 0.5).all()
        assert {one.label for one in found.objects or ()} <= {"square", "bar"}
    (drawn,) = draw_all(trained.arch, [found], tmp_path / "drawn")
    assert np.asarray(Image.open(drawn)).shape[2] == 3


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
