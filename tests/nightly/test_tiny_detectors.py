"""The spaces tiny_ssdlite and tiny_yolo on made-up COCO files: a search by mAP, a training of what it found, and predictions."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import nas

pytestmark = pytest.mark.nightly
COLORS = {"square": (250, 80, 80), "bar": (80, 80, 250)}
SIZES = {"square": (16, 16), "bar": (12, 36)}


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """80 images of 96 x 64 pixels with up to two objects, every category id a multiple of three."""
    root, rng = tmp_path_factory.mktemp("shapes"), np.random.default_rng(0)
    images, annotations = [], []
    for i in range(80):
        pixels = rng.integers(0, 60, (64, 96, 3), np.uint8)
        for _ in range(int(rng.integers(0, 3))):
            number = int(rng.integers(2))
            name = ("square", "bar")[number]
            h, w = SIZES[name]
            y, x = int(rng.integers(0, 64 - h)), int(rng.integers(0, 96 - w))
            pixels[y : y + h, x : x + w] = COLORS[name]
            box = {"bbox": [x, y, w, h], "area": w * h, "iscrowd": 0}
            annotations.append({"id": len(annotations) + 1, "image_id": i, "category_id": 3 * (number + 1), **box})
        Image.fromarray(pixels).save(root / f"{i:03}.png")
        images.append({"id": i, "file_name": f"{i:03}.png", "width": 96, "height": 64})
    categories = [{"id": 3, "name": "square"}, {"id": 6, "name": "bar"}]
    (root / "shapes.json").write_text(
        json.dumps({"images": images, "annotations": annotations, "categories": categories})
    )
    return root


@pytest.mark.parametrize("space, ap50", [("tiny_ssdlite", 0.5), ("tiny_yolo", 0.4)])
def test_a_space_of_detectors_is_searched_and_the_best_is_trained(space: str, ap50: float, shapes: Path, tmp_path: Path) -> None:
    data = {"name": "coco", "path": str(shapes), "annotations": {"train": "shapes.json"}, "resolution": 64}
    recipe = {"batch": 16, "lr": 0.01, "optimizer": "adamw", "augment": {"flip": True}}
    found = nas.search(
        space,
        data,
        objectives={"map": "max", "params": "min"},
        trials=2,
        controller="random",
        recipe={**recipe, "epochs": 2},
        executor="local",
        device=[],
        run=tmp_path / "found",
    )
    assert found.best is not None
    trained = nas.train(found.best.arch, data, recipe=recipe, epochs=30, executor="local", run=tmp_path / "net")
    assert trained.metrics["ap50"] > ap50
    (one,) = nas.predict(trained.run, shapes / "003.png")
    assert one.objects is not None
    assert all(
        0 <= found.box[0] < found.box[2] <= 96 and 0 <= found.box[1] < found.box[3] <= 64 for found in one.objects
    )
