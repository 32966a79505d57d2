"""Matching and losses of detectors: against straightforward loops, and what each must do."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.arch.anchors import ssd_sizes
from nas.tasks.boxes.anchors import default_boxes
from nas.tasks.boxes.geometry import area, decode, encode, giou, intersection, iou
from nas.tasks.boxes.losses import focal_loss, giou_loss, smooth_l1, softmax_loss
from nas.tasks.boxes.matching import Matched, match

ANCHORS = default_boxes((3, 2), ssd_sizes((0.4, 0.7, 1.0), 4))
N, A, M, CLASSES = 3, len(ANCHORS), 4, 3


def example(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(boxes, labels, ignored) of `N` images with up to `M` objects."""
    rng = np.random.default_rng(seed)
    corner = rng.random((N, M, 2)) * 0.7
    boxes = np.concatenate([corner, corner + rng.random((N, M, 2)) * 0.5 + 0.05], -1).astype(np.float32)
    labels = rng.integers(-1, CLASSES, (N, M))
    labels[0] = -1
    return boxes, labels, rng.random((N, M)) < 0.25


@functools.cache
def compiled(loss: Callable[..., Any]) -> Callable[..., Any]:
    return jax.jit(jax.value_and_grad(lambda *args: (lambda losses: (losses.sum(), losses))(loss(*args)), has_aux=True))


@functools.cache
def matcher() -> Callable[..., Matched]:
    return jax.jit(functools.partial(match, jnp.asarray(ANCHORS)))


def matched_one(boxes: np.ndarray, labels: np.ndarray, ignored: np.ndarray) -> list[tuple[int | None, bool]]:
    """Of each default box: the object it answers, and whether it is negative."""
    real = [i for i in range(M) if labels[i] >= 0 and not ignored[i]]
    overlaps = iou(boxes[:, None], ANCHORS[None])
    answers = dict[int, int | None]()
    for a in range(A):
        best = max(real, key=lambda i: overlaps[i, a], default=None)
        answers[a] = best if best is not None and overlaps[best, a] >= 0.5 else None
    forced = dict[int, int]()
    for i in real:
        a = int(overlaps[i].argmax())
        if a not in forced or overlaps[forced[a], a] < overlaps[i, a]:
            forced[a] = i
    answers |= forced
    crowds = [i for i in range(M) if labels[i] >= 0 and ignored[i]]
    inside = intersection(boxes[:, None], ANCHORS[None]) / area(ANCHORS)
    return [(answers[a], answers[a] is None and not any(inside[i, a] >= 0.5 for i in crowds)) for a in range(A)]


@settings(max_examples=10)
@given(st.integers(0, 1000))
def test_matching_is_ssds(seed: int) -> None:
    found = jax.device_get(matcher()(*example(seed)))
    for i, one in enumerate(zip(*example(seed), strict=True)):
        for a, (answer, negative) in enumerate(matched_one(*one)):
            assert bool(found.positive[i, a]) == (answer is not None)
            assert bool(found.negative[i, a]) == negative
            assert answer is None or int(found.truth[i, a]) == answer
    assert not found.positive[0].any()
    assert found.negative[0].all()


def given_of(seed: int) -> tuple[Any, ...]:
    """(codes, boxes of the answered objects, labels, positive, negative, logits)."""
    rng = np.random.default_rng(seed)
    boxes, labels, _ = example(seed)
    truth, kind = rng.integers(0, M, (N, A)), rng.integers(0, 3, (N, A))
    kind[0] = np.minimum(kind[0], 1)  # one image without a positive box
    codes, logits = rng.normal(size=(N, A, 4)), rng.normal(size=(N, A, CLASSES + 1))
    answered = boxes[np.arange(N)[:, None], truth]
    return (
        codes.astype(np.float32),
        answered,
        np.abs(labels)[np.arange(N)[:, None], truth],
        kind == 2,
        kind == 1,
        logits,
    )


def test_losses_of_boxes() -> None:
    codes, boxes, _, positive, _, _ = given_of(0)
    apart = np.abs(codes - encode(boxes, ANCHORS))
    each = np.where(apart < 1, apart**2 / 2, apart - 0.5).sum(-1)
    around = 1 - giou(decode(codes, ANCHORS), boxes)
    for loss, expected in ((smooth_l1, each), (giou_loss, around)):
        (_, found), gradient = compiled(loss)(codes, boxes, ANCHORS, positive)
        np.testing.assert_allclose(found, np.where(positive, expected, 0).sum(1), rtol=1e-4)
        assert np.isfinite(gradient).all()
        assert (np.asarray(gradient)[~positive] == 0).all()
    exact = encode(boxes, ANCHORS)
    for loss in (smooth_l1, giou_loss):
        np.testing.assert_allclose(compiled(loss)(exact, boxes, ANCHORS, positive)[0][1], 0, atol=1e-3)


def test_padding_gives_no_gradient_that_is_not_finite() -> None:
    codes, boxes, positive = np.zeros((N, A, 4), np.float32), np.zeros((N, A, 4), np.float32), np.zeros((N, A), bool)
    for loss in (smooth_l1, giou_loss):
        (_, found), gradient = compiled(loss)(codes, boxes, ANCHORS, positive)
        assert found.tolist() == [0] * N
        assert (np.asarray(gradient) == 0).all()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_softmax_takes_the_hardest_negatives(smoothing: float) -> None:
    _, _, labels, positive, negative, logits = given_of(1)
    positive[1] &= np.cumsum(positive[1]) <= 2  # so that not all negatives of an image are taken
    (_, found), gradient = compiled(functools.partial(softmax_loss, smoothing=smoothing))(
        logits, labels, positive, negative
    )
    logs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    for i in range(N):

        def loss(a: Any, label: int, i: int = i) -> float:
            return float(-(1 - smoothing) * logs[i, a, label] - smoothing * logs[i, a].mean())

        mine = [loss(a, labels[i, a]) for a in np.flatnonzero(positive[i])]
        hardest = sorted((loss(a, 0) for a in np.flatnonzero(negative[i])), reverse=True)
        count = max(3 * len(mine), 3)
        assert found[i] == pytest.approx(sum(mine) + sum(hardest[:count]), rel=1e-4)
        taken = (np.abs(np.asarray(gradient)[i]).sum(-1) > 0).sum()
        assert taken == len(mine) + min(count, len(hardest))
    assert not positive[0].any()


def test_focal_loss() -> None:
    _, _, labels, positive, negative, logits = given_of(2)
    logits = logits[..., 1:]
    there = (np.arange(CLASSES) == labels[..., None]) & positive[..., None]
    chance = 1 / (1 + np.exp(-logits))
    right = np.where(there, chance, 1 - chance)
    each = np.where(there, 0.25, 0.75) * (1 - right) ** 2 * -np.log(right)
    (_, found), gradient = compiled(focal_loss)(logits, labels, positive, negative)
    np.testing.assert_allclose(found, np.where((positive | negative)[..., None], each, 0).sum((1, 2)), rtol=1e-4)
    assert np.isfinite(gradient).all()
    (_, sure), gradient = compiled(focal_loss)(np.where(there, 200.0, -200.0), labels, positive, negative)
    assert np.allclose(sure, 0)
    assert np.isfinite(gradient).all()
    plain = jax.jit(functools.partial(focal_loss, alpha=0.5, gamma=0.0))(logits, labels, positive, negative)
    np.testing.assert_allclose(
        plain, np.where((positive | negative)[..., None], -np.log(right) / 2, 0).sum((1, 2)), rtol=1e-4
    )
