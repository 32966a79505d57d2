"""YOLO's codes, answers and losses: hand values, direct loops, and a training that reaches zero."""

from __future__ import annotations

import dataclasses
import functools
from math import exp, log
from typing import Any

import jax
import numpy as np
import pytest

import small_detection
from nas.arch import Arch, Block, Stage
from nas.data import Split
from nas.recipe import Augment, DetectionLoss, Recipe
from nas.tasks import check_recipe, fit_arch, task_of
from nas.tasks.boxes.geometry import giou, iou
from nas.tasks.boxes.matching import Matched
from nas.tasks.boxes.yolo import YoloHead
from nas.tasks.detection import Detection
from nas.train import fit

HEAD = YoloHead((4, 2), (((0.1, 0.2), (0.2, 0.1)), ((0.5, 0.4), (0.9, 0.9))))
TASK, A, CLASSES = Detection(head=HEAD), 2 * 16 + 2 * 4, 3
GIOU, FOCAL = DetectionLoss(boxes="giou"), DetectionLoss(objectness="focal")


def targets() -> np.ndarray:
    """(2, 4, 8). First image: three objects, of which the first two have one answer, and a crowd. Second: none."""
    rows = np.zeros((2, 4, 8), np.float32)
    rows[..., 4], rows[..., 7] = -1, 100
    rows[0, 0, :6] = 0.3, 0.55, 0.4, 0.7, 1, 0  # 0.1 x 0.15 in row 1, column 2 of the fine map
    rows[0, 1, :6] = 0.3, 0.5, 0.4, 0.7, 0, 0  # as its first box
    rows[0, 2, :6] = 0.1, 0.1, 0.7, 0.5, 2, 0  # 0.6 x 0.4, centers at 0.4, 0.3: row 0, column 0 of the coarse map
    rows[0, 3, :6] = 0.75, 0.75, 1.0, 1.0, 1, 1  # the corner, which does not count
    return rows


ANSWERS = {(1 * 4 + 2) * 2: 1, 32 + 0: 2}  # default box -> object


