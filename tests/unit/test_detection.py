"""The task detection: from outputs to losses, objects, metrics and pictures."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
import pytest

import small_detection
import small_training
from nas.arch.anchors import ssd_sizes
from nas.recipe import DetectionLoss, Recipe
from nas.tasks import DETECTION, check_recipe, task_of
from nas.tasks.boxes.geometry import encode
from nas.tasks.boxes.matching import Matched, match
from nas.tasks.boxes.selection import selected
from nas.tasks.boxes.ssd import SsdHead
from nas.tasks.detection import Detection

CLASSES, MAPS = 2, (4, 2, 1)
HEAD = SsdHead(MAPS, ssd_sizes((0.3, 0.5, 0.8, 1.0), 4))
ANCHORS, TASK, FOCAL = HEAD.anchors, Detection(head=HEAD), Detection(head=dataclasses.replace(HEAD, sigmoid=True))
IMAGES = 6


@functools.cache
def targets() -> np.ndarray:
    """(6, 3, 8): images with 0 to 3 objects; one object is ignored."""
    rng = np.random.default_rng(3)
    rows = np.zeros((IMAGES, 3, 8), np.float32)
    rows[..., 4], rows[..., 7] = -1, 10_000
    for i in range(IMAGES):
        for j in range(i % 4):
            y, x, h, w = *rng.uniform(0, 0.5, 2), *rng.uniform(0.2, 0.5, 2)
            rows[i, j, :7] = y, x, y + h, x + w, rng.integers(CLASSES), 0, h * w * 10_000
    rows[3, 2, 5] = 1
    return rows


@functools.cache
def answered() -> Matched:
    rows = targets()
    return jax.device_get(jax.jit(match)(ANCHORS, rows[..., :4], rows[..., 4].astype(int), rows[..., 5] > 0))


def perfect(sure: float = 9.0) -> dict[str, np.ndarray]:
    """Outputs as the loss asks for them."""
    found = answered()
    truth = np.take_along_axis(targets(), np.asarray(found.truth)[..., None], 1)
    label = np.where(found.positive, truth[..., 4] + 1, 0)
    logits = np.where(np.arange(CLASSES + 1) == label[..., None], sure, -sure).astype(np.float32)
    codes = np.where(found.positive[..., None], encode(truth[..., :4], ANCHORS), 0)
    return {"boxes": codes[:, None], "classes": logits[:, None]}


def noisy(seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {name: (one + rng.normal(size=one.shape)).astype(np.float32) for name, one in perfect(2.0).items()}


@functools.cache
def losses(task: Detection, recipe: Recipe) -> Any:
    def total(outputs: Any, truths: Any) -> Any:
        found = task.loss(outputs, truths, None, recipe)
        return sum(part.mean() for part in found.values()), found

    return jax.jit(jax.value_and_grad(total, has_aux=True))


def reduced(
    outputs: Mapping[str, np.ndarray], truths: np.ndarray, valid: np.ndarray | None = None, task: Detection = TASK
) -> Any:
    """What leaves the device."""
    mask = np.ones(len(truths), bool) if valid is None else valid
    return jax.device_get(reducer(task)(dict(outputs), truths, mask))


@functools.cache
def reducer(task: Detection) -> Any:
    return jax.jit(task.reduce)


SETTINGS = [
    (TASK, DetectionLoss()),
    (TASK, DetectionLoss(boxes="giou", box_weight=2.0)),
    (FOCAL, DetectionLoss(alpha=0.75)),
]


@pytest.mark.parametrize("task, settings", SETTINGS, ids=["ssd", "giou", "focal"])
def test_losses_fall_where_objects_are_found(task: Detection, settings: DetectionLoss) -> None:
    run = losses(task, Recipe(detection=settings))
    (_, good), _ = run(perfect(), targets())
    (bad_total, bad), gradient = run(noisy(), targets())
    assert list(good) == ["boxes", "classes"]
    for name in good:
        assert good[name].shape == (IMAGES,)
        assert good[name].sum() < bad[name].sum()
    assert all(np.isfinite(one).all() for one in gradient.values())
    assert bad["boxes"][0] == 0  # no object
    assert bad["classes"][0] > 0
    # as training has it, the sum over the batch by its positive default boxes
    if settings == DetectionLoss():
        part = reduced(noisy(), targets())
        assert float(bad_total) == pytest.approx(part["loss"] / part["positives"], rel=1e-4)


def test_objects_are_found_by_host_and_device_alike() -> None:
    outputs = noisy(1)
    found = TASK.postprocess(outputs)
    on_device = selected(reduced(outputs, targets()))
    np.testing.assert_array_equal(found["classes"], on_device["classes"])
    np.testing.assert_allclose(found["boxes"], on_device["boxes"], atol=1e-5)
    np.testing.assert_allclose(found["scores"], on_device["scores"], atol=1e-5)
    assert (np.diff(found["scores"], axis=1) <= 0).all()
    assert found["boxes"].min() >= 0
    assert found["boxes"].max() <= 1


@pytest.mark.parametrize("task", [TASK, FOCAL], ids=["softmax", "sigmoid"])
def test_what_finds_all_has_the_best_metrics(task: Detection) -> None:
    state = task.new_metrics()
    state.update(reduced(perfect(), targets(), task=task), targets())
    found = state.compute()
    assert list(found) == list(DETECTION.metrics)
    assert found["map"] == pytest.approx(1)
    assert found["voc_ap"] == pytest.approx(1)
    objects = task.postprocess(perfect())
    first = targets()[1, 0]
    np.testing.assert_allclose(objects["boxes"][1, 0], first[:4], atol=1e-5)
    assert objects["classes"][1, 0] == first[4]
    assert (objects["classes"][0] == -1).all() or objects["scores"][0].max() < 0.01


def test_metrics_do_not_depend_on_batches() -> None:
    def part(first: int, valid: int) -> tuple[Mapping[str, np.ndarray], np.ndarray]:
        rows = np.minimum(np.arange(first, first + IMAGES), IMAGES - 1)
        outputs = {name: one[rows] for name, one in noisy().items()}
        return reduced(outputs, targets()[rows], np.arange(IMAGES) < valid), targets()[rows][:valid]

    whole, merged = TASK.new_metrics(), TASK.new_metrics()
    whole.update(*part(0, IMAGES))
    for first, valid in ((0, 4), (2, 0), (4, 2)):
        one = TASK.new_metrics()
        one.update(*part(first, valid))
        merged.merge(TASK.new_metrics(json.loads(json.dumps(one.to_json()))))
    assert merged.compute() == pytest.approx(whole.compute(), rel=1e-4)


def test_details_have_a_row_and_a_curve_for_each_class() -> None:
    state = TASK.new_metrics()
    state.update(reduced(perfect(), targets()), targets())
    details = TASK.details(state, ("cup", "car"))
    (names, first, second), curves = details["table"], details["curves"]
    assert names == ["class", "color", "AP", "AP50", "VOC AP", "AR", "objects"]
    assert {first[0], second[0]} == {"cup", "car"}
    assert first[2:6] == ["100.0"] * 4
    assert int(first[6]) + int(second[6]) == int(((targets()[..., 4] >= 0) & (targets()[..., 5] == 0)).sum())
    assert {one["name"] for one in curves} == {"cup", "car"}
    assert curves[0]["points"][-1] == [1.0, 1.0]


def test_pictures_have_what_is_found_beside_what_is_there() -> None:
    image = np.full((40, 40, 1), 90, np.uint8)
    found = {name: one[3] for name, one in TASK.postprocess(perfect()).items()}
    drawn = TASK.draw(image, found, targets()[3], ("cup", "ca\nr"))
    assert (drawn.shape, drawn.dtype) == ((320, 640, 3), np.uint8)
    assert (drawn != 90).any(2)[:, :320].sum() > 300
    assert (drawn != 90).any(2)[:, 320:].sum() > 300
    alone = TASK.draw(image, {**found, "classes": np.full_like(found["classes"], -1)})
    assert (alone == 90).all()


def test_settings_of_detectors_are_refused_for_other_tasks() -> None:
    recipe = dataclasses.replace(Recipe(), detection=DetectionLoss(gamma=1.0))
    with pytest.raises(
        ValueError, match=r"recipe\.detection: has no meaning for the task classification, it is for boxes"
    ):
        check_recipe(task_of(small_training.SMALL), recipe)
    check_recipe(DETECTION, recipe)
    with pytest.raises(ValueError, match=r"recipe\.mixup: has no meaning for the task detection"):
        check_recipe(DETECTION, Recipe(mixup=0.2))


def test_labels_are_smoothed_within_a_softmax_alone() -> None:
    smoothed = Recipe(label_smoothing=0.1)
    assert TASK.weighed(smoothed, small_detection.dataset()) is TASK
    with pytest.raises(ValueError, match=r"recipe\.label_smoothing: has no meaning for a head with scores: sigmoid"):
        FOCAL.weighed(smoothed, small_detection.dataset())


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"negatives": 0.0, "least_negatives": 0}, "negatives: with 0 and least_negatives of 0 nothing is trained"),
        ({"alpha": 1.0}, "alpha: expected more than 0 and less than 1, got 1.0"),
        ({"box_weight": 0.0}, "box_weight: expected a number above 0"),
        ({"gamma": -1.0}, "gamma: expected 0 or more, got -1.0"),
    ],
)
def test_values_out_of_range(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DetectionLoss(**settings)
