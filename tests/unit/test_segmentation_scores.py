"""Measures of masks: published numbers, by their definitions, and without dependence on how batches are cut."""

from __future__ import annotations

import itertools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.data.masks import IGNORED
from nas.tasks.segmentation_scores import SegmentationScores, class_scores, confusion, reduce, scores
from places import ROOT

GOLDEN = json.loads((ROOT / "tests" / "golden" / "camvid.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", ["rolled", "prior"])
def test_scores_of_camvid(name: str) -> None:
    counts = np.array(GOLDEN[name]["counts"])
    assert list(scores(counts).values()) == pytest.approx(GOLDEN[name]["scores"], abs=1e-9)
    np.testing.assert_allclose(class_scores(counts)["iou"], GOLDEN[name]["iou"], atol=1e-6)


@given(st.integers(0, 50), st.integers(1, 4))
def test_pixels_are_counted_one_by_one(seed: int, classes: int) -> None:
    rng = np.random.default_rng(seed)
    masks = np.where(rng.random((3, 4, 5)) < 0.2, IGNORED, rng.integers(0, classes, (3, 4, 5))).astype(np.uint8)
    predicted, valid = rng.integers(0, classes, (3, 4, 5)), rng.random(3) < 0.7
    expected = np.zeros((classes, classes), int)
    for i, y, x in itertools.product(*map(range, masks.shape)):
        if valid[i] and masks[i, y, x] != IGNORED:
            expected[masks[i, y, x], predicted[i, y, x]] += 1
    found = confusion(masks, predicted, classes, valid)
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == np.int64


def test_the_device_counts_alike() -> None:
    rng = np.random.default_rng(0)
    logits, valid = rng.normal(size=(3, 4, 4, 3)).astype(np.float32), np.array([True, True, False])
    masks = rng.choice(np.array([0, 1, 2, IGNORED], np.uint8), (3, 4, 4))
    found = np.asarray(jax.jit(reduce)(jnp.asarray(logits), jnp.asarray(masks), jnp.asarray(valid)))
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, confusion(masks, logits.argmax(-1), 3, valid))


def test_classes_that_are_nowhere_are_in_no_mean() -> None:
    counts = np.array([[6, 0, 2, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
    of_class = class_scores(counts)
    np.testing.assert_array_equal(of_class["iou"], [0.75, np.nan, 0, np.nan])  # class 2 is predicted and not there
    np.testing.assert_array_equal(of_class["accuracy"], [0.75, np.nan, np.nan, np.nan])
    assert scores(counts) == {"miou": 0.375, "pixel_accuracy": 0.75, "class_accuracy": 0.75}


def test_without_a_pixel_all_figures_are_0() -> None:
    assert scores(np.zeros((3, 3), int)) == {"miou": 0, "pixel_accuracy": 0, "class_accuracy": 0}


def test_processes_add_what_each_has_seen() -> None:
    rng = np.random.default_rng(0)
    counts, losses = rng.integers(0, 9, (4, 3, 3)), rng.random(4)
    parts = [{"confusion": count, "loss": np.asarray(loss)} for count, loss in zip(counts, losses, strict=True)]
    whole, merged, one = SegmentationScores(("loss",)), SegmentationScores(("loss",)), np.zeros((1, 2, 2), np.uint8)
    for part in parts:
        whole.update(part, one)
        other = SegmentationScores(("loss",))
        other.update(part, one)
        merged.merge(SegmentationScores(("loss",), **json.loads(json.dumps(other.to_json()))))
    merged.merge(SegmentationScores(("loss",)))
    assert merged == whole
    assert whole.compute() == pytest.approx({**scores(counts.sum(0)), "loss": losses.mean()})
    np.testing.assert_array_equal(whole.class_scores()["pixels"], counts.sum((0, 2)))
