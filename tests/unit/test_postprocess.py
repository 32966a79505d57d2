"""What ONNX Runtime makes of a detector's and a segmenter's outputs is what the tasks make of them in NumPy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from PIL import Image

from nas.convert import PixelClasses, Postprocess
from nas.data.pixels import Resize
from nas.tasks.boxes.base import Head
from nas.tasks.boxes.geometry import LARGEST
from nas.tasks.boxes.selection import MOST, OF_CLASS, candidates, selected
from nas.tasks.boxes.ssd import SsdHead
from nas.tasks.boxes.yolo import YoloHead
from nas.workflows.export.decoding import objects as card_objects
from nas.workflows.export.decoding import places
from nas.workflows.export.postprocess import facts_of, objects_of, without_partner
from nas.workflows.placing import SURE, boxes_on

SIDE, A = 5, 100  # cells a side, default boxes


SIZES = (((0.15, 0.2), (0.3, 0.2), (0.7, 0.4), (0.45, 0.8)),)  # at each cell
HEADS: dict[str, Head] = {
    "softmax": SsdHead((SIDE,), SIZES, False),
    "sigmoid": SsdHead((SIDE,), SIZES, True),
    "objectness": YoloHead((SIDE,), SIZES),
}
SOFTMAX = HEADS["softmax"]


def run(behind: Postprocess, **outputs: np.ndarray) -> dict[str, np.ndarray]:
    """What ONNX Runtime gives of a model that passes its inputs on as the outputs of a network."""
    helper = onnx.helper
    values = [helper.make_tensor_value_info(name, 1, ["N", *one.shape[1:]]) for name, one in outputs.items()]
    inputs = [helper.make_tensor_value_info(f"in_{name}", 1, ["N", *one.shape[1:]]) for name, one in outputs.items()]
    nodes = [helper.make_node("Identity", [f"in_{name}"], [name]) for name in outputs]
    graph = helper.make_graph(nodes, "network", inputs, values)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    session = onnxruntime.InferenceSession(behind.in_onnx(model.SerializeToString()), providers=["CPUExecutionProvider"])
    found = session.run(None, {f"in_{name}": one for name, one in outputs.items()})
    assert tuple(one.name for one in session.get_outputs()) == behind.names
    return {name: np.asarray(one) for name, one in zip(behind.names, found, strict=True)}


def random_outputs(n: int, classes: int, wide: float = 3.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng([n, classes])
    return rng.normal(0, 2, (n, A, 4)).astype(np.float32), rng.normal(0, wide, (n, A, classes + 1)).astype(np.float32)


def check(found: dict[str, np.ndarray], own: dict[str, np.ndarray], threshold: float) -> None:
    for i, count in enumerate(found["count"]):
        rows = own["scores"][i] >= threshold
        assert count == rows.sum()
        np.testing.assert_allclose(found["boxes"][i, :count], own["boxes"][i][rows][:, [1, 0, 3, 2]], atol=1e-5)
        np.testing.assert_allclose(found["scores"][i, :count], own["scores"][i][rows], atol=1e-6)
        assert found["classes"][i, :count].tolist() == own["classes"][i][rows].tolist()
        assert (found["classes"][i, count:] == -1).all()
        assert not found["scores"][i, count:].any()
        assert not found["boxes"][i, count:].any()


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
@pytest.mark.parametrize("classes, threshold", [(1, SURE), (3, SURE), (3, 0.001), (20, 0.05)])
def test_objects_are_those_of_the_task(classes: int, threshold: float, head: Head) -> None:
    codes, logits = random_outputs(4, classes)
    codes[0, :30, 2:] = -600  # boxes without area
    logits[1, :, 0] = 99  # an image with nothing but background
    logits[1, :, 1:] = -99
    if isinstance(head, YoloHead):
        logits[1] = -logits[1]  # its first logit is of an object
    found = run(replace(objects_of(head, classes), threshold=threshold), boxes=codes, classes=logits)
    check(found, selected(candidates(head, codes, logits)), threshold)
    assert found["count"][1] == 0
    assert found["count"][0] > 0


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
def test_the_code_of_a_model_card_gives_the_same_objects(head: Head) -> None:
    codes, logits = random_outputs(1, 3)
    facts = {**facts_of(head), "classes": ["a", "b", "c"]}
    scope: dict[str, Any] = {"np": np, "facts": facts, "outputs": {"boxes": codes, "classes": logits}}
    exec(card_objects(head.scoring, LARGEST, OF_CLASS, MOST), scope)
    own = selected(candidates(head, codes, logits))
    rows = own["scores"][0] >= SURE
    scores, classes, boxes = zip(*scope["found"], strict=True)
    np.testing.assert_allclose(scores, own["scores"][0][rows], atol=1e-6)
    np.testing.assert_allclose(boxes, own["boxes"][0][rows][:, [1, 0, 3, 2]], atol=1e-5)
    assert list(classes) == own["classes"][0][rows].tolist()


@pytest.mark.parametrize("of_class, looked_at", [(10, 1000), (60, 50), (10, 25)])
def test_no_more_boxes_are_looked_at_than_the_task_does(monkeypatch: pytest.MonkeyPatch, of_class: int, looked_at: int) -> None:
    monkeypatch.setattr("nas.tasks.boxes.selection.OF_CLASS", of_class)
    monkeypatch.setattr("nas.tasks.boxes.selection.LOOKED_AT", looked_at)
    codes, logits = random_outputs(2, 5)
    limited = replace(objects_of(SOFTMAX, 5), threshold=0.001, of_class=of_class, looked_at=looked_at)
    check(run(limited, boxes=codes, classes=logits), selected(candidates(SOFTMAX, codes, logits)), 0.001)


@pytest.mark.parametrize("make", [np.zeros, np.ones])
def test_of_equal_scores_the_first_is_the_better(make: Callable[[tuple[int, ...]], np.ndarray]) -> None:
    codes, logits = np.zeros((1, A, 4), np.float32), make((1, A, 3)).astype(np.float32)
    check(run(objects_of(SOFTMAX, 2), boxes=codes, classes=logits), selected(candidates(SOFTMAX, codes, logits)), SURE)


@pytest.mark.parametrize("rule", ["squash", "crop", "pad", "squash:0.5", "crop:0.7"])
@pytest.mark.parametrize("size", [(31, 20), (20, 31)])
def test_the_code_of_a_model_card_brings_boxes_back_to_the_photo(rule: Resize, size: tuple[int, int], tmp_path: Path) -> None:
    photo = Image.new("RGB", size)
    photo.save(tmp_path / "photo.png")
    box = np.array([0.1, 0.2, 0.9, 0.6])
    scope: dict[str, Any] = {}
    code = "import numpy as np\nfrom PIL import Image, ImageOps\n" + places(rule)
    exec(code.replace('"photo.jpg"', repr(str(tmp_path / "photo.png"))), scope)
    np.testing.assert_allclose(scope["on_photo"](box[[1, 0, 3, 2]]), boxes_on(box[None], *size, rule)[0])


def test_pixels_have_the_class_of_the_highest_logit() -> None:
    logits = np.random.default_rng(0).normal(size=(3, 4, 6, 5)).astype(np.float32)
    found = run(PixelClasses(6, 5), logits=logits)["mask"]
    assert found.dtype == np.uint8
    assert np.array_equal(found, logits.argmax(1))


def test_objects_without_a_partner_are_counted() -> None:
    codes, logits = random_outputs(2, 3)
    own = selected(candidates(SOFTMAX, codes, logits))
    same = {"boxes": own["boxes"][..., [1, 0, 3, 2]], "scores": own["scores"], "classes": own["classes"]}
    same["count"] = (own["scores"] >= SURE).sum(1)
    assert without_partner(same, own) == (0, 2 * same["count"].sum())
    assert without_partner({**same, "count": same["count"] - [1, 0]}, own)[0] == 1
    assert without_partner({**same, "classes": own["classes"] + 1}, own)[0] == 2 * same["count"].sum()