def outputs(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    codes, logits = rng.normal(size=(2, A, 4)), rng.normal(size=(2, A, CLASSES + 1))
    return codes.astype(np.float32), logits.astype(np.float32)


@functools.cache
def compiled(settings: DetectionLoss) -> Any:
    def total(codes: Any, logits: Any, rows: Any) -> Any:
        parts, positives = HEAD.losses(codes, logits, rows, settings)
        return sum(part.sum() for part in parts.values()), (parts, positives)

    return jax.jit(jax.value_and_grad(total, (0, 1), has_aux=True))


def logistic(x: float) -> float:
    return 1 / (1 + exp(-x))


def test_codes_stand_for_boxes_within_their_cell() -> None:
    codes = np.array([[0.0, 0.0, 0.0, 0.0], [log(3), -log(3), log(2), log(0.5)]], np.float32)
    found = HEAD.decode(codes, np.array([12, 33]))
    np.testing.assert_allclose(found[0], [0.375 - 0.05, 0.625 - 0.1, 0.375 + 0.05, 0.625 + 0.1], atol=1e-6)
    center, size = (0.75 * 0.5, 0.25 * 0.5), (1.8, 0.45)
    expected = [center[0] - size[0] / 2, center[1] - size[1] / 2, center[0] + size[0] / 2, center[1] + size[1] / 2]
    np.testing.assert_allclose(found[1], expected, atol=1e-6)
    assert np.isfinite(HEAD.decode(np.full((1, 4), 1e4, np.float32), np.array([0]))).all()


def test_every_code_by_loops_and_traced_alike() -> None:
    codes, logits = outputs()
    found = np.asarray(jax.jit(lambda each: HEAD.decode(each, np.arange(A)))(codes))
    np.testing.assert_allclose(found, HEAD.decode(codes, np.arange(A)), rtol=1e-5, atol=1e-6)
    a = 0
    for side, sizes in zip(HEAD.maps, HEAD.sizes, strict=True):
        for row, column, box in np.ndindex(side, side, len(sizes)):
            ty, tx, th, tw = map(float, codes[0, a])
            y, x = (row + logistic(ty)) / side, (column + logistic(tx)) / side
            h, w = sizes[box][0] * exp(th), sizes[box][1] * exp(tw)
            np.testing.assert_allclose(found[0, a], [y - h / 2, x - w / 2, y + h / 2, x + w / 2], rtol=1e-5, atol=1e-6)
            assert HEAD.scores(logits)[0, a, 1] == pytest.approx(
                logistic(float(logits[0, a, 0])) * logistic(float(logits[0, a, 2])), rel=1e-5
            )
            a += 1
    assert a == A


def matched(given: np.ndarray, ignore: float) -> Matched:
    return jax.device_get(jax.jit(HEAD.matched, static_argnums=2)(given, targets(), ignore))


def test_the_cell_of_the_center_answers_with_the_nearest_shape() -> None:
    found = matched(np.zeros((2, A, 4), np.float32), 0.7)
    assert np.flatnonzero(found.positive[0]).tolist() == [*ANSWERS]
    assert [int(found.truth[0, a]) for a in ANSWERS] == [*ANSWERS.values()]
    assert not found.positive[1].any()
    assert found.negative[1].all()
    corner = {30, 31}  # the cell of the crowd; larger boxes do not lie half in it
    assert {*np.flatnonzero(~found.negative[0]).tolist()} == {*ANSWERS} | corner


def test_what_overlaps_an_object_is_no_background() -> None:
    given = np.zeros((2, A, 4), np.float32)
    given[:, 3], given[:, 5] = [0.1, 0.1, 0.7, 0.45], [0.1, 0.1, 0.7, 0.35]  # IoUs of 7/8 and 5/8 with the last object
    at = {ignore: matched(given, ignore).negative[0, [3, 5]].tolist() for ignore in (0.5, 0.7, 0.9)}
    assert at == {0.5: [False, False], 0.7: [False, True], 0.9: [True, True]}
    assert matched(given, 0.5).negative[1].all()


def entropy(chance: float) -> float:
    return -sum(p * log(p) for p in (chance, 1 - chance) if p > 0)


def cross(logit: float, chance: float) -> float:
    return -chance * log(logistic(logit)) - (1 - chance) * log(1 - logistic(logit)) - entropy(chance)


@pytest.mark.parametrize("settings", [DetectionLoss(), GIOU, FOCAL], ids=["codes", "giou", "focal"])
def test_losses_by_loops(settings: DetectionLoss) -> None:
    codes, logits = outputs(1)
    (_, (parts, positives)), gradient = compiled(settings)(codes, logits, targets())
    assert positives.tolist() == [2, 0]
    given, rows = HEAD.decode(codes, np.arange(A)), targets()
    left = matched(given, 0.7)
    expected = {"boxes": 0.0, "objectness": 0.0, "classes": 0.0}
    cells = [(side, size) for side, sizes in zip(HEAD.maps, HEAD.sizes, strict=True) for _ in range(side**2) for size in sizes]
    for a, truth in ANSWERS.items():
        row, (side, size) = rows[0, truth], cells[a]
        for axis in range(2):
            place = float(row[axis] + row[axis + 2]) / 2 * side
            extent = float(row[axis + 2] - row[axis])
            apart = abs(float(codes[0, a, 2 + axis]) - log(extent / size[axis]))
            term = cross(float(codes[0, a, axis]), place % 1) + (apart**2 / 2 if apart < 1 else apart - 0.5)
            expected["boxes"] += term * (2 - float((row[2] - row[0]) * (row[3] - row[1])))
        expected["classes"] += sum(cross(float(logits[0, a, 1 + c]), float(c == row[4])) for c in range(CLASSES))
    if settings.boxes == "giou":
        expected["boxes"] = sum(float(1 - giou(given[0, a], rows[0, truth, :4])) for a, truth in ANSWERS.items())
    for a in range(A):
        if a in ANSWERS or left.negative[0, a]:
            there, logit = a in ANSWERS, float(logits[0, a, 0])
            weight = (0.25 if there else 0.75) * (1 - logistic(logit if there else -logit)) ** 2
            expected["objectness"] += cross(logit, float(there)) * (weight if settings.objectness == "focal" else 1)
    assert {name: float(part[0]) for name, part in parts.items()} == pytest.approx(expected, rel=1e-4)
    assert parts["boxes"][1] == parts["classes"][1] == 0  # no object
    assert parts["objectness"][1] > 0
    assert all(np.isfinite(one).all() for one in gradient)


def test_the_right_answers_cost_nothing_and_are_found() -> None:
    codes, logits = np.zeros((2, A, 4), np.float32), np.full((2, A, CLASSES + 1), -20, np.float32)
    rows = targets()
    for a, truth in ANSWERS.items():
        (y0, x0, y1, x1), label = rows[0, truth, :4].astype(float), int(rows[0, truth, 4])
        side, size = (4, HEAD.sizes[0][0]) if a < 32 else (2, HEAD.sizes[1][0])
        offsets = [(y0 + y1) / 2 * side % 1, (x0 + x1) / 2 * side % 1]
        codes[0, a] = [*(log(o / (1 - o)) for o in offsets), log((y1 - y0) / size[0]), log((x1 - x0) / size[1])]
        logits[0, a, [0, 1 + label]] = 20
    for settings in (DetectionLoss(), GIOU, FOCAL):
        (total, _), _ = compiled(settings)(codes, logits, rows)
        assert abs(total) < 1e-4
    found = TASK.postprocess({"boxes": codes[:, None], "classes": logits[:, None]})
    assert (found["scores"] > 0.5).sum() == 2
    best = [int(iou(found["boxes"][0, :2], rows[0, truth, :4]).argmax()) for truth in ANSWERS.values()]
    assert found["classes"][0, best].tolist() == [rows[0, truth, 4] for truth in ANSWERS.values()]


def test_padding_gives_no_gradient_that_is_not_finite() -> None:
    codes, logits = outputs(2)
    for settings in (DetectionLoss(), GIOU):
        (_, (parts, _)), gradient = compiled(settings)(codes, logits, targets()[[1, 1]])
        assert parts["boxes"].tolist() == [0, 0]
        assert (np.asarray(gradient[0]) == 0).all()
        assert np.isfinite(gradient[1]).all()


def test_two_images_are_learned_by_heart() -> None:
    """A network with maps of 6 and 3 pixels, whose anchors follow the two images."""
    source = small_detection.dataset()
    rows = np.flatnonzero((source.train.targets[..., 4] >= 0).sum(1) == 2)[:2]
    part = Split(np.asarray(source.train.images[rows]), source.train.targets[rows])
    data = dataclasses.replace(source, train=part, valid=part, test=part)
    arch = Arch(
        "net", small_detection.SIDE, Block.of("conv", width=8, stride=2), (Stage((Block.of("conv", width=16),), 2),),
        Block.of("yolo", widths=(16, 16), finest=2, pairs=0, boxes=1, anchors="auto", act="relu"), channels=1, classes=2,
    )  # fmt: skip
    recipe = Recipe(epochs=150, batch=2, lr=0.02, optimizer="adamw", dtype="float32", augment=Augment(flip=False, crop_padding=0))
    fitted = fit_arch(task_of(arch), arch, data)
    assert len(fitted.head.get("anchors")) == 2
    result = fit(fitted, data, recipe, seed=0)
    assert result.metrics["map"] > 0.7
    assert result.metrics["loss"] < 0.1


def test_settings() -> None:
    with pytest.raises(ValueError, match=r"ignore: expected more than 0 and at most 1, got 0\.0"):
        DetectionLoss(ignore=0.0)
    with pytest.raises(ValueError, match=r"recipe\.label_smoothing: has no meaning for a head with scores: sigmoid, nor for yolo"):
        TASK.weighed(Recipe(label_smoothing=0.1), small_detection.dataset())
    check_recipe(TASK, Recipe(detection=FOCAL))
