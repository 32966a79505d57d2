"""Boxes: overlaps, codes and suppression equal to those of other implementations, in NumPy and JAX alike."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.tasks.boxes.geometry import area, centers, corners, decode, encode, giou, iou
from nas.tasks.boxes.nms import nms, soft_nms
from places import ROOT

GOLDEN = dict(np.load(ROOT / "tests" / "golden" / "boxes.npz"))
TURNED = [1, 0, 3, 2]  # theirs begin with x
BOXES = GOLDEN["boxes"][:, TURNED]


def random_boxes(rng: np.random.Generator, n: int) -> np.ndarray:
    corner = rng.random((n, 2))
    return np.concatenate([corner, corner + rng.random((n, 2)) * 0.5], 1)


def figures(boxes: Any) -> tuple[Any, ...]:
    """(IoUs, GIoUs, codes against the boxes rolled by one, what these are decoded to)."""
    a, b, anchors = boxes[:50, None], boxes[50:100], boxes.__array_namespace__().roll(boxes, 1, 0)
    codes = encode(boxes, anchors)
    return iou(a, b), giou(a, b), codes, decode(codes, anchors)


@pytest.mark.parametrize("run, boxes", [(figures, BOXES), (jax.jit(figures), jnp.asarray(BOXES))], ids=["numpy", "jax"])
def test_overlaps_and_codes_are_torchvisions(run: Any, boxes: Any) -> None:
    ious, gious, codes, decoded = run(boxes)
    np.testing.assert_allclose(ious, GOLDEN["iou_0_50_vs_50_100"], atol=1e-6)
    np.testing.assert_allclose(gious, GOLDEN["giou_0_50_vs_50_100"], atol=1e-6)
    np.testing.assert_allclose(codes, GOLDEN["encoded_against_rolled_by_1"][:, TURNED], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(decoded, boxes, atol=1e-3)
    assert (codes.dtype, type(codes)) == (boxes.dtype, type(boxes))


def test_boxes_without_an_area_have_finite_figures() -> None:
    def sums(a: Any) -> Any:
        box, sides = jnp.array([0.0, 0.0, 1.0, 1.0]), decode(jnp.full(4, 1e9), a)
        return jnp.stack([iou(a, a), giou(a, a), encode(a, box).sum(), sides.sum()])

    point = jnp.array([0.5, 0.5, 0.5, 0.5])
    found, gradient = jax.jit(lambda a: (sums(a), jax.jacfwd(sums)(a)))(point)
    assert np.isfinite(found).all()
    assert np.isfinite(gradient).all()


@given(st.integers(0, 8))
def test_laws_of_overlaps(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = random_boxes(rng, 20), random_boxes(rng, 20)
    assert (iou(a, b) == iou(b, a)).all()
    assert (giou(a, b) <= iou(a, b) + 1e-12).all()
    assert (giou(a, b) > -1).all()
    np.testing.assert_allclose(iou(a, a), 1)
    np.testing.assert_allclose(iou(a * [2, 3, 2, 3], b * [2, 3, 2, 3]), iou(a, b))  # the unit of an axis has no effect
    np.testing.assert_allclose(corners(*centers(a)), a)
    assert area(a[:, [2, 3, 0, 1]]).max() == 0


def test_suppression_is_torchvisions() -> None:
    found = nms(BOXES, GOLDEN["scores"])
    assert len(found) == 272
    np.testing.assert_array_equal(found, GOLDEN["nms_05"])
    by_class = nms(BOXES, GOLDEN["scores"], GOLDEN["labels"], 0.55)
    assert len(by_class) == 374
    np.testing.assert_array_equal(by_class, GOLDEN["batched_nms_055"])
    np.testing.assert_array_equal(nms(BOXES, GOLDEN["scores"], most=7), GOLDEN["nms_05"][:7])


def test_no_box_and_equal_scores() -> None:
    none = np.zeros((0, 4))
    assert [len(nms(none, none[:, 0])), *map(len, soft_nms(none, none[:, 0]))] == [0, 0, 0]
    apart = np.array([[0, 0, 1, 1], [2, 2, 3, 3], [2, 2, 3, 3]])
    assert nms(apart, np.array([0.5, 0.5, 0.5])).tolist() == [0, 1]


def test_overlapping_boxes_lose_score_instead() -> None:
    boxes = np.array([[0, 0, 1, 1], [0, 0, 1, 0.5], [0, 0, 1, 0.2], [4, 4, 5, 5]])
    scores = np.array([0.9, 0.8, 0.7, 0.1])
    rows, linear = soft_nms(boxes, scores, how="linear")  # the third overlaps the first by 0.2 and the second by 0.4
    assert rows.tolist() == [0, 2, 1, 3]
    np.testing.assert_allclose(linear, [0.9, 0.7, 0.8 * 0.5 * 0.6, 0.1])
    rows, gaussian = soft_nms(boxes, scores, least=0.2)
    assert rows.tolist() == [0, 2, 1]
    second = 0.7 * np.exp(-(0.2**2) / 0.5)
    np.testing.assert_allclose(gaussian, [0.9, second, 0.8 * np.exp(-(0.5**2) / 0.5) * np.exp(-(0.4**2) / 0.5)])
    rows, alone = soft_nms(boxes, scores, classes=np.arange(4), most=3)
    assert (rows.tolist(), alone.tolist()) == ([0, 1, 2], [0.9, 0.8, 0.7])
