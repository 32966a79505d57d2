"""Losses of embeddings: equal to those of other implementations, and what each of them must do."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.tasks.embedding_losses import IN_BATCH, arcface, batch_all, batch_hard, contrastive, semi_hard, semi_hard_all
from nas.tasks.embedding_scores import active_triplets, distances
from places import ROOT

GOLDEN = dict(np.load(ROOT / "tests" / "golden" / "triplet.npz"))


@functools.cache
def compiled(loss: Callable[..., jax.Array], margin: float = 0.2) -> Callable[[Any, Any], tuple[tuple[Any, Any], Any]]:
    """((mean, (n,) losses), gradient) of embeddings and labels: one program a loss and shape, for all tests."""

    def of(rows: jax.Array, labels: jax.Array) -> tuple[jax.Array, jax.Array]:
        losses = loss(rows, labels, margin)
        return losses.mean(), losses

    return jax.jit(jax.value_and_grad(of, has_aux=True))


def mean(loss: Callable[..., jax.Array], rows: Any, labels: Any, margin: float = 0.2) -> float:
    return float(compiled(loss, margin)(rows, labels)[0][0])


def unit(rows: np.ndarray) -> Any:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def batch(seed: int, classes: int = 3, each: int = 3) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    return unit(rng.normal(size=(classes * each, 4))), rng.permutation(np.repeat(np.arange(classes), each))


@pytest.mark.parametrize(
    "loss, key",
    [
        (batch_hard, "batch_hard"),
        (batch_all, "batch_all_mean_over_positive"),
        (semi_hard_all, "semi_hard_tfa"),
        (semi_hard, "semi_hard_only_inside_margin_mean"),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)
def test_triplet_losses_are_those_of_other_implementations(loss: Callable[..., jax.Array], key: str) -> None:
    found = mean(loss, GOLDEN["embeddings"], GOLDEN["labels"], float(GOLDEN["margin"]))
    assert found == pytest.approx(float(GOLDEN[key]), abs=2e-6)


def test_the_fraction_of_active_triplets_is_that_of_another_implementation() -> None:
    found = active_triplets(distances(GOLDEN["embeddings"]), GOLDEN["labels"], float(GOLDEN["margin"]))
    assert found == pytest.approx(float(GOLDEN["batch_all_fraction_positive"]), abs=1e-6)


@given(st.integers(0, 30))
def test_batch_all_is_the_mean_over_violations_one_by_one(seed: int) -> None:
    rows, labels = batch(seed)
    losses = []
    for a, p, n in itertools.permutations(range(len(labels)), 3):
        if labels[a] == labels[p] != labels[n]:
            losses.append(((rows[a] - rows[p]) ** 2).sum() - ((rows[a] - rows[n]) ** 2).sum() + 0.2)
    active = [loss for loss in losses if loss > 0]
    assert mean(batch_all, rows, labels) == pytest.approx(np.mean(active), rel=1e-4)
    assert active_triplets(distances(rows), labels) == pytest.approx(len(active) / len(losses))


@pytest.mark.parametrize("name", IN_BATCH)
def test_laws_of_losses_of_a_batch(name: str) -> None:
    """Zero where classes are apart by more than the margin, finite gradients everywhere, and the order of rows has no effect."""
    loss = IN_BATCH[name]
    assert mean(loss, np.repeat(np.eye(3, 4, dtype=np.float32), 3, 0), np.repeat(np.arange(3), 3)) == pytest.approx(0, abs=1e-6)
    rows, mixed = batch(5)
    order = np.random.default_rng(0).permutation(len(rows))
    assert mean(loss, rows, mixed) == pytest.approx(mean(loss, rows[order], mixed[order]), rel=1e-4)
    for some, of in ((rows, mixed), (np.ones_like(rows) / 2, mixed), (rows, np.arange(9)), (rows, np.zeros(9, int))):
        (value, losses), gradient = compiled(loss)(some, of)
        assert losses.shape == (9,)
        assert np.isfinite(value)
        assert np.isfinite(gradient).all(), name


@pytest.mark.parametrize("name", ["batch_all", "batch_hard", "semi_hard_all"])
def test_a_collapsed_batch_has_the_margin_as_its_loss(name: str) -> None:
    assert mean(IN_BATCH[name], np.ones((9, 4), np.float32) / 2, np.repeat(np.arange(3), 3)) == pytest.approx(0.2)


def test_contrastive_counts_both_kinds_of_pairs_alike() -> None:
    rows, labels = np.array([[1, 0], [0, 1], [1, 0]], np.float32), np.array([0, 0, 1])
    # positive pair: squared distance 2; negative pairs: distance 0 and root 2, within a margin of 1 the first alone
    assert mean(contrastive, rows, labels, 1.0) == pytest.approx((2 + 1 / 2) / 2, abs=1e-5)


def test_arcface_without_a_margin_is_a_softmax_of_cosines_and_with_one_harder() -> None:
    rows, labels = batch(1)
    centers = np.random.default_rng(2).normal(size=(4, 3)).astype(np.float32)
    both = jax.jit(lambda rows, labels: [arcface(rows, jnp.asarray(centers), labels, margin, 8.0) for margin in (0.0, 0.5)])
    plain, harder = both(rows, labels)
    logits = 8 * rows @ (centers / np.linalg.norm(centers, axis=0))
    np.testing.assert_allclose(plain, np.log(np.exp(logits).sum(1)) - logits[np.arange(9), labels], rtol=1e-4, atol=1e-5)
    assert (np.asarray(harder) > np.asarray(plain)).all()


def test_arcface_rises_with_the_angle_up_to_half_a_turn() -> None:
    angles = np.linspace(0, math.pi, 50)
    rows, centers = np.stack([np.cos(angles), np.sin(angles), 0 * angles], 1).astype(np.float32), np.eye(3, 2, dtype=np.float32)
    centers[:, 1] = (0, 0, 1)  # at a right angle to all

    def loss(rows: jax.Array, labels: jax.Array, margin: float) -> jax.Array:
        return arcface(rows, jnp.asarray(centers), labels, margin, 1.0)

    (_, losses), gradient = compiled(loss, 0.5)(rows, np.zeros(50, int))
    assert (np.diff(losses) > 0).all()
    assert np.isfinite(gradient).all()
