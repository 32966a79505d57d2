"""Programs of single layers for networks that answer for places: boxes of candidates that differ in them, and masks."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest

import small_detection
from nas.arch import Arch, Block
from nas.arch.blocks import lower
from nas.data import Dataset
from nas.recipe import Augment, Recipe
from nas.records import TargetSpec
from nas.tasks import task_of
from nas.train import fit
from nas.train.compilation.layerwise import Layerwise
from nas.train.compilation.segments import cut
from small_detection import DETECTOR

RECIPE = Recipe(epochs=1, batch=16, lr=0.02, optimizer="sgd", ema=0.0, dtype="float32", augment=Augment(flip=False, crop_padding=0))


def few(data: Dataset) -> Dataset:
    """So few images that a training is one step."""
    return dataclasses.replace(data, train=data.train.take(np.arange(16)), valid=data.valid.take(np.arange(8)))


BOXES = few(small_detection.dataset())
MASKS = dataclasses.replace(
    BOXES, target=TargetSpec("mask", (12, 12), "uint8"),
    **{part: dataclasses.replace(getattr(BOXES, part), targets=(np.asarray(getattr(BOXES, part).images)[..., 0] > 100).astype(np.uint8))
       for part in ("train", "valid", "test")},
)  # fmt: skip


def detector(**head: object) -> Arch:
    return dataclasses.replace(DETECTOR, head=DETECTOR.head.replace(**head))


def check(programs: Layerwise, arch: Arch, data: Dataset) -> None:
    ours, alone = programs.fit(arch, 3), fit(arch, data, RECIPE, 3)
    assert ours.steps == 1
    assert ours.train_loss == pytest.approx(alone.train_loss, rel=1e-5)
    assert ours.metrics == pytest.approx(alone.metrics, abs=1e-4)
    for own, other in zip(jax.tree.leaves((ours.params, ours.stats)), jax.tree.leaves((alone.params, alone.stats)), strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-3, atol=1e-5)


FIRST, OTHER = (detector(scales=scales) for scales in ((0.3, 0.6), (0.2, 0.9)))


def test_the_segment_of_the_head_knows_its_default_boxes_and_outputs() -> None:
    one, another = (cut(lower(arch)).segments for arch in (FIRST, OTHER))
    assert [a == b for a, b in zip(one, another, strict=True)] == [True, True, False]
    assert [segment.outputs for segment in one[:-1]] == [(), ()]
    assert [name for name, _ in one[-1].outputs] == ["boxes", "classes"]
    assert cut(lower(detector(scales=(0.3, 0.6)))).segments == one


@pytest.mark.nightly
def test_candidates_that_differ_in_default_boxes_have_their_own() -> None:
    programs = Layerwise(BOXES, RECIPE, task_of(FIRST))
    check(programs, FIRST, BOXES)
    traces = programs.traces
    check(programs, OTHER, BOXES)
    assert 0 < programs.traces - traces <= 3  # of the segment with the head alone


@pytest.mark.nightly
def test_another_family_of_heads() -> None:
    head = Block.of("yolo", widths=(16, 16), pairs=0, finest=1, boxes=1, act="relu")
    check(Layerwise(BOXES, RECIPE, task_of(DETECTOR)), dataclasses.replace(DETECTOR, head=head), BOXES)


@pytest.mark.nightly
def test_masks() -> None:
    arch = dataclasses.replace(DETECTOR, head=Block.of("lr_aspp", width=8, finer=2))
    arch = dataclasses.replace(arch, stages=tuple(dataclasses.replace(stage, stride=2) for stage in arch.stages))
    check(Layerwise(MASKS, RECIPE, task_of(arch)), arch, MASKS)
